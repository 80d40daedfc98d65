from __future__ import annotations

from pathlib import Path

import pytest

from sagaforge.datasets.packs.pack import Character, Document, Pack, Scene
from sagaforge.datasets.store.writer import TableWriter
from sagaforge.datasets.worlds.ingest import ingest
from sagaforge.datasets.worlds.world_store import WorldStore
from sagaforge.deployments.embedding.embedder import load_embedder
from sagaforge.errors import NotFound
from sagaforge.storage import Storage

PACK = Pack(
    "The Reach",
    "en",
    (Document("lorebook.md", "Lamps burn brown oil."),),
    {"oriel": Character(name="Oriel Vance", description="Keeper.", appearance={"height": "tall"})},
    {"pier": Scene(title="The Pier", location="Kettlemoor", npcs=["oriel"])},
    {"visual_style": {"mood": "foggy"}},
)


async def test_before_any_upload_there_are_no_worlds(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    worlds = WorldStore(storage, TableWriter(storage, "library"))
    assert await worlds.list() == []
    with pytest.raises(NotFound, match=r"no world 'w'.*GET /worlds"):
        await worlds.current("w")


async def test_a_world_is_read_back_as_it_was_sent(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    writer = TableWriter(storage, "library")
    worlds = WorldStore(storage, writer)
    embedder = load_embedder("pocket-embedder")
    for world_id in ("w", "a'b"):
        await ingest(PACK, world_id, "CC0-1.0", False, storage=storage, writer=writer, embedder=embedder)

    assert [world.world_id for world in await worlds.list()] == ["a'b", "w"]
    world = await worlds.current("w")
    assert (world.characters, world.scenes, world.style) == (PACK.characters, PACK.scenes, PACK.style)
    assert (world.version, world.title, world.license, world.embedder) == (1, "The Reach", "CC0-1.0", embedder.name)
    detail = world.detail()
    assert (detail.total_chunks, len(detail.doc_ids)) == (3, 3)
    assert detail.scenes[0].title == "The Pier"
    assert detail.characters[0].name == "Oriel Vance"
    with pytest.raises(NotFound, match="no version 2"):
        await worlds.version("w", 2)

    second = Pack("The Reach", "en", (Document("lorebook.md", "Lamps burn white oil."),), PACK.characters, PACK.scenes)
    await ingest(second, "w", None, True, storage=storage, writer=writer, embedder=embedder)
    chunk_id = f"{detail.doc_ids[0]}@section_1:chunk_1"
    # The id stays the brown oil's; the white oil got one of its own.
    for version in (None, 1):
        assert (await worlds.chunk("w", chunk_id, version)).text == "Lamps burn brown oil."
    white = f"{detail.doc_ids[0]}@section_2:chunk_1"
    assert (await worlds.chunk("w", white)).text == "Lamps burn white oil."
    with pytest.raises(NotFound, match=r"Version 2 .* has no chunk .* versions 1 to 1 have it"):
        await worlds.chunk("w", chunk_id, 2)
    assert (await worlds.version("w", 1)).style == PACK.style
    for bad in ("doc_x@section_1:chunk_1", "' OR 1=1 --", chunk_id[:-1]):
        with pytest.raises(NotFound):
            await worlds.chunk("w", bad)
    await writer.close()
