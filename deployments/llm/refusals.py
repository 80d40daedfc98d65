"""What the language model's engine refuses, as errors of ours: the caller's mistakes, in words of the API.

vLLM raises them, hands them back as an `ErrorResponse`, or writes them into a stream that has begun.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from sagaforge.errors import ContextOverflow, InvalidInput, NotFound, SagaForgeError, Unavailable

STREAMED = 'data: {"error":'
# Sampling that may forbid what a grammar asks for.
EXCLUDING = ("logit_bias", "bad_words", "min_tokens", "ignore_eos", "stop_token_ids")
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


def of_part(part: Any, payload: Mapping[str, Any]) -> SagaForgeError | None:
    """The error that a part of the answer to `payload` is; None for a part that is none."""
    if isinstance(part, str):
        error = json.loads(part.removeprefix("data: "))["error"] if part.startswith(STREAMED) else None
    else:
        error = part.error.model_dump() if hasattr(part, "error") else None
    return of_error(error, payload) if error else None


def of_error(error: dict[str, Any], payload: Mapping[str, Any]) -> SagaForgeError:
    """Ours for vLLM's `{message, type, param, code}`."""
    status, message, field = int(error.get("code") or 500), _said(error["message"]), error.get("param")
    if status == 404:
        return NotFound(message)
    if "maximum context length" in message:
        return ContextOverflow(message).about("messages")
    if 400 <= status < 500:
        return InvalidInput(message).about(field)
    return of_failure(payload)


def of_failure(payload: Mapping[str, Any]) -> SagaForgeError:
    """Why a generation failed half-way: nothing is left to say where a grammar and the sampling exclude each other."""
    is_constrained = "structured_outputs" in payload or payload.get("response_format", {}).get("type", "text") != "text"
    others = [name for name in EXCLUDING if name in payload]
    if is_constrained and others:
        return InvalidInput(f"{others[0]} leaves no token that the answer's format allows.").about(others[0])
    return Unavailable("The language model failed to answer; try again.")


def _said(message: str) -> str:
    return _STACK.sub("", _APPENDED.sub("", message)).strip()
