"""Inpainting: what a mask protects comes out as it was sent, and what it does not is painted anew, however thin."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sagaforge.errors import InvalidInput
from sagaforge.functions.images.plan import Planned, plan
from sagaforge.functions.images.start_pictures import Start, fitted, put_back, read_start
from sagaforge.image_schemas import ImageRequest, Receipt
from sagaforge.imaging.image_bytes import read_picture
from sagaforge.imaging.receipts import read_receipt
from sagaforge.profiles import get_profile
from tests.faults.test_pictures_as_made import busy, encoded, saved
from tests.support.fakes import House

POCKET = get_profile("pocket").image
# How far the watermark moves a channel at most, and on the whole (docs/images.md says so).
MARK_MAX, MARK_RMS = 16, 3.2


def boxed(width: int, height: int, level: int = 255) -> Image.Image:
    mask = Image.new("L", (width, height), 0)
    mask.paste(level, (width // 4, height // 4, width // 2, height // 2))
    return mask


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("level", [255, 128])
def test_protected_pixels_are_put_back_exactly(form: str, level: int) -> None:
    image, painted = busy(96, 64), busy(96, 64, seed=1)
    start = Start(saved(image, form, quality=95), saved(boxed(96, 64, level)), "crop")
    sent, made = (np.asarray(read_picture(body).image).astype(int) for body in (start.image, saved(painted)))
    done = np.asarray(put_back(painted, start)).astype(int)
    inside = np.asarray(boxed(96, 64)) > 0
    assert (done[~inside] == sent[~inside]).all()
    assert np.abs(done[inside] - (sent + (made - sent) * level / 255)[inside]).max() <= 1


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_any_mask_blends_by_its_levels(seed: int) -> None:
    levels = np.random.default_rng(seed).integers(0, 256, (16, 24), dtype=np.uint8)
    levels[:4], levels[4:8] = 0, 255
    image, painted = busy(24, 16), busy(24, 16, seed=1)
    done = np.asarray(put_back(painted, Start(saved(image), saved(Image.fromarray(levels)), "crop")))
    assert (done[:4] == np.asarray(image)[:4]).all()
    assert (done[4:8] == np.asarray(painted)[4:8]).all()
    between = np.minimum(image, painted), np.maximum(image, painted)
    assert ((done >= between[0]) & (done <= between[1])).all()


@pytest.mark.parametrize(
    ("size", "fields"),
    [
        ((256, 256), {}),
        ((512, 320), {}),
        ((512, 320), {"width": 256, "height": 256}),  # cropped
        ((200, 104), {"width": 400, "height": 208}),  # enlarged
        ((64, 512), {}),  # painted wider, and cropped
    ],
)
async def test_an_inpainting_keeps_what_it_protects_but_for_the_watermark(
    client: httpx.AsyncClient, house: House, size: tuple[int, int], fields: dict[str, int]
) -> None:
    image, mask = busy(*size), boxed(*size)
    body = {
        "prompt": "x",
        "steps": 2,
        "seed": 3,
        "image": encoded(saved(image)),
        "mask": encoded(saved(mask)),
        **fields,
    }
    answer = (await client.post("/t2i/generate", json=body)).json()
    file = (await client.get(answer["image_url"])).content
    done = np.asarray(Image.open(io.BytesIO(file))).astype(int)
    shown = (done.shape[1], done.shape[0])
    kept = np.asarray(fitted(image, shown, shown, "crop", Image.Resampling.LANCZOS)).astype(int)
    levels = np.asarray(fitted(mask, shown, shown, "crop", Image.Resampling.BILINEAR))
    apart = np.abs(done - kept)[levels == 0]
    assert apart.max() <= MARK_MAX
    assert np.sqrt((apart**2).mean()) <= MARK_RMS
    assert np.abs(done - kept)[levels == 255].mean() > 10, "and it was painted anew elsewhere"
    receipt = read_receipt(file)
    again = (await client.post("/t2i/replay", json=receipt.model_dump(mode="json"))).json()
    assert again["changed"] == []
    replayed = np.asarray(Image.open(io.BytesIO(base64.b64decode(again["png"])))).astype(int)
    assert (replayed == done).all()
    assert house.images.specs[0] == house.images.specs[1]


def planned(mask: Image.Image, size: tuple[int, int] = (512, 512), **fields: Any) -> Planned:
    body = {"prompt": "x", "image": encoded(saved(busy(*size))), "mask": encoded(saved(mask)), "seed": 1, **fields}
    return plan(ImageRequest.model_validate(body), style=None, profile=POCKET, adapters=(), idempotency_key=None)[0]


@pytest.mark.parametrize("thickness", [1, 4, 40])
def test_however_thin_a_line_it_is_painted(thickness: int) -> None:
    """512 pixels are painted on 16 latents a side; a line of one pixel between them was lost."""
    mask = Image.new("L", (512, 512), 0)
    mask.paste(255, (0, 100, 512, 100 + thickness))
    sent = planned(mask).spec.mask
    assert sent is not None
    levels = np.asarray(Image.open(io.BytesIO(sent)))
    assert set(np.unique(levels)) == {0, 255}
    assert (levels[25] == 255).all(), "100 of 512 is 25 of 128"
    assert (levels[48:] == 0).all()


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (Image.new("L", (512, 512), 0), "black everywhere"),
        (Image.new("RGBA", (512, 512), (255, 255, 255, 0)), "black everywhere"),
        (Image.new("L", (512, 256), 255), "one shape"),
        (Image.new("L", (100, 200), 255), "one shape"),
    ],
    ids=["black", "clear", "wide", "tall"],
)
def test_a_mask_that_can_not_be_meant_is_refused(mask: Image.Image, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        planned(mask)
    assert caught.value.detail.startswith("mask")


def test_a_mask_of_another_size_is_scaled_and_that_is_said() -> None:
    one = planned(Image.new("L", (256, 256), 255))
    assert any("256 × 256" in note for note in one.notes)
    start = one.start
    assert start is not None
    assert read_start(start)[1] is not None


async def test_receipts_of_before_are_read_by_their_own_rules(client: httpx.AsyncClient, house: House) -> None:
    """Then brackets were text, start pictures stretched whole, and nothing was put back."""
    body = saved(busy(96, 64))
    sha256 = await house.services.studio.gallery.keep_input(body)
    old = Receipt.model_validate({
        "image_id": "ab" * 16, "created_at": "2026-11-22T12:00:00Z", "request": {"prompt": "x"}, "seed": 1,
        "prompt": "Mara (the keeper)", "width": 64, "height": 64, "painted_width": 64, "painted_height": 64, "steps": 4,
        "cfg_scale": 1.0, "scheduler": "euler", "backend": "fake", "model": "fake-sdxl", "model_sha256": "cd" * 32,
        "image_sha256": sha256, "mask_sha256": sha256, "strength": 0.5, "versions": {"fake": "1"},
    })  # fmt: skip
    answer = (await client.post("/t2i/replay", json=old.model_dump(mode="json", exclude={"rules"}))).json()
    assert answer["changed"] == ["rules"]
    (spec,) = house.images.specs
    assert (spec.prompt, spec.image, spec.mask) == (r"Mara \(the keeper\)", body, body)
