"""What a world's vectors are made with: the shape of an embedding model, whoever runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


class Embedder(Protocol):
    """What retrieval needs of an embedding model. `name`: with its content, so that vectors are never mixed with those
    of another model in the same folder."""

    name: str
    dim: int
    reads_chinese: bool
    is_static: bool  # so fast that a few dozen sentences may be encoded while somebody waits

    def encode(self, texts: Sequence[str]) -> Vectors:
        """One row of length 1 per text, float32; a text without a known token is a row of zeros."""
        ...

    def telling(self, words: Sequence[str]) -> Vectors:
        """How much each word tells, 0 ("make") to 1 ("cistern"), float32; asked of static embedders only."""
        ...


def is_name_of(stored: str, embedder: Embedder) -> bool:
    """Whether a world's vectors are this embedder's. Worlds once held a folder's name alone, which says no more."""
    return stored in (embedder.name, embedder.name.partition("@")[0])
