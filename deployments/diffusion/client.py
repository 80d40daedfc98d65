"""What functions hold of the image model: a handle made typed, with its failures mapped."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from ray.serve.handle import DeploymentHandle

from sagaforge.deployments import handles
from sagaforge.deployments.diffusion.interface import ImageEvent, ImageSpec, Progress, first_content

WHAT = "The image model"


class ImageClient:
    """`ImageBackend` over the handle of the `diffusion` deployment."""

    name = "engine"

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle.options(stream=True)

    def generate(self, spec: ImageSpec) -> AsyncGenerator[ImageEvent, None]:
        """A replica that dies takes its pictures along: they are made again from the start, and come out the same."""
        handle = self._handle
        if (first := first_content(spec)) is not None:
            # Serve prefers a replica that has it loaded, and after a second takes any.
            handle = handle.options(multiplexed_model_id=first)
        return handles.restarting(
            lambda: handles.stream(handle.generate, spec, WHAT), Progress(0, spec.num_steps), WHAT
        )

    async def is_ready(self) -> bool:
        """Always: where there is no replica, a request wakes one and waits for it."""
        return True
