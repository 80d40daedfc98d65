"""Uploads → packs: what a writer sends, read with suspicion.

A world pack is a zip of `characters.yaml`, `scenes.yaml`, `lorebook.md`, `style.toml` and further `.md` or `.txt`
files, all optional but at least one; a single `.txt`, `.md` or `.pdf` is a pack of one document. Everything that is
wrong with an upload is an error of 4xx that names the file and says what to do; nothing is ever extracted to disk.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, field
from datetime import date, time
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from sagaforge.datasets.packs.encodings import codec_name
from sagaforge.datasets.packs.entries import Character, Scene, read_entries
from sagaforge.datasets.packs.file_names import sent_name
from sagaforge.datasets.packs.pdf import read_pdf
from sagaforge.datasets.packs.text_files import decode_text
from sagaforge.datasets.packs.zip_archive import UploadLimits, read_bounded, read_zip
from sagaforge.datasets.worlds.sections import document_title
from sagaforge.errors import InvalidInput, TooLarge, UnsupportedType
from sagaforge.text.characters import check_name, check_texts
from sagaforge.text.terms import Language, detect_language

__all__ = ["Character", "Document", "Pack", "Scene", "UploadLimits", "read_upload"]

TEXT_SUFFIXES = (".md", ".txt")
UPLOAD_SUFFIXES = (".zip", ".txt", ".md", ".pdf")
PACK_FILES = "characters.yaml, scenes.yaml, lorebook.md, style.toml and further .md or .txt files"
NAME_SAMPLE_BYTES = 64 * 1024  # of a text, to find what encoding its name is in
# Of [visual_style]: what stands in prompts.
STYLE_TEXTS = ("style_preset", "base_prompt", "prompt_suffix", "lighting", "negative_prompt")


@dataclass(frozen=True)
class Document:
    """A text file of the pack, under the path it has there."""

    source: str
    text: str


@dataclass(frozen=True)
class Pack:
    """A world as its author sent it: parsed, checked, not yet cut into chunks."""

    title: str
    language: Language
    documents: tuple[Document, ...] = ()
    characters: dict[str, Character] = field(default_factory=dict)
    scenes: dict[str, Scene] = field(default_factory=dict)
    style: dict[str, Any] = field(default_factory=dict)


def read_upload(filename: str, file: BinaryIO, limits: UploadLimits | None = None, encoding: str | None = None) -> Pack:
    """The pack in an uploaded file, by its extension. `encoding` is that of names and texts which are no UTF-8.

    Raises `UnsupportedType`, `TooLarge` or `InvalidInput`; each message names the file at fault and what to do.
    """
    limits = limits or UploadLimits()
    encoding = None if encoding is None else codec_name(encoding)
    sample = file.read(NAME_SAMPLE_BYTES).decode("utf-8", "ignore")
    file.seek(0)
    sent = sent_name(filename, encoding, sample)
    name = check_name(PurePosixPath(sent.replace("\\", "/")).name or sent, "the name of the file")
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in UPLOAD_SUFFIXES:
        raise UnsupportedType(
            f"{name[:80] or 'The file'!r} can't be read as a world. Upload one of {', '.join(UPLOAD_SUFFIXES)}."
        )
    if suffix == ".zip":
        files = read_zip(name, file, limits, encoding)
    elif suffix == ".pdf":
        if encoding is not None:
            raise InvalidInput("encoding: a PDF tells its own; leave the field out.")
        files = {name: read_pdf(name, read_bounded(name, file, limits.max_upload_bytes), limits).encode()}
    else:
        files = {name: read_bounded(name, file, limits.max_upload_bytes)}
    texts = {path: decode_text(path, data, encoding) for path, data in files.items()}
    pack = _assemble(PurePosixPath(name).stem, texts, limits)
    num_chars = sum(len(document.text) for document in pack.documents)
    if num_chars > limits.max_text_chars:
        raise TooLarge(
            f"{name}: {num_chars:,} characters of text are more than the {limits.max_text_chars:,} allowed. "
            "Split it into several worlds."
        )
    return pack


def _assemble(stem: str, texts: dict[str, str], limits: UploadLimits) -> Pack:
    documents: list[Document] = []
    characters: dict[str, Character] = {}
    scenes: dict[str, Scene] = {}
    style: dict[str, Any] = {}
    for path, text in texts.items():
        check_name(path, f"{stem[:40]}: the name of a file")
        lowered = path.lower().replace(".yml", ".yaml")
        if lowered == "characters.yaml":
            characters = read_entries(path, text, "characters", Character, "name", limits)
        elif lowered == "scenes.yaml":
            scenes = read_entries(path, text, "scenes", Scene, "title", limits)
        elif lowered == "style.toml":
            style = _style(path, text, limits)
        elif lowered.endswith((*TEXT_SUFFIXES, ".pdf")) and text.strip():
            documents.append(Document(path, text))
    if not documents and not characters and not scenes:
        raise InvalidInput(f"There is no lore in {stem!r}: a pack holds {PACK_FILES}, and at least one with text.")
    documents.sort(key=lambda document: document.source)
    sample = "\n".join(
        [d.text[:20_000] for d in documents] + [str(c) for c in [*characters.values(), *scenes.values()]]
    )
    return Pack(_title(stem, documents), detect_language(sample), tuple(documents), characters, scenes, style)


def _style(path: str, text: str, limits: UploadLimits) -> dict[str, Any]:
    if len(text) > limits.max_yaml_chars:
        raise TooLarge(f"{path}: longer than {limits.max_yaml_chars:,} characters.")
    try:
        style = tomllib.loads(text, parse_float=_number_or_text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise InvalidInput(f"{path}: not valid TOML: {str(exc)[:200] or 'too deep'}.") from None
    except ValueError as exc:  # an integer of thousands of digits
        raise InvalidInput(f"{path}: a number is too long; put it in quotes.") from exc
    for section, content in style.items():
        if not isinstance(content, dict):
            raise InvalidInput(f"{path}: {_shown(section)} must stand in a section such as [visual_style].")
    style = _dates_as_typed(style, text, path)
    check_texts(style, path)
    for name in STYLE_TEXTS:
        if not isinstance(style.get("visual_style", {}).get(name, ""), str):
            raise InvalidInput(f"{path}: visual_style.{name} must be text; put it in quotes.")
    return style


def _number_or_text(digits: str) -> float | str:
    """Infinity and NaN are no numbers of JSON, which a world's style is kept as."""
    number = float(digits)
    return number if math.isfinite(number) else digits


def _dates_as_typed(value: Any, text: str, path: str) -> Any:
    """The value with each date and time as the text that stands in the file."""
    if isinstance(value, dict):
        return {key: _dates_as_typed(inner, text, path) for key, inner in value.items()}
    if isinstance(value, list):
        return [_dates_as_typed(inner, text, path) for inner in value]
    if not isinstance(value, date | time):
        return value
    iso = value.isoformat()
    forms = [form.replace("T", between) for form in (iso, iso.replace("+00:00", "Z")) for between in "T t"]
    for form in forms:
        if form in text:
            return form
    raise InvalidInput(f"{path}: the date or time {iso} can't be kept as it was typed; put it in quotes.")


def _title(stem: str, documents: list[Document]) -> str:
    """The lorebook's first heading of the first level, or else another's, or the file's name made readable."""
    for document in sorted(documents, key=lambda d: d.source.lower() != "lorebook.md"):
        if document.source.lower().endswith(".md") and (title := document_title(document.text, document.source)):
            return title
    return stem.replace("_", " ").replace("-", " ").strip() or "Untitled"


def _shown(value: Any) -> str:
    return repr(str(value)[:60])
