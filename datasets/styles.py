"""Style presets: YAML files that say how a prompt becomes a picture of one style. Five are shipped; a studio adds its
own by a file of the same form in `artefacts/styles/` of its storage.
"""

from __future__ import annotations

import asyncio
import string
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from sagaforge.datasets.packs.plain_yaml import filled, read_yaml
from sagaforge.errors import InvalidInput, NotFound
from sagaforge.image_schemas import AdapterName, Guidance, SchedulerName, Side, Steps
from sagaforge.schemas import Identifier
from sagaforge.storage import Storage, artefact_key
from sagaforge.text.characters import check_text, with_plain_line_ends

MAX_FILE_CHARS = 20_000
FOLDER = "styles"
Text = Annotated[str, StringConstraints(max_length=1000)]
FIELDS = ("prompt", "style_suffix", "trigger_words")


class StyleParams(BaseModel):
    """What a request leaves open is taken from here."""

    model_config = ConfigDict(extra="forbid")

    width: Side | None = None
    height: Side | None = None
    steps: Steps | None = None
    cfg_scale: Guidance | None = None
    scheduler: SchedulerName | None = None


class StyleVariant(BaseModel):
    """The style for the pocket model, which knows few words and one size."""

    model_config = ConfigDict(extra="forbid")

    style_suffix: Text = ""
    negative_prompt: Text = ""
    default_params: StyleParams = Field(default_factory=StyleParams)


class StylePreset(BaseModel):
    """One style. `prompt_template` holds `{prompt}`, and may hold `{style_suffix}` and `{trigger_words}`; what it does
    not hold is added at the end."""

    model_config = ConfigDict(extra="forbid")

    style_id: Identifier
    title: str = Field("", max_length=80)
    base_model: str = Field(max_length=200)
    prompt_template: Text = "{prompt}"
    style_suffix: Text = ""
    negative_prompt: Text = ""
    default_params: StyleParams = Field(default_factory=StyleParams)
    lora_path: AdapterName | None = None
    lora_scale: float = Field(1.0, ge=-2.0, le=2.0)
    trigger_words: list[Annotated[str, StringConstraints(min_length=1, max_length=60)]] = Field(default_factory=list)
    pocket: StyleVariant | None = None

    @field_validator("lora_path", mode="before")
    @classmethod
    def _adapter_name(cls, path: Any) -> Any:
        """Older presets hold the path of a file; here an adapter has a name."""
        if not isinstance(path, str):
            return path
        name = PurePosixPath(path).name
        return PurePosixPath(name).stem if name.lower().endswith(".safetensors") else name

    @field_validator("prompt_template")
    @classmethod
    def _has_prompt(cls, template: str) -> str:
        try:
            named = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
        except ValueError as exc:
            raise ValueError(f"the template's braces don't match: {exc}") from exc
        if "prompt" not in named:
            raise ValueError("the template must hold {prompt}")
        if unknown := named - set(FIELDS):
            raise ValueError(f"the template holds {{{sorted(unknown)[0]}}}; it may hold {', '.join(FIELDS)}")
        return template

    @model_validator(mode="after")
    def _named(self) -> StylePreset:
        self.title = self.title or self.style_id.replace("_", " ").capitalize()
        return self

    def for_model(self, is_pocket: bool) -> StyleVariant:
        """Suffix, negative prompt and parameters for the model that is running."""
        if is_pocket and self.pocket is not None:
            return self.pocket
        return StyleVariant(
            style_suffix=self.style_suffix, negative_prompt=self.negative_prompt, default_params=self.default_params
        )

    def resolve(self, prompt: str, *, is_pocket: bool) -> str:
        """The prompt as the model gets it."""
        parts = {
            "prompt": prompt,
            "style_suffix": self.for_model(is_pocket).style_suffix,
            "trigger_words": ", ".join(self.trigger_words),
        }
        # By hand and not by str.format: a prompt's own braces are text.
        text = self.prompt_template
        missing = [value for name, value in parts.items() if f"{{{name}}}" not in text and value]
        for name, value in parts.items():
            if name != "prompt":
                text = text.replace(f"{{{name}}}", value)
        text = ", ".join([text, *missing]).replace("{prompt}", prompt)
        return ", ".join(part for piece in text.split(",") if (part := piece.strip()))


def parse_style(text: str, name: str) -> StylePreset:
    """A style from its YAML. Raises `InvalidInput` that says what is wrong, and in which file."""
    if len(text) > MAX_FILE_CHARS:
        raise InvalidInput(f"{name}: a style has at most {MAX_FILE_CHARS} characters.")
    try:
        return StylePreset.model_validate(filled(read_yaml(name, check_text(with_plain_line_ends(text), name))))
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InvalidInput(f"{name}: {where}: {first['msg']}") from exc


@lru_cache
def shipped_styles() -> Mapping[str, StylePreset]:
    """The styles that come with the program, by id."""
    folder = files("sagaforge.datasets") / "style_presets"
    found = [
        parse_style(file.read_text(encoding="utf-8"), file.name)
        for file in folder.iterdir()
        if file.name.endswith(".yaml")
    ]
    return {style.style_id: style for style in sorted(found, key=lambda style: style.style_id)}


class Styles:
    """The shipped styles and a studio's own, which win. A file that can't be used is left out and told of."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        # What was read of each file, by its mark: a style, or what is wrong with it.
        self._known: dict[tuple[str, str | None], StylePreset | str] = {}

    async def all(self) -> tuple[list[StylePreset], list[str]]:
        """The styles, and what is wrong with files that are no good. A file that changed is seen at once."""
        styles, problems = await asyncio.to_thread(self._read)
        return list(styles.values()), problems

    async def get(self, style_id: str) -> StylePreset:
        """The style of that id; `NotFound` names those there are."""
        styles, _ = await asyncio.to_thread(self._read)
        if style_id not in styles:
            raise NotFound(f"There is no style {style_id!r}; there are {', '.join(styles)}.")
        return styles[style_id]

    def _read(self) -> tuple[dict[str, StylePreset], list[str]]:
        styles, problems = dict(shipped_styles()), []
        known: dict[tuple[str, str | None], StylePreset | str] = {}
        owners: dict[str, str] = {}
        for name, mark in self._storage.list_marks(artefact_key(FOLDER)).items():
            if not name.lower().endswith((".yaml", ".yml")):
                continue
            found = self._known.get((name, mark)) if mark is not None else None
            known[name, mark] = found = found or self._read_one(name)
            if isinstance(found, str):
                problems.append(found)
                continue
            if other := owners.get(found.style_id):
                problems.append(f"{other} and {name} are both the style {found.style_id!r}; {name} is used.")
            owners[found.style_id] = name
            styles[found.style_id] = found
        self._known = known
        return styles, problems

    def _read_one(self, name: str) -> StylePreset | str:
        try:
            return parse_style(self._storage.get_object(artefact_key(f"{FOLDER}/{name}")).decode(), name)
        except UnicodeDecodeError:
            return f"{name} is not UTF-8."
        except (InvalidInput, NotFound) as exc:
            return exc.detail
