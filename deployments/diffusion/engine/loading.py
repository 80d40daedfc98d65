"""Loads a diffusers pipeline for the engine: a folder, a file or a name on the hub, safetensors only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DiffusionPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)
from safetensors import SafetensorError, safe_open

from sagaforge.errors import InvalidInput, Unavailable
from sagaforge.profiles import ImageModel

KINDS: tuple[Any, ...] = (
    StableDiffusionXLPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionInpaintPipeline,
)
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")


def load_pipeline(model: ImageModel) -> Any:
    """The pipeline, on its device and ready for `DiffusionEngine`.

    Raises:
        InvalidInput: there is no such model, or it is not of the Stable Diffusion 1.5 or XL families.
        Unavailable: a GPU was asked for and there is none.
    """
    if model.device == "gpu" and not torch.cuda.is_available():
        raise Unavailable(f"The image model {model.model_id!r} needs a GPU, and this replica sees none.")
    if model.quantized and model.fused_projections:
        raise InvalidInput("`quantized` and `fused_projections` exclude each other; choose one of them in the profile.")
    dtype = getattr(torch, model.dtype)
    pipeline: Any
    try:
        if model.source.endswith(".safetensors"):
            pipeline = _from_file(Path(model.source), dtype)
        else:
            pipeline = DiffusionPipeline.from_pretrained(model.source, torch_dtype=dtype, use_safetensors=True)
    except (OSError, ValueError, KeyError, SafetensorError) as exc:
        raise InvalidInput(f"The image model {model.model_id!r} can't be loaded from {model.source!r}: {exc}") from exc
    if not isinstance(pipeline, KINDS):
        raise InvalidInput(
            f"{model.source!r} is a {type(pipeline).__name__}; the engine works with Stable Diffusion 1.5 and XL."
        )
    device = torch.device("cuda" if model.device == "gpu" else "cpu")
    for part in PARTS:
        if (module := getattr(pipeline, part, None)) is not None:
            module.eval().requires_grad_(False)
    if dtype == torch.float16 and pipeline.vae.config.force_upcast:
        pipeline.vae.to(torch.float32)  # SDXL's own VAE overflows in half precision
    if model.quantized:
        # Prints a page about GPU kernels when it is imported: only where it is wanted.
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        quantize_(pipeline.unet, Int8WeightOnlyConfig())
    if model.offload:
        pipeline.enable_group_offload(device, offload_type="leaf_level", use_stream=device.type == "cuda")
    else:
        pipeline.to(device)
    if model.tiled_decoding:
        pipeline.vae.enable_tiling()
        pipeline.vae.enable_slicing()
    if model.fused_projections:
        pipeline.unet.fuse_qkv_projections()
    return pipeline


def _from_file(path: Path, dtype: torch.dtype) -> Any:
    """One file: the keys tell SDXL's second text encoder, which SD 1.5 does not have."""
    with safe_open(path, framework="pt") as file:
        is_xl = any(key.startswith("conditioner.embedders.1") for key in file.keys())  # noqa: SIM118
    kind: Any = StableDiffusionXLPipeline if is_xl else StableDiffusionPipeline
    return kind.from_single_file(str(path), torch_dtype=dtype)
