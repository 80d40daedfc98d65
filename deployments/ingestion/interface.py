"""Ingestion as functions see it: an upload becomes a world version."""

from __future__ import annotations

from typing import BinaryIO, Protocol

from sagaforge.schemas import UploadResponse


class Ingestion(Protocol):
    """Reads uploads."""

    async def run(
        self,
        name: str,
        file: BinaryIO,
        *,
        world_id: str,
        license: str | None,
        overwrite: bool,
        encoding: str | None = None,
    ) -> UploadResponse:
        """Read, chunk, embed, store and publish one upload.

        Raises:
            InvalidInput, UnsupportedType, TooLarge: the file is not what it must be; the message names the part.
            Conflict: the world exists and `overwrite` is false.
            DeadlineExceeded: it took too long. Nothing of it was published.
        """
        ...

    async def keep_warm(self, after_s: float) -> None:
        """Have a worker ready from `after_s` seconds on, whether or not an upload comes before."""
        ...
