"""Rerankers: a second look at the candidates that hybrid search found, sentence by sentence.

`SentenceReranker` needs no model but the embedder that is there; `CrossEncoderReranker` runs a transformer that reads
question and chunk together, for profiles that name one.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sagaforge.datasets.embedder import Embedder
from sagaforge.datasets.text import HAN_CHARACTER, query_terms, split_sentences, terms
from sagaforge.errors import Unavailable

SINGLE_HAN_WEIGHT = 0.3
SENTENCE_SHARE = 0.5  # how much of the final score is the second look's


@dataclass(frozen=True)
class Candidate:
    """What a reranker sees of a chunk; `score` is the fused score of the search, 0 to 1."""

    section: str
    text: str
    score: float


class Reranker(Protocol):
    async def scores(self, query: str, candidates: Sequence[Candidate]) -> list[float]:
        """A score per candidate, 0 to 1, higher is better."""
        ...


class SentenceReranker:
    """Scores a chunk by its best sentence: how much of the question's rarer terms it holds, and how near it lies."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    async def scores(self, query: str, candidates: Sequence[Candidate]) -> list[float]:
        wanted = query_terms(query)
        owners: list[int] = []
        sentences: list[str] = []
        for index, candidate in enumerate(candidates):
            title = candidate.section.rsplit(" > ", 1)[-1]
            for sentence in split_sentences(candidate.text) or [candidate.text]:
                owners.append(index)
                sentences.append(f"{title}: {sentence}")
        held = [set(terms(sentence)) for sentence in sentences]
        frequency = Counter(term for sentence_terms in held for term in sentence_terms)
        weights = {term: _weight(term, frequency[term], len(held)) for term in wanted}
        total = sum(weights.values()) or 1.0
        overlap = np.array([sum(weights[t] for t in wanted if t in sentence_terms) / total for sentence_terms in held])
        is_semantic = self._embedder.reads_chinese or not HAN_CHARACTER.search(query)
        nearness = np.zeros(len(sentences))
        if is_semantic and sentences:
            vectors = await asyncio.to_thread(self._embedder.encode, [query, *sentences])
            nearness = np.clip(vectors[1:] @ vectors[0], 0.0, 1.0)
        looks = (overlap + nearness) / (2.0 if is_semantic else 1.0)
        best = np.zeros(len(candidates))
        np.maximum.at(best, np.array(owners, dtype=int), looks)
        top = best.max() if len(best) else 0.0
        scaled = best / top if top > 0 else best
        return [
            float((1 - SENTENCE_SHARE) * c.score + SENTENCE_SHARE * s) for c, s in zip(candidates, scaled, strict=True)
        ]


class CrossEncoderReranker:
    """A sequence classifier with one logit (such as bge-reranker-v2-m3), by name or folder. Never runs remote code."""

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


def _weight(term: str, frequency: int, num_sentences: int) -> float:
    rarity = math.log(1 + (num_sentences - frequency + 0.5) / (frequency + 0.5))
    return rarity * (SINGLE_HAN_WEIGHT if len(term) == 1 and HAN_CHARACTER.match(term) else 1.0)
