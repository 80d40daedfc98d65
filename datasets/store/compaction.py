"""Keeping a table fast: compaction, indices, and old versions, beside the commits.

A query costs ~0.2 ms per fragment and every commit makes one; after 1,000 commits without compaction a point query
takes over 100 ms. Readers may be on any version of the last hour, so that is kept.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta

from lancedb import AsyncConnection, AsyncTable

from sagaforge.datasets.store.tables import TableSpec, index_config

log = logging.getLogger(__name__)

COMPACT_EVERY = 32
KEEP_VERSIONS = timedelta(hours=1)
READERS_CATCH_UP_S = 60.0


class Compactor:
    """Counts a table's commits, and every so many tidies up on a handle of its own (Lance lets a compaction and
    appends through together; against an update, one of the two starts again)."""

    def __init__(self, db: AsyncConnection, spec: TableSpec, every: int = COMPACT_EVERY) -> None:
        self._db = db
        self._spec = spec
        self._every = every
        self._num_commits = 0
        self._last_commit_at: float | None = None
        self._may_clean_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def count_commit(self, num_rows: int) -> None:
        now = time.monotonic()
        if self._last_commit_at is None or now - self._last_commit_at > KEEP_VERSIONS.total_seconds() / 2:
            # The version just superseded may be hours old, and readers may still be on it: give them time to move.
            self._may_clean_at = now + READERS_CATCH_UP_S
        self._last_commit_at = now
        self._num_commits += 1
        # Compaction rewrites the last big fragment whole: do it less often as that grows.
        due = max(self._every, min(8 * self._every, num_rows // 1000))
        if self._num_commits >= due and self._task is None:
            self._num_commits = 0
            self._task = asyncio.create_task(self._run())

    async def compact(self, table: AsyncTable) -> None:
        await self._create_missing_indices(table)
        may_clean = time.monotonic() >= self._may_clean_at
        await table.optimize(cleanup_older_than=KEEP_VERSIONS if may_clean else timedelta(days=3650))

    async def wait(self) -> None:
        if self._task:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            await self.compact(await self._db.open_table(self._spec.name))
        except Exception as exc:
            log.warning("compacting table %s failed and will be tried again: %s", self._spec.name, exc)
        finally:
            self._task = None

    async def _create_missing_indices(self, table: AsyncTable) -> None:
        if not self._spec.indices or not await table.count_rows():
            return
        indexed = {column for index in await table.list_indices() for column in index.columns}
        for column, kind in self._spec.indices.items():
            if column not in indexed:
                await table.create_index(column, config=index_config(kind))
