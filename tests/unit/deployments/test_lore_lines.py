"""Chunks → lore lines: which sentences a prompt gets, in which order, and that none comes twice."""

from __future__ import annotations

import asyncio

import pytest

from sagaforge.datasets.worlds.chunking import chunk_sections, split_sections
from sagaforge.deployments.embedding.embedder import load_embedder
from sagaforge.deployments.retrieval.interface import LoreLine, section_title
from sagaforge.deployments.retrieval.lore_lines import LINE_OVERHEAD_CHARS, LineSelector
from sagaforge.pocket.line_matcher import load_line_matcher
from sagaforge.schemas import Chunk, ChunkMetadata
from tests.support.fakes import FakeEmbedder
from tests.support.paths import SAMPLES


def chunk(text: str, section: str = "Places > Gannet Head", number: int = 1) -> Chunk:
    return Chunk(
        id=f"doc_1@section_1:chunk_{number}",
        text=text,
        score=1.0,
        metadata=ChunkMetadata(source="lorebook.md", section=section),
    )


def sample_chunks(world: str, *words: str) -> list[Chunk]:
    """A crude retriever: the chunks of a sample world with most of `words`."""
    drafts = chunk_sections(world, "lorebook.md", split_sections((SAMPLES / world / "lorebook.md").read_text("utf-8")))
    drafts.sort(key=lambda draft: -sum(draft.search_text.count(word) for word in words))
    metadata = [ChunkMetadata(source=draft.source, section=draft.section) for draft in drafts[:8]]
    return [
        Chunk(id=draft.chunk_id, text=draft.text, score=1.0, metadata=each)
        for draft, each in zip(drafts, metadata, strict=False)
    ]


def select_lines(
    chunks: list[Chunk], query: str, *, max_lines: int, max_chars: int, min_share: float = 0.0
) -> list[LoreLine]:
    """By BM25, as where no embedder can read the question."""
    selector = LineSelector(FakeEmbedder(), load_line_matcher())
    return asyncio.run(selector.select(chunks, query, max_lines=max_lines, max_chars=max_chars, min_share=min_share))


def select(chunks: list[Chunk], query: str, max_lines: int = 6, max_chars: int = 1200) -> list[str]:
    return [line.text for line in select_lines(chunks, query, max_lines=max_lines, max_chars=max_chars)]


@pytest.mark.parametrize(
    ("world", "words", "query", "answer"),
    [
        ("lantern_reach", ["Tallowby"], "How many barrels does the press at Tallowby fill in a day?", "forty barrels"),
        ("lantern_reach", ["Rope War"], "What ended the Rope War?", "Treaty of the Ham"),
        ("lantern_reach", ["Crake", "Fellowship"], "how did Dame Crake lose her ear", "pressure valve"),
        ("neo_taipei", ["六號閘門"], "六號閘門有多重？", "重十四噸"),
        ("neo_taipei", ["六號閘門"], "六号闸门有多重？", "重十四噸"),
        ("neo_taipei", ["半糖咖啡廳"], "誰創立了半糖咖啡廳", "康伯鈞"),
    ],
)
def test_the_sentence_that_answers_is_among_the_first_three(
    world: str, words: list[str], query: str, answer: str
) -> None:
    assert any(answer in text for text in select(sample_chunks(world, *words), query)[:3])


def test_lines_keep_their_chunk_and_the_last_part_of_their_section() -> None:
    lines = select_lines(
        [chunk("The stair has 212 steps, cut by hand in one year.", number=7)], "stair", max_lines=3, max_chars=500
    )
    assert [(line.chunk_id, line.section) for line in lines] == [("doc_1@section_1:chunk_7", "Gannet Head")]
    assert section_title("A > B > C") == "C"
    assert section_title("") == ""


def test_what_two_chunks_share_comes_once() -> None:
    shared = "A stair of 212 steps links the landing stage to the lamp room."
    chunks = [
        chunk(f"The island has no wells, so its people collect fog on nets of hair. {shared}", number=1),
        chunk(f"{shared} One new step is cut every year, on the day of the great wreck.", number=2),
        chunk("landing stage to the lamp room. Visitors get a hat.", number=3),
    ]
    texts = select(chunks, "stair steps landing stage lamp room")
    assert "".join(texts).count("212 steps") == 1
    assert "".join(texts).count("landing stage to the lamp room") == 1
    assert texts[0] == shared


def test_short_neighbours_are_joined_in_their_order() -> None:
    texts = select([chunk("He never did. The light still burns on the highest point of the rock.")], "light")
    assert texts == ["He never did. The light still burns on the highest point of the rock."]
    texts = select([chunk("他沒有回來。燈塔還亮著,照著島上最高的那塊黑色岩石與下面的碼頭。")], "燈塔")
    assert texts == ["他沒有回來。燈塔還亮著,照著島上最高的那塊黑色岩石與下面的碼頭。"]


def test_a_sentence_without_a_name_is_found_by_its_title() -> None:
    chunks = [
        chunk("Nets of knotted hair hang between the houses to catch the fog of the morning.", "Places > Low Pallant"),
        chunk(
            "She rows flour and newspapers to him at every new moon, in the smallest boat.", "People > Ottoline Gask", 2
        ),
    ]
    assert select(chunks, "What does Ottoline Gask do?")[0].startswith("She rows")


def test_headings_and_list_marks_do_not_reach_the_prompt() -> None:
    text = "## Gannet Head\n- The island has no wells, and it drinks the fog of the night."
    text += "\n> Visitors wear the hat that they are given."
    assert sorted(select([chunk(text)], "wells")) == [
        "The island has no wells, and it drinks the fog of the night.",
        "Visitors wear the hat that they are given.",
    ]


def test_what_is_far_below_the_best_line_is_left_out() -> None:
    chunks = [
        chunk("The stair has 212 steps, cut by hand in one year. Gulls nest under the eaves of the old customs house.")
    ]
    assert len(select_lines(chunks, "How many steps has the stair?", max_lines=3, max_chars=500)) == 2
    kept = select_lines(chunks, "How many steps has the stair?", max_lines=3, max_chars=500, min_share=0.9)
    assert [line.text[:9] for line in kept] == ["The stair"]


def test_names_that_share_a_syllable_are_two_names() -> None:
    """As vectors of word pieces Vashron and Vashunwin are alike."""
    chunks = [
        chunk(
            "Vashunwin Siaric caused the Vashoata War, and the war was long and hard for all.", "People > Vashunwin", 1
        ),
        chunk(
            "Vashron will not sit at one table with Quiliasa, whatever the cook may say of it.", "People > Vashron", 2
        ),
    ]
    selector = LineSelector(load_embedder("pocket-embedder"))
    lines = asyncio.run(selector.select(chunks, "With whom did Vashron quarrel?", max_lines=2, max_chars=600))
    assert lines[0].section == "Vashron"


def test_a_line_that_answers_in_other_words_comes_first() -> None:
    chunks = [
        chunk("The brass lamp was forged by Oriel. Mara ran off with the brass lamp at dawn.", "Things > Brass lamp"),
    ]
    assert select(chunks, "Who stole the brass lamp?")[0].startswith("Mara")


def test_limits_hold_and_the_order_is_stable() -> None:
    chunks = sample_chunks("lantern_reach", "lamp")
    for max_lines, max_chars in ((1, 4000), (4, 500), (24, 100), (24, 0), (50, 100_000)):
        lines = select_lines(chunks, "Who tends the lamp?", max_lines=max_lines, max_chars=max_chars)
        assert len(lines) <= max_lines
        assert sum(len(line.text) + len(line.section) + LINE_OVERHEAD_CHARS for line in lines) <= max_chars
        assert lines == select_lines(chunks, "Who tends the lamp?", max_lines=max_lines, max_chars=max_chars)
    assert select([], "anything") == []
    assert len(select(chunks, "?!")) == 6


@pytest.mark.parametrize(
    ("section", "text", "line"),
    [
        ("Oriel Vance", "Background of Oriel Vance: Oriel grew up beside the old weir.", "Oriel grew up beside the old weir."),
        ("Oriel Vance", "Goals of Oriel Vance: Find the map before winter comes back.", None),
        ("Oriel Vance", "Oriel Vance and Bo Tarn: Oriel owes Bo two boats and a song.", "Oriel owes Bo two boats and a song."),
        ("Lamp Signals", "Two flashes say: the Lamp Signals office is closed for the day.", None),
        ("林默", "林默的背景故事：林默的左手是在大停電時為了扶住倒下的神像而壓碎的。", "林默的左手是在大停電時為了扶住倒下的神像而壓碎的。"),
        ("林默", "林默的目標：在颱風季結束之前把所有的神像都修好一遍。", None),
    ],
)  # fmt: skip
def test_a_sentence_that_names_its_own_subject_needs_no_label(section: str, text: str, line: str | None) -> None:
    assert select([chunk(text, f"Characters > {section}")], "weir") == [line or text]
