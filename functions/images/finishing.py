"""From what a back end has painted to a picture that is kept: size, what a mask protects, watermark, receipt."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime
from typing import Any

from PIL import Image

from sagaforge.datasets.images import StoredImage
from sagaforge.deployments.diffusion.interface import Made
from sagaforge.functions.images.plan import Planned
from sagaforge.functions.images.start_pictures import fitted, put_back
from sagaforge.image_schemas import RULES, Receipt, UsedAdapter
from sagaforge.imaging.receipts import read_receipt, with_receipt
from sagaforge.profiles import ImageProfile

WATERMARK_DIGITS = 10  # the mark holds 40 bits


def finished(asked: dict[str, Any], planned: Planned, made: Made, profile: ImageProfile) -> bytes:
    """The PNG at the size that was asked for, with its watermark and its receipt in it."""
    # OpenCV, which it works with, changes the environment of a process that imports it.
    from sagaforge.imaging import watermark

    spec, start, facts = planned.spec, planned.start, made.facts
    with Image.open(io.BytesIO(made.image)) as opened:
        image = opened.convert("RGB")
    if planned.part:
        image = fitted(image, planned.part, planned.part, "crop", Image.Resampling.LANCZOS)
    if image.size != planned.shown:
        image = image.resize(planned.shown, Image.Resampling.LANCZOS)
    if start and start.mask:
        image = put_back(image, start)
    number = planned.image_id[:WATERMARK_DIGITS]
    marked = watermark.mark(image, int(number, 16))
    adapters = [UsedAdapter.model_validate(one, extra="ignore") for one in facts.get("adapters", [])]  # type: ignore[attr-defined]
    receipt = Receipt(
        rules=RULES,
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
        shown_part=planned.part,
        steps=spec.steps,
        cfg_scale=spec.guidance_scale,
        scheduler=spec.scheduler,
        style_preset=asked.get("style_preset"),
        image_sha256=_sha256(start.image if start else spec.image),
        mask_sha256=_sha256(start.mask if start else spec.mask),
        strength=spec.strength if spec.image is not None else None,
        fit=start.fit if start else None,
        notes=list(planned.notes),
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


def row_of(png: bytes) -> StoredImage:
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


def _sha256(body: bytes | None) -> str | None:
    return hashlib.sha256(body).hexdigest() if body is not None else None
