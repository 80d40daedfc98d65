"""Worlds to score a model on. Their facts are known because they were made, so what a turn says of them can be judged
without the citation gate's own code. Names, seeds and worlds are none of those that the pocket models were trained on.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from sagaforge.training.pocket_llm import banks
from sagaforge.training.pocket_llm.lore import LoreMaker, title_of

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
    """A message. `section`: where the answer stands, "" if nowhere; `name`: whom or what the answer is about."""

    message: str
    section: str
    name: str


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
    while len(asked) < 2 * num_cases:
        cast = maker.cast()
        for _ in range(FACTS_PER_CAST):
            line = maker.fact(cast)
            if not line.names:
                continue
            section = title_of(line.names[0])
            fact = Fact(section, line.told, tuple(value for value in line.slots.values() if value in line.told))
            sections.setdefault(section, []).append(fact)
            # Under its own heading a sentence may begin with a pronoun.
            texts.setdefault(section, []).append(line.text if line.section == section else line.told)
            asked.append(Case(rng.choice(line.questions), section, line.names[0]))
    cases = [_case(rng, maker, case) for case in rng.sample(asked, num_cases)]
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


def _case(rng: random.Random, maker: LoreMaker, case: Case) -> Case:
    about = maker.pick(banks.EN_ABOUT, banks.ZH_ABOUT)
    if rng.random() < SHARE_UNANSWERABLE:
        unknown = rng.choice([maker.person, maker.place, maker.thing])()
        return Case(about.format(o=unknown), "", unknown)
    if rng.random() < SHARE_ABOUT:
        return Case(about.format(o=case.name), case.section, case.name)
    return case
