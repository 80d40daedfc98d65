"""Which sentence answers a question, by what is asked and told and not by whom it is about.

Two learned tables, one for questions and one for sentences, hold a vector for each term that tells something of a
relation ("stole" and "thief", 偷 and 竊). `sagaforge.training.pocket.reranker` makes them;
English and Chinese share them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sagaforge.model_files import MODELS_DIR
from sagaforge.text.terms import fold, terms

NAME = "pocket-reranker"
VAGUE = 0.1  # prose that was not learned from comes to this much by chance
TERMS_FILE, TABLES_FILE = "terms.json", "model.safetensors"


class LineMatcher:
    """The tables of a folder.

    Raises `OSError` when a file of the folder is missing, `ValueError` when tables and terms differ in length.
    """

    def __init__(self, folder: Path) -> None:
        from safetensors.numpy import load_file

        listed = json.loads((folder / TERMS_FILE).read_text(encoding="utf-8"))
        tables = load_file(folder / TABLES_FILE)
        self._questions, self._lines = (tables[name].astype(np.float32) for name in ("questions", "lines"))
        if not len(listed) == len(self._questions) == len(self._lines):
            raise ValueError(
                f"{folder}: {len(listed)} terms for tables of {len(self._questions)} and {len(self._lines)}"
            )
        self._numbers = {term: number for number, term in enumerate(listed)}
        self._numbers_of = lru_cache(maxsize=20_000)(self._uncached_numbers)

    def scores(self, question: str, lines: Sequence[tuple[str, str]]) -> npt.NDArray[np.float32]:
        """For each (section's title, sentence) how likely it answers, from 0 (nothing is known of it) to 1."""
        asked = fold(question)
        titles = sorted({fold(title) for title, _ in lines}, key=lambda title: (-len(title), title))
        named = [title for title in titles if title and title in asked]
        for title in named:
            asked = asked.replace(title, " ")
        names = self._known(term for title in named for term in terms(title))
        query = soft_unit(self._questions[sorted(self._known(terms(asked)))].sum(axis=0))
        vectors = np.zeros((len(lines), self._lines.shape[1]), dtype=np.float32)
        for row, (title, text) in enumerate(lines):
            vectors[row] = self._lines[sorted(self._numbers_of(title, text) - names)].sum(axis=0)
        return np.maximum(soft_unit(vectors) @ query - VAGUE, 0.0) / (1.0 - VAGUE)

    def _uncached_numbers(self, title: str, text: str) -> frozenset[int]:
        return self._known(terms(text)) - self._known(terms(title))

    def _known(self, found: Iterable[str]) -> frozenset[int]:
        return frozenset(self._numbers[term] for term in found if term in self._numbers)


@lru_cache
def load_line_matcher() -> LineMatcher:
    """The one of the repository: it costs 3 MB and well under a millisecond a question."""
    return LineMatcher(MODELS_DIR / NAME)


def soft_unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Of a length below 1, which says how much is known: what is long comes near to 1."""
    return vectors / (1.0 + np.linalg.norm(vectors, axis=-1, keepdims=True))
