"""How a ComfyUI server works its queue off, and what it says meanwhile: support for comfyui_server.py."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import struct
import time
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.support.comfyui_nodes import SAMPLER_TYPE

GARBAGE = [
    b"",
    b"\x00",
    b"\x00\x00\x00\x01\x00\x00\x00\x01not a jpeg",
    b"\x00\x00\x00\x04\xff\xff\xff\xff{}",
    b"\xff" * 40,
]


@dataclass
class Faults:
    """What goes wrong, or is as in older servers."""

    refuses_sockets: bool = False
    is_mute: bool = False  # opens sockets and says nothing
    drops_socket_at: int | None = None  # a step
    restarts_at: int | None = None  # a step
    num_restarts: int = 1
    fails: dict[str, str] | None = None  # data of an execution_error, in the sampler
    extra_errors: dict[str, Any] | None = None  # node_errors of a 200
    chats: bool = False  # tells everybody about everybody's prompts
    garbage: bool = False
    is_cached: bool = False
    makes_nothing: bool = False
    png: bytes | None = None  # sent by /view instead of the picture
    statuses: dict[str, list[int]] = field(default_factory=dict)  # by path: of the next answers
    has_job_cancel: bool = True
    has_metadata: bool = True  # previews of type 4 for who asks
    chooses_ids: bool = False
    gate: asyncio.Event | None = None  # before a prompt is taken on


@dataclass
class Job:
    number: int
    id: str
    graph: dict[str, Any]
    client_id: str
    extra: dict[str, Any]
    is_interrupted: bool = False

    def listed(self) -> list[Any]:
        return [self.number, self.id, self.graph, self.extra, [self.output]]

    @property
    def output(self) -> str:
        return next(id for id, node in self.graph.items() if node["class_type"] == "PreviewImage")

    @property
    def sampled(self) -> dict[str, Any]:
        """What the sampler was told."""
        return next(node["inputs"] for node in self.graph.values() if node["class_type"] == SAMPLER_TYPE)


def colour(seed: int) -> tuple[int, int, int]:
    return (seed % 256, seed // 256 % 256, 200)


def encoded(size: tuple[int, int], shade: tuple[int, int, int], kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, shade).save(buffer, kind, **options)
    return buffer.getvalue()


class _Failed(Exception):
    def __init__(self, kind: str, **data: Any) -> None:
        super().__init__(kind)
        self.kind, self.data = kind, data


class Worker:
    """The queue, the history and the sockets, all in memory."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.step_s = 0.0
        self.files: dict[tuple[str, str, str], bytes] = {}  # by type, subfolder and name
        self.num_pictures = 0
        self.changed = asyncio.Condition()
        self.forget()

    def forget(self) -> None:
        self.pending: list[Job] = []
        self.running: Job | None = None
        self.history: dict[str, Any] = {}
        self.sockets: dict[str, WebSocket] = {}
        self.flagged: set[str] = set()

    async def restart(self) -> None:
        raise NotImplementedError

    async def drop_sockets(self) -> None:
        for ws in list(self.sockets.values()):
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await ws.close(1012)
        self.sockets.clear()

    async def notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, condition: Any, timeout_s: float = 10.0) -> None:
        """Wait for something about the queue to be so."""
        async with asyncio.timeout(timeout_s), self.changed:
            await self.changed.wait_for(condition)

    @property
    def is_idle(self) -> bool:
        return self.running is None and not self.pending

    async def work(self) -> None:
        while True:
            await self.until(lambda: self.pending, 3600)
            job = self.running = self.pending.pop(0)
            await self.notify()
            messages: list[Any] = []
            outputs: dict[str, Any] = {}
            try:
                outputs = await self._execute(job, messages)
            except _Failed as exc:
                await self._tell(job, exc.kind, messages, **exc.data)
            status = {
                "status_str": "success" if outputs else "error", "completed": bool(outputs), "messages": messages,
            }  # fmt: skip
            self.history[job.id] = {"prompt": job.listed(), "outputs": outputs, "status": status, "meta": {}}
            self.running = None
            await self.notify()
            await self._send(job, "executing", node=None, prompt_id=job.id)

    async def _execute(self, job: Job, messages: list[Any]) -> dict[str, Any]:
        await self._tell(job, "execution_start", messages)
        await self._tell(job, "execution_cached", messages, nodes=list(job.graph) if self.faults.is_cached else [])
        for node_id, node in job.graph.items():
            if self.faults.is_cached:
                break
            await self._send(job, "executing", node=node_id, display_node=node_id, prompt_id=job.id)
            if node["class_type"] == SAMPLER_TYPE:
                await self._sample(job, node_id, node["inputs"]["steps"])
        where = {"filename": f"ComfyUI_temp_{self.num_pictures:05}_.png", "subfolder": "", "type": "temp"}
        self.num_pictures += 1
        info = PngInfo()
        info.add_text("prompt", json.dumps(job.graph))
        sides = next((n["inputs"] for n in job.graph.values() if n["class_type"] == "EmptyLatentImage"), None)
        image = next((n["inputs"]["image"] for n in job.graph.values() if n["class_type"] == "LoadImage"), None)
        size = (sides["width"], sides["height"]) if sides else Image.open(io.BytesIO(self.input(str(image)))).size
        picture = encoded(size, colour(job.sampled["seed"]), pnginfo=info)
        self.files["temp", "", where["filename"]] = self.faults.png or picture
        outputs = {job.output: {"images": [] if self.faults.makes_nothing else [where]}}
        await self._send(job, "executed", node=job.output, output=outputs[job.output], prompt_id=job.id)
        await self._tell(job, "execution_success", messages)
        return outputs

    async def _sample(self, job: Job, node_id: str, steps: int) -> None:
        if self.faults.fails:
            raise _Failed("execution_error", node_id=node_id, node_type=SAMPLER_TYPE, traceback=[], **self.faults.fails)
        for step in range(1, steps + 1):
            await asyncio.sleep(self.step_s)
            if self.faults.restarts_at == step and self.faults.num_restarts > 0:
                self._restarting = asyncio.create_task(self.restart())
                await asyncio.sleep(3600)
            if self.faults.drops_socket_at == step:
                await self.drop_sockets()
            if job.is_interrupted:
                raise _Failed("execution_interrupted", node_id=node_id, node_type=SAMPLER_TYPE, executed=[])
            told = {"value": step, "max": steps, "prompt_id": job.id}
            await self._send(job, "progress", node=node_id, **told)
            states = {node_id: {"state": "running", "node_id": node_id, **told}}
            await self._send(job, "progress_state", prompt_id=job.id, nodes=states)
            if job.extra.get("preview_method", "none") != "none":
                await self._preview(job, node_id)

    async def _preview(self, job: Job, node_id: str) -> None:
        for frame in GARBAGE if self.faults.garbage else []:
            await self._send_bytes(job.client_id, frame)
        image = encoded((16, 16), colour(job.sampled["seed"]), "JPEG", quality=95)
        if self.faults.has_metadata and job.client_id in self.flagged:
            metadata = {"node_id": node_id, "prompt_id": job.id, "image_type": "image/jpeg"}
            about = json.dumps(metadata).encode()
            frame = struct.pack(">II", 4, len(about)) + about + image
        else:
            frame = struct.pack(">II", 1, 1) + image
        for client_id in list(self.sockets) if self.faults.chats else [job.client_id]:
            await self._send_bytes(client_id, frame)

    async def _tell(self, job: Job, kind: str, messages: list[Any], **data: Any) -> None:
        """What also stands in the history."""
        data = {"prompt_id": job.id, "timestamp": int(time.time() * 1000), **data}
        messages.append([kind, data])
        await self._send(job, kind, **data)

    async def _send(self, job: Job, kind: str, **data: Any) -> None:
        text = json.dumps({"type": kind, "data": data})
        for client_id in [] if self.faults.is_mute else list(self.sockets) if self.faults.chats else [job.client_id]:
            if (ws := self.sockets.get(client_id)) is not None:
                with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                    await ws.send_text(text)

    async def _send_bytes(self, client_id: str, frame: bytes) -> None:
        if (ws := self.sockets.get(client_id)) is not None:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await ws.send_bytes(frame)

    def input(self, name: str) -> bytes:
        return self.files["input", "", name]
