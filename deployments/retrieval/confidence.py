"""How sure it is that some lore is about what a question asks: absolute, where the scores of lines only rank them.

A line that is the best of a world may still share nothing with the question but a common word ("How far is the moon?"
and a line about Far Widow). Judged are the likeness of the whole, and the words that they share: a rare word tells more
than a common one, words of one line more than words scattered over several, a name the most; and words that
the lore has never heard of tell against it, names above all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from sagaforge.deployments.retrieval.rerank import Comparison
from sagaforge.text.terms import CHINESE_FILLERS, HAN_CHARACTER, STOP_WORDS, fold, terms

Floats = npt.NDArray[np.floating]

# Rounded from a logistic fit: tests/data/questions_out_of_world.txt against the English questions of the sample worlds
# and of generated ones.
LIKENESS, SHARED, IN_ONE_LINE, COVERED, NAMED, BIAS = 3.5, 0.9, 1.0, 2.0, 1.75, -4.85
UNKNOWN, UNKNOWN_NAME = -0.25, -1.0
MAX_SHARED, MAX_IN_ONE_LINE, MAX_UNKNOWN, MAX_UNKNOWN_NAMES = 3.0, 2.5, 4.0, 2
# A word that is found in a little lore is hardly there by chance. Of a large world some thirty lines are judged.
FEW_LINES, NUM_LINES = 0.2, 30
REQUESTS = frozenset("tell describe explain ask know say".split())  # "Tell me about the bell" asks for the bell
IS_SAME = 0.999  # of two words' likeness: one stem
MIN_ASKED = 0.5  # of all the words' telling: below, a message asks for nothing particular ("Hello?")
# What a single line must have of the question, one or the other: as much in common words, or so much likeness. Of the
# lines that hold an answer to the questions above, one in two hundred has neither.
MIN_IN_LINE, MIN_LINE_LIKENESS = 0.5, 0.3


def confidence(compared: Comparison, telling: Floats, likenesses: Floats) -> float:
    """0 to 1, and 0.5 where in and out are as likely.

    Args:
        compared: the question's words against some lines.
        telling: how much each of these words tells, 0 to 1.
        likenesses: of the question as a whole to each line, -1 to 1.
    """
    counts = np.array([word not in REQUESTS for word in compared.words])
    telling, rarity = telling * counts, compared.rarity * counts
    if telling.sum() < MIN_ASKED:
        return 1.0
    is_same = compared.best >= IS_SAME
    is_known = is_same.any(axis=1)
    num_unknown = int((compared.is_name & ~is_known).sum())
    score = (
        BIAS
        + LIKENESS * float(likenesses.max())
        + SHARED * min(float(telling[is_known].sum()), MAX_SHARED)
        + UNKNOWN * min(float(telling[~is_known].sum()), MAX_UNKNOWN)
        + IN_ONE_LINE * min(float((telling @ is_same).max()), MAX_IN_ONE_LINE)
        + COVERED * float((rarity @ compared.best).max() / max(float(rarity.sum()), 1e-6))
        + (UNKNOWN_NAME * min(num_unknown, MAX_UNKNOWN_NAMES) if num_unknown else NAMED * bool(compared.is_name.any()))
        + FEW_LINES * max(0.0, math.log(NUM_LINES / compared.best.shape[1])) * bool(is_known.any())
    )
    return 1.0 / (1.0 + math.exp(-score))


def related(compared: Comparison, telling: Floats, likenesses: Floats) -> npt.NDArray[np.bool_]:
    """Which of the lines have anything to do with the question: [lines]. The arguments are those of `confidence`."""
    telling = telling * np.array([word not in REQUESTS for word in compared.words])
    if telling.sum() < MIN_ASKED:
        return np.ones(len(likenesses), bool)
    in_line = telling @ (compared.best >= IS_SAME)
    return (in_line >= MIN_IN_LINE) | (likenesses >= MIN_LINE_LIKENESS)


def shares_nothing(asked: str, lines: Iterable[str]) -> bool:
    """Whether a Chinese question has no pair of characters, and no word or number, that one of the lines has: all that
    can be said without an embedder that reads Chinese. False for a question that is made of question words only."""
    wanted = {term for term in terms(CHINESE_FILLERS.sub(" ", fold(asked))) if term not in STOP_WORDS}
    wanted = {term for term in wanted if len(term) > 1 or not HAN_CHARACTER.match(term)}
    return bool(wanted) and all(wanted.isdisjoint(terms(line)) for line in lines)
