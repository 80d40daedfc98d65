"""How a turn begins: which session and which turn it follows, and whether this very request was answered before.

An idempotency key is claimed before any work starts. The claim names the turn it will make, so a retry finds that
turn, waits for the first attempt, or takes the work over from one that died.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, replace
from datetime import timedelta

from sagaforge.datasets.sessions import IdempotencyClaim, SessionStore, StoredTurn, derive_claim_id, derive_turn_id
from sagaforge.errors import Conflict, InFlight, KeyReused, NotFound
from sagaforge.schemas import TurnRequest

CLAIM_SCOPE = "turn"


@dataclass(frozen=True)
class Opening:
    """Where a new turn goes. `parent` is the turn before it; None: it is the session's first."""

    session_id: str
    turn_id: str
    parent: StoredTurn | None
    idempotency_key: str | None
    body_hash: str
    claim: IdempotencyClaim | None


@dataclass(frozen=True)
class Replay:
    """The turn that this request has already made."""

    turn: StoredTurn


async def recent_turns(session_id: str | None, limit: int, *, sessions: SessionStore) -> list[StoredTurn]:
    """The session's last turns, the newest last; none where a session is to be started. `NotFound`: no such session."""
    if session_id is None:
        return []
    turns = await sessions.history(session_id, limit)
    if not turns:
        raise NotFound(f"There is no session {session_id!r}; leave session_id out to start one.")
    return turns


async def open_turn(
    request: TurnRequest,
    parent: StoredTurn | None,
    *,
    idempotency_key: str | None,
    sessions: SessionStore,
    lease_s: float,
) -> Opening | Replay:
    """Claim the next turn of the request's session.

    Args:
        parent: the session's last turn; None starts a session.
        lease_s: seconds after which an unfinished attempt under the same key counts as dead.

    Raises:
        KeyReused: the key was used with another body.
        InFlight: the same request is being worked on.
        Conflict: another turn of the session came first.
    """
    body_hash = hashlib.sha256(request.model_dump_json(exclude={"stream"}).encode()).hexdigest()
    if idempotency_key is None:
        return _opening(request.session_id or uuid.uuid4().hex, parent, None, body_hash, None)

    claim_id = derive_claim_id(CLAIM_SCOPE, idempotency_key)
    # The claim's own id names a session that its turn starts, so that a retry starts the same one.
    session_id = request.session_id or claim_id
    wanted = IdempotencyClaim(
        id=claim_id,
        body_hash=body_hash,
        session_id=session_id,
        parent_id=parent.id if parent else None,
        turn_id=derive_turn_id(session_id, parent.id if parent else None),
        claimant=uuid.uuid4().hex,
    )
    held, is_ours = await sessions.claim(wanted)
    if is_ours:
        return _opening(session_id, parent, idempotency_key, body_hash, held)
    if held.body_hash != body_hash:
        raise KeyReused("This Idempotency-Key was used with another body; use a new key for a new request.")
    stored = await sessions.get_turn(held.turn_id)
    if stored is not None:
        return Replay(own_turn(stored, idempotency_key))
    if not await sessions.take_over(held, wanted.claimant, timedelta(seconds=lease_s)):
        raise InFlight("This request is already being worked on; ask again under the same key in a second.")
    parent = await sessions.get_turn(held.parent_id) if held.parent_id else None
    return _opening(held.session_id, parent, idempotency_key, body_hash, replace(held, claimant=wanted.claimant))


def own_turn(stored: StoredTurn, idempotency_key: str | None) -> StoredTurn:
    """`stored` if it was made under this key; `Conflict` if another request made it."""
    if idempotency_key is None or stored.idempotency_key != idempotency_key:
        raise Conflict(
            "Another turn of this session was taken at the same time and came first; this one was not taken. "
            "Read that turn, then send yours again (under a new Idempotency-Key)."
        )
    return stored


def _opening(
    session_id: str, parent: StoredTurn | None, key: str | None, body_hash: str, claim: IdempotencyClaim | None
) -> Opening:
    turn_id = derive_turn_id(session_id, parent.id if parent else None)
    return Opening(session_id, turn_id, parent, key, body_hash, claim)
