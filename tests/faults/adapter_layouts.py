"""One and the same update of the tiny SDXL in the layouts that trainers write, and what it does to the weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from safetensors.torch import save

from sagaforge.deployments.diffusion.adapters.mixer import Update

# Layers of the tiny SDXL, with the names that Stability's own code has for them: written down by hand.
SGM = {
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q": "input_blocks.3.1.transformer_blocks.0.attn1.to_q",
    "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k": "input_blocks.3.1.transformer_blocks.1.attn2.to_k",
    "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0": "middle_block.1.transformer_blocks.0.attn1.to_out.0",
    "mid_block.attentions.0.transformer_blocks.1.attn1.to_v": "middle_block.1.transformer_blocks.1.attn1.to_v",
    "up_blocks.0.attentions.1.transformer_blocks.0.attn2.to_v": "output_blocks.1.1.transformer_blocks.0.attn2.to_v",
}
RANK, ALPHA = 4, 6.0
Tensors = dict[str, torch.Tensor]


def factors(seed: int = 0) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Down and up of each layer, of numbers that bfloat16 holds exactly."""
    random = torch.Generator().manual_seed(seed)
    made = {}
    for layer in SGM:
        inputs = 64 if ".attn2." in layer and not layer.endswith("to_q") else 32
        pair = [torch.randn(shape, generator=random).bfloat16().float() for shape in ((RANK, inputs), (32, RANK))]
        made[layer] = (pair[0] / 2, pair[1] / 2)
    return made


def _kohya(name: str) -> str:
    return "lora_unet_" + name.replace(".", "_")


def _written(
    path: Callable[[str], str],
    down: str = ".lora_down.weight",
    up: str = ".lora_up.weight",
    alpha: str | None = ".alpha",
) -> Callable[[Mapping[str, tuple[torch.Tensor, torch.Tensor]]], Tensors]:
    def write(pairs: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> Tensors:
        out: Tensors = {}
        for layer, (first, second) in pairs.items():
            out |= {path(layer) + down: first, path(layer) + up: second}
            if alpha is not None:
                out[path(layer) + alpha] = torch.tensor(ALPHA)
        return out

    return write


def _processor(layer: str) -> str:
    """Where diffusers' first attention processors kept a projection's adapter."""
    return "unet." + layer.replace(".to_", ".processor.to_").removesuffix(".0")


LAYOUTS: dict[str, Callable[[Mapping[str, tuple[torch.Tensor, torch.Tensor]]], Tensors]] = {
    "kohya": _written(_kohya),
    "kohya sgm": _written(lambda layer: _kohya(SGM[layer])),
    "diffusers": _written("unet.{}".format, ".lora_A.weight", ".lora_B.weight"),
    "old diffusers": _written("unet.{}".format, ".lora.down.weight", ".lora.up.weight"),
    "processors": _written(_processor, "_lora.down.weight", "_lora.up.weight"),
    "peft": _written("base_model.model.{}".format, ".lora_A.weight", ".lora_B.weight"),
    "peft named": _written("base_model.model.{}".format, ".lora_A.default.weight", ".lora_B.default.weight", None),
    "comfyui": _written(lambda layer: f"diffusion_model.{SGM[layer]}", ".lora_A.weight", ".lora_B.weight"),
    "onetrainer": _written(lambda layer: f"unet.{layer}", ".lora_down.weight", ".lora_up.weight"),
}


def file_of(layout: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> bytes:
    """The update as a file."""
    tensors = {key: value.to(dtype).contiguous() for key, value in LAYOUTS[layout](factors(seed)).items()}
    config = json.dumps({"lora_alpha": ALPHA, "r": RANK})
    return save(tensors, {"lora_adapter_metadata": config} if layout == "peft named" else None)


def changed_weight(module: Any, update: Update, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor | float]:
    """A module's weight and bias with an update in them."""
    weight = module.weight.detach()
    whole = torch.zeros_like(weight)
    if update.pair is not None:
        whole += torch.einsum("or,r...->o...", update.pair.up, update.pair.down)
    if update.dense is not None:
        whole += update.dense
    if update.gain is not None:
        whole += update.gain.reshape(-1, *[1] * (weight.ndim - 1)) * weight
    bias = 0.0 if module.bias is None else module.bias.detach()
    return weight + scale * whole, bias if update.bias is None else bias + scale * update.bias
