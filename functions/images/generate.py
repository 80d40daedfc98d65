"""Verbs on pictures: paint, show, list. Each picture is committed before it is told of."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import get_args

from sagaforge.datasets.adapters import AdapterStore
from sagaforge.datasets.images import Gallery, StoredImage
from sagaforge.datasets.styles import Styles
from sagaforge.deployments.diffusion.interface import ImageBackend, Made, Progress
from sagaforge.errors import NotFound
from sagaforge.events import (
    ImageEvent,
    ImageProgress,
    NumberedImage,
    PaintedEvent,
    PaintingEvent,
    PaintingStartedEvent,
    PlannedImage,
    PlannedImages,
    StepEvent,
)
from sagaforge.functions.files import ServedFile
from sagaforge.functions.images.finishing import finished, row_of
from sagaforge.functions.images.plan import Planned, adapter_names, plan
from sagaforge.image_schemas import (
    GalleryImage,
    GeneratedImage,
    ImageAnswer,
    ImageDetail,
    ImageList,
    ImageListRequest,
    ImageMetadata,
    ImageModelList,
    ImageModelSummary,
    ImageRef,
    ImageRequest,
    Receipt,
    SchedulerName,
    StyleList,
    StyleSummary,
    ThumbnailRef,
    UsedLora,
)
from sagaforge.profiles import ImageProfile

PREVIEW_EVERY = 2
THUMBNAIL_SIZES = (128, 256, 512)
WATERMARK_DIGITS = 10  # the mark holds 40 bits


@dataclass(frozen=True)
class Studio:
    """What painting works with."""

    images: ImageBackend
    gallery: Gallery
    styles: Styles
    adapters: AdapterStore
    profile: ImageProfile


async def stream_image(
    request: ImageRequest, *, idempotency_key: str | None, studio: Studio, notes: tuple[str, ...] = ()
) -> AsyncGenerator[PaintingEvent, None]:
    """Paint, and tell of each step (see `sagaforge.events`). Closing it cancels what is still being painted. `notes`:
    what was done to the request already."""
    planned = await _planned(request, idempotency_key, studio, notes)
    yield PaintingStartedEvent(data=PlannedImages(images=[_told(one) for one in planned]))
    answers: dict[int, GeneratedImage] = {}
    async with aclosing(_merged([_painted(request, one, n, studio) for n, one in enumerate(planned)])) as events:
        async for number, event in events:
            if isinstance(event, GeneratedImage):
                answers[number] = event
                yield ImageEvent(data=NumberedImage(image=number, **dict(event)))
            else:
                yield StepEvent(data=_step(number, event))
    images = [answers[number] for number in range(len(planned))]
    yield PaintedEvent(data=_answer(images))


async def generate_image(request: ImageRequest, *, idempotency_key: str | None, studio: Studio) -> ImageAnswer:
    """The pictures of a request, once all of them are there."""
    events = stream_image(request.model_copy(update={"stream": False}), idempotency_key=idempotency_key, studio=studio)
    async with aclosing(events) as stream:
        async for event in stream:
            if isinstance(event, PaintedEvent):
                return event.data
    raise AssertionError("a stream ends with its answer or raises")


async def list_images(request: ImageListRequest, *, gallery: Gallery) -> ImageList:
    if request.watermark is not None:
        found = await gallery.of_watermark(request.watermark)
        return ImageList(images=[_listed(found)] if found else [])
    rows = await gallery.newest(request.limit + 1, before=request.before)
    images = [_listed(row) for row in rows[: request.limit]]
    return ImageList(images=images, next_before=images[-1].created_at.isoformat() if len(rows) > len(images) else None)


async def show_image(request: ImageRef, *, gallery: Gallery) -> ImageDetail:
    row = await _row(request.image_id, gallery)
    return ImageDetail(**_listed(row).model_dump(), receipt=Receipt.model_validate_json(row.receipt, extra="ignore"))


async def image_file(request: ImageRef, *, gallery: Gallery) -> ServedFile:
    row = await _row(request.image_id, gallery)
    return ServedFile("image/png", row.sha256, f"{row.id}.png", lambda: gallery.png(row))


async def thumbnail(request: ThumbnailRef, *, gallery: Gallery) -> ServedFile:
    row = await _row(request.image_id, gallery)
    size = next(size for size in THUMBNAIL_SIZES if size >= request.size)
    return ServedFile("image/webp", f"{row.sha256}-{size}", f"{row.id}.webp", lambda: gallery.thumbnail(row, size))


async def list_styles(*, styles: Styles, profile: ImageProfile) -> StyleList:
    """The styles as the running model uses them."""
    found, problems = await styles.all()
    summaries = []
    for style in found:
        variant = style.for_model(profile.is_pocket)
        summaries.append(
            StyleSummary(
                style_id=style.style_id,
                title=style.title,
                base_model=style.base_model,
                prompt_template=style.prompt_template,
                style_suffix=variant.style_suffix,
                negative_prompt=variant.negative_prompt,
                default_params=variant.default_params.model_dump(exclude_none=True),
                trigger_words=style.trigger_words,
                lora=UsedLora(name=style.lora_path, scale=style.lora_scale) if style.lora_path else None,
            )
        )
    return StyleList(styles=summaries, problems=problems)


async def list_image_models(*, studio: Studio) -> ImageModelList:
    profile = studio.profile
    model = ImageModelSummary(
        model_id=profile.model.model_id,
        backend=studio.images.name,
        max_pixels=profile.max_pixels,
        steps=profile.steps,
        cfg_scale=profile.guidance_scale,
        scheduler=profile.scheduler,
        schedulers=list(get_args(SchedulerName)),
    )
    loras, problems = await studio.adapters.all()
    return ImageModelList(models=[model], loras=loras, problems=problems)


# --- one picture ----------------------------------------------------------------------------------------------------


async def _planned(
    request: ImageRequest, idempotency_key: str | None, studio: Studio, notes: tuple[str, ...]
) -> list[Planned]:
    style = await studio.styles.get(request.style_preset) if request.style_preset else None
    wanted = adapter_names(request, style, is_pocket=studio.profile.is_pocket)
    return await asyncio.to_thread(
        plan,
        request,
        style=style,
        profile=studio.profile,
        adapters=await studio.adapters.hashed(wanted) if wanted else {},
        idempotency_key=idempotency_key,
        notes=notes,
    )


async def _painted(
    request: ImageRequest, planned: Planned, number: int, studio: Studio
) -> AsyncGenerator[tuple[int, Progress | GeneratedImage], None]:
    """One picture, from its first step to its row."""
    stored = await studio.gallery.get(planned.image_id)
    if stored is None:
        spec = replace(planned.spec, preview_every=PREVIEW_EVERY if request.stream else 0)
        for body in (planned.start.image, planned.start.mask) if planned.start else ():
            if body is not None:
                await studio.gallery.keep_input(body)
        made: Made | None = None
        async with aclosing(studio.images.generate(spec)) as events:
            async for event in events:
                if isinstance(event, Made):
                    made = event
                else:
                    yield number, event
        assert made is not None, "a back end ends with its picture or raises"
        asked = request.model_dump(exclude={"image", "mask", "stream"}, exclude_none=True, mode="json")
        png = await asyncio.to_thread(finished, asked, planned, made, studio.profile)
        stored = await studio.gallery.keep(planned.image_id, png, row_of)
    yield number, _generated(stored)


# --- several at once ------------------------------------------------------------------------------------------------


async def _merged(
    paintings: list[AsyncGenerator[tuple[int, Progress | GeneratedImage], None]],
) -> AsyncGenerator[tuple[int, Progress | GeneratedImage], None]:
    """What all of them yield, as it comes. The first failure ends all; closing this closes them."""
    events: asyncio.Queue[tuple[int, Progress | GeneratedImage] | None] = asyncio.Queue()

    async def drain(painting: AsyncGenerator[tuple[int, Progress | GeneratedImage], None]) -> None:
        async with aclosing(painting) as stream:
            async for event in stream:
                events.put_nowait(event)

    async def drain_all() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for painting in paintings:
                    group.create_task(drain(painting))
        except* Exception as failures:
            raise failures.exceptions[0] from None
        finally:
            events.put_nowait(None)

    draining = asyncio.create_task(drain_all())
    try:
        while (event := await events.get()) is not None:
            yield event
        await draining
    finally:
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)


# --- answers --------------------------------------------------------------------------------------------------------


async def _row(image_id: str, gallery: Gallery) -> StoredImage:
    row = await gallery.get(image_id)
    if row is None:
        raise NotFound(f"There is no picture {image_id!r}.")
    return row


def _told(planned: Planned) -> PlannedImage:
    width, height = planned.shown
    spec = planned.spec
    return PlannedImage(image_id=planned.image_id, seed=spec.seed, width=width, height=height, steps=spec.num_steps)


def _step(number: int, progress: Progress) -> ImageProgress:
    shown = progress.preview and "data:image/jpeg;base64," + base64.b64encode(progress.preview).decode()
    return ImageProgress(image=number, done=progress.done, total=progress.total, preview=shown or None)


def _answer(images: list[GeneratedImage]) -> ImageAnswer:
    return ImageAnswer(**dict(images[0]), images=images)


def _generated(stored: StoredImage) -> GeneratedImage:
    receipt = Receipt.model_validate_json(stored.receipt, extra="ignore")
    return GeneratedImage(
        image_id=stored.id,
        image_path=stored.artefact,
        image_url=f"/images/{stored.id}.png",
        thumbnail_url=f"/images/{stored.id}/thumbnail",
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
            notes=receipt.notes,
        ),
    )


def _listed(stored: StoredImage) -> GalleryImage:
    return GalleryImage(
        **_generated(stored).model_dump(),
        asked=stored.prompt,
        created_at=stored.created_at,
        world_id=stored.world_id,
        license=stored.license,
        watermark=stored.watermark,
    )
