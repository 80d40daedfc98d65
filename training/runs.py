"""What training runs share: the clock that they follow, the step in two precisions, and checkpoints that are whole or
not there."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn

MAX_STEP_S = 30.0
MAX_GRADIENT_NORM = 1.0


class Clock:
    """How much of its time a run has spent, over all its sittings.

    A step, with what is saved and scored in it, counts as MAX_STEP_S at most, so that a pause (SIGSTOP to SIGCONT)
    costs the run next to nothing.
    """

    def __init__(self, minutes: float, spent: float) -> None:
        self.spent = spent
        self.is_stopped = False
        self._given = minutes * 60

    @property
    def progress(self) -> float:
        """The share of the time that is spent."""
        return self.spent / self._given

    def steps(self) -> Iterator[float]:
        """The progress at the beginning of each step, until the time is over.

        After SIGTERM or SIGINT the step is finished and is the last, so that the caller can save and leave.
        """
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        began = time.monotonic()
        try:
            while self.progress < 1.0 and not self.is_stopped:
                yield self.progress
                now = time.monotonic()
                self.spent += min(now - began, MAX_STEP_S)
                began = now
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.is_stopped = True


def rate_at(step: int, progress: float, *, warmup_steps: int, decay_share: float) -> float:
    """Share of the full learning rate: warmup by steps, then level, then down to zero over the last of the time.

    progress: 0 to 1, of the time given and not of steps, because on a shared machine the clock is what is known.
    """
    warm = min(1.0, (step + 1) / warmup_steps)
    return warm * max(0.0, min(1.0, (1.0 - progress) / decay_share))


def full_rates(optimizers: Sequence[torch.optim.Optimizer]) -> list[list[float]]:
    """The rates that the optimizers were made with, for `take_step`: a checkpoint brings those of its own step."""
    return [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]


def step_dtype() -> torch.dtype:
    """What a training step computes in: bfloat16 where the CPU multiplies in it, which AMX makes nearly twice as fast;
    float32 elsewhere, where bfloat16 is emulated and 50 times slower."""
    has_bfloat16 = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if has_bfloat16 else torch.float32


def take_gradients(master: nn.Module, fast: nn.Module) -> None:
    """Move the gradients of the copy that computes (see `step_dtype`) to the float32 weights that learn."""
    for slow, quick in zip(master.parameters(), fast.parameters(), strict=True):
        slow.grad = None if quick.grad is None else quick.grad.float()
        quick.grad = None


def step_at(
    model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], rates: Sequence[Sequence[float]], share: float
) -> None:
    """Step a model's weights by their gradients at that share of the full rates; the gradients are used up."""
    nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
    for optimizer, full in zip(optimizers, rates, strict=True):
        for group, rate in zip(optimizer.param_groups, full, strict=True):
            group["lr"] = rate * share
        optimizer.step()
    model.zero_grad()


def take_step(
    master: nn.Module,
    fast: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    rates: Sequence[Sequence[float]],
    share: float,
) -> None:
    """Step the master's weights at that share of the full rates, and copy them to `fast`."""
    step_at(master, optimizers, rates, share)
    with torch.no_grad():
        for slow, quick in zip(master.parameters(), fast.parameters(), strict=True):
            quick.copy_(slow)


def save_whole(path: Path, body: dict[str, Any]) -> None:
    """Write beside the old checkpoint, then replace it: a killed run leaves one of the two."""
    torch.save(body, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)
