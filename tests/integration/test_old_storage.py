"""A storage folder that an older release wrote: the shared bundle began with it, and all that is in it still works.

It was written at the tag issue-12, before callers and the new layout: a world of two versions, two turns under
idempotency keys on the first, and a picture.
"""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support.bundle import Bundle
from tests.support.paths import DATA

WRITTEN: dict[str, Any] = json.loads((DATA / "storage_of_issue_12.json").read_text("utf-8"))
FIRST, SECOND = WRITTEN["turns"]
WORLD = "old_harbour"


@pytest.fixture
def client(bundle: Bundle) -> httpx.Client:
    return bundle.client()


def test_its_world_is_listed_at_its_version(client: httpx.Client) -> None:
    worlds = {world["world_id"]: world for world in client.get("/worlds").json()["worlds"]}
    assert worlds[WORLD]["version"] == WRITTEN["second_upload"]["version"] == 2


def test_what_a_turn_cited_still_reads_as_it_did(client: httpx.Client) -> None:
    (cited,) = FIRST["citations"]
    chunk = client.get(f"/worlds/{WORLD}/chunks/{cited}", params={"session_id": FIRST["session_id"]}).json()
    assert "brass" in chunk["text"]
    found = client.post("/rag/retrieve", json={"world_id": WORLD, "query": "ferry bell", "top_k": 1}).json()
    assert "iron" in found["chunks"][0]["text"], "the second version says so"


def test_a_turn_sent_again_is_the_turn_that_was_taken(client: httpx.Client) -> None:
    body = {"world_id": WORLD, "message": "Who rings the ferry bell?", "seed": 1}
    again = client.post("/llm/turn", json=body, headers={"Idempotency-Key": "old-turn-1"})
    assert again.json() == FIRST


def test_its_session_plays_on_where_it_was(client: httpx.Client) -> None:
    assert client.get(f"/story/{SECOND['session_id']}").json()["turn_id"] == SECOND["turn_id"]
    body = {"world_id": WORLD, "session_id": SECOND["session_id"], "message": "How long is the rope walk?", "seed": 3}
    turn = client.post("/llm/turn", json=body, headers={"Idempotency-Key": "old-turn-3"}).json()
    assert (turn["game_state"]["turn_count"], turn["game_state"]["world_version"]) == (3, 1)


def test_the_same_upload_is_no_new_version(client: httpx.Client) -> None:
    text = (
        "# Old Harbour\n\n## The bell\n\nThe ferry bell is iron, and Mara Venn rings it at dawn.\n\n## The light\n\nThe "
        "harbour light burns whale oil, and Tam Reed keeps it.\n\n## The rope\n\nThe rope walk is four hundred yards "
        "long.\n"
    )
    form = {"world_id": WORLD, "license": "CC0-1.0"}
    answer = client.post("/rag/upload", data=form, files={"file": ("lorebook.md", text.encode())})
    assert answer.json() == WRITTEN["second_upload"]


def test_its_picture_is_there_and_can_be_painted_again(client: httpx.Client) -> None:
    image_id = WRITTEN["image"]["image_id"]
    receipt = client.get(f"/images/{image_id}").json()["receipt"]
    stored = client.get(f"/images/{image_id}.png").content
    body = {"prompt": "a harbour at night", "seed": 7, "width": 128, "height": 128, "steps": 2}
    again = client.post("/t2i/generate", json=body, headers={"Idempotency-Key": "old-image"}).json()
    assert again["image_id"] == image_id, "the same request finds what it made"
    replayed = client.post("/t2i/replay", json=receipt)
    assert replayed.status_code == 200, replayed.text
    assert [fact for fact in replayed.json()["changed"] if not fact.startswith("versions.")] == []
    old, new = (
        np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.int16)
        for png in (stored, base64.b64decode(replayed.json()["png"]))
    )
    assert np.abs(old - new).max() <= 1
