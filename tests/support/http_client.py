"""The bundle's HTTP application in this process, and what its answers must look like: support for test_http*.py."""

from __future__ import annotations

import json
from typing import Any

import httpx
from fastapi import FastAPI

from sagaforge.http.app import build_http_app
from sagaforge.http.problems import MEDIA_TYPE
from tests.support.fakes import WORLD_ID, House

KEY = "0123456789abcdef-secret"
TURN = {"message": "Who winds the clock?", "world_id": WORLD_ID}
PROBLEM_KEYS = {"type", "title", "status", "detail", "code", "request_id"}


async def all_ready() -> dict[str, str | None]:
    return {"llm": None, "retrieval": None}


def app_of(house: House, readiness: Any = all_ready) -> FastAPI:
    return build_http_app(house.services.settings, house.services, readiness)


def client_of(app: FastAPI, *, address: str = "127.0.0.1", **options: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, client=(address, 5000), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", **options)


def check_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE
    body = response.json()
    is_openai = response.request.url.path.startswith("/v1/")
    assert set(body) - {"errors"} == PROBLEM_KEYS | ({"error"} if is_openai else set())
    if is_openai:  # what OpenAI's clients show
        assert (body["error"]["code"], body["error"]["message"]) == (code, body["detail"])
    assert (body["status"], body["code"], body["type"]) == (status, code, f"urn:sagaforge:error:{code}")
    assert body["detail"]
    return body


def parse_events(text: str) -> list[tuple[str, Any]]:
    assert text.endswith("\n\n")
    events = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        assert name.startswith("event: ")
        assert data.startswith("data: ")
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events
