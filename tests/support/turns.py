"""Turns taken through `functions.story` in a house of fakes: support for test_story*.py."""

from __future__ import annotations

from typing import Any

from sagaforge.events import ReadEvent
from sagaforge.functions.story import turn as story
from sagaforge.schemas import Turn, TurnRequest
from tests.support.fakes import WORLD_ID, House

LEASE_S = 60.0


def stream(house: House, message: str, key: str | None = None, **fields: Any) -> Any:
    lease_s = fields.pop("lease_s", LEASE_S)
    s = house.services
    return story.stream_turn(
        TurnRequest(message=message, world_id=fields.pop("world_id", WORLD_ID), **fields),
        idempotency_key=key,
        timings=fields.pop("timings", {}),
        llm=s.llm,
        retrieval=s.retrieval,
        worlds=s.worlds,
        sessions=s.sessions,
        profile=s.profile,
        lease_s=lease_s,
    )


async def take(house: House, message: str, key: str | None = None, **fields: Any) -> Turn:
    return Turn.model_validate((await events_of(stream(house, message, key, **fields)))[-1].data)


async def events_of(events: Any) -> list[ReadEvent]:
    """The events as a client reads them."""
    return [ReadEvent(event=event.event, data=event.data.model_dump(by_alias=True)) async for event in events]
