"""Pictures to start from: out of the request, onto what the model paints, and back into what it painted.

A picture of another shape than the one that is asked for is cropped to its middle, padded with white or stretched, as
`fit` says; its mask goes with it. A mask is painted anew where it is not black, and laid over the picture by its grey
levels afterwards, so what it protects comes out as it was sent.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from urllib.parse import unquote

import numpy as np
from PIL import Image

from sagaforge.errors import InvalidInput
from sagaforge.image_schemas import MAX_SIDE, MIN_SIDE, SIDE_MULTIPLE, Fit
from sagaforge.imaging.image_bytes import BACKGROUND, Read, as_png, read_mask, read_picture

Size = tuple[int, int]
# A latent stands for so many pixels a side; it is painted anew whole.
LATENT_PX = 8
# Two shapes are one if the sides differ by no more than this share, which rounding to whole pixels makes.
SAME_SHAPE = 0.01
URL_SAFE = str.maketrans("-_", "+/")


@dataclass(frozen=True)
class Start:
    """What a picture starts from, as it was sent: a PNG, JPEG or WebP, and a mask of its shape."""

    image: bytes
    mask: bytes | None
    fit: Fit


def from_base64(text: str, field: str) -> bytes:
    """The bytes of a base64 text: either alphabet, with line breaks, without its padding or in a data URL.

    Raises:
        InvalidInput: it is none; `field` names it.
    """
    body = text.strip()
    if body[:5].lower() == "data:":
        head, _, body = unquote(body).partition(",")
        if not head.lower().rstrip().endswith(";base64"):
            raise InvalidInput(f"{field} is a data URL without `;base64`; send the picture in base64.")
    body = re.sub(r"\s+", "", body).rstrip("=").translate(URL_SAFE)
    try:
        found = binascii.a2b_base64(body + "=" * (-len(body) % 4), strict_mode=True)
    except ValueError as exc:
        raise InvalidInput(f"{field} must be base64 of a PNG, JPEG or WebP picture.") from exc
    if not found:
        raise InvalidInput(f"{field} is empty; leave it out, or send a picture in base64.")
    return found


def read_start(start: Start) -> tuple[Read, Read | None]:
    """The picture and its mask, looked at before anything is painted.

    Raises:
        InvalidInput, UnsupportedType, TooLarge: one of them is no good picture, or they don't go together.
    """
    picture = read_picture(start.image)
    if start.mask is None:
        return picture, None
    mask = read_mask(start.mask)
    if mask.image.getextrema() == (0, 0):
        raise InvalidInput(
            "mask is black everywhere, so nothing would be painted: paint white what shall be made anew."
        )
    (width, height), (mask_width, mask_height) = picture.image.size, mask.image.size
    if abs(width * mask_height - height * mask_width) > SAME_SHAPE * width * mask_height + max(width, height):
        raise InvalidInput(
            f"mask has {mask_width} × {mask_height} pixels and image {width} × {height}: they must be of one shape."
        )
    if mask.image.size != picture.image.size:
        note = f"The mask of {mask_width} × {mask_height} pixels is scaled to the image's {width} × {height}."
        mask = Read(mask.image, (*mask.notes, note))
    return picture, mask


def own_size(size: Size, width: int | None = None, height: int | None = None) -> Size:
    """The size of a picture that starts from one of `size` and asks for one side or none: that size, its sides rounded
    to multiples of 8 and, keeping the shape, brought within the bounds; or the side that was asked for and the other
    by the shape.

    Raises:
        InvalidInput: so long a shape has no size within the bounds.
    """
    if width or height:
        scale = (width or 0) / size[0] or (height or 0) / size[1]
    else:
        scale = min(1.0, MAX_SIDE / max(size)) * max(1.0, MIN_SIDE / min(size))
    across, down = (round(side * scale / SIDE_MULTIPLE) * SIDE_MULTIPLE for side in size)
    if min(across, down) < MIN_SIDE or max(across, down) > MAX_SIDE:
        raise InvalidInput(
            f"The shape of the image ({size[0]} × {size[1]}) gives {across} × {down} pixels; sides are {MIN_SIDE} to"
            f" {MAX_SIDE}: send width and height."
        )
    return across, down


def fitted(image: Image.Image, shown: Size, size: Size, fit: Fit, method: Image.Resampling) -> Image.Image:
    """What is used of a picture for one of the shape of `shown`, at `size`. No pixel changes if nothing is scaled."""
    if fit == "pad":
        scale = min(shown[0] / image.width, shown[1] / image.height)
        inner = [max(1, round(side * scale)) for side in image.size]
        whole = Image.new(image.mode, shown, BACKGROUND if image.mode == "RGB" else 0)
        whole.paste(
            image.resize((inner[0], inner[1]), method), ((shown[0] - inner[0]) // 2, (shown[1] - inner[1]) // 2)
        )
        return whole.resize(size, method)
    box = (0, 0, *image.size) if fit == "stretch" else _middle(image.size, shown)
    return image.crop(box).resize(size, method)


def fit_note(size: Size, shown: Size, fit: Fit) -> tuple[str, ...]:
    """What is done to a start picture of `size` for one of `shown`; nothing for one of the same shape."""
    left, top, right, bottom = _middle(size, shown)
    if (right - left, bottom - top) == size:
        return ()
    done = {
        "crop": f"its middle {right - left} × {bottom - top} is used",
        "pad": f"it is padded with {BACKGROUND}",
        "stretch": "it is stretched",
    }[fit]
    return (f"The image has {size[0]} × {size[1]} pixels and the picture {shown[0]} × {shown[1]}: {done}.",)


def on_canvas(
    start: Start, read: tuple[Read, Read | None], shown: Size, painted: Size, part: Size
) -> tuple[bytes, bytes | None]:
    """Picture and mask as PNG of the size that is painted. part: the middle of it that will be shown."""
    picture, mask = read
    image = fitted(picture.image, shown, part, start.fit, Image.Resampling.LANCZOS)
    body = as_png(_surrounded(image, painted))
    if mask is None:
        return body, None
    # Bilinear: what overshoots at edges would leave grey where the mask is black.
    levels = _surrounded(fitted(mask.image, shown, part, start.fit, Image.Resampling.BILINEAR), painted)
    return body, as_png(_whole_latents(levels))


def put_back(image: Image.Image, start: Start) -> Image.Image:
    """The picture with what the mask protects as it was sent, at the picture's own size."""
    picture, mask = read_start(start)
    if mask is None:
        return image
    kept = fitted(picture.image, image.size, image.size, start.fit, Image.Resampling.LANCZOS)
    levels = fitted(mask.image, image.size, image.size, start.fit, Image.Resampling.BILINEAR)
    return Image.composite(image, kept, levels)


def _middle(size: Size, shape: Size) -> tuple[int, int, int, int]:
    """The box of the largest middle part of `size` that has the shape."""
    width, height = size
    across = min(width, max(1, round(height * shape[0] / shape[1])))
    down = min(height, max(1, round(width * shape[1] / shape[0])))
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down


def _surrounded(image: Image.Image, size: Size) -> Image.Image:
    """The image in the middle of a larger one; its edges go on outwards."""
    if image.size == size:
        return image
    pixels = np.asarray(image)
    before = [(whole - side) // 2 for whole, side in zip(size[::-1], image.size[::-1], strict=True)]
    margins = [(b, whole - side - b) for b, whole, side in zip(before, size[::-1], image.size[::-1], strict=True)]
    return Image.fromarray(np.pad(pixels, margins + [(0, 0)] * (pixels.ndim - 2), mode="edge"))


def _whole_latents(levels: Image.Image) -> Image.Image:
    """White wherever a latent has a pixel that is not black: a line thinner than one would be lost in between."""
    width, height = levels.size
    blocks = np.asarray(levels).reshape(height // LATENT_PX, LATENT_PX, width // LATENT_PX, LATENT_PX)
    is_painted = (blocks.max(axis=(1, 3)) > 0).astype(np.uint8) * 255
    return Image.fromarray(is_painted.repeat(LATENT_PX, axis=0).repeat(LATENT_PX, axis=1))
