"""Turns over HTTP: streams, deadlines, hang-ups, idempotency, and the OpenAI routes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from sagaforge.deployments.llm.client import Restarted
from sagaforge.errors import NotFound, Overloaded, Unavailable
from tests.support.fakes import INVENTED, TIDE, WORLD_ID, Hang, House, answer
from tests.support.http_client import PROBLEM_KEYS, TURN, app_of, check_problem, client_of, parse_events

# --- turns ----------------------------------------------------------------------------------------------------------


async def test_a_turn_and_its_stages(client: httpx.AsyncClient, house: House) -> None:
    house.llm.will(answer([(TIDE, [1])]))
    response = await client.post("/llm/turn", json=TURN)
    assert response.status_code == 200
    turn = response.json()
    assert turn["narration"] == f"{TIDE}[1]"
    assert (await client.get(f"/story/{turn['session_id']}")).json() == turn
    cited = (await client.get(f"/worlds/{WORLD_ID}/chunks/{turn['citations'][0]}")).json()
    assert TIDE in cited["text"]
    stages = [part.split(";")[0] for part in response.headers["Server-Timing"].split(", ")]
    assert stages[-1] == "total"
    assert {"retrieve", "engine", "gate", "commit"} <= set(stages)


async def test_streamed_events_are_spelled_and_ordered(client: httpx.AsyncClient, house: House) -> None:
    house.llm.will(answer([(TIDE, [1]), ("鐘聲\n在霧裡響起。", [])]))
    response = await client.post("/llm/turn", json={**TURN, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    events = parse_events(response.text)
    assert [name for name, _ in events] == ["started", "lore", "sentence", "sentence", "turn"]
    assert "鐘聲" in response.text
    assert events[-1][1] == (await client.get(f"/story/{events[0][1]['session_id']}")).json()


@pytest.mark.parametrize("error", [NotFound, Overloaded])
async def test_a_stream_that_fails_at_once_has_its_status(client: httpx.AsyncClient, error: Any) -> None:
    body = {**TURN, "stream": True, "world_id": "nowhere"}
    check_problem(await client.post("/llm/turn", json=body), 404, "not_found")


async def test_a_stream_that_fails_later_ends_with_an_error_event(client: httpx.AsyncClient, house: House) -> None:
    for error, status, code in [(Overloaded("full"), 429, "overloaded"), (RuntimeError("hunter2"), 500, "internal")]:
        lost = answer([(INVENTED, []), (TIDE, [1])])
        house.llm.will(lost[: lost.index("},") + 2], error)
        response = await client.post("/llm/turn", json={**TURN, "stream": True}, headers={"X-Request-ID": "r-9"})
        assert response.status_code == 200
        events = parse_events(response.text)
        assert [name for name, _ in events] == ["started", "lore", "sentence", "error"]
        problem = events[-1][1]
        assert set(problem) == PROBLEM_KEYS
        assert (problem["status"], problem["code"], problem["request_id"]) == (status, code, "r-9")
        assert "hunter2" not in response.text


async def test_a_restart_is_told_in_the_stream(client: httpx.AsyncClient, house: House) -> None:
    house.llm.will(Restarted(), answer())
    events = parse_events((await client.post("/llm/turn", json={**TURN, "stream": True})).text)
    assert ("restart", {}) in events


async def test_a_deadline_covers_a_whole_call(open_client: Any) -> None:
    client, house = await open_client(turn_deadline_s=1.5)
    house.llm.will(Hang())
    check_problem(await client.post("/llm/turn", json=TURN), 504, "deadline_exceeded")
    assert house.llm.num_abandoned == 1


async def test_a_deadline_covers_a_whole_stream(open_client: Any) -> None:
    client, house = await open_client(turn_deadline_s=3.0)
    house.llm.will(answer([(TIDE, [1]), (INVENTED, [])])[:150], Hang())
    headers = {"Idempotency-Key": "k1"}
    response = await client.post("/llm/turn", json={**TURN, "stream": True}, headers=headers)
    events = parse_events(response.text)
    assert events[-1][0] == "error"
    assert events[-1][1]["code"] == "deadline_exceeded"
    assert house.llm.num_abandoned == 1
    assert (await client.post("/llm/turn", json={**TURN, "stream": True}, headers=headers)).status_code == 200


# --- hanging up -----------------------------------------------------------------------------------------------------


async def hang_up(app: FastAPI, path: str, body: dict[str, Any], *, after: bytes) -> bytes:
    """Send a request, read until `after` has come, and disconnect as a server tells its application."""
    received, has_come = bytearray(), asyncio.Event()
    requests = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if requests:
            return requests.pop()
        await has_come.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        received.extend(message.get("body", b""))
        if after in received:
            has_come.set()

    headers = [(b"content-type", b"application/json"), (b"idempotency-key", b"k1"), (b"host", b"localhost")]
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"",
        "headers": headers, "client": ("127.0.0.1", 5000), "server": ("bundle", 80),
    }  # fmt: skip
    async with asyncio.timeout(10):
        await app(scope, receive, send)
    return bytes(received)


async def test_hanging_up_stops_the_engine_and_frees_the_key(house: House) -> None:
    house.llm.will(answer([(TIDE, [1]), (INVENTED, [])])[:150], Hang())
    app = app_of(house)
    received = await hang_up(app, "/llm/turn", {**TURN, "stream": True}, after=b"event: sentence")
    assert b"event: turn" not in received
    assert house.llm.num_abandoned == 1
    async with client_of(app) as client:
        again = await client.post("/llm/turn", json=TURN, headers={"Idempotency-Key": "k1"})
        assert again.status_code == 200, again.text


async def test_hanging_up_stops_a_passed_through_stream(house: House) -> None:
    house.llm.will("data: {}\n\n", Hang())
    body = {"model": "fake", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    await hang_up(app_of(house), "/v1/chat/completions", body, after=b"data: {}")
    assert house.llm.num_abandoned == 1


# --- idempotency ----------------------------------------------------------------------------------------------------


async def test_the_same_key_gives_the_same_turn(client: httpx.AsyncClient, house: House) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = await client.post("/llm/turn", json=TURN, headers=headers)
    again = await client.post("/llm/turn", json=TURN, headers=headers)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    assert len(house.llm.payloads) == 1
    other = await client.post("/llm/turn", json={**TURN, "message": "Goodbye."}, headers=headers)
    check_problem(other, 422, "idempotency_key_reused")


async def test_a_key_in_flight_is_told_when_to_ask_again(client: httpx.AsyncClient, house: House) -> None:
    house.llm.will(Hang())
    headers = {"Idempotency-Key": "k1"}
    working = asyncio.create_task(client.post("/llm/turn", json=TURN, headers=headers))
    await house.llm.is_generating.wait()
    response = await client.post("/llm/turn", json=TURN, headers=headers)
    check_problem(response, 409, "in_flight")
    assert response.headers["Retry-After"] == "1"
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


@pytest.mark.parametrize("key", ["", "x" * 201])
async def test_a_key_has_a_length(client: httpx.AsyncClient, key: str) -> None:
    response = await client.post("/llm/turn", json=TURN, headers={"Idempotency-Key": key})
    check_problem(response, 422, "invalid_input")


# --- the OpenAI routes ----------------------------------------------------------------------------------------------


async def test_chat_passes_through(client: httpx.AsyncClient, house: House) -> None:
    body = {"model": "fake", "messages": [{"role": "user", "content": "Hi"}], "top_p": 0.5}
    assert (await client.post("/v1/chat/completions", json=body)).json() == {"object": "chat.completion"}
    assert house.llm.payloads == [body]
    assert (await client.get("/v1/models")).json()["data"][0]["id"] == "fake"


async def test_streamed_chat_passes_through_and_ends_with_an_error_in_band(
    client: httpx.AsyncClient, house: House
) -> None:
    body = {"model": "fake", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    house.llm.will("data: {}\n\n", "data: [DONE]\n\n")
    response = await client.post("/v1/chat/completions", json=body)
    assert response.text == "data: {}\n\ndata: [DONE]\n\n"
    house.llm.will("data: {}\n\n", Unavailable("lost"))
    text = (await client.post("/v1/chat/completions", json=body)).text
    error = json.loads(text.split("\n\n")[1].removeprefix("data: "))["error"]
    assert (error["code"], error["message"]) == ("unavailable", "lost")
    house.llm.will(Overloaded("full"))
    check_problem(await client.post("/v1/chat/completions", json=body), 429, "overloaded")
