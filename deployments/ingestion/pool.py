"""Ingestion: an upload becomes a world version in a process of its own, which is warm when the upload comes.

Parsing hostile files and embedding thousands of chunks must neither stall the ingress nor take it down. A process that
hits its deadline or its memory limit, or whose caller hangs up, is killed and replaced. Nothing is visible before its
last step publishes the version, so a killed one leaves the world as it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, BinaryIO

import ray
from ray.exceptions import RayActorError, RayTaskError

from sagaforge.deployments.ingestion.worker import IngestionWorker, out_of_memory
from sagaforge.errors import DeadlineExceeded, SagaForgeError, Unavailable
from sagaforge.schemas import UploadResponse
from sagaforge.storage import Storage

logger = logging.getLogger(__name__)

# One is kept warm; a second is started when two uploads come at once, and stays. Others wait, first come, first served.
NUM_WARM, MAX_WORKERS = 1, 2
WORKER_LOST = "The process that reads uploads did not start; the log has the reason. Try again."


class WarmIngestion:
    """`Ingestion` by a few processes that this one owns: they end when it does. Use it from one event loop.

    Args:
        memory_bytes: what a worker's data segment may grow by before the upload is refused.
        deadline_s: seconds, waiting for a free worker included, after which the worker is killed.
    """

    def __init__(self, storage: Storage, embedder: str, *, memory_bytes: int, deadline_s: float) -> None:
        self._made_of = storage, embedder, memory_bytes
        self._memory_bytes = memory_bytes
        self._deadline_s = deadline_s
        self._ready: asyncio.Queue[Any] = asyncio.Queue()  # workers, or why one could not be warmed
        self._num_workers = 0  # warm, at work or starting
        self._num_waiting = 0
        self._starting: set[asyncio.Task[None]] = set()

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
        try:
            async with asyncio.timeout(self._deadline_s), self._worker() as ingest:
                return await ingest(
                    blob, name, world_id=world_id, license=license, overwrite=overwrite, encoding=encoding
                )
        except TimeoutError as exc:
            raise DeadlineExceeded(
                f"The upload was not done after {self._deadline_s:.0f} s and was stopped; nothing of it was "
                "published. Split the world into smaller packs, or raise SAGAFORGE_UPLOAD_DEADLINE_S."
            ) from exc

    async def keep_warm(self, after_s: float) -> None:
        """Have a worker ready from `after_s` seconds on, whether or not an upload comes before."""
        await asyncio.sleep(after_s)
        if self._num_workers < NUM_WARM:
            self._start()

    @asynccontextmanager
    async def _worker(self) -> AsyncGenerator[Any, None]:
        """A worker's `ingest` to await; the worker is killed unless that has come back and finds it fit."""
        worker = await self._take()
        is_fit = False

        async def ingest(*args: Any, **fields: Any) -> UploadResponse:
            nonlocal is_fit
            try:
                answer, is_fit = await worker.ingest.remote(*args, **fields)
            except RayActorError as exc:  # of its own limit, or of the machine's
                raise out_of_memory(self._memory_bytes) from exc
            if isinstance(answer, SagaForgeError):
                raise answer
            return answer

        try:
            yield ingest
        finally:
            if is_fit:
                self._ready.put_nowait(worker)
            else:
                self._drop(worker)

    async def _take(self) -> Any:
        self._num_waiting += 1
        try:
            while True:
                if self._ready.empty() and self._num_workers < MAX_WORKERS:
                    self._start()
                worker = await self._ready.get()
                if isinstance(worker, SagaForgeError):
                    raise worker
                try:
                    await worker.warm.remote()  # it may have died in the meantime
                    return worker
                except RayActorError:
                    logger.warning("a warm ingestion worker was gone")
                    self._drop(worker)
                except asyncio.CancelledError:
                    self._ready.put_nowait(worker)
                    raise
        finally:
            self._num_waiting -= 1

    def _drop(self, worker: Any) -> None:
        """End a worker at once, and have another where one is wanted."""
        ray.kill(worker)
        self._num_workers -= 1
        if self._num_workers < NUM_WARM or self._num_waiting > self._num_workers:
            self._start()

    def _start(self) -> None:
        self._num_workers += 1
        self._keep(self._warm_up(IngestionWorker.remote(*self._made_of)))  # type: ignore[attr-defined]

    async def _warm_up(self, worker: Any) -> None:
        try:
            await worker.warm.remote()
        except Exception as exc:
            self._num_workers -= 1
            ray.kill(worker)
            cause = exc.cause if isinstance(exc, RayTaskError) else exc
            logger.warning("an ingestion worker could not be warmed", exc_info=exc)
            if self._num_waiting:  # else the next upload tries again
                reason = cause if isinstance(cause, SagaForgeError) else Unavailable(WORKER_LOST)
                self._ready.put_nowait(reason)
        else:
            self._ready.put_nowait(worker)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)
