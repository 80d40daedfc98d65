"""A deleted world is gone for who comes new; sessions that began in it go on, and read what they cite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from sagaforge.datasets.store.tables import INSTANT, VERSION_KEY, WORLDS
from sagaforge.datasets.store.writer import TableWriter
from sagaforge.datasets.worlds import ingest as ingestion
from sagaforge.datasets.worlds.world_store import WorldStore
from sagaforge.errors import StorageUnavailable
from sagaforge.functions import samples
from sagaforge.storage import Storage
from tests.support.http_client import app_of, check_problem, client_of
from tests.support.real_library import Library, open_library
from tests.support.scripted_bundle import Bundle, Terminal, document, holodeck, serving

BRASS = "The ferry bell is brass."
IRON = "The ferry bell is iron."
ROPE = "Ropes hang from the quay."


@pytest.fixture
async def library(tmp_path: Path) -> AsyncIterator[Library]:
    opened = await open_library(tmp_path)
    yield opened
    await opened.client.aclose()
    await opened.writer.close()


async def begun(library: Library) -> tuple[str, str]:
    """A world at version 2, and a session in its first: the chunk that it cites, and the session."""
    await library.upload(BRASS, license="CC0-1.0")
    turn = await library.turn(BRASS)
    await library.upload(IRON)
    (chunk_id,) = turn["citations"]
    return chunk_id, turn["session_id"]


async def test_a_deleted_world_is_not_there_for_who_comes_new(library: Library) -> None:
    chunk_id, _ = await begun(library)
    deleted = await library.delete()
    assert (deleted["world_id"], deleted["version"]) == ("w", 2)
    assert [world["world_id"] for world in (await library.get("/worlds"))["worlds"]] == ["harbour"]
    for problem in (
        await library.get("/worlds/w", 404),
        await library.chunk(chunk_id, 404),
        await library.retrieve("bell", 404),
        await library.turn("Hello?", status=404),
    ):
        assert problem["code"] == "not_found"
        assert "'w' was deleted" in problem["detail"]
    assert (await library.get("/worlds/harbour"))["version"] == 1


async def test_a_session_goes_on_and_reads_what_it_cites(library: Library) -> None:
    chunk_id, session_id = await begun(library)
    await library.delete()
    turn = await library.turn(BRASS, session_id=session_id)
    assert turn["citations"] == [chunk_id]
    assert (turn["game_state"]["turn_count"], turn["game_state"]["world_version"]) == (2, 1)
    for query in ({"session_id": session_id}, {"version": 1}):
        assert (await library.chunk(chunk_id, **query))["text"] == BRASS
        assert (await library.get("/worlds/w", **query))["license"] == "CC0-1.0"
        assert [chunk["text"] for chunk in await library.found("bell", **query)] == [BRASS]
    assert "no version 3" in (await library.chunk(chunk_id, 404, version=3))["detail"]


async def test_deleting_again_changes_nothing(library: Library) -> None:
    await begun(library)
    first = await library.delete()
    assert await library.delete() == first
    others = await asyncio.gather(*(library.delete() for _ in range(4)))
    assert others == [first] * 4


async def test_of_deletions_at_once_all_tell_of_one(library: Library) -> None:
    await begun(library)
    first, *others = await asyncio.gather(*(library.delete() for _ in range(5)))
    assert others == [first] * 4


@pytest.mark.parametrize(
    ("path", "status"),
    [("/worlds/nowhere", 404), ("/worlds/W", 404), ("/worlds/a%20b", 422), ("/worlds/%27%20OR%201=1", 422),
     ("/worlds/w?version=1", 422), ("/worlds/w?yes", 422), ("/worlds", 405), ("/worlds/w/", 404),
     ("/worlds/w/chunks/doc_1@section_1:chunk_1", 405)],
)  # fmt: skip
async def test_what_cant_be_deleted_is_said(library: Library, path: str, status: int) -> None:
    await library.upload(BRASS)
    code = {404: "not_found", 405: "method_not_allowed", 422: "invalid_input"}[status]
    check_problem(await library.client.delete(path), status, code)
    assert len((await library.get("/worlds"))["worlds"]) == 2


async def test_a_world_made_again_goes_on_counting(library: Library) -> None:
    chunk_id, session_id = await begun(library)
    await library.delete()
    made = await library.upload(IRON, ROPE, overwrite=False)
    assert (made["version"], made["total_chunks"]) == (3, 2)
    assert (await library.get("/worlds/w"))["license"] is None, "a new world has no licence of an old one"
    ids = await library.ids(3, [IRON, ROPE])
    assert chunk_id not in ids.values()
    assert await library.ids(2, [IRON]) == {IRON: ids[IRON]}
    assert (await library.chunk(chunk_id, session_id=session_id))["text"] == BRASS
    assert (await library.turn("bell", session_id=session_id))["game_state"]["world_version"] == 1
    assert (await library.turn(IRON))["game_state"]["world_version"] == 3
    await library.upload(BRASS, overwrite=False, status=409)
    await library.delete()
    assert (await library.upload(BRASS))["version"] == 4
    assert await library.ids(4, [BRASS]) == {BRASS: chunk_id}


async def test_the_same_content_brings_a_deleted_world_back(library: Library) -> None:
    await library.upload(BRASS)
    before = await library.ids(1, [BRASS])
    await library.delete()
    assert (await library.upload(BRASS, overwrite=False))["version"] == 2
    assert await library.ids(2, [BRASS]) == before
    assert (await library.upload(BRASS, overwrite=False))["version"] == 2


async def test_an_upload_that_runs_meanwhile_does_not_bring_it_back(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    await library.upload(BRASS)
    move, is_ready, may_move = ingestion._move_pointer, asyncio.Event(), asyncio.Event()

    async def late(*args: Any) -> None:
        is_ready.set()
        await may_move.wait()
        await move(*args)

    monkeypatch.setattr(ingestion, "_move_pointer", late)
    uploading = asyncio.create_task(library.upload(IRON, status=409))
    await is_ready.wait()
    await library.delete()
    may_move.set()
    assert "deleted" in (await uploading)["detail"]
    await library.get("/worlds/w", 404)
    monkeypatch.setattr(ingestion, "_move_pointer", move)
    assert (await library.upload(ROPE))["version"] == 2
    assert [chunk["text"] for chunk in await library.found("bell ropes iron")] == [ROPE]


async def test_other_replicas_see_it_at_once(library: Library) -> None:
    await library.upload(BRASS)
    other = client_of(app_of(library.house))
    services = library.house.services
    store = WorldStore(library.house.storage, library.writer)
    assert (await store.current("w")).version == 1
    async with other:
        for _ in range(3):
            await library.delete()
            assert [world.world_id for world in await store.list()] == ["harbour"]
            assert (await other.get("/worlds/w")).status_code == 404
            await library.upload(BRASS)
            assert (await store.current("w")).version == (await services.worlds.current("w")).version


async def test_turns_sent_again_after_the_deletion(library: Library) -> None:
    await library.upload(BRASS)
    first = await library.turn(BRASS, key="first")
    await library.delete()
    assert await library.turn(BRASS, key="first") == first
    await library.turn(BRASS, key="second", status=404)
    await library.upload(BRASS)
    assert (await library.turn(BRASS, key="second"))["game_state"]["world_version"] == 2


class Dying:
    """A writer that dies before a commit, or after it and before its answer, once."""

    def __init__(self, inner: TableWriter, *, after: bool) -> None:
        self._inner, self._after, self._has_died = inner, after, False

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if self._has_died or not self._after:
                if not self._has_died:
                    self._has_died = True
                    raise StorageUnavailable("the writer is gone")
                return await getattr(self._inner, name)(*args, **kwargs)
            await getattr(self._inner, name)(*args, **kwargs)
            self._has_died = True
            raise StorageUnavailable("the answer is lost")

        return call


@pytest.mark.parametrize("after", [False, True], ids=["before its commit", "before its answer"])
async def test_a_writer_that_dies(library: Library, after: bool) -> None:
    await library.upload(BRASS)
    store = WorldStore(library.house.storage, Dying(library.writer, after=after))
    with pytest.raises(StorageUnavailable):
        await store.delete("w")
    listed = [world.world_id for world in await store.list()]
    assert listed == (["harbour"] if after else ["harbour", "w"])
    deleted = await store.delete("w")
    assert deleted == await store.delete("w")
    assert [world.world_id for world in await store.list()] == ["harbour"]


async def test_the_table_of_an_older_release_is_read_and_brought_up_to_date(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    schema = pa.schema([
        pa.field("id", pa.string(), nullable=False, metadata={VERSION_KEY: "1"}),
        pa.field("version", pa.int64(), nullable=False),
        pa.field("updated_at", INSTANT, nullable=False),
    ])  # fmt: skip
    row = {"id": "w", "version": 4, "updated_at": datetime.now(UTC)}
    await (await storage.connect()).create_table("worlds", pa.Table.from_pylist([row], schema=schema))
    writer = TableWriter(storage, "library")
    store = WorldStore(storage, writer)
    pointer = await store.pointer("w")
    assert pointer is not None
    assert (pointer.version, pointer.is_deleted) == (4, False)
    assert (await store.delete("w")).version == 4
    pointer = await store.pointer("w")
    assert pointer is not None
    assert pointer.is_deleted
    assert WORLDS.version == 2
    await writer.close()


async def test_deleted_samples_stay_deleted(library: Library) -> None:
    services = library.house.services
    await samples.load_samples(worlds=services.worlds, ingestion=services.ingestion)
    loaded = {world.world_id for world in await services.worlds.list()} - {"harbour"}
    assert loaded == {"lantern_reach", "neo_taipei"}
    library.world = "lantern_reach"
    await library.delete()
    await samples.load_samples(worlds=services.worlds, ingestion=services.ingestion)
    assert {world.world_id for world in await services.worlds.list()} == {"harbour", "neo_taipei"}


async def test_the_one_world_that_a_house_has_may_go(client: httpx.AsyncClient) -> None:
    assert (await client.delete("/worlds/harbour")).status_code == 200
    assert (await client.get("/worlds")).json() == {"worlds": []}


# --- the command line ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served_bundle() -> Iterator[Bundle]:
    with serving() as scripted:
        yield scripted


@pytest.fixture
def bundle(served_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    served_bundle.reset()
    monkeypatch.setenv("SAGAFORGE_URL", served_bundle.url)
    return served_bundle


@pytest.mark.parametrize("flags", [(), ("--yes",)])
def test_a_script_is_not_asked(bundle: Bundle, flags: tuple[str, ...]) -> None:
    shown = holodeck("world", "delete", "harbour", *flags).stdout
    assert shown == "harbour is deleted; its last version was 3.\n"
    assert bundle.deleted == ["harbour"]


def test_a_deletion_as_json(bundle: Bundle) -> None:
    told = document(holodeck("world", "delete", "harbour", "--json"))
    assert told == {"ok": True, "world_id": "harbour", "version": 3, "deleted_at": "2026-01-02T03:04:05Z"}
    failed = document(holodeck("world", "delete", "nowhere", "--json", expect=1))
    assert (failed["failed_stage"], failed["error"]["code"]) == ("delete", "E_NOT_FOUND")


@pytest.mark.parametrize(("said", "is_deleted"), [("y\n", True), ("n\n", False), ("\n", False), ("\x04", False)])
def test_a_person_is_asked(bundle: Bundle, said: str, is_deleted: bool) -> None:
    terminal = Terminal("world", "delete", "harbour")
    try:
        terminal.until("Delete harbour?")
        terminal.until("[y/N]")
        terminal.type(said)
        terminal.until("is deleted" if is_deleted else "was not deleted")
        assert terminal.process.wait(15) == (0 if is_deleted else 1)
    finally:
        terminal.close()
    assert bundle.deleted == ["harbour"] * is_deleted
