"""What can go wrong in the command line, in one shape: the failure envelope that scripts read.

Codes are `E_` and the code of the bundle's problem document (`E_NOT_FOUND`), or one of the client's own: E_CONNECT,
E_CONNECTION_LOST, E_TIMEOUT, E_PROTOCOL, E_DIFFERENT, E_INPUT, E_USAGE, E_CONFIG, E_CANCELLED, E_CRASH.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel

from sagaforge.cli.terminal import whole


class ErrorDetail(BaseModel):
    code: str
    component: str
    message: str
    retryable: bool
    suggested_actions: list[str]


class Envelope(BaseModel):
    """What `--json` prints instead of a result."""

    ok: Literal[False] = False
    session_id: str | None
    failed_stage: str
    error: ErrorDetail


class CliError(Exception):
    """A failure that a user is told about.

    `retryable` is advice to the caller (the same command may work later). `resend` says that this client may send the
    same idempotent request again at once: a deadline that passed is retryable, yet not worth repeating unasked.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        component: str = "cli",
        actions: Sequence[str] = (),
        retryable: bool = False,
        resend: bool = False,
        retry_after_s: float | None = None,
        stage: str | None = None,
        exit_code: int = 1,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.component = component
        self.actions = list(actions)
        self.retryable = retryable or resend
        self.resend = resend
        self.retry_after_s = retry_after_s
        self.stage = stage
        self.exit_code = exit_code

    def envelope(self, stage: str, session_id: str | None = None) -> Envelope:
        """The envelope; `stage` is where the command stood, unless the failure itself knows better."""
        detail = ErrorDetail(
            code=self.code,
            component=self.component,
            message=whole(self.message),
            retryable=self.retryable,
            suggested_actions=[whole(action) for action in self.actions],
        )
        return Envelope(session_id=session_id, failed_stage=self.stage or stage, error=detail)


ACTIONS = {
    "unauthorized": ["Set SAGAFORGE_API_KEY to the bundle's API key."],
    "forbidden": ["Use a key that has the permission this needs."],
    "misdirected": ["Name the bundle by an address of its own with --url, or allow the name: SAGAFORGE_ALLOWED_HOSTS."],
    "not_found": ["Check the id: `holodeck world list` shows the worlds there are."],
    "conflict": ["Somebody else was first: look at the current state, then try again."],
    "in_flight": ["The first request is still being worked on: try again in a moment."],
    "too_large": ["Send less, or raise the bundle's upload limit."],
    "unsupported_type": ["Upload a world pack (.zip or a folder), or a single .txt, .md or .pdf file."],
    "overloaded": ["Try again in a moment."],
    "unavailable": ["`holodeck debug health --detailed` says which part is not ready."],
    "storage_unavailable": ["Check that the bundle's SAGAFORGE_STORAGE exists and can be written."],
    "deadline_exceeded": ["Try again, or ask for less (a shorter turn, a smaller upload)."],
    "idempotency_key_reused": ["Send the changed request under a new Idempotency-Key."],
}
COMPONENTS = {"unauthorized": "auth", "forbidden": "auth", "storage_unavailable": "storage"}
RETRYABLE = {"conflict", "deadline_exceeded"}
RESEND = {"in_flight", "overloaded", "unavailable", "storage_unavailable"}


def from_problem(problem: dict[str, Any], retry_after_s: float | None = None) -> CliError:
    """The failure a problem document tells of (RFC 9457; an in-band `error` event carries the same)."""
    code = str(problem.get("code") or "internal")
    request_id = problem.get("request_id")
    message = str(problem.get("detail") or problem.get("title") or "the bundle gave no reason")
    fields = [_field_at_fault(entry) for entry in problem.get("errors") or [] if isinstance(entry, dict)]
    # The detail itself tells of the first ones.
    fields = [field for field in fields if field not in message and message not in field]
    actions = ACTIONS.get(code, [])
    if code == "internal":
        actions = [f"Look for request id {request_id} in the bundle's log."] if request_id else []
    return CliError(
        "; ".join([message, *fields]),
        code="E_" + code.upper(),
        component=COMPONENTS.get(code, "bundle"),
        actions=actions,
        retryable=code in RETRYABLE,
        resend=code in RESEND,
        retry_after_s=retry_after_s,
    )


def _field_at_fault(entry: dict[str, Any]) -> str:
    # Both spellings are about: pydantic's own (loc, msg) and the plain one.
    place = entry.get("field") or ".".join(str(part) for part in entry.get("loc", []))
    reason = entry.get("message") or entry.get("msg") or "is wrong"
    return f"{place}: {reason}" if place else str(reason)
