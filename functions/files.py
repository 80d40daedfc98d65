"""A file as a function answers it: its bytes are read only if the caller does not have them yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ServedFile:
    """etag: changes with the bytes, and only then. filename: what a browser saves it as."""

    media_type: str
    etag: str
    filename: str
    read: Callable[[], Awaitable[bytes]]
