"""One table's commits, one after the other.

There is no timer. Idle, an operation commits at once; what arrives while a commit runs is gathered, and neighbouring
inserts become one commit. Callers hear back after the commit that holds their rows. That nobody else writes the table
meanwhile is the fence's doing (`sagaforge.datasets.store.fence`).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from lancedb import AsyncConnection, AsyncTable

from sagaforge.datasets.store.compaction import Compactor
from sagaforge.datasets.store.epochs import Epoch
from sagaforge.datasets.store.fence import FencedTable
from sagaforge.datasets.store.tables import TableSpec, check_table, sql_in, sql_literal, to_arrow
from sagaforge.errors import InvalidInput, NotFound, StorageUnavailable
from sagaforge.storage import storage_errors

Row = dict[str, Any]

MAX_KNOWN_IDS = 500_000  # ~64 bytes each
MAX_RECENT_ROWS = 512
MAX_IDS_PER_QUERY = 200


@dataclass(frozen=True)
class Inserted:
    """`row` is what is stored under the id; `inserted`, whether this call put it there."""

    row: Row
    inserted: bool


@dataclass(frozen=True)
class Updated:
    """`row` as it is stored now, None if there is none; `updated`, whether this call's changes are in it."""

    row: Row | None
    updated: bool


@dataclass
class _Add:
    """Rows to add, for `insert_if_absent` (`rows`, answered one by one) or `append` (`rows` is None)."""

    call: str
    table: pa.Table
    rows: list[Row] | None
    done: asyncio.Future[Any]

    def row(self, place: int) -> Row:
        return self.rows[place] if self.rows is not None else self.table.slice(place, 1).to_pylist()[0]


@dataclass
class _Exclusive:
    """Anything that needs the table for itself; `run` gets the handle."""

    run: Callable[[AsyncTable], Awaitable[Any]]
    done: asyncio.Future[Any]


class _Superseded(Exception):
    """The table refused a commit because of a fence that came after our handle's version."""


class CommitQueue:
    def __init__(self, db: AsyncConnection, spec: TableSpec, epoch: Epoch, compact_every: int) -> None:
        self._db = db
        self._spec = spec
        self._fenced = FencedTable(db, spec, epoch)
        self._compactor = Compactor(db, spec, compact_every)
        self._pending: list[_Add | _Exclusive] = []
        self._runner: asyncio.Task[None] | None = None
        self._forget()

    def _forget(self) -> None:
        self._fenced.forget()
        # Hashes of every id in the table. Nobody else writes it, so an id that isn't here is absent without looking;
        # looking costs 0.1 ms per fragment. None: too many to keep.
        self._known: set[int] | None = None
        self._is_read = False
        self._recent: OrderedDict[str, tuple[Row, str]] = OrderedDict()

    # --- verbs -------------------------------------------------------------------------------------------------------

    async def insert_if_absent(self, rows: list[Row], call: str) -> list[Inserted]:
        if not rows:
            return []
        schema = (await self._fenced.open()).schema
        table = to_arrow(rows, schema)
        return await self._submit(_Add(call, table, table.to_pylist(), _future()))

    async def append(self, rows: list[Row] | pa.Table, call: str) -> int:
        schema = (await self._fenced.open()).schema
        table = check_table(rows, schema) if isinstance(rows, pa.Table) else to_arrow(rows, schema)
        return await self._submit(_Add(call, table, None, _future()))

    async def update_if_unchanged(self, id: str, expected: Row, changes: Row, call: str) -> Updated:
        changes = await self._checked(changes)

        async def run(table: AsyncTable) -> Updated:
            found = await self._stored(table, [id])
            if id not in found:
                return Updated(None, False)
            row, last_call = found[id]
            if any(row.get(name) != value for name, value in expected.items()):
                # Refused, unless it is this very call's change, sent again after its answer was lost.
                is_ours = all(row[name] == value for name, value in changes.items()) and last_call in (call, None)
                return Updated(row, is_ours)
            await table.update(where=f"id = {sql_literal(id)}", updates_sql=_literals(changes))
            row = {**row, **changes}
            self._remember(id, row, call)
            return Updated(row, True)

        return await self._submit(_Exclusive(run, _future()))

    async def update_where(self, where: str, changes: Row) -> int:
        changes = await self._checked(changes)

        async def run(table: AsyncTable) -> int:
            self._recent.clear()
            return (await table.update(where=where, updates_sql=_literals(changes))).rows_updated

        return await self._submit(_Exclusive(run, _future()))

    async def delete_where(self, where: str) -> int:
        async def run(table: AsyncTable) -> int:
            num_rows = await table.count_rows(where)
            if num_rows:
                await table.delete(where)
                self._recent.clear()
                self._known = await _ids_of(table)
            return num_rows

        return await self._submit(_Exclusive(run, _future()))

    async def build_indices(self) -> int:
        async def run(table: AsyncTable) -> int:
            await self._compactor.compact(table)
            return await table.version()

        return await self._submit(_Exclusive(run, _future()))

    async def create(self, vector_dim: int | None = None) -> None:
        """Creates the table unless it exists, and takes it over."""
        try:
            opened = await self._fenced.open()
        except NotFound:
            schema = self._spec.schema_to_create(vector_dim)
            with storage_errors(f"creating table {self._spec.name}"), suppress(ValueError):  # another was faster
                await self._db.create_table(self._spec.name, schema=schema)
            opened = await self._fenced.open()
        if vector_dim and opened.schema.field("vector").type.list_size != vector_dim:
            raise InvalidInput(f"table {self._spec.name} holds {opened.schema.field('vector').type}, not {vector_dim}")

    async def close(self) -> None:
        """Waits for what was handed in, and for compaction."""
        if self._runner:
            await asyncio.wait([self._runner])
        await self._compactor.wait()

    # --- group commit ------------------------------------------------------------------------------------------------

    async def _submit(self, operation: _Add | _Exclusive) -> Any:
        self._pending.append(operation)
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        return await operation.done

    async def _run(self) -> None:
        try:
            while self._pending:
                batch, self._pending = self._pending, []
                while batch:
                    num_adds = next((i for i, item in enumerate(batch) if isinstance(item, _Exclusive)), len(batch))
                    group, batch = batch[: num_adds or 1], batch[num_adds or 1 :]
                    await self._perform(group)
        finally:
            self._runner = None

    async def _perform(self, group: Sequence[_Add | _Exclusive]) -> None:
        try:
            try:
                results = await self._attempt(group)
            except _Superseded:
                # By a newer writer: opening raises Fenced. By one that has lost to us: we fence again, and try again.
                results = await self._attempt(group)
        except _Superseded as exc:
            _fail(group, StorageUnavailable(f"other writers keep taking over table {self._spec.name}: {exc}"))
        except Exception as exc:
            _fail(group, exc)
        else:
            for operation, result in zip(group, results, strict=True):
                if not operation.done.done():  # a caller may have gone away
                    operation.done.set_result(result)

    async def _attempt(self, group: Sequence[_Add | _Exclusive]) -> list[Any]:
        table = (await self._fenced.open()).table
        before = await table.version()
        with self._unknown_outcome():
            if not self._is_read:
                self._known, self._is_read = await _ids_of(table), True
            first = group[0]
            if isinstance(first, _Exclusive):
                results = [await first.run(table)]
            else:
                results = await self._add(table, [item for item in group if isinstance(item, _Add)])
            if await table.version() != before:
                await self._fenced.check_epoch()
                self._compactor.count_commit(MAX_KNOWN_IDS if self._known is None else len(self._known))
        return results

    @contextmanager
    def _unknown_outcome(self) -> Iterator[None]:
        """A failed commit may still have landed, or land later: whatever failed, the next operation starts by fencing
        it off and reading the table anew."""
        try:
            with storage_errors(f"writing table {self._spec.name}"):
                yield
        except Exception as exc:
            self._forget()
            if "ncompatible transaction" in str(exc) or "ommit conflict" in str(exc):
                raise _Superseded(str(exc).splitlines()[0]) from exc
            raise

    async def _add(self, table: AsyncTable, adds: list[_Add]) -> list[Any]:
        ids = [add.table.column("id").to_pylist() for add in adds]
        present = await self._present(table, [id for part in ids for id in part])
        asked = {id for add, part in zip(adds, ids, strict=True) if add.rows is not None for id in part}
        stored = await self._stored(table, asked & present)
        fresh: dict[str, tuple[_Add, int]] = {}
        answers: list[list[Inserted]] = []
        pieces: list[pa.Table] = []
        for add, part in zip(adds, ids, strict=True):
            new: list[int] = []
            answer: list[Inserted] = []
            for place, id in enumerate(part):
                if id not in present and id not in fresh:
                    fresh[id] = (add, place)
                    new.append(place)
                    if add.rows is not None:
                        answer.append(Inserted(add.rows[place], True))
                elif add.rows is not None:
                    there, last_call = (
                        (fresh[id][0].row(fresh[id][1]), fresh[id][0].call) if id in fresh else stored[id]
                    )
                    # Written in this life, the call says whose it is; before it, only an equal row can be a repeat.
                    is_ours = last_call == add.call if last_call else there == add.rows[place]
                    answer.append(Inserted(there, is_ours))
            if new:
                pieces.append(add.table if len(new) == len(part) else add.table.take(new))
            answers.append(answer)
        if pieces:
            await table.add(pa.concat_tables(pieces))
        for id, (add, place) in fresh.items():
            if self._known is not None:
                self._known.add(hash(id))
            if add.rows is not None:
                self._remember(id, add.rows[place], add.call)
        version = await table.version()
        return [version if add.rows is None else answer for add, answer in zip(adds, answers, strict=True)]

    async def _present(self, table: AsyncTable, ids: list[str]) -> set[str]:
        """Which of the ids the table holds."""
        maybe = [id for id in ids if self._known is None or hash(id) in self._known]
        if not maybe:
            return set()
        query = table.query().select(["id"])
        if len(maybe) <= MAX_IDS_PER_QUERY:
            query = query.where(sql_in("id", maybe))
        return set((await query.to_arrow()).column("id").to_pylist()) & set(maybe)

    async def _stored(self, table: AsyncTable, ids: Iterable[str]) -> dict[str, tuple[Row, str | None]]:
        """The rows under these ids, with the call that wrote them if it is remembered."""
        found: dict[str, tuple[Row, str | None]] = {id: self._recent[id] for id in ids if id in self._recent}
        missing = [id for id in ids if id not in found]
        for start in range(0, len(missing), MAX_IDS_PER_QUERY):
            part = missing[start : start + MAX_IDS_PER_QUERY]
            rows = await table.query().where(sql_in("id", part)).to_list()
            found.update({row["id"]: (row, None) for row in rows})
        return found

    def _remember(self, id: str, row: Row, call: str) -> None:
        self._recent[id] = (row, call)
        self._recent.move_to_end(id)
        if len(self._recent) > MAX_RECENT_ROWS:
            self._recent.popitem(last=False)

    async def _checked(self, changes: Row) -> Row:
        """The changes as the table will give them back. Raises InvalidInput if they don't fit."""
        schema = (await self._fenced.open()).schema
        if "id" in changes or not set(changes) <= set(schema.names):
            raise InvalidInput(f"these columns can't be changed: {', '.join(sorted(changes))}")
        try:
            return {name: pa.array([value], schema.field(name).type)[0].as_py() for name, value in changes.items()}
        except (pa.ArrowInvalid, pa.ArrowTypeError) as exc:
            raise InvalidInput(f"a change doesn't fit its column: {exc}") from exc


async def _ids_of(table: AsyncTable) -> set[int] | None:
    if await table.count_rows() > MAX_KNOWN_IDS:
        return None
    ids = (await table.query().select(["id"]).to_arrow()).column("id").to_pylist()
    return {hash(id) for id in ids}


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


def _literals(changes: Row) -> dict[str, str]:
    return {name: sql_literal(value) for name, value in changes.items()}


def _fail(group: Sequence[_Add | _Exclusive], exc: BaseException) -> None:
    for operation in group:
        if not operation.done.done():
            operation.done.set_exception(exc)
