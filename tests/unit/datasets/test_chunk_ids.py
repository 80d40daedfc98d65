"""The rule of ids, over histories of a world: an id stands for one text, whatever was uploaded after it."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sagaforge.datasets.worlds.chunk_ids import Content, PublishedChunk, assign_ids, content_of
from sagaforge.datasets.worlds.chunking import ChunkDraft, Section, chunk_sections, doc_id

LONG = " ".join(f"The long wall has stone number {n} in its row." for n in range(40))
TEXTS = [
    "Bells ring.",
    "Tides rise.",
    "Lamps burn.",
    LONG,
    LONG.replace("number 30", "number thirty"),
    LONG + " It ends.",
]

SECTIONS = st.builds(Section, st.sampled_from(["", "A", "B"]), st.sampled_from(TEXTS))
LORE = st.dictionaries(st.sampled_from(["a.md", "b.md"]), st.lists(SECTIONS, max_size=6), min_size=1)


class History:
    """The versions of a world, as its chunk table knows them."""

    def __init__(self) -> None:
        self.rows: list[PublishedChunk] = []
        self.texts: dict[str, Content] = {}
        self.version = 0
        self.current: dict[str, Content] = {}

    def publish(self, lore: dict[str, list[Section]]) -> list[ChunkDraft]:
        drafts = [draft for source, sections in lore.items() for draft in chunk_sections("w", source, sections)]
        published = [
            PublishedChunk(row.chunk_id, row.content, row.since, self.current.get(row.chunk_id) == row.content)
            for row in self.rows
        ]
        assigned = assign_ids(drafts, published)
        assert assigned == assign_ids(drafts, published[::-1]), "a table gives its rows in any order"
        self.version += 1
        ids = {draft.chunk_id: content_of(draft) for draft in assigned}
        assert len(ids) == len(assigned), "two chunks of one version share an id"
        self.rows += [
            PublishedChunk(chunk_id, content, self.version, True)
            for chunk_id, content in ids.items()
            if chunk_id not in self.current
        ]
        self.current = ids
        return assigned


@settings(max_examples=150, deadline=None)
@given(st.lists(LORE, min_size=1, max_size=6))
@example([{"a.md": [Section("A", text)]} for text in ("Bells ring.", "Tides rise.", "Bells ring.", "Lamps burn.")])
def test_an_id_never_changes_its_text(versions: list[dict[str, list[Section]]]) -> None:
    history = History()
    seen: dict[str, Content] = {}
    for lore in versions:
        before = dict(history.current)
        assigned = history.publish(lore)
        for draft in assigned:
            assert seen.setdefault(draft.chunk_id, content_of(draft)) == content_of(draft)
            assert draft.chunk_id.startswith(doc_id("w", draft.source) + "@section_")
        # What was there stays as often as it is there now: no row is written anew for it.
        kept = list(before.values())
        for content in {content_of(draft) for draft in assigned}:
            num_now = sum(content_of(draft) == content for draft in assigned)
            num_kept = sum(before.get(draft.chunk_id) == content for draft in assigned)
            assert num_kept == min(num_now, kept.count(content))


@settings(max_examples=50, deadline=None)
@given(LORE)
def test_the_ids_of_a_first_version_count_from_one(lore: dict[str, list[Section]]) -> None:
    drafts = [draft for source, sections in lore.items() for draft in chunk_sections("w", source, sections)]
    assert assign_ids(drafts, ()) == drafts
    history = History()
    assert history.publish(lore) == drafts
    assert history.publish(lore) == drafts


def test_a_new_text_in_a_section_gets_the_section_s_next_number() -> None:
    history = History()
    first = history.publish({"a.md": [Section("Wall", LONG), Section("Bell", "Bells ring.")]})
    second = history.publish({"a.md": [Section("Wall", LONG + " It ends."), Section("Bell", "Bells ring.")]})
    (new,) = {draft.chunk_id for draft in second} - {draft.chunk_id for draft in first}
    assert new == f"{doc_id('w', 'a.md')}@section_1:chunk_{len(first)}"


def test_documents_whose_ids_collide_share_no_chunk_s_id() -> None:
    by_id: dict[str, str] = {}
    for n in range(300_000):
        source = f"{n}.md"
        other = by_id.setdefault(doc_id("w", source), source)
        if other != source:
            break
    else:
        pytest.fail("no two of so many names collide: the ids of documents are longer than they were")
    history = History()
    lore = {other: [Section("A", "Bells ring.")], source: [Section("A", "Tides rise."), Section("A", "Bells ring.")]}
    assigned = history.publish(lore)
    assert len({draft.doc_id for draft in assigned}) == 1
    assert all(a.chunk_id != b.chunk_id for a, b in combinations(assigned, 2))
    assert history.publish(dict(reversed(lore.items()))) == assigned[1:] + assigned[:1]
