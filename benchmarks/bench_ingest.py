"""How long a 10,000-chunk world takes to upload, and to upload again with one section in a hundred changed; and how
long uploads of 60 bytes take.

    python benchmarks/bench_ingest.py                 # three rounds; medians on stdout, JSON in benchmarks/results/
    python benchmarks/bench_ingest.py --chunks 2000 --rounds 1
    python benchmarks/bench_ingest.py --rounds 0      # the small uploads alone

Everything an upload does after its bytes have arrived is in the time: reading the zip, chunking, comparing, embedding
on the CPU, writing and indexing on the local disk. Searches of the finished world are timed too. Small uploads go
through the bundle's own ingestion, its worker process included, without HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import random
import resource
import statistics
import tempfile
import time
import zipfile
from pathlib import Path

import psutil

from sagaforge.datasets.packs.pack import read_upload
from sagaforge.datasets.store.writer import TableWriter
from sagaforge.datasets.worlds.ingest import ingest
from sagaforge.deployments.embedding.embedder import load_embedder
from sagaforge.deployments.retrieval.index import LoreIndex
from sagaforge.storage import Storage

WORDS = [
    "lamp",
    "harbour",
    "keeper",
    "tide",
    "fog",
    "oil",
    "bell",
    "rope",
    "winter",
    "debt",
    "ferry",
    "spring",
    "diver",
    "wreck",
    "glass",
    "terrace",
    "market",
    "clerk",
    "storm",
    "island",
    "letter",
    "brass",
    "copper",
    "gull",
    "moth",
    "cellar",
    "crown",
    "candle",
    "warden",
    "ledger",
    "signal",
    "anchor",
    "copper",
    "reef",
    "chapel",
]


def build_pack(num_chunks: int, changed: set[int]) -> io.BytesIO:
    """A lorebook of `num_chunks` sections of about 650 characters: one chunk each."""
    parts = ["# Bench\n"]
    for number in range(num_chunks):
        rng = random.Random(f"{number}{'x' if number in changed else ''}")
        sentences = [
            f"The {rng.choice(WORDS)} of place {number} keeps {rng.randint(2, 900)} {rng.choice(WORDS)}s for the "
            f"{rng.choice(WORDS)} and the {rng.choice(WORDS)}."
            for _ in range(9)
        ]
        parts.append(f"## Place {number}\n\n{' '.join(sentences)}\n")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("lorebook.md", "\n".join(parts))
    buffer.seek(0)
    return buffer


async def one_round(num_chunks: int) -> dict[str, float]:
    first = build_pack(num_chunks, set())
    second = build_pack(num_chunks, set(range(0, num_chunks, 100)))
    embedder = load_embedder("pocket-embedder")
    with tempfile.TemporaryDirectory() as folder:
        storage = Storage(folder)
        writer = TableWriter(storage, "library")
        await writer.start()
        times = {}
        for name, upload in (("upload_s", first), ("reupload_s", second), ("identical_s", second)):
            upload.seek(0)
            started = time.perf_counter()
            pack = read_upload("bench.zip", upload)
            response = await ingest(pack, "bench", None, True, storage=storage, writer=writer, embedder=embedder)
            times[name] = time.perf_counter() - started
        index = LoreIndex(storage, embedder)
        for name, rerank in (("search_ms", False), ("search_rerank_ms", True)):
            spans = []
            for number in range(60):
                started = time.perf_counter()
                query = f"What does the keeper of place {number * 37 % num_chunks} keep for the harbour?"
                await index.search("bench", response.version, query, 6, rerank)
                spans.append(1000 * (time.perf_counter() - started))
            times[name] = statistics.median(spans[10:])
        await writer.close()
    times["chunks"] = response.total_chunks
    return times


async def small_uploads(num_uploads: int) -> dict[str, float]:
    """Medians of uploads of 60 bytes: new worlds, repeated ones, and files that are refused; what the worker costs."""
    import ray

    from sagaforge.deployments.ingestion.pool import WarmIngestion
    from sagaforge.errors import SagaForgeError

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        ingestion = WarmIngestion(Storage(folder), "pocket-embedder", memory_bytes=2 * 1024**3, deadline_s=300)

        async def seconds(number: int, content: bytes) -> float:
            started = time.perf_counter()
            with contextlib.suppress(SagaForgeError):
                await ingestion.run(
                    "small.md", io.BytesIO(content), world_id=f"small-{number}", license=None, overwrite=False
                )
            return time.perf_counter() - started

        text = b"# Ferry\n\nThe ferry bell of Sallow Weir was cast from brass.\n"
        refused = b"\xff\x00" * 30
        times = {"small_first_s": await seconds(0, text)}
        numbers = range(1, num_uploads + 1)
        times["small_new_s"] = statistics.median([await seconds(number, text) for number in numbers])
        times["small_same_s"] = statistics.median([await seconds(number, text) for number in numbers])
        times["small_refused_s"] = statistics.median([await seconds(number, refused) for number in numbers])
        worker = await ingestion._ready.get()
        process = psutil.Process(await worker.warm.remote())
        times["worker_rss_mib"] = process.memory_info().rss / 1024**2
        times["worker_uss_mib"] = process.memory_full_info().uss / 1024**2
        times["worker_idle_cpu"] = process.cpu_percent(interval=5.0) / 100
        ray.shutdown()
    return {name: round(value, 3) for name, value in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", type=int, default=20, help="small uploads of each kind")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/ingest.json"))
    arguments = parser.parse_args()
    rounds = [asyncio.run(one_round(arguments.chunks)) for _ in range(arguments.rounds)]
    medians = {name: round(statistics.median(each[name] for each in rounds), 3) for name in (rounds or [{}])[0]}
    if rounds:
        medians["reupload_ratio"] = round(medians["reupload_s"] / medians["upload_s"], 3)
    medians |= asyncio.run(small_uploads(arguments.small))
    medians["peak_rss_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({"medians": medians, "rounds": rounds}, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(medians, indent=2))


if __name__ == "__main__":
    main()
