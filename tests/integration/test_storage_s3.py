"""The same storage and the same writer on a local folder and on S3 (a real S3 API on loopback), and an S3 outage."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sagaforge.datasets.sessions import SessionStore, StoredTurn, derive_turn_id
from sagaforge.datasets.store.writer import Fenced, TableWriter
from sagaforge.errors import NotFound, StorageUnavailable
from sagaforge.storage import Storage

pytestmark = pytest.mark.integration

BUCKET = "sagaforge-test"


class Proxy:
    """A TCP proxy whose connections can be cut: an outage. (moto forgets everything when it is stopped itself.)"""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.is_down = False
        self.num_lost = 0
        self._lose: bytes | None = None
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.is_down:
                client.close()
                continue
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            is_lost = threading.Event()
            for pump, source, sink in ((self._ask, client, server), (self._reply, server, client)):
                threading.Thread(target=pump, args=(source, sink, is_lost), daemon=True).start()

    def _ask(self, source: socket.socket, sink: socket.socket, is_lost: threading.Event) -> None:
        with source, sink, suppress(OSError):
            while data := source.recv(65536):
                if self._lose and data.startswith(b"PUT ") and self._lose in data.split(b"\r\n", 1)[0]:
                    self._lose = None
                    self.num_lost += 1
                    is_lost.set()
                sink.sendall(data)

    def _reply(self, source: socket.socket, sink: socket.socket, is_lost: threading.Event) -> None:
        with source, sink, suppress(OSError):
            while data := source.recv(65536):
                if is_lost.is_set():
                    sink.shutdown(socket.SHUT_RDWR)
                    return
                sink.sendall(data)

    def lose_reply_to_put(self, path_part: bytes) -> None:
        """The next PUT of such a path is done, and nobody hears of it."""
        self._lose = path_part

    def stop(self) -> int:
        """Cut every connection; how many ends were alive."""
        self.is_down = True
        num_alive = 0
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
                num_alive += 1
        self._sockets = []
        return num_alive

    def resume(self) -> None:
        self.is_down = False

    def close(self) -> None:
        self.stop()
        self._listener.close()


def s3_storage(port: int, prefix: str) -> Storage:
    return Storage(f"s3://{BUCKET}/{prefix}", f"http://127.0.0.1:{port}", "us-east-1", "key", "secret")


@pytest.fixture(scope="module")
def s3_port() -> Iterator[int]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    s3_storage(port, "")._s3().create_bucket(Bucket=BUCKET)
    yield port
    server.stop()


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return Storage(str(tmp_path))
    return s3_storage(request.getfixturevalue("s3_port"), uuid.uuid4().hex)


@pytest.fixture
def proxy(s3_port: int) -> Iterator[Proxy]:
    proxy = Proxy(("127.0.0.1", s3_port))
    yield proxy
    proxy.close()


def turn_of(n: int, session_id: str = "s1") -> StoredTurn:
    return StoredTurn(
        id=derive_turn_id(session_id, str(n)), session_id=session_id, parent_id=str(n), seq=n, message="look",
        narration=f"Turn {n}", turn="{}", world_id="neo", world_version=1,
    )  # fmt: skip


async def num_rows(storage: Storage, table: str) -> int:
    return await (await (await storage.connect()).open_table(table)).count_rows()


async def test_artefacts_and_the_probe(storage: Storage) -> None:
    storage.check_writable()
    assert storage.list_objects("writers") == []
    uri = await storage.put_artefact("worlds/neo.zip", b"pack")
    assert uri == f"{storage.artefacts_uri}/worlds/neo.zip"
    assert await storage.get_artefact("worlds/neo.zip") == b"pack"
    with pytest.raises(NotFound):
        await storage.get_artefact("worlds/none.zip")
    assert [storage.put_object("writers/x/1", b"", if_absent=True) for _ in range(3)] == [True, False, False]
    assert storage.list_objects("writers/x") == ["1"]
    assert storage.list_objects("writers/x", after="1") == []


async def test_concurrent_turns_reads_and_a_successor(storage: Storage) -> None:
    writer = TableWriter(storage, "play", compact_every=10)
    store = SessionStore(storage, writer)
    answers = await asyncio.gather(*(store.commit_turn(turn_of(n)) for _ in range(2) for n in range(1, 21)))
    assert [is_new for _, is_new in answers].count(True) == 20
    assert await store.head("s1") == await store.get_turn(turn_of(20).id)
    for n in range(21, 41):
        await store.commit_turn(turn_of(n))
        head = await store.head("s1")
        assert head is not None
        assert head.seq == n

    successor = TableWriter(storage, "play")
    await successor.start()
    with pytest.raises(Fenced):
        await store.commit_turn(turn_of(41))
    newer = SessionStore(storage, successor)
    assert (await newer.commit_turn(turn_of(40)))[1] is False
    assert (await newer.commit_turn(turn_of(41)))[1] is True
    await writer.close()
    assert await num_rows(storage, "turns") == 41


def test_a_missing_bucket_and_a_dead_endpoint_are_said(s3_port: int) -> None:
    missing = Storage("s3://no-such-bucket/x", f"http://127.0.0.1:{s3_port}", "us-east-1", "key", "secret")
    with pytest.raises(StorageUnavailable, match=r"bucket s3://no-such-bucket/x can't be written.*SAGAFORGE_STORAGE"):
        missing.check_writable()
    with pytest.raises(StorageUnavailable, match="SAGAFORGE_S3_ENDPOINT"):
        s3_storage(1, "x").check_writable()


async def test_an_outage_is_said_in_time_and_retries_after_it_double_nothing(proxy: Proxy) -> None:
    storage = s3_storage(proxy.port, uuid.uuid4().hex)
    writer = TableWriter(storage, "play")
    store = SessionStore(storage, writer)
    await store.commit_turn(turn_of(1))
    await store.head("s1")
    proxy.stop()
    began = time.monotonic()
    with pytest.raises(StorageUnavailable):
        await store.commit_turn(turn_of(2))
    assert time.monotonic() - began < 30
    with pytest.raises(StorageUnavailable):
        await store.head("s1")
    proxy.resume()
    for n in (1, 2, 3):
        await store.commit_turn(turn_of(n))
    assert [turn.seq for turn in await store.history("s1", 10)] == [1, 2, 3]
    assert await num_rows(storage, "turns") == 3


async def test_commits_that_nobody_hears_of_lose_and_double_nothing(proxy: Proxy) -> None:
    """The worst point to lose a reply: the manifest is written, and with it the row. The client's own retry then finds
    it there and cannot know whose it is."""
    storage = s3_storage(proxy.port, uuid.uuid4().hex)
    store = SessionStore(storage, TableWriter(storage, "play"))
    await store.commit_turn(turn_of(0))
    for n in range(1, 11):
        proxy.lose_reply_to_put(b"turns.lance/_versions/")
        while True:
            try:
                stored, _ = await store.commit_turn(turn_of(n))
                break
            except StorageUnavailable:
                continue
        assert stored.narration == f"Turn {n}"
    assert proxy.num_lost == 10
    assert await num_rows(storage, "turns") == 11


async def test_connections_cut_again_and_again_lose_and_double_nothing(proxy: Proxy) -> None:
    """Replies get lost at any point of a commit; whoever hears no answer sends the same turn again."""
    storage = s3_storage(proxy.port, uuid.uuid4().hex)
    store = SessionStore(storage, TableWriter(storage, "play"))
    await store.commit_turn(turn_of(0))
    num_cuts, is_done = 0, asyncio.Event()

    async def cut() -> None:
        nonlocal num_cuts
        while not is_done.is_set():
            await asyncio.sleep(0.05)
            num_cuts += proxy.stop()
            proxy.resume()

    cutter = asyncio.create_task(cut())
    for n in range(1, 31):
        while True:
            try:
                stored, _ = await store.commit_turn(turn_of(n))
                break
            except StorageUnavailable:  # often the client's own retries hide a cut
                continue
        assert stored.narration == f"Turn {n}"
    is_done.set()
    await cutter
    assert num_cuts, "the cuts hit nothing"
    assert await num_rows(storage, "turns") == 31
