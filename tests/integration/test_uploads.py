"""Worlds of one's own through the running bundle: upload, versions, pinning, and files that mean harm."""

from __future__ import annotations

import asyncio
import concurrent.futures
import io
import os
import signal
import stat
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from sagaforge.datasets.store.writer import get_writer
from sagaforge.datasets.worlds.world_store import WorldStore
from sagaforge.deployments.ingestion.pool import MAX_WORKERS, WarmIngestion
from sagaforge.errors import DeadlineExceeded, InvalidInput, NotFound, TooLarge, Unavailable
from sagaforge.storage import Storage
from tests.support.bundle import Bundle

CHARACTERS = """
characters:
  bela:
    name: Bela Orrick
    description: Bela Orrick mends bells in the tower of Sallow Weir.
    personality: Dry and patient.
"""
SCENES = """
scenes:
  tower:
    title: The bell tower
    location: Sallow Weir tower
    description: Ropes hang from the dark.
    npcs: [bela]
"""
LORE = "# Sallow Weir\n\n## The great bell\n\nThe great bell of Sallow Weir weighs {weight} stone.\n\n"
FILLER = "".join(
    f"## Lock {n}\n\nLock {n} of the canal was dug in {1500 + n} by the guild of diggers number {n}.\n\n"
    for n in range(40)
)


def pack(weight: int = 400, **extra: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("characters.yaml", CHARACTERS)
        archive.writestr("scenes.yaml", SCENES)
        archive.writestr("lorebook.md", LORE.format(weight=weight) + FILLER)
        for name, content in extra.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def upload(
    bundle: Bundle, world: str, content: bytes, *, name: str = "world.zip", overwrite: bool = False
) -> httpx.Response:
    fields = {"world_id": world, "license": "CC-BY-SA-4.0", "overwrite": str(overwrite).lower()}
    with bundle.client() as client:
        return client.post("/rag/upload", files={"file": (name, content)}, data=fields)


def weights(bundle: Bundle, version: int | None = None) -> str:
    body = {"world_id": "sallow", "query": "How heavy is the great bell?", "top_k": 2}
    with bundle.client() as client:
        answer = client.post("/rag/retrieve", json=body | ({"version": version} if version else {}))
    assert answer.status_code == 200, answer.text
    return " ".join(chunk["text"] for chunk in answer.json()["chunks"])


def test_a_world_of_ones_own_is_played_and_a_session_keeps_its_version(bundle: Bundle) -> None:
    first = upload(bundle, "sallow", pack(400))
    assert first.status_code == 200, first.text
    assert first.json()["version"] == 1
    session = bundle.turn(world_id="sallow", message="How heavy is the great bell?", max_tokens=64)
    assert session["game_state"]["world_version"] == 1

    again = upload(bundle, "sallow", pack(400))
    assert (again.status_code, again.json()["version"]) == (200, 1), "the same content made a version"
    refused = upload(bundle, "sallow", pack(700))
    assert refused.status_code == 409
    assert "overwrite" in refused.json()["detail"]

    second = upload(bundle, "sallow", pack(700), overwrite=True)
    assert second.json()["version"] == 2
    # Lore may be a second stale.
    time.sleep(1.5)
    assert "700 stone" in weights(bundle)
    assert "400 stone" not in weights(bundle)
    assert "400 stone" in weights(bundle, version=1)
    old = bundle.turn(world_id="sallow", session_id=session["session_id"], message="And the bell?", max_tokens=64)
    assert old["game_state"]["world_version"] == 1
    assert bundle.turn(world_id="sallow", max_tokens=64)["game_state"]["world_version"] == 2


def test_a_citation_stays_what_it_was_and_a_deleted_world_is_gone(bundle: Bundle) -> None:
    def lore(*sentences: str) -> bytes:
        return "".join(f"## {sentence.split()[1]}\n\n{sentence}\n\n" for sentence in sentences).encode()

    def get(path: str, **query: object) -> httpx.Response:
        with bundle.client() as client:
            return client.get(f"/worlds/ferry{path}", params=query)

    def send(*sentences: str, overwrite: bool = True) -> httpx.Response:
        return upload(bundle, "ferry", lore(*sentences), name="lore.md", overwrite=overwrite)

    brass, iron, rope = "The ferry bell is brass.", "The ferry bell is iron.", "The rope hangs from the quay."
    assert send(brass).json()["version"] == 1
    session = bundle.turn(world_id="ferry", message="What is the ferry bell made of?", max_tokens=64)["session_id"]
    with bundle.client() as client:
        found = client.post("/rag/retrieve", json={"world_id": "ferry", "query": "bell", "session_id": session}).json()
        unknown = client.post("/rag/retrieve", json={"world_id": "ferry", "query": "bell", "version": 99})
    assert (unknown.status_code, found["version"]) == (404, 1)
    (chunk_id,) = [chunk["id"] for chunk in found["chunks"]]
    for sentences in ((iron,), (rope, iron), (rope,)):
        assert send(*sentences).status_code == 200
        for query in ({}, {"version": 1}, {"session_id": session}):
            assert get(f"/chunks/{chunk_id}", **query).json()["text"] == brass
    assert get("", verison=1).status_code == 422

    with bundle.client() as client:
        deleted, again = client.delete("/worlds/ferry"), client.delete("/worlds/ferry")
        assert (deleted.status_code, again.status_code, again.json()) == (200, 200, deleted.json())
        assert "ferry" not in {world["world_id"] for world in client.get("/worlds").json()["worlds"]}
        turn = {"world_id": "ferry", "message": "Who is here?", "max_tokens": 64}
        assert client.post("/llm/turn", json=turn).status_code == 404
    assert (get("").status_code, get(f"/chunks/{chunk_id}").status_code) == (404, 404)
    assert get(f"/chunks/{chunk_id}", session_id=session).json()["text"] == brass
    going_on = bundle.turn(world_id="ferry", session_id=session, message="And the bell?", max_tokens=64)
    assert going_on["game_state"]["world_version"] == 1
    assert send(iron, overwrite=False).json()["version"] == 5
    assert get("").json()["version"] == 5


def test_a_single_text_is_a_world_too(bundle: Bundle) -> None:
    text = "# 河口\n\n河口的守燈人叫顧青,他每晚點亮三盞燈。\n".encode()
    assert upload(bundle, "hekou", text, name="hekou.md").status_code == 200
    with bundle.client() as client:
        world = client.get("/worlds/hekou").json()
        found = client.post("/rag/retrieve", json={"world_id": "hekou", "query": "谁点灯", "top_k": 1}).json()
    assert world["language"] == "zh-Hant"
    assert "顧青" in found["chunks"][0]["text"]


def _link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("lorebook.md")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


YAML_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join('*' + chr(97 + i) for _ in range(9))}]\n" for i in range(8)
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("slip.zip", pack(**{"../../etc/cron.d/x": b"x"})),
        ("bomb.zip", pack(**{"big.txt": b"0" * 600_000_000})),
        ("link.zip", _link()),
        ("yaml.zip", pack(**{"style.toml": b"= ="})),
        ("laugh.zip", pack(**{"more/characters.yaml": YAML_BOMB.encode()})),
        ("cut.zip", pack()[:200]),
        ("latin.txt", b"caf\xe9 \xff\xfe\x00"),
        ("empty.md", b""),
        ("run.exe", b"MZ"),
        ("none", b"text"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hostile_files_are_refused_and_leave_nothing(bundle: Bundle, name: str, content: bytes) -> None:
    answer = upload(bundle, "hostile", content, name=name)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.json()["detail"]) > 20
    with bundle.client() as client:
        assert client.get("/worlds/hostile").status_code == 404


def test_an_upload_never_stalls_the_ingress(bundle: Bundle) -> None:
    lore = "".join(
        f"## Reach {n}\n\n" + f"The reach {n} holds {n} wrecks and a lamp. " * 30 + "\n\n" for n in range(6000)
    )
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        uploading = pool.submit(upload, bundle, "large", lore.encode(), name="large.md")
        num_probes = 0
        while not uploading.done():
            with bundle.client() as client:
                assert client.get("/healthz").status_code == 200
            num_probes += 1
            time.sleep(0.05)
    answer = uploading.result()
    assert answer.status_code == 200, answer.text
    assert answer.json()["total_chunks"] >= 6000
    assert num_probes > 10


# --- the process that reads uploads: warm, and replaced when something was wrong with it ------------------------------

SMALL = b"# Ferry\n\nThe ferry bell of Sallow Weir was cast from brass.\n"
LARGE = "".join(f"## Weir {n}\n\n" + f"The weir {n} has {n} gates. " * 40 + "\n\n" for n in range(40_000)).encode()
Make = Callable[..., WarmIngestion]


@pytest.fixture
def make(bundle: Bundle, cluster: None) -> Make:
    """Ingestion of our own beside the bundle's, with the same writer; its workers end with this test's driver."""
    storage = Storage(str(bundle.storage))

    def make(*, memory_mib: int = 512, deadline_s: float = 120) -> WarmIngestion:
        return WarmIngestion(storage, "pocket-embedder", memory_bytes=memory_mib * 1024**2, deadline_s=deadline_s)

    return make


async def send(ingestion: WarmIngestion, world: str, content: bytes = SMALL, name: str = "small.md") -> Any:
    return await ingestion.run(name, io.BytesIO(content), world_id=world, license=None, overwrite=True)


async def warm_pid(ingestion: WarmIngestion) -> int:
    """The process id of the worker that takes the next upload."""
    worker = await ingestion._take()
    ingestion._ready.put_nowait(worker)
    return int(await worker.warm.remote())


async def ended(pid: int) -> bool:
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        await asyncio.sleep(0.1)
    return False


async def busy_pid(ingestion: WarmIngestion, before: int) -> int:
    """The same worker, once it is at work: by the time that it has had on a core."""
    process = psutil.Process(before)
    idle = process.cpu_times().user
    for _ in range(3000):
        if process.cpu_times().user - idle > 0.3:
            return before
        await asyncio.sleep(0.02)
    raise AssertionError("the worker never began")


async def published(bundle: Bundle, world: str) -> bool:
    storage = Storage(str(bundle.storage))
    try:
        await WorldStore(storage, get_writer(storage, "library")).current(world)
    except NotFound:
        return False
    return True


async def test_one_process_takes_one_upload_after_the_other(make: Make) -> None:
    ingestion = make()
    await ingestion.keep_warm(0)
    pid = await warm_pid(ingestion)
    for number in range(3):
        assert (await send(ingestion, f"warm-{number}")).total_chunks == 1
        with pytest.raises(InvalidInput):
            await send(ingestion, "refused", b"caf\xe9 \xff\xfe\x00")
    assert await warm_pid(ingestion) == pid
    assert psutil.Process(pid).nice() == 5


async def test_an_upload_past_its_deadline_is_ended(bundle: Bundle, make: Make) -> None:
    ingestion = make(deadline_s=1.5, memory_mib=2048)
    await ingestion.keep_warm(0)
    await asyncio.gather(*ingestion._starting)
    pid = await warm_pid(ingestion)
    with pytest.raises(DeadlineExceeded, match="SAGAFORGE_UPLOAD_DEADLINE_S"):
        await send(ingestion, "late", LARGE)
    assert await ended(pid)
    assert not await published(bundle, "late")
    await asyncio.gather(*ingestion._starting)
    assert (await send(ingestion, "after-late")).version == 1
    assert await warm_pid(ingestion) != pid


async def test_an_upload_that_needs_too_much_memory_is_refused(bundle: Bundle, make: Make) -> None:
    ingestion = make(memory_mib=64)
    pid = await warm_pid(ingestion)
    with pytest.raises(TooLarge, match="64 MiB"):
        await send(ingestion, "huge", LARGE)
    assert await ended(pid)
    assert not await published(bundle, "huge")
    assert (await send(ingestion, "after-huge")).version == 1


@pytest.mark.parametrize("when", ["idle", "busy"])
async def test_a_worker_that_died_is_replaced(bundle: Bundle, make: Make, when: str) -> None:
    ingestion = make(memory_mib=2048)
    pid = await warm_pid(ingestion)
    if when == "busy":
        sending = asyncio.create_task(send(ingestion, "killed", LARGE))
        os.kill(await busy_pid(ingestion, pid), signal.SIGKILL)
        with pytest.raises(TooLarge):
            await sending
        assert not await published(bundle, "killed")
    else:
        os.kill(pid, signal.SIGKILL)
        assert await ended(pid)
    assert (await send(ingestion, f"after-killed-{when}")).version == 1
    assert await warm_pid(ingestion) != pid


async def test_a_caller_that_hangs_up_ends_the_work(bundle: Bundle, make: Make) -> None:
    ingestion = make(memory_mib=2048)
    pid = await warm_pid(ingestion)
    sending = asyncio.create_task(send(ingestion, "left", LARGE))
    await busy_pid(ingestion, pid)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert await ended(pid)
    assert not await published(bundle, "left")
    assert (await send(ingestion, "after-left")).version == 1


async def test_many_at_once_share_few_processes_in_their_order(make: Make) -> None:
    ingestion = make()
    taken: list[str] = []
    free = ingestion._ready.get

    async def get() -> Any:
        worker = await free()
        taken.append(asyncio.current_task().get_name())  # type: ignore[union-attr]
        return worker

    ingestion._ready.get = get  # type: ignore[method-assign]
    sending = []
    for number in range(12):  # one after the other into the queue: files are read in threads, which have no order
        sending.append(asyncio.create_task(send(ingestion, f"many-{number}"), name=f"many-{number}"))
        for _ in range(1000):
            if ingestion._num_waiting > number or sending[-1].done():
                break
            await asyncio.sleep(0.002)
    uploaded = await asyncio.gather(*sending)
    assert [one.world_id for one in uploaded] == taken == [f"many-{number}" for number in range(12)]
    assert ingestion._num_workers <= MAX_WORKERS


async def test_a_worker_that_cant_be_warmed_is_told(bundle: Bundle, cluster: None, tmp_path: Path) -> None:
    missing = str(tmp_path / "no-such-model")
    ingestion = WarmIngestion(Storage(str(bundle.storage)), missing, memory_bytes=512 * 1024**2, deadline_s=60)
    for _ in range(2):  # a failure is not kept for the next one
        with pytest.raises(Unavailable):
            await send(ingestion, "never")
    assert ingestion._num_workers == 0
