"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html) from an async iterator.

The first event is awaited before the headers go out, so an early failure still gets its status code. Later ones end
the stream with an `error` event whose data is a problem document.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from starlette.responses import StreamingResponse

from sagaforge.events import ErrorEvent, StreamEvent
from sagaforge.http.problems import problem_of

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def event_stream(events: AsyncGenerator[StreamEvent, None], request_id: str) -> StreamingResponse:
    """A streaming response of `events`; raises what the first of them raises."""
    first = await anext(events)

    async def body() -> AsyncGenerator[bytes, None]:
        try:
            yield _encode(first)
            async for event in events:
                yield _encode(event)
        except Exception as error:
            yield _encode(ErrorEvent(data=problem_of(error, request_id)))
        finally:
            # A reader that hangs up leaves here; closing the iterator cancels the work behind it.
            await events.aclose()

    return StreamingResponse(body(), media_type="text/event-stream", headers=HEADERS)


def _encode(event: StreamEvent) -> bytes:
    data = event.data.model_dump_json(by_alias=True, exclude_none=event.event == "error")
    return f"event: {event.event}\ndata: {data}\n\n".encode()
