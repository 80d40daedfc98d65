"""Sections → chunks: what retrieval finds and a citation points at.

A chunk is a run of whole sentences of about 700 characters, and always a verbatim piece of its document, so that a
quotation can be checked by eye; what its headings say goes into the search terms and the vector, not into the text. One
thing is said twice: a piece from the middle of a table begins with the table's first two lines, which name the columns.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sagaforge.datasets.worlds.sections import CITABLE, Section, split_sections
from sagaforge.errors import InvalidInput
from sagaforge.text.terms import sentence_spans

__all__ = ["ChunkDraft", "Section", "chunk_sections", "cut", "doc_id", "split_sections"]

CHUNK_CHARS = 700
OVERLAP_CHARS = 120
MAX_ROW_CHARS = 4000  # of a table
MAX_UNCITABLE_CHARS = 10_000
# Marks and closing punctuation stay with the character before them.
CLOSING = frozenset({"Mn", "Mc", "Me", "Pe", "Pf", "Po", "Cf", "Sk"})


@dataclass(frozen=True)
class ChunkDraft:
    """A chunk before it has a vector and a version. `ordinal` is its place in the document, from 0."""

    chunk_id: str
    doc_id: str
    source: str
    section: str
    text: str
    kind: str
    ref: str
    ordinal: int
    content_hash: str

    @property
    def search_text(self) -> str:
        """What is indexed and embedded: the headings, then the text."""
        return f"{self.section}\n{self.text}" if self.section else self.text


def doc_id(world_id: str, source: str) -> str:
    """The id of a document: stable while its name in the pack is."""
    return "doc_" + hashlib.sha256(f"{world_id}\0{source}".encode()).hexdigest()[:8]


class _Unit(NamedTuple):
    """What is not cut: a sentence, or a row of a table with the table's first two lines as `header`."""

    start: int
    end: int
    header: str = ""


def cut(
    text: str, size: int = CHUNK_CHARS, overlap: int = OVERLAP_CHARS, tables: tuple[tuple[int, int], ...] = ()
) -> list[str]:
    """Pieces of at most about `size` characters, each a run of whole sentences, sharing up to `overlap` characters.

    A sentence longer than that by a fifth is cut at a space (or anywhere, where there is none), a row of a table
    (`tables` are their offsets) never. Each piece holds a letter or a digit: what holds none stays with what is before
    it. A short last piece joins the one before it rather than standing alone with half a thought.

    Raises `InvalidInput` for a row, a header or a run of signs that is too long for that.
    """
    whole = text.strip()
    if not CITABLE.search(whole):
        return []
    if len(whole) <= size:
        return [whole]  # most sections: no need to find their sentences
    units = _citable(text, list(_units(text, size, tables)))
    pieces: list[str] = []
    first = 0
    while first < len(units):
        header = units[first].header
        room = max(size - len(header), size // 2)
        last = first
        while last + 1 < len(units) and units[last + 1].end - units[first].start <= room:
            last += 1
        rest = units[-1].end - units[last].end
        if rest <= size // 5:
            last = len(units) - 1
        pieces.append(header + text[units[first].start : units[last].end])
        if last == len(units) - 1:
            break
        following = last + 1
        while following - 1 > first and units[last].end - units[following - 1].start <= overlap:
            following -= 1
        first = following
    return pieces


def chunk_sections(world_id: str, source: str, sections: list[Section]) -> list[ChunkDraft]:
    """The chunks of one document, numbered `doc_<8 hex>@section_<n>:chunk_<n>` from 1."""
    document = doc_id(world_id, source)
    drafts: list[ChunkDraft] = []
    for number, section in enumerate(sections, start=1):
        try:
            texts = cut(section.text, tables=section.tables)
        except InvalidInput as exc:
            raise InvalidInput(f"{source}: {exc.detail}") from None
        for index, text in enumerate(texts, start=1):
            drafts.append(
                ChunkDraft(
                    chunk_id=f"{document}@section_{number}:chunk_{index}",
                    doc_id=document,
                    source=source,
                    section=section.title,
                    text=text,
                    kind=section.kind,
                    ref=section.ref,
                    ordinal=len(drafts),
                    content_hash=hashlib.sha256(f"{section.title}\0{text}".encode()).hexdigest()[:32],
                )
            )
    return drafts


def _units(text: str, size: int, tables: tuple[tuple[int, int], ...]) -> Iterator[_Unit]:
    at = 0
    for start, end in tables:
        yield from _sentences(text, at, start, size)
        yield from _rows(text, start, end, size)
        at = end
    yield from _sentences(text, at, len(text), size)


def _sentences(text: str, start: int, end: int, size: int) -> Iterator[_Unit]:
    for first, last in sentence_spans(text[start:end]):
        yield from _bounded(text, start + first, start + last, size)


def _bounded(text: str, start: int, end: int, size: int) -> Iterator[_Unit]:
    """A sentence, cut where it is clearly longer than `size`, without the spaces around each piece."""
    while end - start > size + size // 5:
        space = text.rfind(" ", start + size // 2, start + size)
        middle = space if space > 0 else start + size
        limit = min(end, middle + size)
        while middle < limit and (unicodedata.category(text[middle]) in CLOSING or text[middle - 1] == "\u200d"):
            middle += 1
        yield _Unit(start, start + len(text[start:middle].rstrip()))
        while middle < end and text[middle].isspace():
            middle += 1
        start = middle
    if end > start:
        yield _Unit(start, end)


def _rows(text: str, start: int, end: int, size: int) -> Iterator[_Unit]:
    """The two lines that name a table's columns with the first row, then each row."""
    lines = []
    for line in text[start:end].splitlines(keepends=True):
        lines.append((start, start + len(line.rstrip())))
        start += len(line)
    header = text[lines[0][0] : lines[1][1]] + "\n"
    if len(header) > size:
        raise InvalidInput(
            f"A table whose first line is {header[:30]!r}… has {len(header):,} characters in its first two lines; "
            f"{size} are allowed, because each piece of a long table repeats them. Shorten the names of its columns."
        )
    yield _Unit(lines[0][0], lines[:3][-1][1])
    for number, (first, last) in enumerate(lines[2:]):
        if last - first > MAX_ROW_CHARS:
            raise InvalidInput(
                f"A table has a row of {last - first:,} characters ({text[first : first + 30]!r}…); {MAX_ROW_CHARS} "
                "are allowed, because a row is not cut. Write it as text, or leave a line blank after the table."
            )
        if number:
            yield _Unit(first, last, header)


def _citable(text: str, units: list[_Unit]) -> list[_Unit]:
    """The units with those that hold no letter or digit joined to the one before, or else to the first that does."""
    joined: list[_Unit] = []
    start = cited_until = units[0].start
    for unit in units:
        if not CITABLE.search(text, unit.start, unit.end):
            if unit.end - cited_until > MAX_UNCITABLE_CHARS:
                raise InvalidInput(
                    f"Over {MAX_UNCITABLE_CHARS:,} characters without a letter or a digit stand after "
                    f"{text[max(0, cited_until - 30) : cited_until]!r}, where nothing can be cited; take them out."
                )
            if joined:
                joined[-1] = joined[-1]._replace(end=unit.end)
            continue
        joined.append(unit if joined or unit.start == start else unit._replace(start=start, header=""))
        cited_until = unit.end
    return joined
