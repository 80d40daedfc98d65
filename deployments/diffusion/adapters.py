"""LoRA adapters in a batch: each row of a call has its own stack of them, with scales, or none.

y = W x + Σ scale · (alpha / rank) · B A x (arXiv 2106.09685). The adapters of a row become one by laying their ranks
side by side, and the rows of a call one batched product, padded to the widest. Nothing is loaded into the model, so
nothing has to be taken out of it, and two requests never see each other's adapters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class LowRank:
    """One module's update. down: [rank, in] or, for a convolution, [rank, in, height, width]; up: [out, rank], with
    alpha / rank in it."""

    down: torch.Tensor
    up: torch.Tensor


@dataclass(frozen=True, eq=False)
class Adapter:
    """What an adapter file holds for one pipeline: updates by part (`unet`, `text_encoder`, `text_encoder_2`) and
    module. Compared by identity."""

    name: str
    sha256: str
    updates: Mapping[str, Mapping[str, LowRank]]

    @property
    def num_bytes(self) -> int:
        tensors = [tensor for part in self.updates.values() for one in part.values() for tensor in (one.down, one.up)]
        return sum(tensor.nbytes for tensor in tensors)


# Where projections are fused (diffusers' `fuse_qkv_projections`), one module's output holds those of several, in order.
FUSED = {"to_qkv": ("to_q", "to_k", "to_v"), "to_kv": ("to_k", "to_v")}

# A row's adapters with their scales.
Stack = tuple[tuple[Adapter, float], ...]


class AdapterMixer:
    """Adds adapters to one part of a pipeline while `using` says for whom."""

    def __init__(self, part: str, root: nn.Module) -> None:
        self._part = part
        self._modules: dict[str, Any] = dict(root.named_modules())
        self._hooked: set[str] = set()
        self._stacks: tuple[Stack, ...] = ()
        # What the current stacks come to in each module; made once for all the steps of a batch.
        self._mixed: dict[str, LowRank | None] = {}
        self._is_on = False

    @property
    def is_on(self) -> bool:
        """Whether calls change something now."""
        return self._is_on

    def touches(self, stack: Stack) -> bool:
        """Whether the stack changes this part at all."""
        return any(self._part in adapter.updates for adapter, _ in stack)

    @contextmanager
    def using(self, stacks: Sequence[Stack]) -> Iterator[None]:
        """Within, row n of each call gets the n-th stack."""
        if not any(self.touches(stack) for stack in stacks):
            yield
            return
        if tuple(stacks) != self._stacks:
            self._stacks, self._mixed = tuple(stacks), {}
        for stack in stacks:
            for adapter, _ in stack:
                self._hook(adapter)
        self._is_on = True
        try:
            yield
        finally:
            self._is_on = False

    def forget(self) -> None:
        """Drop what was kept for the next call of the same stacks."""
        self._stacks, self._mixed = (), {}

    def _hook(self, adapter: Adapter) -> None:
        for name in adapter.updates.get(self._part, {}):
            if name not in self._hooked:
                self._hooked.add(name)
                module, place = self._place(name)
                module.register_forward_hook(self._hook_of(name, place))

    def _place(self, name: str) -> tuple[nn.Module, slice | None]:
        """The module that computes what `name` does, and where in its output that stands (None: it is all of it)."""
        parent, _, last = name.rpartition(".")
        for fused, names in FUSED.items():
            if last in names and f"{parent}.{fused}" in self._modules:
                widths = [self._modules[f"{parent}.{one}"].out_features for one in names]
                at = names.index(last)
                return self._modules[f"{parent}.{fused}"], slice(sum(widths[:at]), sum(widths[: at + 1]))
        return self._modules[name], None

    def _hook_of(self, name: str, place: slice | None) -> Any:
        def add(module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
            if not self._is_on:
                return None
            if name not in self._mixed:
                self._mixed[name] = self._mix(name)
            mixed = self._mixed[name]
            if mixed is None:
                return None
            added = _convolved(module, args[0], mixed) if args[0].ndim == 4 else _multiplied(args[0], mixed)
            if place is None:
                return output + added
            output[..., place] += added
            return output

        return add

    def _mix(self, name: str) -> LowRank | None:
        """down: [rows, rank, …] and up: [rows, out, rank] of all rows, padded with zeros."""
        rows = []
        for stack in self._stacks:
            own = [(adapter.updates.get(self._part, {}).get(name), scale) for adapter, scale in stack]
            rows.append([(update, scale) for update, scale in own if update is not None and scale != 0.0])
        if not any(rows):
            return None
        like, _ = next(row[0] for row in rows if row)
        rank = max(sum(len(update.down) for update, _ in row) for row in rows)
        down = like.down.new_zeros(len(rows), rank, *like.down.shape[1:])
        up = like.up.new_zeros(len(rows), like.up.shape[0], rank)
        for number, row in enumerate(rows):
            start = 0
            for update, scale in row:
                end = start + len(update.down)
                down[number, start:end] = update.down
                up[number, :, start:end] = update.up * scale
                start = end
        return LowRank(down, up)


def _multiplied(x: torch.Tensor, mixed: LowRank) -> torch.Tensor:
    """[rows, …, in] → [rows, …, out]"""
    flat = x.reshape(x.shape[0], -1, x.shape[-1])
    added = torch.bmm(torch.bmm(flat, mixed.down.transpose(1, 2)), mixed.up.transpose(1, 2))
    return added.reshape(*x.shape[:-1], -1)


def _convolved(module: nn.Module, x: torch.Tensor, mixed: LowRank) -> torch.Tensor:
    """[rows, in, height, width] → [rows, out, height, width]; the rows are groups of one convolution."""
    assert isinstance(module, nn.Conv2d)
    num_rows, rank = mixed.down.shape[:2]
    inner = functional.conv2d(
        x.reshape(1, -1, *x.shape[2:]),
        mixed.down.flatten(0, 1),
        stride=module.stride,
        padding=module.padding,
        dilation=module.dilation,
        groups=num_rows,
    )
    height, width = inner.shape[2:]
    return torch.bmm(mixed.up, inner.reshape(num_rows, rank, -1)).reshape(num_rows, -1, height, width)
