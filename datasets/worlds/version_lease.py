"""The lease on a world version: who works on a version holds its row in `world_versions`, and renews it meanwhile.

One upload of a world at a time gets on. A lease that is no longer renewed belongs to a dead upload, and is taken over.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sagaforge.datasets.packs.pack import Pack
from sagaforge.datasets.worlds.world_store import WorldStore, version_id
from sagaforge.errors import Conflict, SagaForgeError

if TYPE_CHECKING:
    from sagaforge.datasets.store.writer import Writer

log = logging.getLogger(__name__)

HEARTBEAT_S = 5.0
# An upload that has not renewed its lease for this long is dead, and its work is thrown away.
CLAIM_EXPIRES_S = 30.0


@dataclass
class VersionLease:
    writer: Writer
    row_id: str
    attempt: str
    manifest: str
    is_lost: bool = False

    async def renew(self) -> None:
        now = datetime.now(UTC)
        answer = await self.writer.update_if_unchanged(
            "world_versions", self.row_id, {"manifest": self.manifest}, {"created_at": now}
        )
        self.is_lost = self.is_lost or not answer.updated

    def check(self) -> None:
        if self.is_lost:
            raise Conflict("Another upload of this world took over, because this one made no progress. Upload again.")

    async def finish(self, manifest: str, total_chunks: int) -> None:
        """Turn the lease into the version's row. Raises `Conflict` if it was taken over."""
        changes = {"manifest": manifest, "total_chunks": total_chunks, "created_at": datetime.now(UTC)}
        answer = await self.writer.update_if_unchanged(
            "world_versions", self.row_id, {"manifest": self.manifest}, changes
        )
        self.is_lost = self.is_lost or not answer.updated
        self.check()
        self.manifest = manifest


@asynccontextmanager
async def leased(
    writer: Writer, worlds: WorldStore, world_id: str, version: int, pack: Pack, license: str | None
) -> AsyncIterator[VersionLease]:
    """Hold the row of an unpublished version. Given up when the work fails, so that the next upload need not wait."""
    attempt = uuid.uuid4().hex[:8]
    marker = json.dumps({"staging": attempt})
    row: dict[str, Any] = {
        "id": version_id(world_id, version), "world_id": world_id, "version": version, "title": pack.title,
        "language": pack.language, "license": license, "manifest": marker, "total_chunks": 0,
        "created_at": datetime.now(UTC),
    }  # fmt: skip
    (answer,) = await writer.insert_if_absent("world_versions", [row])
    if not answer.inserted:
        pointer = await worlds.pointer(world_id)
        if pointer is not None and pointer.version >= version:
            raise Conflict(f"Another upload of {world_id!r} was published first. Look at it, then upload again.")
        await _take_over(writer, world_id, version, answer.row, row)
    lease = VersionLease(writer, row["id"], attempt, marker)
    renewing = asyncio.create_task(_renew_for_ever(lease))
    try:
        yield lease
    except BaseException:
        renewing.cancel()
        expired = {"created_at": datetime.fromtimestamp(0, UTC)}
        try:
            await writer.update_if_unchanged("world_versions", row["id"], {"manifest": lease.manifest}, expired)
        except SagaForgeError:  # the first error is the one to tell; this lease will expire by itself
            log.warning("the lease on %s could not be given up", row["id"])
        raise
    finally:
        renewing.cancel()


async def _take_over(writer: Writer, world_id: str, version: int, held: dict[str, Any], row: dict[str, Any]) -> None:
    """Take the row of a dead upload: one whose lease has expired, or that died between its last two steps."""
    age = datetime.now(UTC) - held["created_at"]
    if age < timedelta(seconds=CLAIM_EXPIRES_S):
        raise Conflict(f"Another upload of {world_id!r} is under way. Wait until it is done, then upload again.")
    changes = {k: v for k, v in row.items() if k not in ("id", "world_id", "version")}
    answer = await writer.update_if_unchanged("world_versions", row["id"], {"manifest": held["manifest"]}, changes)
    if not answer.updated:
        raise Conflict(f"Another upload of {world_id!r} is under way. Wait until it is done, then upload again.")


async def _renew_for_ever(lease: VersionLease) -> None:
    while not lease.is_lost:
        await asyncio.sleep(HEARTBEAT_S)
        try:
            await lease.renew()
        except SagaForgeError:
            log.warning("the lease on %s could not be renewed; trying again", lease.row_id)
