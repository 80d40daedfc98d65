"""The engine in a thread of its own, with what it needs around it: bytes in, events out. No Ray inside."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable

import diffusers
import torch

from sagaforge.deployments.diffusion.adapters.cache import AdapterCache
from sagaforge.deployments.diffusion.adapters.files import read_adapter
from sagaforge.deployments.diffusion.adapters.mixer import Adapter, Stack
from sagaforge.deployments.diffusion.engine.engine import DiffusionEngine
from sagaforge.deployments.diffusion.engine.loading import load_pipeline
from sagaforge.deployments.diffusion.engine.requests import Event, Failed, Generated, GenerationRequest
from sagaforge.deployments.diffusion.interface import ImageEvent, ImageSpec, Made, Progress
from sagaforge.errors import Unavailable
from sagaforge.imaging.image_bytes import as_png, as_preview, decode, read_mask
from sagaforge.model_files import model_sha256
from sagaforge.profiles import EngineLimits, ImageModel

logger = logging.getLogger(__name__)


class ImageMaker:
    """The engine with what it needs around it, for one model. Runs without Ray; `ImageBackend` in one process."""

    def __init__(self, model: ImageModel, limits: EngineLimits, fetch: Callable[[str], bytes]) -> None:
        self.name = model.model_id
        self._model = model
        # Before it is loaded: files that are replaced meanwhile make `is_current` false.
        self._sha256 = model_sha256(model.source)
        self._pipeline = load_pipeline(model)
        self.adapters = AdapterCache(self._read, fetch)
        self.engine = DiffusionEngine(self._pipeline, limits, is_compiled=model.compiled)
        self._thread = threading.Thread(target=self.engine.run_forever, name="diffusion-engine", daemon=True)
        self._thread.start()

    def _read(self, name: str, body: bytes) -> Adapter:
        return read_adapter(name, body, self._pipeline).adapter

    async def generate(self, spec: ImageSpec) -> AsyncGenerator[ImageEvent, None]:
        """See `ImageBackend`."""
        if spec.model_sha256 not in (None, self._sha256):
            raise Unavailable("The image model's files were replaced, and are being loaded; try again in a moment.")
        request = await asyncio.to_thread(self._request, spec)
        events: asyncio.Queue[Event] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        ticket = self.engine.submit(request, lambda event: _hand_over(loop, events, event), deadline_s=spec.deadline_s)
        try:
            while True:
                event = await events.get()
                if isinstance(event, Failed):
                    raise event.error
                if isinstance(event, Generated):
                    png = await asyncio.to_thread(as_png, event.image)
                    yield Made(png, self._facts(request.adapters, event))
                    return
                yield Progress(event.done, event.total, as_preview(event.preview) if event.preview else None)
        finally:
            # However this ends, a caller who goes away too: nobody paints for nobody.
            ticket.cancel()

    def _request(self, spec: ImageSpec) -> GenerationRequest:
        """Blocks while adapters are loaded and images decoded."""
        return GenerationRequest(
            prompt=spec.prompt,
            negative_prompt=spec.negative_prompt,
            width=spec.width,
            height=spec.height,
            steps=spec.steps,
            guidance_scale=spec.guidance_scale,
            seed=spec.seed,
            scheduler=spec.scheduler,
            adapters=self.adapters.stack(spec.adapters, spec.adapter_sha256),
            image=decode(spec.image) if spec.image is not None else None,
            mask=read_mask(spec.mask).image if spec.mask is not None else None,
            strength=spec.strength,
            preview_every=spec.preview_every,
        )

    def _facts(self, adapters: Stack, event: Generated) -> dict[str, object]:
        return {
            "backend": "engine",
            "model": self._model.model_id,
            "model_sha256": self._sha256,
            "adapters": [{"name": a.name, "scale": scale, "sha256": a.sha256} for a, scale in adapters],
            "versions": {"diffusers": diffusers.__version__, "torch": torch.__version__},
            "num_steps": event.num_steps,
            "waited_s": round(event.waited_s, 4),
            "worked_s": round(event.worked_s, 4),
        }

    async def is_ready(self) -> bool:
        return self._thread.is_alive()

    def is_current(self) -> bool:
        """Whether the model's files are still those that were loaded. Blocks for as many stats as there are files."""
        return model_sha256(self._model.source) == self._sha256

    def close(self) -> None:
        """Stop the engine; what it has not finished fails."""
        self.engine.close()
        self._thread.join(timeout=30.0)


def _hand_over(loop: asyncio.AbstractEventLoop, events: asyncio.Queue[Event], event: Event) -> None:
    try:
        loop.call_soon_threadsafe(events.put_nowait, event)
    except RuntimeError:  # the loop is closed: the process is ending
        logger.debug("an event came after the end of its loop")
