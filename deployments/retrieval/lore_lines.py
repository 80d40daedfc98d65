"""Retrieved chunks → the lore lines of a prompt: sentence-sized, without doubles, best first.

A small model reads a sentence far better than a 700-character chunk, and a citation of a sentence can be checked. A
line's score is its own relevance, by the words' vectors where the embedder can read the question and by BM25 where it
can't, that of its chunk, and what the matcher knows of such questions and answers.
"""

from __future__ import annotations

import math
import re
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from sagaforge.datasets.worlds.embedder import Embedder, Vectors
from sagaforge.deployments.retrieval.confidence import confidence, related, shares_nothing
from sagaforge.deployments.retrieval.interface import LoreLine, section_title
from sagaforge.deployments.retrieval.rerank import Candidate, WordReranker
from sagaforge.schemas import Chunk
from sagaforge.strategies import LineMatcher, NoLineMatcher
from sagaforge.text.terms import HAN_CHARACTER, query_terms, split_sentences, terms

# A sentence below this says too little alone ("He never did."); a Chinese character says about as much as 2.5 letters.
SHORT_SENTENCE = 20
MERGED_SENTENCE = 160
HAN_WIDTH = 2.5
LINE_OVERHEAD_CHARS = 8  # "[12] ", ": " and the newline
MAX_VECTORS = 20_000  # of sentences, ~20 MB

# BM25's usual constants, on the retrieved sentences alone.
K1, B = 1.2, 0.75
TITLE_WEIGHT = 0.6
RANK_PRIOR = 0.8  # what the first chunk's lines have over those of a last one, in units of a middling term's weight
MATCH_WEIGHT = 1.6  # of the matcher, where the line's own relevance and its chunk's have 1
POSITION_PRIOR = 0.1  # a section's first sentence says what its title is
SINGLE_HAN_WEIGHT = 0.25  # pairs of characters carry the meaning; single ones only break ties

# A world's sentences come back turn after turn.
_terms = lru_cache(maxsize=4096)(terms)

MARKUP = re.compile(r"^\s*(?:#{1,6}\s+|[-*+]\s+|>\s*|\|)+")


@dataclass(frozen=True)
class _Candidate:
    line: LoreLine
    rank: int
    position: int
    num_joined: int = 1

    @property
    def last_position(self) -> int:
        return self.position + self.num_joined - 1


class LineSelector:
    """Selects lines; keeps the vectors of the sentences it has seen. For one event loop."""

    def __init__(
        self, embedder: Embedder, matcher: LineMatcher | None = None, *, match_weight: float = MATCH_WEIGHT
    ) -> None:
        self._embedder = embedder
        self._words = WordReranker(embedder)
        self._matcher = matcher or NoLineMatcher()
        self._match_weight = match_weight
        self._vectors: OrderedDict[str, Vectors] = OrderedDict()

    async def select(
        self,
        chunks: Sequence[Chunk],
        query: str,
        *,
        max_lines: int,
        max_chars: int,
        min_share: float = 0.0,
        min_confidence: float = 0.0,
        asked: str | None = None,
    ) -> list[LoreLine]:
        """The lines of `chunks` (best chunk first) that most likely answer `query`, best first.

        At most `max_lines`, and `max_chars` characters as they will stand in the prompt; none whose score is below
        `min_share` (0 to 1) of the best one's. With a `min_confidence` (0 to 1, 0 asks for none) none that shares
        nothing with `asked` (the query, unless it is given), and none at all where the confidence that they are about
        it is below. The same input gives the same lines in the same order.
        """
        candidates = _with_short_joined(_without_doubles(_candidates(chunks)))
        if not candidates:
            return []
        is_related = np.ones(len(candidates), bool)
        if min_confidence > 0:
            sureness, is_related = self._judged(candidates, asked or query)
            if sureness < min_confidence:
                return []
        own = await self._by_words(candidates, query) if self._can_read(query) else _scores(candidates, query)
        top = max(own) or 1.0
        matches = self._matcher.scores(query, [(each.line.section, each.line.text) for each in candidates])
        scores = [
            score / top + chunks[each.rank].score + self._match_weight * float(match) if is_about else -1.0
            for score, each, match, is_about in zip(own, candidates, matches, is_related, strict=True)
        ]
        least = min_share * max(0.0, *scores)
        return [line for line, score in _best(candidates, scores, max_lines, max_chars) if score >= least]

    async def _by_words(self, candidates: list[_Candidate], query: str) -> list[float]:
        likenesses = self._likenesses(candidates, query)
        return await self._words.scores(
            query,
            [
                Candidate(candidate.line.section, candidate.line.text, 0.0, max(0.0, float(likeness)))
                for candidate, likeness in zip(candidates, likenesses, strict=True)
            ],
        )

    def _judged(self, candidates: list[_Candidate], asked: str) -> tuple[float, npt.NDArray[np.bool_]]:
        """The confidence that the candidates are about what is asked (1 where nothing can be said of it), and which of
        them have anything to do with it."""
        all_of_them = np.ones(len(candidates), bool)
        if not self._can_read(asked):
            texts = (f"{each.line.section} . {each.line.text}" for each in candidates)
            is_strange = HAN_CHARACTER.search(asked) and shares_nothing(asked, texts)
            return 0.0 if is_strange else 1.0, all_of_them
        lines = [Candidate(each.line.section, each.line.text, 0.0) for each in candidates]
        if (compared := self._words.compare(asked, lines)) is None:
            return 1.0, all_of_them
        judged = compared, self._embedder.telling(compared.words), self._likenesses(candidates, asked)
        return confidence(*judged), related(*judged)

    def _can_read(self, text: str) -> bool:
        """While somebody waits, and in this script."""
        return self._embedder.is_static and (self._embedder.reads_chinese or not HAN_CHARACTER.search(text))

    def _likenesses(self, candidates: list[_Candidate], query: str) -> Vectors:
        texts = [f"{candidate.line.section}. {candidate.line.text}" for candidate in candidates]
        if fresh := [text for text in texts if text not in self._vectors]:
            self._vectors.update(zip(fresh, self._embedder.encode(fresh), strict=True))
        likenesses = np.stack([self._vectors[text] for text in texts]) @ self._embedder.encode([query])[0]
        while len(self._vectors) > MAX_VECTORS:
            self._vectors.popitem(last=False)
        return likenesses


def _best(
    candidates: list[_Candidate], scores: list[float], max_lines: int, max_chars: int
) -> list[tuple[LoreLine, float]]:
    order = sorted(range(len(candidates)), key=lambda i: (-scores[i], candidates[i].rank, candidates[i].position))
    selected: list[tuple[LoreLine, float]] = []
    num_chars = 0
    for index in order:
        line = candidates[index].line
        width = len(line.text) + len(line.section) + LINE_OVERHEAD_CHARS
        if len(selected) == max_lines:
            break
        if num_chars + width <= max_chars:
            selected.append((line, scores[index]))
            num_chars += width
    return selected


def _candidates(chunks: Sequence[Chunk]) -> list[_Candidate]:
    found = []
    for rank, chunk in enumerate(chunks):
        title = section_title(chunk.metadata.section)
        for position, text in _sentences(chunk.text, title):
            found.append(_Candidate(LoreLine(chunk.id, title, text), rank, position))
    return found


@lru_cache(maxsize=4096)
def _sentences(text: str, title: str) -> tuple[tuple[int, str], ...]:
    """The sentences of a chunk as they stand in a prompt, with their positions in it."""
    plain = (" ".join(MARKUP.sub("", sentence).split()) for sentence in split_sentences(text))
    bare = ((position, _without_label(sentence, title)) for position, sentence in enumerate(plain))
    return tuple((position, sentence) for position, sentence in bare if sentence and sentence != title)


def _without_label(text: str, title: str) -> str:
    """The text without the label that a pack's field got ("Background of Oriel Vance: Oriel grew up …"), where it names
    whom it is about by itself: what is quoted should be a sentence."""
    label, colon, rest = text.partition("：" if "：" in text else ": ")
    if not colon or not (label.startswith(title) or label.endswith(title)):
        return text
    names = [word for word in title.split() if len(word) > 2 or HAN_CHARACTER.search(word)]
    return rest.strip() if any(name in rest for name in names) else text


def _without_doubles(candidates: list[_Candidate]) -> list[_Candidate]:
    """Drop what another line says in full: chunks overlap, and may begin or end in the middle of a long sentence."""
    keys = ["".join(candidate.line.text.split()) for candidate in candidates]
    of_section: dict[str, list[int]] = {}
    for index, candidate in enumerate(candidates):
        of_section.setdefault(candidate.line.section, []).append(index)
    kept: list[_Candidate] = []
    for index, (candidate, key) in enumerate(zip(candidates, keys, strict=True)):
        is_held = any(
            key in keys[other] and (len(key) < len(keys[other]) or other < index)
            for other in of_section[candidate.line.section]
            if other != index
        )
        if not is_held:
            kept.append(candidate)
    return kept


def _with_short_joined(candidates: list[_Candidate]) -> list[_Candidate]:
    """Join a short sentence to its neighbour in the chunk."""
    joined: list[_Candidate] = []
    for candidate in candidates:
        last = joined[-1] if joined else None
        if last and last.rank == candidate.rank and last.last_position + 1 == candidate.position:
            widths = _width(last.line.text), _width(candidate.line.text)
            if min(widths) < SHORT_SENTENCE and sum(widths) <= MERGED_SENTENCE:
                space = "" if HAN_CHARACTER.search(last.line.text[-2:]) else " "
                text = last.line.text + space + candidate.line.text
                line = LoreLine(last.line.chunk_id, last.line.section, text)
                joined[-1] = _Candidate(line, last.rank, last.position, last.num_joined + 1)
                continue
        joined.append(candidate)
    return joined


@lru_cache(maxsize=4096)
def _width(text: str) -> float:
    return len(text) + (HAN_WIDTH - 1) * len(HAN_CHARACTER.findall(text))


def _scores(candidates: list[_Candidate], query: str) -> list[float]:
    """BM25 on the candidates alone."""
    wanted = {term: _term_weight(term) for term in query_terms(query)}
    titles = {candidate.line.section: set(_terms(candidate.line.section)) for candidate in candidates}
    counts = [Counter(term for term in _terms(candidate.line.text) if term in wanted) for candidate in candidates]
    lengths = [max(1.0, _width(candidate.line.text)) for candidate in candidates]
    mean_length = sum(lengths) / max(1, len(lengths))
    # A line without a name of its own ("She rows flour to him") is about its section's title, and found by it.
    num_holding = Counter(
        term
        for candidate, count in zip(candidates, counts, strict=True)
        for term in wanted
        if term in count or term in titles[candidate.line.section]
    )
    num_lines = len(candidates)
    scores = []
    for candidate, count, length in zip(candidates, counts, lengths, strict=True):
        score = RANK_PRIOR / (1 + candidate.rank) + POSITION_PRIOR / (1 + candidate.position)
        for term, weight in wanted.items():
            holding = num_holding[term]
            if not holding:
                continue
            rarity = math.log(1 + (num_lines - holding + 0.5) / (holding + 0.5))
            times = count[term]
            said = times * (K1 + 1) / (times + K1 * (1 - B + B * length / mean_length))
            titled = TITLE_WEIGHT if term in titles[candidate.line.section] else 0.0
            score += weight * rarity * max(said, titled)
        scores.append(score)
    return scores


def _term_weight(term: str) -> float:
    return SINGLE_HAN_WEIGHT if len(term) == 1 and HAN_CHARACTER.match(term) else 1.0
