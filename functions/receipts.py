"""A picture's receipt: what was asked, what made it, and under which licence, in the text chunks of its PNG.

Two chunks hold it: `sagaforge`, JSON of a `Receipt`, and `parameters`, the line that AUTOMATIC1111's web interface
writes and most gallery programs show.
"""

from __future__ import annotations

import io
from datetime import datetime
from typing import Any

from PIL import Image, PngImagePlugin
from pydantic import BaseModel, Field, ValidationError

from sagaforge.errors import InvalidInput, NotFound, UnsupportedType

CHUNK, OTHERS_CHUNK = "sagaforge", "parameters"
MAX_TEXT_BYTES = 256 * 1024


class UsedAdapter(BaseModel):
    """An adapter as it was used."""

    name: str
    scale: float
    sha256: str
    license: str | None = None


class Receipt(BaseModel):
    """Everything that is needed to make the picture again, and to know whose work is in it.

    request: as the caller sent it; prompt, negative_prompt: as the model got them; seed: of this picture; watermark:
    the number that is hidden in it, in hexadecimal.
    """

    image_id: str
    created_at: datetime
    request: dict[str, Any]
    prompt: str
    negative_prompt: str | None
    seed: int
    width: int
    height: int
    steps: int
    cfg_scale: float
    scheduler: str
    style_preset: str | None = None
    backend: str
    model: str
    model_sha256: str | None = None
    adapters: list[UsedAdapter] = Field(default_factory=list)
    versions: dict[str, str] = Field(default_factory=dict)
    worked_s: float | None = None
    license: str | None = None
    watermark: str | None = None

    def as_parameters(self) -> str:
        """The line that other programs read."""
        prompt = self.prompt + "".join(f" <lora:{one.name}:{one.scale:g}>" for one in self.adapters)
        negative = f"\nNegative prompt: {self.negative_prompt}" if self.negative_prompt else ""
        facts = {
            "Steps": self.steps,
            "Sampler": self.scheduler,
            "CFG scale": f"{self.cfg_scale:g}",
            "Seed": self.seed,
            "Size": f"{self.width}x{self.height}",
            "Model hash": (self.model_sha256 or "")[:10],
            "Model": self.model,
        }
        return f"{prompt}{negative}\n" + ", ".join(f"{name}: {value}" for name, value in facts.items() if value != "")


def with_receipt(image: Image.Image, receipt: Receipt) -> bytes:
    """The picture as PNG with its receipt in it."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt(CHUNK, receipt.model_dump_json(), zip=True)
    chunks.add_itxt(OTHERS_CHUNK, receipt.as_parameters())
    out = io.BytesIO()
    image.save(out, "PNG", pnginfo=chunks, compress_level=4)
    return out.getvalue()


def read_receipt(body: bytes) -> Receipt:
    """The receipt of a PNG.

    Raises:
        UnsupportedType: it is no PNG.
        NotFound: there is no receipt of ours in it.
        InvalidInput: there is one, and it is damaged.
    """
    try:
        with Image.open(io.BytesIO(body), formats=("PNG",)) as image:
            # Chunks may stand after the pixels, and are found only once these are read.
            image.load()
            text = image.info.get(CHUNK) or getattr(image, "text", {}).get(CHUNK)
    except (OSError, SyntaxError, ValueError) as exc:
        raise UnsupportedType(f"This is no PNG that can be read: {exc}") from exc
    if text is None:
        raise NotFound("This picture has no receipt in it: it was not made here, or lost it when it was saved again.")
    if len(str(text).encode()) > MAX_TEXT_BYTES:
        raise InvalidInput("The picture's receipt is too large to be one of ours.")
    try:
        return Receipt.model_validate_json(str(text))
    except ValidationError as exc:
        raise InvalidInput(f"The picture's receipt is damaged: {exc.errors()[0]['msg']}") from exc
