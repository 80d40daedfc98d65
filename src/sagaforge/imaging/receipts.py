"""A picture's receipt: what was asked, what made it, and under which licence, in the text chunks of its PNG.

Two chunks hold it: `sagaforge`, JSON of a `Receipt`, and `parameters`, the line that AUTOMATIC1111's web interface
writes and most gallery programs show.
"""

from __future__ import annotations

import io

from PIL import Image, PngImagePlugin
from pydantic import ValidationError

from sagaforge.errors import InvalidInput, NotFound, UnsupportedType
from sagaforge.image_schemas import Receipt
from sagaforge.text.characters import check_texts

CHUNK, OTHERS_CHUNK = "sagaforge", "parameters"
MAX_TEXT_BYTES = 256 * 1024


def as_parameters(receipt: Receipt) -> str:
    """The line that other programs read."""
    prompt = receipt.prompt + "".join(f" <lora:{one.name}:{one.scale:g}>" for one in receipt.adapters)
    negative = f"\nNegative prompt: {receipt.negative_prompt}" if receipt.negative_prompt else ""
    facts = {
        "Steps": receipt.steps,
        "Sampler": receipt.scheduler,
        "CFG scale": f"{receipt.cfg_scale:g}",
        "Seed": receipt.seed,
        "Size": f"{receipt.width}x{receipt.height}",
        "Model hash": (receipt.model_sha256 or "")[:10],
        "Model": receipt.model,
    }
    return f"{prompt}{negative}\n" + ", ".join(f"{name}: {value}" for name, value in facts.items() if value != "")


def with_receipt(image: Image.Image, receipt: Receipt) -> bytes:
    """The picture as PNG with its receipt in it."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt(CHUNK, receipt.model_dump_json(), zip=True)
    chunks.add_itxt(OTHERS_CHUNK, as_parameters(receipt))
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
        # A newer release may write more than this one knows of.
        receipt = Receipt.model_validate_json(str(text), extra="ignore")
    except ValidationError as exc:
        raise InvalidInput(f"The picture's receipt is damaged: {exc.errors()[0]['msg']}") from exc
    check_texts(receipt.model_dump(mode="json"), "the picture's receipt")
    return receipt
