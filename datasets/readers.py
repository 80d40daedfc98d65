"""The suspicious readers of a single file under `packs`: text encodings, YAML and PDF.

YAML is scanned for its size and depth before anything is built; a PDF is bounded in pages, seconds and characters.
"""

from __future__ import annotations

import io
import time
from typing import Any

from sagaforge.datasets.archives import UploadLimits
from sagaforge.errors import InvalidInput, SagaForgeError, TooLarge

BOMS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
CONTROLS = dict.fromkeys([*range(0x09), 0x0B, *range(0x0E, 0x20), 0x7F])
PLAIN_TAGS = ("tag:yaml.org,2002:null",)


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


def _num_controls(text: str) -> int:
    return len(text) - len(text.translate(CONTROLS))


# --- YAML -------------------------------------------------------------------------------------------------------------


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
            if tag := getattr(event, "tag", None):
                raise InvalidInput(f"{name}: tags ({str(tag)[:40]}) are not allowed; write plain text.")
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
        first: [(tag, pattern) for tag, pattern in resolvers if tag in PLAIN_TAGS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return StrictLoader


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
