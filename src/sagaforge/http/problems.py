"""Errors as RFC 9457 problem documents, in the one shape that every route answers with.

A 5xx that nobody raised on purpose says only that it is internal, with the request id under which the log has the rest.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request

from sagaforge.errors import BadRequest, InvalidInput, SagaForgeError, UnsupportedType
from sagaforge.schemas import Problem

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:sagaforge:error:"
MAX_ECHO_CHARS = 200
OPENAI_PREFIX = "/v1/"
OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def problem_of(error: BaseException, request_id: str, known: Collection[str] = ()) -> Problem:
    """The problem document of any exception; unexpected ones are logged with their traceback.

    Args:
        known: fields that the request may have, to tell which one a misspelt one was meant to be.
    """
    if isinstance(error, RequestValidationError):
        return _validation_problem(error, request_id, known)
    if isinstance(error, HTTPException) and isinstance(error.__cause__, SagaForgeError):
        # FastAPI makes a 400 of whatever is raised while it reads a body, the limit on its size too.
        return problem_of(error.__cause__, request_id)
    if isinstance(error, HTTPException):
        return _problem(error.status_code, _http_code(error.status_code), "", str(error.detail), request_id)
    if isinstance(error, SagaForgeError) and error.status != 500:
        at_fault = [{"field": error.field, "message": error.detail}] if error.field else None
        return _problem(error.status, error.code, error.title, error.detail, request_id, at_fault)
    logger.error("request %s failed", request_id, exc_info=error)
    return _problem(500, "internal", "Internal error", "Internal error; the log has it under this id.", request_id)


def problem_response(
    error: BaseException, request_id: str, path: str = "", known: Collection[str] = ()
) -> JSONResponse:
    """The response for `error`. On OpenAI's routes it has OpenAI's `error` member too, which its clients show."""
    problem = problem_of(error, request_id, known)
    body = problem.model_dump(exclude_none=True)
    if path.startswith(OPENAI_PREFIX):
        body["error"] = openai_error(problem)
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if isinstance(error, SagaForgeError) and error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, problem.status, headers, media_type=MEDIA_TYPE)


async def handle_error(request: Request, error: Exception) -> JSONResponse:
    """Exception handler for FastAPI; the request id was put in the scope by the middleware."""
    body = getattr(request.scope.get("route"), "body_field", None)
    shape = getattr(getattr(body, "field_info", None), "annotation", None)
    known = getattr(shape, "model_fields", ())
    return problem_response(error, request.scope.get("request_id", ""), request.url.path, known)


def openai_error(problem: Problem) -> dict[str, str | None]:
    """The problem as the `error` member that OpenAI's clients read. `param`: the first field at fault."""
    return {
        "message": problem.detail,
        "type": OPENAI_TYPES.get(problem.status, "invalid_request_error" if problem.status < 500 else "server_error"),
        "param": problem.errors[0]["field"] if problem.errors else None,
        "code": problem.code,
        "request_id": problem.request_id,
    }


def _problem(status: int, code: str, title: str, detail: str, request_id: str, errors: Any = None) -> Problem:
    return Problem(
        type=TYPE_PREFIX + code,
        title=title or code.replace("_", " ").capitalize(),
        status=status,
        detail=detail,
        code=code,
        request_id=request_id,
        errors=errors,
    )


def _validation_problem(error: RequestValidationError, request_id: str, known: Collection[str]) -> Problem:
    failures = error.errors()
    if any(failure["type"] == "json_invalid" for failure in failures):
        position = failures[0]["loc"][-1]
        detail = f"The body is no valid JSON (at character {position}): {failures[0].get('ctx', {}).get('error', '')}"
        return _problem(400, BadRequest.code, BadRequest.title, detail, request_id)
    if any(isinstance(failure.get("input"), bytes) for failure in failures):
        # FastAPI hands a body on unread when its type is not JSON.
        detail = "The body must be JSON: send it with `Content-Type: application/json`."
        return _problem(UnsupportedType.status, UnsupportedType.code, UnsupportedType.title, detail, request_id)
    fields = [
        {
            "field": field_path(failure["loc"][1:], error.body)[:MAX_ECHO_CHARS] or str(failure["loc"][0]),
            "message": _message(failure, known),
            "input": repr(failure.get("input"))[:MAX_ECHO_CHARS],
        }
        for failure in failures[:20]
    ]
    detail = "; ".join(f"{field['field']}: {field['message']}" for field in fields[:3])
    return _problem(422, InvalidInput.code, InvalidInput.title, detail, request_id, fields)


def field_path(loc: Sequence[int | str], body: Any) -> str:
    """Where in the body a failure is, as its sender would write it: `messages[0].content`.

    pydantic's own path also names the alternatives that it tried, where a field may be one of several; what does not
    lead on in the body is one of those.
    """
    path = ""
    is_json = isinstance(body, dict | list)  # parameters have no body, and a form's is no JSON
    for number, part in enumerate(loc):
        is_last = number == len(loc) - 1
        if isinstance(part, int):
            path += f"[{part}]"
            body = body[part] if isinstance(body, list) and part < len(body) else None
        elif part.startswith("["):  # pydantic's mark of a key, which the part before it names
            continue
        elif isinstance(body, dict) and (part in body or is_last):
            path += f".{part}" if path else part
            body = body.get(part)
        elif not is_json:
            path += f".{part}" if path else part
    return path


def _message(failure: Any, known: Collection[str]) -> str:
    if failure["type"] != "extra_forbidden":
        return str(failure["msg"])
    name = str(failure["loc"][-1])
    near = (
        difflib.get_close_matches(name, known, n=1) if len(failure["loc"]) == 2 and len(name) <= MAX_ECHO_CHARS else []
    )
    return "there is no such field" + (f"; did you mean {near[0]}?" if near else "")


def _http_code(status: int) -> str:
    return {404: "not_found", 405: "method_not_allowed", 413: "too_large"}.get(status, "bad_request")
