"""What an image model is loaded with, and how much its engine may do: plain values, for profiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Adapters that one replica keeps loaded.
MAX_RESIDENT = 48


@dataclass(frozen=True)
class ImageModel:
    """Which model to load and how.

    source: a folder as `save_pretrained` writes it, a `.safetensors` checkpoint, or a hub name. dtype: torch's name.
    offload: keep parts of the UNet in the machine's memory while others work (slower, a fraction of the memory).
    tiled_decoding: the VAE works in tiles and slices. compiled: the UNet is compiled at its first call for each shape.
    quantized: the UNet's matrices are 8-bit integers, a quarter of the memory of float32, unfolded for each product.
    """

    model_id: str
    source: str
    device: Literal["cpu", "gpu"] = "cpu"
    dtype: str = "float32"
    offload: bool = False
    tiled_decoding: bool = False
    compiled: bool = False
    quantized: bool = False
    fused_projections: bool = False


@dataclass(frozen=True)
class EngineLimits:
    """max_rows: of one UNet call (a guided request has two); max_decoded: pictures in one VAE call; max_requests: in
    the engine at once; cache_bytes: for prompt embeddings; max_windows: of a text encoder that one prompt may take (75
    tokens each for most); max_pixels and max_steps of one request; full_every: of so many steps one goes through all of
    the UNet (see `step_cache`); with 1 every step does, as in diffusers."""

    max_rows: int = 16
    max_decoded: int = 4
    max_requests: int = 256
    cache_bytes: int = 64 * 1024**2
    max_windows: int = 32
    max_pixels: int = 1536 * 1536
    max_steps: int = 150
    full_every: int = 1
