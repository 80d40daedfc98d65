"""What the served pocket model may tell: nothing cited of what its lore does not know, nothing broken of what it does."""

from __future__ import annotations

import json

import pytest

from tests.support.bundle import Bundle

WORLD = "unseen_characters"
LINES = {
    "Who owns the café?": "The café belongs to René Łuk. It costs €3.",
    "Who is Ольга Ким?": "Ольга Ким guards the old gate of the harbour.",
    "What does the sign of the inn show?": "The sign of the inn shows 😀 and a brass bell.",
    "How much did Mara’s rope rise?": "The price of Mara’s rope rose by 30% this year.",
}
LORE = "# Old Town\n\n" + "\n\n".join(f"## Part {n}\n\n{line}" for n, line in enumerate(LINES.values()))


@pytest.fixture(scope="module")
def world(bundle: Bundle) -> str:
    with bundle.client() as client:
        form = {"world_id": WORLD, "license": "CC0-1.0", "overwrite": "true"}
        uploaded = client.post("/rag/upload", files={"file": ("lore.md", LORE.encode())}, data=form)
    assert uploaded.status_code == 200, uploaded.text
    return WORLD


@pytest.mark.parametrize(("question", "line"), LINES.items())
def test_strange_characters_arrive_whole(bundle: Bundle, world: str, question: str, line: str) -> None:
    turn = bundle.turn(message=question, world_id=world, seed=1)
    assert line in [sentence["text"] for sentence in turn["sentences"] if sentence["citations"]]
    told = json.dumps(turn, ensure_ascii=False)
    assert "\ufffd" not in told
    assert not [char for char in told if "\u4e00" <= char <= "\u9fff"]


@pytest.mark.parametrize(
    "question", ["How far is the moon?", "What is the capital of France?", "Who wrote Hamlet?", "Why is the sky blue?"]
)
def test_what_the_lore_does_not_know_is_not_cited(bundle: Bundle, question: str) -> None:
    turn = bundle.turn(message=question, seed=1)
    assert turn["citations"] == []
    assert turn["narration"]


@pytest.mark.parametrize(
    "question", ["How many people live in Lantern Reach?", "How many stubs are there in a candle?"]
)
def test_what_it_knows_still_is(bundle: Bundle, question: str) -> None:
    assert bundle.turn(message=question, seed=1)["citations"]
