"""Reads LoRA files: safetensors in the layouts of peft, diffusers and kohya.

A file is data from strangers. It is read without running anything in it, measured against the model before a number of
it is used, and what it holds that the model has no place for is reported.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.utils.state_dict_utils import convert_state_dict_to_peft, convert_unet_state_dict_to_peft
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from sagaforge.deployments.diffusion.adapters import Adapter, LowRank
from sagaforge.deployments.diffusion.devices import working_device
from sagaforge.errors import InvalidInput, UnsupportedType

PARTS = ("text_encoder_2", "text_encoder", "unet")
MAX_RANK = 512
MAX_HEADER_BYTES = 16 * 1024**2
KOHYA_PREFIXES = {
    "lora_unet_": "unet",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te_": "text_encoder",
}
KOHYA_ENDINGS = (".lora_down.weight", ".lora_up.weight", ".alpha")
DOWN, UP = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class Loaded:
    """An adapter, and which of its file's keys found their place in the model and which did not."""

    adapter: Adapter
    matched: tuple[str, ...]
    unmatched: tuple[str, ...]


@dataclass
class _Update:
    """One module's tensors as the file has them, and the keys that they stood under."""

    down: torch.Tensor | None = None
    up: torch.Tensor | None = None
    alpha: float | None = None
    keys: tuple[str, ...] = ()


def read_adapter(name: str, body: bytes, pipeline: Any) -> Loaded:
    """Read a LoRA file for a pipeline of diffusers.

    Raises:
        UnsupportedType: it is not safetensors, or an adapter of another kind than LoRA.
        InvalidInput: it is damaged, holds what is not a number, or does not fit the model; the message says which key.
    """
    tensors, metadata = _tensors(body)
    modules = {part: dict(root.named_modules()) for part in PARTS if (root := getattr(pipeline, part, None))}
    updates, unmatched = _by_module(tensors, metadata, pipeline, modules)
    placed: dict[str, dict[str, LowRank]] = {}
    matched: list[str] = []
    for (part, module_name), update in updates.items():
        module = modules.get(part, {}).get(module_name)
        if not isinstance(module, nn.Linear | nn.Conv2d) or update.down is None or update.up is None:
            unmatched += update.keys
            continue
        placed.setdefault(part, {})[module_name] = _low_rank(
            update, module, f"{part}.{module_name}", working_device(getattr(pipeline, part))
        )
        matched += update.keys
    if not placed:
        example = f", such as {unmatched[0]}" if unmatched else ""
        raise InvalidInput(
            f"This file matches nothing in the model ({len(unmatched)} keys{example}): it was made for another one."
        )
    adapter = Adapter(name, hashlib.sha256(body).hexdigest(), placed)
    return Loaded(adapter, tuple(sorted(matched)), tuple(sorted(unmatched)))


def _tensors(body: bytes) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors, and the texts that stand beside them."""
    if body[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise UnsupportedType(
            "This is a pickle (.ckpt, .pt, .bin), which can run code when it is read. Send safetensors."
        )
    length = struct.unpack("<Q", body[:8])[0] if len(body) >= 8 else MAX_HEADER_BYTES + 1
    if length > min(MAX_HEADER_BYTES, len(body) - 8):
        raise UnsupportedType("This is not a safetensors file, or it was cut short.")
    try:
        header = json.loads(body[8 : 8 + length])
        tensors = load(body)
    except (SafetensorError, ValueError) as exc:
        raise InvalidInput(f"This safetensors file is damaged: {exc}") from exc
    metadata = header.get("__metadata__") or {}
    return tensors, {str(key): str(value) for key, value in metadata.items()}


def _by_module(
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str],
    pipeline: Any,
    modules: Mapping[str, Mapping[str, nn.Module]],
) -> tuple[dict[tuple[str, str], _Update], list[str]]:
    """Updates by part and module, and the keys that are of no known layout."""
    if any(key.startswith(tuple(KOHYA_PREFIXES)) for key in tensors):
        return _of_kohya(tensors, pipeline, modules)
    updates: dict[tuple[str, str], _Update] = {}
    unmatched: list[str] = []
    alphas = _alphas(metadata)
    for key, tensor in tensors.items():
        part, path = _part_of(key)
        converted = _peft_key(part, path)
        name = converted.removesuffix(DOWN).removesuffix(UP)
        if name == converted:
            unmatched.append(key)
            continue
        name = _known(name, modules.get(part, {}))
        update = updates.setdefault((part, name), _Update())
        update.keys += (key,)
        if converted.endswith(DOWN):
            update.down = tensor
        else:
            update.up = tensor
        update.alpha = alphas(part, name)
    return updates, unmatched


def _part_of(key: str) -> tuple[str, str]:
    """The part of the pipeline that a key of peft's or diffusers' layout is about, and the rest of the key."""
    key = key.removeprefix("base_model.model.")
    for part in PARTS:
        if key.startswith(f"{part}."):
            return part, key.removeprefix(f"{part}.")
    return "unet", key


def _peft_key(part: str, path: str) -> str:
    """A key as peft spells it: "….to_q.lora_A.weight"."""
    convert = convert_unet_state_dict_to_peft if part == "unet" else _text_to_peft
    (converted,) = convert({path: torch.empty(0)})
    return str(converted).replace(".processor.", ".").replace(".default.weight", ".weight")


def _text_to_peft(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    (key,) = state
    return state if ".lora_A." in key or ".lora_B." in key else convert_state_dict_to_peft(state)


def _known(name: str, modules: Mapping[str, nn.Module]) -> str:
    """The module's name in this version of the model: CLIP's text encoders have lost, or kept, a level of theirs."""
    shorter, longer = name.removeprefix("text_model."), f"text_model.{name}"
    return next((one for one in (name, shorter, longer) if one in modules), name)


def _alphas(metadata: Mapping[str, str]) -> Any:
    """What diffusers and peft write beside the tensors: (part, module) → alpha, None where nothing is said."""
    try:
        config = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    except ValueError:
        config = {}

    def alpha(part: str, name: str) -> float | None:
        for prefix in (f"{part}.", ""):
            patterns = config.get(f"{prefix}alpha_pattern") or {}
            value = patterns.get(name, config.get(f"{prefix}lora_alpha"))
            if isinstance(value, int | float):
                return float(value)
        return None

    return alpha


def _of_kohya(
    tensors: Mapping[str, torch.Tensor], pipeline: Any, modules: Mapping[str, Mapping[str, nn.Module]]
) -> tuple[dict[tuple[str, str], _Update], list[str]]:
    """kohya's layout writes a module's path with underscores; for SDXL often in the names of Stability's own code."""
    from diffusers.loaders.lora_conversion_utils import _maybe_map_sgm_blocks_to_diffusers

    usable = {key: tensor for key, tensor in tensors.items() if key.endswith(KOHYA_ENDINGS)}
    unmatched = [key for key in tensors if key not in usable]
    if not any(key.endswith(KOHYA_ENDINGS[0]) for key in usable):
        raise UnsupportedType("This is an adapter of another kind than LoRA (LoHa, LoKr, …). Convert it to LoRA first.")
    paths = {part: {name.replace(".", "_"): name for name in known} for part, known in modules.items()}
    updates: dict[tuple[str, str], _Update] = {}
    for key, tensor in usable.items():
        prefix = next((prefix for prefix in KOHYA_PREFIXES if key.startswith(prefix)), None)
        if prefix is None:
            unmatched.append(key)
            continue
        part = KOHYA_PREFIXES[prefix]
        path, _, ending = key.removeprefix(prefix).partition(".")
        if part == "unet" and path not in paths["unet"]:
            try:
                (mapped,) = _maybe_map_sgm_blocks_to_diffusers({key: tensor}, pipeline.unet.config)
            except (ValueError, IndexError, KeyError):
                unmatched.append(key)
                continue
            path = _resnet_spelling(str(mapped).removeprefix(prefix).partition(".")[0])
        name = next(
            (paths[part][one] for one in (path, path.removeprefix("text_model_")) if one in paths.get(part, {})), ""
        )
        update = updates.setdefault((part, name or path), _Update())
        update.keys += (key,)
        if ending == "alpha":
            update.alpha = float(tensor)
        elif ending == "lora_down.weight":
            update.down = tensor
        else:
            update.up = tensor
    return updates, unmatched


def _resnet_spelling(path: str) -> str:
    """Stability's names of a residual block's layers, as diffusers has them."""
    for theirs, ours in (
        ("in_layers_2", "conv1"),
        ("out_layers_3", "conv2"),
        ("emb_layers_1", "time_emb_proj"),
        ("skip_connection", "conv_shortcut"),
    ):
        path = path.replace(theirs, ours)
    return path


def _low_rank(update: _Update, module: nn.Linear | nn.Conv2d, where: str, device: torch.device) -> LowRank:
    """The update as the module needs it. Raises `InvalidInput` where it does not fit."""
    down, up = update.down, update.up
    assert down is not None
    assert up is not None
    rank = down.shape[0] if down.ndim else 0
    inputs = tuple(module.weight.shape[1:])
    if isinstance(module, nn.Linear) and down.ndim == 4:  # kohya stores some linear layers as 1 × 1 convolutions
        down, up = down.flatten(1), up.flatten(1)
    elif isinstance(module, nn.Conv2d) and down.ndim == 2 and inputs[1:] == (1, 1):
        down = down[:, :, None, None]
    if isinstance(module, nn.Conv2d) and module.groups != 1:
        raise InvalidInput(f"{where}: an adapter for a grouped convolution is not supported.")
    up = up.flatten(1) if up.ndim == 4 and tuple(up.shape[2:]) == (1, 1) else up
    expected = (rank, *inputs), (module.weight.shape[0], rank)
    if (tuple(down.shape), tuple(up.shape)) != expected:
        found = f"{tuple(down.shape)} and {tuple(up.shape)}"
        raise InvalidInput(
            f"{where}: the adapter is shaped {found}, the model needs {expected[0]} and {expected[1]}. It was made for "
            "another model."
        )
    if not 1 <= rank <= MAX_RANK:
        raise InvalidInput(f"{where}: rank {rank} is not within 1 to {MAX_RANK}.")
    alpha = update.alpha if update.alpha is not None else float(rank)
    scaled = up.float() * (alpha / rank)
    if not (torch.isfinite(down).all() and torch.isfinite(scaled).all()):
        raise InvalidInput(f"{where}: the adapter holds values that are not numbers.")
    dtype = module.weight.dtype
    return LowRank(down.to(device=device, dtype=dtype).contiguous(), scaled.to(device=device, dtype=dtype).contiguous())
