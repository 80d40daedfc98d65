"""What training runs share: a rate that follows the clock, and checkpoints that are whole or not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def rate_at(step: int, progress: float, *, warmup_steps: int, decay_share: float) -> float:
    """Share of the full learning rate: warmup by steps, then level, then down to zero over the last of the time.

    progress: 0 to 1, of the time given and not of steps, because on a shared machine the clock is what is known.
    """
    warm = min(1.0, (step + 1) / warmup_steps)
    return warm * max(0.0, min(1.0, (1.0 - progress) / decay_share))


def save_whole(path: Path, body: dict[str, Any]) -> None:
    """Write beside the old checkpoint, then replace it: a killed run leaves one of the two."""
    torch.save(body, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)
