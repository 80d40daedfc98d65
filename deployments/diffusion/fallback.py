"""Several back ends that make pictures as one: the first that can makes it; one that fails is left out a while."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from sagaforge.deployments.diffusion.interface import ImageBackend, ImageEvent, ImageSpec, Made, Progress
from sagaforge.errors import DeadlineExceeded, SagaForgeError, Unavailable

logger = logging.getLogger(__name__)

READY_TIMEOUT_S = 2.0
FIRST_PAUSE_S, MAX_PAUSE_S = 5.0, 300.0


@dataclass
class _Breaker:
    """Whether a back end is worth a try. After a failure it is left out for a while; then one picture tries it, and the
    others wait for how that goes. Each further failure doubles the while."""

    first_pause_s: float
    max_pause_s: float
    num_failures: int = 0
    closed_until: float = 0.0
    is_probing: bool = False

    def may_try(self) -> bool:
        if self.num_failures == 0:
            return True
        return not self.is_probing and time.monotonic() >= self.closed_until

    def begin(self) -> int:
        """How often it had failed before this try; if it had, this is the probe."""
        self.is_probing = self.is_probing or self.num_failures > 0
        return self.num_failures

    def succeeded(self) -> None:
        self.num_failures = 0

    def failed(self, num_before: int) -> None:
        if num_before != self.num_failures:
            return  # pictures that were in the making together fail together: that is one failure
        pause_s = min(self.first_pause_s * 2**self.num_failures, self.max_pause_s)
        self.num_failures += 1
        self.closed_until = time.monotonic() + pause_s


class OrderedBackends:
    """`ImageBackend` over others, best first. The next one makes a picture only when one is `Unavailable`: what is
    wrong with a request is wrong for all of them."""

    def __init__(
        self,
        backends: Sequence[ImageBackend],
        *,
        name: str = "ordered",
        ready_timeout_s: float = READY_TIMEOUT_S,
        first_pause_s: float = FIRST_PAUSE_S,
        max_pause_s: float = MAX_PAUSE_S,
    ) -> None:
        self.name = name
        self._ready_timeout_s = ready_timeout_s
        self._members = [(backend, _Breaker(first_pause_s, max_pause_s)) for backend in backends]

    async def is_ready(self) -> bool:
        asked = [self._is_ready(backend) for backend, breaker in self._members if breaker.may_try()]
        return any(answer is True for answer in await asyncio.gather(*asked, return_exceptions=True))

    async def generate(self, spec: ImageSpec) -> AsyncGenerator[ImageEvent, None]:
        began_at = time.monotonic()
        failure: Unavailable | None = None
        total = spec.num_steps
        for backend, breaker in self._members:
            if not breaker.may_try():
                continue
            num_before = breaker.begin()
            try:
                if not await self._is_ready(backend):
                    continue
                if failure is not None:
                    yield Progress(0, total)
                async with aclosing(backend.generate(_with_time_left(spec, began_at))) as events:
                    async for event in events:
                        if isinstance(event, Made):
                            breaker.succeeded()
                            yield replace(event, facts={"backend": backend.name, **event.facts})
                            return
                        total = event.total
                        yield event
                raise Unavailable(f"{backend.name} ended without a picture.")
            except Unavailable as exc:
                breaker.failed(num_before)
                failure = exc
                logger.warning("%s failed: %s", backend.name, exc)
            except SagaForgeError as exc:
                if exc.status < 500:
                    breaker.succeeded()  # it has judged the request, so it works
                raise
            finally:
                if num_before:
                    breaker.is_probing = False
        raise failure or Unavailable("Nothing that makes pictures is ready.")

    async def _is_ready(self, backend: ImageBackend) -> bool:
        """Raises `Unavailable` if it does not say. To say no is no failure: a model may just be loading."""
        try:
            async with asyncio.timeout(self._ready_timeout_s):
                return await backend.is_ready()
        except TimeoutError as exc:
            raise Unavailable(f"{backend.name} does not say whether it is ready.") from exc


def _with_time_left(spec: ImageSpec, began_at: float) -> ImageSpec:
    if spec.deadline_s is None:
        return spec
    if (left_s := spec.deadline_s - (time.monotonic() - began_at)) <= 0:
        raise DeadlineExceeded("The picture was not made in time.")
    return replace(spec, deadline_s=left_s)
