"""A picture's receipt, for people to read."""

from __future__ import annotations

from collections.abc import Iterator

from sagaforge.cli.output import Output, table
from sagaforge.cli.terminal import clean
from sagaforge.image_schemas import Receipt


def print_receipt(output: Output, receipt: Receipt) -> None:
    rows = table("", "")
    rows.show_header = False
    for name, value in _facts(receipt):
        if value:
            rows.add_row(name, clean(value))
    output.console.print(rows)


def _facts(receipt: Receipt) -> Iterator[tuple[str, str]]:
    """A receipt for people to read; what is empty was not there."""
    asked = str(receipt.request.get("prompt", ""))
    if asked != receipt.prompt:
        yield "asked for", asked
    yield "prompt", receipt.prompt
    yield "negative prompt", receipt.negative_prompt or ""
    yield "style", receipt.style_preset or ""
    yield "seed", str(receipt.seed)
    is_enlarged = (receipt.painted_width, receipt.painted_height) != (receipt.width, receipt.height)
    painted_at = f", painted at {receipt.painted_width} × {receipt.painted_height}" if is_enlarged else ""
    yield "size", f"{receipt.width} × {receipt.height}{painted_at}"
    yield "steps", str(receipt.steps)
    yield "guidance", f"{receipt.cfg_scale:g}"
    yield "scheduler", receipt.scheduler
    yield "started from", receipt.image_sha256 or ""
    yield "mask", receipt.mask_sha256 or ""
    yield "strength", f"{receipt.strength:g}" if receipt.strength is not None else ""
    yield "fit", receipt.fit or ""
    yield "notes", " ".join(receipt.notes)
    yield "model", receipt.model
    yield "model's hash", receipt.model_sha256 or ""
    for one in receipt.adapters:
        yield "adapter", f"{one.name} × {one.scale:g} ({one.sha256 or 'no hash'}, licence {one.license or 'not given'})"
    yield "painted by", receipt.backend
    yield "versions", ", ".join(f"{name} {version}" for name, version in receipt.versions.items())
    yield "made", f"{receipt.created_at.astimezone():%Y-%m-%d %H:%M:%S}"
    yield "seconds", f"{receipt.worked_s:.1f}" if receipt.worked_s is not None else ""
    yield "licence", receipt.license or ""
    yield "watermark", receipt.watermark or ""
    yield "id", receipt.image_id
