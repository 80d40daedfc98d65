"""What the pocket painter makes of a world's words, in English and Chinese, and that it knows every word of it."""

from __future__ import annotations

import pytest

from sagaforge.pocket import captions as p
from sagaforge.training.pocket.sdxl.captions import vocabulary, words_of


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        (
            "a girl with silver hair in a red cloak, a harbour at night, rain",
            "a woman with silver hair, red robe, a harbour, night, rain",
        ),
        ("銀髮少女，紅色斗篷，夜晚的港口，下雨", "a woman with silver hair, red robe, a harbour, night, rain"),
        ("银发少女，红色斗篷，夜晚的港口，下雨", "a woman with silver hair, red robe, a harbour, night, rain"),
        (
            "Iron grey hair, pale green eyes, small and square. He waits.",
            "a sturdy man with silver hair and green eyes",
        ),
        (
            "頭髮黑色短髮，左側挑染一撮藍。眼睛深棕色。他穿黃色雨衣",
            "a man with black short hair and brown eyes, yellow coat",
        ),
        ("A knight in black armour before a castle in the snow", "a woman, black armour, a castle, snow"),
        ("The ferry at dusk, thick fog", "landscape, a harbour, sunset, fog"),
        ("quantum foam", ""),
        ("", ""),
    ],
)
def test_a_text_becomes_a_caption(text: str, caption: str) -> None:
    assert p.pocket_prompt(text) == caption


def test_the_painter_knows_every_word_of_it() -> None:
    known = vocabulary()
    tables = (p.PERSON, p.HAIR_STYLE, p.GARMENT, p.BUILD, p.ITEM, p.PLACE, p.TIME, p.WEATHER, p.STYLE, p.COLOUR)
    said = {word for table in tables for text in table for word in words_of(text)}
    for names in (p.OF_HAIR, p.OF_EYES, p.OF_CLOTHES):
        said |= set(names.values())
    assert said - known == set()
