"""Uploads → packs: what a writer sends, read with suspicion.

A world pack is a zip of `characters.yaml`, `scenes.yaml`, `lorebook.md`, `style.toml` and further `.md` or `.txt`
files, all optional but at least one; a single `.txt`, `.md` or `.pdf` is a pack of one document. Everything that is
wrong with an upload is an error of 4xx that names the file and says what to do; nothing is ever extracted to disk.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, BinaryIO, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from sagaforge.datasets.archives import UploadLimits, read_bounded, read_zip
from sagaforge.datasets.encodings import codec_name
from sagaforge.datasets.file_names import sent_name
from sagaforge.datasets.pdf import read_pdf
from sagaforge.datasets.readers import decode_text, load_yaml
from sagaforge.datasets.text import Language, detect_language
from sagaforge.errors import InvalidInput, TooLarge, UnsupportedType
from sagaforge.schemas import Identifier

__all__ = ["Character", "Document", "Pack", "Scene", "UploadLimits", "read_upload"]

TEXT_SUFFIXES = (".md", ".txt")
UPLOAD_SUFFIXES = (".zip", ".txt", ".md", ".pdf")
PACK_FILES = "characters.yaml, scenes.yaml, lorebook.md, style.toml and further .md or .txt files"
MAX_FIELD_CHARS = 20_000
NAME_SAMPLE_BYTES = 64 * 1024  # of a text, to find what encoding its name is in

Text = str | int | float
Detail = Text | list[Text] | dict[str, Text | list[Text]]


class _Entry(BaseModel):
    """A character or a scene. Further fields are kept when they are text, lists or one level of keys."""

    model_config = ConfigDict(extra="allow", str_strip_whitespace=True, str_max_length=MAX_FIELD_CHARS)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, value: Any) -> Any:
        return {k: v for k, v in value.items() if v is not None and v != ""} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _check_extras(self) -> _Entry:
        for key, value in (self.model_extra or {}).items():
            if len(key) > 60:
                raise ValueError(f"the field name {key[:30]!r}… is too long")
            try:
                TypeAdapter(Detail).validate_python(value)
            except ValidationError:
                raise ValueError(f"{key}: must be text, a list of texts, or keys with texts") from None
        return self


class Character(_Entry):
    """One of `characters.yaml`. `appearance` is text, or keys such as hair_color, eye_color, height, build."""

    name: str = Field(min_length=1, max_length=120)
    description: str = ""
    appearance: str | dict[str, Text | list[Text]] = ""
    personality: str = ""
    background: str = ""
    relationships: dict[str, str] = Field(default_factory=dict)
    goals: list[str] = Field(default_factory=list)

    @field_validator("goals", mode="before")
    @classmethod
    def _one_goal(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("personality", mode="before")
    @classmethod
    def _traits(cls, value: Any) -> Any:
        return _joined(value, ", ")


class Scene(_Entry):
    """One of `scenes.yaml`. `npcs` are character ids or names."""

    title: str = Field(min_length=1, max_length=120)
    description: str = ""
    location: str = ""
    atmosphere: str = ""
    details: str = ""
    npcs: list[str] = Field(default_factory=list)

    @field_validator("details", mode="before")
    @classmethod
    def _notes(cls, value: Any) -> Any:
        return _joined(value, "\n")


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
    name = PurePosixPath(sent_name(filename, encoding, sample).replace("\\", "/")).name
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
        lowered = path.lower().replace(".yml", ".yaml")
        if lowered == "characters.yaml":
            characters = _entries(path, text, "characters", Character, "name", limits)
        elif lowered == "scenes.yaml":
            scenes = _entries(path, text, "scenes", Scene, "title", limits)
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


def _joined(value: Any, separator: str) -> Any:
    """A list of texts as one text; anything else as it is, for the field's own check."""
    return separator.join(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else value


EntryT = TypeVar("EntryT", Character, Scene)


def _entries(
    path: str, text: str, key: str, model: type[EntryT], name_field: str, limits: UploadLimits
) -> dict[str, EntryT]:
    """`{key: {id: {...}}}`, `{key: [{id, ...}]}`, or either without the outer key."""
    raw = load_yaml(path, text, limits)
    if raw is None:
        return {}
    if isinstance(raw, dict) and key in raw:
        unknown = set(raw) - {key}
        if unknown:
            raise InvalidInput(
                f"{path}: only {key!r} may stand at the top, not {_shown(sorted(map(str, unknown))[0])}."
            )
        raw = raw[key]
    rows: list[tuple[Any, Any]]
    if raw is None:
        return {}
    if isinstance(raw, list):
        if not all(isinstance(row, dict) for row in raw):
            raise InvalidInput(f"{path}: each entry of the list must have keys: id, {name_field}, …")
        rows = [(row.get("id"), {k: v for k, v in row.items() if k != "id"}) for row in raw]
    elif isinstance(raw, dict):
        rows = [
            (k, {kk: v for kk, v in row.items() if kk != "id"} if isinstance(row, dict) else row)
            for k, row in raw.items()
        ]
    else:
        raise InvalidInput(f"{path}: expected `{key}:` with an id for each, found {type(raw).__name__}.")
    if len(rows) > limits.max_entries:
        raise TooLarge(f"{path}: {len(rows)} entries are more than the {limits.max_entries} allowed.")

    entries: dict[str, EntryT] = {}
    identifier = TypeAdapter(Identifier)
    for entry_id, row in rows:
        shown = _shown(entry_id)
        try:
            checked = identifier.validate_python(str(entry_id) if isinstance(entry_id, int) else entry_id)
        except ValidationError:
            raise InvalidInput(
                f"{path}: {shown} is no id; use letters, digits, '_', '.' and '-', at most 64, and write the "
                f"displayed name under `{name_field}`."
            ) from None
        if checked in entries:
            raise InvalidInput(f"{path}: the id {shown} is used twice; rename one.")
        if not isinstance(row, dict) or not all(isinstance(k, str) for k in row):
            raise InvalidInput(f"{path}: {shown} must have keys such as {name_field} and description.")
        if not row.get(name_field):
            row = {**row, name_field: row.get("name") or row.get("title") or checked}
        try:
            entries[checked] = model.model_validate(row)
        except ValidationError as exc:
            raise _invalid(path, checked, exc) from None
    return entries


def _invalid(path: str, entry_id: str, exc: ValidationError) -> InvalidInput:
    first = exc.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part)[:40] for part in (entry_id, *first["loc"]))
    return InvalidInput(f"{path}: {where}: {first['msg']}.")


def _style(path: str, text: str, limits: UploadLimits) -> dict[str, Any]:
    if len(text) > limits.max_yaml_chars:
        raise TooLarge(f"{path}: longer than {limits.max_yaml_chars:,} characters.")
    try:
        style = tomllib.loads(text.replace("\r\n", "\n"))
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise InvalidInput(f"{path}: not valid TOML: {str(exc)[:200] or 'too deep'}.") from None
    for section, content in style.items():
        if not isinstance(content, dict):
            raise InvalidInput(f"{path}: {_shown(section)} must stand in a section such as [visual_style].")
    return style


def _title(stem: str, documents: list[Document]) -> str:
    """The lorebook's first heading, or else the file's name made readable."""
    for document in sorted(documents, key=lambda d: d.source.lower() != "lorebook.md"):
        first = document.text.lstrip().split("\n", 1)[0]
        if document.source.lower().endswith(".md") and first.startswith("# ") and first[2:].strip():
            return first[2:].strip()[:120]
    return stem.replace("_", " ").replace("-", " ").strip()[:120] or "Untitled"


def _shown(value: Any) -> str:
    return repr(str(value)[:60])
