"""Profiles: which models a bundle runs, and at which sizes. Nothing else differs between them.

Replica counts and resources are not here: they live in `serve_config.yaml` (and its variants in `cluster/`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from sagaforge.errors import InvalidInput
from sagaforge.image_schemas import SchedulerName
from sagaforge.model_files import MODELS_DIR
from sagaforge.pocket.line_matcher import load_line_matcher
from sagaforge.pocket.mending import PocketMending
from sagaforge.strategies import LineMatcher, Mending, NoLineMatcher

ProfileName = Literal["pocket", "cpu", "gpu", "low_vram"]

MIB = 1024**2
GIB = 1024**3


# Adapters that one replica keeps loaded.
MAX_RESIDENT = 48


@dataclass(frozen=True)
class LLMProfile:
    """A language model for vLLM. `source` is a folder or a hub name; `dtype` is torch's name of it.

    alphabet: the characters besides white space that it has learned to write, as the inside of a character class; None
    for all of them, which is true of every model that was trained on the web.
    """

    model_id: str
    source: str
    device: Literal["cpu", "gpu"]
    max_model_len: int
    dtype: str = "auto"
    max_num_seqs: int = 32
    kv_cache_bytes: int | None = None
    quantization: str | None = None
    gpu_memory_utilization: float | None = None
    alphabet: str | None = None


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


@dataclass(frozen=True)
class ImageProfile:
    """An image model for the diffusion engine, and what a request gets that leaves things open.

    max_pixels: of a picture as the model paints it; a larger one is enlarged afterwards. size_unit: what the model
    paints is of multiples of it. shown_side: of a square picture whose size nobody asked for. license: of the model.
    """

    model: ImageModel
    license: str
    max_pixels: int
    size_unit: int
    shown_side: int
    steps: int
    guidance_scale: float
    scheduler: SchedulerName = "dpmpp_2m_karras"
    limits: EngineLimits = field(default_factory=EngineLimits)
    is_pocket: bool = False


@dataclass(frozen=True)
class PromptLimits:
    """Characters of each part of a turn's prompt; a longer one is cut at its end, with a mark."""

    message: int = 4000  # all that a request takes
    persona: int = 2000
    scene: int = 2000
    past_message: int = 500
    past_narration: int = 2000
    lore_line: int = 2000


@dataclass(frozen=True)
class Profile:
    """Models, sizes and strategies of one profile. Lore budgets are what a turn's prompt may hold; `writes_again`: a
    turn that shows nothing, or cites what does not hold it, is written once more without sampling."""

    name: ProfileName
    llm: LLMProfile
    image: ImageProfile
    embedder: str
    reranker: str | None
    lore_max_lines: int
    lore_max_chars: int
    lore_min_share: float  # of the best line's score; what is below it distracts a small model
    retrieve_top_k: int
    # That lore is about the question, 0 to 1: below, a prompt gets none. 0 leaves it to the language model, which a
    # large one does better; and an embedder that is no static table is never asked.
    lore_min_confidence: float = 0.0
    prompt_limits: PromptLimits = field(default_factory=PromptLimits)
    writes_again: bool = False
    mending: Mending = field(default_factory=Mending)
    line_matcher: Callable[[], LineMatcher] = NoLineMatcher


_SDXL = ImageProfile(
    model=ImageModel("sdxl", "stabilityai/stable-diffusion-xl-base-1.0", device="gpu", dtype="float16"),
    license="CreativeML-OpenRAIL++-M",
    max_pixels=1024 * 1024,
    size_unit=64,
    shown_side=1024,
    steps=28,
    guidance_scale=6.0,
)

# The pocket LLM learned from prompts of this size.
POCKET_PROMPT = PromptLimits(message=600, persona=200, scene=200, past_message=80, past_narration=160, lore_line=400)

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
            alphabet=r"A-Za-z0-9!'(),\-.:;?–—“”…\u4e00-\u9fff、。「」！（），：；？",
        ),
        image=ImageProfile(
            model=ImageModel("pocket-sdxl", str(MODELS_DIR / "pocket-sdxl")),
            license="Apache-2.0",
            max_pixels=128 * 128,
            size_unit=16,
            shown_side=512,
            steps=16,
            guidance_scale=4.0,
            scheduler="dpmpp_2m",
            is_pocket=True,
        ),
        embedder=str(MODELS_DIR / "pocket-embedder"),
        reranker=None,
        lore_max_lines=3,
        lore_max_chars=600,
        lore_min_share=0.5,
        retrieve_top_k=6,
        lore_min_confidence=0.5,
        prompt_limits=POCKET_PROMPT,
        writes_again=True,
        mending=PocketMending(),
        line_matcher=load_line_matcher,
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
        image=ImageProfile(
            model=ImageModel("stable-diffusion-v1-5", "stable-diffusion-v1-5/stable-diffusion-v1-5"),
            license="CreativeML-OpenRAIL-M",
            max_pixels=512 * 512,
            size_unit=64,
            shown_side=512,
            steps=20,
            guidance_scale=7.0,
            limits=EngineLimits(max_rows=8),
        ),
        embedder="BAAI/bge-small-en-v1.5",
        reranker=None,
        lore_max_lines=10,
        lore_max_chars=2400,
        lore_min_share=0.0,
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
        image=replace(_SDXL, model=replace(_SDXL.model, fused_projections=True)),
        embedder="BAAI/bge-m3",
        reranker="BAAI/bge-reranker-v2-m3",
        lore_max_lines=24,
        lore_max_chars=6000,
        lore_min_share=0.0,
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
        image=replace(
            _SDXL,
            model=replace(_SDXL.model, offload=True, tiled_decoding=True),
            limits=EngineLimits(max_rows=4, max_decoded=1),
        ),
        embedder="BAAI/bge-small-en-v1.5",
        reranker=None,
        lore_max_lines=12,
        lore_max_chars=3000,
        lore_min_share=0.0,
        retrieve_top_k=6,
    ),
}


def get_profile(name: str) -> Profile:
    """The profile of that name; `InvalidInput` names the ones there are."""
    try:
        return PROFILES[name]
    except KeyError:
        raise InvalidInput(f"There is no profile {name!r}; choose one of {', '.join(PROFILES)}.") from None
