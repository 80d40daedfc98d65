"""Versions of a world on real LanceDB tables in a temporary folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sagaforge.datasets.packs.pack import Character, Document, Pack
from sagaforge.datasets.store.tables import chunks_table
from sagaforge.datasets.store.writer import TableWriter
from sagaforge.datasets.worlds import version_lease
from sagaforge.datasets.worlds.embedder import Embedder, Vectors
from sagaforge.datasets.worlds.ingest import ingest
from sagaforge.datasets.worlds.world_store import WorldStore
from sagaforge.deployments.embedding.embedder import load_embedder
from sagaforge.deployments.retrieval.index import LoreIndex
from sagaforge.errors import Conflict, InvalidInput, NotFound, StorageUnavailable
from sagaforge.schemas import UploadResponse
from sagaforge.storage import Storage


class CountingEmbedder:
    """The pocket embedder, counting the texts it is given."""

    def __init__(self) -> None:
        self._inner: Embedder = load_embedder("pocket-embedder")
        self.name, self.dim, self.reads_chinese, self.is_static = self._inner.name, self._inner.dim, False, True
        self.num_texts = 0

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.num_texts += len(texts)
        return self._inner.encode(texts)


class World:
    """A storage with its writer and what a test does with them."""

    def __init__(self, folder: Path) -> None:
        self.storage = Storage(str(folder))
        self.writer: Any = TableWriter(self.storage, "library")
        self.embedder = CountingEmbedder()
        self.store = WorldStore(self.storage, self.writer)
        self.index = LoreIndex(self.storage, self.embedder)

    async def upload(self, pack: Pack, *, overwrite: bool = True, license: str | None = None) -> UploadResponse:
        return await ingest(
            pack, "w", license, overwrite, storage=self.storage, writer=self.writer, embedder=self.embedder
        )

    async def found(self, version: int, query: str) -> list[str]:
        return [chunk.text for chunk in await self.index.search("w", version, query, 20)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    await made.writer.close()


def lore(*sections: str, characters: dict[str, Character] | None = None) -> Pack:
    text = "\n\n".join(f"## {section.split()[0]}\n\n{section}" for section in sections)
    return Pack("World", "en", (Document("lorebook.md", text),), characters or {})


FIRST = lore("Lamps burn brown oil.", "Tides rise twice.", "Bells ring in fog.")
SECOND = lore("Lamps burn brown oil.", "Tides rise thrice.", "Bells ring in fog.", "Boats have names.")


async def test_versions_hold_what_they_held(world: World) -> None:
    assert (await world.upload(FIRST)).version == 1
    world.embedder.num_texts = 0
    second = await world.upload(SECOND)
    assert (second.version, second.total_chunks) == (2, 4)
    assert world.embedder.num_texts == 2  # the changed section and the new one
    assert "Tides rise twice." in await world.found(1, "tides rise")
    assert "Tides rise thrice." not in await world.found(1, "tides rise")
    assert set(await world.found(2, "tides rise")) >= {"Tides rise thrice."}
    assert "Tides rise twice." not in await world.found(2, "tides rise")
    assert (await world.store.version("w", 1)).total_chunks == 3
    assert (await world.store.current("w")).version == 2


async def test_the_same_again_is_the_same_version(world: World) -> None:
    first = await world.upload(FIRST, license="CC0-1.0")
    for overwrite in (True, False):
        assert await world.upload(FIRST, overwrite=overwrite) == first
    assert (await world.store.current("w")).license == "CC0-1.0"


async def test_a_changed_world_needs_overwrite(world: World) -> None:
    await world.upload(FIRST, overwrite=False)
    with pytest.raises(Conflict, match="overwrite=true"):
        await world.upload(SECOND, overwrite=False)
    assert (await world.store.current("w")).version == 1


async def test_moved_and_relicensed_chunks_keep_their_vectors(world: World) -> None:
    await world.upload(FIRST)
    world.embedder.num_texts = 0
    moved = lore("Bells ring in fog.", "Lamps burn brown oil.", "Tides rise twice.")
    assert (await world.upload(moved)).version == 2
    assert (await world.upload(moved, license="MIT")).version == 3
    assert world.embedder.num_texts == 0
    assert {chunk.metadata.license for chunk in await world.index.search("w", 3, "fog", 5)} == {"MIT"}
    assert {chunk.metadata.license for chunk in await world.index.search("w", 2, "fog", 5)} == {None}


async def test_vectors_of_another_model_are_not_kept(world: World) -> None:
    await world.upload(FIRST)
    ids = {chunk.id for chunk in await world.index.search("w", 1, "lamps tides bells", 5)}
    world.embedder.name, world.embedder.num_texts = "another of the same size", 0
    assert (await world.upload(FIRST)).version == 2
    assert world.embedder.num_texts == 3
    assert {chunk.id for chunk in await world.index.search("w", 2, "lamps tides bells", 5)} == ids
    assert len(await world.found(1, "lamps tides bells")) == 3


async def test_a_change_of_style_alone_is_a_version(world: World) -> None:
    await world.upload(FIRST)
    styled = Pack("World", "en", FIRST.documents, style={"visual_style": {"mood": "foggy"}})
    assert (await world.upload(styled)).version == 2
    assert (await world.store.current("w")).style == {"visual_style": {"mood": "foggy"}}
    assert (await world.upload(styled)).version == 2


async def test_going_back_to_older_content(world: World) -> None:
    for pack in (FIRST, SECOND, FIRST):
        response = await world.upload(pack)
    assert (response.version, response.total_chunks) == (3, 3)
    for version in (1, 3):
        assert "Tides rise twice." in await world.found(version, "tides")
        assert "Boats have names." not in await world.found(version, "boats names")


class Crash(BaseException):
    """As good as a kill -9: nothing may clean up after it."""


class CrashingWriter:
    """Lets `allowed` calls through and then dies at every one."""

    def __init__(self, inner: TableWriter, allowed: int) -> None:
        self._inner, self._left = inner, allowed

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if self._left <= 0:
                raise StorageUnavailable("crashed")
            self._left -= 1
            return await getattr(self._inner, name)(*args, **kwargs)

        return call


async def test_a_crash_at_any_step_leaves_readers_where_they_were(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version_lease, "CLAIM_EXPIRES_S", 0.0)
    await world.upload(FIRST)
    writer, num_crashes = world.writer, 0
    for allowed in range(20):
        world.writer = CrashingWriter(writer, allowed)
        pack = lore("Lamps burn brown oil.", f"Wrecks lie {allowed} fathoms down.")
        try:
            await world.upload(pack)
        except StorageUnavailable:
            num_crashes += 1
            assert (await world.store.current("w")).version == 1
            assert set(await world.found(1, "lamps tides bells wrecks")) == {
                "Lamps burn brown oil.", "Tides rise twice.", "Bells ring in fog.",
            }  # fmt: skip
        else:
            break
    assert num_crashes >= 6
    assert (await world.store.current("w")).version == 2
    texts = await world.found(2, "lamps tides bells wrecks fathoms")
    assert sorted(texts) == ["Lamps burn brown oil.", f"Wrecks lie {num_crashes} fathoms down."]
    table = await (await world.storage.connect()).open_table(chunks_table("w"))
    assert await table.count_rows("valid_from > 2 OR valid_to > 2") == 0
    world.writer = writer


async def test_of_two_uploads_at_once_one_is_told_to_wait(world: World) -> None:
    await world.upload(FIRST)
    answers = await asyncio.gather(world.upload(SECOND), world.upload(lore("Other lore.")), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["Conflict", "UploadResponse"]
    assert (await world.store.current("w")).version == 2


async def test_a_dead_uploads_claim_is_taken_over(world: World) -> None:
    await world.upload(FIRST)
    row = {"id": "w@2", "world_id": "w", "version": 2, "title": "", "language": "en", "license": None,
           "manifest": '{"staging": "dead"}', "total_chunks": 0, "created_at": datetime.now(UTC)}  # fmt: skip
    await world.writer.insert_if_absent("world_versions", [row])
    with pytest.raises(Conflict, match="under way"):
        await world.upload(SECOND)
    await world.writer.update_where(
        "world_versions", "id = 'w@2'", {"created_at": datetime.now(UTC) - timedelta(minutes=5)}
    )
    assert (await world.upload(SECOND)).version == 2


async def test_another_embedders_world_is_refused_not_broken(world: World) -> None:
    await world.upload(FIRST)

    class Wide(CountingEmbedder):
        def encode(self, texts: Sequence[str]) -> Vectors:
            return np.ones((len(texts), self.dim), np.float32)

    wide = Wide()
    wide.dim, wide.name = 999, "wide"
    with pytest.raises(Conflict, match="wide"):
        await ingest(SECOND, "w", None, True, storage=world.storage, writer=world.writer, embedder=wide)
    chunks = await LoreIndex(world.storage, wide).search("w", 1, "brown oil", 1)
    assert chunks[0].text == "Lamps burn brown oil."


async def test_nothing_to_cite_is_refused(world: World) -> None:
    with pytest.raises(InvalidInput, match="no text"):
        await world.upload(Pack("World", "en"))
    with pytest.raises(NotFound):
        await world.store.current("w")


async def test_progress_is_told_in_order(world: World) -> None:
    told: list[tuple[str, int, int]] = []
    await ingest(
        FIRST, "w", None, False, storage=world.storage, writer=world.writer, embedder=world.embedder,
        progress=lambda *step: told.append(step),
    )  # fmt: skip
    assert told == [("chunk", 3, 3), ("embed", 3, 3), ("index", 0, 1), ("index", 1, 1), ("publish", 1, 1)]
