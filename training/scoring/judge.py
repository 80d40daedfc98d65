"""What one turn is worth, by what the generator of its world knows. Pure; nothing of the citation gate is used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median_high

from sagaforge.datasets.text import HAN_CHARACTER
from sagaforge.schemas import Turn
from sagaforge.training.scoring.worlds import Case, Fact, ScoredWorld

LATIN = re.compile(r"[A-Za-z]{2,}")
# What a verdict says yes or no to → the share that is reported of it.
SHARES = {
    "found": "citation_recall",
    "silent": "unanswerable_uncited",
    "named": "name_right",
    "chosen": "choices_follow",
    "kept": "language_kept",
    "repeated": "repetition",
}


@dataclass(frozen=True)
class Verdict:
    """One turn, counted. `None`: it says nothing of that.

    num_cited: sentences shown as cited; num_held: of these, how many state a fact that stands where they point;
    num_stated: how many state a fact of the world at all; found: the section that answers is cited by a sentence that
    holds; silent: an unanswerable message is left without a citation; named: what was asked for is spelled right;
    chosen: choices differ, and one names something of the world; kept: the language; repeated: a sentence stands twice.
    """

    num_cited: int
    num_held: int
    num_stated: int
    found: bool | None
    silent: bool | None
    named: bool | None
    chosen: bool
    kept: bool
    repeated: bool
    num_chars: int
    seconds: float


def judge(turn: Turn, case: Case, world: ScoredWorld, section_of: Mapping[str, str], seconds: float) -> Verdict:
    """Judge a turn; `section_of` gives the heading of each chunk that it cites."""
    cited = [sentence for sentence in turn.sentences if sentence.citations]
    num_stated, num_held, found = 0, 0, False
    for sentence in cited:
        facts = [fact for fact in world.facts if states(sentence.text, fact, world)]
        here = {fact.section for fact in facts} & {section_of[chunk_id] for chunk_id in sentence.citations}
        num_stated += bool(facts)
        num_held += bool(here)
        found = found or case.section in here
    texts = [choice.text.casefold() for choice in turn.choices]
    sentences = [sentence.text for sentence in turn.sentences]
    return Verdict(
        num_cited=len(cited),
        num_held=num_held,
        num_stated=num_stated,
        found=found if case.section else None,
        silent=None if case.section else not cited,
        named=_holds(turn.narration, case.name) if case.section else None,
        chosen=len(set(texts)) == len(texts) and any(_holds(text, name) for name in world.names for text in texts),
        kept=_is_in(world.language, turn.narration),
        repeated=len(set(sentences)) < len(sentences),
        num_chars=len(turn.narration),
        seconds=seconds,
    )


def states(sentence: str, fact: Fact, world: ScoredWorld) -> bool:
    """Whether a sentence states a fact: all of its names, numbers and words are there, and no name that it lacks.

    So a sentence may be put in other words; a swapped verb or a negation is not noticed.
    """
    if not all(_holds(sentence, key) for key in fact.keys):
        return False
    return not any(_holds(sentence, name) and not _holds(fact.told, name) for name in world.names)


def shares(verdicts: Iterable[Verdict]) -> dict[str, float]:
    """The verdicts (one or more) as shares of what each can be said of, 0 to 1; `chars` and `seconds` are medians."""
    all_of = list(verdicts)
    num_cited = sum(verdict.num_cited for verdict in all_of)
    report = {
        "citation_precision": _share(sum(verdict.num_held for verdict in all_of), num_cited),
        "facts_right": _share(sum(verdict.num_stated for verdict in all_of), num_cited),
    }
    for field, name in SHARES.items():
        said = [value for verdict in all_of if (value := getattr(verdict, field)) is not None]
        report[name] = _share(sum(said), len(said))
    report["chars"] = median_high(verdict.num_chars for verdict in all_of)
    report["seconds"] = round(median_high(verdict.seconds for verdict in all_of), 3)
    return report


def _holds(text: str, part: str) -> bool:
    """Whether a text holds a name, a number or a word; in Latin letters as a word of its own."""
    text, part = text.casefold(), part.casefold()
    # No \b: to it a Chinese character is a letter too.
    return bool(re.search(rf"(?<![a-z0-9]){re.escape(part)}(?![a-z0-9])", text)) if part.isascii() else part in text


def _is_in(language: str, text: str) -> bool:
    num_han, num_latin = len(HAN_CHARACTER.findall(text)), len(LATIN.findall(text))
    return num_han > num_latin if language.startswith("zh") else num_han == 0


def _share(part: int, whole: int) -> float:
    return round(part / whole, 3) if whole else 0.0
