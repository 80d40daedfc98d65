"""Sessions, turns and claims: linear sessions, reads that see every acknowledged write, keys claimed once."""

from __future__ import annotations

import asyncio
import pickle
from datetime import timedelta
from pathlib import Path

import pytest

from sagaforge.datasets.sessions import (
    IdempotencyClaim,
    SessionStore,
    StoredSession,
    StoredTurn,
    derive_claim_id,
    derive_turn_id,
    now,
)
from sagaforge.datasets.store.writer import TableWriter
from sagaforge.storage import Storage

pytestmark = pytest.mark.unit


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path))


@pytest.fixture
def store(storage: Storage) -> SessionStore:
    return SessionStore(storage, TableWriter(storage, "play", compact_every=20))


def turn_after(parent: StoredTurn | None, text: str = "It rains.", session_id: str = "s1") -> StoredTurn:
    parent_id = parent.id if parent else None
    return StoredTurn(
        id=derive_turn_id(session_id, parent_id), session_id=session_id, parent_id=parent_id,
        seq=parent.seq + 1 if parent else 1, message="look", narration=text, turn='{"narration": "雨"}',
        world_id="neo", world_version=1, established=("Alice's umbrella is red", "下雨"), engine_ms=1.5,
    )  # fmt: skip


def claim_of(claimant: str) -> IdempotencyClaim:
    claim_id = derive_claim_id("turn", "k1")
    return IdempotencyClaim(id=claim_id, body_hash="h", session_id="s1", turn_id="t1", claimant=claimant)


async def test_a_session_and_its_turns_come_back_as_stored(store: SessionStore, storage: Storage) -> None:
    session = StoredSession(id="s1", world_id="neo", world_version=3, character_id="alice")
    assert await store.start(session) == (session, True)
    assert await store.start(StoredSession(id="s1", world_id="other", world_version=1)) == (session, False)
    assert await store.get_session("s1") == session
    assert await store.get_session("nobody's") is None
    assert await store.head("s1") is None
    head = None
    for n in range(5):
        head, is_new = await store.commit_turn(turn_after(head, f"Turn {n}"))
        assert is_new
        assert await store.head("s1") == head
    await store.commit_turn(turn_after(None, "elsewhere", session_id="s2"))
    assert [turn.seq for turn in await store.history("s1", 3)] == [3, 4, 5]
    assert [turn.seq for turn in await store.history("s1", 100)] == [1, 2, 3, 4, 5]
    assert await store.get_turn(head.id) == head
    assert await store.get_turn("none") is None


async def test_two_turns_on_one_parent_one_is_stored(store: SessionStore) -> None:
    first, _ = await store.commit_turn(turn_after(None))
    answers = await asyncio.gather(*(store.commit_turn(turn_after(first, f"Version {n}")) for n in range(8)))
    assert [is_new for _, is_new in answers].count(True) == 1
    assert len({turn.narration for turn, _ in answers}) == 1
    assert [turn.seq for turn in await store.history("s1", 10)] == [1, 2]


async def test_another_reader_sees_every_acknowledged_turn_at_once(store: SessionStore, storage: Storage) -> None:
    reader = SessionStore(storage, TableWriter(storage, "play"))
    head = None
    for _ in range(50):  # through two compactions
        head, _ = await store.commit_turn(turn_after(head))
        seen = await reader.head("s1")
        assert seen is not None
        assert seen.id == head.id


async def test_a_key_is_claimed_once_and_a_dead_claim_can_be_taken_over_once(store: SessionStore) -> None:
    answers = await asyncio.gather(*(store.claim(claim_of(str(n))) for n in range(10)))
    assert [won for _, won in answers].count(True) == 1
    held = answers[0][0]
    assert {claim.claimant for claim, _ in answers} == {held.claimant}
    assert not await store.take_over(held, "z", timedelta(minutes=1))
    taken = await asyncio.gather(*(store.take_over(held, name, timedelta(0)) for name in "xyz"))
    assert taken.count(True) == 1


def test_ids_are_derived_and_unambiguous() -> None:
    assert derive_turn_id("s", None) == derive_turn_id("s", None) != derive_turn_id("s", "t")
    assert derive_turn_id("a", "bc") != derive_turn_id("ab", "c")
    assert len(derive_turn_id("s", None)) == 32
    assert derive_claim_id("s", "k") != derive_turn_id("s", "k")


def test_a_store_travels(storage: Storage) -> None:
    store = SessionStore(storage, None)  # type: ignore[arg-type]
    assert isinstance(pickle.loads(pickle.dumps(store)), SessionStore)
    assert now().tzinfo is not None
