"""What a call carries besides its request: who calls, and what was sent along."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from sagaforge.errors import InvalidInput

Permission = Literal["read", "write", "admin"]


@dataclass(frozen=True)
class Caller:
    """Who calls, as authentication found it, once for a call. Somebody of another tenant does not see its rows."""

    tenant: str
    name: str
    permissions: frozenset[Permission]


# On one machine without keys, and with the bundle's one key.
LOCAL = Caller("local", "local", frozenset({"read", "write", "admin"}))


@dataclass(frozen=True)
class UploadedFile:
    """A file as it came in: its name and its bytes, already counted against the upload limit."""

    name: str
    file: BinaryIO


@dataclass
class CallContext:
    """`timings` collects seconds by stage, for whoever wants to show them; `base_url` is where the caller reached the
    bundle."""

    request_id: str
    caller: Caller = LOCAL
    base_url: str = ""
    idempotency_key: str | None = None
    file: UploadedFile | None = None
    timings: dict[str, float] = field(default_factory=dict)

    def uploaded(self) -> UploadedFile:
        """The file of the call; `InvalidInput` where it came without one."""
        if self.file is None:
            raise InvalidInput("Send the world as a file: multipart/form-data with a part named `file`.")
        return self.file
