"""Damaged, odd and merely unusual variants of one good adapter file, each with what must come of it: the weights' change
by layer, or the key that the refusal must name."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable

import numpy as np
import torch
from safetensors.torch import save

from tests.faults.adapter_layouts import ALPHA, LAYOUTS, RANK, SGM, Tensors, factors

Expected = dict[str, torch.Tensor] | str
Mutation = Callable[[np.random.Generator], tuple[bytes, Expected]]
MUTATIONS: list[tuple[str, Mutation]] = []
DOWN, UP, ALPHA_KEY = ".lora_down.weight", ".lora_up.weight", ".alpha"


def _whole(scale: float = ALPHA / RANK) -> dict[str, torch.Tensor]:
    return {layer: up @ down * scale for layer, (down, up) in factors().items()}


def _path(layer: str) -> str:
    return "lora_unet_" + layer.replace(".", "_")


def _of_tensors(change: Callable[[Tensors, str, str, np.random.Generator], Expected]) -> Mutation:
    """A mutation that gets the tensors, and a layer with its path."""

    def mutate(random: np.random.Generator) -> tuple[bytes, Expected]:
        tensors = {key: value.clone() for key, value in LAYOUTS["kohya"](factors()).items()}
        layer = list(SGM)[random.integers(len(SGM))]
        expected = change(tensors, _path(layer), layer, random)
        return save({key: value.contiguous() for key, value in tensors.items()}), expected

    MUTATIONS.append((change.__name__, mutate))
    return mutate


def _of_bytes(change: Callable[[bytes, np.random.Generator], tuple[bytes, Expected]]) -> Mutation:
    def mutate(random: np.random.Generator) -> tuple[bytes, Expected]:
        return change(save(LAYOUTS["kohya"](factors())), random)

    MUTATIONS.append((change.__name__, mutate))
    return mutate


# --- good files -----------------------------------------------------------------------------------------------------


@_of_tensors
def other_order(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    keys = list(tensors)
    random.shuffle(keys)
    for key in keys:
        tensors[key] = tensors.pop(key)
    return _whole()


@_of_tensors
def other_alpha(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    alpha = float(random.uniform(0.5, 20))
    tensors[path + ALPHA_KEY] = torch.tensor([alpha])
    return {**_whole(), layer: _whole(alpha / RANK)[layer]}


@_of_tensors
def no_alpha(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    del tensors[path + ALPHA_KEY]
    return {**_whole(), layer: _whole(1.0)[layer]}


@_of_tensors
def other_types(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    for key in tensors:
        tensors[key] = tensors[key].to([torch.float64, torch.float16, torch.bfloat16][random.integers(3)])
    return _whole()


@_of_tensors
def as_one_pixel(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    for end in (DOWN, UP):
        tensors[path + end] = tensors[path + end][:, :, None, None]
    return _whole()


@_of_tensors
def without_a_layer(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    for end in (DOWN, UP, ALPHA_KEY):
        del tensors[path + end]
    return {name: one for name, one in _whole().items() if name != layer}


@_of_tensors
def foreign_zeros(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    tensors |= {"lora_unet_far" + DOWN: torch.ones(2, 3), "lora_unet_far" + UP: torch.zeros(3, 2)}
    return _whole()


# --- bad files ------------------------------------------------------------------------------------------------------


@_of_tensors
def half_a_pair(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    one, other = ((DOWN, UP), (UP, DOWN))[random.integers(2)]
    del tensors[path + one]
    return path + other


@_of_tensors
def only_alpha(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    del tensors[path + DOWN], tensors[path + UP]
    return path + ALPHA_KEY


@_of_tensors
def misspelt(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    key = path + (DOWN, UP, ALPHA_KEY)[random.integers(3)]
    at = int(random.integers(key.rindex("."), len(key)))
    other = key[:at] + "x" + key[at + 1 :]
    tensors[other] = tensors.pop(key)
    return other if other.rpartition(".")[0] != path else path


@_of_tensors
def misspelt_layer(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    for end in (DOWN, UP, ALPHA_KEY):
        tensors[f"{path}9{end}"] = tensors.pop(path + end)
    return f"{path}9"


@_of_tensors
def not_numbers(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    key = path + (DOWN, UP, ALPHA_KEY)[random.integers(3)]
    tensors[key].reshape(-1)[0] = (float("nan"), float("inf"), -float("inf"))[random.integers(3)]
    return key


@_of_tensors
def odd_types(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    key = path + (DOWN, UP)[random.integers(2)]
    kinds = (torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.int32, torch.bool, torch.complex64, torch.uint8)
    tensors[key] = tensors[key].to(kinds[random.integers(len(kinds))])
    return key


@_of_tensors
def odd_alpha(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    odd = (torch.ones(2), torch.ones(2, 2), torch.zeros(1), torch.zeros(0), torch.ones(1).bool())
    tensors[path + ALPHA_KEY] = odd[random.integers(len(odd))]
    return path + ALPHA_KEY


@_of_tensors
def other_rank(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    tensors[path + UP] = tensors[path + UP][:, :2]
    return path


@_of_tensors
def other_width(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    if random.integers(2):
        tensors[path + UP] = torch.ones(33, RANK)
        return path + UP
    tensors[path + DOWN] = torch.ones(RANK, 33)
    return path + DOWN


@_of_tensors
def odd_shapes(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    key = path + (DOWN, UP)[random.integers(2)]
    odd = (torch.tensor(1.0), torch.zeros(0, 32), torch.ones(4), torch.ones(1, 2, 3), torch.ones(1, 1, 1, 1, 1))
    tensors[key] = odd[random.integers(len(odd))]
    return key


@_of_tensors
def swapped_halves(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    tensors[path + UP], tensors[path + DOWN] = tensors[path + DOWN], tensors[path + UP]
    return path


@_of_tensors
def foreign_layer(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    tensors |= {"lora_unet_far" + DOWN: torch.ones(2, 3), "lora_unet_far" + UP: torch.ones(3, 2)}
    return "lora_unet_far"


@_of_tensors
def said_twice(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    key = f"lora_unet_{SGM[layer].replace('.', '_')}"
    tensors |= {key + DOWN: tensors[path + DOWN].clone(), key + UP: tensors[path + UP].clone()}
    return key


@_of_tensors
def broken_dora(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    tensors[f"{path}.dora_scale"] = torch.ones(int(random.integers(2, 30)), 1)
    return f"{path}.dora_scale"


@_of_tensors
def another_kind(tensors: Tensors, path: str, layer: str, random: np.random.Generator) -> Expected:
    end = ("hada_w1_a", "lokr_w1", "diff", "oft_blocks", "a1.weight")[random.integers(5)]
    tensors[f"{path}.{end}"] = torch.ones(2, 2)
    return f"{path}.{end}"


@_of_bytes
def cut_short(body: bytes, random: np.random.Generator) -> tuple[bytes, Expected]:
    cut = body[: int(random.integers(0, len(body)))]
    return cut, "safetensors"


@_of_bytes
def longer(body: bytes, random: np.random.Generator) -> tuple[bytes, Expected]:
    return body + b"\0" * int(random.integers(1, 100)), "damaged"


@_of_bytes
def header_of_any_length(body: bytes, random: np.random.Generator) -> tuple[bytes, Expected]:
    length = (2**63, 2**64 - 1, len(body), 17 * 1024**2)[random.integers(4)]
    return struct.pack("<Q", length) + body[8:], "safetensors"


@_of_bytes
def deep_header(body: bytes, random: np.random.Generator) -> tuple[bytes, Expected]:
    header = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    return struct.pack("<Q", len(header)) + header, "damaged"


@_of_bytes
def overlapping(body: bytes, random: np.random.Generator) -> tuple[bytes, Expected]:
    length = struct.unpack("<Q", body[:8])[0]
    header = json.loads(body[8 : 8 + length])
    names = [name for name in header if name != "__metadata__"]
    one, other = random.choice(names, 2, replace=False)
    header[one]["data_offsets"] = header[other]["data_offsets"]
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body[8 + length :], "damaged"


@_of_bytes
def odd_header(body: bytes, random: np.random.Generator) -> tuple[bytes, Expected]:
    header: bytes = (b"[]", b"{}x", b"null", b'{"a": 5}', b'{"a": {"dtype": "F32"}}', b"\xff\xfe")[random.integers(6)]
    return struct.pack("<Q", len(header)) + header, "safetensors file"


@_of_bytes
def a_pickle(body: bytes, random: np.random.Generator) -> tuple[bytes, Expected]:
    return (b"\x80\x02", b"PK\x03\x04", b"\x80\x04")[random.integers(3)] + body, "pickle"
