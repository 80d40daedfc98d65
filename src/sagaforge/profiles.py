"""Profiles: which models a bundle runs, and at which sizes. Nothing else differs between them.

Replica counts and resources are not here: they live in `serve_config.yaml` (and its variants in `cluster/`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sagaforge.errors import InvalidInput

ProfileName = Literal["pocket", "cpu", "gpu", "low_vram"]

# A link in the source tree, package data in a wheel.
MODELS_DIR = Path(__file__).resolve().parent / "models"

MIB = 1024**2
GIB = 1024**3


@dataclass(frozen=True)
class LLMProfile:
    """A language model for vLLM. `source` is a folder or a hub name; `dtype` is torch's name of it."""

    model_id: str
    source: str
    device: Literal["cpu", "gpu"]
    max_model_len: int
    dtype: str = "auto"
    max_num_seqs: int = 32
    kv_cache_bytes: int | None = None
    quantization: str | None = None
    gpu_memory_utilization: float | None = None


@dataclass(frozen=True)
class ImageProfile:
    """An image model for the diffusion engine, and what a request gets that leaves things open.

    max_pixels: of a picture as the model paints it; a larger one is enlarged afterwards. size_unit: width and height
    are multiples of it. limits: of the engine.
    """

    model: ImageModel
    max_pixels: int
    size_unit: int
    steps: int
    guidance_scale: float
    scheduler: SchedulerName
    limits: EngineLimits
    is_pocket: bool = False


@dataclass(frozen=True)
class Profile:
    """Models and sizes of one profile. Lore budgets are what a turn's prompt may hold."""

    name: ProfileName
    llm: LLMProfile
    embedder: str
    reranker: str | None
    lore_max_lines: int
    lore_max_chars: int
    retrieve_top_k: int


PROFILES: dict[str, Profile] = {
    "pocket": Profile(
        name="pocket",
        llm=LLMProfile(
            model_id="pocket",
            source=str(MODELS_DIR / "pocket-llm"),
            device="cpu",
            max_model_len=2048,
            dtype="float32",
            kv_cache_bytes=192 * MIB,
        ),
        embedder=str(MODELS_DIR / "pocket-embedder"),
        reranker=None,
        lore_max_lines=3,
        lore_max_chars=600,
        retrieve_top_k=6,
    ),
    "cpu": Profile(
        name="cpu",
        llm=LLMProfile(
            model_id="qwen2.5-0.5b-instruct",
            source="Qwen/Qwen2.5-0.5B-Instruct",
            device="cpu",
            max_model_len=4096,
            max_num_seqs=16,
            kv_cache_bytes=1 * GIB,
        ),
        embedder="BAAI/bge-small-en-v1.5",
        reranker=None,
        lore_max_lines=10,
        lore_max_chars=2400,
        retrieve_top_k=6,
    ),
    "gpu": Profile(
        name="gpu",
        llm=LLMProfile(
            model_id="qwen2.5-7b-instruct",
            source="Qwen/Qwen2.5-7B-Instruct",
            device="gpu",
            max_model_len=16384,
            max_num_seqs=128,
            gpu_memory_utilization=0.6,
        ),
        embedder="BAAI/bge-m3",
        reranker="BAAI/bge-reranker-v2-m3",
        lore_max_lines=24,
        lore_max_chars=6000,
        retrieve_top_k=8,
    ),
    "low_vram": Profile(
        name="low_vram",
        llm=LLMProfile(
            model_id="qwen2.5-3b-instruct-awq",
            source="Qwen/Qwen2.5-3B-Instruct-AWQ",
            device="gpu",
            max_model_len=4096,
            max_num_seqs=8,
            quantization="awq_marlin",
            gpu_memory_utilization=0.5,
        ),
        embedder="BAAI/bge-small-en-v1.5",
        reranker=None,
        lore_max_lines=12,
        lore_max_chars=3000,
        retrieve_top_k=6,
    ),
}


def get_profile(name: str) -> Profile:
    """The profile of that name; `InvalidInput` names the ones there are."""
    try:
        return PROFILES[name]
    except KeyError:
        raise InvalidInput(f"There is no profile {name!r}; choose one of {', '.join(PROFILES)}.") from None
