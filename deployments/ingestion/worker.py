"""One process that ingests uploads, one at a time: a Ray actor with everything loaded before the first file comes.

Parsing hostile files must not take anything else down, so each upload gets a limit on memory, and its process is killed
when it goes beyond it or beyond its deadline (`ingestion.py`).
"""

from __future__ import annotations

import asyncio
import os
import resource
from io import BytesIO
from pathlib import Path
from typing import Any

import ray

from sagaforge.errors import SagaForgeError, TooLarge
from sagaforge.schemas import UploadResponse
from sagaforge.storage import Storage

MIB = 1024**2
# Below the ingress and the engine in the kernel's eyes: an upload may be slow, a turn may not.
NICENESS = 5
# A process that has kept more than this of what uploads needed is given back to the system.
MAX_KEPT_BYTES = 256 * MIB


@ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)
class IngestionWorker:
    """Call `warm` first; it may be called again, and tells the process id.

    Args:
        memory_bytes: what the data segment may grow by for one upload. What the models need comes on top.
    """

    def __init__(self, storage: Storage, embedder: str, memory_bytes: int) -> None:
        self._storage = storage
        self._embedder_name = embedder
        self._memory_bytes = memory_bytes
        self._embedder: Any = None
        self._warm_bytes = 0

    def warm(self) -> int:
        """Loads what every upload needs, by a rehearsal that stores nothing.

        Raises:
            Unavailable: the embedding model can't be loaded.
        """
        if self._embedder is None:
            os.nice(NICENESS)
            from sagaforge.datasets.packs.pack import read_upload
            from sagaforge.datasets.store.writer import get_writer
            from sagaforge.datasets.worlds.ingest import chunk_pack
            from sagaforge.deployments.embedding.embedder import load_embedder

            embedder = load_embedder(self._embedder_name)
            drafts = chunk_pack(read_upload("rehearsal.md", BytesIO(b"# Rehearsal\n\nA line.\n")), "rehearsal")
            embedder.encode([draft.search_text for draft in drafts])
            self._writer = get_writer(self._storage, "library")
            self._embedder = embedder
            self._warm_bytes = data_bytes()
        return os.getpid()

    def ingest(
        self,
        blob: bytes,
        name: str,
        *,
        world_id: str,
        license: str | None,
        overwrite: bool,
        encoding: str | None = None,
    ) -> tuple[UploadResponse | SagaForgeError, bool]:
        """What became of one upload (a refusal too is an answer), and whether this process may take another."""
        from sagaforge.datasets.packs.pack import read_upload
        from sagaforge.datasets.worlds.ingest import ingest

        async def store() -> UploadResponse:
            return await ingest(
                pack,
                world_id,
                license,
                overwrite,
                storage=self._storage,
                writer=self._writer,
                embedder=self._embedder,
            )

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (data_bytes() + self._memory_bytes, hard))
        try:
            pack = read_upload(name, BytesIO(blob), encoding=encoding)
            answer: UploadResponse | SagaForgeError = asyncio.run(store())
        except SagaForgeError as refusal:
            answer = refusal.with_traceback(None)
        except MemoryError:
            return out_of_memory(self._memory_bytes), False
        return answer, data_bytes() - self._warm_bytes < MAX_KEPT_BYTES


def out_of_memory(memory_bytes: int) -> TooLarge:
    return TooLarge(
        f"Reading the upload needs more than the {memory_bytes // MIB} MiB it may use; nothing of it was "
        "published. Split the world into smaller packs, or raise SAGAFORGE_UPLOAD_MEMORY_BYTES."
    )


def data_bytes() -> int:
    """The size of this process's data segment, which is what RLIMIT_DATA bounds; 0 where the system doesn't tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmData:")), 0)
