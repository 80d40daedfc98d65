"""Pictures as bytes: what strangers send, decoded as its maker sees it, and what goes out."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from sagaforge.errors import InvalidInput, TooLarge, UnsupportedType

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_BYTES = 20 * 1024**2
MAX_PIXELS = 4096 * 4096
PREVIEW_QUALITY = 70
BACKGROUND = "white"
# What JPEG makes of black and white: levels so near to them are meant as them, in a mask.
MASK_NOISE = 8
# Of a colour profile's colour space, the mode that it converts.
PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


@dataclass(frozen=True)
class Read:
    """A picture that was read, and what was done to it for that, in sentences."""

    image: Image.Image
    notes: tuple[str, ...] = ()


def read_picture(body: bytes, what: str = "image") -> Read:
    """The picture as RGB in sRGB: turned as its orientation says, transparent parts laid on white, 16 bits a channel
    scaled to 8, of an animation the first frame. `what` names it in errors and notes.

    Raises:
        TooLarge: more bytes or pixels than anything here works with.
        UnsupportedType: not PNG, JPEG or WebP.
        InvalidInput: damaged.
    """
    with _opened(body, what) as (image, notes):
        alpha = _alpha(image)
        colours, is_converted = _in_srgb(eight_bits(image))
        if not is_converted:
            notes.append(f"The {what}'s colour profile can't be used; its colours are taken as sRGB.")
        if alpha is not None:
            colours = Image.composite(colours, Image.new("RGB", colours.size, BACKGROUND), alpha)
            notes.append(f"Transparent parts of the {what} are laid on {BACKGROUND}.")
        colours.info = {}  # what was true of the file and no more is of this
        return Read(colours, tuple(notes))


def read_mask(body: bytes, what: str = "mask") -> Read:
    """The mask as L: 255 is painted anew, 0 is kept, grey is a blend. Transparent parts count as black. Raises what
    `read_picture` raises."""
    with _opened(body, what) as (image, notes):
        alpha = _alpha(image)
        levels = eight_bits(image).convert("RGB").convert("L")
        if alpha is not None:
            levels = Image.composite(levels, Image.new("L", levels.size, 0), alpha)
            notes.append(f"Transparent parts of the {what} count as black: they are kept.")
        cleaned = [0 if v < MASK_NOISE else 255 if v > 255 - MASK_NOISE else v for v in range(256)]
        return Read(levels.point(cleaned), tuple(notes))


def decode(body: bytes, what: str = "image") -> Image.Image:
    """`read_picture` without its notes."""
    return read_picture(body, what).image


def as_png(image: Image.Image) -> bytes:
    """Of what came along with a picture, Pillow writes the colour profile by itself; the rest stays behind."""
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=4)
    return out.getvalue()


def as_preview(image: Image.Image) -> bytes:
    """A small JPEG."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=PREVIEW_QUALITY)
    return out.getvalue()


@contextmanager
def _opened(body: bytes, what: str) -> Iterator[tuple[Image.Image, list[str]]]:
    """The picture in its own mode, upright, and the notes so far; failures of Pillow become ours."""
    if len(body) > MAX_BYTES:
        raise TooLarge(f"The {what} may be at most {MAX_BYTES // 1024**2} MB.")
    try:
        with warnings.catch_warnings():
            # Pillow only warns of a picture whose few bytes unfold to gigabytes; the size is checked here.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(body), formats=FORMATS) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise TooLarge(
                        f"The {what} has {opened.width} × {opened.height} pixels; {MAX_PIXELS} are the most."
                    )
                opened.load()
                num_frames = getattr(opened, "n_frames", 1)
                notes = [f"The {what} is animated: its first frame is used."] if num_frames > 1 else []
                yield ImageOps.exif_transpose(opened), notes
    except UnidentifiedImageError as exc:
        raise UnsupportedType(f"The {what} must be a PNG, JPEG or WebP picture.") from exc
    except Image.DecompressionBombError as exc:
        raise TooLarge(f"The {what} has too many pixels.") from exc
    except (OSError, SyntaxError, ValueError, EOFError) as exc:
        raise InvalidInput(f"The {what} is damaged: {exc}") from exc


def _alpha(image: Image.Image) -> Image.Image | None:
    """How opaque each pixel is, as L; None where all of them are."""
    if not image.has_transparency_data:
        return None
    if image.mode.startswith("I"):
        # Pillow knows no alpha at this depth: one grey is transparent.
        seen = np.asarray(image) != image.info["transparency"]
        alpha = Image.fromarray(seen.astype(np.uint8) * 255)
    else:
        key = image.info.get("transparency")
        if isinstance(key, tuple) and max(key) > 255:
            image.info["transparency"] = tuple(value >> 8 for value in key)  # the pixels were read as 8 bits
        alpha = image.convert("RGBA").getchannel("A")
    return alpha if alpha.getextrema() != (255, 255) else None


def eight_bits(image: Image.Image) -> Image.Image:
    """8 bits a channel, without alpha; `convert` would cut 16 bits off instead of scaling them."""
    if image.mode.startswith("I"):
        levels = np.clip(np.rint(np.asarray(image).astype(np.float64) / 257), 0, 255)
        deep = Image.fromarray(levels.astype(np.uint8))
        deep.info = {name: value for name, value in image.info.items() if name == "icc_profile"}
        return deep
    if image.mode in ("L", "RGB", "CMYK"):
        return image
    return image.convert("L" if image.mode in ("1", "LA") else "RGB")


def _in_srgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """The picture as RGB, by its colour profile if it has one of its own; False if that could not be used."""
    profile = image.info.get("icc_profile")
    if not profile:
        return image.convert("RGB"), True
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = PROFILE_MODES.get(own.profile.xcolor_space.strip())
        if mode is None or (mode == "CMYK") != (image.mode == "CMYK"):
            return image.convert("RGB"), False
        if "srgb" in ImageCms.getProfileDescription(own).lower():
            return image.convert("RGB"), True
        srgb = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image.convert(mode), own, srgb, outputMode="RGB")
        assert converted is not None, "it does not work in place"
        return converted, True
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image.convert("RGB"), False
