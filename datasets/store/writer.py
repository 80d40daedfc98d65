"""The one writer of each table, and how everybody else reaches it.

LanceDB lets uncoordinated processes double rows, so each table has one writer: a named, restartable Ray actor that any
process of the cluster finds with `get_writer`. There are two, "library" (worlds and their chunks) and "play"
(sessions, turns, claims), so that an upload never delays a turn. The engine, `TableWriter`, is plain Python: tests and
tools use it without Ray. A writer that starts fences those before it (`sagaforge.datasets.store.fence`).

Every verb can be repeated: with the same rows it changes nothing and answers the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from collections.abc import Mapping
from typing import Any, Protocol

import pyarrow as pa
from lancedb import AsyncConnection

from sagaforge.datasets.store.commit_queue import CommitQueue, Inserted, Row, Updated
from sagaforge.datasets.store.compaction import COMPACT_EVERY
from sagaforge.datasets.store.epochs import Epoch, Fenced, claim_epoch
from sagaforge.datasets.store.tables import SPECS, Group, TableSpec, spec_of
from sagaforge.errors import InvalidInput, StorageUnavailable
from sagaforge.storage import Storage

__all__ = ["Fenced", "Inserted", "TableWriter", "Updated", "Writer", "get_writer"]

NAMESPACE = "sagaforge"
# A crashed writer is back within seconds; a call that has been through this many crashes is told so.
MAX_TASK_RETRIES = 5


class Writer(Protocol):
    """What callers see, whether the engine runs in this process or in an actor.

    All verbs answer after the commit. They raise StorageUnavailable (disk full, S3 gone, or Fenced: another writer
    took over), after which the same call may be repeated; InvalidInput for rows that don't fit; NotFound for a table
    that `ensure_table` hasn't made.
    """

    async def insert_if_absent(self, table: str, rows: list[Row]) -> list[Inserted]:
        """Inserts the rows whose id is new. Of several calls with one id, one is told `inserted`, all get its row.
        Should a writer die between its commit and its answer, the repeat recognises its own row by being equal: rows
        of which one caller must win carry something of their own (a time, a random claimant)."""
        ...

    async def append(self, table: str, rows: list[Row] | pa.Table) -> int:
        """Adds many rows in one commit, leaving out ids that exist; returns the table's version."""
        ...

    async def update_if_unchanged(self, table: str, id: str, expected: Row, changes: Row) -> Updated:
        """Changes one row if its columns in `expected` still have those values. As with inserts, changes of which one
        caller must win carry something of their own, so that a repeat after a crash is told from a rival."""
        ...

    async def update_where(self, table: str, where: str, changes: Row) -> int:
        """Sets columns of all rows that match an SQL condition; returns how many."""
        ...

    async def delete_where(self, table: str, where: str) -> int:
        """Deletes all rows that match an SQL condition; returns how many."""
        ...

    async def build_indices(self, table: str) -> int:
        """Creates the indices of the spec that are missing, brings all up to date; returns the table's version."""
        ...

    async def ensure_table(self, table: str, *, vector_dim: int | None = None) -> None:
        """Creates the table unless it exists. `vector_dim` is needed for tables with vectors."""
        ...


class TableWriter:
    """The engine: one queue per table, on one epoch. Starts at the first call, again if that failed."""

    def __init__(
        self,
        storage: Storage,
        group: Group,
        *,
        specs: Mapping[str, TableSpec] = SPECS,
        compact_every: int = COMPACT_EVERY,
    ) -> None:
        self._storage = storage
        self._group = group
        self._specs = specs
        self._compact_every = compact_every
        self._queues: dict[str, CommitQueue] = {}
        self._epoch: Epoch | None = None
        self._running: tuple[AsyncConnection, Epoch] | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Claims an epoch, makes the group's fixed tables and fences older writers off them. Chunk tables, of which
        there may be many, are fenced when first used."""
        await self._connected()

    async def about(self) -> dict[str, Any]:
        """Which process this is, for the operator."""
        _, epoch = await self._connected()
        return {"group": self._group, "pid": os.getpid(), "epoch": epoch.number, "tables": sorted(self._queues)}

    async def insert_if_absent(self, table: str, rows: list[Row], *, call: str = "") -> list[Inserted]:
        return await (await self._queue(table)).insert_if_absent(rows, call or _new_call())

    async def append(self, table: str, rows: list[Row] | pa.Table, *, call: str = "") -> int:
        return await (await self._queue(table)).append(rows, call or _new_call())

    async def update_if_unchanged(self, table: str, id: str, expected: Row, changes: Row, *, call: str = "") -> Updated:
        return await (await self._queue(table)).update_if_unchanged(id, expected, changes, call or _new_call())

    async def update_where(self, table: str, where: str, changes: Row) -> int:
        return await (await self._queue(table)).update_where(where, changes)

    async def delete_where(self, table: str, where: str) -> int:
        return await (await self._queue(table)).delete_where(where)

    async def build_indices(self, table: str) -> int:
        return await (await self._queue(table)).build_indices()

    async def ensure_table(self, table: str, *, vector_dim: int | None = None) -> None:
        await (await self._queue(table)).create(vector_dim)

    async def close(self) -> None:
        """Finishes what was handed in, and stops."""
        await asyncio.gather(*(queue.close() for queue in self._queues.values()))

    async def _connected(self) -> tuple[AsyncConnection, Epoch]:
        async with self._starting:
            if self._running is not None:
                return self._running
            if self._epoch is None:  # a start that failed half-way goes on with the epoch it had
                self._epoch = await asyncio.to_thread(claim_epoch, self._storage, self._group)
            epoch = self._epoch
            db = await self._storage.connect()
            fixed = [
                self._make_queue(db, epoch, spec)
                for spec in self._specs.values()
                if spec.writer == self._group and "vector" not in spec.schema.names
            ]
            await asyncio.gather(*(queue.create() for queue in fixed))
            self._running = db, epoch
            return self._running

    async def _queue(self, table: str) -> CommitQueue:
        db, epoch = await self._connected()
        if table not in self._queues:
            spec = spec_of(table, self._specs)
            if spec.writer != self._group:
                raise InvalidInput(f"table {table} is written by the {spec.writer} writer, not by {self._group}")
            self._make_queue(db, epoch, spec)
        return self._queues[table]

    def _make_queue(self, db: AsyncConnection, epoch: Epoch, spec: TableSpec) -> CommitQueue:
        self._queues[spec.name] = CommitQueue(db, spec, epoch, self._compact_every)
        return self._queues[spec.name]


def get_writer(storage: Storage, group: Group) -> Writer:
    """The writer of a group: finds its actor, or starts it. Needs Ray; the result may be sent to other processes."""
    writer = _ActorWriter(storage, group)
    writer.find_actor()
    return writer


class _ActorWriter:
    """A `Writer` that calls the actor, with the actor's own errors in place of Ray's wrapping."""

    def __init__(self, storage: Storage, group: Group) -> None:
        self._storage = storage
        self._group: Group = group
        self._actor: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._storage, self._group)

    def find_actor(self) -> Any:
        import ray

        if self._actor is None:
            self._actor = (
                ray.remote(TableWriter)
                .options(
                    name=actor_name(self._storage, self._group),
                    namespace=NAMESPACE,
                    lifetime="detached",
                    get_if_exists=True,
                    max_restarts=-1,
                    max_task_retries=MAX_TASK_RETRIES,
                    num_cpus=0,
                )
                .remote(self._storage, self._group)
            )
        return self._actor

    async def about(self) -> dict[str, Any]:
        return await self._answer(lambda actor: actor.about.remote())

    async def insert_if_absent(self, table: str, rows: list[Row]) -> list[Inserted]:
        call = _new_call()
        return await self._answer(lambda actor: actor.insert_if_absent.remote(table, rows, call=call))

    async def append(self, table: str, rows: list[Row] | pa.Table) -> int:
        call = _new_call()
        return await self._answer(lambda actor: actor.append.remote(table, rows, call=call))

    async def update_if_unchanged(self, table: str, id: str, expected: Row, changes: Row) -> Updated:
        call = _new_call()
        return await self._answer(
            lambda actor: actor.update_if_unchanged.remote(table, id, expected, changes, call=call)
        )

    async def update_where(self, table: str, where: str, changes: Row) -> int:
        return await self._answer(lambda actor: actor.update_where.remote(table, where, changes))

    async def delete_where(self, table: str, where: str) -> int:
        return await self._answer(lambda actor: actor.delete_where.remote(table, where))

    async def build_indices(self, table: str) -> int:
        return await self._answer(lambda actor: actor.build_indices.remote(table))

    async def ensure_table(self, table: str, *, vector_dim: int | None = None) -> None:
        await self._answer(lambda actor: actor.ensure_table.remote(table, vector_dim=vector_dim))

    async def _answer(self, send: Any) -> Any:
        from ray.exceptions import ActorDiedError, RayActorError, RayTaskError

        for is_last in (False, True):
            try:
                return await send(self.find_actor())
            except RayTaskError as exc:
                raise exc.cause from exc
            except ActorDiedError as exc:
                # For good (killed by an operator, or its node is gone): the next one may already be there.
                self._actor = None
                if is_last:
                    raise StorageUnavailable(f"the {self._group} writer is gone and can't be started") from exc
            except RayActorError as exc:
                raise StorageUnavailable(f"the {self._group} writer can't be reached") from exc


def actor_name(storage: Storage, group: Group) -> str:
    """One actor per group and root, wherever in the cluster."""
    return f"writer-{group}-{hashlib.sha256(storage.root.encode()).hexdigest()[:12]}"


def _new_call() -> str:
    return uuid.uuid4().hex
