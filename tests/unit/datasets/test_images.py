"""The gallery: pictures and their rows, on a real LanceDB."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image

from sagaforge.datasets.images import Gallery, StoredImage, derive_image_id
from sagaforge.datasets.store.writer import TableWriter
from sagaforge.errors import NotFound
from sagaforge.storage import Storage

START = datetime(2026, 11, 22, tzinfo=UTC)


def png(colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 32), colour).save(out, "PNG")
    return out.getvalue()


def image(number: int) -> StoredImage:
    image_id = derive_image_id({"seed": number})
    return StoredImage(
        id=image_id,
        sha256=hashlib.sha256(png()).hexdigest(),
        width=64,
        height=32,
        prompt=f"picture {number}",
        model="pocket-sdxl",
        receipt="{}",
        watermark=f"{number:010x}",
        created_at=START + timedelta(seconds=number),
    )


async def keep(gallery: Gallery, number: int) -> StoredImage:
    return await gallery.keep(image(number).id, png(), lambda _: image(number))


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    storage = Storage(str(tmp_path))
    return Gallery(storage, TableWriter(storage, "play"))


async def test_a_picture_is_found_by_id_and_by_its_watermark(gallery: Gallery) -> None:
    assert await gallery.get(image(1).id) is None
    stored = await keep(gallery, 1)
    assert await gallery.get(stored.id) == stored == image(1)
    assert await gallery.of_watermark(f"{1:010x}") == stored
    assert await gallery.of_watermark("ff") is None
    assert await gallery.png(stored) == png()


async def test_the_same_picture_is_stored_once_and_its_row_tells_of_the_file_that_is_there(gallery: Gallery) -> None:
    """A second attempt, or one that died between file and row, may have made another file."""
    seen: list[bytes] = []

    def row_of(body: bytes) -> StoredImage:
        seen.append(body)
        return StoredImage(**{**image(1).to_row(), "created_at": START + timedelta(days=len(seen))})

    first = await gallery.keep(image(1).id, png("red"), row_of)
    again = await gallery.keep(image(1).id, png("blue"), row_of)
    assert again == first
    assert seen == [png("red"), png("red")]
    assert await gallery.png(first) == png("red")
    assert len(await gallery.newest(10)) == 1


async def test_a_picture_to_start_from_is_kept_by_its_hash(gallery: Gallery) -> None:
    sha256 = await gallery.keep_input(png())
    assert sha256 == await gallery.keep_input(png()) == hashlib.sha256(png()).hexdigest()
    assert await gallery.input(sha256) == png()
    with pytest.raises(NotFound, match="not here"):
        await gallery.input("0" * 64)


async def test_the_newest_come_first_in_pages(gallery: Gallery) -> None:
    for number in range(5):
        await keep(gallery, number)
    page = await gallery.newest(2)
    assert [one.prompt for one in page] == ["picture 4", "picture 3"]
    page = await gallery.newest(10, before=page[-1].created_at)
    assert [one.prompt for one in page] == ["picture 2", "picture 1", "picture 0"]


async def test_a_thumbnail_is_made_once(gallery: Gallery) -> None:
    stored = await keep(gallery, 1)
    small = await gallery.thumbnail(stored, 16)
    assert Image.open(io.BytesIO(small)).size == (16, 8)
    assert await gallery.thumbnail(stored, 16) == small


async def test_a_row_without_its_picture_is_no_row(gallery: Gallery) -> None:
    with pytest.raises(NotFound):
        await gallery.png(image(9))


def test_what_decides_a_picture_decides_its_id() -> None:
    assert derive_image_id({"a": 1, "b": "ä"}) == derive_image_id({"b": "ä", "a": 1})
    assert derive_image_id({"a": 1}) != derive_image_id({"a": 2})
