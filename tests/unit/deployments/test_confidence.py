"""Whether lore is about a question at all: absolute, on the sample world, with the embedder of the repository."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from sagaforge.deployments.embedding.embedder import load_embedder
from sagaforge.deployments.retrieval.confidence import confidence, shares_nothing
from sagaforge.deployments.retrieval.interface import LoreLine
from sagaforge.deployments.retrieval.lore_lines import LineSelector
from sagaforge.deployments.retrieval.rerank import Comparison
from sagaforge.functions.story.assembly import stands_alone
from sagaforge.profiles import PROFILES
from sagaforge.schemas import Chunk, ChunkMetadata

PROFILE = PROFILES["pocket"]
LORE = {
    "Far Widow": "Far Widow is the westernmost island of the Reach, and eighty-four people live on it by choice.",
    "Gannet Head": "The Gannet Light stands on its highest point, 140 feet above the spring tide mark.",
    "Tides": "High water returns every twelve hours and twenty-five minutes.",
    "Money": "Twelve stubs make one candle, and twenty candles make one crown.",
    "The Alderman": "The Alderman is an elderly bellwhale that answers a bell rung under water.",
    "The Rope War": "The Rope War began when a ferry dragged a diving bell three miles.",
}
Ask = Callable[..., list[LoreLine]]


@pytest.fixture(scope="module")
def ask() -> Ask:
    selector = LineSelector(load_embedder(PROFILE.embedder), PROFILE.line_matcher())
    chunks = [
        Chunk(
            id=f"doc_1@section_{n}:chunk_1",
            text=text,
            score=1 - n / 10,
            metadata=ChunkMetadata(source="l", section=title),
        )
        for n, (title, text) in enumerate(LORE.items())
    ]

    def select(
        question: str, min_confidence: float = PROFILE.lore_min_confidence, asked: str | None = None
    ) -> list[LoreLine]:
        return asyncio.run(
            selector.select(
                chunks, question, max_lines=3, max_chars=600, min_share=0.5, min_confidence=min_confidence, asked=asked
            )
        )

    return select


@pytest.mark.parametrize(
    "question",
    [
        "How far is the moon?",
        "What is the capital of France?",
        "Who won the world cup in 1998?",
        "When did the second world war end?",
        "How is glass made?",
        "What do kangaroos eat?",
        "How high is Mount Everest?",
        "Who wrote Hamlet?",
        "How many legs does a spider have?",
        "Why is the sky blue?",
        "How do I tie a bow tie?",
        "When is Christmas?",
    ],
)
def test_a_question_about_something_else_gets_no_line(ask: Ask, question: str) -> None:
    assert ask(question, min_confidence=0.0), "there is always a best line"
    assert ask(question) == []


@pytest.mark.parametrize(
    ("question", "section"),
    [
        ("How many people live on Far Widow?", "Far Widow"),
        ("How high above the tide does the Gannet Light stand?", "Gannet Head"),
        ("When does high water return?", "Tides"),
        ("How many stubs are there in a candle?", "Money"),
        ("Who or what is the Alderman?", "The Alderman"),
        ("What started the Rope War?", "The Rope War"),
        ("Tell me about Far Widow.", "Far Widow"),
        ("rope war", "The Rope War"),
    ],
)
def test_a_question_about_the_world_keeps_its_line(ask: Ask, question: str, section: str) -> None:
    lines = ask(question)
    assert lines[0].section == section
    unjudged = ask(question, min_confidence=0.0)
    assert [line for line in unjudged if line in lines] == lines, "in their order"


def test_of_lines_that_are_found_those_that_share_nothing_are_left_out(ask: Ask) -> None:
    assert {line.section for line in ask("When does high water return?", min_confidence=0.0)} > {"Tides"}
    assert {line.section for line in ask("When does high water return?")} == {"Tides", "The Alderman"}  # "under water"


@pytest.mark.parametrize("message", ["Hello?", "Who are you?", "", "?!", "Hi!", "你是誰？", "為什麼？"])
def test_what_asks_for_nothing_particular_is_not_judged(ask: Ask, message: str) -> None:
    assert ask(message) == ask(message, min_confidence=0.0)


@pytest.mark.parametrize(
    "question",
    [
        "Who is Mara?",
        "Tell me about the bell",
        "Is the bell iron?",
        "What burns?",
        "Who owns the café?",
        "Who owns the cafe?",
    ],
)
def test_in_a_little_lore_one_word_is_enough(question: str) -> None:
    """Where there are few lines, a word is hardly found by chance."""
    lore = [
        "The ferry bell is brass.",
        "The harbour light burns whale oil.",
        "Mara Venn winds the clock.",
        "The café belongs to René Łuk.",
    ]
    chunks = [
        Chunk(
            id=f"doc_1@section_{n}:chunk_1",
            text=text,
            score=1.0,
            metadata=ChunkMetadata(source="l", section=f"Part {n}"),
        )
        for n, text in enumerate(lore)
    ]
    selector = LineSelector(load_embedder(PROFILE.embedder), PROFILE.line_matcher())
    for asked, is_known in ((question, True), ("How far is the moon?", False), ("Who wrote Hamlet?", False)):
        lines = asyncio.run(
            selector.select(chunks, asked, max_lines=3, max_chars=600, min_confidence=PROFILE.lore_min_confidence)
        )
        assert bool(lines) == is_known


CHINESE = ["光速是一隻鴿子的名字。", "林默的左手在2074年大停電時壓碎了。", "Alice 靠咖啡度日。"]


@pytest.mark.parametrize(
    ("question", "nothing"),
    [
        ("月亮有多遠？", True),
        ("誰畫了蒙娜麗莎？", True),
        ("怎麼打領帶？", True),  # 帶 alone would not do
        ("袋鼠吃什麼？", True),
        ("林默的手怎麼了？", False),
        ("那只鸽子叫什么？", False),  # the other script
        ("2074 年發生了什麼？", False),
        ("Alice 在哪裡？", False),
        ("你是誰？", False),
        ("", False),
    ],
)
def test_a_chinese_question_must_share_two_characters(question: str, nothing: bool) -> None:
    assert shares_nothing(question, CHINESE) is nothing


def test_a_follow_up_is_judged_by_its_own_words(ask: Ask) -> None:
    searched = "How far is the moon? Who or what is the Alderman?"
    assert ask(searched)
    assert ask(searched, asked="How far is the moon?") == []


@pytest.mark.parametrize(
    ("message", "alone"),
    [
        ("How far is the moon?", True),
        ("who wrote Hamlet", True),
        ("Is there a casino?", False),
        ("And why?", False),
        ("Where did he go?", False),
        ("What is that?", False),
        ("Look around.", False),
        ("", False),
        ("燈塔？", False),
    ],
)
def test_a_question_that_points_back_does_not_stand_alone(message: str, alone: bool) -> None:
    assert stands_alone(message) is alone


def comparison(best: list[list[float]], *, title: bool = False, name: bool = False) -> Comparison:
    num_words = len(best)
    flags = [np.full(num_words, value) for value in (title, name, name)]
    return Comparison([f"w{n}" for n in range(num_words)], np.array(best), np.ones(num_words), *flags)


def test_each_sign_counts_in_its_direction() -> None:
    def of(best: list[list[float]], *, telling: float = 0.6, likeness: float = 0.4, **flags: bool) -> float:
        return confidence(comparison(best, **flags), np.full(len(best), telling), np.array([likeness, 0.1]))

    base = of([[1.0, 0.0], [0.0, 0.3]])
    assert 0.0 < base < 0.5
    assert of([[1.0, 0.0], [0.0, 0.3]], likeness=0.8) > base
    assert of([[1.0, 0.0], [0.0, 0.3]], telling=0.9) > base
    assert of([[1.0, 0.0], [1.0, 0.3]]) > of([[1.0, 0.0], [0.0, 1.0]]) > base  # in one line, or over two
    assert of([[1.0, 0.0], [1.0, 0.3]], name=True) > of([[1.0, 0.0], [1.0, 0.3]])
    assert of([[0.3, 0.0], [0.0, 0.3]], name=True) < of([[0.3, 0.0], [0.0, 0.3]])  # names nobody has heard of


def test_a_rare_word_tells_more_than_a_common_one() -> None:
    common, rare, unknown = load_embedder(PROFILE.embedder).telling(["make", "cistern", "\u2603"])
    assert 0.0 < common < 0.4 < 0.8 < rare <= 1.0
    assert unknown == pytest.approx(1.0, abs=0.5)


def test_large_models_are_left_to_judge_for_themselves() -> None:
    assert {name: profile.lore_min_confidence for name, profile in PROFILES.items() if name != "pocket"} == {
        "cpu": 0.0,
        "gpu": 0.0,
        "low_vram": 0.0,
    }
