"""Verbs on worlds and their lore: upload, delete, list, show, retrieve.

What an answer has cited is read at the version that it was cited at: each verb that reads takes a version, or the
session that is pinned to one.
"""

from __future__ import annotations

import time

from pydantic import Field, field_validator

from sagaforge.datasets.packs.encodings import codec_name
from sagaforge.datasets.sessions import SessionStore
from sagaforge.datasets.worlds.world_store import World, WorldStore
from sagaforge.deployments.ingestion.interface import Ingestion
from sagaforge.deployments.retrieval.interface import LoreSearch
from sagaforge.errors import InvalidInput, NotFound
from sagaforge.functions.context import UploadedFile
from sagaforge.schemas import (
    ChunkDetail,
    DeletedWorld,
    Identifier,
    Pinned,
    RetrieveRequest,
    RetrieveResponse,
    Shape,
    UploadResponse,
    WorldDetail,
    WorldList,
)


class WorldRef(Shape):
    world_id: Identifier


class PinnedWorldRef(WorldRef, Pinned):
    pass


class ChunkRef(PinnedWorldRef):
    chunk_id: str = Field(pattern=r"^[A-Za-z0-9_@.:\-]{1,120}$")


class Upload(Shape):
    """The fields of an upload beside its file."""

    world_id: Identifier
    license: str | None = Field(
        None,
        max_length=64,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9 .+:()\-]*$",
        description="SPDX id of its licence, for example CC-BY-SA-4.0",
    )
    overwrite: bool = Field(False, description="publish a new version where the world exists already")
    encoding: str | None = Field(
        None, max_length=40, description="encoding of names and texts that are not UTF-8, for example gb18030 or big5"
    )

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        return None if value is None else codec_name(value)


async def list_worlds(*, worlds: WorldStore) -> WorldList:
    return WorldList(worlds=await worlds.list())


async def show_world(request: PinnedWorldRef, *, worlds: WorldStore, sessions: SessionStore) -> WorldDetail:
    return (await _world(request.world_id, request, worlds, sessions)).detail()


async def show_chunk(request: ChunkRef, *, worlds: WorldStore, sessions: SessionStore) -> ChunkDetail:
    return await worlds.chunk(request.world_id, request.chunk_id, await _version(request.world_id, request, sessions))


async def delete_world(request: WorldRef, *, worlds: WorldStore) -> DeletedWorld:
    return await worlds.delete(request.world_id)


async def upload(request: Upload, *, file: UploadedFile, ingestion: Ingestion) -> UploadResponse:
    return await ingestion.run(
        file.name,
        file.file,
        world_id=request.world_id,
        license=request.license,
        overwrite=request.overwrite,
        encoding=request.encoding,
    )


async def retrieve(
    request: RetrieveRequest, *, retrieval: LoreSearch, worlds: WorldStore, sessions: SessionStore
) -> RetrieveResponse:
    started = time.perf_counter()
    world = await _world(request.world_id, request, worlds, sessions)
    chunks = await retrieval.search(
        world.world_id,
        world.version,
        request.query,
        top_k=request.top_k,
        rerank=request.rerank,
        source=request.source,
    )
    query_time_ms = round(1000 * (time.perf_counter() - started), 2)
    return RetrieveResponse(version=world.version, chunks=chunks, query_time_ms=query_time_ms)


async def _world(world_id: str, pinned: Pinned, worlds: WorldStore, sessions: SessionStore) -> World:
    version = await _version(world_id, pinned, sessions)
    return await (worlds.current(world_id) if version is None else worlds.version(world_id, version))


async def _version(world_id: str, pinned: Pinned, sessions: SessionStore) -> int | None:
    """The version that is asked for, by its number or by a session; None: the current one.

    Raises:
        NotFound: there is no such session.
        InvalidInput: it plays in another world, or at another version than the one that is named too.
    """
    if pinned.session_id is None:
        return pinned.version
    head = await sessions.head(pinned.session_id)
    if head is None:
        raise NotFound(f"There is no session {pinned.session_id!r}.")
    if head.world_id != world_id:
        raise InvalidInput(f"session_id: the session {pinned.session_id!r} plays in the world {head.world_id!r}.")
    if pinned.version not in (None, head.world_version):
        raise InvalidInput(f"version: the session {pinned.session_id!r} plays in version {head.world_version}.")
    return head.world_version
