"""What a profile may do for a small model. What stands here does nothing, and is what real models get."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt


class Mending:
    """What becomes of the faults of a model's texts."""

    def sentence(self, text: str, sections: Collection[str], lines: Iterable[str]) -> str:
        """A sentence of narration as it is told; `sections` and `lines` are those of the lore in its prompt."""
        return text

    def words(self, text: str) -> str:
        """A line of dialogue as it is told."""
        return text

    def choice(self, text: str) -> str:
        """A choice as it is offered; "" for one that is not."""
        return text


class LineMatcher(Protocol):
    """Which sentence answers a question, besides what likeness and shared words say."""

    def scores(self, question: str, lines: Sequence[tuple[str, str]]) -> npt.NDArray[np.float32]:
        """For each (section's title, sentence) how likely it answers, from 0 (nothing is known of it) to 1."""
        ...


class NoLineMatcher:
    """Knows nothing."""

    def scores(self, question: str, lines: Sequence[tuple[str, str]]) -> npt.NDArray[np.float32]:
        return np.zeros(len(lines), dtype=np.float32)
