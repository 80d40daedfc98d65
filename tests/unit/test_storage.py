"""Storage on a local folder: artefacts, objects, and what it says when it can't write."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path

import pytest

from sagaforge.errors import InvalidInput, NotFound, StorageUnavailable
from sagaforge.storage import Storage, storage_errors

pytestmark = pytest.mark.unit


async def test_an_artefact_comes_back_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    uri = await storage.put_artefact("images/ab/cat.png", b"one")
    await storage.put_artefact("images/ab/cat.png", b"two")
    assert await storage.get_artefact("images/ab/cat.png") == b"two"
    assert Path(uri).read_bytes() == b"two"
    assert [path.name for path in (tmp_path / "artefacts/images/ab").iterdir()] == ["cat.png"]
    with pytest.raises(NotFound, match=r"dog\.png"):
        await storage.get_artefact("images/ab/dog.png")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/../../x", "/etc/passwd", "a//b", "a/./b", "a\\..\\b", "a\0b", ".hidden", "a/"]
)
async def test_a_name_that_could_leave_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    storage = Storage(str(tmp_path))
    with pytest.raises(InvalidInput):
        await storage.put_artefact(name, b"x")
    with pytest.raises(InvalidInput):
        await storage.get_artefact(name)


def test_of_many_who_create_an_object_one_wins(tmp_path: Path) -> None:
    storage, won = Storage(str(tmp_path)), []

    def create(i: int) -> None:
        if storage.put_object("writers/play/1", str(i).encode(), if_absent=True):
            won.append(i)

    threads = [threading.Thread(target=create, args=(i,)) for i in range(16)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(won) == 1
    assert storage.get_object("writers/play/1") == str(won[0]).encode()
    assert storage.list_objects("writers/play") == ["1"]


def test_a_writable_folder_is_made_and_left_clean(tmp_path: Path) -> None:
    Storage(str(tmp_path / "new" / "root")).check_writable()
    assert [path.name for path in (tmp_path / "new/root").rglob("*") if path.is_file()] == []


# The tests may run as root, whom no permission bits stop; these stop everybody.
@pytest.mark.parametrize("make_root", [lambda tmp: tmp / "file" / "data", lambda tmp: Path("/proc/sagaforge")])
def test_an_unwritable_folder_is_said_with_what_to_do(tmp_path: Path, make_root) -> None:
    (tmp_path / "file").write_text("in the way")
    root = make_root(tmp_path)
    with pytest.raises(StorageUnavailable) as caught:
        Storage(str(root)).check_writable()
    assert str(root) in caught.value.detail
    assert "SAGAFORGE_STORAGE" in caught.value.detail


def test_it_is_a_value_that_travels_and_keeps_its_secret(tmp_path: Path) -> None:
    storage = Storage("s3://bucket/prefix/", "http://127.0.0.1:1", "us-east-1", "key", "secret")
    assert pickle.loads(pickle.dumps(storage)) == storage
    assert "secret" not in repr(storage).replace("s3_secret", "")
    assert storage.tables_uri == "s3://bucket/prefix/tables"
    with pytest.raises(InvalidInput, match="bucket"):
        Storage("s3://")


def test_only_storage_failures_are_translated() -> None:
    with pytest.raises(StorageUnavailable, match="reading failed"), storage_errors("reading"):
        raise RuntimeError("lance error: LanceError(IO): No space left on device")
    with pytest.raises(RuntimeError, match="no such column"), storage_errors("reading"):
        raise RuntimeError("no such column")
