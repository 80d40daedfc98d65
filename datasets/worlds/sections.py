"""Documents → sections: what stands under one heading.

Markdown is read by pulldown-cmark, so headings, code, HTML and tables are what any viewer of CommonMark shows: 10 MB of
a lorebook take 1 to 3 s, a tenth of what the Python parsers need. Only the document's own blocks count, not those of a
list or a quotation in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyromark

from sagaforge.errors import InvalidInput
from sagaforge.text.characters import MAX_NAME_CHARS

SECTION_SEPARATOR = " > "
CITABLE = re.compile(r"[^\W_]")
"""A letter, a digit, a Chinese character: without one there is nothing to cite."""

ATX = re.compile(r"#{1,6}(?:[ \t]+(.*?)(?:(?<=[ \t])#+)?)?[ \t]*$")
# A key and its value: a rule at the head of a document is no front matter.
FRONT_MATTER = re.compile(rb"---[ \t]*\n(?=[\w-]+[ \t]*:)(?:.*\n)*?(?:---|\.\.\.)[ \t]*(?:\n|\Z)")
# Plain text has no marks for headings; chapter lines are the one convention both languages share.
CHAPTER = re.compile(
    r"((?:chapter|part|book|act)\s+(?:\d+|[ivxlc]+)\b.{0,80}|第[0-9一二三四五六七八九十百零〇]+[章节節回部卷].{0,40})$",
    re.I,
)


@dataclass(frozen=True)
class Section:
    """What stands under one heading. `kind` and `ref` say what it describes: a character's or a scene's id.

    `tables`: where each table of the text begins and ends, as offsets of characters.
    """

    title: str
    text: str
    kind: str = "lore"
    ref: str = ""
    tables: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class _Block:
    """A heading or a table, and where it begins and ends, as offsets of bytes. Other blocks are text."""

    kind: Literal["heading", "table"]
    start: int
    end: int
    level: int = 0
    title: str = ""


def split_sections(text: str, *, markdown: bool = True, source: str = "The document") -> list[Section]:
    """Cut a document at its headings. A title holds the path to it, without the document's own title.

    The document's title is its only heading of the first level; what stands before any heading has it too. A heading
    with nothing under it is a section of its own words. Raises `InvalidInput` for a heading that is too long.
    """
    data = text.encode()
    blocks = list(_markdown_blocks(data, source) if markdown else _chapters(data))
    has_title = markdown and sum(block.level == 1 and block.title != "" for block in blocks) == 1
    path: list[_Block] = []
    tables: list[_Block] = []
    sections: list[Section] = []
    start = 0
    for block in [*blocks, _Block("heading", len(data), len(data))]:
        if block.kind == "table":
            tables.append(block)
            continue
        body, spans = _body(data, start, block.start, tables)
        is_leaf = bool(path) and block.level <= path[-1].level
        if not CITABLE.search(body) and is_leaf:
            body, spans = path[-1].title, ()
        if CITABLE.search(body):
            sections.append(Section(_name(path, has_title), body, tables=spans))
        while path and path[-1].level >= block.level:
            path.pop()
        path.append(block)
        tables.clear()
        start = block.end
    if has_title:
        title = next(block.title for block in blocks if block.level == 1 and block.title)
        sections = [section if section.title else replace(section, title=title) for section in sections]
    return sections


def document_title(text: str, source: str = "The document") -> str:
    """The first heading of the first level in a Markdown document, or an empty text."""
    blocks = _markdown_blocks(text.encode(), source)
    return next((block.title for block in blocks if block.level == 1 and block.title), "")


def _name(path: list[_Block], has_title: bool) -> str:
    named = [block for block in path if block.title]
    if has_title and len(named) > 1 and named[0].level == 1:
        named = named[1:]
    return SECTION_SEPARATOR.join(block.title for block in named)


def _body(data: bytes, start: int, end: int, tables: list[_Block]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The text between two offsets, and where its tables are in it."""
    whole = data[start:end].decode()
    text = whole.strip()
    spans: list[tuple[int, int]] = []
    at, num_chars = start, len(whole.lstrip()) - len(whole)
    for table in tables:
        first = num_chars + len(data[at : table.start].decode())
        num_chars, at = first + len(data[table.start : table.end].decode()), table.end
        spans.append((max(0, first), min(len(text), num_chars)))
    return text, tuple(spans)


def _markdown_blocks(data: bytes, source: str) -> Iterator[_Block]:
    front = FRONT_MATTER.match(data)
    offset = front.end() if front else 0
    inside_until = 0
    events = pyromark.events_with_range(data[offset:].decode(), options=pyromark.Options.ENABLE_TABLES)
    for event, span in events:
        kind: Any = event.get("Start") if isinstance(event, dict) else None
        if kind is None or span["start"] < inside_until:
            continue
        start, end = offset + span["start"], offset + span["end"]
        if isinstance(kind, dict) and "Heading" in kind:
            title = _heading_title(data[start:end].decode())
            if len(title) > MAX_NAME_CHARS:
                raise _too_long(data, start, title, source)
            yield _Block("heading", start, end, int(kind["Heading"]["level"][1]), title)
        elif isinstance(kind, dict) and "Table" in kind:
            yield _Block("table", start, end)
        elif kind == "BlockQuote" or (isinstance(kind, dict) and ("List" in kind or "BlockQuote" in kind)):
            inside_until = span["end"]


def _heading_title(raw: str) -> str:
    raw = raw.strip()
    match = ATX.match(raw)
    title = (match[1] or "") if match else raw.rpartition("\n")[0]
    return re.sub(r"\s*\n\s*|\t+", " ", title).strip()


def _too_long(data: bytes, start: int, title: str, source: str) -> InvalidInput:
    line = data.count(b"\n", 0, start) + 1
    return InvalidInput(
        f"{source}, line {line}: a heading of {len(title):,} characters ({title[:30]!r}…); {MAX_NAME_CHARS} are "
        "allowed. Shorten it, or leave a line blank before a --- or === that is to be a rule."
    )


def _chapters(data: bytes) -> Iterator[_Block]:
    at = 0
    for line in data.splitlines(keepends=True):
        if match := CHAPTER.match(line.decode().strip()):
            yield _Block("heading", at, at + len(line), 1, match[1].strip())
        at += len(line)
