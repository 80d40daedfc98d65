"""Verbs on pictures: paint, show, list, replay. Each picture is committed before it is told of."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, get_args

from PIL import Image

from sagaforge.datasets.adapter_store import AdapterStore
from sagaforge.datasets.images import Gallery, StoredImage
from sagaforge.datasets.styles import Styles
from sagaforge.deployments.diffusion.spec import ImageBackend, ImageSpec, Made, Progress
from sagaforge.errors import NotFound
from sagaforge.functions.files import ServedFile
from sagaforge.functions.image_plan import Planned, plan
from sagaforge.functions.receipts import read_receipt, with_receipt
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
    ImageStreamEvent,
    Receipt,
    ReplayAnswer,
    SchedulerName,
    StyleList,
    StyleSummary,
    ThumbnailRef,
    UsedAdapter,
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
    request: ImageRequest, *, idempotency_key: str | None, studio: Studio
) -> AsyncGenerator[ImageStreamEvent, None]:
    """Paint, and tell of each step (see `ImageStreamEvent`). Closing it cancels what is still being painted."""
    planned = await _planned(request, idempotency_key, studio)
    started = [
        {"image_id": one.image_id, "seed": one.spec.seed, "width": one.shown[0], "height": one.shown[1],
         "steps": one.spec.steps}
        for one in planned
    ]  # fmt: skip
    yield ImageStreamEvent(event="started", data={"images": started})
    answers: dict[int, GeneratedImage] = {}
    async with aclosing(_merged([_painted(request, one, n, studio) for n, one in enumerate(planned)])) as events:
        async for number, event in events:
            if isinstance(event, GeneratedImage):
                answers[number] = event
                yield ImageStreamEvent(event="image", data={"image": number, **event.model_dump(mode="json")})
            else:
                yield ImageStreamEvent(event="step", data=_step(number, event))
    images = [answers[number] for number in range(len(planned))]
    yield ImageStreamEvent(event="done", data=_answer(images).model_dump(mode="json"))


async def generate_image(request: ImageRequest, *, idempotency_key: str | None, studio: Studio) -> ImageAnswer:
    """The pictures of a request, once all of them are there."""
    events = stream_image(request.model_copy(update={"stream": False}), idempotency_key=idempotency_key, studio=studio)
    async with aclosing(events) as stream:
        async for event in stream:
            if event.event == "done":
                return ImageAnswer.model_validate(event.data)
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


async def replay(receipt: Receipt, *, studio: Studio) -> ReplayAnswer:
    """Make a picture again from its receipt, by the model that runs now. Raises `NotFound` for what it started from, or
    its adapters, if they are not here."""
    spec = ImageSpec(
        prompt=receipt.prompt,
        negative_prompt=receipt.negative_prompt,
        width=receipt.painted_width,
        height=receipt.painted_height,
        steps=receipt.steps,
        guidance_scale=receipt.cfg_scale,
        seed=receipt.seed,
        scheduler=receipt.scheduler,
        adapters=tuple((one.name, one.scale) for one in receipt.adapters),
        image=await _input(receipt.image_sha256, studio.gallery),
        mask=await _input(receipt.mask_sha256, studio.gallery),
        strength=receipt.strength or ImageSpec.strength,
    )
    planned = Planned(receipt.image_id, spec, (receipt.width, receipt.height))
    async with aclosing(studio.images.generate(spec)) as events:
        async for event in events:
            if isinstance(event, Made):
                png = await asyncio.to_thread(_finished, receipt.request, planned, event, studio.profile)
                new = read_receipt(png)
                return ReplayAnswer(png=base64.b64encode(png).decode(), receipt=new, changed=_changed(receipt, new))
    raise AssertionError("a back end ends with its picture or raises")


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


async def _planned(request: ImageRequest, idempotency_key: str | None, studio: Studio) -> list[Planned]:
    style = await studio.styles.get(request.style_preset) if request.style_preset else None
    wanted = {one.name for one in request.lora} | ({style.lora_path} if style and style.lora_path else set())
    adapters = await studio.adapters.hashed(wanted) if wanted else {}
    return await asyncio.to_thread(
        plan, request, style=style, profile=studio.profile, adapters=adapters, idempotency_key=idempotency_key
    )


async def _painted(
    request: ImageRequest, planned: Planned, number: int, studio: Studio
) -> AsyncGenerator[tuple[int, Progress | GeneratedImage], None]:
    """One picture, from its first step to its row."""
    stored = await studio.gallery.get(planned.image_id)
    if stored is None:
        spec = replace(planned.spec, preview_every=PREVIEW_EVERY if request.stream else 0)
        for body in (spec.image, spec.mask):
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
        png = await asyncio.to_thread(_finished, asked, planned, made, studio.profile)
        stored = await studio.gallery.keep(planned.image_id, png, _row_of)
    yield number, _generated(stored)


def _finished(asked: dict[str, Any], planned: Planned, made: Made, profile: ImageProfile) -> bytes:
    """The PNG at the size that was asked for, with its watermark and its receipt in it."""
    # OpenCV, which it works with, changes the environment of a process that imports it.
    from sagaforge.deployments.diffusion import watermark

    spec, facts = planned.spec, made.facts
    with Image.open(io.BytesIO(made.image)) as opened:
        image = opened.convert("RGB")
    if image.size != planned.shown:
        image = image.resize(planned.shown, Image.Resampling.LANCZOS)
    number = planned.image_id[:WATERMARK_DIGITS]
    marked = watermark.mark(image, int(number, 16))
    adapters = [UsedAdapter.model_validate(one, extra="ignore") for one in facts.get("adapters", [])]  # type: ignore[attr-defined]
    receipt = Receipt(
        image_id=planned.image_id,
        created_at=datetime.now(UTC),
        request=asked,
        prompt=spec.prompt,
        negative_prompt=spec.negative_prompt,
        seed=spec.seed,
        width=image.width,
        height=image.height,
        painted_width=spec.width,
        painted_height=spec.height,
        steps=spec.steps,
        cfg_scale=spec.guidance_scale,
        scheduler=spec.scheduler,
        style_preset=asked.get("style_preset"),
        image_sha256=_sha256(spec.image),
        mask_sha256=_sha256(spec.mask),
        strength=spec.strength if spec.image is not None else None,
        backend=str(facts.get("backend", "")),
        model=str(facts.get("model", "")),
        model_sha256=facts.get("model_sha256"),  # type: ignore[arg-type]
        adapters=adapters,
        versions=facts.get("versions", {}),  # type: ignore[arg-type]
        worked_s=facts.get("worked_s"),  # type: ignore[arg-type]
        license="; ".join(dict.fromkeys(filter(None, (profile.license, *(one.license for one in adapters))))) or None,
        watermark=number,
    )
    return with_receipt(marked, receipt)


def _row_of(png: bytes) -> StoredImage:
    """A picture's row, from what its file says of itself."""
    receipt = read_receipt(png)
    return StoredImage(
        id=receipt.image_id,
        sha256=hashlib.sha256(png).hexdigest(),
        width=receipt.width,
        height=receipt.height,
        prompt=receipt.request["prompt"],
        model=receipt.model,
        receipt=receipt.model_dump_json(),
        style_preset=receipt.style_preset,
        world_id=receipt.request.get("world_id"),
        watermark=receipt.watermark,
        license=receipt.license,
        created_at=receipt.created_at,
    )


async def _input(sha256: str | None, gallery: Gallery) -> bytes | None:
    return None if sha256 is None else await gallery.input(sha256)


def _sha256(body: bytes | None) -> str | None:
    return hashlib.sha256(body).hexdigest() if body is not None else None


def _changed(old: Receipt, new: Receipt) -> list[str]:
    """Facts that decide pixels and are not what they were."""
    names = ["backend", "model", "model_sha256"]
    changed = [name for name in names if getattr(old, name) != getattr(new, name)]
    changed += [
        f"versions.{name}"
        for name in sorted({*old.versions, *new.versions})
        if old.versions.get(name) != new.versions.get(name)
    ]
    hashes = {one.name: one.sha256 for one in new.adapters}
    return changed + [f"adapters.{one.name}" for one in old.adapters if hashes.get(one.name) != one.sha256]


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


def _step(number: int, progress: Progress) -> dict[str, Any]:
    data: dict[str, Any] = {"image": number, "done": progress.done, "total": progress.total}
    if progress.preview:
        data["preview"] = "data:image/jpeg;base64," + base64.b64encode(progress.preview).decode()
    return data


def _answer(images: list[GeneratedImage]) -> ImageAnswer:
    return ImageAnswer(**images[0].model_dump(), images=images)


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
