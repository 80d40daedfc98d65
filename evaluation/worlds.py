"""Worlds to score a model on. Their facts are known because they were made, so what a turn says of them can be judged
without the citation gate's own code. Names, seeds and worlds are none of those that the pocket models were trained on.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from sagaforge.evaluation.generator import banks
from sagaforge.evaluation.generator.cast import title_of
from sagaforge.evaluation.generator.lore import LoreMaker
from sagaforge.evaluation.generator.wild import Line

# Names by kind, as `LoreMaker.cast` draws them.
Cast = dict[str, list[str]]

FACTS_PER_CAST = 9
SHARE_UNANSWERABLE = 0.2
SHARE_ABOUT = 0.25  # "Tell me about …" rather than a question for one fact


@dataclass(frozen=True)
class Fact:
    """A sentence of lore. `section`: the heading it stands under; `keys`: the parts of it that could be told wrong."""

    section: str
    told: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """A message. `section`: where the answer stands, "" if nowhere; `name`: whom or what the answer is about; `told`:
    the fact that answers it, "" where any of the section's does."""

    message: str
    section: str
    name: str
    told: str = ""


@dataclass(frozen=True)
class ScoredWorld:
    """One generated world with its questions."""

    world_id: str
    language: str
    facts: tuple[Fact, ...]
    cases: tuple[Case, ...]
    lore: str

    @property
    def names(self) -> frozenset[str]:
        """Everything that has a section, which is everything a fact may be about."""
        return frozenset(fact.section for fact in self.facts)


def make_world(seed: int, language: str, num_cases: int) -> ScoredWorld:
    """The world of a seed, in `en` or `zh`, with enough lore for `num_cases` different questions."""
    rng = random.Random(f"score-{seed}-{language}")
    maker = LoreMaker(rng, language, held_out=True)
    sections: dict[str, list[Fact]] = {}
    texts: dict[str, list[str]] = {}
    asked: list[Case] = []
    casts: list[Cast] = []
    every_line: list[Line] = []
    while len(asked) < 2 * num_cases:
        cast = maker.cast()
        lines: list[Line] = []
        for _ in range(FACTS_PER_CAST):
            # Each relation once: a second debt of one person would be a second right answer.
            line = maker.fact(cast, used=[line.relation for line in lines])
            lines.append(line)
            section = title_of(line.names[0])
            fact = Fact(section, line.told, tuple(value for value in line.slots.values() if value in line.told))
            sections.setdefault(section, []).append(fact)
            # Under its own heading a sentence may begin with a pronoun.
            texts.setdefault(section, []).append(line.text if line.section == section else line.told)
            asked.append(Case(rng.choice(line.questions), section, line.names[0], line.told))
        casts.append(cast)
        every_line += lines
    cases = [_case(rng, maker, case, rng.choice(casts), every_line) for case in rng.sample(asked, num_cases)]
    title = "Score" if language == "en" else "評分"
    space = " " if language == "en" else ""
    body = "".join(f"## {section}\n\n{space.join(parts)}\n\n" for section, parts in texts.items())
    return ScoredWorld(
        world_id=f"score-{language}-{seed}",
        language=language,
        facts=tuple(fact for facts in sections.values() for fact in facts),
        cases=tuple(cases),
        lore=f"# {title} {seed}\n\n{body}",
    )


def _case(rng: random.Random, maker: LoreMaker, case: Case, cast: Cast, lines: list[Line]) -> Case:
    """The case itself, or a message about its subject, or one of a cast's kind that no line answers."""
    if rng.random() < SHARE_UNANSWERABLE:
        message, unknown = maker.unanswerable(cast, lines)
        return Case(message, "", unknown)
    if rng.random() < SHARE_ABOUT:
        about = maker.pick(banks.EN_ABOUT, banks.ZH_ABOUT)
        return Case(about.format(o=case.name), case.section, case.name)
    return case
