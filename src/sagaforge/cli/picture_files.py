"""Pictures on disk, for `holodeck image`: read with care, written without overwriting, compared.

Pillow, NumPy and OpenCV are imported where they are used: every other command starts without them.
"""

from __future__ import annotations

import io
import itertools
import os
import re
import shutil
import uuid
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from sagaforge.cli.failures import CliError
from sagaforge.errors import SagaForgeError, UnsupportedType
from sagaforge.image_schemas import Receipt

if TYPE_CHECKING:
    from PIL import Image

MAX_FILE_BYTES = 50 * 1024**2
MAX_PIXELS = 64 * 1000**2
FORMATS = ("PNG", "JPEG", "WEBP")
OTHER_SUFFIXES = {".jpg", ".jpeg", ".webp", ".gif", ".avif", ".bmp", ".tif", ".tiff"}
MAX_SLUG_CHARS = 40
# File systems take names of 255 bytes, encrypting ones 143; a Chinese character has three. Seed and number follow.
MAX_SLUG_BYTES, MAX_STEM_BYTES = 100, 130
ROOM_BYTES = 4 * 1024**2  # a picture of a million pixels needs 1 to 3 MB
SAME_WITHIN = 1  # of 255: rounding that differs between machines


# --- reading --------------------------------------------------------------------------------------------------------


def read_file(path: Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    try:
        with path.open("rb") as file:
            body = file.read(max_bytes + 1)
    except OSError as error:
        reason = f"can't read {path}: {error.strerror or error}"
        raise CliError(reason, code="E_INPUT", actions=["Give a picture file that exists."]) from error
    if len(body) > max_bytes:
        raise CliError(
            f"{path} has more than {max_bytes // 1024**2} MB", code="E_INPUT", actions=["Give a smaller picture."]
        )
    return body


def decoded(body: bytes, what: str) -> Image.Image:
    """The picture, turned as its maker meant it. Its size is looked at before a pixel is unfolded."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow only warns at sizes of its own choice.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(body), formats=FORMATS) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise _too_many_pixels(what, f"{opened.width} × {opened.height}")
                opened.load()
                return ImageOps.exif_transpose(opened)
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(what, "far too many") from error
    except UnidentifiedImageError as error:
        actions = ["Give a PNG, JPEG or WebP file."]
        raise CliError(f"{what} is no picture that can be read", code="E_INPUT", actions=actions) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        actions = ["Copy or download it once more."]
        raise CliError(f"{what} is damaged: {error}", code="E_INPUT", actions=actions) from error


def _too_many_pixels(what: str, size: str) -> CliError:
    return CliError(
        f"{what} has {size} pixels; {MAX_PIXELS // 1000**2} million are the most",
        code="E_INPUT",
        actions=["Give a smaller picture."],
    )


def receipt_of(body: bytes, path: Path) -> Receipt:
    """Raises `CliError` for a picture without a receipt of ours, or with a damaged one."""
    from sagaforge.imaging.receipts import read_receipt

    try:
        return read_receipt(body)
    except SagaForgeError as error:
        reason = "Only PNG files have receipts." if isinstance(error, UnsupportedType) else error.detail
        raise CliError(
            f"{path} has no receipt that can be read: {reason}",
            code="E_INPUT",
            actions=["Give the PNG as the bundle made it; `holodeck image show FILE` tries the watermark too."],
        ) from error


def watermark_of(image: Image.Image) -> str | None:
    """The number that is hidden in a picture, as receipts write it."""
    try:
        from sagaforge.imaging.watermark import read_mark
    except ImportError as error:
        raise CliError(
            f"reading watermarks needs a package that is not installed: {error}",
            code="E_INPUT",
            actions=["Install the extra `draw` (opencv-python-headless), then try again."],
        ) from error
    payload = read_mark(image)
    return None if payload is None else f"{payload:010x}"


# --- comparing ------------------------------------------------------------------------------------------------------


class Difference(BaseModel):
    """How far two pictures of one size are apart, in steps of 255. `psnr_db`: None when they are equal."""

    max_difference: int
    mean_difference: float
    psnr_db: float | None

    @property
    def is_same(self) -> bool:
        return self.max_difference <= SAME_WITHIN

    def __str__(self) -> str:
        if self.psnr_db is None:
            return "no pixel differs"
        return (
            f"the largest difference is {self.max_difference} of 255, the mean {self.mean_difference:.3g},"
            f" PSNR {self.psnr_db:.1f} dB"
        )


def difference(one: Image.Image, other: Image.Image) -> Difference:
    import numpy as np

    apart = np.abs(np.asarray(one.convert("RGB"), dtype=np.int16) - np.asarray(other.convert("RGB"), dtype=np.int16))
    mean_square = float(np.mean(apart.astype(np.float64) ** 2))
    return Difference(
        max_difference=int(apart.max()),
        mean_difference=float(apart.mean()),
        psnr_db=float(10 * np.log10(255**2 / mean_square)) if mean_square else None,
    )


# --- writing --------------------------------------------------------------------------------------------------------


def slug(prompt: str) -> str:
    """A file name's part that tells of the prompt, in its own script."""
    words = re.findall(r"[^\W_]+", prompt.lower())
    return fitted("-".join(words)[:MAX_SLUG_CHARS], MAX_SLUG_BYTES).rstrip("-") or "picture"


def fitted(stem: str, max_bytes: int) -> str:
    """As much of `stem` as a file's name has room for, in whole characters."""
    name = stem.encode("utf-8", "surrogateescape")
    return stem if len(name) <= max_bytes else name[:max_bytes].decode("utf-8", "ignore")


class Target:
    """Where pictures go: a file, whose name ends in .png, or a folder, which is made when it is not there.

    Looked at before anything is painted: nobody wants to hear after a minute that a disk can't be written.
    """

    def __init__(self, out: Path, *, num_pictures: int = 1) -> None:
        is_folder = os.path.isdir(out)  # of a name that is too long, `Path.is_dir` raises
        is_file = out.suffix.lower() == ".png" and not is_folder
        if is_file and num_pictures > 1:
            raise CliError(
                f"{out} is one file, for {num_pictures} pictures", code="E_INPUT", actions=["Name a folder."]
            )
        if out.suffix.lower() in OTHER_SUFFIXES and not is_folder:
            actions = ["Let the name end in .png, or name a folder."]
            raise CliError(f"can't write {out}: pictures are PNG files", code="E_INPUT", actions=actions)
        self._file = out if is_file else None
        self._folder = out.parent if is_file else out
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _try(self._file or self._folder / f"{uuid.uuid4().hex}.png")
            num_free = shutil.disk_usage(self._folder).free
        except (OSError, ValueError) as error:  # a name with characters that file names here can't have
            raise _unwritable(out, error) from error
        if num_free < num_pictures * ROOM_BYTES:
            raise CliError(
                f"the disk of {self._folder} has {num_free // 1024} KB left; {num_pictures} may need more",
                code="E_INPUT",
                actions=["Make room, or name a folder on another disk with --out."],
            )

    def write(self, stem: str, png: bytes) -> Path:
        """Writes exactly the file that was named, or else one that is not there yet; gives its path."""
        if self._file:
            return _write(self._file, png, "wb")
        stem = fitted(stem, MAX_STEM_BYTES)
        for number in itertools.count(1):
            try:
                return _write(self._folder / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png"), png, "xb")
            except FileExistsError:
                continue
        raise AssertionError("unreachable: there are more numbers than files")


def _try(path: Path) -> None:
    """Raises what opening `path` for writing would raise, and leaves it as it was."""
    try:
        path.open("xb").close()
    except FileExistsError:
        path.open("ab").close()
    else:
        path.unlink()


def _write(path: Path, png: bytes, mode: str) -> Path:
    try:
        with path.open(mode) as file:
            try:
                file.write(png)
                file.flush()
            except OSError:
                if mode == "xb":  # of a file that was there, what is left is its owner's
                    path.unlink()
                raise
    except FileExistsError:
        raise
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error
    return path


def _unwritable(path: Path, error: OSError | ValueError) -> CliError:
    reason = f"can't write to {path}: {getattr(error, 'strerror', None) or error}"
    return CliError(reason, code="E_INPUT", actions=["Give a folder or a .png file that can be written with --out."])
