"""A value of a JSON body has its field's own type: none is guessed from another.

Parameters of an address and fields of a form are text, and are still read; so are rows and answers that were stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sagaforge.functions.catalog import FUNCTIONS
from sagaforge.image_schemas import ImageRequest, Receipt
from sagaforge.schemas import Shape, Timestamp, TurnRequest
from tests.support.fakes import WORLD_ID, House
from tests.support.http_client import TURN, check_problem
from tests.unit.imaging.test_receipts import RECEIPT

PICTURE = {"prompt": "a harbour", "steps": 1}
CHAT = {"model": "fake", "messages": [{"role": "user", "content": "Hello"}]}
SEARCH = {"world_id": WORLD_ID, "query": "Who winds the clock?"}
REPLAY = RECEIPT.model_dump(mode="json")


@pytest.mark.parametrize(
    ("path", "good", "name", "value"),
    [
        ("/llm/turn", TURN, "seed", True),
        ("/llm/turn", TURN, "seed", "7"),
        ("/llm/turn", TURN, "max_tokens", 100.0),
        ("/llm/turn", TURN, "max_tokens", "100"),
        ("/llm/turn", TURN, "temperature", "0.7"),
        ("/llm/turn", TURN, "temperature", True),
        ("/llm/turn", TURN, "use_rag", "false"),
        ("/llm/turn", TURN, "use_rag", 0),
        ("/llm/turn", TURN, "stream", "true"),
        ("/llm/turn", TURN, "message", 5),
        ("/rag/retrieve", SEARCH, "top_k", "5"),
        ("/rag/retrieve", SEARCH, "top_k", True),
        ("/rag/retrieve", SEARCH, "version", 1.0),
        ("/rag/retrieve", SEARCH, "rerank", "yes"),
        ("/t2i/generate", PICTURE, "width", 512.0),
        ("/t2i/generate", PICTURE, "width", "512"),
        ("/t2i/generate", PICTURE, "num_images", True),
        ("/t2i/generate", PICTURE, "cfg_scale", "4"),
        ("/t2i/generate", PICTURE, "lora", [{"name": "alice", "scale": "1"}]),
        ("/t2i/generate", PICTURE, "lora", [{"name": "alice", "scale": True}]),
        ("/t2i/replay", REPLAY, "seed", "7"),
        ("/t2i/replay", REPLAY, "created_at", 1_700_000_000),
        ("/t2i/replay", REPLAY, "adapters", [{"name": "alice", "scale": "0.8"}]),
        ("/v1/images/generations", {"prompt": "a harbour"}, "n", "2"),
        ("/v1/images/generations", {"prompt": "a harbour"}, "seed", True),
        ("/v1/chat/completions", CHAT, "stream", "true"),
        ("/v1/chat/completions", CHAT, "stream", 1),
        ("/v1/chat/completions", CHAT, "n", "2"),
        ("/v1/chat/completions", CHAT, "top_k", "5"),
        ("/v1/chat/completions", CHAT, "seed", True),
        ("/v1/chat/completions", CHAT, "max_tokens", 8.0),
        ("/v1/chat/completions", CHAT, "temperature", "0.7"),
        ("/v1/chat/completions", CHAT, "logprobs", 1),
        ("/v1/chat/completions", CHAT, "logit_bias", {"5": True}),
    ],
)
async def test_another_type_is_refused_by_name(
    client: httpx.AsyncClient, house: House, path: str, good: dict[str, Any], name: str, value: Any
) -> None:
    problem = check_problem(await client.post(path, json={**good, name: value}), 422, "invalid_input")
    assert problem["errors"][0]["field"].startswith(name)
    assert (house.llm.payloads, house.images.specs, house.retrieval.queries) == ([], [], [])


async def test_a_whole_number_is_a_number(client: httpx.AsyncClient, house: House) -> None:
    assert (await client.post("/llm/turn", json={**TURN, "temperature": 1, "seed": 7})).status_code == 200
    assert house.llm.payloads[0]["temperature"] == 1.0
    assert (await client.post("/t2i/generate", json={**PICTURE, "cfg_scale": 4})).status_code == 200


async def test_parameters_and_forms_are_text_and_still_read(client: httpx.AsyncClient, house: House) -> None:
    assert (await client.post("/t2i/generate", json={**PICTURE, "seed": 7})).status_code == 200
    listed = (await client.get("/images", params={"limit": "1"})).json()["images"]
    assert [one["metadata"]["seed"] for one in listed] == [7]
    older = await client.get("/images", params={"before": listed[0]["created_at"]})
    assert older.json()["images"] == []
    thumbnail = await client.get(listed[0]["thumbnail_url"], params={"size": "128"})
    assert thumbnail.status_code == 200
    form = {"world_id": "reef", "overwrite": "true"}
    assert (await client.post("/rag/upload", data=form, files={"file": ("a.md", b"# Reef")})).status_code == 200
    assert house.ingestion.uploads[0][4] is True
    for name, value in (("limit", "many"), ("limit", "1.5"), ("before", "noon")):
        check_problem(await client.get("/images", params={name: value}), 422, "invalid_input")


def test_what_was_stored_is_still_read() -> None:
    assert Receipt.model_validate_json(RECEIPT.model_dump_json()) == RECEIPT
    assert Receipt.model_validate(RECEIPT.model_dump(mode="json")) == RECEIPT
    assert Receipt.model_validate(RECEIPT.model_dump()) == RECEIPT


@pytest.mark.parametrize("text", ["2026-11-22T12:00:00Z", "2026-11-22T20:00:00+08:00", "2026-11-22T12:00:00.000+00:00"])
def test_a_time_is_iso_text(text: str) -> None:
    assert TypeAdapter(Timestamp).validate_python(text).timestamp() == 1_795_348_800


@pytest.mark.parametrize("value", [1_795_348_800, 1.5, True, "1795348800.5", "noon", ""])
def test_nothing_else_is_a_time(value: Any) -> None:
    with pytest.raises(ValidationError, match=r"ISO 8601|datetime"):
        TypeAdapter(Timestamp).validate_python(value, strict=True)


def request_shapes() -> Iterator[type[Shape]]:
    yield from (f.request for f in FUNCTIONS if f.request is not None and issubclass(f.request, Shape))


def test_every_shape_that_a_request_has_is_strict() -> None:
    assert all(function.request.model_config.get("strict") for function in FUNCTIONS if function.request is not None)
    assert {shape.__name__ for shape in request_shapes()} >= {"TurnRequest", "ImageRequest", "Receipt"}


# What JSON can hold, but for whole numbers.
NO_INTEGER = st.one_of(
    st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.integers().map(str), st.just([]), st.just({})
)


@given(NO_INTEGER, st.sampled_from(["max_tokens", "seed"]))
def test_nothing_but_a_whole_number_is_one(value: Any, name: str) -> None:
    with pytest.raises(ValidationError):
        TurnRequest.model_validate({**TURN, name: value})


@given(st.integers(0, 2**63 - 1), st.sampled_from([1, 1.0, 3.5]))
def test_whole_numbers_pass_as_they_are(seed: int, guidance: float) -> None:
    request = ImageRequest.model_validate({"prompt": "x", "seed": seed, "cfg_scale": guidance})
    assert (request.seed, type(request.seed), request.cfg_scale) == (seed, int, guidance)
