"""Adapters in a batch: each row of a call has its own stack of them, with scales, or none.

y = W x + Σ scale · ΔW x, where ΔW is (alpha / rank) · B A (arXiv 2106.09685), or what DoRA, LoKr and others have in its
place. The products of a row become one by laying their ranks side by side, and the rows of a call one batched product,
padded to the widest; whole matrices are shared by the rows that want the same. Nothing is loaded into the model, so
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
class Pair:
    """A product of two factors. down: [rank, in] or, for a convolution, [rank, in, height, width]; up: [out, rank].
    alpha / rank is in it."""

    down: torch.Tensor
    up: torch.Tensor


@dataclass(frozen=True, eq=False)
class Update:
    """What an adapter adds to one module; None: nothing of that sort.

    pair, dense: to its weight, as a product or whole; gain: its own weight once more, times this for each output
    channel, [out] (DoRA's part); bias: to its bias, [out].
    """

    pair: Pair | None = None
    dense: torch.Tensor | None = None
    gain: torch.Tensor | None = None
    bias: torch.Tensor | None = None

    @property
    def num_bytes(self) -> int:
        pair = (self.pair.down, self.pair.up) if self.pair is not None else ()
        return sum(one.nbytes for one in (*pair, self.dense, self.gain, self.bias) if one is not None)


@dataclass(frozen=True, eq=False)
class Adapter:
    """What an adapter file holds for one pipeline: updates by part (`unet`, `text_encoder`, `text_encoder_2`) and
    module. Compared by identity."""

    name: str
    sha256: str
    updates: Mapping[str, Mapping[str, Update]]

    @property
    def num_bytes(self) -> int:
        return sum(one.num_bytes for part in self.updates.values() for one in part.values())


# Where projections are fused (diffusers' `fuse_qkv_projections`), one module's output holds those of several, in order.
FUSED = {"to_qkv": ("to_q", "to_k", "to_v"), "to_kv": ("to_k", "to_v")}

# A row's adapters with their scales.
Stack = tuple[tuple[Adapter, float], ...]


@dataclass(frozen=True)
class _Mixed:
    """What the stacks of a call come to in one module. pair: of all rows, [rows, …]; gain, bias: [rows, out]; dense:
    numbers of rows, and the weight that they share."""

    pair: Pair | None
    gain: torch.Tensor | None
    bias: torch.Tensor | None
    dense: tuple[tuple[torch.Tensor, torch.Tensor], ...]


class AdapterMixer:
    """Adds adapters to one part of a pipeline while `using` says for whom."""

    def __init__(self, part: str, root: nn.Module) -> None:
        self._part = part
        self._modules: dict[str, Any] = dict(root.named_modules())
        self._hooked: set[str] = set()
        self._stacks: tuple[Stack, ...] = ()
        # What the current stacks come to in each module; made once for all the steps of a batch.
        self._mixed: dict[str, _Mixed | None] = {}
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
            result = output if place is None else output[..., place]
            changed = result + _added(module, args[0], result, mixed, place)
            if place is None:
                return changed
            output[..., place] = changed
            return output

        return add

    def _mix(self, name: str) -> _Mixed | None:
        """The module's updates in all rows, None where there are none."""
        rows: list[list[tuple[Update, float]]] = []
        for stack in self._stacks:
            own = [(adapter.updates.get(self._part, {}).get(name), scale) for adapter, scale in stack]
            rows.append([(update, scale) for update, scale in own if update is not None and scale != 0.0])
        if not any(rows):
            return None
        return _Mixed(
            pair=_side_by_side([[(one.pair, scale) for one, scale in row if one.pair is not None] for row in rows]),
            gain=_summed([[(one.gain, scale) for one, scale in row if one.gain is not None] for row in rows]),
            bias=_summed([[(one.bias, scale) for one, scale in row if one.bias is not None] for row in rows]),
            dense=_shared([[(one.dense, scale) for one, scale in row if one.dense is not None] for row in rows]),
        )


def _side_by_side(rows: Sequence[Sequence[tuple[Pair, float]]]) -> Pair | None:
    """down: [rows, rank, …] and up: [rows, out, rank] of all rows, padded with zeros."""
    if not any(rows):
        return None
    like, _ = next(row[0] for row in rows if row)
    rank = max(sum(len(pair.down) for pair, _ in row) for row in rows)
    down = like.down.new_zeros(len(rows), rank, *like.down.shape[1:])
    up = like.up.new_zeros(len(rows), like.up.shape[0], rank)
    for number, row in enumerate(rows):
        start = 0
        for pair, scale in row:
            end = start + len(pair.down)
            down[number, start:end] = pair.down
            up[number, :, start:end] = pair.up * scale
            start = end
    return Pair(down, up)


def _summed(rows: Sequence[Sequence[tuple[torch.Tensor, float]]]) -> torch.Tensor | None:
    """[rows, out]: each row's sum."""
    if not any(rows):
        return None
    like, _ = next(row[0] for row in rows if row)
    return torch.stack([sum((one * scale for one, scale in row), torch.zeros_like(like)) for row in rows])


def _shared(rows: Sequence[Sequence[tuple[torch.Tensor, float]]]) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    """Whole weights are as large as the module's own: rows of one stack share theirs."""
    numbers: dict[tuple[tuple[int, float], ...], list[int]] = {}
    for number, row in enumerate(rows):
        if row:
            numbers.setdefault(tuple((id(one), scale) for one, scale in row), []).append(number)
    return tuple(
        (torch.tensor(same, device=rows[same[0]][0][0].device), sum(one * scale for one, scale in rows[same[0]]))
        for same in numbers.values()
    )  # type: ignore[return-value]


def _added(
    module: nn.Module, x: torch.Tensor, result: torch.Tensor, mixed: _Mixed, place: slice | None
) -> torch.Tensor | float:
    """What comes to a module's result [rows, …], of its input [rows, …]."""
    is_convolution = x.ndim == 4
    added: Any = 0.0
    if mixed.pair is not None:
        added = _convolved(module, x, mixed.pair) if is_convolution else _multiplied(x, mixed.pair)
    # Channels are the second axis of a convolution's result, and the last of a linear layer's.
    axes = (-1, *[1] * 2) if is_convolution else (*[1] * (result.ndim - 2), -1)
    if mixed.gain is not None:
        own = module.bias if place is None or module.bias is None else module.bias[place]
        plain = result if own is None else result - own.reshape(axes)
        added = added + plain * mixed.gain.reshape(len(mixed.gain), *axes)
    if mixed.bias is not None:
        added = added + mixed.bias.reshape(len(mixed.bias), *axes)
    if mixed.dense:
        whole = torch.zeros_like(result)
        for numbers, weight in mixed.dense:
            whole[numbers] = _applied(module, x[numbers], weight)
        added = added + whole
    return added


def _applied(module: nn.Module, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The module's own operation with another weight."""
    if not isinstance(module, nn.Conv2d):
        return functional.linear(x, weight)
    return functional.conv2d(x, weight, stride=module.stride, padding=module.padding, dilation=module.dilation)


def _multiplied(x: torch.Tensor, mixed: Pair) -> torch.Tensor:
    """[rows, …, in] → [rows, …, out]"""
    flat = x.reshape(x.shape[0], -1, x.shape[-1])
    added = torch.bmm(torch.bmm(flat, mixed.down.transpose(1, 2)), mixed.up.transpose(1, 2))
    return added.reshape(*x.shape[:-1], -1)


def _convolved(module: nn.Module, x: torch.Tensor, mixed: Pair) -> torch.Tensor:
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
