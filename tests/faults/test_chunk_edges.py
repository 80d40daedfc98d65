"""Kind 14: edges of chunks, headings, titles and tables."""

from __future__ import annotations

import io
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from sagaforge.datasets.packs.pack import read_upload
from sagaforge.datasets.worlds.chunking import CHUNK_CHARS, MAX_ROW_CHARS, MAX_UNCITABLE_CHARS, chunk_sections, cut
from sagaforge.datasets.worlds.ingest import chunk_pack
from sagaforge.datasets.worlds.sections import Section, document_title, split_sections
from sagaforge.errors import InvalidInput

CITABLE = re.compile(r"[^\W_]")


def named(text: str) -> list[tuple[str, str]]:
    return [(section.title, section.text) for section in split_sections(text)]


def title_of(text: str, name: str = "lorebook.md") -> str:
    return read_upload(name, io.BytesIO(text.encode())).title


# --- no chunk without something to cite -------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["。", "！", ".", "…", "。」", "?!", "；", "。。。"])
@pytest.mark.parametrize("num_chars", [*range(CHUNK_CHARS - 4, CHUNK_CHARS + 4), 830])
def test_a_mark_stays_with_its_sentence(num_chars: int, mark: str) -> None:
    """The issue's: 699 characters and 。 three times over; and all lengths at the edge."""
    sentence = "燈" * num_chars + mark
    assert cut(sentence) == [sentence]
    chunks = cut(sentence * 3)
    assert all(set(chunk.split(mark)) == {"燈" * num_chars, ""} for chunk in chunks)
    assert len(chunks) == 3
    assert cut(sentence * 2 + "終" + mark)[-1].endswith("終" + mark)


UNCITABLE = ["。。。", "---", "***", "……", "| | |", "```", "- - -", "。\n\n。\n", "___", "!!!", "🙂"]


@pytest.mark.parametrize("piece", UNCITABLE)
@pytest.mark.parametrize("num_chars", [CHUNK_CHARS - 1, CHUNK_CHARS, CHUNK_CHARS + 1, 2 * CHUNK_CHARS])
def test_signs_alone_are_no_chunk(piece: str, num_chars: int) -> None:
    sentence = "a" * (num_chars - 1) + "."
    for text in (f"{sentence}\n\n{piece}\n\n{sentence}", f"{piece}\n{sentence}", f"{sentence}\n{piece}", f"{piece}\n\n{sentence}\n" * 4):  # fmt: skip
        chunks = cut(text)
        assert all(CITABLE.search(chunk) for chunk in chunks)
        assert all(chunk in text for chunk in chunks)
        assert sum(chunk.count(piece.split("\n")[0]) for chunk in chunks) >= text.count(piece)
    assert cut(piece) == []
    assert cut(piece * 500) == []


@pytest.mark.parametrize("body", ["---", "……", "***\n\n***", "", "\n\n"])
def test_a_heading_over_signs_is_cited_by_its_own_words(body: str) -> None:
    text = f"# World\n\n## Silence\n\n{body}\n\n## Bell\n\nIt rings.\n"
    assert named(text) == [("Silence", "Silence"), ("Bell", "It rings.")]


def test_a_document_of_headings_only() -> None:
    assert named("# World\n## A\n### B\n## C\n") == [("A > B", "B"), ("C", "C")]
    assert named("# World\n") == [("World", "World")]
    assert named("##\n#\n") == []
    chunks = chunk_pack(read_upload("lore.md", io.BytesIO(b"# The ferry leaves at dawn\n")), "w")
    assert [chunk.text for chunk in chunks] == ["The ferry leaves at dawn"]


@pytest.mark.parametrize(
    "text",
    [
        "x" + " " * 3000 + "y",
        "word " * 1000,
        "a" * 1500 + "!" * 30,
        "é́" * 1000,
        "👩\u200d🚀 " + "👩\u200d🚀" * 800 + " a",
        "नमस्ते" * 300,
        "「" + "燈" * 1400 + "」",
    ],
    ids=["spaces", "words", "marks", "combining", "joiners", "devanagari", "quotation"],
)
def test_a_sentence_without_end_is_cut_between_characters(text: str) -> None:
    chunks = cut(text)
    assert all(chunk == chunk.strip() and CITABLE.search(chunk) for chunk in chunks)
    assert re.sub(r"\s", "", "".join(chunks)) == re.sub(r"\s", "", text)
    for chunk in chunks[1:]:
        assert not re.match("[\u0300-\u036f\u0900-\u0903\u093a-\u094f\u200d!」]", chunk)
    assert not any(chunk.endswith("\u200d") for chunk in chunks)


def test_endless_signs_are_refused_not_stored() -> None:
    with pytest.raises(
        InvalidInput, match=r"lore.md: Over 10,000 characters without a letter or a digit .*'The end\.'"
    ):
        chunk_sections("w", "lore.md", [Section("", "The end." + "\n!" * MAX_UNCITABLE_CHARS + "\nMore.")])


# --- headings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("Title\n=====\n\nIntro.\n\nPart\n----\n\nText.", [("Title", "Intro."), ("Part", "Text.")]),
        ("# T\n\nA line\nand another\n---\nText.", [("A line and another", "Text.")]),
        ("# T\n\nText.\n\n---\n\nMore.", [("T", "Text.\n\n---\n\nMore.")]),
        ("# T\n\n- item\n---\n\nMore.", [("T", "- item\n---\n\nMore.")]),
        ("# T\n\n> said\n---\n\nMore.", [("T", "> said\n---\n\nMore.")]),
        ("# T\n\n***\n---\n\nMore.", [("T", "***\n---\n\nMore.")]),
        ("# T\n\na | b\n--|--\n1 | 2\n", [("T", "a | b\n--|--\n1 | 2")]),
        ("# T\n\nname\n--\n\nMore.", [("name", "More.")]),
        ("---\ntitle: x\n---\n\n# T\n\nText.", [("T", "---\ntitle: x\n---"), ("T", "Text.")]),
        ("---\ntitle: x\n...\nText.", [("", "---\ntitle: x\n...\nText.")]),
        ("---\n\n# T\n\nText.\n\n---\n", [("T", "Text.\n\n---")]),
        ("   # T ##\n\nText.", [("T", "Text.")]),
        ("    # code\n", [("", "# code")]),
        ("# C#\n\nText.", [("C#", "Text.")]),
        ("# No \\#\n\nText.", [("No \\#", "Text.")]),
        ("#NoSpace\n\nText.", [("", "#NoSpace\n\nText.")]),
        ("####### seven\n", [("", "####### seven")]),
        ("#\tTab\tand\ttab\n\nText.", [("Tab and tab", "Text.")]),
        ("# 第一章　燈塔\n\n燈亮了。", [("第一章　燈塔", "燈亮了。")]),
        ("# T\n\n## A\n\nText.\n\n##\n\nMore.", [("A", "Text."), ("T", "More.")]),
        ("# T\n\n```\n# code\n```\n\nText.", [("T", "```\n# code\n```\n\nText.")]),
        ("# T\n\n~~~\n```\n# code\n", [("T", "~~~\n```\n# code")]),
        ("# T\n\n````\n```\n# code\n````\n## A\nText.", [("T", "````\n```\n# code\n````"), ("A", "Text.")]),
        ("# T\n\n``` x ```\n\n## A\nText.", [("T", "``` x ```"), ("A", "Text.")]),
        ("# T\n\n<!--\n\n# hidden\n\n-->\n\nText.", [("T", "<!--\n\n# hidden\n\n-->\n\nText.")]),
        ("# T\n\n<div>\n# inside\n\n## A\nText.", [("T", "<div>\n# inside"), ("A", "Text.")]),
        ("# T\n\n- # item\n\n  ## in it\n\nText.", [("T", "- # item\n\n  ## in it\n\nText.")]),
        ("# T\n\n- a\n  - b\n    - c\n\n## A\nText.", [("T", "- a\n  - b\n    - c"), ("A", "Text.")]),
        ("# T\n\n> # said\n\nText.", [("T", "> # said\n\nText.")]),
        (
            "# T\n\n1. a\n\n   ```\n   # code\n   ```\n\n## A\nText.",
            [("T", "1. a\n\n   ```\n   # code\n   ```"), ("A", "Text.")],
        ),
    ],
)
def test_headings_are_those_of_commonmark(text: str, sections: list[tuple[str, str]]) -> None:
    assert named(text) == sections


@pytest.mark.parametrize(
    ("before", "title"),
    [
        ("Some words first.\n\n", "The Reach"),
        ("```\n# not this\n```\n\n", "The Reach"),
        ("<!-- # nor this -->\n\n", "The Reach"),
        ("---\nauthor: me\n---\n", "The Reach"),
        ("## A part before\n\nText.\n\n", "The Reach"),
        ("![map](map.png)\n\n", "The Reach"),
        ("\n\n   ", "The Reach"),
    ],
)
def test_what_stands_before_the_title_is_kept_and_so_is_the_title(before: str, title: str) -> None:
    for heading in (f"# {title}\n", f"# {title} #\n", f"{title}\n=======\n"):
        text = f"{before}{heading}\nIntro.\n\n## Places\n\nText.\n"
        assert title_of(text) == title
        sections = named(text)
        assert sections[-2:] == [(title, "Intro."), ("Places", "Text.")]
        if CITABLE.search(before):
            assert sections[0] == (("A part before", "Text.") if "##" in before else (title, before.strip()))


def test_a_world_without_a_title_has_its_files_name() -> None:
    assert title_of("## Places\n\nText.", "salt_ferry-lore.md") == "salt ferry lore"
    assert document_title("```\n# code\n```\n\n- # item\n") == ""


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("# T\n\n## A\n\nText.", ["A"]),
        ("# T\n\n## A\n\nText.\n\n## B\n\nText.", ["A", "B"]),
        ("# T\n\nIntro.\n\n## A\n\nText.", ["T", "A"]),
        ("# T\n\n## A\n\n### B\n\nText.", ["A > B"]),
        ("# T\n\nText.", ["T"]),
        ("## A\n\n### B\n\nText.", ["A > B"]),
        ("## A\n\n### B\n\nText.\n\n### C\n\nText.", ["A > B", "A > C"]),
        ("# Mara\n\n## Home\n\nText.\n\n# Tam\n\n## Home\n\nText.", ["Mara > Home", "Tam > Home"]),
        ("# T\n\n# U\n\n## A\n\nText.", ["T", "U > A"]),
    ],
)
def test_a_name_does_not_change_with_the_number_of_sections(text: str, names: list[str]) -> None:
    assert [section.title for section in split_sections(text)] == names


@settings(deadline=None)
@given(st.lists(st.sampled_from("ABC"), min_size=1, max_size=5))
def test_a_sections_name_stays_when_others_come(letters: list[str]) -> None:
    text = "# T\n"
    for number, letter in enumerate(letters, start=1):
        text += f"\n## {letter}{number}\n\nText {number}.\n"
        assert [section.title for section in split_sections(text)] == [
            f"{c}{n}" for n, c in enumerate(letters[:number], 1)
        ]


@pytest.mark.parametrize("marks", ["# {}\n", "{}\n===\n", "## {} ##\n"])
def test_a_long_heading_is_refused_with_its_line(marks: str) -> None:
    assert split_sections("Text.\n\n" + marks.format("x" * 200) + "\nMore.")[-1].title == "x" * 200
    text = "Text.\n\n" + marks.format("word " * 60) + "\nMore."
    with pytest.raises(
        InvalidInput, match=r"^lore\.md, line 3: a heading of 299 characters \('word .* 200 are allowed\."
    ):
        chunk_pack(read_upload("lore.md", io.BytesIO(text.encode())), "w")


def test_a_path_of_long_headings_is_not_cut() -> None:
    titles = [letter * 150 for letter in "abc"]
    text = "# T\n" + "".join(f"{'#' * level} {title}\n" for level, title in enumerate(titles, start=2)) + "Text."
    assert split_sections(text)[0].title == " > ".join(titles)


def test_plain_text_has_no_markdown() -> None:
    text = "Title\n=====\n\n# x\n\nChapter 1\nText.\n"
    assert [(s.title, s.text) for s in split_sections(text, markdown=False)] == [
        ("", "Title\n=====\n\n# x"), ("Chapter 1", "Text."),
    ]  # fmt: skip


# --- tables -----------------------------------------------------------------------------------------------------------

HEADER = "| Name | Trade |\n|------|:-----:|"


def table(num_rows: int, cell: str = "keeps the {} lamp. It burns oil.") -> str:
    return HEADER + "".join(f"\n| Keeper {n} | {cell.format(n)} |" for n in range(num_rows))


@pytest.mark.parametrize(
    ("before", "after"),
    [("", ""), ("The keepers.\n\n", ""), ("", "\n\nAfter it."), ("燈塔。" * 300 + "\n\n", "\n\n" + "船。" * 500)],
)
def test_each_piece_of_a_table_names_its_columns_and_holds_whole_rows(before: str, after: str) -> None:
    text = before + table(60) + after
    (section,) = split_sections("# T\n\n" + text)
    chunks = [draft.text for draft in chunk_sections("w", "lore.md", [section])]
    rows = [line for line in text.split("\n") if line.startswith("| Keeper")]
    told: list[str] = []
    for chunk in chunks:
        assert len(chunk) <= 1.2 * CHUNK_CHARS + len(HEADER)
        lines = chunk.split("\n")
        assert set(lines) <= set(text.split("\n")) or before != after  # whole lines, where prose is not cut
        in_table = [line for line in lines if line.startswith("|")]
        if in_table:
            assert "\n".join(in_table[:2]) == HEADER
            assert chunk.count(HEADER) == 1
            assert set(in_table[2:]) <= set(rows)
            told += in_table[2:]
    assert list(dict.fromkeys(told)) == rows
    prose = "".join(chunk for chunk in chunks)
    assert all(word in prose for word in (before[:10].strip(), after[-10:].strip()))


def test_a_short_table_is_one_piece_as_it_stands() -> None:
    assert [d.text for d in chunk_sections("w", "a.md", split_sections(f"# T\n\nSee:\n\n{table(5)}\n"))] == [
        f"See:\n\n{table(5)}"
    ]


def test_two_tables_have_their_own_columns() -> None:
    other = "a | b\n--|--" + "".join(f"\nrow {n} | its text goes on for a while" for n in range(40))
    chunks = [d.text for d in chunk_sections("w", "a.md", split_sections(f"{table(30)}\n\n{other}\n"))]
    for chunk in chunks:
        if "Keeper" in chunk:
            assert chunk.startswith(HEADER)
        if "row" in chunk:
            assert chunk.index("a | b\n--|--\n") < chunk.index("row")
    assert all(any(f"row {n} |" in chunk for chunk in chunks) for n in range(40))


def test_a_long_row_is_whole_and_a_huge_one_refused() -> None:
    long = table(3, "x {} " + "word. " * 400)
    chunks = [d.text for d in chunk_sections("w", "a.md", split_sections(long))]
    assert [chunk.count("Keeper") for chunk in chunks] == [1, 1, 1]
    assert all(chunk.startswith(HEADER) and chunk.endswith("|") for chunk in chunks)
    huge = table(1, "x {} " + "word " * MAX_ROW_CHARS)
    with pytest.raises(InvalidInput, match=r"a.md: A table has a row of 20,\d+ characters .* 4000 are allowed"):
        chunk_sections("w", "a.md", split_sections(huge))
    wide = "| " + "column " * 200 + "|\n|---|\n" + "| x |\n" * 5
    with pytest.raises(
        InvalidInput, match=r"a.md: A table whose first line .* has 1,\d+ characters in its first two lines"
    ):
        chunk_sections("w", "a.md", split_sections(wide))


def test_a_table_in_code_or_a_list_is_text() -> None:
    for text in (f"```\n{table(40)}\n```", "- " + table(40).replace("\n", "\n  ")):
        (section,) = split_sections(text)
        assert section.tables == ()
        assert all(chunk in text for chunk in cut(section.text, tables=section.tables))


# --- properties -------------------------------------------------------------------------------------------------------

LINES = [
    "# One", "## Two", "### Three ##", "   # Four", "#", "#five", "Six\n===", "Seven\n---", "---", "***", "```", "~~~", "    # eight",
    "- nine", "  - ten", "> eleven", "text", "text two", "", "", "<!-- a", "b -->", "<div>", "| a | b |\n|---|---|\n| c | d |",
    "1. twelve", "   thirteen", "\t# fourteen", "`code`", "===",
]  # fmt: skip
ORACLE = MarkdownIt("commonmark").enable("table")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=12))
def test_another_parser_finds_the_same_headings(lines: list[str]) -> None:
    text = "\n".join(lines)
    tokens = ORACLE.parse(text)
    expected = [
        re.sub(r"\s*\n\s*", " ", inline.content)
        for token, inline in pairwise(tokens)
        if token.type == "heading_open" and token.level == 0
    ]
    path_parts = [part for section in split_sections(text) for part in section.title.split(" > ")]
    assert set(path_parts) - {""} <= set(expected)
    # Under every heading that has a text of its own there is a section whose name ends with it.
    bodies = {section.title.split(" > ")[-1] for section in split_sections("\n\n".join([text, "end of all"]))}
    assert not expected or not expected[-1] or expected[-1] in bodies


@settings(deadline=None)
@given(st.text(st.sampled_from("ab .。!\n燈|-#`é\u0301\u200d"), max_size=400), st.integers(10, 60))
def test_chunks_cover_the_text_and_each_can_be_cited(text: str, size: int) -> None:
    chunks = cut(text, size=size, overlap=size // 6)
    assert all(chunk in text and chunk == chunk.strip() and CITABLE.search(chunk) for chunk in chunks)
    at = 0
    for chunk in chunks:
        found = text.find(chunk, max(0, at - size))
        assert found >= 0
        assert not text[at : max(at, found)].strip()
        at = max(at, found + len(chunk))
    assert not CITABLE.search(text[at:])
    assert not chunks or not text[at:].strip()


@settings(deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=20))
def test_no_line_of_a_document_is_lost(lines: list[str]) -> None:
    """Each line with a letter stands in a chunk, or in the name of a section."""
    text = "\n".join(lines)
    chunks = chunk_sections("w", "lore.md", split_sections(text))
    told = "\n".join(f"{chunk.section}\n{chunk.text}" for chunk in chunks) + document_title(text)
    for line in text.split("\n"):
        words = line.strip().strip("#").strip()
        assert not CITABLE.search(words) or words in told
    assert all(CITABLE.search(chunk.text) for chunk in chunks)
