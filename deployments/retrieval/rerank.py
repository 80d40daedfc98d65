"""Rerankers: a second look at the candidates that hybrid search found.

`WordReranker` needs no model but the static embedder that is there; `CrossEncoderReranker` runs a transformer that
reads question and chunk together, for profiles that name one.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sagaforge.datasets.worlds.embedder import Embedder
from sagaforge.errors import Unavailable
from sagaforge.text.terms import HAN_CHARACTER, STOP_WORDS, stem, words

MIN_LIKENESS = 0.2  # below this two words have nothing to do with each other
WORD_SHARE = 2 / 3  # the rest is the likeness of question and chunk as wholes
NAME_WEIGHT = 3.0  # of a word that stands in a section's title, and in the question with a capital letter
CAPITALISED = re.compile(r"\b[A-Z][\w'’]*")
MAX_WORDS = 30_000  # ~27 MB of vectors
MAX_TEXTS = 20_000


@dataclass(frozen=True)
class Candidate:
    """What a reranker sees of a chunk: `score` is the fused score of the search and `likeness` the cosine to the
    question, both 0 to 1."""

    section: str
    text: str
    score: float
    likeness: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """The telling words of a question against some candidates.

    best: [words, candidates], how like the nearest word of a candidate is, 0 to 1. rarity, is_title, is_capital,
    is_name: [words]; rare is what few candidates have, is_title what stands in a section's title, is_capital what has a
    capital letter in the question, is_name the same but for its first word.
    """

    words: list[str]
    best: npt.NDArray[np.float64]
    rarity: npt.NDArray[np.float64]
    is_title: npt.NDArray[np.bool_]
    is_capital: npt.NDArray[np.bool_]
    is_name: npt.NDArray[np.bool_]


class Reranker(Protocol):
    max_candidates: int

    async def scores(self, query: str, candidates: Sequence[Candidate]) -> list[float]:
        """A score per candidate, 0 to 1, higher is better."""
        ...


class WordReranker:
    """Late interaction with static word vectors: every word of the question looks for its nearest word in the chunk.

    A mean of vectors blurs a chunk of a hundred words; here "jacket" still finds "coat" in it. Rare words count more,
    by how many candidates hold anything like them. Questions in a script that the embedder can't read keep their order.
    """

    max_candidates = 48

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._ids: dict[str, int]
        self._stems: dict[str, int]
        self._stem_ids: npt.NDArray[np.int64]
        self._vectors: npt.NDArray[np.float32]
        self._texts: OrderedDict[str, npt.NDArray[np.int64]]
        self._forget()

    async def scores(self, query: str, candidates: Sequence[Candidate]) -> list[float]:
        compared = self.compare(query, candidates)
        if compared is None:
            return [candidate.score for candidate in candidates]
        weights = compared.rarity * np.where(compared.is_title & compared.is_capital, NAME_WEIGHT, 1.0)
        found = _scaled(weights @ compared.best)
        near = _scaled(np.array([candidate.likeness for candidate in candidates]))
        return [float(score) for score in WORD_SHARE * found + (1 - WORD_SHARE) * near]

    def compare(self, query: str, candidates: Sequence[Candidate]) -> Comparison | None:
        """Each telling word of the question with each candidate; None where it has none that the embedder can read."""
        wanted = [word for word in dict.fromkeys(words(query)) if word not in STOP_WORDS]
        if not wanted or (HAN_CHARACTER.search(query) and not self._embedder.reads_chinese):
            return None
        if len(self._ids) > MAX_WORDS:
            self._forget()
        held = [self._words_of(candidate) for candidate in candidates]
        self._embed_new_words()
        vectors = self._embedder.encode(wanted)
        known, places = np.unique(np.concatenate([*held, np.zeros(1, np.int64)]), return_inverse=True)
        likeness = np.clip((vectors @ self._vectors[known].T - MIN_LIKENESS) / (1 - MIN_LIKENESS), 0.0, 1.0)
        stems = np.array([self._stems.get(stem(word), -1) for word in wanted])
        # Two names that share a syllable are like each other as vectors, and are two names.
        titles = " ".join({candidate.section for candidate in candidates})
        named = {stem(word) for word in words(titles)}
        is_title = np.array([stem(word) in named for word in wanted])
        likeness[is_title] = 0.0
        likeness[stems[:, None] == self._stem_ids[known][None, :]] = 1.0

        sizes = np.array([len(ids) for ids in held])
        best = np.zeros((len(wanted), len(candidates)))
        # The maximum of each candidate's stretch; `reduceat` knows no empty ones.
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])[sizes > 0]
        if len(starts):
            best[:, sizes > 0] = np.maximum.reduceat(likeness[:, places[:-1]], starts, axis=1)
        frequency = best.sum(axis=1)
        rarity = np.log(1 + (len(candidates) - frequency + 0.5) / (frequency + 0.5))
        capitalised, later = (set(words(" ".join(CAPITALISED.findall(text)))) for text in (query, _after_first(query)))
        return Comparison(
            wanted,
            best,
            rarity,
            is_title,
            is_capital=np.array([word in capitalised for word in wanted]),
            is_name=np.array([word in later for word in wanted]),
        )

    def _words_of(self, candidate: Candidate) -> npt.NDArray[np.int64]:
        """The numbers of a chunk's words. Kept per text: cutting it into words costs more than all the rest."""
        key = f"{candidate.section}\n{candidate.text}"
        ids = self._texts.get(key)
        if ids is None:
            found = {word for word in words(key) if word not in STOP_WORDS}
            ids = np.array(sorted(self._ids.setdefault(word, len(self._ids)) for word in found), dtype=np.int64)
            self._texts[key] = ids
            if len(self._texts) > MAX_TEXTS:
                self._texts.popitem(last=False)
        return ids

    def _embed_new_words(self) -> None:
        fresh = list(self._ids)[len(self._vectors) :]
        if fresh:
            self._vectors = np.vstack([self._vectors, self._embedder.encode(fresh)])
            stems = [self._stems.setdefault(stem(word), len(self._stems)) for word in fresh]
            self._stem_ids = np.concatenate([self._stem_ids, np.array(stems, dtype=np.int64)])

    def _forget(self) -> None:
        self._ids, self._stems = {"": 0}, {"": 0}
        self._stem_ids = np.zeros(1, dtype=np.int64)
        self._vectors = np.zeros((1, self._embedder.dim), dtype=np.float32)
        self._texts = OrderedDict()


class CrossEncoderReranker:
    """A sequence classifier with one logit (such as bge-reranker-v2-m3), by name or folder. Never runs remote code."""

    max_candidates = 20  # each costs a pass through the model

    def __init__(self, name: str, *, max_tokens: int = 512, batch_size: int = 16) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self._torch = torch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        model = AutoModelForSequenceClassification.from_pretrained(name, trust_remote_code=False)
        self._model = model.to(self._device).eval()
        self._max_tokens, self._batch_size = max_tokens, batch_size

    async def scores(self, query: str, candidates: Sequence[Candidate]) -> list[float]:
        return await asyncio.to_thread(self._scores, query, candidates)

    def _scores(self, query: str, candidates: Sequence[Candidate]) -> list[float]:
        found: list[float] = []
        for start in range(0, len(candidates), self._batch_size):
            texts = [f"{c.section}\n{c.text}" for c in candidates[start : start + self._batch_size]]
            batch = self._tokenizer(
                [query] * len(texts), texts, padding=True, truncation="only_second", max_length=self._max_tokens,
                return_tensors="pt",
            ).to(self._device)  # fmt: skip
            with self._torch.inference_mode():
                logits = self._model(**batch).logits[:, 0].float()
            found.extend(self._torch.sigmoid(logits).cpu().tolist())
        return found


def load_reranker(name_or_path: str) -> Reranker:
    """A cross-encoder by folder or hub name. Raises `Unavailable` that says what is missing."""
    try:
        return CrossEncoderReranker(name_or_path)
    except (OSError, ValueError) as exc:
        raise Unavailable(
            f"The reranker {name_or_path!r} can't be loaded ({type(exc).__name__}). Check the name and the network, or "
            "choose a profile without one."
        ) from exc


def _after_first(text: str) -> str:
    """The text without its first word, which has a capital letter whatever it is."""
    return text.strip().partition(" ")[2]


def _scaled(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    top = scores.max(initial=0.0)
    return scores / top if top > 0 else scores
