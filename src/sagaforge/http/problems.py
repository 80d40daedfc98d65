"""Errors as RFC 9457 problem documents, in the one shape that every route answers with.

A 5xx that nobody raised on purpose says only that it is internal, with the request id under which the log has the rest.
"""

from __future__ import annotations

import logging
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


def problem_of(error: BaseException, request_id: str) -> Problem:
    """The problem document of any exception; unexpected ones are logged with their traceback."""
    if isinstance(error, RequestValidationError):
        return _validation_problem(error, request_id)
    if isinstance(error, HTTPException) and isinstance(error.__cause__, SagaForgeError):
        # FastAPI makes a 400 of whatever is raised while it reads a body, the limit on its size too.
        return problem_of(error.__cause__, request_id)
    if isinstance(error, HTTPException):
        return _problem(error.status_code, _http_code(error.status_code), "", str(error.detail), request_id)
    if isinstance(error, SagaForgeError) and error.status != 500:
        return _problem(error.status, error.code, error.title, error.detail, request_id)
    logger.error("request %s failed", request_id, exc_info=error)
    return _problem(500, "internal", "Internal error", "Internal error; the log has it under this id.", request_id)


def problem_response(error: BaseException, request_id: str, path: str = "") -> JSONResponse:
    """The response for `error`. On OpenAI's routes it has OpenAI's `error` member too, which its clients show."""
    problem = problem_of(error, request_id)
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
    return problem_response(error, request.scope.get("request_id", ""), request.url.path)


def openai_error(problem: Problem) -> dict[str, str]:
    """The problem as the `error` member that OpenAI's clients read."""
    return {
        "message": problem.detail,
        "type": problem.type,
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


def _validation_problem(error: RequestValidationError, request_id: str) -> Problem:
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
            "field": _field(failure)[:MAX_ECHO_CHARS],
            "message": failure["msg"],
            "input": repr(failure.get("input"))[:MAX_ECHO_CHARS],
        }
        for failure in failures[:20]
    ]
    detail = "; ".join(f"{field['field']}: {field['message']}" for field in fields[:3])
    return _problem(422, InvalidInput.code, InvalidInput.title, detail, request_id, fields)


def _field(failure: Any) -> str:
    """The field at fault: a check of a whole body names it."""
    path = ".".join(str(part) for part in failure["loc"][1:])
    return path or str(failure.get("ctx", {}).get("field") or failure["loc"][0])


def _http_code(status: int) -> str:
    return {404: "not_found", 405: "method_not_allowed", 413: "too_large"}.get(status, "bad_request")
