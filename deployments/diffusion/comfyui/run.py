"""One submission of one picture to a ComfyUI server: from the prompt to the finished PNG, or to its cancellation."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any, TypeVar

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from sagaforge.deployments.diffusion.comfyui import graph as graphs
from sagaforge.deployments.diffusion.comfyui import messages, pictures
from sagaforge.deployments.diffusion.comfyui.http import MAX_IMAGE_BYTES, Reply, Server
from sagaforge.deployments.diffusion.interface import ImageSpec, Progress
from sagaforge.errors import DeadlineExceeded, Unavailable

T = TypeVar("T")
# Given a prompt's id and its submission, which comes first.
Cancel = Callable[[str, "asyncio.Future[Reply]"], Awaitable[None]]

LOOK_SOON_S = 0.05  # success is told a moment before the history knows of it


class Forgotten(Unavailable):
    """The server took a prompt on and does not know it any more: it has restarted."""


class Clock:
    """Seconds since a picture was asked for, and when they are over."""

    def __init__(self, deadline_s: float | None) -> None:
        self._began_at = time.monotonic()
        self._deadline_s = deadline_s

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began_at

    async def within(self, work: Awaitable[T]) -> T:
        """Around single steps and never around a `yield`: the time out would go off in the consumer's code."""
        left_s = None if self._deadline_s is None else max(0.0, self._deadline_s - self.elapsed_s)
        timeout = asyncio.timeout(left_s)
        try:
            async with timeout:
                return await work
        except TimeoutError as exc:
            if timeout.expired():
                raise DeadlineExceeded("The picture was not made in time.") from exc
            raise


class Run:
    """Makes one picture: `picture` after `progress` has come to its end. It has a client id of its own, so that what is
    said to it is about it."""

    def __init__(self, server: Server, clock: Clock, spec: ImageSpec, graph: graphs.Graph, cancel: Cancel) -> None:
        self.picture = b""
        self.waited_s: float | None = None
        self.worked_s: float | None = None
        self._server = server
        self._clock = clock
        self._spec = spec
        self._graph = graph
        self._cancel = cancel
        self._prompt_id = str(uuid.uuid4())
        self._client_id = uuid.uuid4().hex
        self._posting: asyncio.Future[Reply] | None = None
        self._entry: dict[str, Any] | None = None  # of the history, once it is there
        self._is_over = False
        self._is_ours = False  # what the server works on: older previews don't say whose they are
        self._done, self._total = 0, spec.num_steps
        self._previewed = 0

    async def progress(self) -> AsyncGenerator[Progress, None]:
        within = self._clock.within
        async with AsyncExitStack() as stack:
            socket = await within(stack.enter_async_context(self._server.listening(self._client_id)))
            try:
                await within(self._submit())
                submitted_s = self._clock.elapsed_s
                async with aclosing(self._follow(socket)) as steps:
                    async for step in steps:
                        yield step
                taken_s = self._clock.elapsed_s - submitted_s
                self.picture = await within(self._fetch())
            finally:
                if self._posting is not None and not self._is_over:
                    await self._cancel(self._prompt_id, self._posting)
        self.worked_s = messages.seconds_in_history(messages.as_dict(self._entry))
        if self.worked_s is not None:
            self.waited_s = max(0.0, taken_s - self.worked_s)

    async def _submit(self) -> None:
        preview_method = "auto" if self._spec.preview_every > 0 else "none"
        request = self._server.submit(self._prompt_id, self._client_id, self._graph, preview_method)
        # Shielded: a submission cut off midway may still be taken on, after its cancellation.
        self._posting = asyncio.ensure_future(request)
        reply = await asyncio.shield(self._posting)
        answer = reply.json()
        if error := messages.refusal(answer):
            # Part of a workflow may have been taken on all the same; after any other status nothing was.
            self._is_over = reply.status != 200
            raise error
        reply.checked()
        self._prompt_id = prompt_id_of(reply, self._prompt_id)

    # --- following it -------------------------------------------------------------------------------------------------

    async def _follow(self, socket: ClientConnection | None) -> AsyncGenerator[Progress, None]:
        """Progress until the history knows the prompt. Without a socket there is none, but the picture comes."""
        timeouts, within = self._server.timeouts, self._clock.within
        looked_at = time.monotonic()
        while socket is not None and not self._is_over:
            if (left_s := looked_at + timeouts.quiet_s - time.monotonic()) <= 0:
                # Loading a checkpoint is silent, and so is a peer that is dead.
                await within(self._look())
                looked_at = time.monotonic()
                continue
            try:
                message = await within(_receive(socket, left_s))
            except ConnectionClosed:
                socket = None
                continue
            for said in messages.read(message):
                if progress := self._hear(said):
                    looked_at = time.monotonic()
                    yield progress
        pause_s = LOOK_SOON_S
        while self._entry is None:
            await within(self._look())
            if self._entry is None:
                await within(asyncio.sleep(pause_s))
                pause_s = min(2 * pause_s, timeouts.poll_s)

    def _hear(self, said: messages.Message) -> Progress | None:
        """What there is to tell after a message."""
        if isinstance(said, messages.Previewed):
            is_ours = self._is_ours if said.prompt_id is None else said.prompt_id == self._prompt_id
            return self._preview(said.data) if is_ours else None
        self._is_ours = said.prompt_id == self._prompt_id
        if not self._is_ours:
            return None
        if isinstance(said, messages.Ended):
            self._is_over = True
            if said.error:
                raise said.error
        if isinstance(said, messages.Stepped) and said.node == graphs.SAMPLER:
            before, now = (self._done, self._total), (said.done, said.total)
            self._done, self._total = now
            # Newer servers tell each step twice.
            return Progress(*now) if now != before else None
        return None

    def _preview(self, data: bytes) -> Progress | None:
        every = self._spec.preview_every
        if every <= 0 or self._done // every <= self._previewed // every:
            return None
        if (preview := pictures.received_preview(data)) is None:
            return None
        self._previewed = self._done
        return Progress(self._done, self._total, preview)

    async def _look(self) -> None:
        """Sets `_entry` if the prompt is over. Raises `Forgotten` if the server does not know it."""
        self._entry = await self._server.history(self._prompt_id)
        if self._entry is None and await self._server.where_queued(self._prompt_id) is None:
            # It may have ended between the two questions.
            self._entry = await self._server.history(self._prompt_id)
            if self._entry is None:
                self._is_over = True
                raise Forgotten("The ComfyUI server has lost the picture that it was making, and again.")
        self._is_over = self._is_over or self._entry is not None

    # --- the picture --------------------------------------------------------------------------------------------------

    async def _fetch(self) -> bytes:
        entry = messages.as_dict(self._entry)
        if error := messages.failure_in_history(entry):
            raise error
        if (where := messages.picture_in_history(entry, graphs.OUTPUT)) is None:
            raise Unavailable("The ComfyUI server is done and has made no picture.")
        timeouts = self._server.timeouts
        reply = await self._server.get("view", patience_s=timeouts.restart_s, limit=MAX_IMAGE_BYTES, **where)
        size = (self._spec.width, self._spec.height)
        return await asyncio.to_thread(pictures.received_picture, reply.checked().body, size)


async def _receive(socket: ClientConnection, timeout_s: float) -> str | bytes:
    """The next message; an empty one if there was none in that time."""
    try:
        async with asyncio.timeout(timeout_s):
            return await socket.recv()
    except TimeoutError:
        return b""


def prompt_id_of(reply: Reply, asked: str) -> str:
    """A server from before the id could be chosen has chosen its own."""
    given = reply.json().get("prompt_id")
    return given if isinstance(given, str) and given else asked
