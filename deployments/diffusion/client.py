"""What functions hold of the image model: a handle made typed, with its failures mapped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, RequestCancelledError
from ray.serve.handle import DeploymentHandle

from sagaforge.deployments.diffusion.spec import ImageEvent, ImageSpec, Progress
from sagaforge.errors import Overloaded, SagaForgeError, Unavailable

MAX_ATTEMPTS = 5
RETRY_PAUSE_S = 0.5  # times the attempt's number: the router needs a moment to learn that a replica is gone


class ImageClient:
    """`ImageBackend` over the handle of the `diffusion` deployment."""

    name = "engine"

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle.options(stream=True)

    async def generate(self, spec: ImageSpec) -> AsyncGenerator[ImageEvent, None]:
        """A replica that dies takes its pictures along: they are made again from the start, and come out the same."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                async for event in self._attempt(spec):
                    yield event
                return
            except RayActorError as exc:
                if attempt == MAX_ATTEMPTS:
                    raise Unavailable("The image model was lost several times in a row; try again.") from exc
                yield Progress(0, spec.steps)
                await asyncio.sleep(attempt * RETRY_PAUSE_S)

    async def _attempt(self, spec: ImageSpec) -> AsyncGenerator[ImageEvent, None]:
        response = self._handle.generate.remote(spec)
        try:
            async for event in response:
                yield event
        except BackPressureError as exc:
            raise Overloaded("The image model has all the work it can take; try again in a second.") from exc
        except RayTaskError as exc:
            if isinstance(exc.cause, SagaForgeError):
                raise exc.cause from None
            raise
        except RequestCancelledError as exc:
            raise Unavailable("The request was cancelled.") from exc
        finally:
            # Without this a caller that goes away leaves the engine painting for nobody.
            response.cancel()

    async def is_ready(self) -> bool:
        """Always: where there is no replica, a request wakes one and waits for it."""
        return True
