"""Which id a chunk gets. An id, once published, is never given to another text in the life of its world.

A chunk whose document has held its text before gets the id that it had then; any other gets a number that its document
has never used. So the numbers in an id tell chunks apart; they say nothing about where a chunk stands.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from sagaforge.datasets.worlds.chunking import ChunkDraft

CHUNK_ID = re.compile(r"(doc_[0-9a-f]{8})@section_([0-9]+):chunk_([0-9]+)")

Content = tuple[str, str, str, str]
"""What an id stands for: source, kind, ref, and the hash of section name and text."""


@dataclass(frozen=True)
class PublishedChunk:
    """A chunk of some published version, the first of which is `since`; `is_current`: the newest version holds it."""

    chunk_id: str
    content: Content
    since: int
    is_current: bool


def content_of(draft: ChunkDraft) -> Content:
    return draft.source, draft.kind, draft.ref, draft.content_hash


def assign_ids(drafts: Sequence[ChunkDraft], published: Iterable[PublishedChunk]) -> list[ChunkDraft]:
    """The drafts, in their order, with ids that no other text of the world ever had.

    Args:
        drafts: numbered from 1 within each document, as `chunking.chunk_sections` leaves them.
        published: the chunks of all versions so far.
    """
    ids, num_sections, num_chunks = _known(published)
    assigned: list[ChunkDraft] = []
    for (document, _), section in groupby(drafts, key=lambda draft: ((draft.doc_id, draft.source), _numbers(draft)[0])):
        members = list(section)
        kept = [ids[content].pop() if ids.get(content := content_of(draft)) else None for draft in members]
        first = next((chunk_id for chunk_id in kept if chunk_id is not None), None)
        doc_id = document[0]
        if first is None:
            num_sections[doc_id] += 1
            number = num_sections[doc_id]
        else:
            number = _parse(first)[1]
        for draft, chunk_id in zip(members, kept, strict=True):
            if chunk_id is None:
                num_chunks[doc_id, number] += 1
                chunk_id = f"{doc_id}@section_{number}:chunk_{num_chunks[doc_id, number]}"
            assigned.append(draft if draft.chunk_id == chunk_id else replace(draft, chunk_id=chunk_id))
    return assigned


def _known(
    published: Iterable[PublishedChunk],
) -> tuple[dict[Content, list[str]], dict[str, int], dict[tuple[str, int], int]]:
    """The ids that each content had, the best one last; the highest section of each document; of each section, chunk.

    Storages of before this rule gave one id to several texts: there it belongs to the last of them.
    """
    last: dict[str, PublishedChunk] = {}
    num_sections: dict[str, int] = defaultdict(int)
    num_chunks: dict[tuple[str, int], int] = defaultdict(int)
    for chunk in published:
        if (other := last.get(chunk.chunk_id)) is None or other.since < chunk.since:
            last[chunk.chunk_id] = chunk
        doc_id, section, number = _parse(chunk.chunk_id)
        num_sections[doc_id] = max(num_sections[doc_id], section)
        num_chunks[doc_id, section] = max(num_chunks[doc_id, section], number)
    ids: dict[Content, list[str]] = defaultdict(list)
    # Of two ids of one text, that of a row which is there already costs no new row.
    for chunk in sorted(last.values(), key=lambda chunk: (chunk.is_current, [-n for n in _parse(chunk.chunk_id)[1:]])):
        ids[chunk.content].append(chunk.chunk_id)
    return ids, num_sections, num_chunks


def _numbers(draft: ChunkDraft) -> tuple[int, int]:
    return _parse(draft.chunk_id)[1:]


def _parse(chunk_id: str) -> tuple[str, int, int]:
    match = CHUNK_ID.fullmatch(chunk_id)
    assert match, f"{chunk_id!r} is no id of a chunk"
    return match[1], int(match[2]), int(match[3])
