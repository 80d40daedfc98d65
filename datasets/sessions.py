"""Sessions, turns and claims, as rows with types.

A session is linear: a turn's id is derived from its session and the turn before it, so of two turns on one parent
exactly one is stored. A session's head is derived from its turns, never stored. Reads go to the tables directly and
see every acknowledged write; writes go to the one writer.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from sagaforge.datasets.store.reader import Stored, TableReader
from sagaforge.datasets.store.tables import sql_literal
from sagaforge.datasets.store.writer import Writer
from sagaforge.storage import Storage


def now() -> datetime:
    return datetime.now(UTC)


def derive_turn_id(session_id: str, parent_id: str | None) -> str:
    """The id of the turn that follows `parent_id` (None: the first) in a session: 32 hex digits."""
    return hashlib.sha256(f"turn\0{session_id}\0{parent_id or ''}".encode()).hexdigest()[:32]


def derive_claim_id(scope: str, key: str) -> str:
    """The id of the claim on an idempotency key; `scope` says whose key it is (the caller, the route)."""
    return hashlib.sha256(f"claim\0{scope}\0{key}".encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class StoredSession(Stored):
    """A session and what it is pinned to. `claimed_key`: the idempotency key of the request that started it."""

    world_id: str
    world_version: int
    character_id: str | None = None
    scene_id: str | None = None
    claimed_key: str | None = None
    created_at: datetime = field(default_factory=now)


@dataclass(frozen=True, kw_only=True)
class StoredTurn(Stored):
    """A turn, whole. `id` is `derive_turn_id(session_id, parent_id)`; `seq` counts from 1; `turn` is the JSON of
    `sagaforge.schemas.Turn`; `established`, short facts for the history; `engine_ms`, the engine's own time."""

    session_id: str
    parent_id: str | None
    seq: int
    message: str
    narration: str
    turn: str
    world_id: str
    world_version: int
    established: tuple[str, ...] = ()
    idempotency_key: str | None = None
    body_hash: str | None = None
    engine_ms: float | None = None
    created_at: datetime = field(default_factory=now)

    def to_row(self) -> dict[str, Any]:
        return {**asdict(self), "established": json.dumps(self.established, ensure_ascii=False)}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        return super().from_row({**row, "established": tuple(json.loads(row["established"]))})


@dataclass(frozen=True, kw_only=True)
class IdempotencyClaim(Stored):
    """An idempotency key, taken before any work starts. `id` is `derive_claim_id(scope, key)`; `claimant` is random
    and tells two claims of one key apart; the turn it will make is `turn_id`."""

    body_hash: str
    session_id: str
    turn_id: str
    claimant: str
    parent_id: str | None = None
    claimed_at: datetime = field(default_factory=now)


class SessionStore:
    """Reads and writes of the play tables. May be sent to another process: it connects where it is used."""

    def __init__(self, storage: Storage, writer: Writer) -> None:
        self._storage = storage
        self._writer = writer
        self._reader = TableReader(storage, writer)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._storage, self._writer)

    async def start(self, session: StoredSession) -> tuple[StoredSession, bool]:
        """Stores a session; if the id exists, what is stored, and false."""
        [answer] = await self._writer.insert_if_absent("sessions", [session.to_row()])
        return StoredSession.from_row(answer.row), answer.inserted

    async def get_session(self, session_id: str) -> StoredSession | None:
        rows = await self._reader.rows("sessions", f"id = {sql_literal(session_id)}")
        return StoredSession.from_row(rows[0]) if rows else None

    async def get_turn(self, turn_id: str) -> StoredTurn | None:
        rows = await self._reader.rows("turns", f"id = {sql_literal(turn_id)}")
        return StoredTurn.from_row(rows[0]) if rows else None

    async def head(self, session_id: str) -> StoredTurn | None:
        """The session's last turn."""
        turns = await self.history(session_id, 1)
        return turns[-1] if turns else None

    async def history(self, session_id: str, limit: int) -> list[StoredTurn]:
        """The session's last `limit` turns, the newest last."""
        rows = await self._reader.rows("turns", f"session_id = {sql_literal(session_id)}", newest_by="seq", limit=limit)
        return [StoredTurn.from_row(row) for row in reversed(rows)]

    async def commit_turn(self, turn: StoredTurn) -> tuple[StoredTurn, bool]:
        """Stores a turn; if its parent already has one, that one, and false."""
        [answer] = await self._writer.insert_if_absent("turns", [turn.to_row()])
        return StoredTurn.from_row(answer.row), answer.inserted

    async def claim(self, claim: IdempotencyClaim) -> tuple[IdempotencyClaim, bool]:
        """Claims an idempotency key; if it is taken, the claim that holds it, and false."""
        [answer] = await self._writer.insert_if_absent("claims", [claim.to_row()])
        return IdempotencyClaim.from_row(answer.row), answer.inserted

    async def take_over(self, held: IdempotencyClaim, claimant: str, older_than: timedelta) -> bool:
        """Takes over a claim whose claimant seems to have died: one that is older than `older_than`, and still as
        we saw it. The session, the parent and the turn stay the same."""
        if now() - held.claimed_at < older_than:
            return False
        answer = await self._writer.update_if_unchanged(
            "claims", held.id, {"claimant": held.claimant}, {"claimant": claimant, "claimed_at": now()}
        )
        return answer.updated

    async def release(self, held: IdempotencyClaim) -> None:
        """Give a claim up, so that a retry under its key may take it over at once."""
        long_ago = datetime(1970, 1, 2, tzinfo=UTC)
        await self._writer.update_if_unchanged("claims", held.id, {"claimant": held.claimant}, {"claimed_at": long_ago})
