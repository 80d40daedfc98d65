"""Pictures for OpenAI's clients: their request becomes ours, and our answer theirs.

Source: https://platform.openai.com/docs/api-reference/images/create
"""

from __future__ import annotations

import base64
import re
import time
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sagaforge.errors import InvalidInput, NotFound
from sagaforge.functions.images import Studio, generate_image
from sagaforge.image_schemas import MAX_SEED, ImageRequest, Side, Steps
from sagaforge.schemas import Identifier, Shape

SIZE = re.compile(r"([0-9]{2,4})x([0-9]{2,4})")
ONE_SIDE: TypeAdapter[int] = TypeAdapter(Side)


class ImageGeneration(BaseModel):
    """What an `openai` client sends. `style_preset`, `seed`, `negative_prompt` and `steps` are ours (its `extra_body`);
    `quality`, `background` and the like are taken and mean nothing here."""

    model_config = ConfigDict(
        extra="allow",
        strict=True,
        json_schema_extra={"examples": [{"prompt": "a harbour at night", "size": "512x512"}]},
    )

    prompt: str = Field(min_length=1, max_length=4000)
    model: str | None = Field(None, max_length=200)
    n: int | None = Field(1, ge=1, le=8)
    size: str | None = Field(None, max_length=20)
    response_format: Literal["url", "b64_json"] | None = None
    stream: Literal[False] | None = None
    style_preset: Identifier | None = None
    negative_prompt: str | None = Field(None, max_length=4000)
    seed: int | None = Field(None, ge=0, le=MAX_SEED)
    steps: Steps | None = None


class ImageData(Shape):
    url: str | None = None
    b64_json: str | None = None
    revised_prompt: str | None = None


class ImagesResponse(Shape):
    created: int
    data: list[ImageData]


async def image_generations(
    request: ImageGeneration, *, base_url: str, idempotency_key: str | None, studio: Studio
) -> ImagesResponse:
    """Raises what `images.stream_image` raises; `InvalidInput` for a size, `NotFound` for a model."""
    model_id = studio.profile.model.model_id
    if request.model not in (None, model_id):
        raise NotFound(f"There is no image model {request.model!r}; the one that runs is {model_id!r}.")
    width, height = _size(request.size)
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
    for image in answer.images:
        one = ImageData(revised_prompt=image.metadata.prompt)
        if request.response_format == "url":
            one.url = base_url.rstrip("/") + image.image_url
        else:
            row = await studio.gallery.get(image.image_id)
            assert row is not None, "what was answered is stored"
            one.b64_json = base64.b64encode(await studio.gallery.png(row)).decode()
        data.append(one)
    return ImagesResponse(created=int(time.time()), data=data)


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
