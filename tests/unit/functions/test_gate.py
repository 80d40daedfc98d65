"""The citation gate: single cases, claims written by hand, and perturbed pairs with precision and recall by kind."""

from __future__ import annotations

from collections import defaultdict

import pytest
import yaml

from sagaforge.deployments.retrieval.interface import LoreLine
from sagaforge.functions.citations.claims import han_negations, han_spelling, read_claim
from sagaforge.functions.citations.gate import CitationChecker, LexicalGate, Verdict
from tests.support.gate_pairs import lore_lines, pairs_of
from tests.support.paths import DATA

WORLDS = ("lantern_reach", "neo_taipei")
BY_HAND = yaml.safe_load((DATA / "gate_by_hand.yaml").read_text("utf-8"))

LINES = [
    LoreLine(
        "c1", "Tallowby", "The largest press at Tallowby is called the Bishop, and it fills forty barrels in a day."
    ),
    LoreLine("c2", "Ottoline Gask", "She rows flour, tea and newspapers to him at every new moon."),
    LoreLine("c3", "玄穹塔", "玄穹塔的塔頂每晚九點亮燈，燈色代表全市當天的心情指數。"),
    LoreLine("c4", "Pim Sackett", "Pim Sackett is eleven years old and levies a toll in buttons."),
    LoreLine("c5", "Alice", "她把銅鑰匙藏在廟口的香爐底下，從不告訴別人。"),
]


def check(text: str, *cited: int, known: tuple[str, ...] = ()) -> Verdict:
    checker: CitationChecker = LexicalGate(known)
    return checker.check(text, list(cited), LINES)


def test_a_right_mark_stays() -> None:
    assert check("The Bishop fills 40 barrels in a day.", 1) == Verdict([1], "cited")


def test_a_wrong_mark_moves_to_the_line_that_holds_the_sentence() -> None:
    verdict = check("The Bishop fills forty barrels in a day.", 4)
    assert (verdict.citations, verdict.status, verdict.moved) == ([1], "cited", True)
    assert verdict.reasons == ["line 4: name bishop"]


def test_of_two_marks_the_one_that_holds_stays() -> None:
    assert check("Pim Sackett levies a toll in buttons.", 1, 4).citations == [4]
    together = "The Bishop fills forty barrels in a day, and Pim Sackett levies a toll in buttons."
    assert check(together, 1, 4) == Verdict([1, 4], "cited")


def test_what_no_line_holds_is_invented() -> None:
    for text in (
        "The Bishop fills fifty barrels in a day.",
        "Grey light thins over the quay.",
        "“Hm.”",
        "",
        "塔頂每晚十點亮燈。",
    ):
        verdict = check(text, 1)
        assert (verdict.citations, verdict.status, verdict.moved) == ([], "invented", False)
        assert verdict.reasons


def test_marks_that_no_line_has_are_ignored() -> None:
    assert check("The Bishop fills forty barrels in a day.", 0, 9, -1).citations == [1]
    assert LexicalGate().check("Anything at all.", [1], []) == Verdict([], "invented")


def test_a_pronoun_and_the_title_name_each_other() -> None:
    assert check("Ottoline Gask rows flour to him at every new moon.", 2).status == "cited"
    assert check("It is called the Bishop and fills forty barrels.", 1).status == "cited"
    assert check("Alice把銅鑰匙藏在廟口的香爐底下。", 5).status == "cited"
    assert check("Pim Sackett rows flour to him at every new moon.", 2).status == "invented"


def test_known_names_need_no_lore_but_do_nobody_elses_deeds() -> None:
    text = "You tell Mara that Pim Sackett levies a toll in buttons."
    assert check(text, 4).status == "invented"
    assert check(text, 4, known=("Mara",)).status == "cited"
    assert check("Mara is eleven years old and levies a toll in buttons.", 4, known=("Mara",)).status == "invented"
    assert check("林默，玄穹塔的塔頂每晚九點亮燈。", 3, known=("林默", "Mara")).status == "cited"
    assert check("Mara，玄穹塔的塔頂每晚九點亮燈。", 3, known=("林默", "Mara")).status == "cited"
    assert check("Mara，玄穹塔的塔頂每晚九點亮燈。", 3).status == "invented"


def test_an_unmarked_sentence_gets_a_mark_only_when_it_is_all_but_a_quotation() -> None:
    assert check("Pim Sackett is eleven years old and levies a toll in buttons.").citations == [4]
    assert check("玄穹塔的塔頂每晚九點亮燈，燈色代表全市當天的心情指數。").citations == [3]
    assert check("Pim Sackett levies a toll.").citations == []
    assert check("Mist hangs over the water.").citations == []


def test_either_script_is_held_by_the_other() -> None:
    assert check("玄穹塔的塔顶每晚九点亮灯。", 3).status == "cited"
    assert check("玄穹塔的塔顶每晚九点不亮灯。", 3).status == "invented"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("two hundred and forty-one days and 9,600 people", [241, 9600]),
        ("the 9th of Murk, the ninth turn, a dozen", [9, 9]),
        ("eleven thousand gannets, thirty-eight people", [11000, 38]),
        ("ten and twelve", [10, 12]),
    ],
)
def test_numbers_in_words(text: str, values: list[float]) -> None:
    assert [unit.value for unit in read_claim(text).units if unit.value is not None] == values


def test_numbers_in_chinese() -> None:
    claim = read_claim("2089年有六百一十萬人，一直下雨兩百四十一天，一百零八樓，二〇八九")
    assert claim.han_numbers == {2089, 6_100_000, 241, 108}
    assert read_claim("十二台").han == read_claim("12台").han
    assert han_negations(read_claim("鴿樓沒有電梯，不過有貓").han) == ((4, "电梯"),)
    assert han_spelling("Mara") == read_claim("Mara好").han[0]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_claims_written_by_hand(language: str) -> None:
    right: list[bool] = []
    wrong: list[bool] = []
    for entry in BY_HAND:
        if (entry["section"][0] > "\u4e00") != (language == "zh"):
            continue
        lines = [LoreLine("c", entry["section"], entry["line"])]
        for truths, found in ((entry["right"], right), (entry["wrong"], wrong)):
            found += [LexicalGate().check(text, [1], lines).status == "cited" for text in truths]
    flagged_wrong = wrong.count(False)
    print(f"{language} by hand: wrong caught {flagged_wrong}/{len(wrong)}, right kept {right.count(True)}/{len(right)}")
    assert flagged_wrong / len(wrong) >= 0.97
    # True paraphrases are refused sometimes: the floor is what was reached, not what is wanted.
    assert right.count(True) / len(right) >= (0.8 if language == "en" else 0.95)


@pytest.mark.parametrize("world", WORLDS)
def test_perturbed_pairs(world: str) -> None:
    """Floors for 120 sentences of each sample world, all kinds together and each kind alone."""
    tally: dict[str, list[bool]] = defaultdict(list)
    gate = LexicalGate()
    num_sentences = min(120, len(lore_lines(world)))
    for pair in pairs_of(world, seed=7, num_sentences=num_sentences):
        citations = gate.check(pair.text, [pair.cited], list(pair.lines)).citations
        tally[pair.kind].append(citations == ([pair.truth] if pair.truth else []))
    for kind, found in sorted(tally.items()):
        print(f"{world:14} {kind:28} {sum(found):4}/{len(found):<4} {sum(found) / len(found):.3f}")
        assert sum(found) / len(found) >= 0.9, kind
    wrong = [ok for kind, found in tally.items() if kind.startswith("wrong") for ok in found]
    right = [ok for kind, found in tally.items() if kind.startswith("right") for ok in found]
    recall = sum(wrong) / len(wrong)
    precision = sum(wrong) / (sum(wrong) + right.count(False))
    print(f"{world:14} recall {recall:.3f} precision {precision:.3f} of wrong, {len(wrong)} wrong, {len(right)} right")
    assert num_sentences == 120
    assert recall >= 0.98
    assert precision >= 0.98


def test_a_claim_with_stray_characters_of_another_script_is_invented() -> None:
    line = LoreLine("c1", "Saint Orlo", "Ferry crews say that some lamp on Saint Orlo still hums at night.")
    verdict = LexicalGate().check("Ferry crews say that some像 on Saint Orlo still hums at night.", [1], [line])
    assert verdict.status == "invented"


@pytest.mark.parametrize("text", ["Oriel Vance and Bo Tarn:", "林默的背景故事："])
def test_a_label_alone_is_no_claim(text: str) -> None:
    line = LoreLine("c", "Oriel Vance" if text.isascii() else "林默", f"{text} something follows, 而且很長。")
    assert LexicalGate().check(text, [1], [line]).status == "invented"


def test_what_is_said_of_several_is_not_told_of_the_wrong_one() -> None:
    told = (
        "The Spindle Light burns green, the Tallowby Light burns amber, and the Far Widow Light burns white all night."
    )
    line = LoreLine("c", "Lamp Signals", told)
    for sentence, status in (
        ("The Spindle Light burns white all night.", "invented"),
        ("The Tallowby Light burns green.", "invented"),
        ("The Spindle Light burns green.", "cited"),
        ("The Far Widow Light burns white all night.", "cited"),
    ):
        assert LexicalGate().check(sentence, [1], [line]).status == status, sentence
