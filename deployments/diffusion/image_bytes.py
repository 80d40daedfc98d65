"""Pictures as bytes: what strangers send, decoded with care, and what goes out."""

from __future__ import annotations

import io
import warnings

from PIL import Image, ImageOps, UnidentifiedImageError

from sagaforge.errors import InvalidInput, TooLarge, UnsupportedType

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_BYTES = 20 * 1024**2
MAX_PIXELS = 4096 * 4096
PREVIEW_QUALITY = 70


def decode(body: bytes, what: str = "image") -> Image.Image:
    """The picture, RGB, with its orientation applied; `what` names it in errors.

    Raises:
        TooLarge: more bytes or pixels than anything here works with.
        UnsupportedType: not PNG, JPEG or WebP.
        InvalidInput: damaged.
    """
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
                return ImageOps.exif_transpose(opened).convert("RGB")
    except UnidentifiedImageError as exc:
        raise UnsupportedType(f"The {what} must be a PNG, JPEG or WebP picture.") from exc
    except Image.DecompressionBombError as exc:
        raise TooLarge(f"The {what} has too many pixels.") from exc
    except (OSError, SyntaxError, ValueError, EOFError) as exc:
        raise InvalidInput(f"The {what} is damaged: {exc}") from exc


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
