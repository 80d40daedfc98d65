"""Reading a request strictly, where Python's and Starlette's readers let things pass that others read otherwise.

A query holds the parameters of its route, each once: another one would be passed over in silence.

JSON (RFC 8259) must be UTF-8, without NaN or Infinity, without a key that stands twice, and not nested deeper than
anything real; a form must be closed by its last boundary, or its end is missing. Texts are those of
`sagaforge.text.characters`, in the path and the query too. What is read here reaches an engine or a table, some of it
unchecked by a shape.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any

from fastapi import Request, Response, UploadFile
from fastapi.dependencies.utils import get_flat_dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from python_multipart.multipart import parse_options_header

from sagaforge.errors import BadRequest
from sagaforge.text.characters import check_name, check_text, check_texts, is_suspicious

MAX_DEPTH = 100  # a JSON schema for structured output reaches about 20
MAX_PARAMETERS = 100  # looked at; no route has a tenth of them
TAIL_BYTES = 1024  # what may follow a form's last boundary, which itself has at most 70 characters


class StrictRequest(Request):
    """A request whose JSON and forms are read strictly; what is wrong is a `BadRequest` or `InvalidInput`."""

    _is_form = False

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = loads(await self.body())
        return self._json

    def form(self, **limits: Any) -> Any:
        self._is_form = True
        return super().form(**limits)

    async def stream(self) -> AsyncGenerator[bytes, None]:
        tail = b""
        async for chunk in super().stream():
            tail = (tail + chunk[-TAIL_BYTES:])[-TAIL_BYTES:]
            yield chunk
        kind, options = parse_options_header(self.headers.get("content-type", ""))
        last_boundary = b"--" + options.get(b"boundary", b"") + b"--"
        if self._is_form and kind == b"multipart/form-data" and last_boundary not in tail:
            raise BadRequest("The form is cut off: its last boundary is missing. Send it again, whole.")


class StrictRoute(APIRoute):
    """A route that looks at the names in a query, and hands its endpoint a `StrictRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        known = [parameter.alias for parameter in get_flat_dependant(self.dependant).query_params]

        async def handle_strictly(request: Request) -> Response:
            check_text(request.scope["path"], "the path")
            for name, value in request.query_params.multi_items():
                check_text(name, "the query: a parameter's name")
                check_text(value, f"the query: {name[:60]}")
            check_query(request.query_params.multi_items(), known)
            return await handle(StrictRequest(request.scope, request.receive))

        return handle_strictly


def file_name(http: Request, file: UploadFile) -> str:
    """The name of a form's file. One that is not UTF-8, and so read as Latin-1, is left to the reader of packs."""
    name = file.filename or ""
    _, options = parse_options_header(http.headers.get("content-type", ""))
    try:
        file.headers["content-disposition"].encode("latin-1").decode(options.get(b"charset", b"utf-8").decode())
    except (UnicodeError, LookupError):
        return name
    return check_name(name, "the name of the file")


def check_query(given: Sequence[tuple[str, str]], known: Sequence[str]) -> None:
    """Raises `RequestValidationError` for parameters that the route does not have, and for those that stand twice."""
    errors: list[dict[str, Any]] = []
    names = [name for name, _ in given]
    for name, value in dict(given[:MAX_PARAMETERS]).items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            has = f"It has {', '.join(known)}." if known else "It has none."
            hint = f"Did you mean {near[0]}?" if near else has
            errors.append(_at_fault(name, value, f"This route has no such query parameter. {hint}"))
        elif names.count(name) > 1:
            errors.append(_at_fault(name, value, "It stands twice in the query; send it once."))
    if errors:
        raise RequestValidationError(errors)


def _at_fault(name: str, value: str, message: str) -> dict[str, Any]:
    return {"type": "query_parameter", "loc": ("query", name), "msg": message, "input": value}


def loads(body: bytes) -> Any:
    """The value of a JSON document. Raises `json.JSONDecodeError`, which says where, `BadRequest` or `InvalidInput`."""
    try:
        text = body.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=_object, parse_float=_finite, parse_constant=_no_number)
    except UnicodeDecodeError as exc:
        raise BadRequest(f"The body is not UTF-8, at byte {exc.start}.") from exc
    except RecursionError as exc:
        raise BadRequest(f"The body is nested deeper than {MAX_DEPTH} levels.") from exc
    except json.JSONDecodeError:
        raise
    except ValueError as exc:  # an integer of thousands of digits
        raise BadRequest("The body holds a number that is too long.") from exc
    # All are seldom, and looking at every value costs more than parsing.
    if text.count("{") + text.count("[") > MAX_DEPTH:
        _check_depth(value)
    if "\\" in text or is_suspicious(text):
        check_texts(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in value if keys.count(key) > 1)
        raise BadRequest(f"The key {twice[:60]!r} stands twice in one object of the body.")
    return value


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _no_number(digits[:20])


def _no_number(digits: str) -> float:
    raise BadRequest(f"The body holds {digits}, which is no number of JSON, or too large for one.")


def _check_depth(value: Any) -> None:
    """Level by level, not by recursion: the depth is what is in doubt."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
            elif isinstance(item, list):
                below += item
        if not below:
            return
        level = below
    raise BadRequest(f"The body is nested deeper than {MAX_DEPTH} levels.")
