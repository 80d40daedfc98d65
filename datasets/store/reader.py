"""Reads rows of tables that others write, fresh: every acknowledged write is seen."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from typing import Any, Self

from lancedb import AsyncConnection, AsyncTable
from lancedb.query import ColumnOrdering

from sagaforge.datasets.store.writer import Writer
from sagaforge.storage import Storage, storage_errors


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A row. Field names are column names."""

    id: str

    def to_row(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        # By name: a row of a newer schema may have columns that this release doesn't know.
        return cls(**{item.name: row[item.name] for item in fields(cls)})


class TableReader:
    """Queries of tables by name; `writer` makes one that nobody has written to yet. Connects where it is used."""

    def __init__(self, storage: Storage, writer: Writer) -> None:
        self._storage = storage
        self._writer = writer
        self._db: AsyncConnection | None = None
        self._tables: dict[str, AsyncTable] = {}
        self._opening = asyncio.Lock()

    async def rows(
        self, name: str, where: str | None = None, *, newest_by: str | None = None, limit: int = 1
    ) -> list[dict[str, Any]]:
        """At most `limit` rows that fulfil `where`, those with the highest `newest_by` first."""
        query = (await self._open(name)).query().limit(limit)
        if where:
            query = query.where(where)
        if newest_by:
            query = query.order_by([ColumnOrdering(column_name=newest_by, ascending=False)])
        with storage_errors(f"reading table {name}"):
            return await query.to_list()

    async def _open(self, name: str) -> AsyncTable:
        if name not in self._tables:
            async with self._opening:
                if self._db is None:
                    # Every read looks for a newer version: a caller's own writes are never stale.
                    self._db = await self._storage.connect(read_consistency_interval=timedelta(0))
                with storage_errors(f"opening table {name}"):
                    try:
                        self._tables[name] = await self._db.open_table(name)
                    except ValueError:  # nobody has written yet
                        await self._writer.ensure_table(name)
                        self._tables[name] = await self._db.open_table(name)
        return self._tables[name]
