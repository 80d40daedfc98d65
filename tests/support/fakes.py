"""Hand-written fakes for what functions hold, and a small real world on a real LanceDB: support for tests."""

from __future__ import annotations

import asyncio
import atexit
import functools
import json
import shutil
import tempfile
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from sagaforge.datasets.adapters import AdapterStore
from sagaforge.datasets.images import Gallery
from sagaforge.datasets.packs.pack import Character, Document, Pack, Scene
from sagaforge.datasets.sessions import SessionStore
from sagaforge.datasets.store.writer import TableWriter
from sagaforge.datasets.styles import Styles
from sagaforge.datasets.worlds.ingest import chunk_pack, ingest
from sagaforge.datasets.worlds.world_store import WorldStore
from sagaforge.deployments.diffusion.interface import ImageEvent, ImageSpec, Made, Progress
from sagaforge.deployments.llm.client import Finished, GenerationEvent, Piece, Restarted
from sagaforge.deployments.retrieval.interface import RetrievedLore
from sagaforge.deployments.retrieval.lore_lines import LineSelector
from sagaforge.functions.catalog import Services
from sagaforge.functions.images.generate import Studio
from sagaforge.imaging.image_bytes import as_png, as_preview
from sagaforge.profiles import get_profile
from sagaforge.schemas import Chunk, ChunkMetadata, UploadResponse
from sagaforge.settings import Settings
from sagaforge.storage import Storage

PIECE_CHARS = 7
ENGINE_S = 0.25
WORLD_ID = "harbour"

TIDE = "Mara Venn winds the tide clock at dawn."
LIGHT = "The harbour light burns whale oil."
INVENTED = "A stranger sings of silver dragons."


def answer(
    sentences: Sequence[tuple[str, list[int]]] = ((TIDE, [1]),),
    *,
    dialogues: Sequence[dict[str, str]] = (),
    choices: Sequence[dict[str, Any]] | None = None,
    changes: Sequence[dict[str, Any]] = (),
) -> str:
    """A model's turn as JSON, keys in the order of generation."""
    offered = choices if choices is not None else [{"text": "Ask about the clock."}, {"text": "Walk to the light."}]
    return json.dumps(
        {
            "narration": [{"lore": marks, "text": text} for text, marks in sentences],
            "dialogues": list(dialogues),
            "choices": [{"text": "", "if": [], "then": [], **choice} for choice in offered],
            "changes": list(changes),
        },
        ensure_ascii=False,
    )


class Hang:
    """A step at which a generation waits until somebody closes it."""


Step = str | Restarted | Exception | Hang


class FakeLLM:
    """Plays one script entry per generation, and the default answer when there is none left.

    A step of text streams in small pieces; `Restarted()` says that the engine was lost; an exception is raised; `Hang`
    waits. `payloads` are what came in; `num_abandoned` counts generations that were closed or cancelled midway.
    """

    model_id = "fake"

    def __init__(self, max_model_len: int = 2048) -> None:
        self.max_model_len = max_model_len
        self.script: deque[tuple[Step, ...]] = deque()
        self.payloads: list[dict[str, Any]] = []
        self.num_abandoned = 0
        self.is_generating = asyncio.Event()

    def will(self, *steps: Step) -> None:
        self.script.append(steps)

    async def generate(self, payload: dict[str, Any]) -> AsyncGenerator[GenerationEvent, None]:
        is_done = False
        try:
            async for step in self._play(payload, answer()):
                if isinstance(step, Restarted):
                    yield step
                else:
                    for start in range(0, len(step), PIECE_CHARS):
                        yield Piece(step[start : start + PIECE_CHARS])
                        await asyncio.sleep(0)
            is_done = True
            yield Finished(reason="stop", num_prompt_tokens=10, num_tokens=20, engine_s=ENGINE_S)
        except Exception:
            is_done = True
            raise
        finally:
            self.num_abandoned += not is_done

    async def complete(self, payload: dict[str, Any]) -> AsyncGenerator[str, None]:
        is_done = False
        try:
            async for step in self._play(payload, '{"object":"chat.completion"}'):
                yield str(step)
            is_done = True
        finally:
            self.num_abandoned += not is_done

    async def _play(self, payload: dict[str, Any], default: str) -> AsyncIterator[str | Restarted]:
        self.payloads.append(payload)
        for step in self.script.popleft() if self.script else (default,):
            if isinstance(step, Exception):
                raise step
            if isinstance(step, Hang):
                self.is_generating.set()
                await asyncio.Event().wait()
            else:
                yield step

    @property
    def prompts(self) -> list[str]:
        """The user's part of each prompt that came in."""
        return [payload["messages"][-1]["content"] for payload in self.payloads]


class FakeRetrieval:
    """Finds the same chunks whatever is asked; `queries` are what was searched for, `asked` what was to be judged."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.chunks = list(chunks)
        self.queries: list[tuple[str, int, str]] = []
        self.asked: list[str | None] = []
        self.error: Exception | None = None
        self.barrier: asyncio.Barrier | None = None

    async def search(
        self, world_id: str, version: int, query: str, *, top_k: int, rerank: bool = False, source: str | None = None
    ) -> list[Chunk]:
        self.queries.append((world_id, version, query))
        if self.barrier is not None:
            await self.barrier.wait()
        if self.error is not None:
            raise self.error
        return [chunk for chunk in self.chunks if source in (None, chunk.metadata.source)][:top_k]

    async def read(
        self, world_id: str, version: int, query: str, *, top_k: int, asked: str | None = None, **limits: Any
    ) -> RetrievedLore:
        self.asked.append(asked)
        chunks = await self.search(world_id, version, query, top_k=top_k, rerank=True)
        lines = await LineSelector(FakeEmbedder()).select(chunks, query, asked=asked, **limits)
        return RetrievedLore(chunks, lines)


class FakeImages:
    """Paints noise of the seed. `specs` are what came in; `errors` are raised by the next pictures, one each; with
    `hangs` a picture waits after its first step until somebody closes it, which `num_abandoned` counts."""

    name = "fake"

    def __init__(self) -> None:
        self.specs: list[ImageSpec] = []
        self.errors: deque[Exception] = deque()
        self.hangs = False
        self.num_abandoned = 0
        self.is_painting = asyncio.Event()

    async def is_ready(self) -> bool:
        return True

    async def generate(self, spec: ImageSpec) -> AsyncGenerator[ImageEvent, None]:
        self.specs.append(spec)
        pixels = np.random.default_rng(spec.seed).integers(60, 200, (8, 8, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((spec.width, spec.height), Image.Resampling.BICUBIC)
        is_done = False
        try:
            for done in range(1, spec.steps + 1):
                preview = as_preview(image.resize((16, 16))) if spec.preview_every else None
                yield Progress(done, spec.steps, preview)
                await asyncio.sleep(0)
                self.is_painting.set()
                if self.hangs:
                    await asyncio.Event().wait()
                if self.errors:
                    is_done = True
                    raise self.errors.popleft()
            is_done = True
            adapters = [{"name": name, "scale": scale, "sha256": "ab" * 32} for name, scale in spec.adapters]
            facts = {"backend": "fake", "model": "fake-sdxl", "model_sha256": "cd" * 32, "versions": {"fake": "1"}}
            yield Made(as_png(image), {**facts, "adapters": adapters, "worked_s": 0.5})
        finally:
            self.num_abandoned += not is_done


class FakeIngestion:
    """Reads the file and says that it became a world."""

    def __init__(self) -> None:
        self.uploads: list[tuple[str, bytes, str, str | None, bool]] = []
        self.error: Exception | None = None
        self.encoding: str | None = None

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
        self.encoding = encoding
        self.uploads.append((name, file.read(), world_id, license, overwrite))
        if self.error is not None:
            raise self.error
        return UploadResponse(world_id=world_id, version=1, doc_ids=["doc_1"], total_chunks=3)


class FakeEmbedder:
    """Vectors without meaning; not static, so that lines are selected by BM25 alone."""

    name, dim, reads_chinese, is_static = "fake-embedder", 8, False, False

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.ones((len(texts), self.dim), dtype=np.float32) / np.sqrt(self.dim, dtype=np.float32)


HARBOUR = Pack(
    title="The Harbour",
    language="en",
    documents=(
        Document("lorebook.md", f"# The Harbour\n\n## Clock\n\n{TIDE}\n\n## Light\n\n{LIGHT} It never went out.\n"),
    ),
    characters={
        "mara": Character(name="Mara Venn", personality="patient", description="Keeper of the tide clock."),
        "tam": Character(name="Tam Reed"),
    },
    scenes={
        "quay": Scene(title="The quay", description="Fog.", location="Old Quay", details="A rope.", npcs=["mara"]),
        "tower": Scene(title="The tower", description="Stairs.", location="Clock Tower", npcs=["tam"]),
    },
)


@dataclass
class House:
    """Functions' services, with fakes where an engine would be."""

    services: Services
    llm: FakeLLM
    retrieval: FakeRetrieval
    ingestion: FakeIngestion
    images: FakeImages
    storage: Storage

    async def publish(self, pack: Pack = HARBOUR) -> None:
        """Publish a world version through the real ingestion."""
        writer = TableWriter(self.storage, "library")
        await ingest(pack, WORLD_ID, None, True, storage=self.storage, writer=writer, embedder=FakeEmbedder())
        await writer.close()


@functools.cache
def _published() -> Path:
    """A storage folder with the world in it, made once; each house gets a copy."""
    folder = Path(tempfile.mkdtemp(prefix="sagaforge-test-house-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


async def make_house(folder: Path, **settings: Any) -> House:
    """A house on `folder` with the world `harbour` in it."""
    if is_copy := any(_published().iterdir()):
        shutil.copytree(_published(), folder, dirs_exist_ok=True)
    storage = Storage(str(folder))
    play = TableWriter(storage, "play")
    llm, ingestion, images = FakeLLM(), FakeIngestion(), FakeImages()
    retrieval = FakeRetrieval([chunk for chunk in lore_chunks(HARBOUR) if chunk.metadata.source == "lorebook.md"])
    services = Services(
        settings=Settings(storage=str(folder), **settings),
        profile=replace(get_profile("pocket"), retrieve_top_k=4),
        llm=llm,
        retrieval=retrieval,
        worlds=WorldStore(storage, TableWriter(storage, "library")),
        sessions=SessionStore(storage, play),
        ingestion=ingestion,
        studio=Studio(
            images=images,
            gallery=Gallery(storage, play),
            styles=Styles(storage),
            adapters=AdapterStore(storage),
            profile=get_profile("pocket").image,
        ),
    )
    house = House(services, llm, retrieval, ingestion, images, storage)
    if not is_copy:
        await house.publish()
        await house.services.sessions.head("nobody")  # makes the play tables
        shutil.copytree(folder, _published(), dirs_exist_ok=True)
    return house


def lore_chunks(pack: Pack) -> list[Chunk]:
    return [
        Chunk(id=d.chunk_id, text=d.text, score=1.0, metadata=ChunkMetadata(source=d.source, section=d.section))
        for d in chunk_pack(pack, WORLD_ID)
    ]
