"""Other people's web pages: a browser sends their requests here too, and says so.

A page may send simple requests to any address, and the name it was loaded from may be made to point at this machine.
So a request is answered under the bundle's own host names alone, and from other sites' pages only where CORS allows
them. What a browser tells of its page (`Origin`, Fetch Metadata: https://www.w3.org/TR/fetch-metadata/) no page can
forge, and no other client sends.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sagaforge.errors import BadRequest, Forbidden, Misdirected
from sagaforge.settings import Settings

HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{0,5}))?")
DEFAULT_PORTS = {"http": 80, "https": 443}
SAFE_METHODS = frozenset({"GET", "HEAD"})
HEADERS = {
    b"cross-origin-resource-policy": b"same-origin",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
}


class OwnSite:
    """Refuse what comes under a name that is not ours, or from a page that is not.

    Args:
        open_paths: probes, which load balancers ask for under any name; they tell nothing but whether the bundle lives.
    """

    def __init__(self, app: ASGIApp, *, settings: Settings, open_paths: frozenset[str]) -> None:
        self._app = app
        self._names = own_names(settings)
        self._endings = tuple(name.removeprefix("*") for name in settings.allowed_hosts if name.startswith("*"))
        self._origins = frozenset(settings.cors_origins)
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self._open_paths:
            headers = Headers(scope=scope)
            host = host_of(headers)
            self._check_host(host)
            if scope["method"] != "OPTIONS":
                self._check_page(headers, host, is_read=scope["method"] in SAFE_METHODS)
        await self._app(scope, receive, send)

    def _check_host(self, host: Host) -> None:
        if self._names is None or is_loopback_name(host.name):
            return
        if host.name not in self._names and not host.name.endswith(self._endings):
            raise Misdirected(
                f"The bundle does not answer under the host name {host.name!r}. If the name is its own, list it in "
                f'SAGAFORGE_ALLOWED_HOSTS: ["{host.name}"].'
            )

    def _check_page(self, headers: Headers, host: Host, *, is_read: bool) -> None:
        origin = ", ".join(headers.getlist("origin")) or None
        site = ", ".join(headers.getlist("sec-fetch-site")) or "none"
        if origin in self._origins:
            return
        is_link = is_read and headers.get("sec-fetch-mode") == "navigate"
        if is_link and headers.get("sec-fetch-dest", "document") == "document":
            return  # somebody follows a link to us; the page that holds it sees nothing of the answer
        if site not in ("none", "same-origin") or (origin is not None and not is_same(origin, host)):
            raise Forbidden(
                f"A web page of another site ({(origin or site)[:100]}) sent this request. If it is yours, list its "
                "origin in SAGAFORGE_CORS_ORIGINS."
            )


class ResponseHeaders:
    """Put on every response what keeps other sites' pages from embedding, framing or reinterpreting it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                added = [(name, value) for name, value in HEADERS.items() if name not in given]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await self._app(scope, receive, with_headers)


@dataclass(frozen=True)
class Host:
    """A `Host` header: the name in lower case (of an IPv6 address, without brackets), and the port, if it has one."""

    name: str
    port: int | None


def host_of(headers: Headers) -> Host:
    """The host that a request names; `BadRequest` when it names none, several, or what is no host."""
    given = headers.getlist("host")
    if len(given) != 1:
        raise BadRequest(f"A request has one Host header; this one has {len(given)}.")
    found = HOST.fullmatch(given[0])
    if found is None:
        raise BadRequest("The Host header is no host name or address with, at most, a port.")
    return Host(plain_name(found["name"]), int(found["port"]) if found["port"] else None)


def plain_name(name: str) -> str:
    """A host name in the one form in which names are compared."""
    name = name.lower().removesuffix(".")
    if ":" not in name:
        return name
    try:
        address = ipaddress.IPv6Address(name.strip("[]"))
    except ValueError as exc:
        raise BadRequest("The Host header holds no IPv6 address.") from exc
    return str(address.ipv4_mapped or address)


def own_names(settings: Settings) -> frozenset[str] | None:
    """The host names answered besides loopback's; None: any, as every request has a key then, which no page knows."""
    if settings.api_key is not None and not settings.allowed_hosts:
        return None
    return frozenset(plain_name(name) for name in (settings.host, *settings.allowed_hosts))


def is_loopback_name(name: str) -> bool:
    """Names that no resolver may give to another machine (RFC 6761), and loopback addresses."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_same(origin: str, host: Host) -> bool:
    """Whether a page of `origin` was loaded from `host`. The scheme is left out: a proxy may have ended TLS."""
    try:
        parts = urlsplit(origin)
        default = DEFAULT_PORTS.get(parts.scheme)
        name, port = plain_name(parts.netloc.rpartition(":")[0] if parts.port else parts.netloc), parts.port or default
    except (ValueError, BadRequest):
        return False
    return default is not None and (name, port) == (host.name, host.port or default)
