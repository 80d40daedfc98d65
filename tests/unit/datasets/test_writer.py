"""The table writer's engine, on a local folder: who wins, what is grouped, what is fenced, how tables grow up."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sagaforge.datasets.store.tables import (
    SPECS,
    TableSpec,
    add_missing_columns,
    chunks_table,
    sql_literal,
    stored_version,
)
from sagaforge.datasets.store.writer import Fenced, TableWriter
from sagaforge.errors import InvalidInput, NotFound, StorageUnavailable
from sagaforge.storage import Storage

pytestmark = pytest.mark.unit

TOY = TableSpec(
    "toys",
    1,
    pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("n", pa.int64()), pa.field("text", pa.string())]),
    writer="play",
)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path))


def toy_writer(storage: Storage, *, spec: TableSpec = TOY, compact_every: int = 64) -> TableWriter:
    return TableWriter(storage, "play", specs={spec.name: spec}, compact_every=compact_every)


async def stored(storage: Storage, table: str = "toys") -> list[dict[str, Any]]:
    opened = await (await storage.connect()).open_table(table)
    return sorted(await opened.query().to_list(), key=lambda row: row["id"])


async def version(storage: Storage, table: str = "toys") -> int:
    return await (await (await storage.connect()).open_table(table)).version()


async def test_of_many_inserts_of_one_id_one_wins_and_all_get_its_row(storage: Storage) -> None:
    writer = toy_writer(storage)
    answers = await asyncio.gather(*(writer.insert_if_absent("toys", [{"id": "a", "n": n}]) for n in range(50)))
    winners = [answer.row["n"] for [answer] in answers if answer.inserted]
    assert len(winners) == 1
    assert {answer.row["n"] for [answer] in answers} == set(winners)
    assert await stored(storage) == [{"id": "a", "n": winners[0], "text": None}]


async def test_equal_rows_of_different_callers_have_one_winner_too(storage: Storage) -> None:
    writer = toy_writer(storage)
    answers = await asyncio.gather(*(writer.insert_if_absent("toys", [{"id": "a", "n": 1}]) for _ in range(8)))
    assert [answer.inserted for [answer] in answers].count(True) == 1


async def test_a_repeated_call_gets_its_first_answer(storage: Storage) -> None:
    row = {"id": "a", "n": 1}
    writer = toy_writer(storage)
    for _ in range(2):
        assert (await writer.insert_if_absent("toys", [row], call="c1"))[0].inserted
    # The writer died before it could answer; its successor knows the row by being equal.
    successor = toy_writer(storage)
    assert (await successor.insert_if_absent("toys", [row], call="c1"))[0].inserted
    assert not (await successor.insert_if_absent("toys", [{"id": "a", "n": 2}], call="c2"))[0].inserted
    assert len(await stored(storage)) == 1


async def test_what_arrives_during_a_commit_becomes_one_commit(storage: Storage) -> None:
    writer = toy_writer(storage, compact_every=10_000)
    await writer.start()
    before = await version(storage)
    await asyncio.gather(*(writer.insert_if_absent("toys", [{"id": f"{n:03}"}]) for n in range(200)))
    assert len(await stored(storage)) == 200
    assert await version(storage) - before <= 3


async def test_a_bad_row_fails_alone(storage: Storage) -> None:
    writer = toy_writer(storage)
    good, mistyped, unknown, nameless = await asyncio.gather(
        writer.insert_if_absent("toys", [{"id": "good"}]),
        writer.insert_if_absent("toys", [{"id": "bad", "n": "many"}]),
        writer.insert_if_absent("toys", [{"id": "bad", "colour": 1}]),
        writer.insert_if_absent("toys", [{"n": 1}]),
        return_exceptions=True,
    )
    assert good[0].inserted
    assert all(isinstance(bad, InvalidInput) for bad in (mistyped, unknown, nameless))


async def test_a_repeated_append_is_not_doubled(storage: Storage) -> None:
    writer = toy_writer(storage)
    rows = pa.table({"id": [f"{n:04}" for n in range(1000)], "n": range(1000), "text": ["x"] * 1000})
    first = await writer.append("toys", rows)
    assert await writer.append("toys", rows) == first
    assert await writer.append("toys", [{"id": "0001", "n": -1}, {"id": "new", "n": -1}]) > first
    successor = toy_writer(storage)
    await successor.append("toys", rows)
    found = await stored(storage)
    assert len(found) == 1001
    assert found[1]["n"] == 1


async def test_of_two_updates_from_one_state_one_wins(storage: Storage) -> None:
    writer = toy_writer(storage)
    await writer.insert_if_absent("toys", [{"id": "a", "n": 1, "text": "it's"}])
    answers = await asyncio.gather(*(writer.update_if_unchanged("toys", "a", {"n": 1}, {"n": 2}) for _ in range(4)))
    assert [answer.updated for answer in answers].count(True) == 1
    assert all(answer.row == {"id": "a", "n": 2, "text": "it's"} for answer in answers)
    assert (await writer.update_if_unchanged("toys", "a", {"n": 2}, {"text": "o'", "n": None})).updated
    assert await stored(storage) == [{"id": "a", "n": None, "text": "o'"}]
    assert (await writer.update_if_unchanged("toys", "b", {}, {"n": 1})).row is None
    with pytest.raises(InvalidInput):
        await writer.update_if_unchanged("toys", "a", {}, {"id": "b"})


async def test_a_repeated_update_gets_its_first_answer_and_a_rival_does_not(storage: Storage) -> None:
    first, successor = toy_writer(storage), toy_writer(storage)
    await first.insert_if_absent("toys", [{"id": "a", "n": 1}])
    for writer in (first, first, successor):
        assert (await writer.update_if_unchanged("toys", "a", {"n": 1}, {"n": 2, "text": "me"}, call="c1")).updated
    rival = await successor.update_if_unchanged("toys", "a", {"n": 1}, {"n": 2, "text": "you"}, call="c2")
    assert not rival.updated
    assert rival.row == {"id": "a", "n": 2, "text": "me"}


async def test_update_and_delete_where(storage: Storage) -> None:
    writer = toy_writer(storage)
    await writer.append("toys", [{"id": str(n), "n": n} for n in range(6)])
    assert await writer.update_where("toys", "n >= 4", {"text": "big"}) == 2
    assert await writer.delete_where("toys", "n < 4") == 4
    assert await writer.delete_where("toys", "n < 4") == 0
    assert [(row["id"], row["text"]) for row in await stored(storage)] == [("4", "big"), ("5", "big")]
    assert (await writer.insert_if_absent("toys", [{"id": "0"}]))[0].inserted


async def test_an_older_writer_is_refused_once_a_newer_has_started(storage: Storage) -> None:
    old, new = toy_writer(storage), toy_writer(storage)
    await old.insert_if_absent("toys", [{"id": "before", "n": 1}])
    await new.start()
    for attempt in (
        old.insert_if_absent("toys", [{"id": "late"}]),
        old.append("toys", [{"id": "late"}]),
        old.update_where("toys", "n = 1", {"n": 2}),
        old.delete_where("toys", "n = 1"),
        old.build_indices("toys"),
    ):
        with pytest.raises(Fenced, match="taken over by another writer"):
            await attempt
    assert (await new.insert_if_absent("toys", [{"id": "late", "n": 3}]))[0].inserted
    assert [(row["id"], row["n"]) for row in await stored(storage)] == [("before", 1), ("late", 3)]


async def test_two_writers_racing_neither_lose_nor_double_a_row(storage: Storage) -> None:
    """A row is acknowledged by the old one, or by the new one after the old one refused."""
    ids = [f"{n:03}" for n in range(120)]
    old, acknowledged = toy_writer(storage, compact_every=10), []
    newest = old

    async def insert(id: str) -> None:
        for writer in (old, lambda: newest):
            try:
                chosen = writer if isinstance(writer, TableWriter) else writer()
                await chosen.insert_if_absent("toys", [{"id": id, "text": id}])
                acknowledged.append(id)
                return
            except Fenced:
                await asyncio.sleep(0.05)

    await old.start()
    tasks = []
    for i, id in enumerate(ids):
        tasks.append(asyncio.create_task(insert(id)))
        await asyncio.sleep(0.002)
        if i == 60:
            newest = toy_writer(storage)
            tasks.append(asyncio.create_task(newest.start()))
    await asyncio.gather(*tasks)
    assert sorted(acknowledged) == ids
    assert [row["id"] for row in await stored(storage)] == ids


async def test_a_commit_in_flight_when_the_newer_starts_is_refused_by_the_table(storage: Storage) -> None:
    """The epoch is checked before the answer; the table itself must refuse even a writer that never looks."""
    old = toy_writer(storage)
    await old.insert_if_absent("toys", [{"id": "a"}])
    handle = old._queues["toys"]._fenced._opened.table  # type: ignore[union-attr]
    await toy_writer(storage).start()
    for attempt in (
        handle.add([{"id": "b", "n": 1, "text": ""}]),
        handle.update({"n": 5}, where="id = 'a'"),
        handle.delete("id = 'a'"),
    ):
        with pytest.raises(RuntimeError, match="ncompatible transaction"):
            await attempt
    assert [row["n"] for row in await stored(storage)] == [None]


async def test_rows_that_land_while_a_newer_writer_fences_are_kept(storage: Storage, monkeypatch) -> None:
    """The fence restores the newest version it saw; a commit that slips in between is brought back."""
    from lancedb import AsyncTable

    old = toy_writer(storage)
    await old.insert_if_absent("toys", [{"id": "a"}])
    handle = old._queues["toys"]._fenced._opened.table  # type: ignore[union-attr]
    restore, slipped = AsyncTable.restore, []

    async def slow_restore(table: AsyncTable, version=None) -> None:
        if not slipped:
            slipped.append(await handle.add([{"id": "b", "n": 1, "text": ""}]))
        await restore(table, version)

    monkeypatch.setattr(AsyncTable, "restore", slow_restore)
    new = toy_writer(storage)
    await new.start()
    assert slipped
    assert [row["id"] for row in await stored(storage)] == ["a", "b"]
    assert not (await new.insert_if_absent("toys", [{"id": "b", "n": 2}]))[0].inserted


async def test_compaction_keeps_rows_and_holds_fragments_down(storage: Storage) -> None:
    writer = toy_writer(storage, compact_every=10)
    for n in range(60):
        await writer.insert_if_absent("toys", [{"id": f"{n:03}", "n": n}])
    await writer.close()
    table = await (await storage.connect()).open_table("toys")
    assert (await table.stats())["fragment_stats"]["num_fragments"] < 25
    assert [row["n"] for row in await stored(storage)] == list(range(60))


async def test_a_lost_disk_is_said_and_the_retry_after_it_is_not_doubled(storage: Storage, tmp_path: Path) -> None:
    writer = toy_writer(storage)
    await writer.insert_if_absent("toys", [{"id": "a"}])
    tables = tmp_path / "tables"
    shutil.move(tables, tmp_path / "away")
    tables.write_text("a file in the folder's place")
    with pytest.raises(StorageUnavailable):
        await writer.insert_if_absent("toys", [{"id": "b"}])
    tables.unlink()
    shutil.move(tmp_path / "away", tables)
    for id in "ab":
        await writer.insert_if_absent("toys", [{"id": id}])
    assert [row["id"] for row in await stored(storage)] == ["a", "b"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    yield small
    subprocess.run(["umount", "-l", str(small)], check=True)


async def test_a_full_disk_is_said_and_loses_nothing(small_disk: Path) -> None:
    storage = Storage(str(small_disk))
    writer = toy_writer(storage)
    await writer.insert_if_absent("toys", [{"id": "a"}])
    with pytest.raises(StorageUnavailable, match="No space left"):
        await writer.append("toys", [{"id": "big", "text": os.urandom(2_000_000).hex()}])
    await writer.insert_if_absent("toys", [{"id": "b"}])
    assert [row["id"] for row in await stored(storage)] == ["a", "b"]
    with suppress(OSError):
        (small_disk / "filler").write_bytes(b"x" * 1_000_000)
    with pytest.raises(StorageUnavailable, match=r"can't be written.*No space left"):
        storage.check_writable()


async def test_an_old_table_is_migrated_and_a_newer_one_refused(storage: Storage) -> None:
    await toy_writer(storage).insert_if_absent("toys", [{"id": "a", "n": 1}])
    column = pa.field("colour", pa.string())
    grown = replace(TOY, version=2, schema=TOY.schema.append(column), migrations={1: add_missing_columns(column)})
    writer = toy_writer(storage, spec=grown)
    await writer.insert_if_absent("toys", [{"id": "b", "colour": "red"}])
    assert [row["colour"] for row in await stored(storage)] == [None, "red"]
    assert await stored_version(await (await storage.connect()).open_table("toys")) == 2
    # A crash between the column and the version: the migration runs again.
    await grown.migrations[1](await (await storage.connect()).open_table("toys"))
    with pytest.raises(StorageUnavailable, match=r"schema version 2.*knows 1"):
        await toy_writer(storage).start()


async def test_chunk_tables_of_worlds_with_awkward_names(storage: Storage) -> None:
    writer = TableWriter(storage, "library")
    names = [chunks_table(world) for world in ("Neo", "neo", "n.e-o", "霓虹", "a" * 64, "../x")]
    assert len({name.lower() for name in names}) == len(names)
    row = {
        "id": "doc_1@section_0:chunk_0", "doc_id": "doc_1", "source": "a.md", "section": "A", "text": "霓虹 Lane",
        "terms": "霓 虹 霓虹 lane the O'Neil", "content_hash": "h", "kind": "lore", "ordinal": 0, "valid_from": 1,
        "vector": [0.5, 0.5, 0.5, 0.5],
    }  # fmt: skip
    for name in names:
        with pytest.raises(NotFound):
            await writer.append(name, [row])
        await writer.ensure_table(name, vector_dim=4)
        await writer.append(name, [row])
    await writer.build_indices(names[0])
    table = await (await storage.connect()).open_table(names[0])
    for term in ("霓虹", "the", "O'Neil"):
        assert len(await (await table.search(term, query_type="fts")).limit(3).to_list()) == 1, term
    assert not await (await table.search("o'neil", query_type="fts")).limit(3).to_list()
    with pytest.raises(InvalidInput):
        await writer.append(names[0], [{**row, "id": "b", "vector": [1.0]}])
    with pytest.raises(InvalidInput, match="not 8"):
        await writer.ensure_table(names[0], vector_dim=8)


async def test_every_fixed_table_is_made_by_its_writer_only(storage: Storage) -> None:
    library, play = TableWriter(storage, "library"), TableWriter(storage, "play")
    await asyncio.gather(library.start(), play.start())
    assert set((await (await storage.connect()).list_tables()).tables) == {n for n in SPECS if n != "chunks_"}
    with pytest.raises(InvalidInput, match="written by the library"):
        await play.insert_if_absent("worlds", [{"id": "w"}])
    with pytest.raises(InvalidInput, match="no table"):
        await play.insert_if_absent("nonsense", [{"id": "w"}])
    at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    await library.insert_if_absent("worlds", [{"id": "w", "version": 1, "updated_at": at}])
    later = {"updated_at": at.replace(day=3)}
    assert (await library.update_if_unchanged("worlds", "w", {"updated_at": at}, later)).updated
    assert await library.update_where("worlds", f"updated_at > {sql_literal(at)}", {"version": 2}) == 1
