"""Whether pictures show what their prompts name, as the reader of drawings sees it; for a run or an exported folder.

    PYTHONPATH=src python -m sagaforge.training.pocket_sdxl.judge --model models/pocket-sdxl --count 200

Prompts are captions of held-out scenes: they combine what training never saw together. Beside the model stand one
without training and the drawings themselves, so that chance and the reader's own faults can be seen.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from sagaforge.training.pocket_sdxl import models, reader
from sagaforge.training.pocket_sdxl.captions import caption
from sagaforge.training.pocket_sdxl.drawing import draw
from sagaforge.training.pocket_sdxl.scenes import Scene, draw_scenes

STEPS, GUIDANCE = 14, 4.0
PAINTED_AT_ONCE = 8
SEED = 7


def load_run(run: Path) -> Any:
    """A run's tokenizer and autoencoder, with a UNet and text encoders that know nothing yet."""
    autoencoder = models.make_autoencoder()
    autoencoder.load_state_dict(torch.load(run / "vae.pt", weights_only=True)["model"])
    return models.make_pipeline(CLIPTokenizer.from_pretrained(run / "tokenizer"), autoencoder)


def fresh_parts(pipeline: Any) -> Any:
    """A pipeline of new parts that learn, beside the same autoencoder and tokenizer."""
    return StableDiffusionXLPipeline(**{
        **pipeline.components,
        "text_encoder": CLIPTextModel(pipeline.text_encoder.config),
        "text_encoder_2": CLIPTextModelWithProjection(pipeline.text_encoder_2.config),
        "unet": models.make_unet(),
    }, add_watermarker=False)  # fmt: skip


def cases(count: int) -> list[tuple[Scene, str, set[str]]]:
    """Scenes that training never saw, a prompt for each and what the prompt names."""
    rng = random.Random(SEED)
    out = []
    for scene in itertools.islice(draw_scenes(SEED, held_out=True), count):
        worded = caption(scene, rng)
        out.append((scene, worded.text, worded.named))
    return out


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


def shares(pictures: list[np.ndarray], asked: list[tuple[Scene, str, set[str]]]) -> dict[str, float]:
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
    arguments = parser.parse_args()
    pipeline: Any = StableDiffusionXLPipeline.from_pretrained(arguments.model)
    pipeline.set_progress_bar_config(disable=True)
    asked = cases(arguments.count)
    print("the model", json.dumps(score(pipeline, arguments.count)[1]))
    print("the drawings", json.dumps(shares([draw(scene, models.SIZE) for scene, _, _ in asked], asked)))
    print("untrained", json.dumps(score(fresh_parts(pipeline), arguments.count)[1]))
    # What the pictures of other prompts would get: the share that is right by chance.
    others = [draw(scene, models.SIZE) for scene, _, _ in [*asked[1:], asked[0]]]
    print("by chance", json.dumps(shares(others, asked)))


if __name__ == "__main__":
    main()
