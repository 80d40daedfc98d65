"""Worlds and their versions, as readers see them.

A world is one row in `worlds`: a pointer at a version. A version is one row in `world_versions` and the chunk rows
that are valid at it. Rows above the pointer belong to an upload that has not been published, and are never read here.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sagaforge.datasets.lore_index import chunk_id_of, no_world, valid_at
from sagaforge.datasets.packs import Character, Scene
from sagaforge.datasets.tables import chunks_table, sql_in, sql_literal
from sagaforge.errors import NotFound
from sagaforge.schemas import (
    CharacterSummary,
    Chunk,
    ChunkMetadata,
    SceneSummary,
    WorldDetail,
    WorldSummary,
)
from sagaforge.storage import Storage, storage_errors

if TYPE_CHECKING:
    from lancedb import AsyncConnection, AsyncTable

    from sagaforge.datasets.writer import Writer

SUMMARY_CHARS = 280
MAX_CACHED_VERSIONS = 256


@dataclass(frozen=True)
class World:
    """A world at one published version. `doc_ids` in the order of the pack; `embedder` is the model of its vectors."""

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
        self._known_pointers: dict[str, int] = {}
        self._pointers_at: int | None = None  # the table's version that they were read at
        self._connection: AsyncConnection | None = None
        self._connecting = asyncio.Lock()

    async def current(self, world_id: str) -> World:
        """The published version of a world. `NotFound` says how to see which worlds there are."""
        return await self.version(world_id, await self.current_number(world_id))

    async def current_number(self, world_id: str) -> int:
        """The number that the world's pointer has."""
        pointers = await self._pointers()
        if world_id not in pointers:
            raise no_world(world_id)
        return pointers[world_id]

    async def _pointers(self) -> dict[str, int]:
        """Every world's version. Read anew when the table has changed: to look whether it has costs a seventh."""
        with storage_errors("reading worlds"):
            try:
                table = await self._open("worlds")
            except ValueError:
                return {}  # no such table yet: nothing was ever uploaded
            at = await table.version()
            if at != self._pointers_at:
                rows = await table.query().select(["id", "version"]).to_list()
                self._known_pointers, self._pointers_at = {row["id"]: int(row["version"]) for row in rows}, at
        return self._known_pointers

    async def version(self, world_id: str, version: int) -> World:
        """A published version, old ones too. `NotFound` where the world never had it."""
        known = self._versions.get((world_id, version))
        if known is not None:
            return known
        newest = await self.current_number(world_id)
        rows = await self._rows("world_versions", f"id = {sql_literal(version_id(world_id, version))}")
        if not rows or version > newest:
            raise NotFound(f"The world {world_id!r} has no version {version}; its newest is {newest}.")
        found = _world_version(rows[0])
        if len(self._versions) >= MAX_CACHED_VERSIONS:
            self._versions.pop(next(iter(self._versions)))
        self._versions[world_id, version] = found
        return found

    async def list(self) -> list[WorldSummary]:
        """Every published world, by id."""
        pointers = sorted((await self._pointers()).items())
        missing = [version_id(*pointer) for pointer in pointers if pointer not in self._versions]
        if missing:
            for row in await self._rows("world_versions", sql_in("id", missing)):
                found = _world_version(row)
                self._versions[found.world_id, found.version] = found
        return [self._versions[pointer].summary() for pointer in pointers if pointer in self._versions]

    async def detail(self, world_id: str) -> WorldDetail:
        """The current version with its characters, scenes and documents."""
        return (await self.current(world_id)).detail()

    async def chunk(self, world_id: str, chunk_id: str, version: int | None = None) -> Chunk:
        """A chunk as it was at `version`; without one, as it is now, or as it last was (old saves cite old chunks)."""
        newest = await self.current_number(world_id)
        # Row ids are the chunk's, '#' and a tail; '$' is the character after '#'.
        where = f"id >= {sql_literal(chunk_id + '#')} AND id < {sql_literal(chunk_id + '$')}"
        where += f" AND ({valid_at(version)})" if version is not None else f" AND valid_from <= {newest}"
        rows = await self._rows(chunks_table(world_id), where)
        if not rows:
            at = f" at version {version}" if version is not None else ""
            raise NotFound(f"The world {world_id!r} has no chunk {chunk_id!r}{at}.")
        row = max(rows, key=lambda row: row["valid_from"])
        metadata = ChunkMetadata(source=row["source"], section=row["section"], license=row["license"])
        return Chunk(id=chunk_id_of(row["id"]), text=row["text"], score=1.0, metadata=metadata)

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


def version_id(world_id: str, version: int) -> str:
    return f"{world_id}@{version}"


def manifest_of(
    characters: dict[str, Character], scenes: dict[str, Scene], style: dict[str, Any], doc_ids: list[str], embedder: str
) -> str:
    """The JSON that `world_versions.manifest` holds."""
    return json.dumps(
        {
            "characters": {key: c.model_dump(mode="json") for key, c in characters.items()},
            "scenes": {key: s.model_dump(mode="json") for key, s in scenes.items()},
            "style": style,
            "doc_ids": doc_ids,
            "embedder": embedder,
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
    )
