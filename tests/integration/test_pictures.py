"""Pictures from the running bundle: woken from nothing, the same again, through OpenAI's client, and past a lost replica."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import time
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import ray
from PIL import Image
from ray import serve
from safetensors.numpy import save

from sagaforge.imaging.receipts import read_receipt
from tests.support.bundle import Bundle

WAKING_S = 120
PROMPT = {"prompt": "a girl with silver hair in a red cloak, a harbour at night", "style_preset": "anime_style"}


def paint(bundle: Bundle, **fields: Any) -> dict[str, Any]:
    response = httpx.post(f"{bundle.url}/t2i/generate", json={**PROMPT, **fields}, timeout=WAKING_S)
    assert response.status_code == 200, response.text
    return response.json()


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def file_of(bundle: Bundle, answer: dict[str, Any]) -> bytes:
    return httpx.get(bundle.url + answer["image_url"]).raise_for_status().content


def test_a_picture_wakes_the_painter_and_tells_of_its_steps(bundle: Bundle) -> None:
    body = {**PROMPT, "seed": 70_707, "stream": True}  # nobody else paints it: what is stored takes no steps
    events = []
    with httpx.stream("POST", f"{bundle.url}/t2i/generate", json=body, timeout=WAKING_S) as response:
        for line in response.iter_lines():
            if line.startswith("event: "):
                events.append((line.removeprefix("event: "), {}))
            elif line.startswith("data: "):
                events[-1] = (events[-1][0], json.loads(line.removeprefix("data: ")))
    names = [name for name, _ in events]
    assert (names[0], names[-2:]) == ("started", ["image", "done"])
    previews = [data["preview"] for name, data in events if name == "step" and "preview" in data]
    assert len(set(previews)) > 3, "the preview sharpens"
    png = file_of(bundle, events[-1][1])
    receipt = read_receipt(png)
    assert receipt.model == "pocket-sdxl"
    assert len(receipt.model_sha256 or "") == 64
    assert pixels(png).std() > 10, "it is no blank"


def test_a_replay_is_the_same_picture(bundle: Bundle) -> None:
    png = file_of(bundle, paint(bundle, seed=8))
    body = read_receipt(png).model_dump(mode="json")
    replayed = httpx.post(f"{bundle.url}/t2i/replay", json=body, timeout=WAKING_S).raise_for_status().json()
    assert replayed["changed"] == []
    assert np.abs(pixels(base64.b64decode(replayed["png"])) - pixels(png)).max() <= 1


def test_an_adapter_changes_the_picture_and_stays_loaded(bundle: Bundle) -> None:
    """In peft's layout, for one attention of the pocket model."""
    folder = bundle.storage / "artefacts" / "adapters"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "swirl.safetensors").write_bytes(adapter(1))
    plain = file_of(bundle, paint(bundle, seed=11))
    for _ in range(2):
        answer = paint(bundle, seed=11, lora=[{"name": "swirl", "scale": 1.0}])
        assert [one["name"] for one in answer["metadata"]["loras"]] == ["swirl"]
    assert np.abs(pixels(file_of(bundle, answer)) - pixels(plain)).max() > 8
    (folder / "broken.safetensors").write_bytes(b"no such file")
    response = httpx.post(f"{bundle.url}/t2i/generate", json={**PROMPT, "lora": ["broken"]}, timeout=WAKING_S)
    assert response.status_code == 415


def test_an_adapter_that_is_replaced_is_another_picture_by_the_same_replica(bundle: Bundle) -> None:
    """Under a name with Han characters and a space, which goes through Serve, the receipt and the PNG."""
    name, folder = "水墨 style", bundle.storage / "artefacts" / "adapters"
    folder.mkdir(parents=True, exist_ok=True)
    answers = []
    for seed in (1, 2, 1):
        (folder / f"{name}.SAFETENSORS").write_bytes(adapter(seed))
        answers.append(paint(bundle, seed=12, lora=[name]))
    used = [one["metadata"]["loras"][0] for one in answers]
    assert [one["sha256"] for one in used] == [hashlib.sha256(adapter(seed)).hexdigest() for seed in (1, 2, 1)]
    assert {one["name"] for one in used} == {name}
    assert answers[0]["image_id"] == answers[2]["image_id"] != answers[1]["image_id"]
    first, second = (file_of(bundle, answer) for answer in answers[:2])
    assert np.abs(pixels(first) - pixels(second)).max() > 8
    assert read_receipt(first).adapters[0].name == name


def adapter(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    name = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_v"
    return save(
        {
            f"{name}.lora_A.weight": rng.normal(size=(4, 128)).astype(np.float32),
            f"{name}.lora_B.weight": rng.normal(size=(128, 4)).astype(np.float32),
        }
    )


def test_openais_client_gets_pictures(bundle: Bundle) -> None:
    client = openai.OpenAI(base_url=f"{bundle.url}/v1", api_key="none", timeout=WAKING_S)
    answer = client.images.generate(prompt="a castle in the snow", n=2, size="256x256", extra_body={"seed": 3})
    assert answer.data is not None
    assert len(answer.data) == 2
    for one in answer.data:
        assert Image.open(io.BytesIO(base64.b64decode(one.b64_json or ""))).size == (256, 256)


def test_a_turn_comes_with_its_picture(bundle: Bundle) -> None:
    body = {
        "message": "Who keeps the Gannet Light?", "world_id": "lantern_reach", "character_id": "ottoline_gask",
        "generate_image": True,
    }  # fmt: skip
    turn = httpx.post(f"{bundle.url}/llm/turn", json=body, timeout=WAKING_S).raise_for_status().json()
    assert turn["image_problem"] is None
    assert "hair" in read_receipt(file_of(bundle, turn["image"])).prompt


@pytest.mark.usefixtures("cluster")
def test_a_lost_painter_costs_time_and_no_picture(bundle: Bundle) -> None:
    before = file_of(bundle, paint(bundle, seed=21, steps=40))
    answers: list[dict[str, Any]] = []
    request = threading.Thread(target=lambda: answers.append(paint(bundle, seed=22, steps=40, num_images=2)))
    request.start()
    (painter,) = painters()
    deadline = time.monotonic() + WAKING_S
    while num_unfinished() == 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    ray.kill(painter, no_restart=True)
    request.join(WAKING_S)
    assert [one["metadata"]["seed"] for one in answers[0]["images"]] == [22, 23]
    again = httpx.post(
        f"{bundle.url}/t2i/replay", json=read_receipt(before).model_dump(mode="json"), timeout=WAKING_S
    ).json()
    assert np.abs(pixels(base64.b64decode(again["png"])) - pixels(before)).max() <= 1


@pytest.mark.usefixtures("cluster")
def test_who_hangs_up_leaves_nothing_painting(bundle: Bundle) -> None:
    paint(bundle, seed=1)
    body = {**PROMPT, "seed": 30, "steps": 150, "num_images": 4, "stream": True}
    for _ in range(3):
        with httpx.stream("POST", f"{bundle.url}/t2i/generate", json=body, timeout=WAKING_S) as response:
            lines = response.iter_lines()
            while "step" not in next(lines):
                pass
    deadline = time.monotonic() + 20
    while num_unfinished():
        assert time.monotonic() < deadline, "somebody still paints"
        time.sleep(0.1)


def painters() -> list[Any]:
    """The actors of the diffusion deployment that are alive."""
    names = [one["name"] for one in ray.util.list_named_actors(all_namespaces=True) if "#diffusion#" in one["name"]]
    return [ray.get_actor(name, namespace="serve") for name in names]


def num_unfinished() -> int:
    """Pictures in one painter; there is only one at this load."""
    return serve.get_deployment_handle("diffusion", "sagaforge").num_unfinished.remote().result(timeout_s=WAKING_S)
