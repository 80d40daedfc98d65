"""What shallow steps save, and what they cost: the pocket SDXL's pictures for prompts that it never saw.

    python -m benchmarks.bench_step_cache

Beside the cache stands the plainer way to save as much, fewer steps. Quality is told twice: how far pixels are from
the picture that all steps in full make (PSNR), and the share of what prompts name that the reader finds right.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
from benchmarks.__main__ import write

from sagaforge.deployments.diffusion.engine.engine import DiffusionEngine
from sagaforge.deployments.diffusion.engine.loading import load_pipeline
from sagaforge.deployments.diffusion.engine.requests import Event, Generated, GenerationRequest
from sagaforge.profiles import EngineLimits, ImageModel, get_profile
from sagaforge.training.pocket.sdxl import judge, models

NUM_PICTURES, STEPS, ROUNDS = 48, 24, 3
# Name → (steps, of so many steps one in full)
WAYS = {
    "all in full": (STEPS, 1),
    "every second": (STEPS, 2),
    "every third": (STEPS, 3),
    "half the steps": (STEPS // 2, 1),
    "a third of the steps": (STEPS // 3, 1),
}


def main() -> None:
    model: ImageModel = get_profile("pocket").image.model
    pipeline = load_pipeline(model)
    asked = judge.cases(NUM_PICTURES)
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    pictures: dict[str, list[np.ndarray]] = {}
    for _ in range(ROUNDS):
        for name, (steps, full_every) in WAYS.items():
            began = time.perf_counter()
            pictures[name] = paint(pipeline, [prompt for _, prompt, _ in asked], steps, full_every)
            times[name].append(time.perf_counter() - began)
    whole_s = statistics.median(times["all in full"])
    figures: dict[str, Any] = {}
    for name in WAYS:
        took_s = statistics.median(times[name])
        psnr = [_psnr(one, whole) for one, whole in zip(pictures[name], pictures["all in full"], strict=True)]
        right = judge.shares(pictures[name], asked)["all"]
        figures[name] = {
            "seconds": took_s,
            "times_as_fast": whole_s / took_s,
            "psnr": statistics.median(psnr),
            "right": right,
        }
        told = f"{took_s:6.1f} s  {whole_s / took_s:.2f} × as fast  {figures[name]['psnr']:5.1f} dB"
        print(f"{name:22}{told}  right {right:.3f}")
    write("bench_step_cache", {"ways": figures, "pictures": NUM_PICTURES, "rounds": ROUNDS})


def paint(pipeline: Any, prompts: list[str], steps: int, full_every: int) -> list[np.ndarray]:
    engine = DiffusionEngine(pipeline, EngineLimits(full_every=full_every))
    last: dict[int, Event] = {}
    for number, prompt in enumerate(prompts):
        request = GenerationRequest(prompt, models.SIZE, models.SIZE, steps, judge.GUIDANCE, seed=number)
        engine.submit(request, lambda event, number=number: last.__setitem__(number, event))  # type: ignore[misc]
    while engine.step():
        pass
    made = [last[number] for number in range(len(prompts))]
    return [np.asarray(one.image) for one in made if isinstance(one, Generated)]


def _psnr(one: np.ndarray, other: np.ndarray) -> float:
    error = float(np.mean((one.astype(float) - other.astype(float)) ** 2))
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


if __name__ == "__main__":
    main()
