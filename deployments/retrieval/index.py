"""The retrieval engine: BM25 and vectors over one world's chunks, at one of its versions.

Plain async Python without Ray. Two arms are asked side by side, each filtered inside its query (rows valid at the
pinned version, one document if asked for), and their scores, not their ranks, are added: with a few dozen candidates
a rank says too little. The vector arm counts for nothing where the embedder can't read the question's script, so the
fusion is never worse there than BM25 alone.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from sagaforge.datasets.store.tables import chunks_table, sql_literal
from sagaforge.datasets.worlds.chunk_rows import chunk_id_of, valid_at
from sagaforge.datasets.worlds.embedder import Embedder, Vectors
from sagaforge.datasets.worlds.world_store import no_world
from sagaforge.deployments.retrieval.rerank import Candidate, Reranker, WordReranker
from sagaforge.errors import InvalidInput
from sagaforge.schemas import Chunk, ChunkMetadata
from sagaforge.storage import Storage, storage_errors
from sagaforge.text.terms import HAN_CHARACTER, query_terms

if TYPE_CHECKING:
    from lancedb import AsyncConnection, AsyncTable

READ_CONSISTENCY = timedelta(seconds=1)
MIN_CANDIDATES = 50  # per arm; what one arm ranks 30th the other may know to be first
# Against 1 for BM25, both scaled to at most 1. More lets a static embedder overrule words that a question shares with
# its answer, less finds fewer answers in other words (benchmarks/bench_retrieval.py).
VECTOR_WEIGHT = 0.2
SINGLE_HAN_BOOST = 0.5  # pairs of characters carry the meaning, single ones decide between equals
MAX_QUERY_TERMS = 256
MAX_OPEN_TABLES = 64

COLUMNS = ["id", "source", "section", "text", "license", "vector"]


@dataclass
class _Hit:
    row: dict[str, Any]
    lexical: float = 0.0
    semantic: float = 0.0


@dataclass
class _Opened:
    table: AsyncTable
    newest_seen: int = 0
    vector_dim: int = 0
    refreshing: asyncio.Lock = field(default_factory=asyncio.Lock)


class LoreIndex:
    """Searches worlds. Opens each world's table once and keeps it; safe for concurrent searches on one event loop."""

    def __init__(
        self,
        storage: Storage,
        embedder: Embedder,
        *,
        reranker: Reranker | None = None,
        vector_weight: float = VECTOR_WEIGHT,
        lexical_weight: float = 1.0,
    ) -> None:
        self._storage = storage
        self._embedder = embedder
        self._reranker = reranker or WordReranker(embedder)
        self._vector_weight = vector_weight
        self._lexical_weight = lexical_weight
        self._connection: AsyncConnection | None = None
        self._opened: dict[str, _Opened] = {}

    async def search(
        self,
        world_id: str,
        version: int,
        query: str,
        top_k: int = 5,
        rerank: bool = False,
        source: str | None = None,
    ) -> list[Chunk]:
        """The best chunks of a world as it was at `version`, best first, scores from 0 to 1.

        Raises `NotFound` for a world without a table, `InvalidInput` for a blank query.
        """
        if not query.strip():
            raise InvalidInput("The query is blank.")
        opened = await self._open(world_id, version)
        where = valid_at(version) + (f" AND source = {sql_literal(source)}" if source is not None else "")
        num_candidates = max(MIN_CANDIDATES, 2 * top_k)
        is_semantic = self._vector_weight > 0 and opened.vector_dim == self._embedder.dim
        if HAN_CHARACTER.search(query) and not self._embedder.reads_chinese:
            is_semantic = False
        vector = self._embedder.encode([query])[0] if is_semantic else None
        if vector is not None and not vector.any():
            vector = None
        with storage_errors(f"searching the world {world_id}"):
            lexical, semantic = await asyncio.gather(
                self._lexical(opened.table, query, where, num_candidates),
                self._semantic(opened.table, vector, where, num_candidates),
            )
        hits = self._fused(lexical, semantic, vector)
        if rerank and hits:
            num_reranked = max(self._reranker.max_candidates, top_k)
            hits = await self._reranked(query, hits[:num_reranked]) + hits[num_reranked:]
        return [_chunk(hit.row, score) for hit, score in hits[:top_k]]

    async def _lexical(self, table: AsyncTable, query: str, where: str, limit: int) -> list[dict[str, Any]]:
        from lancedb.query import BooleanQuery, MatchQuery, Occur

        wanted = query_terms(query)[:MAX_QUERY_TERMS]
        if not wanted or self._lexical_weight <= 0:
            return []
        # Query objects, not query strings: nothing a player types is ever parsed as syntax.
        singles = [term for term in wanted if len(term) == 1 and HAN_CHARACTER.match(term)]
        others = [term for term in wanted if term not in singles]
        parts = []
        if others:
            parts.append((Occur.SHOULD, MatchQuery(" ".join(others), "terms")))
        if singles:
            parts.append(
                (Occur.SHOULD, MatchQuery(" ".join(singles), "terms", boost=SINGLE_HAN_BOOST if others else 1.0))
            )
        full_text: Any = BooleanQuery(parts) if len(parts) > 1 else parts[0][1]
        found = table.query().nearest_to_text(full_text).where(where).select([*COLUMNS, "_score"]).limit(limit)
        return _rows_of(await found.to_arrow())

    async def _semantic(
        self, table: AsyncTable, vector: Vectors | None, where: str, limit: int
    ) -> list[dict[str, Any]]:
        if vector is None:
            return []
        # Dot product: of unit vectors it is the cosine, and rows of zeros (no known word) get 0 rather than NaN.
        nearest = table.query().nearest_to(vector).distance_type("dot").where(where)
        return _rows_of(await nearest.select([*COLUMNS, "_distance"]).limit(limit).to_arrow())

    def _fused(
        self, lexical: list[dict[str, Any]], semantic: list[dict[str, Any]], vector: Vectors | None
    ) -> list[tuple[_Hit, float]]:
        hits: dict[str, _Hit] = {}
        for row in [*lexical, *semantic]:
            hit = hits.setdefault(row["id"], _Hit(row))
            hit.lexical = max(hit.lexical, row.get("_score") or 0.0)
        if vector is not None and hits:
            # For the other arm's hits too: a missing likeness is not a likeness of 0.
            likenesses = np.stack([hit.row["vector"] for hit in hits.values()]) @ vector
            for hit, likeness in zip(hits.values(), likenesses, strict=True):
                hit.semantic = max(0.0, float(likeness))
        top_lexical = max((hit.lexical for hit in hits.values()), default=0.0) or 1.0
        top_semantic = max((hit.semantic for hit in hits.values()), default=0.0) or 1.0
        semantic_weight = self._vector_weight if vector is not None else 0.0
        lexical_weight = self._lexical_weight if lexical else 0.0
        total = (lexical_weight + semantic_weight) or 1.0
        scored = [
            (hit, (lexical_weight * hit.lexical / top_lexical + semantic_weight * hit.semantic / top_semantic) / total)
            for hit in hits.values()
        ]
        return sorted(scored, key=lambda pair: (-pair[1], pair[0].row["id"]))

    async def _reranked(self, query: str, hits: list[tuple[_Hit, float]]) -> list[tuple[_Hit, float]]:
        candidates = [Candidate(hit.row["section"], hit.row["text"], score, hit.semantic) for hit, score in hits]
        scores = await self._reranker.scores(query, candidates)
        order = sorted(range(len(hits)), key=lambda i: (-scores[i], i))
        return [(hits[i][0], scores[i]) for i in order]

    async def _open(self, world_id: str, version: int) -> _Opened:
        opened = self._opened.get(world_id)
        if opened is None:
            opened = await self._open_table(world_id)
            if len(self._opened) >= MAX_OPEN_TABLES:
                self._opened.pop(next(iter(self._opened)))
            self._opened[world_id] = opened
        if version > opened.newest_seen:
            # Somebody knows of a version this handle never served: look now, not when the interval is over.
            async with opened.refreshing:
                with storage_errors(f"reading the world {world_id}"):
                    await opened.table.checkout_latest()
                opened.newest_seen = max(opened.newest_seen, version)
        return opened

    async def _open_table(self, world_id: str) -> _Opened:
        if self._connection is None:
            self._connection = await self._storage.connect(read_consistency_interval=READ_CONSISTENCY)
        with storage_errors(f"opening the world {world_id}"):
            try:
                table = await self._connection.open_table(chunks_table(world_id))
            except ValueError as exc:
                raise no_world(world_id) from exc
            schema = await table.schema()
        return _Opened(table, vector_dim=getattr(schema.field("vector").type, "list_size", 0))


def _rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """Rows with their vectors as arrays: as lists of Python floats they would cost more than the search."""
    column = table.column("vector").combine_chunks()
    rows: list[dict[str, Any]] = table.drop_columns(["vector"]).to_pylist()
    for row, vector in zip(rows, column.flatten().to_numpy().reshape(-1, column.type.list_size), strict=True):
        row["vector"] = vector
    return rows


def _chunk(row: dict[str, Any], score: float) -> Chunk:
    return Chunk(
        id=chunk_id_of(row["id"]),
        text=row["text"],
        score=round(score, 4),
        metadata=ChunkMetadata(source=row["source"], section=row["section"], license=row["license"]),
    )
