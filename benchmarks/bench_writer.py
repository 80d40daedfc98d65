"""The table writer against a bare LanceDB `add`, one row at a time, alternating in one run; and reads after it.

    python benchmarks/bench_writer.py [--commits 1000] [--json out.json]

What is compared: `add` is what LanceDB needs to make a row durable; ours also finds out whether the id exists, keeps
older writers out, and compacts. `merge` is the library's own insert-if-absent (over a fifth of the rows: it is slow).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable
from datetime import timedelta

from sagaforge.datasets.sessions import SessionStore, StoredTurn, derive_turn_id
from sagaforge.datasets.store.tables import TURNS, to_arrow
from sagaforge.datasets.store.writer import TableWriter
from sagaforge.storage import Storage

NUM_SESSIONS = 8
TURN_JSON = json.dumps({"narration": "It rains on Lantern Street. " * 120})  # ~3.4 KB, a usual turn


def turn_of(n: int, table: str) -> StoredTurn:
    session = f"{table}-{n % NUM_SESSIONS}"
    return StoredTurn(
        id=derive_turn_id(session, str(n)), session_id=session, parent_id=str(n), seq=n, message="look around",
        narration="It rains.", turn=TURN_JSON, world_id="neo", world_version=1,
    )  # fmt: skip


async def timed_ms(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return (time.perf_counter() - began) * 1000


async def measure(num_commits: int, folder: str) -> dict[str, float]:
    storage = Storage(folder)
    writer = TableWriter(storage, "play")
    store = SessionStore(storage, writer)
    await writer.start()
    db = await (Storage(f"{folder}/bare")).connect(read_consistency_interval=timedelta(0))
    bare = await db.create_table("turns", schema=TURNS.schema_to_create())
    merged = await db.create_table("merged", schema=TURNS.schema_to_create())
    times: dict[str, list[float]] = {name: [] for name in ("ours", "add", "merge", "read_ours", "read_bare")}
    for n in range(num_commits):
        times["ours"].append(await timed_ms(store.commit_turn(turn_of(n, "ours"))))
        times["add"].append(await timed_ms(bare.add(to_arrow([turn_of(n, "bare").to_row()], TURNS.schema))))
        if n % 5 == 0:
            row = to_arrow([turn_of(n, "merged").to_row()], TURNS.schema)
            times["merge"].append(await timed_ms(merged.merge_insert("id").when_not_matched_insert_all().execute(row)))
        if n >= num_commits - 100:  # how reads are after all these commits
            times["read_ours"].append(await timed_ms(store.head(f"ours-{n % NUM_SESSIONS}")))
            query = bare.query().where(f"id = '{turn_of(n, 'bare').id}'")
            times["read_bare"].append(await timed_ms(query.to_list()))
    began = time.perf_counter()
    await asyncio.gather(*(store.commit_turn(turn_of(num_commits + n, "ours")) for n in range(256)))
    burst_s = time.perf_counter() - began
    await writer.close()
    figures = {f"{name}_median_ms": round(statistics.median(values), 2) for name, values in times.items()}
    for name in ("ours", "add"):
        figures[f"{name}_p95_ms"] = round(statistics.quantiles(times[name], n=20)[-1], 2)
        figures[f"{name}_last_100_median_ms"] = round(statistics.median(times[name][-100:]), 2)
    figures["ours_over_add"] = round(figures["ours_median_ms"] / figures["add_median_ms"], 2)
    figures["burst_of_256_rows_per_s"] = round(256 / burst_s)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commits", type=int, default=1000)
    parser.add_argument("--json", help="also write the figures here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(args.commits, folder))
    for name, value in figures.items():
        print(f"{name:28} {value:>9}")
    if args.json:
        with open(args.json, "w") as file:
            json.dump(figures, file, indent=2)


if __name__ == "__main__":
    main()
