"""What every request passes on its way in, outermost first: request id, error boundary, host and page
(own_site.py), key, body limit.

Plain ASGI: Starlette's `BaseHTTPMiddleware` would buffer streams and hide disconnects.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import time
import uuid

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sagaforge.errors import Forbidden, SagaForgeError, TooLarge, Unauthorized
from sagaforge.functions.context import LOCAL
from sagaforge.http.pages import PATHS as PAGE_PATHS
from sagaforge.http.problems import problem_response

REQUEST_ID = re.compile(r"^[A-Za-z0-9_.:\-]{1,64}$")
# Load balancers probe these without a key, under any host name; they tell nothing but whether the bundle lives.
OPEN_PATHS = frozenset({"/healthz", "/health", "/readyz"})


class RequestIds:
    """Put the request's id into the scope, for problem documents and the log.

    Serve's proxy gives each request an id (or takes the caller's) and sends it back as `X-Request-ID`; here it only
    is made safe to print.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = Headers(scope=scope).get("x-request-id", "")
            scope["request_id"] = given if REQUEST_ID.match(given) else uuid.uuid4().hex
            scope["started_at"] = time.perf_counter()
        await self._app(scope, receive, send)


class ErrorBoundary:
    """Turn whatever escapes the routes into a problem document, unless the response has begun."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_started = False

        async def watch(message: Message) -> None:
            nonlocal has_started
            has_started = has_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception as error:
            # After the first byte no status can be sent any more; the server then closes the connection.
            if scope["type"] != "http" or has_started:
                raise
            await problem_response(error, scope["request_id"], scope["path"])(scope, receive, send)


class ApiKey:
    """Let a request in that carries the key; without a configured key, only one that comes from this machine.

    Who calls is resolved here, once: `scope["caller"]`. The key travels as `Authorization: Bearer <key>` or
    `X-API-Key: <key>`. The gallery page needs none: a browser that opens a page can't send one; the page asks for it.
    """

    def __init__(self, app: ASGIApp, *, key: str | None) -> None:
        self._app = app
        self._key = key.encode() if key is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS and scope["method"] != "OPTIONS":
            self._check(scope)
            scope["caller"] = LOCAL
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        if self._key is None:
            if not _is_loopback(scope):
                raise Forbidden("Without SAGAFORGE_API_KEY the bundle answers this machine only; set a key to open it.")
            return
        if scope["path"] in PAGE_PATHS:
            return
        headers = Headers(scope=scope)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        if not given:
            raise Unauthorized("Send the API key as `Authorization: Bearer <key>`.")
        if not hmac.compare_digest(given.strip().encode(), self._key):
            raise Unauthorized("That API key is not valid here.")


def _is_loopback(scope: Scope) -> bool:
    client = scope.get("client")
    if not client:
        return True  # a Unix socket
    try:
        address = ipaddress.ip_address(client[0])
    except ValueError:
        return client[0] in ("localhost", "testclient")
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


class BodyLimit:
    """Count a body while it is read and refuse it at the limit, whatever `Content-Length` claims.

    Args:
        limits: bytes by path; `default` for the rest.
    """

    def __init__(self, app: ASGIApp, *, default: int, limits: dict[str, int]) -> None:
        self._app = app
        self._default = default
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limits.get(scope["path"], self._default)
        declared = Headers(scope=scope).get("content-length", "")
        # Python calls '²' a digit too, and refuses to convert thousands of them.
        if declared.isascii() and declared.isdigit() and (len(declared) > 18 or int(declared) > limit):
            raise _too_large(limit)
        num_read = 0

        async def counted() -> Message:
            nonlocal num_read
            message = await receive()
            if message["type"] == "http.request":
                num_read += len(message.get("body", b""))
                if num_read > limit:
                    raise _too_large(limit)
            return message

        await self._app(scope, counted, send)


def _too_large(limit: int) -> SagaForgeError:
    return TooLarge(f"The body is larger than the {limit:,} bytes this route takes.")
