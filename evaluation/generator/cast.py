"""Seeded names and words: whom and what a scene's lore is about, in one language."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sagaforge.evaluation.generator import lexicon


class CastMaker:
    """Draws names and words in one language from a random stream."""

    def __init__(self, rng: random.Random, language: str, held_out: bool = False) -> None:
        self.rng = rng
        self.zh = language != "en"
        self.language = "zh-Hant" if self.zh else "en"
        self.held_out = held_out
        self.words = lexicon.load_lexicon()
        # What the scene's names are made of: in half of the scenes of a few parts, so that names are alike.
        self.kin: Sequence[str] = ()
        if held_out:
            self.kin = lexicon.HELD_OUT_ZH if self.zh else lexicon.HELD_OUT_EN
        elif self.chance(0.5):
            draw = lexicon.zh_kin if self.zh else lexicon.en_kin
            self.kin = draw(rng, self.words, rng.randint(4, 14))

    def person(self) -> str:
        return (lexicon.zh_person if self.zh else lexicon.en_person)(self.rng, self.words, self.kin)

    def place(self) -> str:
        return (lexicon.zh_place if self.zh else lexicon.en_place)(self.rng, self.words, self.kin)

    def thing(self) -> str:
        return (lexicon.zh_thing if self.zh else lexicon.en_thing)(self.rng, self.words, self.kin)

    def event(self) -> str:
        return (lexicon.zh_event if self.zh else lexicon.en_event)(self.rng, self.words, self.kin)

    def group(self) -> str:
        return (lexicon.zh_group if self.zh else lexicon.en_group)(self.rng, self.words, self.kin)

    def word(self) -> str:
        return self.words.zh_word(self.rng) if self.zh else self.words.en_word(self.rng)

    def pick(self, en: list[str], zh: list[str]) -> str:
        return self.rng.choice(zh if self.zh else en)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def cast(self) -> dict[str, list[str]]:
        """The names that a scene's lines share, so that distractors talk of the same people and places."""
        cast = {
            "people": [self.person() for _ in range(self.rng.randint(2, 4))],
            "places": [self.place() for _ in range(self.rng.randint(1, 3))],
            "things": [self.thing() for _ in range(self.rng.randint(2, 4))],
            "events": [self.event()],
            "groups": [self.group()],
        }
        cast["hub"] = [self.rng.choice(cast[self.rng.choice(["people", "places", "things"])])]
        return cast

    def focus(self, cast: dict[str, list[str]]) -> tuple[str, str]:
        """A slot and the name that fills it: whom or what most lines of a scene are about, as they are in play."""
        slot, names = self.rng.choice(
            [("a", "people")] * 5 + [("p", "places")] * 4 + [("t", "things")] * 5 + [("e", "events"), ("g", "groups")]
        )
        return slot, self.rng.choice(cast[names])

    def heading(self, cast: dict[str, list[str]]) -> str:
        """A section's name that is not the subject of its line."""
        kind = self.rng.random()
        if kind < 0.4:
            return title_of(self.rng.choice(cast["people"] + cast["places"]))
        if kind < 0.6:
            return self.pick(
                ["History", "Rumours", "People", "Places", "Secrets", "Rules", "Factions", "The city", "Overview"],
                ["歷史", "傳聞", "人物", "地點", "祕密", "規則", "勢力", "城市", "背景"],
            )
        if self.zh:
            return self.word() + self.rng.choice(["", "與", "的"]) + self.word()
        return f"{self.rng.choice(['The ', ''])}{self.word().capitalize()} {self.word()}"


def title_of(name: str) -> str:
    """A name as a section's heading spells it."""
    return name[0].upper() + name[1:]
