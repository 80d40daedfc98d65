"""The order of lore lines in a prompt, with and without the learned matcher, on generated worlds.

    python -m benchmarks.bench_lines

Worlds of the scorer (`sagaforge.training.scoring.worlds`: names and wordings that no training saw), on real LanceDB
tables. Of questions for a fact: is it the first line, and is it among the three of the pocket profile's prompt?
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
import tempfile
import time

from benchmarks.__main__ import write

from sagaforge.datasets.embedder import load_embedder
from sagaforge.datasets.ingest import ingest
from sagaforge.datasets.lore_index import LoreIndex
from sagaforge.datasets.lore_lines import MATCH_WEIGHT, LineSelector
from sagaforge.datasets.packs import read_upload
from sagaforge.datasets.writer import TableWriter
from sagaforge.profiles import PROFILES
from sagaforge.storage import Storage
from sagaforge.training.scoring.worlds import ScoredWorld, make_world

SEEDS, CASES = range(100, 106), 40
ARMS = {"words alone": 0.0, "with the matcher": MATCH_WEIGHT}
# Of a fact's sentence, what stands in its line even where that begins with a pronoun or is joined to another.
TAIL_CHARS = 6


async def places(world: ScoredWorld, match_weight: float) -> list[tuple[int | None, float]]:
    """For each question for one fact the place of its line, None where it is not among them, and the milliseconds."""
    profile = PROFILES["pocket"]
    with tempfile.TemporaryDirectory() as folder:
        storage, embedder = Storage(folder), load_embedder(profile.embedder)
        writer = TableWriter(storage, "library")
        pack = read_upload("lore.md", io.BytesIO(world.lore.encode()))
        await ingest(pack, world.world_id, None, False, storage=storage, writer=writer, embedder=embedder)
        await writer.close()
        index, selector = LoreIndex(storage, embedder), LineSelector(embedder, match_weight=match_weight)
        found: list[tuple[int | None, float]] = []
        for case in world.cases:
            if not case.told:
                continue
            chunks = await index.search(world.world_id, 1, case.message, top_k=profile.retrieve_top_k, rerank=True)
            began = time.perf_counter()
            lines = await selector.select(
                chunks,
                case.message,
                max_lines=profile.lore_max_lines,
                max_chars=profile.lore_max_chars,
                min_share=profile.lore_min_share,
            )
            spent = 1000 * (time.perf_counter() - began)
            holding = [number for number, line in enumerate(lines) if case.told[-TAIL_CHARS:] in line.text]
            found.append((holding[0] if holding else None, spent))
        return found


def main() -> int:
    results = {}
    for language in ("en", "zh"):
        worlds = [make_world(seed, language, CASES) for seed in SEEDS]
        for arm, weight in ARMS.items():
            found = [each for world in worlds for each in asyncio.run(places(world, weight))]
            results[f"{language}, {arm}"] = figures = {
                "questions": len(found),
                "first": round(sum(place == 0 for place, _ in found) / len(found), 3),
                "among_three": round(sum(place is not None for place, _ in found) / len(found), 3),
                "ms": round(sorted(spent for _, spent in found)[len(found) // 2], 2),
            }
            print(f"{language} {arm:16} {json.dumps(figures)}")
    write("bench_lines", results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
