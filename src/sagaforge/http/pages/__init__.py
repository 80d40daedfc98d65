"""The gallery page: prompt, previews, pictures and their receipts, as files without a build step.

The page holds nothing secret and so needs no key; what it shows comes from the routes that do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response

HERE = Path(__file__).parent
PAGE = "/gallery"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# A fixed list: no part of a request's path ever becomes a file's name.
FILES = {
    PAGE: "gallery.html",
    **{
        f"{PAGE}/{name}": name
        for name in (
            "api.js",
            "controls.css",
            "dom.js",
            "easel.css",
            "easel.js",
            "form.css",
            "form.js",
            "gallery.css",
            "gallery.js",
            "grid.css",
            "grid.js",
            "icon.svg",
            "viewer.css",
            "viewer.js",
        )
    },
}
PATHS = frozenset({"/", *FILES})
HEADERS = {
    # Asked for anew each time (the ETag makes that cheap), so that page and modules are of one version.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}


def add_pages(app: FastAPI) -> None:
    """Add the routes of the gallery page, and `/`, which leads to it."""
    for path, name in FILES.items():
        app.add_api_route(path, _file(HERE / name), name=name, include_in_schema=False, response_model=None)
    app.add_api_route("/", _to_the_page, include_in_schema=False, response_model=None)


async def _to_the_page() -> Response:
    return RedirectResponse(PAGE, 307)


def _file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**HEADERS, "ETag": etag}

    async def file(request: Request) -> Response:
        known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
        if etag in known:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=MEDIA_TYPES[path.suffix])

    return file
