"""The suspicious readers under `packs`: bounded bytes, zip, PDF, text encodings and YAML.

Nothing here trusts a declared size: bytes are counted as they come out of the decompressor, YAML is scanned for its
size and depth before anything is built, and no archive member is ever written to a disk.
"""

from __future__ import annotations

import io
import stat
import struct
import time
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from sagaforge.errors import InvalidInput, SagaForgeError, TooLarge, UnsupportedType

MIB = 1024**2
READ_BYTES = 64 * 1024
MEMBER_SUFFIXES = (".yaml", ".yml", ".md", ".txt", ".toml")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst", ".jar", ".charx")
YAML_NAMES = ("characters.yaml", "characters.yml", "scenes.yaml", "scenes.yml")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
ENCRYPTED_FLAG = 0x1


@dataclass(frozen=True)
class UploadLimits:
    """Bounds on one upload. The defaults hold ten times the largest world that was tried (10,000 chunks)."""

    max_upload_bytes: int = 100 * MIB
    max_total_bytes: int = 128 * MIB  # decompressed, all files together
    max_file_bytes: int = 64 * MIB  # decompressed, one file
    max_files: int = 2000
    max_ratio: int = 200  # decompressed to compressed; prose reaches about 10
    ratio_floor_bytes: int = 4 * MIB  # below this no ratio is suspicious: it fits in memory anyway
    max_path_chars: int = 200
    max_text_chars: int = 64 * 1024**2
    max_yaml_chars: int = 4 * MIB
    max_yaml_depth: int = 12
    max_yaml_nodes: int = 400_000
    max_entries: int = 2000
    max_pdf_pages: int = 2000
    max_pdf_seconds: float = 60.0


def read_bounded(name: str, file: BinaryIO, limit: int) -> bytes:
    """All bytes of a file, or `TooLarge` as soon as there are more than `limit`."""
    pieces: list[bytes] = []
    total = 0
    while piece := file.read(READ_BYTES):
        total += len(piece)
        if total > limit:
            raise TooLarge(f"{name}: larger than the {limit:,} bytes allowed. Split it, or remove what is not lore.")
        pieces.append(piece)
    return b"".join(pieces)


# --- zip ------------------------------------------------------------------------------------------------------------


def read_zip(name: str, file: BinaryIO, limits: UploadLimits) -> dict[str, bytes]:
    """The members a pack may have, by their path inside it; a single top folder is taken off.

    Images are passed over (later features read them); whatever else is unknown is refused by name.
    """
    file.seek(0, io.SEEK_END)
    num_bytes = file.tell()
    if num_bytes > limits.max_upload_bytes:
        raise TooLarge(f"{name}: larger than the {limits.max_upload_bytes:,} bytes allowed.")
    file.seek(0)
    if _declared_entries(file, num_bytes) > limits.max_files:
        raise TooLarge(f"{name}: more than {limits.max_files} files. Remove what is not lore.")
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            return _read_members(name, archive, limits)
    except SagaForgeError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, OSError, NotImplementedError,
            RuntimeError, OverflowError, LookupError) as exc:  # fmt: skip
        # Whatever a damaged archive provokes in zipfile; its own messages name offsets, which help nobody.
        raise InvalidInput(
            f"{name}: not a readable zip ({type(exc).__name__}). Pack the files again, without a password, with "
            "ordinary (deflate) compression."
        ) from exc


def _declared_entries(file: BinaryIO, num_bytes: int) -> int:
    """The entry count in the end record: known before `zipfile` builds an object per entry. 0 when there is none."""
    tail_bytes = min(num_bytes, 22 + 65535)
    file.seek(num_bytes - tail_bytes)
    tail = file.read(tail_bytes)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        return 0
    declared: int = struct.unpack("<H", tail[at + 10 : at + 12])[0]
    central_bytes: int = struct.unpack("<I", tail[at + 12 : at + 16])[0]
    # A central entry takes 46 bytes at least: the directory's size bounds what its count may hide (zip64 says 65535).
    return max(declared, 0) if declared != 0xFFFF else central_bytes // 46


def _read_members(name: str, archive: zipfile.ZipFile, limits: UploadLimits) -> dict[str, bytes]:
    infos = archive.infolist()
    if len(infos) > limits.max_files:
        raise TooLarge(f"{name}: more than {limits.max_files} files. Remove what is not lore.")
    members = [(info, _safe_path(name, info, limits)) for info in infos if not _is_litter(info.filename)]
    files = [(info, path) for info, path in members if not info.is_dir()]
    if not files:
        raise InvalidInput(f"{name}: the zip holds no files.")
    top = _single_top([path for _, path in files])
    contents: dict[str, bytes] = {}
    seen: set[str] = set()
    total = 0
    for info, full_path in files:
        path = full_path.removeprefix(top)
        if path.casefold() in seen:
            raise InvalidInput(f"{name}: {path!r} is in the zip twice; remove one.")
        seen.add(path.casefold())
        suffix = PurePosixPath(path).suffix.lower()
        if suffix in ARCHIVE_SUFFIXES:
            raise InvalidInput(f"{name}: {path!r} is an archive inside the archive; put its files in directly.")
        if suffix in IMAGE_SUFFIXES:
            continue
        if suffix not in MEMBER_SUFFIXES:
            raise UnsupportedType(f"{name}: {path!r} is no part of a pack; leave in only .yaml, .toml, .md and .txt.")
        if suffix in (".yaml", ".yml") and path.lower() not in YAML_NAMES:
            raise InvalidInput(
                f"{name}: {path!r} is unknown; the pack's YAML files are characters.yaml and scenes.yaml."
            )
        if suffix == ".toml" and path.lower() != "style.toml":
            raise InvalidInput(f"{name}: {path!r} is unknown; the pack's TOML file is style.toml.")
        contents[path] = _read_member(name, archive, info, path, limits, total)
        total += len(contents[path])
    return contents


def _read_member(
    name: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str, limits: UploadLimits, before: int
) -> bytes:
    if info.flag_bits & ENCRYPTED_FLAG:
        raise InvalidInput(f"{name}: {path!r} is encrypted; pack it without a password.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidInput(f"{name}: {path!r} uses an uncommon compression; pack it with deflate (zip's default).")
    allowed = min(limits.max_file_bytes, limits.max_total_bytes - before)
    pieces: list[bytes] = []
    size = 0
    try:
        with archive.open(info) as member:
            while piece := member.read(READ_BYTES):
                size += len(piece)
                if size > allowed:
                    raise TooLarge(f"{name}: {path!r} unpacks to more than the {allowed:,} bytes that are left for it.")
                if size > limits.ratio_floor_bytes and size > limits.max_ratio * max(info.compress_size, 1):
                    raise TooLarge(f"{name}: {path!r} unpacks to over {limits.max_ratio} times its size: refused.")
                pieces.append(piece)
    except (zipfile.BadZipFile, zlib.error, EOFError) as exc:
        raise InvalidInput(f"{name}: {path!r} is damaged ({exc}); pack the files again.") from exc
    return b"".join(pieces)


def _safe_path(name: str, info: zipfile.ZipInfo, limits: UploadLimits) -> str:
    """The member's path, or an error: nothing here is extracted, but a path becomes a source that others show."""
    # orig_filename: zipfile cuts a name at its first NUL and so shows another one than other readers do.
    path = info.orig_filename
    shown = path[:60].encode("unicode_escape").decode()
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in path):
        raise InvalidInput(f"{name}: the name {shown!r} holds control characters; rename the file.")
    if "\\" in path or path.startswith("/") or path[1:2] == ":":
        raise InvalidInput(f"{name}: {shown!r} is an absolute or Windows path; use relative paths with '/'.")
    if any(part in ("..", ".") for part in path.split("/")) or "//" in path:
        raise InvalidInput(f"{name}: {shown!r} leads out of the pack; paths may not contain '..'.")
    if len(path) > limits.max_path_chars or not path.strip("/ "):
        raise InvalidInput(f"{name}: {shown!r} is too long or empty as a path.")
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InvalidInput(f"{name}: {shown!r} is a link or a special file; put in the file itself.")
    return path


def _is_litter(path: str) -> bool:
    """What desktop systems add unasked."""
    return path.startswith("__MACOSX/") or PurePosixPath(path).name in (".DS_Store", "Thumbs.db", "desktop.ini")


def _single_top(paths: list[str]) -> str:
    tops = {path.split("/", 1)[0] + "/" for path in paths if "/" in path}
    return tops.pop() if len(tops) == 1 and all("/" in path for path in paths) else ""


# --- text -----------------------------------------------------------------------------------------------------------

BOMS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)


def decode_text(name: str, data: bytes) -> str:
    """UTF-8, or UTF-8/16/32 with a byte order mark. Others are refused: a guess between Big5 and GBK is often wrong,
    and wrong guesses read as nonsense that is then cited."""
    encoding = "utf-8"
    for bom, bom_encoding in BOMS:
        if data.startswith(bom):
            data, encoding = data[len(bom) :], bom_encoding
            break
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as exc:
        raise InvalidInput(
            f"{name}: not valid {encoding.upper()} at byte {exc.start}. Save it as UTF-8 (it may be Big5, GBK or "
            "Windows-1252 now)."
        ) from None
    if any(c in text for c in "\0\ufffe\uffff") or _num_controls(text) > 0:
        raise InvalidInput(f"{name}: holds NUL or control characters, so it is no text file. Save it as UTF-8 text.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


CONTROLS = dict.fromkeys([*range(0x09), 0x0B, *range(0x0E, 0x20), 0x7F])


def _num_controls(text: str) -> int:
    return len(text) - len(text.translate(CONTROLS))


def load_yaml(name: str, text: str, limits: UploadLimits) -> Any:
    """YAML without aliases, tags, duplicate keys, depth or size beyond the limits. `None` for an empty file."""
    import yaml

    if len(text) > limits.max_yaml_chars:
        raise TooLarge(f"{name}: longer than {limits.max_yaml_chars:,} characters; move lore into lorebook.md.")
    try:
        depth = 0
        # Events first: they are cheap and flat, so depth and aliases are known before anything is built.
        for num_nodes, event in enumerate(yaml.parse(text, Loader=_base_loader())):
            if isinstance(event, yaml.AliasEvent):
                raise InvalidInput(f"{name}: aliases (*{str(event.anchor)[:30]}) are not allowed; write the text out.")
            if getattr(event, "tag", None):
                raise InvalidInput(f"{name}: tags ({str(event.tag)[:40]}) are not allowed; write plain text.")
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                depth += 1
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                depth -= 1
            if depth > limits.max_yaml_depth or num_nodes > limits.max_yaml_nodes:
                raise InvalidInput(f"{name}: nested deeper than {limits.max_yaml_depth} levels, or too many entries.")
        return yaml.load(text, Loader=_strict_loader())
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        problem = str(getattr(exc, "problem", None) or "can't be read")[:160]
        raise InvalidInput(f"{name}: not valid YAML{where}: {problem}.") from None
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError, LookupError) as exc:
        raise InvalidInput(f"{name}: a value can't be read ({type(exc).__name__}); put it in quotes.") from None


def _base_loader() -> Any:
    """libyaml's loader where it is compiled in: ten times faster, which bounds what a huge file can cost."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _strict_loader() -> Any:
    import yaml

    class StrictLoader(_base_loader()):  # type: ignore[misc]
        """Refuses a key that stands twice, where YAML would keep the last; scalars stay as close to text as can be."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for key, (key_node, _) in zip(keys, node.value, strict=True):
                if not isinstance(key, (str, int)):
                    raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=key_node.start_mark)
            if len(set(map(str, keys))) != len(keys):
                twice = next(k for i, k in enumerate(keys) if k in keys[:i] or str(k) in map(str, keys[:i]))
                raise yaml.MarkedYAMLError(
                    problem=f"the key {str(twice)[:40]!r} stands twice", problem_mark=node.start_mark
                )
            return super().construct_mapping(node, deep)

    # Text stays text: YAML 1.1 would make a date of 2089-10-01, false of "no" and 5400 of 1:30:00.
    StrictLoader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _PLAIN_TAGS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return StrictLoader


_PLAIN_TAGS = ("tag:yaml.org,2002:null",)


# --- PDF ------------------------------------------------------------------------------------------------------------


def read_pdf(name: str, data: bytes, limits: UploadLimits) -> str:
    """The text of a PDF, a paragraph break between pages. Bounded in pages, seconds and characters."""
    from pypdf import PdfReader

    if not data[:1024].lstrip().startswith(b"%PDF-"):
        raise InvalidInput(f"{name}: not a PDF. Upload a .pdf, or rename the file to what it is.")
    deadline = time.monotonic() + limits.max_pdf_seconds
    pages: list[str] = []
    num_chars = 0
    try:
        reader = PdfReader(io.BytesIO(data), strict=False)
        if reader.is_encrypted:
            raise InvalidInput(f"{name}: the PDF is encrypted; save it without a password.")
        if len(reader.pages) > limits.max_pdf_pages:
            raise TooLarge(f"{name}: more than {limits.max_pdf_pages} pages; split it.")
        for page in reader.pages:
            if time.monotonic() > deadline:
                raise TooLarge(f"{name}: reading took over {limits.max_pdf_seconds:.0f} s; upload its text instead.")
            text = page.extract_text().translate(CONTROLS)
            text = text.encode("utf-8", "ignore").decode()  # fonts may map to lone surrogates
            num_chars += len(text)
            if num_chars > limits.max_text_chars:
                raise TooLarge(f"{name}: more than {limits.max_text_chars:,} characters; split it.")
            pages.append(text)
    except SagaForgeError:
        raise
    except Exception as exc:  # pypdf raises whatever a broken file provokes: KeyError, RecursionError, its own …
        raise InvalidInput(f"{name}: the PDF can't be read ({type(exc).__name__}); export it again.") from exc
    text = "\n\n".join(pages)
    if not text.strip():
        raise InvalidInput(f"{name}: the PDF holds no text, only pictures of it; upload the text.")
    return text
