"""What functions hold of retrieval: the handle made typed, with its failures mapped.

A search changes nothing, so one lost with its replica is simply asked again.
"""

from __future__ import annotations

from ray.serve.handle import DeploymentHandle

from sagaforge.deployments import handles
from sagaforge.deployments.retrieval.interface import RetrievedLore
from sagaforge.schemas import Chunk

WHAT = "Retrieval"


class RetrievalClient:
    """`LoreSearch` over the handle of the `retrieval` deployment."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def search(
        self, world_id: str, version: int, query: str, *, top_k: int, rerank: bool = False, source: str | None = None
    ) -> list[Chunk]:
        return await handles.asked(
            lambda: self._handle.search.remote(world_id, version, query, top_k, rerank, source), WHAT
        )

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
        return await handles.asked(
            lambda: self._handle.read.remote(
                world_id, version, query, top_k, max_lines, max_chars, min_share, min_confidence, asked
            ),
            WHAT,
        )

    async def ping(self) -> bool:
        return await self._handle.ping.remote()
