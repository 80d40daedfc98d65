"""Pictures made again from their receipts, by the model that runs now."""

from __future__ import annotations

import asyncio
import base64
from contextlib import aclosing

from sagaforge.datasets.images import Gallery
from sagaforge.deployments.diffusion.interface import ImageSpec, Made
from sagaforge.errors import InvalidInput
from sagaforge.functions.images.finishing import finished
from sagaforge.functions.images.generate import Studio
from sagaforge.functions.images.plan import Planned
from sagaforge.functions.images.start_pictures import Start, on_canvas, read_start
from sagaforge.image_schemas import DEFAULT_STRENGTH, Receipt, ReplayAnswer
from sagaforge.imaging.prompts import escaped
from sagaforge.imaging.receipts import read_receipt
from sagaforge.model_files import model_sha256


async def replay(receipt: Receipt, *, studio: Studio) -> ReplayAnswer:
    """Make a picture again from its receipt, by the model that runs now. Raises `NotFound` for what it started from, or
    its adapters, if they are not here."""
    planned = await _replanned(receipt, studio)
    async with aclosing(studio.images.generate(planned.spec)) as events:
        async for event in events:
            if isinstance(event, Made):
                png = await asyncio.to_thread(finished, receipt.request, planned, event, studio.profile)
                new = read_receipt(png)
                return ReplayAnswer(png=base64.b64encode(png).decode(), receipt=new, changed=_changed(receipt, new))
    raise AssertionError("a back end ends with its picture or raises")


async def _replanned(receipt: Receipt, studio: Studio) -> Planned:
    """What a receipt tells, to be painted again with the model and the adapters as they are now."""
    painted, shown = (receipt.painted_width, receipt.painted_height), (receipt.width, receipt.height)
    part = receipt.shown_part or painted
    if part[0] > painted[0] or part[1] > painted[1]:
        raise InvalidInput("shown_part is larger than what was painted: the receipt was changed.")
    image, mask = await _input(receipt.image_sha256, studio.gallery), await _input(receipt.mask_sha256, studio.gallery)
    start: Start | None = None
    prompt, negative = receipt.prompt, receipt.negative_prompt
    if receipt.rules == 1:
        prompt, negative = escaped(prompt), negative and escaped(negative)
    elif image is not None:
        start = Start(image, mask, receipt.fit or "crop")
        read = await asyncio.to_thread(read_start, start)
        image, mask = await asyncio.to_thread(on_canvas, start, read, shown, painted, part)
    names = [one.name for one in receipt.adapters]
    hashes = await studio.adapters.hashed(names) if names else {}
    spec = ImageSpec(
        prompt=prompt,
        negative_prompt=negative,
        width=receipt.painted_width,
        height=receipt.painted_height,
        steps=receipt.steps,
        guidance_scale=receipt.cfg_scale,
        seed=receipt.seed,
        scheduler=receipt.scheduler,
        adapters=tuple((one.name, one.scale) for one in receipt.adapters),
        image=image,
        mask=mask,
        strength=receipt.strength or DEFAULT_STRENGTH,
        adapter_sha256={name: sha256 for name in names if (sha256 := hashes.get(name)) is not None},
        model_sha256=await asyncio.to_thread(model_sha256, studio.profile.model.source),
    )
    return Planned(receipt.image_id, spec, shown, receipt.shown_part, start, tuple(receipt.notes))


async def _input(sha256: str | None, gallery: Gallery) -> bytes | None:
    return None if sha256 is None else await gallery.input(sha256)


def _changed(old: Receipt, new: Receipt) -> list[str]:
    """Facts that decide pixels and are not what they were."""
    names = ["rules", "backend", "model", "model_sha256"]
    changed = [name for name in names if getattr(old, name) != getattr(new, name)]
    changed += [
        f"versions.{name}"
        for name in sorted({*old.versions, *new.versions})
        if old.versions.get(name) != new.versions.get(name)
    ]
    hashes = {one.name: one.sha256 for one in new.adapters}
    return changed + [f"adapters.{one.name}" for one in old.adapters if hashes.get(one.name) != one.sha256]
