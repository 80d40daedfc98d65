"""What functions hold of the image model: a handle made typed, with its failures mapped."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from sagaforge.deployments import handles
from sagaforge.deployments.diffusion.spec import ImageEvent, ImageSpec, Progress

WHAT = "The image model"


class ImageClient:
    """`ImageBackend` over the handle of the `diffusion` deployment."""

    name = "engine"

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle.options(stream=True)
        self._unary = handle

    def generate(self, spec: ImageSpec) -> AsyncGenerator[ImageEvent, None]:
        """A replica that dies takes its pictures along: they are made again from the start, and come out the same."""
        return handles.restarting(
            lambda: handles.stream(self._handle.generate, spec, WHAT), Progress(0, spec.steps), WHAT
        )

    async def is_ready(self) -> bool:
        """Whether a replica answers. Asking wakes one where there is none."""
        try:
            return bool(await self._unary.ping.remote())
        except (RayActorError, RayTaskError, BackPressureError):
            return False
