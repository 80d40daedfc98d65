"""The handle on a table that only one writer can hold.

A writer opens its table by committing a Lance `Restore` of the table's newest version: no row changes, but no write
that started from an older version can be committed any more (Lance: "incompatible transaction"). It keeps its handle
at the version of its own last commit, so from then on everything an older writer still does, or has in flight, is
refused by the table itself, without clocks or leases. The same holds after a commit whose outcome is unknown (a lost
reply): the handle is opened anew, and the old attempt has either landed, and is seen, or never will. Before a writer
answers, it also looks for a newer epoch; so what was answered was committed before a newer writer read the version it
restored.

What remains: if writer B stalls between reading the newest version and committing its restore of it, while a third
writer C starts, restores, and commits, B's restore covers C's rows until B notices the gap in the version numbers and
brings them back, a moment later. Were B to die in just that moment, the rows would have to be restored by hand from
the version before. With one named actor per group this takes three processes starting within milliseconds.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pyarrow as pa
from lancedb import AsyncConnection, AsyncTable

from sagaforge.datasets.store.epochs import Epoch
from sagaforge.datasets.store.tables import TableSpec, migrate, refuse_newer
from sagaforge.errors import NotFound
from sagaforge.storage import storage_errors


@dataclass(frozen=True)
class Opened:
    table: AsyncTable
    schema: pa.Schema


class FencedTable:
    def __init__(self, db: AsyncConnection, spec: TableSpec, epoch: Epoch) -> None:
        self._db = db
        self._spec = spec
        self._epoch = epoch
        self._opening = asyncio.Lock()
        self._opened: Opened | None = None

    async def open(self) -> Opened:
        """The handle, at the version of our last commit. Opening it fences every other writer of the table."""
        async with self._opening:
            if self._opened is None:
                await self.check_epoch()
                with storage_errors(f"opening table {self._spec.name}"):
                    try:
                        table = await self._db.open_table(self._spec.name)
                    except ValueError as exc:
                        raise NotFound(f"there is no table {self._spec.name}") from exc
                    await refuse_newer(table, self._spec)
                    await self._fence(table)
                    await migrate(table, self._spec)
                    self._opened = Opened(table, await table.schema())
            return self._opened

    def forget(self) -> None:
        """After anything failed: the next `open` fences off what may still be in flight, and reads the table anew."""
        self._opened = None

    async def check_epoch(self) -> None:
        """Raises Fenced if a newer writer of the group has started."""
        on_s3 = self._epoch.storage.is_s3
        newer = await asyncio.to_thread(self._epoch.newer) if on_s3 else self._epoch.newer()
        if newer is not None:
            raise self._epoch.fenced(newer)

    async def _fence(self, table: AsyncTable) -> None:
        base = newest = await table.version()
        while True:
            await self.check_epoch()
            await table.checkout(base)
            await table.restore()
            landed = await table.version()
            if landed == newest + 1:
                return
            base, newest = landed - 1, landed  # commits came in between and the restore covered them: bring them back
