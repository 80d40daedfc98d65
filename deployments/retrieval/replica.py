"""Retrieval: the hybrid search of `sagaforge.deployments.retrieval.index`, as the deployment named `retrieval`.

`Retrieval` runs in the replicas; `RetrievalClient` is what functions hold: the handle made typed, with its failures
mapped. A search changes nothing, so one lost with its replica is simply asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from sagaforge.deployments.embedding.embedder import load_embedder
from sagaforge.deployments.retrieval.index import LoreIndex
from sagaforge.deployments.retrieval.lore_lines import LineSelector, LoreLine
from sagaforge.deployments.retrieval.rerank import load_reranker
from sagaforge.errors import Overloaded, SagaForgeError, Unavailable
from sagaforge.schemas import Chunk
from sagaforge.storage import Storage

T = TypeVar("T")

MAX_ATTEMPTS = 5
RETRY_PAUSE_S = 0.3  # times the attempt's number: the router needs a moment to learn that a replica is gone


class LoreSearch(Protocol):
    """The search as functions see it."""

    async def search(
        self, world_id: str, version: int, query: str, *, top_k: int, rerank: bool = False, source: str | None = None
    ) -> list[Chunk]:
        """The best chunks of a world at one of its versions, best first. `NotFound`: no such world."""
        ...

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
    ) -> Reading:
        """The best chunks, reranked, and those of their sentences that a prompt should hold, none where these are
        hardly about `asked` (see `LineSelector.select`). Raises as `search`."""
        ...


@dataclass(frozen=True)
class Reading:
    """What a turn reads of the lore: chunks, and the lines selected from them, both best first."""

    chunks: list[Chunk]
    lines: list[LoreLine]


@serve.deployment(name="retrieval")
class Retrieval:
    """One replica: an embedder in memory, and tables opened on first use.

    Args:
        reranker: folder or hub name of a cross-encoder; None keeps the one that needs no model.
    """

    def __init__(self, storage: Storage, embedder: str, reranker: str | None) -> None:
        loaded = load_reranker(reranker) if reranker is not None else None
        vectors = load_embedder(embedder)
        self._index = LoreIndex(storage, vectors, reranker=loaded)
        self._lines = LineSelector(vectors)

    async def search(
        self, world_id: str, version: int, query: str, top_k: int, rerank: bool, source: str | None
    ) -> list[Chunk]:
        return await self._index.search(world_id, version, query, top_k=top_k, rerank=rerank, source=source)

    async def read(
        self,
        world_id: str,
        version: int,
        query: str,
        top_k: int,
        max_lines: int,
        max_chars: int,
        min_share: float,
        min_confidence: float,
        asked: str | None,
    ) -> Reading:
        chunks = await self._index.search(world_id, version, query, top_k=top_k, rerank=True)
        lines = await self._lines.select(
            chunks,
            query,
            max_lines=max_lines,
            max_chars=max_chars,
            min_share=min_share,
            min_confidence=min_confidence,
            asked=asked,
        )
        return Reading(chunks, lines)

    async def ping(self) -> bool:
        return True


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
    ) -> Reading:
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
