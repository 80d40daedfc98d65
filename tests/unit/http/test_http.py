"""The HTTP side: problem documents, limits on bodies, uploads, probes and the OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from sagaforge.errors import DeadlineExceeded, Overloaded, StorageUnavailable, Unavailable
from sagaforge.http.problems import MEDIA_TYPE
from sagaforge.http.routes import ROUTES
from tests.support.fakes import WORLD_ID, House
from tests.support.http_client import PROBLEM_KEYS, TURN, app_of, check_problem, client_of

# --- problem documents ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nowhere", None, 404, "not_found"),
        ("GET", "/worlds/nowhere", None, 404, "not_found"),
        ("GET", "/worlds/harbour/chunks/doc_0@section_1:chunk_1", None, 404, "not_found"),
        ("GET", "/story/nobody", None, 404, "not_found"),
        ("GET", "/llm/turn", None, 405, "method_not_allowed"),
        ("DELETE", "/worlds", None, 405, "method_not_allowed"),
        ("GET", "/worlds/no%20id", None, 422, "invalid_input"),
        ("GET", "/story/a'b", None, 422, "invalid_input"),
        ("POST", "/llm/turn", {}, 422, "invalid_input"),
        ("POST", "/llm/turn", [], 422, "invalid_input"),
        ("POST", "/llm/turn", {**TURN, "mesage": "?"}, 422, "invalid_input"),
        ("POST", "/llm/turn", {**TURN, "message": ""}, 422, "invalid_input"),
        ("POST", "/llm/turn", {**TURN, "world_id": "../etc"}, 422, "invalid_input"),
        ("POST", "/llm/turn", {**TURN, "temperature": "hot"}, 422, "invalid_input"),
        ("POST", "/llm/turn", {**TURN, "world_id": "nowhere"}, 404, "not_found"),
        ("POST", "/rag/retrieve", {"world_id": "nowhere", "query": "x"}, 404, "not_found"),
        ("POST", "/rag/retrieve", {"world_id": WORLD_ID, "query": "x", "top_k": 0}, 422, "invalid_input"),
        ("POST", "/v1/chat/completions", {"model": "fake"}, 422, "invalid_input"),
        ("POST", "/rag/upload", None, 422, "invalid_input"),
    ],
)
async def test_every_bad_request_is_a_problem_document(
    client: httpx.AsyncClient, method: str, path: str, body: Any, status: int, code: str
) -> None:
    response = await client.request(method, path, json=body, headers={"X-Request-ID": "r-1"})
    problem = check_problem(response, status, code)
    assert problem["request_id"] == "r-1"
    if status == 422:
        assert problem["errors"], "the fields at fault are named"
        assert set(problem["errors"][0]) == {"field", "message", "input"}


async def test_the_field_at_fault_is_named(client: httpx.AsyncClient) -> None:
    problem = check_problem(await client.post("/llm/turn", json={**TURN, "max_tokens": 1}), 422, "invalid_input")
    assert problem["errors"][0]["field"] == "max_tokens"
    assert "64" in problem["detail"]


@pytest.mark.parametrize(
    "content",
    [b"{", b'{"message": ', b"", b"\xff\xfe{}", b'{"message": "\xe9"}', b"[" * 100_000, b"null", b'"text"', b"NaN"],
)
async def test_malformed_json_is_a_clear_4xx(client: httpx.AsyncClient, content: bytes) -> None:
    response = await client.post("/llm/turn", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    check_problem(response, response.status_code, "bad_request" if response.status_code == 400 else "invalid_input")


async def test_malformed_json_says_where(client: httpx.AsyncClient) -> None:
    response = await client.post("/llm/turn", content=b'{"a": }', headers={"Content-Type": "application/json"})
    assert "character 6" in check_problem(response, 400, "bad_request")["detail"]


async def test_a_lone_surrogate_is_refused(client: httpx.AsyncClient) -> None:
    body = b'{"message": "\\ud800", "world_id": "harbour"}'
    response = await client.post("/llm/turn", content=body, headers={"Content-Type": "application/json"})
    check_problem(response, 422, "invalid_input")


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/x-www-form-urlencoded"])
async def test_a_wrong_content_type_is_said(client: httpx.AsyncClient, content_type: str) -> None:
    response = await client.post("/llm/turn", content=json.dumps(TURN), headers={"Content-Type": content_type})
    problem = check_problem(response, 415, "unsupported_type")
    assert "application/json" in problem["detail"]


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "new\tline", "é"])
async def test_a_request_id_that_cant_be_printed_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    headers = {"X-Request-ID": given.encode()}
    problem = check_problem(await client.get("/nowhere", headers=headers), 404, "not_found")
    assert problem["request_id"] != given
    assert len(problem["request_id"]) == 32


async def test_internal_errors_hide_details(client: httpx.AsyncClient, house: House) -> None:
    house.llm.will(RuntimeError("password=hunter2 at /srv/secret.py"))
    problem = check_problem(await client.post("/llm/turn", json=TURN), 500, "internal")
    assert "hunter2" not in json.dumps(problem)
    assert "secret" not in json.dumps(problem)


@pytest.mark.parametrize(
    ("error", "retry_after"),
    [
        (Overloaded("full"), "1"),
        (Unavailable("gone"), "2"),
        (StorageUnavailable("disk full"), "2"),
        (DeadlineExceeded("late"), None),
    ],
)
async def test_errors_on_purpose_keep_status_detail_and_retry_after(
    client: httpx.AsyncClient, house: House, error: Any, retry_after: str | None
) -> None:
    house.llm.will(error)
    response = await client.post("/llm/turn", json=TURN)
    assert check_problem(response, error.status, error.code)["detail"] == error.detail
    assert response.headers.get("Retry-After") == retry_after


# --- limits ---------------------------------------------------------------------------------------------------------


async def in_pieces(num_pieces: int, num_sent: list[int], start: bytes = b"") -> AsyncIterator[bytes]:
    """A body without a length. A list of one counts what was really taken."""
    yield start
    for _ in range(num_pieces):
        num_sent[0] += 1
        yield b" " * 1024


@pytest.mark.parametrize("path", ["/llm/turn", "/v1/chat/completions"])
async def test_a_body_is_counted_while_it_is_read(open_client: Any, path: str) -> None:
    client, _ = await open_client(body_max_bytes=8 * 1024)
    num_sent = [0]
    headers = {"Content-Type": "application/json"}
    response = await client.post(path, content=in_pieces(100, num_sent), headers=headers)
    assert "8,192" in check_problem(response, 413, "too_large")["detail"]
    assert num_sent[0] <= 10


async def test_an_upload_has_a_limit_of_its_own(open_client: Any) -> None:
    client, house = await open_client(body_max_bytes=2048, upload_max_bytes=64 * 1024)
    form = {"world_id": "reef"}
    fits = await client.post("/rag/upload", data=form, files={"file": ("a.md", b"x" * 32 * 1024)})
    assert fits.status_code == 200, fits.text
    assert len(house.ingestion.uploads[0][1]) == 32 * 1024
    over = await client.post("/rag/upload", data=form, files={"file": ("a.md", b"x" * 256 * 1024)})
    check_problem(over, 413, "too_large")
    assert len(house.ingestion.uploads) == 1


async def test_an_upload_without_a_length_is_counted_too(open_client: Any) -> None:
    client, house = await open_client(upload_max_bytes=4096)
    num_sent = [0]
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    start = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.md"\r\n\r\n'
    response = await client.post("/rag/upload", content=in_pieces(1000, num_sent, start), headers=headers)
    check_problem(response, 413, "too_large")
    assert num_sent[0] < 100
    assert house.ingestion.uploads == []


async def test_a_declared_length_is_refused_before_a_byte_is_read(open_client: Any) -> None:
    client, _ = await open_client(body_max_bytes=2048)
    num_sent = [0]
    headers = {"Content-Type": "application/json", "Content-Length": "102400"}
    response = await client.post("/llm/turn", content=in_pieces(100, num_sent), headers=headers)
    check_problem(response, 413, "too_large")


# --- uploads --------------------------------------------------------------------------------------------------------


async def test_an_upload_carries_its_fields(client: httpx.AsyncClient, house: House) -> None:
    form = {"world_id": "reef", "license": "CC-BY-4.0", "overwrite": "true"}
    response = await client.post("/rag/upload", data=form, files={"file": ("珊瑚.md", b"# Reef")})
    assert response.json() == {"world_id": "reef", "version": 1, "doc_ids": ["doc_1"], "total_chunks": 3}
    assert house.ingestion.uploads == [("珊瑚.md", b"# Reef", "reef", "CC-BY-4.0", True)]


@pytest.mark.parametrize(
    ("form", "files"),
    [
        ({"world_id": "reef"}, None),
        ({}, {"file": ("a.md", b"x")}),
        ({"world_id": "re ef"}, {"file": ("a.md", b"x")}),
        ({"world_id": "reef", "overwrite": "perhaps"}, {"file": ("a.md", b"x")}),
        ({"world_id": "reef", "file": "text"}, None),
        ({"world_id": "reef", "license": "x" * 65}, {"file": ("a.md", b"x")}),
    ],
)
async def test_a_bad_upload_form_is_refused(client: httpx.AsyncClient, house: House, form: Any, files: Any) -> None:
    check_problem(await client.post("/rag/upload", data=form, files=files), 422, "invalid_input")
    assert house.ingestion.uploads == []


async def test_a_broken_multipart_body_is_a_4xx(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "multipart/form-data"}
    check_problem(await client.post("/rag/upload", content=b"--x\r\n\r\n", headers=headers), 400, "bad_request")


# --- probes and OpenAPI ---------------------------------------------------------------------------------------------


async def test_readiness_names_what_it_waits_for(house: House) -> None:
    async def readiness() -> dict[str, str | None]:
        return {"llm": "starting", "retrieval": None}

    async with client_of(app_of(house, readiness)) as client:
        problem = check_problem(await client.get("/readyz"), 503, "unavailable")
        assert "llm: starting" in problem["detail"]
        health = (await client.get("/healthz")).json()
        assert (set(health), health["status"]) == ({"status", "version", "uptime"}, "healthy")
    async with client_of(app_of(house)) as client:
        ready = (await client.get("/readyz")).json()
        assert ready == {"status": "ready", "parts": {"llm": "ready", "retrieval": "ready"}}


async def test_the_openapi_document_has_every_row(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    for route in ROUTES:
        operation = document["paths"][route.path][route.method.lower()]
        assert operation["operationId"] == route.name
        for status in ("4XX", "5XX"):
            content = operation["responses"][status]["content"]
            assert list(content) == [MEDIA_TYPE]
            assert set(content[MEDIA_TYPE]["schema"]["properties"]) == {*PROBLEM_KEYS, "errors"}
        success = operation["responses"]["200"]["content"]
        assert ("text/event-stream" in success) == (
            route.function.stream is not None or route.function.relay is not None
        )
        if route.method == "POST" and route.function.request is not None and route.function.cost != "ingest":
            reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            examples = document["components"]["schemas"][reference.split("/")[-1]]["examples"]
            for example in examples:
                route.function.request.model_validate(example)


async def test_names_and_routes_are_told_once() -> None:
    assert len({route.name for route in ROUTES}) == len(ROUTES)
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    for route in ROUTES:
        assert sum(way is not None for way in (route.function.call, route.function.relay, route.function.file)) == 1
