"""Characters and scenes of a pack, as `characters.yaml` and `scenes.yaml` have them."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from sagaforge.datasets.packs.plain_yaml import filled, line_of, read_yaml
from sagaforge.datasets.packs.zip_archive import UploadLimits
from sagaforge.errors import InvalidInput, TooLarge
from sagaforge.schemas import Identifier
from sagaforge.text.characters import check_name

MAX_FIELD_CHARS = 20_000
MAX_ENTRY_NAME_CHARS = 120
MAX_KEY_CHARS = 60

Place = tuple[str | int, ...]
"""Keys and indices down to something in a file."""
Detail = str | list[str] | dict[str, str | list[str]]
IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)
DETAIL: TypeAdapter[Detail] = TypeAdapter(Detail)
# What a field must be, where that is not simply a text.
EXPECTED = {
    "appearance": "must be text, or keys with texts or lists of texts",
    "relationships": "must be keys with a text each, such as {tam: She trusts Tam.}",
    "goals": "must be a text or a list of texts",
    "npcs": "must be a list of character ids or names",
    "personality": "must be a text or a list of texts",
    "details": "must be a text or a list of texts",
}


class _Entry(BaseModel):
    """A character or a scene. Further fields are kept when they are text, lists or one level of keys."""

    model_config = ConfigDict(extra="allow", str_strip_whitespace=True, str_max_length=MAX_FIELD_CHARS)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, value: Any) -> Any:
        return filled(value)

    @model_validator(mode="after")
    def _check_extras(self) -> _Entry:
        for key, value in (self.model_extra or {}).items():
            if len(key) > MAX_KEY_CHARS:
                raise ValueError(f"the field name {key[:30]!r}… is longer than {MAX_KEY_CHARS} characters")
            try:
                DETAIL.validate_python(value)
            except ValidationError:
                raise ValueError(f"{key}: must be text, a list of texts, or keys with texts") from None
        return self


class Character(_Entry):
    """One of `characters.yaml`. `appearance` is text, or keys such as hair_color, eye_color, height, build."""

    name: str = Field(min_length=1, max_length=MAX_ENTRY_NAME_CHARS)
    description: str = ""
    appearance: str | dict[str, str | list[str]] = ""
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

    title: str = Field(min_length=1, max_length=MAX_ENTRY_NAME_CHARS)
    description: str = ""
    location: str = ""
    atmosphere: str = ""
    details: str = ""
    npcs: list[str] = Field(default_factory=list)

    @field_validator("npcs", mode="before")
    @classmethod
    def _one_npc(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("details", mode="before")
    @classmethod
    def _notes(cls, value: Any) -> Any:
        return _joined(value, "\n")


EntryT = TypeVar("EntryT", Character, Scene)


def read_entries(
    path: str, text: str, key: str, model: type[EntryT], name_field: str, limits: UploadLimits
) -> dict[str, EntryT]:
    """The entries of `{key: {id: {...}}}`, of `{key: [{id, ...}]}`, or of either without the outer key, by id.

    Raises `InvalidInput` with file, line and field, or `TooLarge`.
    """
    rows = _rows(path, text, key, name_field, limits)
    if len(rows) > limits.max_entries:
        raise TooLarge(f"{path}: {len(rows)} entries are more than the {limits.max_entries} allowed.")
    entries: dict[str, EntryT] = {}
    for place, entry_id, row in rows:
        try:
            if IDENTIFIER.validate_python(entry_id) in entries:
                raise InvalidInput(f"{_at(path, text, place)}: the id {_shown(entry_id)} is used twice; rename one.")
        except ValidationError:
            raise InvalidInput(
                f"{_at(path, text, place)}: {_shown(entry_id)} is no id; use letters, digits, '_', '.' and '-', at "
                f"most 64, and write the displayed name under `{name_field}`."
            ) from None
        if not isinstance(row, dict):
            raise InvalidInput(
                f"{_at(path, text, place)}: {_shown(entry_id)} must have keys such as {name_field} and description."
            )
        entries[entry_id] = _entry(path, text, place, entry_id, row, model, name_field)
    return entries


def _entry(
    path: str, text: str, place: Place, entry_id: str, row: dict[str, Any], model: type[EntryT], name_field: str
) -> EntryT:
    try:
        entry = model.model_validate(_named(row, entry_id, name_field))
    except ValidationError as exc:
        raise _invalid(path, text, place, entry_id, row, exc) from None
    try:
        check_name(getattr(entry, name_field), f"{entry_id}.{name_field}")
    except InvalidInput as exc:  # the line is looked for only now
        raise InvalidInput(f"{_at(path, text, (*place, name_field))}: {exc.detail}") from None
    return entry


def _rows(path: str, text: str, key: str, name_field: str, limits: UploadLimits) -> list[tuple[Place, str, Any]]:
    """Where each entry stands in the file, its id, and its fields."""
    place: Place = ()
    raw = read_yaml(path, text, limits)
    if isinstance(raw, dict) and key in raw:
        if unknown := set(raw) - {key}:
            other = min(unknown)
            raise InvalidInput(
                f"{_at(path, text, (other,))}: only {key!r} may stand at the top, not {_shown(other)}; indent it under "
                f"`{key}:`, or remove it."
            )
        raw = raw[key]
        place = (key,)
    if isinstance(raw, dict):
        rows = [((*place, entry_id), entry_id, row) for entry_id, row in raw.items()]
    elif isinstance(raw, list):
        for index, row in enumerate(raw):
            if not isinstance(row, dict) or not isinstance(row.get("id"), str):
                raise InvalidInput(
                    f"{_at(path, text, (*place, index))}: each entry of the list must have keys: id, {name_field}, …"
                )
        rows = [((*place, index), row["id"], row) for index, row in enumerate(raw)]
    elif raw == "":
        return []
    else:
        raise InvalidInput(f"{path}: expected `{key}:` with an id for each, found only {_shown(raw)}.")
    return [
        (at, entry_id, {k: v for k, v in row.items() if k != "id"} if isinstance(row, dict) else row)
        for at, entry_id, row in rows
    ]


def _named(row: dict[str, Any], entry_id: str, name_field: str) -> dict[str, Any]:
    """The row with its name: an entry without one is shown by its id, but one left empty is a mistake."""
    if name_field in row:
        return row
    return {**row, name_field: row.get("name") or row.get("title") or entry_id}


def _invalid(path: str, text: str, place: Place, entry_id: str, row: Any, exc: ValidationError) -> InvalidInput:
    """A refusal in words of the pack's format, from the first thing that its schema says."""
    first = exc.errors(include_url=False, include_input=False)[0]
    inner: Place = ()
    for part in first["loc"]:  # a union's branches stand in it too
        if part in row if isinstance(row, dict) else isinstance(row, list) and isinstance(part, int):
            row, inner = row[part], (*inner, part)
    field = str(first["loc"][0]) if first["loc"] else ""
    context = first.get("ctx", {})
    words = {
        "missing": "is empty; write a text",
        "string_too_short": "is empty; write a text",
        "string_too_long": f"has more than the {context.get('max_length', 0):,} characters allowed; shorten it",
        "value_error": str(context.get("error", "")),
    }.get(first["type"]) or EXPECTED.get(field, "must be text")
    where = ".".join(str(part)[:40] for part in (entry_id, *(inner or first["loc"])))
    return InvalidInput(f"{_at(path, text, (*place, *inner))}: {where}: {words}.")


def _joined(value: Any, separator: str) -> Any:
    """A list of texts as one text; anything else as it is, for the field's own check."""
    return separator.join(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else value


def _at(path: str, text: str, place: Place) -> str:
    return f"{path}, line {line_of(text, place)}"


def _shown(value: Any) -> str:
    return repr(str(value)[:60])
