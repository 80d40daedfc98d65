"""What a ComfyUI server checks of a workflow before it takes it on: support for comfyui_server.py."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Any

SAMPLER_TYPE = "KSampler"
SAMPLERS = ("euler", "euler_ancestral", "dpmpp_2m", "ddim", "uni_pc")
SCHEDULERS = ("simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal")

# Inputs by node: a link's type, a range of numbers, a list to choose from, or plain text. And what a node gives.
Range = tuple[float, float]
OUTPUTS = {
    "CheckpointLoaderSimple": ("MODEL", "CLIP", "VAE"),
    "LoraLoader": ("MODEL", "CLIP"),
    "CLIPTextEncode": ("CONDITIONING",),
    "EmptyLatentImage": ("LATENT",),
    "LoadImage": ("IMAGE", "MASK"),
    "LoadImageMask": ("MASK",),
    "VAEEncode": ("LATENT",),
    "SetLatentNoiseMask": ("LATENT",),
    "KSampler": ("LATENT",),
    "VAEDecode": ("IMAGE",),
    "PreviewImage": (),
    "SaveImage": (),
}


def inputs_of(class_type: str, checkpoints: Collection[str], loras: Collection[str], files: Collection[str]) -> Any:
    scale: Range = (-100.0, 100.0)
    side: Range = (16, 16384)
    return {
        "CheckpointLoaderSimple": {"ckpt_name": checkpoints},
        "LoraLoader": {
            "model": "MODEL", "clip": "CLIP", "lora_name": loras, "strength_model": scale, "strength_clip": scale,
        },
        "CLIPTextEncode": {"text": str, "clip": "CLIP"},
        "EmptyLatentImage": {"width": side, "height": side, "batch_size": (1, 4096)},
        "LoadImage": {"image": files},
        "LoadImageMask": {"image": files, "channel": ("alpha", "red", "green", "blue")},
        "VAEEncode": {"pixels": "IMAGE", "vae": "VAE"},
        "SetLatentNoiseMask": {"samples": "LATENT", "mask": "MASK"},
        "KSampler": {
            "model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING", "latent_image": "LATENT",
            "seed": (0, 2**64 - 1), "steps": (1, 10000), "cfg": (0.0, 100.0), "denoise": (0.0, 1.0),
            "sampler_name": SAMPLERS, "scheduler": SCHEDULERS,
        },
        "VAEDecode": {"samples": "LATENT", "vae": "VAE"},
        "PreviewImage": {"images": "IMAGE"},
        "SaveImage": {"images": "IMAGE", "filename_prefix": str},
    }.get(class_type)  # fmt: skip


def node_errors(
    graph: dict[str, Any], *, checkpoints: Collection[str], loras: Collection[str], inputs: Collection[str]
) -> dict[str, Any]:
    """`node_errors` as the server tells them, empty if the workflow is right."""
    found: dict[str, Any] = {}
    for id, node in graph.items():
        expected = inputs_of(node["class_type"], checkpoints, loras, inputs)
        if expected is None:
            errors = [_error("missing_node_type", node["class_type"], None)]
        else:
            told = ((name, node["inputs"].get(name), kind) for name, kind in expected.items())
            errors = [error for name, value, kind in told if (error := _check(graph, name, value, kind))]
        if errors:
            found[id] = {"errors": errors, "dependent_outputs": ["10"], "class_type": node["class_type"]}
    return found


def _check(graph: dict[str, Any], name: str, value: Any, kind: Any) -> dict[str, Any] | None:
    if value is None:
        return _error("required_input_missing", name, value)
    if kind is str:
        return None if isinstance(value, str) else _error("invalid_input_type", name, value)
    if isinstance(kind, str):
        if not isinstance(value, list) or len(value) != 2 or value[0] not in graph:
            return _error("bad_linked_input", name, value)
        given = OUTPUTS[graph[value[0]]["class_type"]][value[1]]
        return None if given == kind else _error("return_type_mismatch", name, value)
    if isinstance(kind, tuple) and not isinstance(kind[0], str):
        if value < kind[0]:
            return _error("value_smaller_than_min", name, value)
        return _error("value_bigger_than_max", name, value) if value > kind[1] else None
    if value in kind:
        return None
    type = "custom_validation_failed" if name == "image" else "value_not_in_list"
    return _error(type, name, value, details=f"{name}: {value!r} not in {sorted(kind)}")


def _error(type: str, name: str, value: Any, details: str = "") -> dict[str, Any]:
    extra = {"input_name": name, "received_value": value}
    return {"type": type, "message": type.replace("_", " ").capitalize(), "details": details, "extra_info": extra}


def canonical(id: Any) -> bool:
    try:
        return isinstance(id, str) and str(uuid.UUID(id)) == id
    except ValueError:
        return False
