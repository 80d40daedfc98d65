"""From a layer's tensors in a file to its update: LoRA (also LoCon and Tucker), LoHa, LoKr, plain differences, DoRA.

Whatever the kind, a product of factors is brought to one pair, up · down, and that to a whole matrix where the pair
would be larger. [out, …] and [rank, in, …] below: a linear layer has nothing in place of the dots, a convolution
height and width.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from peft.utils.integrations import dequantize_module_weight
from torch import nn

from sagaforge.deployments.diffusion.adapters.groups import WITH_ANY, Group
from sagaforge.deployments.diffusion.adapters.mixer import Pair, Update
from sagaforge.deployments.diffusion.adapters.safetensors_file import Alphas, shown
from sagaforge.errors import InvalidInput

MAX_RANK = 512


def update_of(group: Group, module: nn.Module, part: str, layer: str, told: Alphas, device: torch.device) -> Update:
    """The update as the module needs it, in its type and on `device`. Raises `InvalidInput` where it does not fit."""
    if not isinstance(module, nn.Linear | nn.Conv2d):
        raise InvalidInput(f"{group.key}: a {type(module).__name__} can't have an adapter here.")
    if isinstance(module, nn.Conv2d) and module.groups != 1:
        raise InvalidInput(f"{group.key}: an adapter for a grouped convolution is not supported.")
    for role, tensor in group.tensors.items():
        if role not in (*WITH_ANY, "up_bias") and tensor.ndim not in (2, 4):
            raise InvalidInput(
                f"{shown(group.keys[role])} is no matrix and no convolution: its shape is {tuple(tensor.shape)}."
            )
    shape = tuple(module.weight.shape)
    tensors = group.tensors
    alpha = _alpha(group)
    pair, dense, rank = _product(group, shape)
    scale = 1.0 if rank is None else told.scale(part, layer, rank) if alpha is None else alpha / rank
    if rank is None and alpha is not None and "diff" in tensors:
        raise InvalidInput(f"{shown(group.keys['alpha'])}: a plain difference has no alpha.")
    if pair is not None:
        pair = Pair(pair.down, pair.up * scale)
        if pair.up.shape[1] * (shape[0] + math.prod(shape[1:])) >= math.prod(shape):
            dense = _multiplied(pair)
            pair = None
    bias = _channels(group, "up_bias", shape[0], scale) if "up_bias" in tensors else None
    if "diff_b" in tensors:
        own = _channels(group, "diff_b", shape[0])
        bias = own if bias is None else bias + own
    gain = None
    if "magnitude" in tensors:
        if "up_bias" in tensors:
            raise InvalidInput(f"{shown(group.keys['up_bias'])}: a bias with DoRA is not supported.")
        pair, dense, gain = _dora(group, module, pair, dense)
    dtype = module.weight.dtype

    def placed(tensor: torch.Tensor) -> torch.Tensor:
        made = tensor.to(device=device, dtype=dtype).contiguous()
        if not torch.isfinite(made).all():
            raise InvalidInput(f"{group.key} is too large for this model's {dtype}: it becomes infinite.")
        return made

    return Update(
        pair=Pair(placed(pair.down), placed(pair.up)) if pair is not None else None,
        dense=placed(dense) if dense is not None else None,
        gain=placed(gain) if gain is not None else None,
        bias=placed(bias) if bias is not None else None,
    )


def _alpha(group: Group) -> float | None:
    alpha = group.tensors.get("alpha")
    if alpha is None:
        return None
    key = shown(group.keys["alpha"])
    if alpha.numel() != 1:
        raise InvalidInput(f"{key} is one number; this one has the shape {tuple(alpha.shape)}.")
    if (value := float(alpha.reshape(()))) == 0.0:
        raise InvalidInput(
            f"{key} is 0: to some programs that is no update, to others an alpha like the rank. Write the one you mean."
        )
    return value


def _product(group: Group, shape: tuple[int, ...]) -> tuple[Pair | None, torch.Tensor | None, int | None]:
    """The update without its scale, as a pair or as a whole, and the rank that alpha is divided by (None: by none)."""
    tensors = group.tensors
    if "diff" in tensors:
        diff = tensors["diff"]
        if _bare(diff.shape) != _bare(shape):
            raise _misfit(group, "diff", shape)
        return None, diff.reshape(shape), None
    if "down" in tensors:
        pair = _pair(group, ("up", "down", "mid"), shape[0], shape[1:])
        rank = len(tensors["down"])
        if rank > MAX_RANK:
            raise InvalidInput(f"{shown(group.keys['down'])}: rank {rank} is not within 1 to {MAX_RANK}.")
        return pair, None, rank
    if "hada_w1_a" in tensors:
        one, other = (
            _pair(group, (f"hada_w{n}_a", f"hada_w{n}_b", f"hada_t{n}"), shape[0], shape[1:], is_lycoris=True)
            for n in (1, 2)
        )
        up = (one.up[:, :, None] * other.up[:, None, :]).flatten(1)
        down = (one.down[:, None] * other.down[None, :]).flatten(0, 1)
        return Pair(down, up), None, len(tensors["hada_w1_b"])
    if any(role.startswith("lokr") for role in tensors):
        return _kronecker(group, shape)
    return None, None, None


def _kronecker(group: Group, shape: tuple[int, ...]) -> tuple[Pair, None, int | None]:
    tensors = group.tensors
    first, last = ("lokr_w1", "lokr_w1") if "lokr_w1" in tensors else ("lokr_w1_a", "lokr_w1_b")
    outs, ins = tensors[first].shape[0], tensors[last].shape[1]
    if shape[0] % outs or shape[1] % ins:
        raise _misfit(group, first, shape)
    left = _pair(group, ("lokr_w1_a", "lokr_w1_b", ""), outs, (ins,), whole="lokr_w1")
    right = _pair(
        group, ("lokr_w2_a", "lokr_w2_b", "lokr_t2"), shape[0] // outs, (shape[1] // ins, *shape[2:]),
        whole="lokr_w2", is_lycoris=True,
    )  # fmt: skip
    up = torch.kron(left.up.contiguous(), right.up.contiguous())
    core = right.down.reshape(*right.down.shape[:2], -1)
    down = left.down[:, None, :, None, None] * core[None, :, None]
    # LyCORIS takes no account of alpha where both are whole.
    rank = next((len(tensors[half]) for half in ("lokr_w2_b", "lokr_w1_b") if half in tensors), None)
    return Pair(down.reshape(up.shape[1], *shape[1:]), up), None, rank


def _pair(
    group: Group,
    roles: tuple[str, str, str],
    outs: int,
    ins: tuple[int, ...],
    *,
    whole: str | None = None,
    is_lycoris: bool = False,
) -> Pair:
    """The pair of up, down and perhaps a core between them (Tucker), or of one whole matrix; checked against the layer.

    is_lycoris: with a core its up is [rank, out] and its core [rank of up's, rank of down's, …], as LyCORIS has them.
    """
    up_role, down_role, core_role = roles
    tensors = group.tensors
    if whole is not None and whole in tensors:
        matrix = tensors[whole]
        if _bare(matrix.shape) not in (_bare((outs, *ins)), _bare((outs, math.prod(ins)))):
            raise _misfit(group, whole, (outs, *ins))
        matrix = matrix.reshape(outs, *ins)
        if outs <= math.prod(ins):
            return Pair(matrix, torch.eye(outs))
        return Pair(torch.eye(math.prod(ins)).reshape(-1, *ins), matrix.flatten(1))
    up, down, core = tensors[up_role], tensors[down_role], tensors.get(core_role)
    if core is None:
        if up.shape[1] != down.shape[0] or math.prod(up.shape) != outs * down.shape[0]:
            if up.shape[0] == outs:
                raise InvalidInput(
                    f"{shown(group.keys[up_role])} is of rank {up.shape[1]} and {shown(group.keys[down_role])} of rank "
                    f"{down.shape[0]}: they are no pair."
                )
            raise _misfit(group, up_role, (outs, down.shape[0]))
        if _bare(down.shape) not in (_bare((len(down), *ins)), _bare((len(down), math.prod(ins)))):
            raise _misfit(group, down_role, (len(down), *ins))
        return Pair(down.reshape(-1, *ins), up.reshape(outs, -1))
    if is_lycoris:
        up = up.transpose(0, 1)
    up, down = up.flatten(1), down.flatten(1)
    if core.shape != (up.shape[1], len(down), *ins[1:]) or len(up) != outs or down.shape[1] != ins[0]:
        raise _misfit(group, core_role, (outs, *ins))
    return Pair(torch.einsum("rs...,si->ri...", core, down), up)


def _bare(shape: Collection[int]) -> tuple[int, ...]:
    """A shape without the ones at its end: some write a matrix as a convolution of one pixel."""
    bare = list(shape)
    while len(bare) > 1 and bare[-1] == 1:
        bare.pop()
    return tuple(bare)


def _channels(group: Group, role: str, outs: int, scale: float = 1.0) -> torch.Tensor:
    if (tensor := group.tensors[role]).numel() != outs:
        raise _misfit(group, role, (outs,))
    return tensor.flatten() * scale


def _misfit(group: Group, role: str, expected: tuple[int, ...]) -> InvalidInput:
    return InvalidInput(
        f"{shown(group.keys[role])} has the shape {tuple(group.tensors[role].shape)}, which does not fit this model "
        f"({' × '.join(map(str, expected))}). It was made for another model."
    )


def _multiplied(pair: Pair) -> torch.Tensor:
    return torch.einsum("or,r...->o...", pair.up, pair.down)


def _dora(
    group: Group, module: nn.Linear | nn.Conv2d, pair: Pair | None, dense: torch.Tensor | None
) -> tuple[Pair | None, torch.Tensor | None, torch.Tensor | None]:
    """DoRA (arXiv 2402.09353): W' = magnitude · (W + ΔW) / |W + ΔW|, as pair, whole and gain (the part of W' - W that
    is W with each output channel multiplied).

    peft's norms are of output channels ([out], or [1, out, 1, 1]); those of LyCORIS and OneTrainer, whose key is
    `dora_scale`, are of output channels ([out, 1, …]) or of input channels ([1, in, …]).
    """
    magnitude = group.tensors["magnitude"]
    weight = dequantize_module_weight(module).detach().float().cpu()
    outs, ins = weight.shape[:2]
    changed = weight + (dense if dense is not None else _multiplied(pair) if pair is not None else 0.0)
    is_of_inputs = "dora_scale" in group.keys["magnitude"] and magnitude.ndim > 1 and magnitude.shape[0] == 1
    if magnitude.numel() != (ins if is_of_inputs else outs):
        raise _misfit(group, "magnitude", (outs, 1))
    if is_of_inputs:
        gain = magnitude.flatten() / changed.transpose(0, 1).flatten(1).norm(dim=1)
        return None, changed * gain.reshape(1, -1, *[1] * (changed.ndim - 2)) - weight, None
    gain = magnitude.flatten() / changed.flatten(1).norm(dim=1)
    if pair is not None:
        pair = Pair(pair.down, pair.up * gain[:, None])
    if dense is not None:
        dense = dense * gain.reshape(-1, *[1] * (dense.ndim - 1))
    return pair, dense, gain - 1.0
