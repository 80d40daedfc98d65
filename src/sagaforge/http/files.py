"""Files over HTTP: what a browser has already is not sent again (RFC 9110, conditional requests)."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import Response

from sagaforge.functions.files import ServedFile

# What is served under an id never changes. Private: a key may have been needed to get it.
CACHE_CONTROL = "private, max-age=31536000, immutable"


async def file_response(request: Request, file: ServedFile) -> Response:
    """The file, or 304 when the caller's `If-None-Match` names it."""
    etag = f'"{file.etag}"'
    headers = {
        "ETag": etag,
        "Cache-Control": CACHE_CONTROL,
        "Content-Disposition": f'inline; filename="{file.filename}"',
        "X-Content-Type-Options": "nosniff",
    }
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    if etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(await file.read(), headers=headers, media_type=file.media_type)
