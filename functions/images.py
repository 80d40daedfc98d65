"""Verbs on pictures: generate one or several, show them, list styles.

A request is resolved first (style, sizes, seed, adapters); what is resolved decides the picture and its id, so a retry
finds what the first attempt made. Each picture is committed before it is told of.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import io
import secrets
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from PIL import Image
from pydantic import Field, field_validator

from sagaforge.datasets.images import Gallery, StoredImage, artefact_name, derive_image_id
from sagaforge.datasets.styles import StylePreset, Styles
from sagaforge.deployments.diffusion.requests import SchedulerName
from sagaforge.deployments.diffusion.spec import ImageBackend, ImageSpec, Made, Progress
from sagaforge.errors import InvalidInput
from sagaforge.functions.receipts import Receipt, UsedAdapter, with_receipt
from sagaforge.profiles import ImageProfile
from sagaforge.schemas import Identifier, Shape

MAX_SEED = 2**63 - 1
IMAGE_TYPES = {"background": (3, 2), "character": (2, 3), "portrait": (2, 3)}
MAX_ENCODED = 28 * 1024**2  # base64 of 20 MB


class UsedLora(Shape):
    """An adapter by name, with how much of it."""

    name: Identifier
    scale: float = Field(1.0, ge=-4.0, le=4.0)


class ImageRequest(Shape):
    """What to paint. What is left out comes from the style preset, then from the model."""

    prompt: str = Field(min_length=1, max_length=4000)
    negative_prompt: str | None = Field(None, max_length=4000)
    width: int | None = Field(None, ge=64, le=2048, multiple_of=8)
    height: int | None = Field(None, ge=64, le=2048, multiple_of=8)
    steps: int | None = Field(None, ge=1, le=150)
    cfg_scale: float | None = Field(None, ge=0.0, le=30.0)
    seed: int | None = Field(None, ge=0, le=MAX_SEED)
    style_preset: Identifier | None = None
    image_type: Literal["background", "character", "portrait"] | None = None
    scheduler: SchedulerName | None = None
    lora: list[UsedLora] = Field(default_factory=list, max_length=8)
    num_images: int = Field(1, ge=1, le=8)
    image: str | None = Field(None, max_length=MAX_ENCODED, description="base64 of a picture to start from")
    mask: str | None = Field(None, max_length=MAX_ENCODED, description="base64 of a mask: white is painted anew")
    strength: float = Field(0.6, gt=0.0, le=1.0)
    world_id: Identifier | None = None
    stream: bool = False

    @field_validator("lora", mode="before")
    @classmethod
    def _names_alone(cls, value: Any) -> Any:
        return [{"name": one} if isinstance(one, str) else one for one in value] if isinstance(value, list) else value


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


class GeneratedImage(Shape):
    image_id: str
    image_path: str = Field(description="below the storage's artefacts")
    image_url: str
    metadata: ImageMetadata


class ImageAnswer(GeneratedImage):
    """The first picture, and all of them."""

    images: list[GeneratedImage]


class ImageStreamEvent(Shape):
    """One server-sent event: `step` {image, done, total, preview?}, `image` (a GeneratedImage), and last `done` (the whole
    answer). `image` counts from 0; `preview` is a data URL of a small JPEG."""

    event: Literal["step", "image", "done", "error"]
    data: dict[str, Any]


class StyleSummary(Shape):
    style_id: str
    title: str
    prompt_template: str
    style_suffix: str
    negative_prompt: str
    default_params: dict[str, Any]


class StyleList(Shape):
    styles: list[StyleSummary]


@dataclass(frozen=True)
class Planned:
    """One picture of a request. `shown`: the size that was asked for; the model may paint a smaller one."""

    image_id: str
    spec: ImageSpec
    shown: tuple[int, int]
    style: StylePreset | None


def plan(request: ImageRequest, *, styles: Styles, profile: ImageProfile, idempotency_key: str | None) -> list[Planned]:
    """The pictures of a request, fully resolved. Raises `NotFound` for a style, `InvalidInput` for an image."""
    style = styles.get(request.style_preset) if request.style_preset else None
    variant = style.for_model(profile.is_pocket) if style else None
    params = variant.default_params if variant else None
    shown = _size(request, params, profile)
    negative = ", ".join(text for text in (request.negative_prompt, variant.negative_prompt if variant else "") if text)
    adapters = [(one.name, one.scale) for one in request.lora]
    if style is not None and style.lora_path and style.lora_path not in {name for name, _ in adapters}:
        adapters.append((style.lora_path, style.lora_scale))
    spec = ImageSpec(
        prompt=style.resolve(request.prompt, is_pocket=profile.is_pocket) if style else request.prompt,
        negative_prompt=negative or None,
        width=painted(shown, profile)[0],
        height=painted(shown, profile)[1],
        steps=_first(request.steps, params and params.steps, profile.steps),
        guidance_scale=_first(request.cfg_scale, params and params.cfg_scale, profile.guidance_scale),
        seed=0,
        scheduler=_first(request.scheduler, params and params.scheduler, profile.scheduler),
        adapters=tuple(adapters),
        image=_decoded(request.image, "image"),
        mask=_decoded(request.mask, "mask"),
        strength=request.strength,
    )
    seed = request.seed if request.seed is not None else _seed(idempotency_key)
    planned = []
    for number in range(request.num_images):
        one = replace(spec, seed=(seed + number) % (MAX_SEED + 1))
        decisive = {**asdict(one), "model": profile.model.model_id, "source": profile.model.source, "shown": shown}
        for name in ("image", "mask"):
            decisive[name] = hashlib.sha256(decisive[name]).hexdigest() if decisive[name] else None
        planned.append(Planned(derive_image_id(decisive), one, shown, style))
    return planned


async def stream_image(
    request: ImageRequest,
    *,
    idempotency_key: str | None,
    images: ImageBackend,
    gallery: Gallery,
    styles: Styles,
    profile: ImageProfile,
) -> AsyncGenerator[ImageStreamEvent, None]:
    """Paint, and tell of each step. Closing it cancels what is still being painted."""
    planned = plan(request, styles=styles, profile=profile, idempotency_key=idempotency_key)
    events: asyncio.Queue[ImageStreamEvent | BaseException | None] = asyncio.Queue()
    answers: list[GeneratedImage | None] = [None] * len(planned)

    async def paint(number: int) -> None:
        stored = await gallery.get(planned[number].image_id)
        if stored is None:
            stored = await _paint(request, planned[number], number, events, images, gallery)
        answers[number] = _answer(stored)
        await events.put(ImageStreamEvent(event="image", data={"image": number, **_body(answers[number])}))

    async def paint_all() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(len(planned)):
                    group.create_task(paint(number))
        except* Exception as failures:
            await events.put(failures.exceptions[0])
        else:
            await events.put(None)

    painting = asyncio.create_task(paint_all())
    try:
        while (event := await events.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event
        done = [one for one in answers if one is not None]
        answer = ImageAnswer(**done[0].model_dump(), images=done)
        yield ImageStreamEvent(event="done", data=answer.model_dump(mode="json"))
    finally:
        painting.cancel()
        await asyncio.gather(painting, return_exceptions=True)


async def generate_image(events: AsyncGenerator[ImageStreamEvent, None]) -> ImageAnswer:
    """The whole answer of a stream of events."""
    answer = None
    async for event in events:
        if event.event == "done":
            answer = ImageAnswer.model_validate(event.data)
    assert answer is not None, "a stream ends with its answer or raises"
    return answer


async def list_styles(*, styles: Styles, profile: ImageProfile) -> StyleList:
    """The styles as the running model uses them."""
    return StyleList(
        styles=[
            StyleSummary(
                style_id=style.style_id,
                title=style.title,
                prompt_template=style.prompt_template,
                style_suffix=style.for_model(profile.is_pocket).style_suffix,
                negative_prompt=style.for_model(profile.is_pocket).negative_prompt,
                default_params=style.for_model(profile.is_pocket).default_params.model_dump(exclude_none=True),
            )
            for style in styles.all()
        ]
    )


def painted(shown: tuple[int, int], profile: ImageProfile) -> tuple[int, int]:
    """The size that the model paints for a picture of `shown`: of its shape, and of no more pixels than the model knows.
    A model paints larger pictures badly: it repeats itself."""
    width, height = shown
    shrink = min(1.0, (profile.max_pixels / (width * height)) ** 0.5)
    unit = profile.size_unit
    return max(unit, round(width * shrink / unit) * unit), max(unit, round(height * shrink / unit) * unit)


async def _paint(
    request: ImageRequest,
    planned: Planned,
    number: int,
    events: asyncio.Queue[Any],
    images: ImageBackend,
    gallery: Gallery,
) -> StoredImage:
    """One picture, from its first step to its row."""
    spec = replace(planned.spec, preview_every=2 if request.stream else 0)
    painting = images.generate(spec)
    made: Made | None = None
    try:
        async for event in painting:
            if isinstance(event, Progress):
                data: dict[str, Any] = {"image": number, "done": event.done, "total": event.total}
                if event.preview:
                    data["preview"] = "data:image/jpeg;base64," + base64.b64encode(event.preview).decode()
                await events.put(ImageStreamEvent(event="step", data=data))
            else:
                made = event
    finally:
        await painting.aclose()
    assert made is not None, "a back end ends with its picture or raises"
    row, png = await asyncio.to_thread(_finished, request, planned, made)
    return await gallery.add(row, png)


def _finished(request: ImageRequest, planned: Planned, made: Made) -> tuple[StoredImage, bytes]:
    """The row and the PNG, at the size that was asked for and with the receipt in it."""
    spec, facts = planned.spec, made.facts
    with Image.open(io.BytesIO(made.image)) as opened:
        image = opened.convert("RGB")
    if image.size != planned.shown:
        image = image.resize(planned.shown, Image.Resampling.LANCZOS)
    receipt = Receipt(
        image_id=planned.image_id,
        created_at=datetime.now(UTC),
        request=request.model_dump(exclude={"image", "mask", "stream"}, exclude_none=True, mode="json"),
        prompt=spec.prompt,
        negative_prompt=spec.negative_prompt,
        seed=spec.seed,
        width=image.width,
        height=image.height,
        steps=spec.steps,
        cfg_scale=spec.guidance_scale,
        scheduler=spec.scheduler,
        style_preset=request.style_preset,
        backend=str(facts.get("backend", "")),
        model=str(facts.get("model", "")),
        model_sha256=_optional(facts.get("model_sha256")),
        adapters=[UsedAdapter.model_validate(one) for one in facts.get("adapters", [])],  # type: ignore[attr-defined]
        versions=dict(facts.get("versions", {})),  # type: ignore[call-overload]
        worked_s=facts.get("worked_s"),  # type: ignore[arg-type]
    )
    png = with_receipt(image, receipt)
    row = StoredImage(
        id=planned.image_id,
        artefact=artefact_name(planned.image_id),
        sha256=hashlib.sha256(png).hexdigest(),
        width=image.width,
        height=image.height,
        prompt=request.prompt,
        model=receipt.model,
        receipt=receipt.model_dump_json(),
        style_preset=request.style_preset,
        world_id=request.world_id,
        watermark=receipt.watermark,
        license=receipt.license,
        created_at=receipt.created_at,
    )
    return row, png


def _answer(stored: StoredImage) -> GeneratedImage:
    receipt = Receipt.model_validate_json(stored.receipt)
    return GeneratedImage(
        image_id=stored.id,
        image_path=stored.artefact,
        image_url=f"/images/{stored.id}.png",
        metadata=ImageMetadata(
            prompt=receipt.prompt,
            negative_prompt=receipt.negative_prompt,
            seed=receipt.seed,
            model=receipt.model,
            generation_time=receipt.worked_s or 0.0,
            loras=receipt.adapters,
            width=receipt.width,
            height=receipt.height,
            steps=receipt.steps,
            cfg_scale=receipt.cfg_scale,
            scheduler=receipt.scheduler,
            style_preset=receipt.style_preset,
        ),
    )


def _body(answer: GeneratedImage | None) -> dict[str, Any]:
    return answer.model_dump(mode="json") if answer else {}


def _size(request: ImageRequest, params: Any, profile: ImageProfile) -> tuple[int, int]:
    """Width and height as asked; one alone makes a square, none leaves it to the kind of picture, the style, the model."""
    if request.width or request.height:
        return request.width or request.height or 0, request.height or request.width or 0
    if request.image_type in IMAGE_TYPES:
        across, down = IMAGE_TYPES[request.image_type]
        side = (profile.max_pixels / (across * down)) ** 0.5
        unit = max(8, profile.size_unit)
        return round(across * side / unit) * unit, round(down * side / unit) * unit
    if params is not None and params.width and params.height:
        return params.width, params.height
    side = int(profile.max_pixels**0.5)
    return side, side


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _seed(idempotency_key: str | None) -> int:
    """Of a key, so that a retry paints the same; or any."""
    if idempotency_key is None:
        return secrets.randbelow(2**31)
    return int.from_bytes(hashlib.sha256(f"seed\0{idempotency_key}".encode()).digest()[:4], "big") >> 1


def _decoded(text: str | None, what: str) -> bytes | None:
    """The bytes of a base64 text, with or without "data:…;base64," before it."""
    if text is None:
        return None
    _, comma, rest = text.partition(",") if text.startswith("data:") else ("", "", text)
    try:
        return base64.b64decode(rest, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidInput(f"{what} must be base64 of a PNG, JPEG or WebP picture.") from exc


def _optional(value: object) -> str | None:
    return None if value is None else str(value)
