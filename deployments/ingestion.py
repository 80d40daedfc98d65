"""Ingestion: an upload becomes a world version in a process of its own.

Parsing hostile files and embedding thousands of chunks must neither stall the ingress nor take it down, so each upload
is a Ray task in a fresh worker with a memory limit, and is killed at its deadline. Nothing is visible before its last
step publishes the version, so a killed one leaves the world as it was.
"""

from __future__ import annotations

import asyncio
import os
import resource
from io import BytesIO
from typing import BinaryIO, Protocol

import ray
from ray.exceptions import OutOfMemoryError, RayTaskError, TaskCancelledError, WorkerCrashedError

from sagaforge.errors import DeadlineExceeded, SagaForgeError, TooLarge
from sagaforge.schemas import UploadResponse
from sagaforge.storage import Storage

# Below the ingress and the engine in the kernel's eyes: an upload may be slow, a turn may not.
NICENESS = 5


class Ingestion(Protocol):
    """Ingestion as functions see it."""

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
        """Read, chunk, embed, store and publish one upload.

        Raises:
            InvalidInput, UnsupportedType, TooLarge: the file is not what it must be; the message names the part.
            Conflict: the world exists and `overwrite` is false.
            DeadlineExceeded: it took too long. Nothing of it was published.
        """
        ...


class TaskIngestion:
    """`Ingestion` as one Ray task an upload.

    Args:
        memory_bytes: data segment that the worker may grow to before the upload is refused.
        deadline_s: seconds after which the worker is killed.
    """

    def __init__(self, storage: Storage, embedder: str, *, memory_bytes: int, deadline_s: float) -> None:
        self._storage = storage
        self._embedder = embedder
        self._memory_bytes = memory_bytes
        self._deadline_s = deadline_s

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
        blob = await asyncio.to_thread(lambda: ray.put(file.read()))
        task = _ingest.remote(
            self._storage, self._embedder, self._memory_bytes, blob, name, world_id, license, overwrite, encoding
        )
        try:
            async with asyncio.timeout(self._deadline_s):
                return await task
        except TimeoutError as exc:
            raise DeadlineExceeded(
                f"The upload was still being read after {self._deadline_s:.0f} s and was stopped; nothing of it was "
                "published. Split the world into smaller packs, or raise SAGAFORGE_UPLOAD_DEADLINE_S."
            ) from exc
        except (WorkerCrashedError, OutOfMemoryError, TaskCancelledError) as exc:
            raise _out_of_memory(self._memory_bytes) from exc
        except RayTaskError as exc:
            if isinstance(exc.cause, SagaForgeError):
                raise exc.cause from None
            if isinstance(exc.cause, MemoryError):
                raise _out_of_memory(self._memory_bytes) from exc
            raise
        finally:
            # Of no effect on a finished task; after a timeout or a hang-up it ends the worker.
            ray.cancel(task, force=True)


def _out_of_memory(memory_bytes: int) -> TooLarge:
    return TooLarge(
        f"Reading the upload needs more than the {memory_bytes // 1024**2} MiB it may use; nothing of it was "
        "published. Split the world into smaller packs, or raise SAGAFORGE_UPLOAD_MEMORY_BYTES."
    )


# A worker that has carried a memory limit can't be used for anything else, hence max_calls.
@ray.remote(num_cpus=0, max_retries=0, max_calls=1)
def _ingest(
    storage: Storage,
    embedder: str,
    memory_bytes: int,
    blob: bytes,
    name: str,
    world_id: str,
    license: str | None,
    overwrite: bool,
    encoding: str | None,
) -> UploadResponse:
    os.nice(NICENESS)
    from sagaforge.datasets.embedder import load_embedder
    from sagaforge.datasets.ingest import ingest
    from sagaforge.datasets.packs import read_upload
    from sagaforge.datasets.writer import get_writer

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, hard))
    pack = read_upload(name, BytesIO(blob), encoding=encoding)

    async def store() -> UploadResponse:
        return await ingest(
            pack,
            world_id,
            license,
            overwrite,
            storage=storage,
            writer=get_writer(storage, "library"),
            embedder=load_embedder(embedder),
        )

    return asyncio.run(store())
