"""Receipts in pictures: written, read, and what is no receipt."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from sagaforge.errors import InvalidInput, NotFound, UnsupportedType
from sagaforge.image_schemas import Receipt, UsedAdapter
from sagaforge.imaging.receipts import read_receipt, with_receipt

RECEIPT = Receipt(
    image_id="ab12" * 8,
    created_at=datetime(2026, 11, 22, tzinfo=UTC),
    request={"prompt": "海邊的燈塔", "style_preset": "cyberpunk"},
    prompt='海邊的燈塔, "neon" <b>',
    negative_prompt="blurry",
    seed=7,
    width=128,
    height=128,
    painted_width=128,
    painted_height=128,
    steps=14,
    cfg_scale=4.0,
    scheduler="dpmpp_2m",
    backend="engine",
    model="pocket-sdxl",
    model_sha256="0123456789abcdef",
    adapters=[UsedAdapter(name="alice", scale=0.8, sha256="ff", license="CC-BY-4.0")],
)


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 255, (32, 32, 3), dtype=np.uint8))


def test_a_receipt_comes_back_whole_and_the_pixels_stay() -> None:
    body = with_receipt(picture(), RECEIPT)
    assert read_receipt(body) == RECEIPT
    assert (np.asarray(Image.open(io.BytesIO(body))) == np.asarray(picture())).all()


def test_other_programs_find_the_line_that_they_know() -> None:
    image = Image.open(io.BytesIO(with_receipt(picture(), RECEIPT)))
    assert isinstance(image, PngImagePlugin.PngImageFile)
    prompt, negative, facts = image.text["parameters"].split("\n")
    assert prompt == '海邊的燈塔, "neon" <b> <lora:alice:0.8>'
    assert negative == "Negative prompt: blurry"
    assert "Steps: 14" in facts
    assert "Seed: 7, Size: 128x128, Model hash: 0123456789" in facts


def png_with(**chunks: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for name, text in chunks.items():
        info.add_itxt(name, text)
    out = io.BytesIO()
    picture().save(out, "PNG", pnginfo=info)
    return out.getvalue()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", UnsupportedType),
        (b"\xff\xd8\xff\xe0 jpeg", UnsupportedType),
        (png_with()[:100], UnsupportedType),
        (png_with(), NotFound),
        (png_with(parameters="a cat"), NotFound),
        (png_with(sagaforge="{}"), InvalidInput),
        (png_with(sagaforge="not json"), InvalidInput),
        (png_with(sagaforge='"' + "x" * 300_000 + '"'), InvalidInput),
    ],
    ids=["empty", "jpeg", "cut", "bare", "others", "no fields", "no json", "huge"],
)
def test_what_is_no_receipt_of_ours(body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_receipt(body)
