"""The deployment named `retrieval`: the hybrid search of `index`, and the lines of it that a prompt should hold."""

from __future__ import annotations

from collections.abc import Callable

from ray import serve

from sagaforge.deployments.embedding.embedder import load_embedder
from sagaforge.deployments.loopback import listen_on_loopback
from sagaforge.deployments.retrieval.index import LoreIndex
from sagaforge.deployments.retrieval.interface import RetrievedLore
from sagaforge.deployments.retrieval.lore_lines import LineSelector
from sagaforge.deployments.retrieval.rerank import load_reranker
from sagaforge.schemas import Chunk
from sagaforge.storage import Storage
from sagaforge.strategies import LineMatcher


@serve.deployment(name="retrieval")
class Retrieval:
    """One replica: an embedder in memory, and tables opened on first use.

    Args:
        reranker: folder or hub name of a cross-encoder; None keeps the one that needs no model.
    """

    def __init__(
        self, storage: Storage, embedder: str, reranker: str | None, line_matcher: Callable[[], LineMatcher]
    ) -> None:
        listen_on_loopback()
        loaded = load_reranker(reranker) if reranker is not None else None
        vectors = load_embedder(embedder)
        self._index = LoreIndex(storage, vectors, reranker=loaded)
        self._lines = LineSelector(vectors, line_matcher())

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
    ) -> RetrievedLore:
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
        return RetrievedLore(chunks, lines)

    async def ping(self) -> bool:
        return True
