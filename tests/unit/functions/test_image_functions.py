"""Painting over HTTP: requests, events, what is stored, and what a caller gets back. The painter is a fake."""

from __future__ import annotations

import asyncio
import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from sagaforge.datasets.packs.pack import Character
from sagaforge.errors import Overloaded, Unavailable
from sagaforge.functions.images import generate as images
from sagaforge.functions.images import illustration
from sagaforge.functions.images.plan import plan
from sagaforge.image_schemas import ImageAnswer, ImageRequest
from sagaforge.imaging import watermark
from sagaforge.imaging.receipts import read_receipt
from sagaforge.profiles import get_profile
from tests.support.fakes import WORLD_ID, House
from tests.support.http_client import check_problem, parse_events
from tests.support.turns import take

PROMPT = {"prompt": "a girl with silver hair on a harbour at night", "steps": 3}


def png(width: int = 64, height: int = 64, colour: str = "teal") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, "PNG")
    return out.getvalue()


def encoded(body: bytes) -> str:
    return base64.b64encode(body).decode()


async def paint(client: httpx.AsyncClient, key: str | None = None, **fields: Any) -> dict[str, Any]:
    headers = {"Idempotency-Key": key} if key else {}
    response = await client.post("/t2i/generate", json={**PROMPT, **fields}, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


# --- one picture ----------------------------------------------------------------------------------------------------


async def test_a_picture_is_painted_stored_and_served_with_its_receipt(client: httpx.AsyncClient, house: House) -> None:
    answer = await paint(client, seed=5, style_preset="cyberpunk", negative_prompt="fog")
    (spec,) = house.images.specs
    assert (spec.seed, spec.steps, spec.width, spec.height) == (5, 3, 128, 128)
    assert spec.prompt.startswith(PROMPT["prompt"])
    assert spec.prompt != PROMPT["prompt"], "the style says something too"
    assert (spec.negative_prompt or "").startswith("fog")
    assert answer["metadata"]["prompt"] == spec.prompt
    assert answer["metadata"]["width"] == 512
    assert answer["metadata"]["generation_time"] == 0.5

    file = await client.get(answer["image_url"])
    assert file.headers["content-type"] == "image/png"
    assert file.content == await house.storage.get_artefact(answer["image_path"])
    assert Image.open(io.BytesIO(file.content)).size == (512, 512)
    receipt = read_receipt(file.content)
    assert (receipt.image_id, receipt.seed, receipt.model_sha256) == (answer["image_id"], 5, "cd" * 32)
    assert receipt.request["prompt"] == PROMPT["prompt"]
    assert receipt.license == "Apache-2.0"


async def test_a_jpeg_of_it_leads_back_to_its_row(client: httpx.AsyncClient) -> None:
    answer = await paint(client)
    whole = Image.open(io.BytesIO((await client.get(answer["image_url"])).content))
    copy = io.BytesIO()
    whole.crop((20, 10, 490, 480)).save(copy, "JPEG", quality=80)
    number = watermark.read_mark(Image.open(copy))
    assert number is not None
    listed = (await client.get("/images", params={"watermark": f"{number:010x}"})).json()
    assert [one["image_id"] for one in listed["images"]] == [answer["image_id"]]
    assert (await client.get("/images", params={"watermark": "0" * 10})).json()["images"] == []


async def test_a_browser_that_has_it_is_not_sent_it_again(client: httpx.AsyncClient) -> None:
    answer = await paint(client)
    for url, kind in ((answer["image_url"], "image/png"), (answer["thumbnail_url"] + "?size=100", "image/webp")):
        first = await client.get(url)
        assert first.headers["content-type"] == kind
        assert "immutable" in first.headers["cache-control"]
        again = await client.get(url, headers={"If-None-Match": f'"x", W/{first.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b"")
        assert (await client.get(url, headers={"If-None-Match": '"other"'})).content == first.content
    small = Image.open(io.BytesIO((await client.get(answer["thumbnail_url"] + "?size=100")).content))
    assert small.size == (128, 128)
    check_problem(await client.get(answer["thumbnail_url"] + "?size=9000"), 422, "invalid_input")
    check_problem(await client.get(f"/images/{'0' * 32}.png"), 404, "not_found")


async def test_several_pictures_have_seeds_that_count_up(client: httpx.AsyncClient, house: House) -> None:
    answer = await paint(client, seed=9, num_images=3)
    assert [one["metadata"]["seed"] for one in answer["images"]] == [9, 10, 11]
    assert answer["image_id"] == answer["images"][0]["image_id"]
    assert len({one["image_id"] for one in answer["images"]}) == 3
    assert sorted(spec.seed for spec in house.images.specs) == [9, 10, 11]


async def test_sizes_follow_the_request_then_the_kind_then_the_model(client: httpx.AsyncClient, house: House) -> None:
    sizes = []
    for fields in ({"width": 1024, "height": 512}, {"width": 256}, {"image_type": "portrait"}, {"width": 64}):
        metadata = (await paint(client, **fields))["metadata"]
        sizes.append((metadata["width"], metadata["height"]))
    assert sizes == [(1024, 512), (256, 256), (416, 624), (64, 64)]
    painted = [(spec.width, spec.height) for spec in house.images.specs]
    assert painted == [(176, 96), (128, 128), (112, 160), (64, 64)]


# --- retries --------------------------------------------------------------------------------------------------------


async def test_a_retry_gets_the_picture_that_is_there(client: httpx.AsyncClient, house: House) -> None:
    first = await paint(client, key="k1", num_images=2)
    again = await paint(client, key="k1", num_images=2)
    assert again == first
    assert len(house.images.specs) == 2
    other = await paint(client, key="k2")
    assert other["image_id"] != first["image_id"]
    assert (await paint(client))["image_id"] != (await paint(client))["image_id"], "without a key the seed is any"


def test_other_weights_paint_another_picture(tmp_path: Path) -> None:
    ids = []
    for number, weights in enumerate((b"old", b"new", b"old")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "unet.safetensors").write_bytes(weights)
        pocket = get_profile("pocket").image
        profile = replace(pocket, model=replace(pocket.model, source=str(folder)))
        request = ImageRequest(prompt="a harbour", seed=1)
        ids += [one.image_id for one in plan(request, style=None, profile=profile, adapters={}, idempotency_key=None)]
    assert ids[0] == ids[2] != ids[1]


async def test_the_same_request_twice_at_once_is_stored_once(client: httpx.AsyncClient, house: House) -> None:
    one, two = await asyncio.gather(paint(client, seed=1), paint(client, seed=1))
    assert one == two
    assert len((await client.get("/images")).json()["images"]) == 1


@pytest.mark.parametrize(("error", "status", "code"), [(Overloaded("full"), 429, "overloaded"), (Unavailable("gone"), 503, "unavailable")])  # fmt: skip
async def test_a_failure_keeps_what_was_finished_and_can_be_tried_again(
    client: httpx.AsyncClient, house: House, error: Exception, status: int, code: str
) -> None:
    house.images.errors.append(error)
    check_problem(await client.post("/t2i/generate", json={**PROMPT, "seed": 3, "num_images": 2}), status, code)
    answer = await paint(client, seed=3, num_images=2)
    assert [one["metadata"]["seed"] for one in answer["images"]] == [3, 4]


async def test_a_storage_that_takes_nothing_is_told_and_leaves_no_row(client: httpx.AsyncClient, house: House) -> None:
    """As a full disk, or a bucket that is gone."""
    blocked = Path(house.storage.root) / "artefacts" / "images"
    blocked.parent.mkdir(exist_ok=True)
    blocked.write_text("a file where the folder would be")
    check_problem(await client.post("/t2i/generate", json={**PROMPT, "seed": 3}), 503, "storage_unavailable")
    assert (await client.get("/images")).json()["images"] == []
    blocked.unlink()
    assert (await paint(client, seed=3))["metadata"]["seed"] == 3


# --- events ---------------------------------------------------------------------------------------------------------


async def test_a_stream_tells_of_steps_with_previews(client: httpx.AsyncClient) -> None:
    response = await client.post("/t2i/generate", json={**PROMPT, "seed": 2, "num_images": 2, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    events = parse_events(response.text)
    assert events[0][0] == "started"
    assert [one["seed"] for one in events[0][1]["images"]] == [2, 3]
    steps = [data for name, data in events if name == "step"]
    assert {(step["image"], step["done"]) for step in steps} == {(n, k) for n in (0, 1) for k in (1, 2, 3)}
    preview = base64.b64decode(steps[0]["preview"].removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(preview)).format == "JPEG"
    assert sorted(data["image"] for name, data in events if name == "image") == [0, 1]
    assert events[-1][0] == "done"
    answer = ImageAnswer.model_validate(events[-1][1])
    assert answer.image_id == events[0][1]["images"][0]["image_id"]


async def test_a_late_failure_is_the_last_event(client: httpx.AsyncClient, house: House) -> None:
    house.images.errors.append(Unavailable("the painter fell ill"))
    response = await client.post("/t2i/generate", json={**PROMPT, "stream": True})
    name, problem = parse_events(response.text)[-1]
    assert (name, problem["status"], problem["detail"]) == ("error", 503, "the painter fell ill")


async def test_who_hangs_up_leaves_nothing_painting(house: House) -> None:
    house.images.hangs = True
    request = ImageRequest(**PROMPT, num_images=4, stream=True)
    events = images.stream_image(request, idempotency_key=None, studio=house.services.studio)
    assert (await anext(events)).event == "started"
    assert (await anext(events)).event == "step"
    await events.aclose()
    assert house.images.num_abandoned == len(house.images.specs) > 0


# --- what is wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"style_preset": "cubism"}, 404, "not_found"),
        ({"lora": ["nobody"]}, 404, "not_found"),
        ({"lora": ["a", "a"]}, 422, "invalid_input"),
        ({"lora": [{"name": "../x"}]}, 422, "invalid_input"),
        ({"lora": [{"name": "a", "scale": 99}]}, 422, "invalid_input"),
        ({"width": 100}, 422, "invalid_input"),
        ({"width": 4096}, 422, "invalid_input"),
        ({"image": "no base64!"}, 422, "invalid_input"),
        ({"image": encoded(b"not a picture")}, 415, "unsupported_type"),
        ({"image": encoded(png()[:60])}, 422, "invalid_input"),
        ({"image": encoded(png(5000, 5000))}, 413, "too_large"),
        ({"mask": encoded(png())}, 422, "invalid_input"),
        ({"scheduler": "magic"}, 422, "invalid_input"),
    ],
)
async def test_a_wrong_request_wakes_no_painter(
    client: httpx.AsyncClient, house: House, fields: dict[str, Any], status: int, code: str
) -> None:
    problem = check_problem(await client.post("/t2i/generate", json={**PROMPT, **fields}), status, code)
    assert problem["detail"]
    assert house.images.specs == []


# --- replays, lists -------------------------------------------------------------------------------------------------


async def test_a_replay_is_the_same_picture_and_stores_nothing(client: httpx.AsyncClient, house: House) -> None:
    await house.storage.put_artefact("adapters/ink.safetensors", b"bytes")
    answer = await paint(client, image=encoded(png()), lora=[{"name": "ink", "scale": 0.5}], num_images=1)
    original = (await client.get(answer["image_url"])).content
    receipt = read_receipt(original)
    body = receipt.model_dump(mode="json")
    replayed = (await client.post("/t2i/replay", json=body)).json()
    again = base64.b64decode(replayed["png"])
    assert replayed["changed"] == []
    assert (np.asarray(Image.open(io.BytesIO(again))) == np.asarray(Image.open(io.BytesIO(original)))).all()
    assert house.images.specs[0] == house.images.specs[1]
    assert len((await client.get("/images")).json()["images"]) == 1

    body["model_sha256"], body["versions"]["fake"] = "ee" * 32, "0"
    assert (await client.post("/t2i/replay", json=body)).json()["changed"] == ["model_sha256", "versions.fake"]
    body["image_sha256"] = "0" * 64
    check_problem(await client.post("/t2i/replay", json=body), 404, "not_found")


async def test_the_gallery_lists_the_newest_in_pages(client: httpx.AsyncClient) -> None:
    ids = [(await paint(client, seed=n, world_id=WORLD_ID))["image_id"] for n in range(3)]
    page = (await client.get("/images", params={"limit": 2})).json()
    assert [one["image_id"] for one in page["images"]] == [ids[2], ids[1]]
    assert (page["images"][0]["asked"], page["images"][0]["world_id"]) == (PROMPT["prompt"], WORLD_ID)
    last = (await client.get("/images", params={"limit": 2, "before": page["next_before"]})).json()
    assert [one["image_id"] for one in last["images"]] == [ids[0]]
    assert last["next_before"] is None
    detail = (await client.get(f"/images/{ids[0]}")).json()
    assert detail["receipt"]["seed"] == 0


async def test_styles_and_models_are_listed(client: httpx.AsyncClient, house: House) -> None:
    await house.storage.put_artefact("adapters/ink.safetensors", b"bytes")
    styles = (await client.get("/t2i/styles")).json()
    assert len(styles["styles"]) == 5
    models = (await client.get("/t2i/models")).json()
    assert (models["models"][0]["model_id"], models["loras"]) == ("pocket-sdxl", ["ink"])


# --- OpenAI's clients -----------------------------------------------------------------------------------------------


async def test_openais_request_is_ours(client: httpx.AsyncClient) -> None:
    body = {"prompt": "a harbour", "n": 2, "size": "256x512", "quality": "high", "steps": 2}
    answer = (await client.post("/v1/images/generations", json=body)).json()
    assert len(answer["data"]) == 2
    picture = Image.open(io.BytesIO(base64.b64decode(answer["data"][0]["b64_json"])))
    assert picture.size == (256, 512)
    answer = (await client.post("/v1/images/generations", json={**body, "response_format": "url"})).json()
    url = answer["data"][0]["url"]
    assert url.startswith("http://localhost/images/")
    assert (await client.get(url)).status_code == 200
    for wrong in ({"size": "100x100"}, {"size": "big"}, {"size": "9999x9999"}, {"n": 0}):
        check_problem(await client.post("/v1/images/generations", json={**body, **wrong}), 422, "invalid_input")
    check_problem(await client.post("/v1/images/generations", json={**body, "model": "dall-e-3"}), 404, "not_found")


# --- pictures of turns ----------------------------------------------------------------------------------------------

ILLUSTRATED = {"message": "Who winds the clock?", "world_id": WORLD_ID, "character_id": "mara", "generate_image": True}


async def test_a_turn_is_painted_from_its_world(client: httpx.AsyncClient, house: House) -> None:
    turn = (await client.post("/llm/turn", json=ILLUSTRATED)).json()
    assert (await client.get(turn["image"]["image_url"])).status_code == 200
    assert turn["image_problem"] is None
    (spec,) = house.images.specs
    assert spec.prompt == "landscape, a harbour", "the pocket model knows no Old Quay"
    plain = (await client.post("/llm/turn", json={**ILLUSTRATED, "generate_image": False})).json()
    assert "image" not in plain
    assert len(house.images.specs) == 1


async def test_a_retried_turn_gets_its_picture_again(client: httpx.AsyncClient, house: House) -> None:
    one, two = [
        (await client.post("/llm/turn", json=ILLUSTRATED, headers={"Idempotency-Key": "t"})).json() for _ in range(2)
    ]
    assert one == two
    assert len(house.images.specs) == 1


async def test_a_turn_outlives_its_picture(client: httpx.AsyncClient, house: House) -> None:
    house.images.errors.append(Unavailable("no paint"))
    response = await client.post("/llm/turn", json={**ILLUSTRATED, "stream": True})
    names = [name for name, _ in parse_events(response.text)]
    assert names[-1] == "image_problem"
    assert names.index("turn") < names.index("image_step")
    house.images.errors.append(Unavailable("no paint"))
    turn = (await client.post("/llm/turn", json=ILLUSTRATED)).json()
    assert (turn["image"], turn["image_problem"]) == (None, "no paint")


async def test_larger_models_get_the_worlds_own_words(house: House) -> None:
    turn = await take(house, "Who winds the clock?", character_id="mara")
    world = await house.services.worlds.current(WORLD_ID)
    studio = house.services.studio
    profile = replace(studio.profile, is_pocket=False)
    asked, _ = await illustration.picture_of(turn, world, "realistic", studio.styles, profile)
    assert asked.prompt == "Keeper of the tide clock, Old Quay"
    assert asked.style_preset == "realistic"


async def test_the_pocket_model_is_told_of_chinese_in_its_own_words(client: httpx.AsyncClient, house: House) -> None:
    metadata = (await paint(client, prompt="銀髮少女，紅色斗篷，夜晚的港口，下雨", style_preset="cyberpunk"))[
        "metadata"
    ]
    assert metadata["prompt"] == "a woman with silver hair, red robe, a harbour, night, rain, cyberpunk"
    assert (await paint(client, prompt="量子泡沫"))["metadata"]["prompt"] == "量子泡沫"


def test_looks_are_told_in_words() -> None:
    who = Character(
        name="Ottoline",
        appearance={
            "hair_color": "iron grey", "eye_color": "green", "height": "five feet", "build": "small",
            "distinctive_features": ["a brass snuffer", "a burn"],
        },
    )  # fmt: skip
    assert illustration.looks(who) == "iron grey hair, green eyes, small, a brass snuffer, a burn"
    assert illustration.looks(Character(name="Mara", description="Keeper.")) == "Keeper."
