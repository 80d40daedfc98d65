"""Worlds and their versions, as readers see them, and how a world is deleted.

A world is one row in `worlds`: a pointer at a version. A version is one row in `world_versions` and the chunk rows
that are valid at it. Rows above the pointer belong to an upload that has not been published, and are never read here.

A deleted world keeps its pointer, with the time: its versions stay for the sessions that are pinned to them, and an
upload under its id goes on counting. It is there only for who names a version.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sagaforge.datasets.packs.pack import Character, Scene
from sagaforge.datasets.store.tables import chunks_table, sql_in, sql_literal
from sagaforge.datasets.worlds.chunk_history import chunk_at
from sagaforge.errors import NotFound
from sagaforge.schemas import (
    CharacterSummary,
    ChunkDetail,
    DeletedWorld,
    SceneSummary,
    WorldDetail,
    WorldSummary,
)
from sagaforge.storage import Storage, storage_errors

if TYPE_CHECKING:
    from lancedb import AsyncConnection, AsyncTable

    from sagaforge.datasets.store.writer import Writer

SUMMARY_CHARS = 280
MAX_CACHED_VERSIONS = 256


@dataclass(frozen=True)
class Pointer:
    """The newest published version of a world, and when it was deleted, if it was."""

    version: int
    deleted_at: datetime | None = None

    @property
    def is_deleted(self) -> bool:
        return self.deleted_at is not None


@dataclass(frozen=True)
class World:
    """A world at one published version. `doc_ids` in the order of the pack; `embedder` is the model of its vectors;
    `order` tells one order of its chunks from another (empty in versions of older releases)."""

    world_id: str
    version: int
    title: str
    language: str
    license: str | None
    total_chunks: int
    created_at: datetime
    characters: dict[str, Character] = field(default_factory=dict)
    scenes: dict[str, Scene] = field(default_factory=dict)
    style: dict[str, Any] = field(default_factory=dict)
    doc_ids: tuple[str, ...] = ()
    embedder: str = ""
    order: str = ""

    def manifest(self, order: str) -> str:
        """What `manifest_of` made of this version; `order` stands in where the version has none."""
        doc_ids = list(self.doc_ids)
        return manifest_of(self.characters, self.scenes, self.style, doc_ids, self.embedder, self.order or order)

    def summary(self) -> WorldSummary:
        return WorldSummary(**self._summary_fields())

    def detail(self) -> WorldDetail:
        return WorldDetail(
            **self._summary_fields(),
            characters=[
                CharacterSummary(id=key, name=c.name, description=c.description[:SUMMARY_CHARS])
                for key, c in self.characters.items()
            ],
            scenes=[
                SceneSummary(
                    id=key,
                    title=s.title,
                    location=s.location,
                    description=s.description[:SUMMARY_CHARS],
                    npcs=list(s.npcs),
                )
                for key, s in self.scenes.items()
            ],
            doc_ids=list(self.doc_ids),
        )

    def _summary_fields(self) -> dict[str, Any]:
        return {
            "world_id": self.world_id,
            "title": self.title,
            "language": self.language,
            "version": self.version,
            "license": self.license,
            "total_chunks": self.total_chunks,
        }


class WorldStore:
    """Reads worlds. A published version never changes, so versions are kept; pointers are looked at each time."""

    def __init__(self, storage: Storage, writer: Writer) -> None:
        self._storage = storage
        self._writer = writer
        self._tables: dict[str, AsyncTable] = {}
        self._versions: dict[tuple[str, int], World] = {}
        self._known_pointers: dict[str, Pointer] = {}
        self._pointers_at: int | None = None  # the table's version that they were read at
        self._connection: AsyncConnection | None = None
        self._connecting = asyncio.Lock()

    async def current(self, world_id: str) -> World:
        """The published version of a world. `NotFound` says how to see which worlds there are."""
        pointer = await self.pointer(world_id)
        if pointer is None:
            raise no_world(world_id)
        if pointer.is_deleted:
            raise _deleted(world_id)
        return await self.version(world_id, pointer.version)

    async def pointer(self, world_id: str) -> Pointer | None:
        """The world's pointer, a deleted world's too; None where there never was such a world."""
        return (await self._pointers()).get(world_id)

    async def _pointers(self) -> dict[str, Pointer]:
        """Every world's pointer. Read anew when the table has changed: to look whether it has costs a seventh."""
        with storage_errors("reading worlds"):
            try:
                table = await self._open("worlds")
            except ValueError:
                return {}  # no such table yet: nothing was ever uploaded
            at = await table.version()
            if at != self._pointers_at:
                # Whole rows: a table that its writer has not opened since an older release has no `deleted_at` yet.
                rows = await table.query().to_list()
                self._known_pointers = {row["id"]: Pointer(row["version"], row.get("deleted_at")) for row in rows}
                self._pointers_at = at
        return self._known_pointers

    async def version(self, world_id: str, version: int) -> World:
        """A published version, old ones and those of a deleted world too. `NotFound` where the world never had it."""
        known = self._versions.get((world_id, version))
        if known is not None:
            return known
        pointer = await self.pointer(world_id)
        if pointer is None:
            raise no_world(world_id)
        rows = await self._rows("world_versions", f"id = {sql_literal(version_id(world_id, version))}")
        if not rows or version > pointer.version:
            raise NotFound(f"The world {world_id!r} has no version {version}; its newest is {pointer.version}.")
        found = _world_version(rows[0])
        if len(self._versions) >= MAX_CACHED_VERSIONS:
            self._versions.pop(next(iter(self._versions)))
        self._versions[world_id, version] = found
        return found

    async def list(self) -> list[WorldSummary]:
        """Every published world, by id."""
        pointers = sorted((id, each.version) for id, each in (await self._pointers()).items() if not each.is_deleted)
        missing = [version_id(*pointer) for pointer in pointers if pointer not in self._versions]
        if missing:
            for row in await self._rows("world_versions", sql_in("id", missing)):
                found = _world_version(row)
                self._versions[found.world_id, found.version] = found
        return [self._versions[pointer].summary() for pointer in pointers if pointer in self._versions]

    async def chunk(self, world_id: str, chunk_id: str, version: int | None = None) -> ChunkDetail:
        """A chunk as it was at `version`; without one, as the newest version that holds it has it.

        Raises:
            NotFound: no such world, version or chunk; the version does not hold the chunk; or the world is deleted and
                no version is named.
        """
        world = await (self.current(world_id) if version is None else self.version(world_id, version))
        pointer = await self.pointer(world_id)
        newest = pointer.version if pointer else world.version
        # Row ids are the chunk's, '#' and a tail; '$' is the character after '#'.
        where = f"id >= {sql_literal(chunk_id + '#')} AND id < {sql_literal(chunk_id + '$')}"
        rows = await self._rows(chunks_table(world_id), f"({where}) AND valid_from <= {newest}")
        return chunk_at(world_id, chunk_id, rows, version, newest)

    async def delete(self, world_id: str) -> DeletedWorld:
        """Take a world off the shelf: one commit of one row. Done again it changes nothing and answers the same.

        Raises `NotFound` where there never was such a world.
        """
        pointer = await self.pointer(world_id)
        if pointer is None:
            raise no_world(world_id)
        if pointer.deleted_at is None:
            now = datetime.now(UTC)
            changes = {"deleted_at": now, "updated_at": now}
            answer = await self._writer.update_if_unchanged("worlds", world_id, {"deleted_at": None}, changes)
            assert answer.row is not None, "pointers are never removed"
            pointer = Pointer(answer.row["version"], answer.row["deleted_at"])
        assert pointer.deleted_at is not None
        return DeletedWorld(world_id=world_id, version=pointer.version, deleted_at=pointer.deleted_at)

    async def _rows(self, table: str, where: str | None = None, columns: Any = None) -> Any:
        with storage_errors(f"reading {table}"):
            try:
                opened = await self._open(table)
            except ValueError:
                return []  # no such table yet: nothing was ever uploaded
            query = opened.query()
            if where:
                query = query.where(where)
            if columns:
                query = query.select(columns)
            return await query.to_list()

    async def _open(self, table: str) -> AsyncTable:
        async with self._connecting:
            if self._connection is None:
                # Zero: what an upload acknowledged, the next request must see. Costs 0.25 ms (8 ms on S3).
                self._connection = await self._storage.connect(read_consistency_interval=timedelta(0))
            if table not in self._tables:
                self._tables[table] = await self._connection.open_table(table)
            return self._tables[table]


def no_world(world_id: str) -> NotFound:
    return NotFound(f"There is no world {world_id!r}. GET /worlds (or `holodeck world list`) shows those there are.")


def version_id(world_id: str, version: int) -> str:
    return f"{world_id}@{version}"


def _deleted(world_id: str) -> NotFound:
    return NotFound(
        f"The world {world_id!r} was deleted. Sessions that began in it go on, and what they cite can be read with "
        "their session_id or version; to begin new ones, upload it again."
    )


def manifest_of(
    characters: dict[str, Character],
    scenes: dict[str, Scene],
    style: dict[str, Any],
    doc_ids: list[str],
    embedder: str,
    order: str,
) -> str:
    """The JSON that `world_versions.manifest` holds."""
    return json.dumps(
        {
            "characters": {key: c.model_dump(mode="json") for key, c in characters.items()},
            "scenes": {key: s.model_dump(mode="json") for key, s in scenes.items()},
            "style": style,
            "doc_ids": doc_ids,
            "embedder": embedder,
            "order": order,
        },
        ensure_ascii=False,
        default=str,  # TOML has dates
    )


def _world_version(row: dict[str, Any]) -> World:
    manifest = json.loads(row["manifest"])
    return World(
        world_id=row["world_id"],
        version=int(row["version"]),
        title=row["title"],
        language=row["language"],
        license=row["license"],
        total_chunks=int(row["total_chunks"]),
        created_at=row["created_at"],
        characters={key: Character.model_validate(c) for key, c in manifest.get("characters", {}).items()},
        scenes={key: Scene.model_validate(s) for key, s in manifest.get("scenes", {}).items()},
        style=manifest.get("style", {}),
        doc_ids=tuple(manifest.get("doc_ids", ())),
        embedder=manifest.get("embedder", ""),
        order=manifest.get("order", ""),
    )
