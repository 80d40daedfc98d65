"""What functions hold of retrieval: the handle made typed, with its failures mapped.

A search changes nothing, so one lost with its replica is simply asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from sagaforge.deployments.retrieval.interface import RetrievedLore
from sagaforge.errors import Overloaded, SagaForgeError, Unavailable
from sagaforge.schemas import Chunk

T = TypeVar("T")

MAX_ATTEMPTS = 5
RETRY_PAUSE_S = 0.3  # times the attempt's number: the router needs a moment to learn that a replica is gone


class RetrievalClient:
    """`LoreSearch` over the handle of the `retrieval` deployment."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def search(
        self, world_id: str, version: int, query: str, *, top_k: int, rerank: bool = False, source: str | None = None
    ) -> list[Chunk]:
        return await self._asked(lambda: self._handle.search.remote(world_id, version, query, top_k, rerank, source))

    async def read(
        self,
        world_id: str,
        version: int,
        query: str,
        *,
        top_k: int,
        max_lines: int,
        max_chars: int,
        min_share: float,
        min_confidence: float = 0.0,
        asked: str | None = None,
    ) -> RetrievedLore:
        return await self._asked(
            lambda: self._handle.read.remote(
                world_id, version, query, top_k, max_lines, max_chars, min_share, min_confidence, asked
            )
        )

    async def ping(self) -> bool:
        return await self._handle.ping.remote()

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                return await ask()
            except RayActorError as exc:
                if attempt == MAX_ATTEMPTS:
                    raise Unavailable("Retrieval was lost several times in a row; try again.") from exc
                await asyncio.sleep(attempt * RETRY_PAUSE_S)
            except BackPressureError as exc:
                raise Overloaded("Retrieval has all the work it can take; try again in a second.") from exc
            except RayTaskError as exc:
                if isinstance(exc.cause, SagaForgeError):
                    raise exc.cause from None
                raise
        raise AssertionError("unreachable")
