"""The citation gate: no sentence is shown as cited unless the line it cites holds it.

A sentence is checked against each line that it cites: its names, numbers, negations and attributes, who does what to
whom, and that its words are the line's. A wrong mark is moved to the line of the same prompt that does hold the
sentence; where none does, the mark goes and the sentence is reported as invented. The check is lexical: it calls true
paraphrases invented sooner than it lets a wrong fact pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal, Protocol

from sagaforge.deployments.retrieval.interface import LoreLine
from sagaforge.functions.citations.claims import BREAK, Claim, han_spelling, read_claim
from sagaforge.functions.citations.han import han_against, share_said_han
from sagaforge.functions.citations.words import share_said, words_against
from sagaforge.text.terms import fold, stem

# A sentence without a mark gets one only when it says nearly all of a line, and enough of it.
UNMARKED_SHARE = 0.8
UNMARKED_WORDS = 4
UNMARKED_HAN = 8

PRONOUN = re.compile(r"(?:She|He|It|They)(?=\s)|[她他它牠祂](?!們|们|人|的)")


@dataclass(frozen=True)
class Verdict:
    """What the gate found. `citations` are 1-based line numbers; `moved` says that they include one not given."""

    citations: list[int]
    status: Literal["cited", "invented"]
    moved: bool = False
    reasons: list[str] = field(default_factory=list)


class CitationChecker(Protocol):
    """Judges one sentence. `cited` and the verdict's citations are 1-based numbers of `lines`."""

    def check(self, text: str, cited: list[int], lines: list[LoreLine]) -> Verdict: ...


class LexicalGate:
    """The checker without a model. `known` are names that need no lore: the player's, the persona's."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        names = [name for name in known if name.strip()]
        self._known_words = frozenset(stem(word) for name in names for word in fold(name).split())
        self._known_han = tuple(han_spelling(name) for name in names)

    def check(self, text: str, cited: list[int], lines: list[LoreLine]) -> Verdict:
        """Check one sentence of narration. Numbers in `cited` that no line has are ignored."""
        if text.rstrip().endswith((":", "：")):
            return Verdict([], "invented", False, ["it announces, and states nothing"])
        claim = read_claim(text)
        numbers = list(dict.fromkeys(number for number in cited if 1 <= number <= len(lines)))
        if not cited:
            found = self._unmarked(claim, lines)
            return Verdict(found, "cited" if found else "invented", bool(found))
        reasons = {number: self._against(claim, [lines[number - 1]]) for number in numbers}
        holding = [number for number in numbers if not reasons[number]]
        if holding:
            return Verdict(holding, "cited", False, _spelt(reasons))
        if len(numbers) > 1 and not self._against(claim, [lines[number - 1] for number in numbers]):
            return Verdict(numbers, "cited")
        found = self._best(claim, lines, skip=numbers)
        return Verdict(found, "cited" if found else "invented", bool(found), _spelt(reasons))

    def _against(self, claim: Claim, lines: list[LoreLine]) -> str:
        """Why the lines together do not hold the claim; "" when they do."""
        line, title = _read_lines(tuple((line.section, line.text) for line in lines))
        if claim.is_chinese != line.is_chinese:
            return "another language"
        if not claim.is_chinese and not set(claim.han) <= set(line.han):
            return "characters of another script"  # a model that lost its way, whatever the rest says
        if pictures := claim.symbols - line.symbols - title.symbols:
            return f"symbol {min(pictures)}"
        if claim.is_chinese:
            return han_against(claim, line, title, self._known_han)
        return words_against(claim, line, title, self._known_words)

    def _best(self, claim: Claim, lines: list[LoreLine], skip: list[int]) -> list[int]:
        """The one line that holds the claim and says least besides; [] when there is none."""
        holding = []
        for number, line in enumerate(lines, 1):
            if number not in skip and not self._against(claim, [line]):
                holding.append((-_share(claim, read_claim(line.text)), number))
        return [min(holding)[1]] if holding else []

    def _unmarked(self, claim: Claim, lines: list[LoreLine]) -> list[int]:
        if len(claim.content) < UNMARKED_WORDS and claim.num_han < UNMARKED_HAN:
            return []
        found = self._best(claim, lines, skip=[])
        return found if found and _share(claim, read_claim(lines[found[0] - 1].text)) >= UNMARKED_SHARE else []


def _share(claim: Claim, line: Claim) -> float:
    return share_said_han(claim, line) if line.is_chinese else share_said(claim, line)


@lru_cache(maxsize=4096)
def _read_lines(lines: tuple[tuple[str, str], ...]) -> tuple[Claim, Claim]:
    """The claims of some lines taken together, and of their section titles."""
    line = read_claim(" ".join(_with_name(section, text) for section, text in lines))
    title = read_claim(" . ".join(section for section, _ in lines))
    if line.is_chinese and not title.han:  # a Chinese world may have an "Alice"
        title = replace(title, han=BREAK.join(han_spelling(section) for section, _ in lines))
    return line, title


def _with_name(section: str, text: str) -> str:
    """A line that begins with a pronoun is about its section's title."""
    match = PRONOUN.match(text)
    return section + text[match.end() :] if match and section else text


def _spelt(reasons: dict[int, str]) -> list[str]:
    return [f"line {number}: {reason}" for number, reason in reasons.items() if reason]
