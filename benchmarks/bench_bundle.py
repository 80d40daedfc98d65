"""The bundle as a whole: time to ready, memory, and what a turn costs on top of the engine.

    python -m benchmarks.bench_bundle [--turns 40]

A turn's overhead is all of it but the engine's own time (by the engine's timestamps): ingress, hops, retrieval, prompt,
gate, commit. The bare side is that engine time of the very same request, so ours and bare alternate by construction.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import uuid
from pathlib import Path

import httpx
import psutil
from benchmarks.__main__ import write
from tests.support.bundle import Bundle, running_bundle

MESSAGES = (
    ("lantern_reach", "Who keeps the light on Gannet Head?"),
    ("neo_taipei", "Alice 的背景故事"),
    ("lantern_reach", "What happened to the wreck of the Endeavour?"),
    ("neo_taipei", "誰在龍山寺修理神像?"),
)
# Until caches are warm and the routers have seen their replicas.
WARM_UP_TURNS = 20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=40)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with running_bundle(Path(folder) / "storage") as bundle:
            ready_s = time.perf_counter() - started
            pss_gib = tree_pss() / 1024**3
            print(f"ready, both sample worlds loaded: {ready_s:.1f} s; memory of all of it: {pss_gib:.2f} GiB PSS")
            stages = turn_stages(bundle, arguments.turns)
            pss_after_gib = tree_pss() / 1024**3
    medians = {name: statistics.median(values) for name, values in stages.items()}
    print(f"{arguments.turns} turns, one client, medians in ms (memory after them: {pss_after_gib:.2f} GiB PSS)")
    for name, value in medians.items():
        print(f"  {name:<22}{value:9.1f}")
    ratio = statistics.median(
        wall / engine for wall, engine in zip(stages["wall"], stages["engine"], strict=True) if engine
    )
    print(f"  ours / bare engine    {ratio:9.2f}")
    write(
        "bench_bundle",
        {
            "ready_s": ready_s,
            "pss_gib": pss_gib,
            "pss_after_gib": pss_after_gib,
            "turns": arguments.turns,
            "median_ms": medians,
            "ratio_to_bare_engine": ratio,
        },
    )


def turn_stages(bundle: Bundle, num_turns: int) -> dict[str, list[float]]:
    """Milliseconds by stage, one value a turn. `overhead` is wall time less the engine's."""
    stages: dict[str, list[float]] = {}
    with bundle.client() as client:
        for number in range(-WARM_UP_TURNS, num_turns):
            world, message = MESSAGES[number % len(MESSAGES)]
            body = {"world_id": world, "message": message}
            started = time.perf_counter()
            answer = client.post("/llm/turn", json=body, headers={"Idempotency-Key": uuid.uuid4().hex})
            wall = 1000 * (time.perf_counter() - started)
            answer.raise_for_status()
            if number < 0:
                continue
            spent = server_timing(answer)
            spent["engine_hop"] = spent["generate"] - spent["engine"] - spent["gate"]
            # What lies side by side in "open" is printed, and not counted twice.
            spent["http"] = wall - spent["total"]
            spent["wall"] = wall
            spent["overhead"] = wall - spent["engine"]
            for name, value in spent.items():
                stages.setdefault(name, []).append(value)
    return stages


def server_timing(answer: httpx.Response) -> dict[str, float]:
    parts = (part.strip().split(";dur=") for part in answer.headers["server-timing"].split(","))
    return {name: float(duration) for name, duration in parts}


def tree_pss() -> int:
    """Proportional memory of every process that we started, in bytes (shared pages counted once in all)."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


if __name__ == "__main__":
    main()
