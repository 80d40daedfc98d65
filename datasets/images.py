"""Made pictures: a row each, and the PNG beside it in the artefacts.

A picture's id is derived from all that decides it (`derive_image_id`), so the same request finds the picture that it
has already made. The PNG is stored before its row, and the row is made of the PNG that is stored: a row always has its
picture, and tells of that one, however many attempts there were.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from PIL import Image

from sagaforge.datasets.sessions import now
from sagaforge.datasets.store.reader import Stored, TableReader
from sagaforge.datasets.store.tables import sql_literal
from sagaforge.datasets.store.writer import Writer
from sagaforge.errors import NotFound
from sagaforge.storage import Storage, artefact_key

THUMBNAIL_QUALITY = 82
TABLE = "images"


def derive_image_id(decisive: Mapping[str, Any]) -> str:
    """32 hex digits for the prompt, seed, sizes, model hash and whatever else decides a picture."""
    canonical = json.dumps(decisive, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"image\0{canonical}".encode()).hexdigest()[:32]


def artefact_name(image_id: str) -> str:
    return f"images/{image_id[:2]}/{image_id}.png"


def input_name(sha256: str) -> str:
    return f"inputs/{sha256[:2]}/{sha256}"


@dataclass(frozen=True, kw_only=True)
class StoredImage(Stored):
    """A picture's row. `receipt`: JSON; `watermark`: the hidden number, in hexadecimal."""

    sha256: str
    width: int
    height: int
    prompt: str
    model: str
    receipt: str
    style_preset: str | None = None
    world_id: str | None = None
    watermark: str | None = None
    license: str | None = None
    created_at: datetime = field(default_factory=now)

    @property
    def artefact(self) -> str:
        return artefact_name(self.id)


class Gallery:
    """Reads and writes of pictures. May be sent to another process."""

    def __init__(self, storage: Storage, writer: Writer) -> None:
        self._storage = storage
        self._writer = writer
        self._reader = TableReader(storage, writer)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._storage, self._writer)

    async def keep(self, image_id: str, png: bytes, row_of: Callable[[bytes], StoredImage]) -> StoredImage:
        """Store a picture with the row that `row_of` reads from it; if its id is there already, what is stored."""
        key = artefact_key(artefact_name(image_id))
        if not await asyncio.to_thread(self._storage.put_object, key, png, if_absent=True):
            png = await self._storage.get_artefact(artefact_name(image_id))
        [answer] = await self._writer.insert_if_absent(TABLE, [row_of(png).to_row()])
        return StoredImage.from_row(answer.row)

    async def keep_input(self, body: bytes) -> str:
        """Store a picture that others start from, under its hash, which is returned."""
        sha256 = hashlib.sha256(body).hexdigest()
        await asyncio.to_thread(self._storage.put_object, artefact_key(input_name(sha256)), body, if_absent=True)
        return sha256

    async def input(self, sha256: str) -> bytes:
        """Raises `NotFound`."""
        try:
            return await self._storage.get_artefact(input_name(sha256))
        except NotFound as exc:
            raise NotFound(f"The picture that this one started from is not here (sha256 {sha256}).") from exc

    async def get(self, image_id: str) -> StoredImage | None:
        rows = await self._reader.rows(TABLE, f"id = {sql_literal(image_id)}")
        return StoredImage.from_row(rows[0]) if rows else None

    async def of_watermark(self, watermark: str) -> StoredImage | None:
        """The picture that a hidden number leads to."""
        rows = await self._reader.rows(TABLE, f"watermark = {sql_literal(watermark)}")
        return StoredImage.from_row(rows[0]) if rows else None

    async def newest(self, limit: int, *, before: datetime | None = None) -> list[StoredImage]:
        """At most `limit` pictures, the newest first; `before`: older than this."""
        where = f"created_at < {sql_literal(before)}" if before else None
        rows = await self._reader.rows(TABLE, where, newest_by="created_at", limit=limit)
        return [StoredImage.from_row(row) for row in rows]

    async def png(self, image: StoredImage) -> bytes:
        return await self._storage.get_artefact(image.artefact)

    async def thumbnail(self, image: StoredImage, size: int) -> bytes:
        """The picture as WebP with its longer side at most `size`, made when first asked for."""
        name = f"thumbnails/{size}/{image.id[:2]}/{image.id}.webp"
        try:
            return await self._storage.get_artefact(name)
        except NotFound:
            body = await asyncio.to_thread(shrunk, await self.png(image), size)
            await self._storage.put_artefact(name, body)
            return body


def shrunk(png: bytes, size: int) -> bytes:
    """A PNG as a WebP that fits into a square of `size` pixels."""
    with Image.open(io.BytesIO(png)) as opened:
        small = opened.convert("RGB")
    small.thumbnail((size, size), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=THUMBNAIL_QUALITY)
    return out.getvalue()
