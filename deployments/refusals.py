"""What the language model's engine refuses, as errors of ours: the caller's mistakes, in words of the API.

vLLM raises them, hands them back as an `ErrorResponse`, or writes them into a stream that has begun.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import ValidationError

from sagaforge.errors import ContextOverflow, InvalidInput, NotFound, SagaForgeError, Unavailable

STREAMED = 'data: {"error":'
# What vLLM appends to a message for its own log, and names of its own fields that callers know by another.
_APPENDED = re.compile(r" \((?:parameter|value)=.*\)$", re.DOTALL)
_STACK = re.compile(r"\[?xgrammar stack.*?\]|/\S+/\S+\.(?:cpp|cc|py):\d+:?", re.IGNORECASE)


def of_exception(exc: Exception) -> InvalidInput:
    """What vLLM raises for a request that is no request of its own."""
    if isinstance(exc, ValidationError):
        first = exc.errors()[0]
        field = next((part for part in first["loc"] if isinstance(part, str)), None)
        return InvalidInput(f"{field}: {first['msg']}" if field else first["msg"]).about(field)
    return InvalidInput(_said(str(exc))).about(getattr(exc, "parameter", None))


def of_part(part: Any) -> SagaForgeError | None:
    """The error that a part of an answer is; None for a part that is none."""
    if isinstance(part, str):
        return of_error(json.loads(part.removeprefix("data: "))["error"]) if part.startswith(STREAMED) else None
    return of_error(part.error.model_dump()) if hasattr(part, "error") else None


def of_error(error: dict[str, Any]) -> SagaForgeError:
    """Ours for vLLM's `{message, type, param, code}`."""
    status, message, field = int(error.get("code") or 500), _said(error["message"]), error.get("param")
    if status == 404:
        return NotFound(message)
    if "maximum context length" in message:
        return ContextOverflow(message).about("messages")
    if 400 <= status < 500:
        return InvalidInput(message).about(field)
    return Unavailable("The language model failed to answer; try again.")


def _said(message: str) -> str:
    return _STACK.sub("", _APPENDED.sub("", message)).strip()
