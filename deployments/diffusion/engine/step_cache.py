"""A UNet that does not look deep at every step.

Between neighbouring steps the deep layers of a UNet say almost the same (DeepCache, arXiv 2312.00858). A shallow step
runs the outermost blocks alone, on what the deep ones said at the step before. benchmarks/bench_step_cache.py tells
what that costs in quality, and what it saves.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class StepCache:
    """Two ways through one UNet of diffusers; weights, and hooks on layers, are the same for both."""

    def __init__(self, unet: Any) -> None:
        self._unet = unet
        self._seen: torch.Tensor | None = None
        last = unet.up_blocks[-1]
        last.register_forward_pre_hook(self._note, with_kwargs=True)
        self._resumed = _Resumed(last)
        first = _shared(unet.down_blocks[0])
        first.downsamplers = None  # what it makes is for the deeper ones
        self._shallow = _shared(unet)
        self._shallow.down_blocks = nn.ModuleList([first])
        self._shallow.mid_block = None
        self._shallow.up_blocks = nn.ModuleList([self._resumed])

    def full(self, *args: Any, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """What the UNet predicts, and what its deep layers said, both for each row."""
        predicted = self._unet(*args, **options, return_dict=False)[0]
        deep, self._seen = self._seen, None
        assert deep is not None, "the last block was called"
        return predicted, deep

    def shallow(self, deep: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        """What it predicts by its outermost blocks, on what the deep ones said before."""
        self._resumed.deep = deep
        try:
            return self._shallow(*args, **options, return_dict=False)[0]
        finally:
            self._resumed.deep = None

    def _note(self, module: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        if self._resumed.deep is None:
            self._seen = options["hidden_states"]


class _Resumed(nn.Module):
    """The last block, with the deep layers' word in place of what came before it."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.resnets: Any = block.resnets
        self.has_cross_attention = getattr(block, "has_cross_attention", False)
        self.deep: torch.Tensor | None = None

    def forward(self, hidden_states: torch.Tensor, **options: Any) -> torch.Tensor:
        return self.block(hidden_states=self.deep, **options)


def _shared(module: Any) -> Any:
    """A module of its own that has the same children."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin
