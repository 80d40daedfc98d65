"""What one turn is worth, by what the generator of its world knows. Pure; nothing of the citation gate is used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_high

from sagaforge.evaluation.worlds import Case, Fact, ScoredWorld
from sagaforge.schemas import Sentence, Turn
from sagaforge.text.terms import HAN_CHARACTER

LATIN = re.compile(r"[A-Za-z]{2,}")
# What a verdict says yes or no to → the share that is reported of it.
SHARES = {
    "valid": "valid",
    "found": "citation_recall",
    "found_claimed": "recall_before_gate",
    "silent": "unanswerable_uncited",
    "named": "name_right",
    "chosen": "choices_follow",
    "kept": "language_kept",
    "repeated": "repetition",
}


@dataclass(frozen=True)
class Played:
    """turn: what the player got, None when the model's answer was of no use; first: the sentences of the model's first
    attempt, which are not those of the turn when the bundle had it written again."""

    turn: Turn | None
    first: Sequence[Sentence]


@dataclass(frozen=True)
class Citations:
    """num_cited: sentences with a citation; num_held: of these, how many state a fact that stands where they point;
    num_stated: how many state a fact of the world at all; sections: those that are cited by a sentence that holds."""

    num_cited: int
    num_held: int
    num_stated: int
    sections: frozenset[str]


NOTHING = Citations(0, 0, 0, frozenset())


@dataclass(frozen=True)
class Verdict:
    """One turn, counted. `None`: it says nothing of that.

    valid: the model's answer could be used; shown, claimed: what the sentences cite, after the citation gate and as the
    model had it in its first attempt; found: the section that answers is cited by a sentence that holds; silent: an
    unanswerable message is left without a citation; named: what was asked for is spelled right; chosen: choices differ,
    and one names something of the world; kept: the language; repeated: a sentence stands twice.
    """

    valid: bool
    shown: Citations
    claimed: Citations
    found: bool | None
    found_claimed: bool | None
    silent: bool | None
    named: bool | None
    chosen: bool
    kept: bool
    repeated: bool
    num_chars: int
    seconds: float


def judge(played: Played, case: Case, world: ScoredWorld, section_of: Mapping[str, str], seconds: float) -> Verdict:
    """Judge a turn; `section_of` gives the heading of each chunk that it cites."""
    turn = played.turn
    if turn is None:
        answers = case.section != ""
        return Verdict(
            valid=False,
            shown=NOTHING,
            claimed=NOTHING,
            found=False if answers else None,
            found_claimed=False if answers else None,
            silent=None if answers else False,
            named=False if answers else None,
            chosen=False,
            kept=False,
            repeated=False,
            num_chars=0,
            seconds=seconds,
        )
    shown = _count(((s.text, s.citations) for s in turn.sentences), world, section_of)
    claimed = _count(((s.text, s.claimed) for s in played.first), world, section_of)
    texts = [choice.text.casefold() for choice in turn.choices]
    sentences = [sentence.text for sentence in turn.sentences]
    return Verdict(
        valid=True,
        shown=shown,
        claimed=claimed,
        found=case.section in shown.sections if case.section else None,
        found_claimed=case.section in claimed.sections if case.section else None,
        silent=None if case.section else not shown.num_cited,
        named=_holds(turn.narration, case.name) if case.section else None,
        chosen=len(set(texts)) == len(texts) and any(_holds(text, name) for name in world.names for text in texts),
        kept=_is_in(world.language, turn.narration),
        repeated=len(set(sentences)) < len(sentences),
        num_chars=len(turn.narration),
        seconds=seconds,
    )


def _count(
    sentences: Iterable[tuple[str, Sequence[str]]], world: ScoredWorld, section_of: Mapping[str, str]
) -> Citations:
    """Count sentences with what they cite."""
    num_cited, num_held, num_stated, sections = 0, 0, 0, set[str]()
    for text, chunk_ids in sentences:
        if chunk_ids:
            facts = [fact for fact in world.facts if states(text, fact, world)]
            here = {fact.section for fact in facts} & {section_of[chunk_id] for chunk_id in chunk_ids}
            num_cited, num_held, num_stated = num_cited + 1, num_held + bool(here), num_stated + bool(facts)
            sections |= here
    return Citations(num_cited, num_held, num_stated, frozenset(sections))


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
    shown, claimed = ([getattr(verdict, when) for verdict in all_of] for when in ("shown", "claimed"))
    report = {
        "citation_precision": _share(sum(one.num_held for one in shown), sum(one.num_cited for one in shown)),
        "precision_before_gate": _share(sum(one.num_held for one in claimed), sum(one.num_cited for one in claimed)),
        "facts_right": _share(sum(one.num_stated for one in shown), sum(one.num_cited for one in shown)),
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
