"""The suspicious readers under `packs`: the limits of an upload, bounded bytes and zip. `readers` has the others.

Nothing here trusts a declared size: bytes are counted as they come out of the decompressor, and no archive member is
ever written to a disk.
"""

from __future__ import annotations

import codecs
import io
import stat
import struct
import unicodedata
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from sagaforge.datasets.packs.file_names import decode_names, marked_name, raw_name
from sagaforge.errors import InvalidInput, SagaForgeError, TooLarge, UnsupportedType

MIB = 1024**2
READ_BYTES = 64 * 1024
MEMBER_SUFFIXES = (".yaml", ".yml", ".md", ".txt", ".toml")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst", ".jar", ".charx")
YAML_NAMES = ("characters.yaml", "characters.yml", "scenes.yaml", "scenes.yml")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
ENCRYPTED_FLAG = 0x1
MAX_SAMPLE_CHARS = 200_000  # of the texts inside, to find what encoding the names are in


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
    max_pdf_bytes: int = 1024 * MIB  # of memory; 300 pages of text take 30 MiB


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


def read_zip(name: str, file: BinaryIO, limits: UploadLimits, encoding: str | None = None) -> dict[str, bytes]:
    """The members a pack may have, by their path inside it; a single top folder is taken off.

    Images are passed over (later features read them); whatever else is unknown is refused by name. Names that don't
    say their encoding are in `encoding`, or in the one that is found (`file_names`).
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
            return _read_members(name, archive, limits, encoding)
    except SagaForgeError:
        raise
    except UnicodeDecodeError as exc:
        raise InvalidInput(f"{name}: a file's name is marked as UTF-8 and is none; rename it and pack again.") from exc
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


def _read_members(name: str, archive: zipfile.ZipFile, limits: UploadLimits, encoding: str | None) -> dict[str, bytes]:
    infos = archive.infolist()
    if len(infos) > limits.max_files:
        raise TooLarge(f"{name}: more than {limits.max_files} files. Remove what is not lore.")
    infos = [info for info in infos if not _is_litter(info.filename)]
    paths = _paths(name, archive, infos, limits, encoding)
    files = [(info, path) for info, path in zip(infos, paths, strict=True) if not info.is_dir()]
    if not files:
        raise InvalidInput(f"{name}: the zip holds no files.")
    contents: dict[str, bytes] = {}
    seen: set[str] = set()
    total = 0
    for info, path in files:
        key = unicodedata.normalize("NFC", path).casefold()  # macOS takes accents off their letters
        if key in seen:
            raise InvalidInput(f"{name}: {path!r} is in the zip twice; remove one.")
        seen.add(key)
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


def _paths(
    name: str, archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo], limits: UploadLimits, encoding: str | None
) -> list[str]:
    """The checked path of each entry, less a single top folder: its name is not kept, so it needs no encoding."""
    raws = [raw_name(info) for info in infos]
    top = _single_top([raw for raw, info in zip(raws, infos, strict=True) if not info.is_dir()])
    if top.isascii() and infos and top:
        _safe_path(name, infos[0], top.decode("ascii"), limits)
    marked = [marked_name(info) for info in infos]
    unmarked = [raw.removeprefix(top) for raw, path in zip(raws, marked, strict=True) if path is None]
    is_asked = encoding is None and not all(map(bytes.isascii, unmarked))
    found = iter(decode_names(name, unmarked, encoding, _sample_texts(archive, infos) if is_asked else ""))
    paths = []
    for info, path in zip(infos, marked, strict=True):
        if path is None:
            path = next(found)
        elif top and "/" in path:
            path = path.split("/", 1)[1]
        paths.append(_safe_path(name, info, path, limits) if path or not info.is_dir() else path)
    return paths


def _sample_texts(archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo]) -> str:
    """The beginnings of the UTF-8 texts inside."""
    texts: list[str] = []
    for info in infos:
        if info.flag_bits & ENCRYPTED_FLAG or not info.filename.lower().endswith(MEMBER_SUFFIXES):
            continue
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            continue
        with archive.open(info) as member:
            data = member.read(READ_BYTES)
        try:
            texts.append(codecs.getincrementaldecoder("utf-8")().decode(data))
        except UnicodeDecodeError:
            continue
        if sum(map(len, texts)) >= MAX_SAMPLE_CHARS:
            break
    return "\n".join(texts)


def _safe_path(name: str, info: zipfile.ZipInfo, path: str, limits: UploadLimits) -> str:
    """The path, or an error: nothing here is extracted, but a path becomes a source that others show."""
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


def _single_top(paths: list[bytes]) -> bytes:
    tops = {path.split(b"/", 1)[0] + b"/" for path in paths if b"/" in path}
    return tops.pop() if len(tops) == 1 and all(b"/" in path for path in paths) else b""
