"""The writer as an actor: found by name, killed with -9 in the middle of writes, back without losing anything."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sagaforge.datasets.sessions import SessionStore, StoredTurn, derive_turn_id
from sagaforge.datasets.store.writer import NAMESPACE, actor_name, get_writer
from sagaforge.errors import InvalidInput
from sagaforge.storage import Storage

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def storage(cluster: None, tmp_path: Path) -> Iterator[Storage]:
    storage = Storage(str(tmp_path))
    yield storage
    for group in ("play", "library"):
        with suppress(ValueError):  # it was never started
            ray.kill(ray.get_actor(actor_name(storage, group), namespace=NAMESPACE))


def turn_of(session_id: str, n: int) -> StoredTurn:
    return StoredTurn(
        id=derive_turn_id(session_id, str(n)), session_id=session_id, parent_id=str(n), seq=n, message="look",
        narration=f"{session_id} turn {n}", turn="{}", world_id="neo", world_version=1,
    )  # fmt: skip


async def test_killed_mid_writes_nothing_acknowledged_is_lost_or_doubled(storage: Storage) -> None:
    writer = get_writer(storage, "play")
    store = SessionStore(storage, writer)
    num_turns, is_over = dict.fromkeys(["s1", "s2", "s3", "s4"], 0), asyncio.Event()
    counted = asyncio.Condition()

    async def play(session_id: str) -> None:
        while not is_over.is_set():  # so that every kill comes in the middle of writes
            _, is_new = await store.commit_turn(turn_of(session_id, num_turns[session_id]))
            assert is_new, f"{session_id} {num_turns[session_id]}: a repeated call was told that another had been first"
            async with counted:
                num_turns[session_id] += 1
                counted.notify_all()

    async def kill_now_and_then() -> int:
        killed: set[int] = set()
        for _ in range(3):
            pid = (await writer.about())["pid"]  # type: ignore[attr-defined]
            least = {session: num + 5 for session, num in num_turns.items()}
            async with counted:  # however slow the machine is
                await counted.wait_for(lambda least=least: all(num_turns[s] >= least[s] for s in least))
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
            await store.commit_turn(turn_of("kills", len(killed)))
        is_over.set()
        return len(killed)

    try:
        async with asyncio.timeout(240), asyncio.TaskGroup() as tasks:
            kills = tasks.create_task(kill_now_and_then())
            for session in num_turns:
                tasks.create_task(play(session))
    except TimeoutError:
        pytest.fail(f"writes stand still: {num_turns}")
    assert kills.result() == 3
    table = await (await storage.connect()).open_table("turns")
    rows = await table.query().select(["id"]).to_list()
    assert len(rows) == len({row["id"] for row in rows}) == sum(num_turns.values()) + 3
    for session, num in num_turns.items():
        assert [turn.seq for turn in await store.history(session, 100_000)] == list(range(num))


async def test_any_process_finds_the_same_writer_and_gets_its_errors(storage: Storage) -> None:
    here = get_writer(storage, "play")

    @ray.remote(num_cpus=0)
    def elsewhere(writer) -> int:
        async def run() -> int:
            await writer.insert_if_absent("sessions", [])
            return (await writer.about())["pid"]

        return asyncio.run(run())

    pid = (await here.about())["pid"]  # type: ignore[attr-defined]
    assert pid != os.getpid()
    assert await elsewhere.remote(here) == pid
    assert (await get_writer(storage, "play").about())["pid"] == pid  # type: ignore[attr-defined]
    assert (await get_writer(storage, "library").about())["pid"] != pid  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match="no such columns: colour") as caught:
        await here.insert_if_absent("sessions", [{"id": "s", "colour": "red"}])
    assert type(caught.value) is InvalidInput


async def test_a_writer_that_was_killed_for_good_is_started_again(storage: Storage) -> None:
    writer = get_writer(storage, "play")
    store = SessionStore(storage, writer)
    await store.commit_turn(turn_of("s1", 1))
    ray.kill(ray.get_actor(actor_name(storage, "play"), namespace=NAMESPACE))
    await asyncio.sleep(0.5)
    await store.commit_turn(turn_of("s1", 2))
    assert [turn.seq for turn in await store.history("s1", 9)] == [1, 2]
