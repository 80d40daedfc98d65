"""What follows from a request is checked before anything is painted: sizes, seeds, steps, what receipts hold."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sagaforge.datasets.images import shrunk
from sagaforge.deployments.diffusion.comfyui.messages import seconds_in_history
from sagaforge.deployments.diffusion.engine.maker import ImageMaker
from sagaforge.deployments.diffusion.interface import ImageSpec, Made
from sagaforge.errors import InvalidInput
from sagaforge.functions.images.plan import painted, plan
from sagaforge.image_schemas import MAX_SEED, MAX_SIDE, MIN_SIDE, ImageRequest, Receipt
from sagaforge.imaging.receipts import read_receipt
from sagaforge.profiles import PROFILES, EngineLimits, get_profile
from tests.support.fakes import House
from tests.support.http_client import check_problem, parse_events
from tests.unit.functions.test_image_functions import encoded, png

POCKET = get_profile("pocket").image
SIDES = st.integers(MIN_SIDE // 8, MAX_SIDE // 8).map(lambda eighth: eighth * 8)


async def paint(client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    return await client.post("/t2i/generate", json={"prompt": "x", "steps": 1, **fields})


# --- sizes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height", "painted_as"),
    [
        (64, 512, (64, 368)),  # the issue's
        (512, 64, (368, 64)),
        (64, 2048, (64, 720)),
        (2048, 64, (720, 64)),
        (72, 640, (64, 384)),
        (64, 264, (64, 256)),
        (1024, 1024, (128, 128)),
        (64, 64, (64, 64)),
        (2048, 128, (512, 64)),
    ],
)
async def test_every_shape_is_painted(
    client: httpx.AsyncClient, house: House, width: int, height: int, painted_as: tuple[int, int]
) -> None:
    response = await paint(client, width=width, height=height)
    assert response.status_code == 200, response.text
    (spec,) = house.images.specs
    assert (spec.width, spec.height) == painted_as
    answer = response.json()
    file = (await client.get(answer["image_url"])).content
    assert Image.open(io.BytesIO(file)).size == (width, height)
    receipt = read_receipt(file)
    assert (receipt.painted_width, receipt.painted_height) == painted_as
    notes = answer["metadata"]["notes"]
    assert notes == receipt.notes
    assert bool(notes) == (receipt.shown_part is not None), "what is cut off is said"
    again = await client.post("/t2i/replay", json=receipt.model_dump(mode="json"))
    assert again.status_code == 200, again.text
    assert again.json()["receipt"]["shown_part"] == receipt.model_dump(mode="json")["shown_part"]
    for size in (128, 256, 512):
        small = Image.open(io.BytesIO((await client.get(answer["thumbnail_url"], params={"size": size})).content))
        assert max(small.size) == min(size, max(width, height))


@given(SIDES, SIDES, st.sampled_from(sorted(PROFILES)))
@settings(deadline=None)
def test_what_is_painted_is_within_bounds_and_of_the_shape(width: int, height: int, name: str) -> None:
    profile = PROFILES[name].image
    size, part = painted((width, height), profile)
    Receipt.model_validate({**RECEIPT, "painted_width": size[0], "painted_height": size[1], "shown_part": part})
    assert all(side % profile.size_unit == 0 for side in size)
    across, down = part or size
    assert across <= size[0]
    assert down <= size[1]
    if part:
        # To within half a pixel of the part.
        assert abs(across / width - down / height) <= 0.5 / min(width, height) + 1e-9
    else:
        assert size[0] * size[1] <= profile.max_pixels * 1.3


RECEIPT = {
    "image_id": "ab" * 16, "created_at": "2026-11-22T12:00:00Z", "request": {"prompt": "x"}, "prompt": "x", "seed": 1,
    "width": 64, "height": 64, "painted_width": 64, "painted_height": 64, "steps": 1, "cfg_scale": 1.0,
    "scheduler": "euler", "backend": "engine", "model": "tiny",
}  # fmt: skip


@pytest.mark.parametrize(("size", "small"), [((64, 2048), (4, 128)), ((2048, 64), (128, 4)), ((2048, 8), (128, 1))])
def test_thumbnails_of_long_pictures(size: tuple[int, int], small: tuple[int, int]) -> None:
    assert Image.open(io.BytesIO(shrunk(png(*size), 128))).size == small


async def test_a_receipt_whose_numbers_do_not_fit_is_refused(client: httpx.AsyncClient, house: House) -> None:
    wrong = {**RECEIPT, "shown_part": [80, 64]}
    check_problem(await client.post("/t2i/replay", json=wrong), 422, "invalid_input")
    assert house.images.specs == []


@pytest.fixture(scope="module")
def pocket(one_thread: None) -> Iterator[ImageMaker]:
    maker = ImageMaker(POCKET.model, EngineLimits(), lambda name: b"")
    yield maker
    maker.close()


@pytest.mark.parametrize("size", [(64, 368), (368, 64), (72, 72), (136, 88)])
async def test_the_pocket_model_paints_such_shapes(pocket: ImageMaker, size: tuple[int, int]) -> None:
    spec = ImageSpec("a harbour", width=size[0], height=size[1], steps=1, guidance_scale=1.0, seed=1)
    made = [event async for event in pocket.generate(replace(spec, preview_every=1)) if isinstance(event, Made)]
    assert Image.open(io.BytesIO(made[0].image)).size == size


# --- seeds ----------------------------------------------------------------------------------------------------------


@given(st.one_of(st.integers(0, MAX_SEED), st.integers(MAX_SEED - 10, MAX_SEED)), st.integers(1, 8))
@settings(deadline=None)
def test_seeds_count_up_or_are_refused(seed: int, num_images: int) -> None:
    request = ImageRequest(prompt="x", seed=seed, num_images=num_images)
    if seed + num_images - 1 > MAX_SEED:
        with pytest.raises(InvalidInput, match="seed"):
            plan(request, style=None, profile=POCKET, adapters=(), idempotency_key=None)
        return
    planned = plan(request, style=None, profile=POCKET, adapters=(), idempotency_key=None)
    assert [one.spec.seed for one in planned] == list(range(seed, seed + num_images))


@pytest.mark.parametrize(
    ("route", "fields"),
    [
        ("/t2i/generate", {"num_images": 2}),
        ("/t2i/generate", {"num_images": 8, "seed": MAX_SEED - 6}),
        ("/v1/images/generations", {"n": 2}),
    ],
)
async def test_no_seed_starts_over(client: httpx.AsyncClient, house: House, route: str, fields: dict[str, Any]) -> None:
    problem = check_problem(
        await client.post(route, json={"prompt": "x", "steps": 1, "seed": MAX_SEED, **fields}), 422, "invalid_input"
    )
    assert "seed" in problem["detail"]
    assert house.images.specs == []


async def test_the_largest_seed_is_painted(client: httpx.AsyncClient, house: House) -> None:
    assert (await paint(client, seed=MAX_SEED)).json()["metadata"]["seed"] == MAX_SEED
    assert (await paint(client, seed=MAX_SEED - 1, num_images=2)).status_code == 200
    assert [spec.seed for spec in house.images.specs] == [MAX_SEED, MAX_SEED - 1], "the other was there already"


# --- steps, words, adapters -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"steps": 5, "strength": 0.1}, "strength"),
        ({"steps": 1, "strength": 0.99}, "steps"),
        ({"steps": 1}, "strength"),  # 0.6 of one step
        ({"style_preset": "quick", "steps": None, "strength": 0.4}, "strength"),
    ],
)
async def test_a_strength_that_leaves_no_step_wakes_no_painter(
    client: httpx.AsyncClient, house: House, fields: dict[str, Any], words: str
) -> None:
    await house.storage.put_artefact(
        "styles/quick.yaml", b"style_id: quick\nbase_model: sdxl\ndefault_params: {steps: 2}\n"
    )
    fields = {name: value for name, value in {"steps": 1, **fields}.items() if value is not None}
    response = await client.post("/t2i/generate", json={"prompt": "x", "image": encoded(png()), **fields})
    assert words in check_problem(response, 422, "invalid_input")["detail"]
    assert house.images.specs == []


async def test_steps_are_told_as_they_will_run(client: httpx.AsyncClient) -> None:
    body = {"prompt": "x", "steps": 10, "strength": 0.5, "image": encoded(png()), "stream": True}
    events = parse_events((await client.post("/t2i/generate", json=body)).text)
    assert events[0][1]["images"][0]["steps"] == 5


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
async def test_a_style_may_not_make_more_words_than_a_receipt_holds(
    client: httpx.AsyncClient, house: House, field: str
) -> None:
    """Four thousand characters and a template that says them thrice."""
    style = "style_id: echo\nbase_model: sdxl\nprompt_template: '{prompt} {prompt} {prompt}'\n"
    await house.storage.put_artefact("styles/echo.yaml", style.encode())
    response = await paint(client, style_preset="echo", **{"prompt": "x", field: "a" * 4000})
    if field == "prompt":
        assert "prompt" in check_problem(response, 422, "invalid_input")["detail"]
        assert house.images.specs == []
    else:
        assert response.status_code == 200


async def test_no_more_adapters_than_a_receipt_holds(client: httpx.AsyncClient, house: House) -> None:
    for number in range(10):
        await house.storage.put_artefact(f"adapters/a{number}.safetensors", b"bytes")
    tags = " ".join(f"<lora:a{number}:0.5>" for number in range(9))
    check_problem(await paint(client, prompt=f"x {tags}"), 422, "invalid_input")
    assert house.images.specs == []
    eight = " ".join(tags.split()[:8])
    assert len((await paint(client, prompt=f"x {eight}")).json()["metadata"]["loras"]) == 8


@pytest.mark.parametrize(("start", "end", "seconds"), [(0, 1500, 1.5), (0, 2**52, None), (5, 1, None)])
def test_a_foreign_servers_clock_spoils_no_receipt(start: int, end: int, seconds: float | None) -> None:
    messages = [["execution_start", {"timestamp": start}], ["execution_success", {"timestamp": end}]]
    worked_s = seconds_in_history({"status": {"messages": messages}})
    assert worked_s == seconds
    Receipt.model_validate({**RECEIPT, "worked_s": worked_s})


def test_ids_differ_where_pictures_do() -> None:
    seen = set()
    for change in ({}, {"width": 64, "height": 512}, {"seed": 2}, {"image": encoded(png()), "fit": "pad"},
                   {"image": encoded(png()), "fit": "crop"}):  # fmt: skip
        request = ImageRequest.model_validate({"prompt": "x", "seed": 1, "steps": 4, **change})
        (one,) = plan(request, style=None, profile=POCKET, adapters=(), idempotency_key=None)
        seen.add(one.image_id)
    assert len(seen) == 5
