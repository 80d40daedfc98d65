"""What was acknowledged is never lost, what is retried is never doubled: keys, races and killed replicas."""

from __future__ import annotations

import asyncio
import collections
import time
import uuid

import httpx
import lancedb
import pytest
import ray

from tests.support.bundle import TURN, Bundle

NUM_KEYS = 100
CLIENTS_PER_KEY = 4
NUM_SESSIONS = 8
TURNS_PER_SESSION = 13  # 104 in all
SHORT = {**TURN, "max_tokens": 64}

pytestmark = pytest.mark.timeout(900)  # a replica or a bundle takes minutes to start on a busy machine


async def _post_until_done(client: httpx.AsyncClient, body: dict, key: str) -> httpx.Response:
    """As a well-behaved client does: ask again under the same key while the first attempt is being worked on."""
    while True:
        answer = await client.post("/llm/turn", json=body, headers={"Idempotency-Key": key})
        if answer.status_code not in (409, 429) or "retry-after" not in answer.headers:
            return answer
        await asyncio.sleep(float(answer.headers["retry-after"]))


async def _rows(bundle: Bundle, table: str, where: str) -> list[dict]:
    db = await lancedb.connect_async(str(bundle.storage / "tables"))
    return await (await db.open_table(table)).query().where(where).select(["id", "session_id", "seq"]).to_list()


async def test_a_hundred_keys_sent_by_four_clients_each_make_a_hundred_turns(bundle: Bundle) -> None:
    keys = [f"key-{uuid.uuid4().hex}" for _ in range(NUM_KEYS)]
    gate = asyncio.Semaphore(32)

    async def send(key: str) -> tuple[str, dict]:
        async with gate:
            answer = await _post_until_done(client, SHORT, key)
        assert answer.status_code == 200, answer.text
        return key, answer.json()

    async with bundle.async_client() as client:
        answers = await asyncio.gather(*(send(key) for key in keys for _ in range(CLIENTS_PER_KEY)))
        reused = await client.post(
            "/llm/turn", json={**SHORT, "message": "Something else"}, headers={"Idempotency-Key": keys[0]}
        )
    assert reused.status_code == 422
    assert reused.json()["code"] == "idempotency_key_reused"
    turns_of_key = collections.defaultdict(set)
    for key, turn in answers:
        turns_of_key[key].add(turn["turn_id"])
    assert all(len(turns) == 1 for turns in turns_of_key.values())
    assert len({turn for turns in turns_of_key.values() for turn in turns}) == NUM_KEYS
    stored = await _rows(bundle, "turns", " OR ".join(f"idempotency_key = '{key}'" for key in keys))
    assert len(stored) == NUM_KEYS


async def test_of_two_turns_at_once_on_a_session_one_wins(bundle: Bundle) -> None:
    session = bundle.turn(max_tokens=64)["session_id"]
    async with bundle.async_client() as client:
        answers = await asyncio.gather(
            *(client.post("/llm/turn", json={**SHORT, "session_id": session, "message": m}) for m in ("North", "South"))
        )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    lost = next(answer for answer in answers if answer.status_code == 409)
    assert "at the same time" in lost.json()["detail"]
    assert len(await _rows(bundle, "turns", f"session_id = '{session}'")) == 2


async def test_turns_survive_killed_replicas(bundle: Bundle, cluster: None) -> None:
    sessions: dict[str, list[str]] = {}

    async def play(client: httpx.AsyncClient, number: int) -> None:
        session, turns = None, []
        for turn in range(TURNS_PER_SESSION):
            body = {**SHORT, "message": f"Tell me of the {number} lamps, part {turn}"}
            if session:
                body["session_id"] = session
            answer = await _post_until_done(client, body, f"kill-{number}-{turn}-{uuid.uuid4().hex}")
            assert answer.status_code == 200, answer.text
            session = answer.json()["session_id"]
            turns.append(answer.json()["turn_id"])
        sessions[str(session)] = turns

    async def kill_three_times(playing: list[asyncio.Task[None]]) -> int:
        num_killed = 0
        for name in ("retrieval", "llm", "retrieval"):
            await asyncio.sleep(4)
            if all(task.done() for task in playing):
                break
            num_killed += await asyncio.to_thread(_kill_replica, name)
        return num_killed

    async with bundle.async_client() as client:
        playing = [asyncio.create_task(play(client, number)) for number in range(NUM_SESSIONS)]
        num_killed = await kill_three_times(playing)
        await asyncio.gather(*playing)
    assert num_killed == 3, "the turns were over before three replicas could be killed"
    for session, turns in sessions.items():
        stored = sorted(await _rows(bundle, "turns", f"session_id = '{session}'"), key=lambda row: row["seq"])
        assert [row["id"] for row in stored] == turns
        assert [row["seq"] for row in stored] == list(range(1, TURNS_PER_SESSION + 1))


def _kill_replica(deployment: str) -> int:
    """Kill one live replica without a word, as the machine's OOM killer would; wait for one that is still starting."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        # Serve names its replicas SERVE_REPLICA::<app>#<deployment>#<id>.
        names = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
        replica = next((name for name in names if f"#{deployment}#" in name), None)
        if replica is not None:
            ray.kill(ray.get_actor(replica, namespace="serve"), no_restart=True)
            return 1
        time.sleep(0.5)
    return 0
