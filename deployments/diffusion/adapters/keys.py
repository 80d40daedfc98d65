"""What the keys of adapter files mean. Trainers write one layer in many ways; here all of them lead to it.

A key is the path of a layer and a role. Paths differ in a prefix for the part, in dots or underscores, and in whose
names they use: diffusers', or those of Stability's own code ("sgm"). Without dots each layer has few names, so a table
of them, made from the model at hand, is complete.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

PARTS = ("unet", "text_encoder", "text_encoder_2")
# Without dots; of several that fit, the first.
PREFIXES = (
    ("lora_unet_", "unet"),
    ("lora_te1_", "text_encoder"),
    ("lora_te2_", "text_encoder_2"),
    ("lora_te_", "text_encoder"),
    ("text_encoder_2_", "text_encoder_2"),
    ("text_encoder_", "text_encoder"),
    ("clip_l_", "text_encoder"),
    ("clip_g_", "text_encoder_2"),
    ("model_diffusion_model_", "unet"),
    ("diffusion_model_", "unet"),
    ("lycoris_", "unet"),
    ("unet_", "unet"),
    ("", "unet"),
)
# peft may put an adapter's name behind a tensor's.
NAMED = r"(?:\.[^.]+)?"
ROLES = (
    re.compile(rf"(?P<path>.+?)[._]lora(?:_linear_layer)?[._](?P<half>down|up|mid|A|B){NAMED}\.(?P<of>weight|bias)"),
    re.compile(rf"(?P<path>.+?)\.(?P<magnitude>dora_scale|lora_magnitude_vector)(?:{NAMED}\.weight)?"),
    re.compile(r"(?P<path>.+?)(?:[._]lora)?\.(?P<alpha>alpha)"),
    re.compile(r"(?P<path>.+?)\.(?P<role>hada_(?:w[12]_[ab]|t[12])|lokr_(?:w[12](?:_[ab])?|t2)|diff|diff_b)"),
)
HALVES = {"A": "down", "B": "up"}
# Keys that are known, and why they can't be used.
UNSUPPORTED = (
    (re.compile(r".*\.(w_norm|b_norm)"), "a change of a normalisation layer"),
    (re.compile(r".*\.(oft_.*|boft_.*|.*oft_R.*)"), "an orthogonal (OFT) adapter"),
    (re.compile(r".*\.(a1|a2|b1|b2|bm1|bm2)\.weight"), "a GLoRA adapter"),
    (re.compile(r".*\.on_input|.*\.ia3_l.*"), "an IA³ adapter"),
    (re.compile(r".*\.lora_embedding_[AB].*"), "a change of an embedding"),
    (re.compile(r"bundle_emb\..*|emb_params|clip_[lg]|string_to_param.*"), "a learned word (textual inversion)"),
)
SGM_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
SGM_OUTER = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def role_of(key: str) -> tuple[str, str] | None:
    """A key as path and role, None if it is of no known form.

    Roles: `down`, `up`, `mid`, `up_bias`, `alpha`, `magnitude`, `diff`, `diff_b`, and LyCORIS' own names (`hada_w1_a`).
    """
    for pattern in ROLES:
        if (match := pattern.fullmatch(key)) is None:
            continue
        found = match.groupdict()
        if half := found.get("half"):
            role = HALVES.get(half, half)
            if found["of"] != "bias":
                return found["path"], role
            return (found["path"], "up_bias") if role == "up" else None
        return found["path"], found.get("role") or ("magnitude" if found.get("magnitude") else "alpha")
    return None


def kind_of(key: str) -> str | None:
    """What a key that has no role is, if that is known."""
    return next((what for pattern, what in UNSUPPORTED if pattern.fullmatch(key)), None)


class Layers:
    """The layers of a pipeline, by every path that files have for them."""

    def __init__(self, pipeline: Any) -> None:
        self._parts = {part: root for part in PARTS if (root := getattr(pipeline, part, None)) is not None}
        self._modules = {part: dict(root.named_modules()) for part, root in self._parts.items()}
        self._names = {part: _names(part, root) for part, root in self._parts.items()}

    def find(self, path: str) -> tuple[str, str] | None:
        """Part and module of a path, None if the pipeline has no such layer."""
        path = path.removeprefix("base_model.model.").replace(".processor.", ".").replace(".", "_")
        prefix, part = next((prefix, part) for prefix, part in PREFIXES if path.startswith(prefix))
        name = self._names.get(part, {}).get(path.removeprefix(prefix))
        return None if name is None else (part, name)

    def module(self, part: str, name: str) -> nn.Module:
        return self._modules[part][name]

    def root(self, part: str) -> Any:
        return self._parts[part]


def _names(part: str, root: nn.Module) -> Mapping[str, str]:
    """Modules by their names without dots."""
    sgm = _sgm_names(root) if part == "unet" else {}
    found: dict[str, str] = {}
    for name, _ in root.named_modules():
        for alias in (*_aliases(part, name), sgm.get(name)):
            if alias:
                found[alias.replace(".", "_")] = name
    return found


def _aliases(part: str, name: str) -> Iterator[str]:
    yield name
    if part == "unet":
        yield name.removesuffix(".0") if name.endswith("to_out.0") else name
        return
    # CLIP's text encoders have lost, or kept, a level; and diffusers once called their layers as it does the UNet's.
    short = name.removeprefix("text_model.")
    old = re.sub(r"self_attn\.(?:([qkv])_proj|(out)_proj)$", lambda m: f"self_attn.to_{m[1] or m[2]}", short)
    for one in (name, short, old):
        yield one
        yield f"text_model.{one}"


def _sgm_names(unet: Any) -> dict[str, str]:
    """Stability's names of a UNet's modules, by diffusers'."""
    blocks = dict(_sgm_blocks(unet))
    found = dict(SGM_OUTER)
    for name, _ in unet.named_modules():
        head = next((head for head in blocks if name == head or name.startswith(f"{head}.")), None)
        if head is not None:
            inner = name.removeprefix(head).removeprefix(".")
            inner = SGM_RESNET.get(inner, inner) if ".resnets." in name else inner
            found[name] = f"{blocks[head]}.{inner}" if inner else blocks[head]
    return found


def _sgm_blocks(unet: Any) -> Iterator[tuple[str, str]]:
    """diffusers' name of a block and Stability's, which counts all blocks of the way down, and of the way up."""
    number = 0
    for level, block in enumerate(unet.down_blocks):
        for layer in range(len(block.resnets)):
            number += 1
            yield f"down_blocks.{level}.resnets.{layer}", f"input_blocks.{number}.0"
            yield f"down_blocks.{level}.attentions.{layer}", f"input_blocks.{number}.1"
        if block.downsamplers:
            number += 1
            yield f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{number}.0.op"
    for layer in range(len(unet.mid_block.resnets)):
        yield f"mid_block.resnets.{layer}", f"middle_block.{2 * layer}"
        yield f"mid_block.attentions.{layer}", f"middle_block.{2 * layer + 1}"
    number = -1
    for level, block in enumerate(unet.up_blocks):
        for layer in range(len(block.resnets)):
            number += 1
            yield f"up_blocks.{level}.resnets.{layer}", f"output_blocks.{number}.0"
            yield f"up_blocks.{level}.attentions.{layer}", f"output_blocks.{number}.1"
        if block.upsamplers:
            at = 2 if getattr(block, "attentions", None) else 1
            yield f"up_blocks.{level}.upsamplers.0.conv", f"output_blocks.{number}.{at}.conv"
