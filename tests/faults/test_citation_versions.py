"""A citation stays what it was: whatever becomes of a world, the id that a turn cited leads to the text it cited."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.real_library import Library, open_library

BRASS = "The ferry bell is brass."
IRON = "The ferry bell is iron."
ROPE = "Ropes hang from the quay."


@pytest.fixture
async def library(tmp_path: Path) -> AsyncIterator[Library]:
    opened = await open_library(tmp_path)
    yield opened
    await opened.client.aclose()
    await opened.writer.close()


async def cited(library: Library) -> tuple[str, str]:
    """A world with the brass bell in it, and a turn that cites it: the chunk's id, and the session's."""
    await library.upload(BRASS)
    turn = await library.turn(BRASS)
    (chunk_id,) = turn["citations"]
    return chunk_id, turn["session_id"]


@pytest.mark.parametrize(
    "sections",
    [
        pytest.param([IRON], id="overwritten"),
        pytest.param([ROPE, BRASS], id="inserted above"),
        pytest.param([ROPE], id="taken out"),
    ],
)
async def test_a_cited_id_keeps_its_text(library: Library, sections: list[str]) -> None:
    chunk_id, session_id = await cited(library)
    await library.upload(*sections)
    for query in ({}, {"version": 1}, {"session_id": session_id}):
        assert (await library.chunk(chunk_id, **query))["text"] == BRASS


async def test_a_version_that_is_not_there_is_said(library: Library) -> None:
    await cited(library)
    assert "no version 99" in (await library.retrieve("bell", 404, version=99))["detail"]
