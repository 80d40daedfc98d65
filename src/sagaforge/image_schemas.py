"""The shapes of pictures that cross a boundary: requests, answers, events, and their receipts."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, field_validator

from sagaforge.schemas import Identifier, Shape, Timestamp, Turn
from sagaforge.text.characters import REFUSED_IN_NAMES

SchedulerName = Literal["dpmpp_2m", "dpmpp_2m_karras", "euler", "euler_a", "ddim", "unipc"]
ImageType = Literal["background", "character", "portrait"]
Fit = Literal["crop", "pad", "stretch"]

MAX_SEED = 2**63 - 1
MAX_IMAGE_BYTES = 20 * 1024**2
MAX_ENCODED_CHARS = 28 * 1024**2  # base64 of MAX_IMAGE_BYTES, with some room for a data URL's head
MAX_IMAGES = 8
MAX_ADAPTERS = 8
MAX_ADAPTER_SCALE = 4.0
MAX_RESOLVED_CHARS = 10_000  # a prompt with its style around it
MIN_SIDE, MAX_SIDE, SIDE_MULTIPLE = 64, 2048, 8
DEFAULT_STRENGTH = 0.6
# What receipts are read by. 1: brackets in prompts were text, pictures to start from were stretched, and what a mask
# protects was painted with the rest. 2: as docs/images.md says.
RULES = 2

ShortText = Annotated[str, StringConstraints(max_length=200)]
ImageId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE, multiple_of=SIDE_MULTIPLE, description="in pixels")]
Pixels = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Note = Annotated[str, StringConstraints(min_length=2, max_length=2000)]
Steps = Annotated[int, Field(ge=1, le=150)]
Guidance = Annotated[float, Field(ge=0.0, le=30.0)]


def _adapter_name(name: str) -> str:
    name = unicodedata.normalize("NFC", name)
    if name != name.strip() or name.startswith("."):
        raise ValueError("an adapter's name does not begin or end with a space, nor begin with a dot")
    if odd := REFUSED_IN_NAMES.search(name) or re.search(r"[/\\:<>]", name):
        raise ValueError(f"an adapter's name does not hold {odd.group()!a}")
    return name


# The name of a file without its suffix. ":" divides it from a scale (`--lora NAME:SCALE`, `<lora:NAME:SCALE>`).
AdapterName = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_adapter_name)]


class UsedLora(Shape):
    """An adapter by name, with how much of it."""

    name: AdapterName
    scale: float = Field(1.0, ge=-MAX_ADAPTER_SCALE, le=MAX_ADAPTER_SCALE)


class ImageRequest(Shape):
    """What to paint. What is left out comes from the style preset, then from the model, the size from a picture to
    start from."""

    prompt: str = Field(min_length=1, max_length=4000, description="with weights: (word:1.2), and <lora:name:0.8>")
    negative_prompt: str | None = Field(None, max_length=4000)
    width: Side | None = None
    height: Side | None = None
    steps: Steps | None = None
    cfg_scale: Guidance | None = None
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="of the first picture; the next ones count up")
    style_preset: Identifier | None = None
    image_type: ImageType | None = None
    scheduler: SchedulerName | None = None
    lora: list[UsedLora] = Field(
        default_factory=list, max_length=MAX_ADAPTERS, description="each a name, or {name, scale}"
    )
    num_images: int = Field(1, ge=1, le=MAX_IMAGES)
    image: str | None = Field(None, max_length=MAX_ENCODED_CHARS, description="base64 of a picture to start from")
    mask: str | None = Field(
        None, max_length=MAX_ENCODED_CHARS, description="base64; white is painted anew, black is kept, grey is a blend"
    )
    strength: float | None = Field(
        None, gt=0.0, le=1.0, description="how much of the steps a picture to start from goes through (0.6)"
    )
    fit: Fit | None = Field(None, description="what is done to a picture to start from of another shape (crop)")
    world_id: Identifier | None = None
    stream: bool = False

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompt": "a girl with silver hair and green eyes on a harbour at night",
                    "style_preset": "anime_style",
                    "seed": 7,
                }
            ]
        }
    )

    @field_validator("lora", mode="before")
    @classmethod
    def _names_alone(cls, value: Any) -> Any:
        return [{"name": one} if isinstance(one, str) else one for one in value] if isinstance(value, list) else value


class UsedAdapter(Shape):
    """An adapter as it was used."""

    name: AdapterName
    scale: float = Field(ge=-MAX_ADAPTER_SCALE, le=MAX_ADAPTER_SCALE)
    sha256: ShortText | None = None
    license: ShortText | None = None


class Receipt(Shape):
    """Everything that is needed to make the picture again, and to know whose work is in it.

    request: as the caller sent it, without pictures; prompt, negative_prompt: as the model got them; width, height: of
    the picture; painted_width, painted_height: as the model painted it, before it was enlarged; shown_part: width and
    height of the middle of it that is shown (None: all of it); seed: of this picture; image_sha256, mask_sha256: of
    what it started from, as it was sent; fit: what was done to that; notes: what was done that nobody asked for, in
    sentences; watermark: the number that is hidden in it, in hexadecimal; rules: see RULES.
    """

    rules: int = Field(1, ge=1, le=10**6)
    image_id: ImageId
    created_at: Timestamp
    request: dict[str, Any]
    prompt: str = Field(max_length=MAX_RESOLVED_CHARS)
    negative_prompt: str | None = Field(None, max_length=MAX_RESOLVED_CHARS)
    seed: int = Field(ge=0, le=MAX_SEED)
    width: Side
    height: Side
    painted_width: Side
    painted_height: Side
    shown_part: Annotated[tuple[Pixels, Pixels], Field(strict=False)] | None = None  # JSON has lists alone
    steps: Steps
    cfg_scale: Guidance
    scheduler: SchedulerName
    style_preset: Identifier | None = None
    image_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    mask_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    strength: float | None = Field(None, gt=0.0, le=1.0)
    fit: Fit | None = None
    notes: list[Note] = Field(default_factory=list, max_length=20)
    backend: ShortText
    model: ShortText
    model_sha256: ShortText | None = None
    adapters: list[UsedAdapter] = Field(default_factory=list, max_length=MAX_ADAPTERS + 1)
    versions: dict[ShortText, ShortText] = Field(default_factory=dict, max_length=50)
    worked_s: float | None = Field(None, ge=0.0, le=1e9)
    license: str | None = Field(None, max_length=2000)
    watermark: str | None = Field(None, pattern=r"^[0-9a-f]{10}$")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "image_id": "0123456789abcdef0123456789abcdef",
                    "created_at": "2026-11-22T12:00:00Z",
                    "request": {"prompt": "a harbour at night"},
                    "prompt": "a harbour at night, anime style",
                    "seed": 7,
                    "width": 512,
                    "height": 512,
                    "painted_width": 128,
                    "painted_height": 128,
                    "steps": 16,
                    "cfg_scale": 4.0,
                    "scheduler": "dpmpp_2m",
                    "backend": "engine",
                    "model": "pocket-sdxl",
                }
            ]
        }
    )


class ImageMetadata(Shape):
    prompt: str
    negative_prompt: str | None
    seed: int
    model: str
    generation_time: float = Field(description="seconds, from the first step to the last")
    loras: list[UsedAdapter]
    width: int
    height: int
    steps: int
    cfg_scale: float
    scheduler: str
    style_preset: str | None
    notes: list[str] = Field(default_factory=list, description="what was done that nobody asked for, in sentences")


class GeneratedImage(Shape):
    image_id: str
    image_path: str = Field(description="below the storage's artefacts")
    image_url: str
    thumbnail_url: str
    metadata: ImageMetadata


class ImageAnswer(GeneratedImage):
    """The first picture, and all of them."""

    images: list[GeneratedImage]


class IllustratedTurn(Turn):
    """A turn with the picture that its request asked for, or why there is none."""

    image: GeneratedImage | None = None
    image_problem: str | None = None


class GalleryImage(GeneratedImage):
    """A picture as the gallery lists it; `asked`: the prompt as its maker wrote it."""

    asked: str
    created_at: Timestamp
    world_id: str | None = None
    license: str | None = None
    watermark: str | None = None


class ImageList(Shape):
    """The newest first. `next_before`: hand it on as `before` for the page after this one; None on the last."""

    images: list[GalleryImage]
    next_before: str | None = None


class ImageListRequest(Shape):
    limit: int = Field(24, ge=1, le=100)
    before: datetime | None = Field(None, description="only pictures older than this")
    watermark: str | None = Field(
        None, pattern=r"^[0-9a-f]{10}$", description="only the picture that carries this number"
    )


class ImageRef(Shape):
    image_id: ImageId


class ThumbnailRef(ImageRef):
    size: int = Field(256, ge=1, le=512, description="of the longer side, in pixels; 128, 256 or 512 at least this")


class ImageDetail(GalleryImage):
    receipt: Receipt


class ReplayAnswer(Shape):
    """A picture made again from its receipt. `png`: base64; `receipt`: the new one's; `changed`: which facts differ
    (`model_sha256`, `versions.torch`, `adapters.NAME`, …), and why the pixels might. Nothing is stored."""

    png: str
    receipt: Receipt
    changed: list[str]


class StyleSummary(Shape):
    """A style preset, with suffix, negative prompt and parameters as the running model uses them."""

    style_id: str
    title: str
    base_model: str
    prompt_template: str
    style_suffix: str
    negative_prompt: str
    default_params: dict[str, Any]
    trigger_words: list[str]
    lora: UsedLora | None = None


class StyleList(Shape):
    """`problems`: files of the studio's own styles that can't be used, and why."""

    styles: list[StyleSummary]
    problems: list[str] = Field(default_factory=list)


class ImageModelSummary(Shape):
    """The model that paints, and what a request gets that leaves things open."""

    model_id: str
    backend: str
    max_pixels: int = Field(description="as painted; a larger picture is painted smaller and enlarged")
    steps: int
    cfg_scale: float
    scheduler: SchedulerName
    schedulers: list[SchedulerName]


class ImageModelList(Shape):
    models: list[ImageModelSummary]
    loras: list[str] = Field(description="adapters that there are, by name")
    problems: list[str] = Field(
        default_factory=list, description="files among the adapters that can't be used, and why"
    )
