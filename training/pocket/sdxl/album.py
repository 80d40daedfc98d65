"""The drawings that a run learns from, on disk: drawn once by all cores, read as one array.

    PYTHONPATH=src python -m sagaforge.training.pocket.sdxl.album --run /tmp/pocket_sdxl_run --count 40000

A folder of them holds `pictures.npy`, uint8 [count, 128, 128, 3], and `seeds.json`, whose seeds give the scenes again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from sagaforge.training.pocket.sdxl.drawing import draw
from sagaforge.training.pocket.sdxl.models import SIZE
from sagaforge.training.pocket.sdxl.scenes import Scene, draw_scene, draw_scenes

CHUNK = 64


class Album:
    """Drawings of seen scenes and the scenes themselves."""

    def __init__(self, folder: Path) -> None:
        self.pictures: np.ndarray = np.load(folder / "pictures.npy", mmap_mode="r")
        self.scenes: list[Scene] = [draw_scene(seed) for seed in json.loads((folder / "seeds.json").read_text())]

    def __len__(self) -> int:
        return len(self.scenes)


def make_album(folder: Path, count: int, seed: int, processes: int) -> None:
    """Draw `count` scenes that training may see; does nothing where they are drawn already."""
    if (folder / "seeds.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    seeds = [scene.seed for scene in itertools.islice(draw_scenes(seed), count)]
    pictures = np.lib.format.open_memmap(
        folder / "pictures.npy", mode="w+", dtype=np.uint8, shape=(count, SIZE, SIZE, 3)
    )
    began = time.time()
    with get_context("spawn").Pool(processes) as pool:
        for number, drawn in enumerate(pool.imap(_draw_chunk, _chunks(seeds))):
            pictures[number * CHUNK : number * CHUNK + len(drawn)] = drawn
            if number % 20 == 0:
                print(f"{number * CHUNK + len(drawn)} of {count} drawn, {time.time() - began:.0f} s", flush=True)
    pictures.flush()
    (folder / "seeds.json").write_text(json.dumps(seeds))


def _chunks(seeds: list[int]) -> Iterator[list[int]]:
    return (seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK))


def _draw_chunk(seeds: list[int]) -> np.ndarray:
    return np.stack([draw(draw_scene(seed), SIZE) for seed in seeds])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--count", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    make_album(arguments.run / "album", arguments.count, arguments.seed, arguments.processes)


if __name__ == "__main__":
    main()
