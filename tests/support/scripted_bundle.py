"""A bundle of scripted answers behind a real HTTP server, and `holodeck` run against it: support for test_cli*.py."""

from __future__ import annotations

import asyncio
import codecs
import functools
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI, Form, Header, Request, UploadFile
from fastapi.responses import JSONResponse, Response, StreamingResponse
from typer.testing import CliRunner, Result

from sagaforge.cli.main import app
from tests.support import loopback
from tests.support.loopback import event

LORE = {
    "doc_1@section_1:chunk_1": "Mara keeps the tide clock.",
    "doc_1@section_2:chunk_1": "The harbour light burns whale oil.",
}
TIDE, LIGHT = LORE
STATE = {"session_id": "s1", "world_id": "harbour", "world_version": 3, "scene_id": "quay", "location": "Old Quay"}
DROP_AFTER_COMMIT = "drop"
HANG = "hang"


def chunk(chunk_id: str) -> dict[str, Any]:
    metadata = {"source": "lorebook.md", "section": "Mara" if chunk_id == TIDE else "The light", "license": None}
    return {"id": chunk_id, "text": LORE[chunk_id], "score": 0.9, "metadata": metadata}


def turn(number: int, message: str, **changes: Any) -> dict[str, Any]:
    sentences = [
        {"text": f"You say: {message}.", "citations": [], "status": "invented"},
        {"text": "Mara winds the tide clock.", "citations": [TIDE], "status": "cited"},
        {"text": "鐘聲在霧裡響起。", "citations": [LIGHT, TIDE], "status": "cited"},
    ]
    choices = [
        {"id": "c1", "text": "Ask about the clock"},
        {"id": "c2", "text": "Climb the tower"},
        {
            "id": "c3",
            "text": "Open the vault",
            "available": False,
            "conditions": [{"kind": "item", "name": "brass key", "op": "has"}],
        },
    ]
    body = {
        "turn_id": f"t{number}",
        "session_id": "s1",
        "narration": " ".join(str(sentence["text"]) for sentence in sentences),
        "sentences": sentences,
        "dialogues": [{"speaker": "mara", "text": "Mind [the] :tide:.", "emotion": "amused"}],
        "choices": choices,
        "citations": [TIDE, LIGHT],
        "game_state": {**STATE, "turn_count": number, "inventory": [{"name": "rope", "quantity": 2}]},
        "a_field_of_a_newer_bundle": 1,
    }
    return {**body, **changes}


def problem(status: int, code: str, detail: str, **more: Any) -> JSONResponse:
    body = {"type": "about:blank", "title": code, "status": status, "detail": detail, "code": code, "request_id": "r1"}
    headers = {"Retry-After": "1"} if code in {"in_flight", "unavailable"} else {}
    return JSONResponse({**body, **more}, status, headers, media_type="application/problem+json")


class Bundle:
    """A scripted bundle. `script` says what happens to the next turn requests; after it, everything succeeds.

    `pictures`: what follows the `turn` of the next streams that ask for a picture: events, DROP_AFTER_COMMIT, HANG, or
    seconds to wait.
    """

    def __init__(self) -> None:
        self.url = ""
        self.app = self._routes()
        self.reset()

    def reset(self) -> None:
        self.script: list[Any] = []
        self.pictures: list[list[str | float]] = []
        self.requests: list[tuple[str | None, dict[str, Any]]] = []  # (idempotency key, body) of each turn request
        self.turns: dict[str, dict[str, Any]] = {}  # committed, by key
        self.uploads: list[dict[str, Any]] = []
        self.encodings: list[str | None] = []
        self.authorization: list[str | None] = []
        self.queries: list[dict[str, str]] = []  # of each request for a world or a chunk
        self.deleted: list[str] = []
        self.readiness: Response | None = None
        self.has_story = False
        self.saw_hang_up = threading.Event()

    def _routes(self) -> FastAPI:
        app = FastAPI()
        summary = {"world_id": "harbour", "title": "The Harbour", "language": "en", "version": 3, "total_chunks": 2}

        @app.get("/healthz")
        async def healthz() -> Any:
            return {"status": "healthy", "version": "0.1.0", "uptime": 75.0}

        @app.get("/readyz")
        async def readyz() -> Any:
            return self.readiness or {"status": "ready", "parts": {"llm": "ready", "retrieval": "ready"}}

        @app.get("/worlds")
        async def worlds(authorization: str | None = Header(None)) -> Any:
            self.authorization.append(authorization)
            return {"worlds": [{**summary, "license": "CC-BY-4.0"}]}

        @app.get("/worlds/{world_id}")
        async def world(request: Request, world_id: str) -> Any:
            self.queries.append(dict(request.query_params))
            if world_id != "harbour":
                return problem(404, "not_found", f"There is no world {world_id}.")
            people = [{"id": "mara", "name": "Mara Venn", "description": "Keeper of the clock."}]
            quay = {"id": "quay", "title": "The quay", "location": "Old Quay", "description": "Fog over the water."}
            scenes = [quay, {"id": "tower", "title": "The tower", "location": "Clock Tower", "description": "Stairs."}]
            return {**summary, "characters": people, "scenes": scenes, "doc_ids": ["doc_1"], "new": True}

        @app.delete("/worlds/{world_id}")
        async def delete(world_id: str) -> Any:
            if world_id != "harbour":
                return problem(404, "not_found", f"There is no world {world_id}.")
            self.deleted.append(world_id)
            return {"world_id": world_id, "version": 3, "deleted_at": "2026-01-02T03:04:05Z"}

        @app.get("/worlds/{world_id}/chunks/{chunk_id}")
        async def one_chunk(request: Request, world_id: str, chunk_id: str) -> Any:
            self.queries.append(dict(request.query_params))
            return chunk(chunk_id) if chunk_id in LORE else problem(404, "not_found", "There is no such chunk.")

        @app.post("/rag/retrieve")
        async def retrieve(request: Request) -> Any:
            body = await request.json()
            self.queries.append(body)
            return {
                "version": body.get("version", 3),
                "chunks": [chunk(key) for key in list(LORE)[: body["top_k"]]],
                "query_time_ms": 4.2,
            }

        @app.post("/rag/upload")
        async def upload(
            file: UploadFile,
            world_id: str = Form(),
            overwrite: bool = Form(False),
            license: str | None = Form(None),
            encoding: str | None = Form(None),
        ) -> Any:
            data = await file.read()
            self.encodings.append(encoding)
            self.uploads.append({"name": file.filename, "data": data, "overwrite": overwrite, "license": license})
            if world_id == "harbour" and not overwrite:
                return problem(409, "conflict", "harbour is there already.")
            return {"world_id": world_id, "version": 1, "doc_ids": ["doc_1"], "total_chunks": 2}

        @app.get("/story/{session_id}")
        async def story(session_id: str) -> Any:
            return turn(7, "hello") if self.has_story else problem(404, "not_found", "Not Found")

        @app.post("/llm/turn")
        async def take_turn(request: Request, idempotency_key: str | None = Header(None)) -> Any:
            body = await request.json()
            self.requests.append((idempotency_key, body))
            step = self.script.pop(0) if self.script else {}
            if isinstance(step, Response):
                return step
            assert idempotency_key is not None
            changes = step if isinstance(step, dict) else {}
            told = self.turns.setdefault(idempotency_key, turn(len(self.turns) + 1, body["message"], **changes))
            if body["stream"]:
                after = self.pictures.pop(0) if body["generate_image"] else []
                return StreamingResponse(self._events(told, step, after), media_type="text/event-stream")
            headers = {"content-length": "100000"} if step == DROP_AFTER_COMMIT else None
            return Response(json.dumps(told), headers=headers, media_type="application/json")

        return app

    async def _events(self, told: dict[str, Any], step: Any, after: list[str | float]) -> AsyncIterator[str]:
        yield event("started", {"session_id": "s1", "turn_id": told["turn_id"]}) + ": keep-alive\n\n"
        yield event("lore", {"chunks": [chunk(key) for key in LORE]})
        yield event("sentence", told["sentences"][0])
        if step == DROP_AFTER_COMMIT:
            raise ConnectionAbortedError("scripted")  # uvicorn closes the connection without the last chunk
        if step == HANG:
            await self._hang()
        if step == "restart":
            yield event("sentence", {"text": "This engine dies.", "citations": [], "status": "invented"})
            yield event("restart", {})
            yield event("sentence", told["sentences"][0])
        if step == "error":
            yield event("error", {"code": "deadline_exceeded", "detail": "It took too long.", "request_id": "r1"})
            return
        for sentence in told["sentences"][1:]:
            yield event("sentence", sentence)
        yield event("an_event_of_a_newer_bundle", {})
        for dialogue in told["dialogues"]:
            yield event("dialogue", dialogue)
        yield event("turn", told)
        for one in after:
            if one == DROP_AFTER_COMMIT:
                raise ConnectionAbortedError("scripted")
            if one == HANG:
                await self._hang()
            if isinstance(one, float):
                await asyncio.sleep(one)
            else:
                yield one

    async def _hang(self) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            self.saw_hang_up.set()


@contextmanager
def serving() -> Iterator[Bundle]:
    """A scripted bundle behind a real server."""
    scripted = Bundle()
    with loopback.serving(scripted.app) as scripted.url:
        yield scripted


def holodeck(*args: str, script: str = "", expect: int = 0) -> Result:
    result = CliRunner().invoke(app, list(args), input=script)
    assert result.exit_code == expect, result.output
    return result


def document(result: Result) -> dict[str, Any]:
    lines = result.stdout.splitlines()
    assert len(lines) == 1, result.stdout
    parsed = json.loads(lines[0])
    assert isinstance(parsed, dict)
    return parsed


class Terminal:
    """`holodeck` on a pseudo-terminal."""

    def __init__(self, *args: str) -> None:
        self._mine, theirs = pty.openpty()
        command = [sys.executable, "-m", "sagaforge.cli.main", *args]
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
        # A shell starts what runs in its background with SIGINT ignored, and children inherit that.
        interruptible = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, preexec_fn=interruptible
        )
        os.close(theirs)
        self._unread = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a read may end within a character

    def until(self, text: str) -> str:
        """What is shown up to `text`; it is consumed."""
        deadline = time.monotonic() + 15
        while text not in self._unread:
            assert time.monotonic() < deadline, f"no {text!r} in {self._unread!r}"
            if select.select([self._mine], [], [], 0.2)[0]:
                self._unread += self._decoder.decode(os.read(self._mine, 65536))
        before, _, self._unread = self._unread.partition(text)
        return before

    def type(self, text: str) -> None:
        os.write(self._mine, text.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._mine)
