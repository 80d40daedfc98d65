"""The search of lore as functions see it, and what it answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from sagaforge.schemas import Chunk

SECTION_SEPARATOR = re.compile(r"\s+[>›»]\s+")


@dataclass(frozen=True)
class LoreLine:
    """One line of lore in a prompt: a sentence (or a few) of the chunk it comes from, and its section's title."""

    chunk_id: str
    section: str
    text: str


def section_title(section: str) -> str:
    """The last part of a section's path: "Places > Gannet Head" is Gannet Head."""
    return SECTION_SEPARATOR.split(section.strip())[-1].strip("# ")


@dataclass(frozen=True)
class RetrievedLore:
    """What a turn reads of the lore: chunks, and the lines selected from them, both best first."""

    chunks: list[Chunk]
    lines: list[LoreLine]


class LoreSearch(Protocol):
    """The search as functions see it."""

    async def search(
        self, world_id: str, version: int, query: str, *, top_k: int, rerank: bool = False, source: str | None = None
    ) -> list[Chunk]:
        """The best chunks of a world at one of its versions, best first. `NotFound`: no such world."""
        ...

    async def read(
        self,
        world_id: str,
        version: int,
        query: str,
        *,
        top_k: int,
        max_lines: int,
        max_chars: int,
        min_share: float,
        min_confidence: float = 0.0,
        asked: str | None = None,
    ) -> RetrievedLore:
        """The best chunks, reranked, and those of their sentences that a prompt should hold, none where these are
        hardly about `asked` (see `LineSelector.select`). Raises as `search`."""
        ...

    async def ping(self) -> bool:
        """True when a replica answers; raises what stands in the way."""
        ...
