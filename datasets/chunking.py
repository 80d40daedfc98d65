"""Documents → sections → chunks: what retrieval finds and a citation points at.

A section is what stands under one heading; a chunk is a run of whole sentences of about 700 characters. A chunk's
text is always a verbatim piece of its document, so that a quotation can be checked by eye; what its headings say goes
into the search terms and the vector, not into the text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from sagaforge.datasets.text import sentence_spans

CHUNK_CHARS = 700
OVERLAP_CHARS = 120
MAX_TITLE_CHARS = 200
SECTION_SEPARATOR = " > "

MARKDOWN_HEADING = re.compile(r"(#{1,6})[ \t]+(.+?)[ \t#]*$")
FENCE = re.compile(r"\s*(```|~~~)")
# Plain text has no marks for headings; chapter lines are the one convention both languages share.
CHAPTER = re.compile(
    r"((?:chapter|part|book|act)\s+(?:\d+|[ivxlc]+)\b.{0,80}|第[0-9一二三四五六七八九十百零〇]+[章節节回部卷].{0,40})$",
    re.I,
)


@dataclass(frozen=True)
class Section:
    """What stands under one heading. `kind` and `ref` say what it describes: a character's or a scene's id."""

    title: str
    text: str
    kind: str = "lore"
    ref: str = ""


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


def split_sections(text: str, *, markdown: bool = True) -> list[Section]:
    """Cut a document at its headings. A title holds the path to it, without the document's own single title."""
    sections: list[Section] = []
    path: list[tuple[int, str]] = []
    lines: list[str] = []
    is_fenced = False

    def close() -> None:
        body = "\n".join(lines).strip()
        if body:
            sections.append(Section(SECTION_SEPARATOR.join(title for _, title in path)[:MAX_TITLE_CHARS], body))
        lines.clear()

    for line in text.splitlines():
        if FENCE.match(line) and markdown:
            is_fenced = not is_fenced
        heading = None if is_fenced else _heading(line, markdown)
        if heading is None:
            lines.append(line)
            continue
        close()
        while path and path[-1][0] >= heading[0]:
            path.pop()
        path.append(heading)
    close()
    return _without_document_title(sections)


def cut(text: str, size: int = CHUNK_CHARS, overlap: int = OVERLAP_CHARS) -> list[str]:
    """Pieces of at most about `size` characters, each a run of whole sentences, sharing up to `overlap` characters.

    A sentence longer than `size` is cut at a space (or anywhere, where there is none). A short last piece joins the
    one before it rather than standing alone with half a thought.
    """
    if len(whole := text.strip()) <= size:
        return [whole] if whole else []  # most sections: no need to find their sentences
    spans = list(_bounded(text, sentence_spans(text), size))
    if not spans:
        return []
    pieces: list[tuple[int, int]] = []
    first = 0
    while first < len(spans):
        last = first
        while last + 1 < len(spans) and spans[last + 1][1] - spans[first][0] <= size:
            last += 1
        rest = spans[-1][1] - spans[last][1]
        if rest <= size // 5:
            last = len(spans) - 1
        pieces.append((spans[first][0], spans[last][1]))
        if last == len(spans) - 1:
            break
        following = last + 1
        while following - 1 > first and spans[last][1] - spans[following - 1][0] <= overlap:
            following -= 1
        first = following
    return [text[start:end] for start, end in pieces]


def chunk_sections(world_id: str, source: str, sections: list[Section]) -> list[ChunkDraft]:
    """The chunks of one document, numbered `doc_<8 hex>@section_<n>:chunk_<n>` from 1."""
    document = doc_id(world_id, source)
    drafts: list[ChunkDraft] = []
    for number, section in enumerate(sections, start=1):
        for index, text in enumerate(cut(section.text), start=1):
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


def _heading(line: str, markdown: bool) -> tuple[int, str] | None:
    if markdown and (match := MARKDOWN_HEADING.match(line)):
        return len(match[1]), match[2].strip()
    if not markdown and (match := CHAPTER.match(line.strip())):
        return 1, match[1].strip()
    return None


def _without_document_title(sections: list[Section]) -> list[Section]:
    """Drop a first heading that every section stands under: it says nothing that tells them apart."""
    tops = {section.title.split(SECTION_SEPARATOR)[0] for section in sections}
    if len(sections) < 2 or len(tops) != 1 or not (top := tops.pop()):
        return sections
    prefix = top + SECTION_SEPARATOR
    return [Section(s.title.removeprefix(prefix), s.text, s.kind, s.ref) for s in sections]


def _bounded(text: str, spans: list[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    for start, end in spans:
        while end - start > size:
            space = text.rfind(" ", start + size // 2, start + size)
            middle = space if space > 0 else start + size
            yield start, middle
            start = middle + (space > 0)
        if end > start:
            yield start, end
