"""Repeated phrases are said once; ordinary text stays as it is."""

from __future__ import annotations

import pytest

from sagaforge.functions.stutter import without_stutter


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
