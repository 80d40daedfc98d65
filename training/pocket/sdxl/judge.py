"""Whether pictures show what their prompts name, as the reader of drawings sees it; for a run or an exported folder.

    PYTHONPATH=src python -m sagaforge.training.pocket.sdxl.judge --model models/pocket-sdxl --count 200

Prompts are captions of held-out scenes: they combine what training never saw together. Beside the model stand one
without training and the drawings themselves, so that chance and the reader's own faults can be seen. The style presets
are judged on portraits whose captions name no style: each with every preset, from the same seed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from sagaforge.datasets.styles import shipped_styles
from sagaforge.training.pocket.sdxl import models, reader
from sagaforge.training.pocket.sdxl.captions import Caption, caption
from sagaforge.training.pocket.sdxl.drawing import draw
from sagaforge.training.pocket.sdxl.scenes import Scene, draw_scenes

STEPS, GUIDANCE = 14, 4.0
PAINTED_AT_ONCE = 8
SEED = 7
NUM_RESTYLED = 20
# What each shipped preset should look like.
PRESETS = {
    "anime_style": "cel",
    "anime_portrait": "cel",
    "fantasy_art": "watercolour",
    "realistic": "soft",
    "cyberpunk": "neon",
}
Case = tuple[Scene, str, set[str]]


def load_run(run: Path) -> Any:
    """A run's tokenizer, autoencoder and text encoders, as taught, with a UNet that knows nothing yet."""
    autoencoder = models.make_autoencoder()
    autoencoder.load_state_dict(torch.load(run / "vae.pt", weights_only=True)["model"])
    pipeline = models.make_pipeline(CLIPTokenizer.from_pretrained(run / "tokenizer"), autoencoder)
    taught = torch.load(run / "text.pt", weights_only=True)["model"]
    for name in ("text_encoder", "text_encoder_2"):
        prefix = f"{name}."
        own = {key.removeprefix(prefix): value for key, value in taught.items() if key.startswith(prefix)}
        getattr(pipeline, name).load_state_dict(own)
    return pipeline


def fresh_parts(pipeline: Any) -> Any:
    """A pipeline of new parts that learn, beside the same autoencoder and tokenizer."""
    return StableDiffusionXLPipeline(**{
        **pipeline.components,
        "text_encoder": CLIPTextModel(pipeline.text_encoder.config),
        "text_encoder_2": CLIPTextModelWithProjection(pipeline.text_encoder_2.config),
        "unet": models.make_unet(),
    }, add_watermarker=False)  # fmt: skip


def cases(count: int) -> list[Case]:
    """Scenes that training never saw, a prompt for each and what the prompt names."""
    rng = random.Random(SEED)
    out = []
    for scene in itertools.islice(draw_scenes(SEED, held_out=True), count):
        worded = caption(scene, rng)
        out.append((scene, worded.text, worded.named))
    return out


def restyled(count: int) -> dict[str, list[Case]]:
    """The same unseen portraits under every style preset: what they show should stay, their style should be its."""
    rng = random.Random(SEED)
    plain: list[tuple[Scene, Caption]] = []
    for scene in draw_scenes(SEED, held_out=True):
        worded = caption(scene, rng)
        if scene.composition == "portrait" and "style" not in worded.named:
            plain.append((scene, worded))
        if len(plain) == count:
            break
    styles = shipped_styles()
    return {
        preset: [
            (replace(scene, style=style), styles[preset].resolve(worded.text, is_pocket=True), worded.named | {"style"})
            for scene, worded in plain
        ]
        for preset, style in PRESETS.items()
    }


@torch.inference_mode()
def through_autoencoder(pipeline: Any, drawings: list[np.ndarray]) -> list[np.ndarray]:
    """What the autoencoder keeps of drawings: no picture of the model can show more."""
    made: list[np.ndarray] = []
    for start in range(0, len(drawings), PAINTED_AT_ONCE):
        pixels = pipeline.image_processor.preprocess(np.stack(drawings[start : start + PAINTED_AT_ONCE]) / 255.0)
        latents = pipeline.vae.encode(pixels.float()).latent_dist.mean
        decoded = pipeline.image_processor.postprocess(pipeline.vae.decode(latents).sample, output_type="np")
        made += list((decoded * 255).round().astype(np.uint8))
    return made


@torch.inference_mode()
def paint(pipeline: Any, prompts: list[str]) -> list[np.ndarray]:
    """A picture for each prompt, uint8 [height, width, 3]."""
    pictures: list[np.ndarray] = []
    for start in range(0, len(prompts), PAINTED_AT_ONCE):
        part = prompts[start : start + PAINTED_AT_ONCE]
        made = pipeline(
            part,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            negative_prompt=[""] * len(part),
            generator=[torch.Generator().manual_seed(SEED + start + number) for number in range(len(part))],
        )
        pictures += [np.asarray(image) for image in made.images]
    return pictures


def shares(pictures: list[np.ndarray], asked: list[Case]) -> dict[str, float]:
    """Of what the prompts name, the share that the pictures show: by attribute, and in all."""
    right: Counter[str] = Counter()
    named: Counter[str] = Counter()
    for picture, (scene, _, names) in zip(pictures, asked, strict=True):
        for name, is_right in reader.score(picture, scene, names).items():
            for key in (name.rstrip("2"), "all"):
                right[key] += is_right
                named[key] += 1
    return {key: round(right[key] / named[key], 3) for key in sorted(named)}


def score(pipeline: Any, count: int) -> tuple[list[np.ndarray], dict[str, float]]:
    """Pictures for `count` unseen prompts and their shares."""
    asked = cases(count)
    pictures = paint(pipeline, [prompt for _, prompt, _ in asked])
    return pictures, shares(pictures, asked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--restyled", type=int, default=NUM_RESTYLED, help="portraits painted in every style preset")
    arguments = parser.parse_args()
    pipeline: Any = StableDiffusionXLPipeline.from_pretrained(arguments.model, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    asked = cases(arguments.count)
    print("the model", json.dumps(score(pipeline, arguments.count)[1]))
    for preset, same in restyled(arguments.restyled).items():
        print(f"as {preset}", json.dumps(shares(paint(pipeline, [prompt for _, prompt, _ in same]), same)))
    drawings = [draw(scene, models.SIZE) for scene, _, _ in asked]
    print("the drawings", json.dumps(shares(drawings, asked)))
    print("through the autoencoder", json.dumps(shares(through_autoencoder(pipeline, drawings), asked)))
    print("untrained", json.dumps(score(fresh_parts(pipeline), arguments.count)[1]))
    # What the pictures of other prompts would get: the share that is right by chance.
    print("by chance", json.dumps(shares([*drawings[1:], drawings[0]], asked)))


if __name__ == "__main__":
    main()
