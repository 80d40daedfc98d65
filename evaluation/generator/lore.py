"""Seeded lore lines, whose meaning is known by construction: facts in many forms, among lines of `wild.py`.

Narration is extractive: a line is told as it stands, with a leading pronoun replaced by the section's name. A small
model binds facts badly but copies well.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Sequence

from sagaforge.evaluation.generator import banks, facts, lexicon
from sagaforge.evaluation.generator.cast import title_of
from sagaforge.evaluation.generator.wild import Line, WildMaker

# Of a fact's many wordings of its question, how many are made up: one is asked.
MAX_QUESTIONS = 3


class LoreMaker(WildMaker):
    """Draws a scene's lore lines in one language from a random stream."""

    def __init__(self, rng: random.Random, language: str, held_out: bool = False) -> None:
        super().__init__(rng, language, held_out)
        self.forms = facts.forms("zh" if self.zh else "en")

    def slots(self, cast: dict[str, list[str]]) -> dict[str, str]:
        """What fills the slots of a form."""
        people = self.rng.sample(cast["people"], 2)
        places = self.rng.sample(cast["places"] + [self.place()], 2)
        things = self.rng.sample(cast["things"], 2)
        return {
            "a": people[0],
            "b": people[1],
            "p": places[0],
            "q": places[1],
            "t": things[0],
            "u": things[1],
            "e": self.rng.choice(cast["events"]),
            "g": self.rng.choice(cast["groups"]),
            "w": self.pick(lexicon.EN_JOBS, lexicon.ZH_JOBS),
            "k": self.pick(lexicon.EN_KIN, lexicon.ZH_KIN),
            "m": self.pick(lexicon.EN_TIMES, lexicon.ZH_TIMES),
            "f": self.pick(lexicon.EN_ABSTRACT, lexicon.ZH_ABSTRACT),
            "n": str(self.rng.choice([self.rng.randint(2, 20), self.rng.randint(20, 3000)])),
            "x": self.word(),
            "y": self.word(),
        }

    def fact(
        self,
        cast: dict[str, list[str]],
        focus: tuple[str, str] | None = None,
        used: Sequence[str] = (),
        relation: str = "",
    ) -> Line:
        """A line from a form of fact; where they are given about `focus`, of no relation in `used`, of `relation`."""
        choices = [form for form in self.forms if form.relation not in used and relation in ("", form.relation)]
        slots = self.slots(cast)
        if focus:
            slot, name = focus
            others = [other for other, filled in slots.items() if filled == name and other != slot]
            for other in others:
                slots[other] = slots[slot]
            slots[slot] = name
            about = [form for form in choices if slot in form.about]
            of_subject = [form for form in about if form.about[0] == slot] if self.chance(0.75) else []
            choices = of_subject or about or choices
        form = self.rng.choice(choices)
        ways_told, ways_asked = form.ways(self.held_out)
        told = fill(self.rng.choice(ways_told), slots)
        if self.chance(0.25):
            told = self.extended(told)
        asked = self.rng.sample(ways_asked, MAX_QUESTIONS) if len(ways_asked) > MAX_QUESTIONS else ways_asked
        questions = [fill(question, slots) for question in asked]
        subject = slots[form.about[0]]
        section = title_of(subject) if self.chance(0.75) else self.heading(cast)
        text = told
        if section == title_of(subject) and not section.startswith("The ") and self.chance(0.35):
            text, told = self.with_pronoun(told, subject, form.about[0])
        names = [slots[slot] for slot in form.about if slot in facts.NAME_SLOTS]
        return Line(section, text, told, questions, names, slots, form.relation)

    def unanswerable(self, cast: dict[str, list[str]], lines: Sequence[Line]) -> tuple[str, str]:
        """A message about a name that the lore lacks, and the name. Half of the names are nearly one that it has."""
        slot, names, make = self.rng.choice(
            [("a", "people", self.person), ("p", "places", self.place), ("t", "things", self.thing)]
        )
        known = " ".join(f"{line.section} {line.text}" for line in lines)
        name = ""
        while not name or name in known:
            name = self.twin(self.rng.choice(cast[names])) if self.chance(0.5) else make()
        form = self.rng.choice(self.forms)
        ways = [way for way in form.ways(self.held_out)[1] if f"{{{slot}}}" in way]
        if ways and self.chance(0.7):
            return fill(self.rng.choice(ways), self.slots(cast) | {slot: name}), name
        return self.pick(banks.EN_ABOUT, banks.ZH_ABOUT).format(o=name), name

    def twin(self, name: str) -> str:
        """Another name that shares a part with this one."""
        if self.zh:
            at = self.rng.randrange(len(name))
            return name[:at] + self.rng.choice(self.words.zh_chars[:1500]) + name[at + 1 :]
        first, *rest = name.removeprefix("the ").split()
        new = lexicon.en_name(self.rng, self.kin)
        if not rest:
            return first[:2] + new.lower()[-4:]
        rest_or_new = [first, new] if self.chance(0.3) else [new if first[0].isupper() else new.lower(), *rest]
        return " ".join(rest_or_new)

    def with_pronoun(self, told: str, subject: str, kind: str) -> tuple[str, str]:
        """The line with its leading subject as a pronoun, and as narrated: with the name."""
        if not told.startswith(subject):
            return told, told
        rest = told[len(subject) :]
        if self.zh:
            return ("它" if kind in "ptueg" else self.rng.choice("他她")) + rest, told
        pronoun = "It" if kind in "ptueg" else self.rng.choice(["He", "She"])
        return pronoun + rest, told

    def extended(self, text: str) -> str:
        """The sentence with a further clause."""
        w = [self.word() for _ in range(4)]
        if self.zh:
            tail = [
                f"，因為{w[0]}的{w[1]}", f"，而且{w[0]}{w[1]}", f"，但是沒有{w[0]}", f"，只留下{w[0]}和{w[1]}",
                f"，這讓{w[0]}非常{w[1]}", f"，雖然{w[0]}已經{w[1]}{w[2]}", f"——至少{w[0]}這麼說",
            ]  # fmt: skip
        else:
            tail = [
                f", because the {w[0]} was {w[1]}", f", and the {w[0]} still {w[1]}", f", but never without {w[0]}",
                f", leaving only {w[0]} and {w[1]}", f", which made the {w[0]} {w[1]} {w[2]}",
                f", though {w[0]} {w[1]} say otherwise", f" - or so the {w[0]} claims", f"; nobody saw the {w[1]}",
            ]  # fmt: skip
        return text[:-1] + self.rng.choice(tail) + text[-1]

    def lore(self, cast: dict[str, list[str]], wildness: float) -> list[Line]:
        # The bundle's profile gives the pocket model three lines.
        count = self.rng.choice([1, 2, 3, 3, 3, 3, 3, 3, 4, 4, 5, 6])
        focus = self.focus(cast) if self.chance(0.65) else None
        lines: list[Line] = []
        for _ in range(count):
            if self.chance(wildness * (0.4 if focus else 1.0)):
                lines.append(self.entry(cast, focus) if self.chance(0.2) else self.wild(cast))
            elif focus and self.chance(0.85):
                lines.append(self.fact(cast, focus, [line.relation for line in lines]))
            else:
                lines.append(self.fact(cast))
        if self.chance(0.5):
            self.add_rival(lines)
        # Sections come in runs, as the sentences of one chunk do.
        for before, line in itertools.pairwise(lines):
            if self.chance(0.35) and line.told == line.text and not focus:
                line.section = before.section
        # A line may hold two short sentences, as joined lines do in play; it is told whole.
        for line in lines:
            extra = (self.wild(cast) if self.chance(0.5) else self.fact(cast)).told
            if self.chance(0.12) and len(line.text) + len(extra) < (80 if self.zh else 200):
                space = "" if self.zh else " "
                line.text, line.told = f"{line.text}{space}{extra}", f"{line.told}{space}{extra}"
            elif self.chance(0.05) and line.told == line.text:
                line.text = line.told = self.labelled(line)
        for line in lines:
            line.told = curly(line.told)
        return lines

    def add_rival(self, lines: list[Line]) -> None:
        """Put a line of another's relation, about other names, in the place of a third one or behind a lone one.

        Retrieval finds such lines by the words that the question shares with them: then the name decides.
        """
        told = [line for line in lines if line.relation]
        if not told:
            return
        line = self.rng.choice(told)
        rival = line
        while set(rival.slots.values()) & set(line.slots.values()):
            rival = self.fact(self.cast(), relation=line.relation)
        others = [number for number, other in enumerate(lines) if other is not line]
        if others:
            lines[self.rng.choice(others)] = rival
        else:
            lines.append(rival)

    def labelled(self, line: Line) -> str:
        """The line behind a label, as a pack's fields stand in their chunk ("Goal of Oriel: …")."""
        if self.zh:
            label = self.rng.choice(["目標", "背景", "地點", "外貌", "弱點", "祕密", "備註", self.word()])
            return self.rng.choice([f"{line.section}的{label}：", f"{label}：", f"{label}: "]) + line.text
        label = self.rng.choice(["Goal", "Background", "Location", "Looks", "Fear", "Secret", "Note", self.word()])
        label = label.capitalize()
        return (
            self.rng.choice([f"{label} of {line.section}: ", f"{label}: ", f"{line.section}'s {label}: "]) + line.text
        )


def curly(text: str) -> str:
    """Straight double quotes as curly ones: the grammar of a bounded string has no room for an escaped quote."""
    return re.sub(r'"([^"]*)"?', "\u201c\\1\u201d", text)


def fill(form: str, slots: dict[str, str]) -> str:
    """The form with its slots filled; "the the" and small first letters mended."""
    text = form.format(**slots)
    text = re.sub(r"\b([Tt]he) the ", r"\1 ", text)
    return text[0].upper() + text[1:]
