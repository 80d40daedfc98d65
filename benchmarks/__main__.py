"""Run the benchmarks: `make bench`, or `python -m benchmarks [NAME …]` for some of them.

Each runs ours and the bare library alternating in one run, prints medians and ratios, and leaves its figures in
benchmarks/results/<name>.json. Nothing here asserts a time: machines differ, ratios less so.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
# What needs the machine to itself comes first.
NAMES = (
    "bench_bundle",
    "bench_v1",
    "bench_ingest",
    "bench_writer",
    "bench_gate",
    "bench_lines",
    "bench_retrieval",
    "bench_diffusion",
    "bench_step_cache",
)


def main() -> int:
    names = sys.argv[1:] or NAMES
    RESULTS.mkdir(exist_ok=True)
    failed = []
    for name in names:
        print(f"\n== {name}", flush=True)
        started = time.time()
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False)
        if done.returncode:
            failed.append(name)
        print(f"   {time.time() - started:.0f} s", flush=True)
    return 1 if failed else 0


def write(name: str, figures: dict[str, object]) -> None:
    """Keep a benchmark's figures, with what they were measured on."""
    RESULTS.mkdir(exist_ok=True)
    about = {"machine": platform.platform(), "python": platform.python_version(), "at": time.strftime("%F %T")}
    (RESULTS / f"{name}.json").write_text(json.dumps({**about, **figures}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
