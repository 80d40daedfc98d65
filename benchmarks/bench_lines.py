"""The order of lore lines in a prompt, with and without the learned matcher, on real LanceDB tables.

    python -m benchmarks.bench_lines

Questions for one fact: of generated worlds (`sagaforge.evaluation.worlds`: names and wordings that no training
saw) and of the sample worlds (`tests/data`: written by people, about relations that the matcher mostly does not know).
Is the fact's line the first, and is it among the three of the pocket profile's prompt?
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.__main__ import write
from tests.unit.deployments.test_lore_index import ROOT, SAMPLES, zipped

from sagaforge.datasets.packs.pack import Pack, read_upload
from sagaforge.datasets.store.writer import TableWriter
from sagaforge.datasets.worlds.ingest import ingest
from sagaforge.deployments.embedding.embedder import load_embedder
from sagaforge.deployments.retrieval.index import LoreIndex
from sagaforge.deployments.retrieval.lore_lines import MATCH_WEIGHT, LineSelector
from sagaforge.evaluation.worlds import make_world
from sagaforge.pocket.line_matcher import load_line_matcher
from sagaforge.profiles import PROFILES
from sagaforge.storage import Storage

SEEDS, CASES = range(110, 116), 40  # 100 to 105 chose MATCH_WEIGHT
ARMS = {"words alone": 0.0, "with the matcher": MATCH_WEIGHT}
# Of a fact's sentence, what stands in its line even where that begins with a pronoun or is joined to another.
TAIL_CHARS = 6
HEAD_CHARS = 25  # of an answer by hand, which may run over several lines


@dataclass(frozen=True)
class Asked:
    """A question, and whether a line of lore holds its answer."""

    question: str
    is_held: Callable[[str], bool]


@dataclass(frozen=True)
class Questions:
    """A world and what it is asked."""

    pack: Pack
    asked: list[Asked]


def generated(language: str) -> Iterable[Questions]:
    for seed in SEEDS:
        world = make_world(seed, language, CASES)
        yield Questions(
            read_upload("lore.md", io.BytesIO(world.lore.encode())),
            [
                Asked(case.message, lambda line, tail=case.told[-TAIL_CHARS:]: tail in line)  # type: ignore[misc]
                for case in world.cases
                if case.told
            ],
        )


def by_hand(name: str) -> Iterable[Questions]:
    world_id = name.removesuffix("_oblique")
    rows = (ROOT / "tests" / "data" / f"questions_{name}.jsonl").read_text(encoding="utf-8").splitlines()

    def asked(question: str, answer: str) -> Asked:
        return Asked(question, lambda line: answer[:HEAD_CHARS] in line or line[:HEAD_CHARS] in answer)

    yield Questions(
        read_upload(f"{world_id}.zip", zipped(SAMPLES / world_id)),
        [asked(row["question"], row["answer"]) for row in map(json.loads, rows)],
    )


async def places(questions: Questions, match_weight: float) -> list[tuple[int | None, float]]:
    """For each question the place of its line, None where it is not among them, and the milliseconds."""
    profile = PROFILES["pocket"]
    with tempfile.TemporaryDirectory() as folder:
        storage, embedder = Storage(folder), load_embedder(profile.embedder)
        writer = TableWriter(storage, "library")
        await ingest(questions.pack, "asked", None, False, storage=storage, writer=writer, embedder=embedder)
        await writer.close()
        index, selector = (
            LoreIndex(storage, embedder),
            LineSelector(embedder, load_line_matcher(), match_weight=match_weight),
        )
        found: list[tuple[int | None, float]] = []
        for each in questions.asked:
            chunks = await index.search("asked", 1, each.question, top_k=profile.retrieve_top_k, rerank=True)
            began = time.perf_counter()
            lines = await selector.select(
                chunks,
                each.question,
                max_lines=profile.lore_max_lines,
                max_chars=profile.lore_max_chars,
                min_share=profile.lore_min_share,
                min_confidence=profile.lore_min_confidence,
            )
            spent = 1000 * (time.perf_counter() - began)
            holding = [number for number, line in enumerate(lines) if each.is_held(line.text)]
            found.append((holding[0] if holding else None, spent))
        return found


def main() -> int:
    results = {}
    sets = {
        "generated, English": lambda: generated("en"),
        "generated, Chinese": lambda: generated("zh"),
        "lantern_reach": lambda: by_hand("lantern_reach"),
        "lantern_reach, oblique": lambda: by_hand("lantern_reach_oblique"),
        "neo_taipei": lambda: by_hand("neo_taipei"),
    }
    for name, make in sets.items():
        for arm, weight in ARMS.items():
            found = [each for questions in make() for each in asyncio.run(places(questions, weight))]
            results[f"{name}, {arm}"] = figures = {
                "questions": len(found),
                "first": round(sum(place == 0 for place, _ in found) / len(found), 3),
                "among_three": round(sum(place is not None for place, _ in found) / len(found), 3),
                "ms": round(sorted(spent for _, spent in found)[len(found) // 2], 2),
            }
            print(f"{name:22} {arm:16} {json.dumps(figures)}", flush=True)
    write("bench_lines", results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
