"""Repeated phrases are said once; ordinary text stays as it is."""

from __future__ import annotations

import pytest

from sagaforge.pocket.mending import is_lost, not_cut_short, without_label, without_stutter


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("The lamp. The lamp. The lamp. It burns.", "The lamp. It burns."),
        ("Alice Chen的背景故事:Alice Chen的背景故事:Alice Chen的背景故事", "Alice Chen的背景故事"),
        ("MMMMMMMMMMMM", "M"),
        ("Kept or lost? Kept or lost? she asks.", "Kept or lost? Kept or lost? she asks."),
        ("The Gannet Light stands 140 feet above the tide, in Year 1000000.", None),
        ("他每晚點亮三盞燈。", None),
    ],
)
def test_what_is_said_three_times_in_a_row_is_said_once(text: str, mended: str | None) -> None:
    assert without_stutter(text) == (mended or text)


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("Gannet Head: Gannet Head is the northern tip.", "Gannet Head is the northern tip."),
        ("The home of Ada: The home of Ada is the Yard.", "The home of Ada is the Yard."),
        ("Alice Chen: Alice 的背景故事要從公寓說起。", "Alice 的背景故事要從公寓說起。"),
        ("Ottoline Gask: Her brother did not flee.", None),
        ("The law is plain: no lamp may be lit.", None),
        (": nothing", None),
    ],
)
def test_a_title_told_as_if_it_were_a_sentence_is_left_out(text: str, mended: str | None) -> None:
    assert without_label(text, {"Gannet Head", "Alice Chen", "Ottoline Gask"}) == (mended or text)


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        (
            "Thessaly Orme was on watch, and a bursting",
            "Thessaly Orme was on watch, and a bursting flare took her sight.",
        ),
        ("客棧有九間房，第九", "客棧有九間房，第九間從不出租。"),
        ("She was on watch.", None),  # a whole sentence, though the line goes on
        ("Someone else was on wa", None),
        ("Tower", None),
    ],
)
def test_a_quotation_that_stops_halfway_goes_on(text: str, mended: str | None) -> None:
    lines = [
        "She was on watch, and a bursting flare took her sight.",
        "客棧有九間房，第九間從不出租。",
        "Towers stand.",
    ]
    assert not_cut_short(text, lines) == (mended or text)


def test_a_choice_that_says_one_thing_twice_is_lost() -> None:
    assert is_lost("Ask about Lamp room, top of the Gannet Light, top of the Gannet Light, Dryy")
    assert not is_lost("Ask Nessa Cobbold who else knows about the Honest Endeavour")
    assert not is_lost("問林默還有誰知道三日無光")
