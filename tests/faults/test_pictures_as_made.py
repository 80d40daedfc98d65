"""Pictures that are sent: read as their makers see them, fitted to what is asked, and kept where a mask protects."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sagaforge.deployments.diffusion.comfyui.pictures import image_to_send
from sagaforge.errors import InvalidInput
from sagaforge.functions.images.start_pictures import fitted, from_base64, own_size
from sagaforge.imaging import watermark
from sagaforge.imaging.image_bytes import read_mask, read_picture
from tests.support.fakes import House
from tests.support.http_client import check_problem


def saved(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def encoded(body: bytes) -> str:
    return base64.b64encode(body).decode()


def busy(width: int, height: int, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(30, 226, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def raw_png(pixels: np.ndarray, kind: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write. pixels: [height, width, channels]"""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in parts)


def linear_profile() -> bytes:
    """sRGB's primaries with a gamma of 1: level 128 of it is sRGB's 188."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    white = (0.9642, 1.0, 0.8249)
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 7) + b"linear\0" + bytes(78),
        b"wtpt": b"XYZ \0\0\0\0" + fixed(*white),
        b"rXYZ": b"XYZ \0\0\0\0" + fixed(0.4360, 0.2225, 0.0139),
        b"gXYZ": b"XYZ \0\0\0\0" + fixed(0.3851, 0.7169, 0.0971),
        b"bXYZ": b"XYZ \0\0\0\0" + fixed(0.1431, 0.0606, 0.7139),
        b"rTRC": b"curv\0\0\0\0" + struct.pack(">I", 0),
    }
    tags |= {b"gTRC": tags[b"rTRC"], b"bTRC": tags[b"rTRC"]}
    start, table, data = 128 + 4 + 12 * len(tags), b"", b""
    for name, body in tags.items():
        body += bytes(-len(body) % 4)
        table += name + struct.pack(">II", start + len(data), len(body))
        data += body
    size = start + len(data)
    head = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(*white)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


# --- as they are seen -----------------------------------------------------------------------------------------------

HALF = np.zeros((8, 8), dtype=np.uint8)
HALF[:, 4:] = 255


def half_hidden(mode: str) -> Image.Image:
    """Red where it is seen, and where it is not, left, as well."""
    image = Image.new("RGB", (8, 8), (200, 0, 0))
    image.putalpha(Image.fromarray(HALF))
    return image.convert(mode)


def palette() -> bytes:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([200, 0, 0, 10, 20, 30])
    image.paste(1, (4, 0, 8, 8))
    return saved(image, transparency=0)


def turned() -> bytes:
    """A camera held upright: left in the file is on top in what it shows."""
    image = Image.new("RGB", (8, 4), "blue")
    image.paste("white", (0, 0, 4, 4))
    exif = image.getexif()
    exif[0x0112] = 6
    return saved(image, exif=exif)


def animated(form: str) -> bytes:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("white", "black", "red")]
    return saved(
        frames[0], form, save_all=True, append_images=frames[1:], **({"lossless": True} if form == "WEBP" else {})
    )


DEEP = np.linspace(0, 65535, 64).reshape(8, 8, 1)
GREY = np.rint(np.linspace(0, 255, 64).reshape(8, 8))
WHITE = (255, 255, 255)

SEEN: list[tuple[str, Callable[[], bytes], Any, Any, str]] = [
    # name, file, what is seen left on top, right at the bottom, what is said
    ("rgb", lambda: saved(Image.new("RGB", (8, 8), (1, 2, 3))), (1, 2, 3), (1, 2, 3), ""),
    ("rgba", lambda: saved(half_hidden("RGBA")), WHITE, (200, 0, 0), "white"),
    ("grey with alpha", lambda: saved(half_hidden("LA")), WHITE, (60, 60, 60), "white"),
    ("palette", palette, WHITE, (10, 20, 30), "white"),
    ("webp", lambda: saved(half_hidden("RGBA"), "WEBP", lossless=True, exact=True), WHITE, (200, 0, 0), "white"),
    ("opaque rgba", lambda: saved(Image.new("RGBA", (8, 8), (5, 5, 5, 255))), (5, 5, 5), (5, 5, 5), ""),
    ("16-bit grey", lambda: raw_png(DEEP, 0), (0, 0, 0), WHITE, ""),
    ("16-bit rgb", lambda: raw_png(np.repeat(DEEP, 3, axis=2), 2), (0, 0, 0), WHITE, ""),
    ("16-bit rgba", lambda: raw_png(np.dstack([DEEP, DEEP, DEEP, 65535 * (HALF > 0)]), 6), WHITE, WHITE, "white"),
    ("16-bit grey key", lambda: raw_png(DEEP, 0, (b"tRNS", struct.pack(">H", 0))), WHITE, WHITE, "white"),
    ("16-bit rgb key", lambda: raw_png(np.full((8, 8, 3), 0x1234), 2, (b"tRNS", struct.pack(">3H", *[0x1234] * 3))),
     WHITE, WHITE, "white"),
    ("1-bit", lambda: saved(Image.fromarray(HALF).convert("1")), (0, 0, 0), WHITE, ""),
    ("cmyk", lambda: saved(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG", quality=100), WHITE, WHITE, ""),
    ("grey jpeg", lambda: saved(Image.new("L", (8, 8), 90), "JPEG", quality=100), (90, 90, 90), (90, 90, 90), ""),
    ("turned", turned, WHITE, (0, 0, 255), ""),
    ("animated webp", lambda: animated("WEBP"), WHITE, WHITE, "first frame"),
    ("animated png", lambda: animated("PNG"), WHITE, WHITE, "first frame"),
    ("profile", lambda: saved(Image.new("RGB", (8, 8), (128, 128, 128)), icc_profile=linear_profile()),
     (188, 188, 188), (188, 188, 188), ""),
    ("profile and alpha", lambda: saved(half_hidden("RGBA"), icc_profile=linear_profile()), WHITE, (229, 0, 0), "white"),
    ("broken profile", lambda: saved(Image.new("RGB", (8, 8), (9, 9, 9)), icc_profile=b"no profile"), (9, 9, 9), (9, 9, 9),
     "colour profile"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "first", "last", "said"), [one[1:] for one in SEEN], ids=[one[0] for one in SEEN])
def test_a_picture_is_what_its_maker_sees(make: Callable[[], bytes], first: Any, last: Any, said: str) -> None:
    read = read_picture(make())
    assert read.image.mode == "RGB"
    corners = read.image.getpixel((0, 0)), read.image.getpixel((read.image.width - 1, read.image.height - 1))
    for seen, expected in zip(corners, (first, last), strict=True):
        assert np.abs(np.subtract(seen, expected)).max() <= 1, (seen, expected)
    assert (said in " ".join(read.notes)) if said else read.notes == ()
    sent = Image.open(io.BytesIO(image_to_send(make(), read.image.size)))
    assert (np.asarray(sent) == np.asarray(read.image)).all(), "a ComfyUI server gets the same"


@pytest.mark.parametrize("kind", [0, 2])
def test_deep_grey_is_scaled(kind: int) -> None:
    pixels = np.asarray(read_picture(raw_png(np.repeat(DEEP, {0: 1, 2: 3}[kind], axis=2), kind)).image)
    assert np.abs(pixels[..., 0].astype(int) - GREY).max() <= 1


MASKS: list[tuple[str, Callable[[], bytes], int, int]] = [
    ("grey", lambda: saved(Image.fromarray(HALF)), 0, 255),
    ("colour", lambda: saved(Image.fromarray(HALF).convert("RGB")), 0, 255),
    ("1-bit", lambda: saved(Image.fromarray(HALF).convert("1")), 0, 255),
    ("16-bit", lambda: raw_png(DEEP, 0), 0, 255),
    ("white strokes on nothing", lambda: saved(Image.merge("LA", [Image.new("L", (8, 8), 255), Image.fromarray(HALF)])),
     0, 255),
    ("half seen", lambda: saved(Image.new("RGBA", (8, 8), (255, 255, 255, 128))), 128, 128),
    ("soft", lambda: saved(Image.new("L", (8, 8), 77)), 77, 77),
    ("nearly", lambda: saved(Image.fromarray(np.where(HALF, 250, 5).astype(np.uint8))), 0, 255),
    ("jpeg", lambda: saved(Image.fromarray(HALF.repeat(8, 0).repeat(8, 1)), "JPEG", quality=60), 0, 255),
]  # fmt: skip


@pytest.mark.parametrize(("make", "first", "last"), [one[1:] for one in MASKS], ids=[one[0] for one in MASKS])
def test_a_mask_has_one_meaning(make: Callable[[], bytes], first: int, last: int) -> None:
    mask = read_mask(make()).image
    assert mask.mode == "L"
    assert (mask.getpixel((0, 0)), mask.getpixel((mask.width - 1, mask.height - 1))) == (first, last)


def test_the_watermark_is_found_in_a_deep_copy() -> None:
    marked = np.asarray(watermark.mark(busy(256, 256), 12345).convert("L")).astype(np.uint16) * 257
    assert watermark.read_mark(Image.fromarray(marked)) == 12345


# --- base64 ---------------------------------------------------------------------------------------------------------


@given(st.binary(min_size=1, max_size=300), st.booleans(), st.booleans(), st.booleans(), st.booleans())
@settings(deadline=None)
def test_base64_in_any_form(body: bytes, is_url_safe: bool, is_broken: bool, is_padded: bool, is_url: bool) -> None:
    text = (base64.urlsafe_b64encode if is_url_safe else base64.b64encode)(body).decode()
    text = text if is_padded else text.rstrip("=")
    if is_broken:
        text = "\r\n".join(text[start : start + 20] for start in range(0, len(text), 20)) + "\n"
    if is_url:
        text = "data:image/png;base64," + text.replace("=", "%3D")
    assert from_base64(text, "image") == body


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "rubbish!",
        "AAAAA",
        "AA==AA==",
        "data:image/png,rohe",
        "data:;base64,",
        "港口",
        "data:image/png;base64",
    ],
)
@pytest.mark.parametrize("field", ["image", "mask"])
async def test_what_is_no_base64_is_told_by_its_field(
    client: httpx.AsyncClient, house: House, text: str, field: str
) -> None:
    start = {"image": encoded(saved(Image.new("RGB", (64, 64))))}
    response = await client.post("/t2i/generate", json={"prompt": "x", "steps": 2, **start, field: text})
    assert field in check_problem(response, 422, "invalid_input")["detail"]
    assert house.images.specs == []


# --- sizes and shapes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "asked", "gives", "said"),
    [
        ((128, 96), {}, (128, 96), ""),
        ((501, 333), {}, (504, 336), "501 × 333"),
        ((4000, 1000), {}, (2048, 512), "4000 × 1000"),
        ((30, 60), {}, (64, 128), "30 × 60"),
        ((300, 200), {"width": 600}, (600, 400), ""),
        ((300, 200), {"height": 104}, (160, 104), "300 × 195"),
        ((128, 96), {"width": 64, "height": 64}, (64, 64), "middle 96 × 96"),
        ((128, 96), {"width": 64, "height": 64, "fit": "stretch"}, (64, 64), "stretched"),
        ((128, 96), {"width": 64, "height": 64, "fit": "pad"}, (64, 64), "padded"),
        ((100, 100), {"image_type": "portrait"}, (416, 624), "middle 67 × 100"),
    ],
)
async def test_the_size_is_the_start_pictures(
    client: httpx.AsyncClient, size: tuple[int, int], asked: dict[str, Any], gives: tuple[int, int], said: str
) -> None:
    image = encoded(saved(Image.new("RGB", size, "teal")))
    response = await client.post("/t2i/generate", json={"prompt": "x", "steps": 2, "image": image, **asked})
    metadata = response.json()["metadata"]
    assert (metadata["width"], metadata["height"]) == gives
    assert said in " ".join(metadata["notes"])
    assert bool(metadata["notes"]) == bool(said)


@pytest.mark.parametrize(
    ("size", "asked"), [((4000, 64), {}), ((10, 500), {}), ((1000, 100), {"height": 512}), ((1000, 50), {"width": 640})]
)
async def test_a_shape_without_a_size_is_refused(
    client: httpx.AsyncClient, house: House, size: tuple[int, int], asked: dict[str, int]
) -> None:
    image = encoded(saved(Image.new("RGB", size)))
    response = await client.post("/t2i/generate", json={"prompt": "x", "steps": 2, "image": image, **asked})
    assert "width and height" in check_problem(response, 422, "invalid_input")["detail"]
    assert house.images.specs == []


@given(st.integers(1, 4096), st.integers(1, 4096))
@settings(deadline=None)
def test_an_own_size_is_within_bounds_and_of_the_shape(width: int, height: int) -> None:
    try:
        across, down = own_size((width, height))
    except InvalidInput:
        assert max(width, height) / min(width, height) > 31
    else:
        assert all(64 <= side <= 2048 and side % 8 == 0 for side in (across, down))
        assert abs(across * height - down * width) <= 4.01 * (height + width) * max(1.0, across / width)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_a_fitted_picture_has_the_size_and_its_own_colours(fit: Any, width: int, height: int, a: int, b: int) -> None:
    shown = (8 * a, 8 * b)
    image = Image.new("RGB", (width, height), "black")
    whole = fitted(image, shown, shown, fit, Image.Resampling.LANCZOS)
    assert whole.size == shown
    darkest, lightest = zip(*whole.getextrema(), strict=True)
    assert darkest == (0, 0, 0)
    assert lightest == (0, 0, 0) or fit == "pad"
    same = fitted(image, image.size, image.size, fit, Image.Resampling.LANCZOS)
    assert (np.asarray(same) == np.asarray(image)).all()


def test_the_middle_is_cropped_and_not_squeezed() -> None:
    image = Image.new("RGB", (96, 32), "red")
    image.paste("white", (32, 0, 64, 32))
    cropped = np.asarray(fitted(image, (64, 64), (64, 64), "crop", Image.Resampling.LANCZOS))
    assert (cropped[:, 2:-2] > 250).all()
    stretched = np.asarray(fitted(image, (64, 64), (64, 64), "stretch", Image.Resampling.LANCZOS))
    assert (stretched[:, :15, 1] == 0).all()
    padded = np.asarray(fitted(image, (64, 64), (64, 64), "pad", Image.Resampling.LANCZOS))
    assert (padded[:20] == 255).all()
    assert (padded[32, 4] == (255, 0, 0)).all()


@pytest.mark.parametrize("fields", [{"strength": 0.5}, {"strength": 0.6}, {"fit": "crop"}, {"mask": "AAAA"}], ids=str)
async def test_what_is_about_a_start_picture_needs_one(
    client: httpx.AsyncClient, house: House, fields: dict[str, Any]
) -> None:
    problem = check_problem(await client.post("/t2i/generate", json={"prompt": "x", **fields}), 422, "invalid_input")
    assert next(iter(fields)) in problem["detail"]
    assert "image" in problem["detail"]
    assert house.images.specs == []
