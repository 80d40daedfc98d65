"""The deployment named `diffusion`: an `ImageMaker` behind a handle."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from ray import serve

from sagaforge.deployments.diffusion.engine import EngineLimits
from sagaforge.deployments.diffusion.loading import ImageModel
from sagaforge.deployments.diffusion.maker import ImageMaker
from sagaforge.deployments.diffusion.spec import ImageEvent, ImageSpec
from sagaforge.storage import Storage, artefact_key


@serve.deployment(name="diffusion")
class Diffusion:
    """One replica."""

    def __init__(self, model: ImageModel, limits: EngineLimits, storage: Storage) -> None:
        self._maker = ImageMaker(
            model, limits, lambda name: storage.get_object(artefact_key(f"adapters/{name}.safetensors"))
        )

    async def generate(self, spec: ImageSpec) -> AsyncGenerator[ImageEvent, None]:
        async for event in self._maker.generate(spec):
            yield event

    async def ping(self) -> bool:
        return await self._maker.is_ready()

    async def num_unfinished(self) -> int:
        """How many pictures are waiting or being made."""
        return self._maker.engine.num_requests

    async def check_health(self) -> None:
        if not await self._maker.is_ready():
            raise RuntimeError("the diffusion engine's thread has ended")
