"""A ComfyUI server without models: the routes, messages and faults of the real one, on a loopback socket, in the test's
own event loop. Its pictures are of one colour, which the seed says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import uuid
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.support.comfyui_nodes import canonical, node_errors
from tests.support.comfyui_work import Job, Worker

CHECKPOINT = "saga.safetensors"
LORAS = ("ink.safetensors", "gold_v2.safetensors")


class ComfyUIServer(Worker):
    def __init__(self) -> None:
        super().__init__()
        self.submitted: list[dict[str, Any]] = []  # bodies of POST /prompt that were taken on
        self.requests: list[str] = []
        self.missed: list[str] = []  # paths that there are not
        self.headers: list[Any] = []
        self.url = ""

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        port = int(self.url.rsplit(":", 1)[1]) if self.url else 0
        listener = socket.create_server(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(self._app(), log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        # Without `capture_signals`, which is for a process that is nothing but a server.
        self._serving = asyncio.create_task(self._server._serve([listener]))
        self._working = asyncio.create_task(self.work())
        while not self._server.started:  # noqa: ASYNC110 (it has no event)
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """At once, as if killed; all that was in memory is lost."""
        self._working.cancel()
        await asyncio.wait({self._working})
        await self.drop_sockets()
        self._server.should_exit = self._server.force_exit = True
        await self._serving
        self.forget()

    async def restart(self) -> None:
        self.faults.num_restarts -= 1
        await self.stop()
        await asyncio.sleep(0.1)
        await self.start()

    # --- routes -------------------------------------------------------------------------------------------------------

    def _app(self) -> Starlette:
        routes: list[Any] = [WebSocketRoute("/ws", self._ws)]
        for path, method, handler in (
            ("/prompt", "POST", self._post_prompt),
            ("/prompt", "GET", self._get_prompt),
            ("/queue", "GET", self._get_queue),
            ("/queue", "POST", self._post_queue),
            ("/interrupt", "POST", self._interrupt),
            ("/history/{id}", "GET", self._history),
            ("/api/jobs/{id}/cancel", "POST", self._cancel_job),
            ("/upload/image", "POST", self._upload),
            ("/view", "GET", self._view),
            ("/system_stats", "GET", self._system_stats),
        ):
            routes.append(Route(path, self._observed(handler), methods=[method]))
        return Starlette(routes=[*routes, Route("/{path:path}", self._miss, methods=["GET", "POST"])])

    async def _miss(self, request: Request) -> Response:
        self.missed.append(request.url.path)
        return Response(status_code=404)

    def _observed(self, handler: Any) -> Any:
        async def endpoint(request: Request) -> Response:
            self.requests.append(f"{request.method} {request.url.path}")
            self.headers.append(request.headers)
            if statuses := self.faults.statuses.get(request.url.path):
                return PlainTextResponse("scripted", statuses.pop(0))
            answer = await handler(request)
            await self.notify()
            return answer

        return endpoint

    async def _ws(self, ws: WebSocket) -> None:
        if self.faults.refuses_sockets:
            await ws.close()
            return
        self.headers.append(ws.headers)
        await ws.accept()
        sid = ws.query_params.get("clientId") or uuid.uuid4().hex
        self.sockets[sid] = ws
        try:
            exec_info = {"exec_info": {"queue_remaining": len(self.pending)}}
            await ws.send_json({"type": "status", "data": {"status": exec_info, "sid": sid}})
            while True:
                said = json.loads(await ws.receive_text())
                if said["type"] == "feature_flags" and said["data"].get("supports_preview_metadata"):
                    self.flagged.add(sid)
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            if self.sockets.get(sid) is ws:
                del self.sockets[sid]

    async def _post_prompt(self, request: Request) -> Response:
        body = await request.json()
        if self.faults.gate is not None:
            await self.notify()
            await self.faults.gate.wait()
        if not canonical(body.get("prompt_id")):
            error = {"type": "invalid_prompt_id", "message": "prompt_id must be a valid UUID", "details": ""}
            return JSONResponse({"error": error, "node_errors": {}}, 400)
        inputs = {name for kind, _, name in self.files if kind == "input"}
        if errors := node_errors(body["prompt"], checkpoints=(CHECKPOINT,), loras=LORAS, inputs=inputs):
            error = {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation"}
            return JSONResponse({"error": {**error, "details": "", "extra_info": {}}, "node_errors": errors}, 400)
        id = str(uuid.uuid4()) if self.faults.chooses_ids else body["prompt_id"]
        extra = {**body.get("extra_data", {}), "client_id": body["client_id"]}
        job = Job(len(self.submitted), id, body["prompt"], body["client_id"], extra)
        self.submitted.append(body)
        self.pending.append(job)
        return JSONResponse({"prompt_id": id, "number": job.number, "node_errors": self.faults.extra_errors or {}})

    async def _get_prompt(self, request: Request) -> Response:
        return JSONResponse({"exec_info": {"queue_remaining": len(self.pending)}})

    async def _get_queue(self, request: Request) -> Response:
        running = [self.running.listed()] if self.running else []
        return JSONResponse({"queue_running": running, "queue_pending": [job.listed() for job in self.pending]})

    async def _post_queue(self, request: Request) -> Response:
        gone = (await request.json())["delete"]
        self.pending = [job for job in self.pending if job.id not in gone]
        return Response()

    async def _interrupt(self, request: Request) -> Response:
        if self.running is not None:
            self.running.is_interrupted = True  # whatever the body says, as the oldest ones
        return Response()

    async def _cancel_job(self, request: Request) -> Response:
        if not self.faults.has_job_cancel:
            return JSONResponse({"error": "Not Found"}, 404)
        id = request.path_params["id"]
        is_running = self.running is not None and self.running.id == id
        if self.running is not None and is_running:
            self.running.is_interrupted = True
        before = len(self.pending)
        self.pending = [job for job in self.pending if job.id != id]
        return JSONResponse({"cancelled": is_running or len(self.pending) < before})

    async def _history(self, request: Request) -> Response:
        id = request.path_params["id"]
        return JSONResponse({id: self.history[id]} if id in self.history else {})

    async def _upload(self, request: Request) -> Response:
        async with request.form() as form:
            upload = form["image"]
            assert not isinstance(upload, str)
            data, name = await upload.read(), str(upload.filename)
            kind, subfolder = str(form.get("type", "input")), str(form.get("subfolder", ""))
        stem, _, suffix = name.rpartition(".")
        number = 0
        while self.files.get((kind, subfolder, name), data) != data:
            number += 1
            name = f"{stem} ({number}).{suffix}"
        self.files[kind, subfolder, name] = data
        return JSONResponse({"name": name, "subfolder": subfolder, "type": kind})

    async def _view(self, request: Request) -> Response:
        query = request.query_params
        data = self.files.get((query.get("type", "output"), query.get("subfolder", ""), query["filename"]))
        return Response(data, media_type="image/png") if data else Response(status_code=404)

    async def _system_stats(self, request: Request) -> Response:
        system = {
            "comfyui_version": "0.9.1",
            "pytorch_version": "2.13.0",
            "python_version": "3.13",
            "argv": ["main.py"],
        }
        return JSONResponse({"system": system, "devices": []})


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[ComfyUIServer]:
    server = ComfyUIServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
