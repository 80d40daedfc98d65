"""The deployment named `diffusion`: an `ImageMaker` behind a handle.

What it works with is imported where a replica starts: seconds that whoever only binds it need not wait for.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing

from ray import serve

from sagaforge.datasets.adapters import AdapterStore
from sagaforge.deployments import handles
from sagaforge.deployments.diffusion.interface import ImageEvent, ImageSpec, first_content
from sagaforge.deployments.loopback import listen_on_loopback
from sagaforge.profiles import MAX_RESIDENT, EngineLimits, ImageModel
from sagaforge.storage import Storage


@serve.deployment(name="diffusion")
class Diffusion:
    """One replica."""

    def __init__(self, model: ImageModel, limits: EngineLimits, storage: Storage) -> None:
        listen_on_loopback()
        import torch

        from sagaforge.deployments.diffusion.engine.maker import ImageMaker

        if model.device == "cpu":
            # Ray allows as many threads as the replica has cores in its books, and there it has half of one.
            torch.set_num_threads(len(os.sched_getaffinity(0)))
        self._maker = ImageMaker(model, limits, AdapterStore(storage).read)

    @handles.telling
    async def generate(self, spec: ImageSpec) -> AsyncGenerator[ImageEvent, None]:
        if (first := first_content(spec)) is not None:
            await asyncio.to_thread(self._maker.adapters.stack, spec.adapters, spec.adapter_sha256)
            await self._hold(first)
        async with aclosing(self._maker.generate(spec)) as events:
            async for event in events:
                yield event

    @serve.multiplexed(max_num_models_per_replica=MAX_RESIDENT)
    async def _hold(self, content: str) -> str:
        """Serve notes that this adapter is here, and sends those who want it this way."""
        return content

    async def num_unfinished(self) -> int:
        """How many pictures are waiting or being made."""
        return self._maker.engine.num_requests

    async def check_health(self) -> None:
        if not await self._maker.is_ready():
            raise RuntimeError("the diffusion engine's thread has ended")
        if not await asyncio.to_thread(self._maker.is_current):
            raise RuntimeError("the model's files were replaced: another replica has to load them")
