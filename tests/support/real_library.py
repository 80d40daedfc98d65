"""A house whose lore is real: uploads are read, stored and searched in this process; only the models are fakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from sagaforge.datasets.packs.pack import read_upload
from sagaforge.datasets.store.writer import TableWriter, Writer
from sagaforge.datasets.worlds.ingest import ingest
from sagaforge.datasets.worlds.world_store import WorldStore
from sagaforge.deployments.retrieval.index import LoreIndex
from sagaforge.deployments.retrieval.interface import RetrievedLore
from sagaforge.deployments.retrieval.lore_lines import LineSelector
from sagaforge.schemas import Chunk, UploadResponse
from sagaforge.storage import Storage
from tests.support.fakes import FakeEmbedder, House, answer, make_house
from tests.support.http_client import app_of, client_of


class LocalIngestion:
    """`Ingestion` without a worker."""

    def __init__(self, storage: Storage, writer: Writer) -> None:
        self.storage, self.writer = storage, writer

    async def run(
        self,
        name: str,
        file: BinaryIO,
        *,
        world_id: str,
        license: str | None,
        overwrite: bool,
        encoding: str | None = None,
    ) -> UploadResponse:
        pack = read_upload(name, BytesIO(file.read()), encoding=encoding)
        return await ingest(
            pack, world_id, license, overwrite, storage=self.storage, writer=self.writer, embedder=FakeEmbedder()
        )


class LocalSearch:
    """`LoreSearch` without a replica."""

    def __init__(self, storage: Storage) -> None:
        self._index = LoreIndex(storage, FakeEmbedder(), vector_weight=0.0)
        self._lines = LineSelector(FakeEmbedder())

    async def search(
        self, world_id: str, version: int, query: str, *, top_k: int, rerank: bool = False, source: str | None = None
    ) -> list[Chunk]:
        return await self._index.search(world_id, version, query, top_k, source=source)

    async def read(
        self, world_id: str, version: int, query: str, *, top_k: int, asked: str | None = None, **limits: Any
    ) -> RetrievedLore:
        chunks = await self._index.search(world_id, version, query, top_k)
        return RetrievedLore(chunks, await self._lines.select(chunks, query, asked=asked, **limits))


@dataclass
class Library:
    """A bundle's routes over a real library, and what tests do there. `world` is the world they do it with."""

    house: House
    client: httpx.AsyncClient
    writer: TableWriter
    world: str = "w"

    async def upload(
        self, *sections: str | tuple[str, str], overwrite: bool = True, status: int = 200, **fields: str
    ) -> dict[str, Any]:
        """Upload a lorebook; a section is its text (its title is its first word), or (title, text)."""
        pairs = [(section.split()[0], section) if isinstance(section, str) else section for section in sections]
        text = "".join(f"## {title}\n\n{text}\n\n" for title, text in pairs)
        form = {"world_id": self.world, "overwrite": str(overwrite).lower(), **fields}
        answer = await self.client.post("/rag/upload", data=form, files={"file": ("lorebook.md", text.encode())})
        assert answer.status_code == status, answer.text
        return answer.json()

    async def turn(self, text: str, *, status: int = 200, key: str | None = None, **fields: Any) -> dict[str, Any]:
        """Take a turn that asks for `text`, says it, and cites the first line that was found."""
        self.house.llm.will(answer([(text, [1])]))
        body = {"message": text, "world_id": self.world, **fields}
        headers = {"Idempotency-Key": key} if key else {}
        response = await self.client.post("/llm/turn", json=body, headers=headers)
        if status != 200 or key:
            self.house.llm.script.clear()
        assert response.status_code == status, response.text
        return response.json()

    async def get(self, path: str, status: int = 200, **query: Any) -> dict[str, Any]:
        response = await self.client.get(path, params=query)
        assert response.status_code == status, response.text
        return response.json()

    async def chunk(self, chunk_id: str, status: int = 200, **query: Any) -> dict[str, Any]:
        return await self.get(f"/worlds/{self.world}/chunks/{chunk_id}", status, **query)

    async def found(self, query: str, **fields: Any) -> list[dict[str, Any]]:
        """What a search finds, best first."""
        return (await self.retrieve(query, **fields))["chunks"]

    async def retrieve(self, query: str, status: int = 200, **fields: Any) -> dict[str, Any]:
        body = {"world_id": self.world, "query": query, "top_k": 100, **fields}
        response = await self.client.post("/rag/retrieve", json=body)
        assert response.status_code == status, response.text
        return response.json()

    async def delete(self, status: int = 200) -> dict[str, Any]:
        response = await self.client.delete(f"/worlds/{self.world}")
        assert response.status_code == status, response.text
        return response.json()

    async def ids(self, version: int, texts: Sequence[str]) -> dict[str, str]:
        """The id of each text at a version."""
        found = {chunk["text"]: chunk["id"] for chunk in await self.found(" ".join(texts), version=version)}
        return {text: found[text] for text in texts}


async def open_library(folder: Path) -> Library:
    house = await make_house(folder)
    writer = TableWriter(house.storage, "library")
    services = replace(
        house.services,
        worlds=WorldStore(house.storage, writer),
        ingestion=LocalIngestion(house.storage, writer),
        retrieval=LocalSearch(house.storage),
    )
    house = replace(house, services=services)
    return Library(house, client_of(app_of(house)), writer)
