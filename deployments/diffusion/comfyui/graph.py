"""The workflow that makes one picture on a ComfyUI server, in the form that its `POST /prompt` takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sagaforge.deployments.diffusion.interface import ImageSpec
from sagaforge.errors import InvalidInput
from sagaforge.image_schemas import SchedulerName
from sagaforge.imaging.prompts import parse

Graph = dict[str, dict[str, Any]]

# Ids of nodes. Numbers, as its own editor writes them.
CHECKPOINT, POSITIVE, NEGATIVE, IMAGE, LATENT, MASK, MASKED, SAMPLER, DECODE, OUTPUT = map(str, range(1, 11))
FIRST_LORA = 101

# What the server itself takes at most (KSampler, LoraLoader): beyond it the answer is a refusal.
MAX_STEPS = 10_000
MAX_SCALE = 100.0
MAX_SIDE = 16_384
SIDE_MULTIPLE = 8
SEED_MASK = 2**64 - 1

SAMPLERS: dict[SchedulerName, tuple[str, str]] = {
    "dpmpp_2m": ("dpmpp_2m", "normal"),
    "dpmpp_2m_karras": ("dpmpp_2m", "karras"),
    "euler": ("euler", "normal"),
    "euler_a": ("euler_ancestral", "normal"),
    "ddim": ("ddim", "ddim_uniform"),
    "unipc": ("uni_pc", "normal"),
}


def check(spec: ImageSpec) -> None:
    """Raises `InvalidInput` for what no ComfyUI server makes. Some of it the server would round without a word."""
    for side in (spec.width, spec.height):
        if side % SIDE_MULTIPLE or not 0 < side <= MAX_SIDE:
            raise InvalidInput(f"width and height must be multiples of {SIDE_MULTIPLE}, at most {MAX_SIDE}.")
    if not 1 <= spec.steps <= MAX_STEPS:
        raise InvalidInput(f"steps must be from 1 to {MAX_STEPS}.")
    # `not a <= b` rather than `a > b`: a scale that is not a number must not get through.
    if not spec.guidance_scale <= MAX_SCALE:
        raise InvalidInput(f"guidance_scale must be at most {MAX_SCALE:g}.")
    if not all(abs(scale) <= MAX_SCALE for _, scale in spec.adapters):
        raise InvalidInput(f"The scale of an adapter must be from {-MAX_SCALE:g} to {MAX_SCALE:g}.")
    if spec.scheduler not in SAMPLERS:
        raise InvalidInput(f"There is no scheduler {spec.scheduler}.")
    if spec.mask is not None and spec.image is None:
        raise InvalidInput("A mask needs the image that it belongs to.")
    if spec.image is not None:
        if not 0.0 < spec.strength <= 1.0:
            raise InvalidInput("strength must be above 0 and at most 1.")
        if spec.num_steps < 1:
            raise InvalidInput(f"A strength of {spec.strength} leaves none of {spec.steps} steps: raise one of them.")


def workflow(
    spec: ImageSpec,
    *,
    checkpoint: str,
    loras: Mapping[str, str],
    image: str | None = None,
    mask: str | None = None,
) -> Graph:
    """The graph for `spec`. `loras`: file names on the server by adapter; others are `NAME.safetensors`. `image` and
    `mask` are names of files uploaded to the server."""
    graph = {CHECKPOINT: _node("CheckpointLoaderSimple", ckpt_name=checkpoint)}
    model, clip, vae = [CHECKPOINT, 0], [CHECKPOINT, 1], [CHECKPOINT, 2]
    for number, (name, scale) in enumerate(spec.adapters, start=FIRST_LORA):
        graph[str(number)] = _node(
            "LoraLoader",
            model=model,
            clip=clip,
            lora_name=lora_file(name, loras),
            strength_model=float(scale),
            strength_clip=float(scale),
        )
        model, clip = [str(number), 0], [str(number), 1]
    graph[POSITIVE] = _node("CLIPTextEncode", text=worded(spec.prompt), clip=clip)
    graph[NEGATIVE] = _node("CLIPTextEncode", text=worded(spec.negative_prompt or ""), clip=clip)
    sampler_name, scheduler = SAMPLERS[spec.scheduler]
    graph[SAMPLER] = _node(
        "KSampler",
        model=model,
        positive=[POSITIVE, 0],
        negative=[NEGATIVE, 0],
        latent_image=_add_latent(graph, spec, vae, image, mask),
        seed=spec.seed & SEED_MASK,
        # The server runs all the steps it is told to, of a schedule that is longer by 1 / denoise.
        steps=spec.num_steps,
        # 1 is without guidance there, and less would be guidance away from the prompt.
        cfg=max(1.0, float(spec.guidance_scale)),
        sampler_name=sampler_name,
        scheduler=scheduler,
        denoise=1.0 if image is None else float(spec.strength),
    )
    graph[DECODE] = _node("VAEDecode", samples=[SAMPLER, 0], vae=vae)
    # Into the server's temporary folder: SaveImage would fill its disk with pictures that are ours to keep.
    graph[OUTPUT] = _node("PreviewImage", images=[DECODE, 0])
    return graph


def lora_file(name: str, loras: Mapping[str, str]) -> str:
    return loras.get(name, f"{name}.safetensors")


def worded(prompt: str) -> str:
    """The prompt as the server reads it: it knows `(word:1.2)`, and nothing of other signs. Half a surrogate pair,
    which tokenizers fail at, becomes a question mark."""
    parts = []
    for fragment in parse(prompt.encode(errors="replace").decode()):
        text = fragment.text.replace("(", r"\(").replace(")", r"\)")
        parts.append(text if fragment.weight == 1.0 else f"({text}:{fragment.weight:.6g})")
    return "".join(parts)


def _add_latent(graph: Graph, spec: ImageSpec, vae: list[Any], image: str | None, mask: str | None) -> list[Any]:
    if image is None:
        graph[LATENT] = _node("EmptyLatentImage", width=spec.width, height=spec.height, batch_size=1)
        return [LATENT, 0]
    graph[IMAGE] = _node("LoadImage", image=image)
    graph[LATENT] = _node("VAEEncode", pixels=[IMAGE, 0], vae=vae)
    if mask is None:
        return [LATENT, 0]
    # The channel and not alpha, which the server takes the other way round: white is painted anew. Not
    # VAEEncodeForInpaint: it greys the masked part out, so any strength below 1 would show grey.
    graph[MASK] = _node("LoadImageMask", image=mask, channel="red")
    graph[MASKED] = _node("SetLatentNoiseMask", samples=[LATENT, 0], mask=[MASK, 0])
    return [MASKED, 0]


def _node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}
