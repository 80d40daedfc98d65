"""Verbs on worlds and their lore: upload, list, show, retrieve."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import BinaryIO

from pydantic import Field, field_validator

from sagaforge.datasets.encodings import codec_name
from sagaforge.datasets.worlds import WorldStore
from sagaforge.deployments.ingestion import Ingestion
from sagaforge.deployments.retrieval import LoreSearch
from sagaforge.schemas import (
    Chunk,
    Identifier,
    RetrieveRequest,
    RetrieveResponse,
    Shape,
    UploadResponse,
    WorldDetail,
    WorldList,
)


class WorldRef(Shape):
    world_id: Identifier


class ChunkRef(Shape):
    world_id: Identifier
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


@dataclass(frozen=True)
class UploadedFile:
    """A file as it came in: its name and its bytes, already counted against the upload limit."""

    name: str
    file: BinaryIO


async def list_worlds(*, worlds: WorldStore) -> WorldList:
    return WorldList(worlds=await worlds.list())


async def show_world(request: WorldRef, *, worlds: WorldStore) -> WorldDetail:
    return await worlds.detail(request.world_id)


async def show_chunk(request: ChunkRef, *, worlds: WorldStore) -> Chunk:
    return await worlds.chunk(request.world_id, request.chunk_id)


async def upload(request: Upload, *, file: UploadedFile, ingestion: Ingestion) -> UploadResponse:
    return await ingestion.run(
        file.name,
        file.file,
        world_id=request.world_id,
        license=request.license,
        overwrite=request.overwrite,
        encoding=request.encoding,
    )


async def retrieve(request: RetrieveRequest, *, retrieval: LoreSearch, worlds: WorldStore) -> RetrieveResponse:
    started = time.perf_counter()
    version = request.version or (await worlds.current(request.world_id)).version
    chunks = await retrieval.search(
        request.world_id,
        version,
        request.query,
        top_k=request.top_k,
        rerank=request.rerank,
        source=request.source,
    )
    return RetrieveResponse(chunks=chunks, query_time_ms=round(1000 * (time.perf_counter() - started), 2))
