"""Pictures on disk, for `holodeck image`: read with care, written without overwriting, compared.

Pillow, NumPy and OpenCV are imported where they are used: every other command starts without them.
"""

from __future__ import annotations

import io
import itertools
import re
import tempfile
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
    from sagaforge.functions.receipts import read_receipt

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
        from sagaforge.deployments.diffusion.watermark import read_mark
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
    return "-".join(words)[:MAX_SLUG_CHARS].rstrip("-") or "picture"


class Target:
    """Where pictures go: a file, whose name ends in .png, or a folder, which is made when it is not there.

    Looked at before anything is painted: nobody wants to hear after a minute that a disk can't be written.
    """

    def __init__(self, out: Path, *, num_pictures: int = 1) -> None:
        is_file = out.suffix.lower() == ".png" and not out.is_dir()
        if is_file and num_pictures > 1:
            raise CliError(
                f"{out} is one file, for {num_pictures} pictures", code="E_INPUT", actions=["Name a folder."]
            )
        if out.suffix.lower() in OTHER_SUFFIXES and not out.is_dir():
            actions = ["Let the name end in .png, or name a folder."]
            raise CliError(f"can't write {out}: pictures are PNG files", code="E_INPUT", actions=actions)
        self._file = out if is_file else None
        self._folder = out.parent if is_file else out
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if self._file and self._file.exists():
                self._file.open("ab").close()
            else:
                tempfile.TemporaryFile(dir=self._folder).close()
        except OSError as error:
            raise _unwritable(out, error) from error

    def write(self, stem: str, png: bytes) -> Path:
        """Writes exactly the file that was named, or else one that is not there yet; gives its path."""
        if self._file:
            return _write(self._file, png, "wb")
        for number in itertools.count(1):
            try:
                return _write(self._folder / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png"), png, "xb")
            except FileExistsError:
                continue
        raise AssertionError("unreachable: there are more numbers than files")


def _write(path: Path, png: bytes, mode: str) -> Path:
    try:
        with path.open(mode) as file:
            file.write(png)
    except FileExistsError:
        raise
    except OSError as error:
        raise _unwritable(path, error) from error
    return path


def _unwritable(path: Path, error: OSError) -> CliError:
    reason = f"can't write to {path}: {error.strerror or error}"
    return CliError(reason, code="E_INPUT", actions=["Give a folder or a .png file that can be written with --out."])
