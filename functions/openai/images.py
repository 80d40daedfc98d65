"""Pictures for OpenAI's clients: their request becomes ours, and our answer theirs.

Source: https://platform.openai.com/docs/api-reference/images/create
"""

from __future__ import annotations

import asyncio
import base64
import io
import re
import time
from typing import Annotated, Literal

from PIL import Image
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from sagaforge.errors import InvalidInput, NotFound
from sagaforge.functions.images.generate import Studio, generate_image
from sagaforge.image_schemas import MAX_SEED, ImageRequest, Side, Steps
from sagaforge.schemas import Identifier, Shape

SIZE = re.compile(r"([0-9]{2,4})x([0-9]{2,4})")
ONE_SIDE: TypeAdapter[int] = TypeAdapter(Side)
DEFAULT_COMPRESSION = 100
# What has no meaning here though OpenAI's clients send it, and what is said of it.
MEANINGLESS = {
    "quality": "quality has no effect: the model has one; send `steps` for more care.",
    "style": "style has no effect: `style_preset` chooses a style.",
    "moderation": "moderation has no effect: there is none.",
}


class ImageGeneration(Shape):
    """What an `openai` client sends. `style_preset`, `seed`, `negative_prompt` and `steps` are ours (its `extra_body`).
    `quality`, `style`, `moderation` and `user` are taken and change nothing."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"prompt": "a harbour at night", "size": "512x512"}]})

    prompt: str = Field(min_length=1, max_length=4000)
    model: str | None = Field(None, max_length=200)
    n: int | None = Field(1, ge=1, le=8)
    size: str | None = Field(None, max_length=20)
    response_format: Literal["url", "b64_json"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = Field(
        None, description="of JPEG and WebP: 100 is the best quality"
    )
    background: Literal["auto", "opaque"] | None = None
    quality: Literal["auto", "low", "medium", "high", "standard", "hd"] | None = None
    style: Literal["vivid", "natural"] | None = None
    moderation: Literal["auto", "low"] | None = None
    user: str | None = Field(None, max_length=1000)
    stream: Literal[False] | None = None
    partial_images: Literal[0] | None = None
    style_preset: Identifier | None = None
    negative_prompt: str | None = Field(None, max_length=4000)
    seed: int | None = Field(None, ge=0, le=MAX_SEED)
    steps: Steps | None = None


class ImageData(Shape):
    url: str | None = None
    b64_json: str | None = None
    revised_prompt: str | None = None


class ImagesResponse(Shape):
    """`notes`: what was done that nobody asked for, and what of the request has no effect here."""

    created: int
    data: list[ImageData]
    output_format: str = "png"
    notes: list[str] = Field(default_factory=list)


async def image_generations(
    request: ImageGeneration, *, base_url: str, idempotency_key: str | None, studio: Studio
) -> ImagesResponse:
    """Raises what `images.stream_image` raises; `InvalidInput` for a size or a format, `NotFound` for a model."""
    model_id = studio.profile.model.model_id
    if request.model not in (None, model_id):
        raise NotFound(f"There is no image model {request.model!r}; the one that runs is {model_id!r}.")
    width, height = _size(request.size)
    form = _format(request)
    ours = ImageRequest(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        num_images=request.n or 1,
        style_preset=request.style_preset,
        seed=request.seed,
        steps=request.steps,
        width=width,
        height=height,
    )
    answer = await generate_image(ours, idempotency_key=idempotency_key, studio=studio)
    data = []
    notes = [note for image in answer.images for note in image.metadata.notes]
    for image in answer.images:
        one = ImageData(revised_prompt=image.metadata.prompt)
        if request.response_format == "url":
            one.url = base_url.rstrip("/") + image.image_url
        else:
            row = await studio.gallery.get(image.image_id)
            assert row is not None, "what was answered is stored"
            png = await studio.gallery.png(row)
            body = await asyncio.to_thread(_as, form, request.output_compression, png)
            one.b64_json = base64.b64encode(body).decode()
        data.append(one)
    notes += [said for name, said in MEANINGLESS.items() if getattr(request, name) not in (None, "auto")]
    return ImagesResponse(created=int(time.time()), data=data, output_format=form, notes=list(dict.fromkeys(notes)))


def _format(request: ImageGeneration) -> str:
    form = request.output_format or "png"
    if form != "png" and request.response_format == "url":
        raise InvalidInput(f"output_format {form} comes as b64_json: what lies at a url is a PNG.")
    if form == "png" and request.output_compression not in (None, DEFAULT_COMPRESSION):
        raise InvalidInput("output_compression is of jpeg and webp: send output_format too, or leave it out.")
    return form


def _as(form: str, compression: int | None, png: bytes) -> bytes:
    """The picture in another format: without its receipt, with its watermark. WebP of the best quality is lossless."""
    if form == "png":
        return png
    quality = DEFAULT_COMPRESSION if compression is None else compression
    out = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        options = {"lossless": True} if form == "webp" and quality == DEFAULT_COMPRESSION else {}
        image.convert("RGB").save(out, form, quality=quality, **options)
    return out.getvalue()


def _size(text: str | None) -> tuple[int | None, int | None]:
    if text in (None, "auto"):
        return None, None
    found = SIZE.fullmatch(text or "")
    try:
        width, height = (ONE_SIDE.validate_python(int(side)) for side in found.groups()) if found else (0, 0)
    except ValidationError:
        width = 0
    if not width:
        raise InvalidInput(f"size must be WIDTHxHEIGHT of 64 to 2048 and multiples of 8, or auto; it is {text!r}.")
    return width, height
