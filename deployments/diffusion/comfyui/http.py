"""Requests to a ComfyUI server: what is sent again and what is not, how long it may take, how much comes back."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from sagaforge.deployments.diffusion.comfyui.messages import as_dict, as_list
from sagaforge.errors import TooLarge, Unavailable

MIB = 1024 * 1024
MAX_VERSION_CHARS = 200  # receipts take no more
MAX_IMAGE_BYTES = 64 * MIB
MAX_MESSAGE_BYTES = 16 * MIB
FIRST_PAUSE_S, MAX_PAUSE_S = 0.1, 2.0
CLOSE_TIMEOUT_S = 1.0
# What a proxy says while the server behind it is away.
GATEWAY_STATUSES = (502, 503, 504)


@dataclass(frozen=True)
class Timeouts:
    """Seconds. connect_s, read_s: of one request. patience_s: for a server that is not there when a picture begins;
    restart_s: for one that goes away while it makes it. poll_s: between looks when there is no socket; quiet_s: how
    long a socket may say nothing before one looks. cancel_s: for a cancellation."""

    connect_s: float = 5.0
    read_s: float = 30.0
    patience_s: float = 2.0
    restart_s: float = 60.0
    poll_s: float = 1.0
    quiet_s: float = 20.0
    cancel_s: float = 5.0


@dataclass(frozen=True)
class Reply:
    """An answer, whatever its status."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """The object in it; empty if there is none."""
        try:
            return as_dict(json.loads(self.body))
        except (ValueError, RecursionError):
            return {}

    def checked(self) -> Reply:
        """Itself. Raises if it is no success."""
        if self.status in (401, 403):
            raise Unavailable(f"The ComfyUI server does not let us in ({self.status}).")
        if self.status == 413:
            raise TooLarge("The ComfyUI server does not take a picture of that many bytes.")
        if not 200 <= self.status < 300:
            raise Unavailable(f"The ComfyUI server answered with status {self.status}.")
        return self


class Server:
    """A ComfyUI server, as an async context manager. `url` may have a path and credentials; errors never show it."""

    def __init__(self, url: str, *, headers: Mapping[str, str], timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self._url = httpx.URL(url.rstrip("/") + "/")
        self._headers = dict(headers)
        self._client = httpx.AsyncClient(
            base_url=self._url,
            # Not compressed: the bound on bytes then is one on what is read.
            headers={"Accept-Encoding": "identity", **headers},
            # Only where there are certificates to verify: loading the roots takes tens of milliseconds.
            verify=self._url.scheme == "https",
            timeout=httpx.Timeout(timeouts.read_s, connect=timeouts.connect_s),
        )

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.aclose()

    # --- requests -----------------------------------------------------------------------------------------------------

    async def get(self, path: str, *, patience_s: float, limit: int = MAX_MESSAGE_BYTES, **params: str) -> Reply:
        """Sent again for `patience_s` while the server, or what is before it, can't answer."""
        give_up_at = time.monotonic() + patience_s
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                reply = await self._send("GET", path, limit, params=params)
            except httpx.RequestError as exc:
                if time.monotonic() + pause_s > give_up_at:
                    raise Unavailable("The ComfyUI server can't be reached.") from exc
            else:
                if reply.status not in GATEWAY_STATUSES or time.monotonic() + pause_s > give_up_at:
                    return reply
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)

    async def post(self, path: str, *, patience_s: float = 0.0, **content: Any) -> Reply:
        """Sent again only while there was no connection: anything else may have arrived, and would be done twice."""
        give_up_at = time.monotonic() + patience_s
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return await self._send("POST", path, MAX_MESSAGE_BYTES, **content)
            except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
                if time.monotonic() + pause_s > give_up_at:
                    raise Unavailable("The ComfyUI server can't be reached.") from exc
            except httpx.RequestError as exc:
                raise Unavailable("The connection to the ComfyUI server broke.") from exc
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)

    async def _send(self, method: str, path: str, limit: int, **content: Any) -> Reply:
        async with self._client.stream(method, path, **content) as response:
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > limit:
                    raise Unavailable(f"The ComfyUI server sent more than {limit} bytes.")
            return Reply(response.status_code, bytes(body))

    # --- what is asked ------------------------------------------------------------------------------------------------

    async def versions(self) -> dict[str, str]:
        """Of ComfyUI and what it runs on; a server that does not tell has none."""
        reply = await self.get("system_stats", patience_s=self.timeouts.patience_s)
        if reply.status == 404:
            return {}
        system = as_dict(reply.checked().json().get("system"))
        found = {name: system.get(f"{name}_version") for name in ("comfyui", "pytorch", "python")}
        return {name: value[:MAX_VERSION_CHARS] for name, value in found.items() if isinstance(value, str)}

    async def upload(self, name: str, png: bytes) -> str:
        """The name under which a `LoadImage` finds the picture: the server may choose another one."""
        files = {"image": (name, png, "image/png")}
        reply = await self.post(
            "upload/image", patience_s=self.timeouts.patience_s, files=files, data={"type": "input"}
        )
        where = reply.checked().json()
        if not isinstance(given := where.get("name"), str) or not given:
            raise Unavailable("The ComfyUI server took a picture and does not say where it is.")
        path = f"{where['subfolder']}/{given}" if where.get("subfolder") else given
        return path if where.get("type", "input") == "input" else f"{path} [{where['type']}]"

    async def submit(self, prompt_id: str, client_id: str, graph: dict[str, Any], preview_method: str) -> Reply:
        body = {
            "prompt": graph,
            "prompt_id": prompt_id,
            "client_id": client_id,
            "extra_data": {"preview_method": preview_method},
        }
        return await self.post("prompt", patience_s=self.timeouts.patience_s, json=body)

    async def history(self, prompt_id: str) -> dict[str, Any] | None:
        """What became of a prompt; None while it waits or runs, or if the server does not know it."""
        reply = await self.get(f"history/{prompt_id}", patience_s=self.timeouts.restart_s)
        return as_dict(reply.checked().json().get(prompt_id)) or None

    async def where_queued(self, prompt_id: str) -> str | None:
        """`queue_running`, `queue_pending` or None."""
        queue = (await self.get("queue", patience_s=self.timeouts.restart_s)).checked().json()
        for state in ("queue_running", "queue_pending"):
            if any(prompt_id in as_list(item)[1:2] for item in as_list(queue.get(state))):
                return state
        return None

    async def cancel(self, prompt_id: str) -> None:
        """Take a prompt out of the queue, or stop it; it may be over by now."""
        reply = await self.post(f"api/jobs/{prompt_id}/cancel")
        if reply.status not in (404, 405):
            reply.checked()
            return
        (await self.post("queue", json={"delete": [prompt_id]})).checked()
        # Asked first: the oldest servers ignore whom to interrupt, and stop whatever runs.
        if await self.where_queued(prompt_id) == "queue_running":
            (await self.post("interrupt", json={"prompt_id": prompt_id})).checked()

    # --- the socket ---------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def listening(self, client_id: str) -> AsyncGenerator[ClientConnection | None, None]:
        """The socket of that client; None if it can't be opened."""
        socket: ClientConnection | None = None
        try:
            socket = await connect(
                f"{self._socket_url()}ws?clientId={client_id}",
                additional_headers={**self._authorization(), **self._headers},
                max_size=MAX_MESSAGE_BYTES,
                compression=None,
                open_timeout=self.timeouts.connect_s,
                close_timeout=CLOSE_TIMEOUT_S,
            )
            # What makes the server say whose a preview is.
            flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
            await socket.send(json.dumps(flags))
        except (OSError, WebSocketException):
            pass
        try:
            yield socket
        finally:
            if socket is not None:
                await socket.close()

    def _socket_url(self) -> str:
        scheme = {"http": "ws", "https": "wss"}.get(self._url.scheme, self._url.scheme)
        return str(self._url.copy_with(scheme=scheme, username=None, password=None))

    def _authorization(self) -> dict[str, str]:
        """As httpx does it by itself for a URL with credentials."""
        if not self._url.userinfo:
            return {}
        pair = f"{self._url.username}:{self._url.password}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
