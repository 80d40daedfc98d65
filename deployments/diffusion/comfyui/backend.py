"""Pictures made by a ComfyUI server: one workflow per picture, followed from its upload to the finished PNG."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from sagaforge.deployments.diffusion.comfyui import graph as graphs
from sagaforge.deployments.diffusion.comfyui import pictures
from sagaforge.deployments.diffusion.comfyui.http import Reply, Server, Timeouts
from sagaforge.deployments.diffusion.comfyui.run import Clock, Forgotten, Run, prompt_id_of
from sagaforge.deployments.diffusion.interface import ImageEvent, ImageSpec, Made, Progress
from sagaforge.errors import SagaForgeError

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 2  # a server that restarts has forgotten what it was to make


class ComfyUI:
    """`ImageBackend` over the API of a ComfyUI server.

    checkpoint: its file's name there. loras: the names of adapters' files there; an adapter that is not in it is
    `NAME.safetensors`. headers: sent with every request, for a proxy that wants a token. Images that a picture starts
    from stay in the server's input folder, named by their content: it has no way to delete them.
    """

    def __init__(
        self,
        url: str,
        *,
        checkpoint: str,
        name: str = "comfyui",
        loras: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.name = name
        self.checkpoint = checkpoint
        self.loras = dict(loras or {})
        self._url = url
        self._headers = dict(headers or {})
        self._timeouts = timeouts or Timeouts()
        # Cancellations that outlive who asked for them; tasks that nobody holds may vanish.
        self._cancellations: set[asyncio.Task[None]] = set()

    async def is_ready(self) -> bool:
        try:
            async with self._server() as server:
                reply = await server.get("prompt", patience_s=0.0)
            return reply.status == 200
        except SagaForgeError:
            return False

    async def generate(self, spec: ImageSpec) -> AsyncGenerator[ImageEvent, None]:
        clock = Clock(spec.deadline_s)
        graphs.check(spec)
        inputs = await clock.within(asyncio.to_thread(_inputs, spec))
        for number in range(1, MAX_ATTEMPTS + 1):
            yield Progress(0, spec.num_steps)
            try:
                async with aclosing(self._attempt(spec, clock, inputs)) as events:
                    async for event in events:
                        yield event
                return
            except Forgotten:
                if number == MAX_ATTEMPTS:
                    raise
                logger.warning("the ComfyUI server has forgotten a picture; it is submitted once more")

    async def _attempt(
        self, spec: ImageSpec, clock: Clock, inputs: tuple[bytes | None, bytes | None]
    ) -> AsyncGenerator[ImageEvent, None]:
        async with self._server() as server:
            versions = await clock.within(server.versions())
            # Again at each attempt: a server that lost its memory may have lost its disk.
            image, mask = [await clock.within(_upload(server, png)) if png else None for png in inputs]
            graph = graphs.workflow(spec, checkpoint=self.checkpoint, loras=self.loras, image=image, mask=mask)
            run = Run(server, clock, spec, graph, self._cancel)
            async with aclosing(run.progress()) as steps:
                async for step in steps:
                    yield step
            yield Made(run.picture, self._facts(spec, versions, run))

    def _facts(self, spec: ImageSpec, versions: dict[str, str], run: Run) -> dict[str, object]:
        adapters = [
            {"name": name, "scale": scale, "file": graphs.lora_file(name, self.loras)} for name, scale in spec.adapters
        ]
        return {
            "backend": self.name,
            "model": self.checkpoint,
            "model_sha256": None,  # the server does not tell
            "versions": versions,
            "adapters": adapters,
            "waited_s": run.waited_s,
            "worked_s": run.worked_s,
        }

    def _server(self) -> Server:
        return Server(self._url, headers=self._headers, timeouts=self._timeouts)

    async def _cancel(self, prompt_id: str, posting: asyncio.Future[Reply]) -> None:
        """Stop a prompt, even if whoever asks is itself cancelled. `posting`: its submission, which comes first."""
        task = asyncio.create_task(self._do_cancel(prompt_id, posting))
        self._cancellations.add(task)
        task.add_done_callback(self._cancellations.discard)
        await asyncio.shield(task)

    async def _do_cancel(self, prompt_id: str, posting: asyncio.Future[Reply]) -> None:
        await asyncio.wait({posting}, timeout=self._timeouts.cancel_s)
        if posting.done() and not posting.cancelled() and posting.exception() is None:
            prompt_id = prompt_id_of(posting.result(), prompt_id)
        posting.cancel()
        try:
            async with asyncio.timeout(self._timeouts.cancel_s), self._server() as server:
                await server.cancel(prompt_id)
        except (SagaForgeError, TimeoutError) as exc:
            logger.warning("a picture could not be cancelled on the ComfyUI server: %s", exc)


def _inputs(spec: ImageSpec) -> tuple[bytes | None, bytes | None]:
    size = (spec.width, spec.height)
    return (
        pictures.image_to_send(spec.image, size) if spec.image is not None else None,
        pictures.mask_to_send(spec.mask, size) if spec.mask is not None else None,
    )


async def _upload(server: Server, png: bytes) -> str:
    return await server.upload(f"sagaforge_{hashlib.sha256(png).hexdigest()[:32]}.png", png)
