from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sagaforge.datasets.worlds.chunking import (
    CHUNK_CHARS,
    OVERLAP_CHARS,
    Section,
    chunk_sections,
    cut,
    doc_id,
    split_sections,
)

CHUNK_ID = re.compile(r"doc_[0-9a-f]{8}@section_\d+:chunk_\d+$")
LOREBOOK = """# The Reach

Fourteen islands.

## Places

### North Lamp

It burns whale oil.

### South Lamp
It is dark.

```
# not a heading
```

## Customs

Greet the lamp.
"""


def test_sections_carry_the_path_of_their_headings() -> None:
    sections = split_sections(LOREBOOK)
    assert [section.title for section in sections] == [
        "The Reach", "Places > North Lamp", "Places > South Lamp", "Customs",
    ]  # fmt: skip
    assert "# not a heading" in sections[2].text


def test_plain_text_is_cut_at_chapters_only() -> None:
    text = "Before.\n\nChapter 1: Fog\nIt rose.\n# no heading here\n\n第二章 燈塔\n燈亮了。"
    assert [section.title for section in split_sections(text, markdown=False)] == ["", "Chapter 1: Fog", "第二章 燈塔"]


def test_chunks_end_at_sentences_and_overlap() -> None:
    text = " ".join(f"Sentence number {i} says that lamp {i} burns oil of grade {i}." for i in range(60))
    chunks = cut(text)
    assert len(chunks) > 3
    for chunk in chunks:
        assert chunk in text
        assert chunk.endswith(".")
        assert chunk.startswith("Sentence")
        assert len(chunk) <= CHUNK_CHARS * 1.2
    for before, after in pairwise(chunks):
        shared = max(n for n in range(len(after)) if before.endswith(after[:n]))
        assert 0 < shared <= OVERLAP_CHARS


def test_chinese_is_cut_at_its_own_punctuation() -> None:
    text = "".join(f"第{i}盞燈在夜裡亮著，守燈人說「不要熄滅它！」船夫點頭。" for i in range(80))
    chunks = cut(text)
    assert len(chunks) > 2
    assert all(chunk[-1] in "。」" and len(chunk) <= CHUNK_CHARS * 1.2 for chunk in chunks)


def test_a_sentence_without_end_is_cut_anyway() -> None:
    assert all(len(piece) <= CHUNK_CHARS * 1.2 for piece in cut("word " * 1000) + cut("燈" * 3000))


@given(st.text(alphabet=st.sampled_from("ab .。\n燈"), max_size=400), st.integers(10, 60))
def test_every_character_is_in_some_chunk_and_every_chunk_in_the_text(text: str, size: int) -> None:
    chunks = cut(text, size=size, overlap=size // 6)
    assert all(chunk in text and re.search(r"[^\W_]", chunk) for chunk in chunks)
    if not re.search(r"[^\W_]", text):  # nothing to cite
        assert chunks == []
        return
    at = 0
    for chunk in chunks:  # in order, with nothing but spaces between one and the next
        found = text.find(chunk, max(0, at - size))
        assert found >= 0
        assert not text[at : max(at, found)].strip()
        at = max(at, found + len(chunk))
    assert not text[at:].strip()


def test_ids_and_hashes() -> None:
    sections = [Section("A", "One. " * 400), Section("B", "Two.", "character", "bo")]
    chunks = chunk_sections("w", "lorebook.md", sections)
    assert all(CHUNK_ID.match(chunk.chunk_id) for chunk in chunks)
    assert len({chunk.chunk_id for chunk in chunks}) == len(chunks)
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    assert chunks[-1].chunk_id == f"{doc_id('w', 'lorebook.md')}@section_2:chunk_1"
    assert (chunks[-1].kind, chunks[-1].ref) == ("character", "bo")
    assert chunk_sections("w", "lorebook.md", sections) == chunks
    renamed = chunk_sections("w", "lorebook.md", [Section("C", "Two.")])
    assert renamed[0].content_hash != chunks[-1].content_hash
    assert doc_id("w", "a.md") != doc_id("v", "a.md") != doc_id("v", "b.md")
