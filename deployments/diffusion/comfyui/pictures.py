"""Pictures on their way to a ComfyUI server and back: each is decoded here, so that only pictures pass."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from sagaforge.errors import InvalidInput, Unavailable, UnsupportedType
from sagaforge.imaging.image_bytes import FORMATS, as_png, read_mask, read_picture

MAX_PREVIEW_SIDE = 1024
PREVIEW_QUALITY = 85
MASK_THRESHOLD = 128


def image_to_send(data: bytes, size: tuple[int, int]) -> bytes:
    """The picture as PNG of that size. Raises `InvalidInput` if it is none, `TooLarge`."""
    try:
        return as_png(read_picture(data).image.resize(size, Image.Resampling.LANCZOS))
    except (UnsupportedType, InvalidInput) as exc:
        raise InvalidInput("The image can't be read: PNG, JPEG and WebP can.") from exc


def mask_to_send(data: bytes, size: tuple[int, int]) -> bytes:
    """The mask as black and white PNG of that size."""
    try:
        mask = read_mask(data).image.resize(size, Image.Resampling.LANCZOS)
    except (UnsupportedType, InvalidInput) as exc:
        raise InvalidInput("The mask can't be read: PNG, JPEG and WebP can.") from exc
    return as_png(mask.point(lambda value: 255 if value >= MASK_THRESHOLD else 0))


def received_picture(data: bytes, size: tuple[int, int]) -> bytes:
    """What the server made, as PNG without the workflow that it writes into each picture."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.size != size:
                raise Unavailable(
                    f"The ComfyUI server made a picture of {image.width}x{image.height} instead of {size[0]}x{size[1]}."
                )
            return as_png(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as exc:
        raise Unavailable("The ComfyUI server sent something that is no picture.") from exc


def received_preview(data: bytes) -> bytes | None:
    """A preview as JPEG, None if it can't be read: a picture is worth more than its previews."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            if max(image.size) > MAX_PREVIEW_SIDE:
                return None
            image.load()
            if image.format == "JPEG":
                return data
            buffer = io.BytesIO()
            image.convert("RGB").save(buffer, "JPEG", quality=PREVIEW_QUALITY)
            return buffer.getvalue()
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
