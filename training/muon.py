"""Muon (https://kellerjordan.github.io/posts/muon) for CPUs without bfloat16.

torch's own orthogonalises each update in bfloat16. Where the CPU has no instructions for that, a step of the pocket
LLM takes 15 s of it, and 0.3 s in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from sagaforge.training import runs


class Muon(torch.optim.Muon):
    """torch's Muon with AdamW's size of steps, in the precision that the CPU is good at. For matrices only."""

    def __init__(self, parameters: Any, **options: Any) -> None:
        super().__init__(parameters, adjust_lr_fn="match_rms_adamw", **options)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        if runs.step_dtype() == torch.bfloat16:
            return super().step(closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            momentum = group["momentum"]
            for weights in group["params"]:
                if weights.grad is None:
                    continue
                buffer = self.state[weights].setdefault("momentum_buffer", torch.zeros_like(weights))
                buffer.lerp_(weights.grad, 1 - momentum)
                update = orthogonal(
                    weights.grad.lerp(buffer, momentum), group["ns_coefficients"], group["ns_steps"], group["eps"]
                )
                weights.mul_(1 - group["lr"] * group["weight_decay"])
                weights.add_(update, alpha=-group["lr"] * 0.2 * math.sqrt(max(weights.shape)))
        return loss


def orthogonal(
    matrix: torch.Tensor, coefficients: tuple[float, float, float], steps: int, least: float
) -> torch.Tensor:
    """The nearest matrix with singular values near 1, by Newton and Schulz's iteration in the matrix's own type."""
    a, b, c = coefficients
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=least)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide
