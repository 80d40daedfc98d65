"""What the citation gate costs a turn: five sentences against eight lore lines, nothing cached. CPU time, on one core.

    python -m benchmarks.bench_gate

There is no bare library beside it: what a turn would take without a gate is nothing.
"""

from __future__ import annotations

import random
import statistics
import time

from benchmarks.__main__ import write
from tests.support.gate_pairs import lore_lines

from sagaforge.functions.citations.claims import han_negations, read_claim
from sagaforge.functions.citations.gate import LexicalGate, _read_lines

NUM_TURNS = 100
NUM_LINES = 8


def main() -> None:
    medians = {world: 1000 * statistics.median(turns(world)) for world in ("lantern_reach", "neo_taipei")}
    for world, median_ms in medians.items():
        print(f"{world}: {median_ms:.2f} ms a turn, median of {NUM_TURNS}")
    write("bench_gate", {"median_ms": medians, "turns": NUM_TURNS})


def turns(world: str) -> list[float]:
    """Seconds of CPU time, one value a turn."""
    pool, rng, times_s = lore_lines(world), random.Random(3), []
    for _ in range(NUM_TURNS):
        lines = rng.sample(pool, NUM_LINES)
        for cache in (read_claim, han_negations, _read_lines):
            cache.cache_clear()
        start_s = time.thread_time()
        gate = LexicalGate(["Mara"])
        for number in (1, 2, 3, 4, 5):  # one mark of five is wrong
            gate.check(lines[number - 1].text, [number if number < 5 else 6], lines)
        times_s.append(time.thread_time() - start_s)
    return times_s


if __name__ == "__main__":
    main()
