"""Teach the pocket SDXL's text encoders what captions name, before any picture: SDXL's own come from CLIP, trained too.

    PYTHONPATH=src python -m sagaforge.training.pocket.sdxl.train_text --run /tmp/pocket_sdxl_run --minutes 10

From captions alone, whose attributes are known. Without it the UNet finds the words for places and styles by itself but
not, in as many pictures, those for the colours of hair, eyes and clothes. Resumes from `text.pt`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import CLIPTokenizer

from sagaforge.training import runs
from sagaforge.training.pocket.sdxl import models, scenes
from sagaforge.training.pocket.sdxl.captions import Caption, caption, with_strangers
from sagaforge.training.pocket.sdxl.optimizers import make_optimizers
from sagaforge.training.pocket.sdxl.scenes import Scene, draw_scenes

_OF_VIEW = {
    "place": scenes.PLACES,
    "time": scenes.TIMES,
    "weather": scenes.WEATHERS,
    "composition": scenes.COMPOSITIONS,
    "style": scenes.STYLES,
}
_OF_FIGURE = {
    "person": scenes.PEOPLE,
    "hair": scenes.HAIRS,
    "hair_style": scenes.HAIR_STYLES,
    "eyes": scenes.EYES,
    "clothes": scenes.CLOTHES,
    "garment": scenes.GARMENTS,
    "build": scenes.BUILDS,
    "skin": scenes.SKINS,
    "item": scenes.ITEMS,
}
ATTRIBUTES: dict[str, tuple[str, ...]] = {**_OF_VIEW, **_OF_FIGURE, **{f"{n}2": v for n, v in _OF_FIGURE.items()}}
UNNAMED = -100
NUM_WORDED = 20_000
NUM_MEASURED = 1000
MEASURE_SEED = 11


@dataclass(frozen=True)
class Config:
    """Everything that shapes a run."""

    run: str
    minutes: float = 10.0
    threads: int = 2
    seed: int = 1
    batch: int = 128
    matrix_rate: float = 2e-3
    rate: float = 1e-3
    warmup_steps: int = 50
    decay_share: float = 0.4
    report_every: int = 50
    save_minutes: float = 2.0


class Reading(nn.Module):
    """Both text encoders, and what reads attributes from all that the UNet gets of them.

    The tokens are read as its cross attention does, by one learned query per attribute; the pooled text by one matrix.
    """

    def __init__(self, text_encoder: Any, text_encoder_2: Any) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.text_encoder_2 = text_encoder_2
        width = 2 * models.TEXT_WIDTH
        self.query_embedding = nn.Parameter(torch.zeros(len(ATTRIBUTES), width))
        self.by_token = nn.ModuleList(nn.Linear(width, len(values)) for values in ATTRIBUTES.values())
        self.by_pool = nn.ModuleList(nn.Linear(models.TEXT_WIDTH, len(values)) for values in ATTRIBUTES.values())

    def forward(self, tokens: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Logits of each attribute's values, [n, values]: by the tokens, and by the pooled text.

        tokens: [n, length].
        """
        states, pooled = models.encoded_text(self.text_encoder, self.text_encoder_2, tokens)
        found = (states @ self.query_embedding.T / states.shape[-1] ** 0.5).softmax(dim=1).transpose(1, 2) @ states
        by_token = [head(found[:, number]) for number, head in enumerate(self.by_token)]
        return by_token, [head(pooled) for head in self.by_pool]


def labels_of(scene: Scene, named: set[str]) -> list[int]:
    """The number of each attribute's value, or UNNAMED where the caption leaves it out."""
    values = {name: getattr(scene, name) for name in _OF_VIEW}
    for number, who in enumerate(scene.characters):
        values |= {f"{name}{'2' if number else ''}": getattr(who, name) for name in _OF_FIGURE}
    return [
        known.index(values[name]) if name in named and name in values else UNNAMED for name, known in ATTRIBUTES.items()
    ]


def make_batch(tokenizer: Any, asked: list[tuple[Scene, Caption]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens, [n, longest], and labels, [n, attributes]."""
    texts = [worded.text for _, worded in asked]
    tokens = tokenizer(texts, padding="longest", truncation=True, max_length=models.MAX_TOKENS, return_tensors="pt")
    return tokens.input_ids, torch.tensor([labels_of(scene, worded.named) for scene, worded in asked])


def loss_of(reading: Reading, tokens: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross entropy of what the captions name, by both ways of reading, summed over a caption's attributes."""
    losses = [
        functional.cross_entropy(logits, labels[:, number], ignore_index=UNNAMED, reduction="sum")
        for ways in reading(tokens)
        for number, logits in enumerate(ways)
    ]
    return torch.stack(losses).sum() / len(tokens)


@torch.inference_mode()
def measure(reading: Reading, tokenizer: Any, count: int = NUM_MEASURED) -> dict[str, list[float]]:
    """Of what captions of held-out scenes name, the share read right: [by the tokens, by the pooled text]."""
    rng = random.Random(MEASURE_SEED)
    held_out = itertools.islice(draw_scenes(MEASURE_SEED, held_out=True), count)
    asked = [(scene, with_strangers(caption(scene, rng), rng)) for scene in held_out]
    tokens, labels = make_batch(tokenizer, asked)
    right: Counter[tuple[str, int]] = Counter()
    named: Counter[str] = Counter()
    for number, name in enumerate(ATTRIBUTES):
        named[name.rstrip("2")] += int((labels[:, number] != UNNAMED).sum())
    for way, logits in enumerate(reading(tokens)):
        for number, name in enumerate(ATTRIBUTES):
            right[name.rstrip("2"), way] += int((logits[number].argmax(dim=1) == labels[:, number]).sum())
    return {name: [round(right[name, way] / max(1, total), 3) for way in (0, 1)] for name, total in named.items()}


def train(config: Config) -> None:
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    run = Path(config.run)
    tokenizer = _tokenizer(run, config.seed)
    reading = Reading(*models.make_text_encoders(tokenizer))
    optimizers = make_optimizers(reading, matrix_rate=config.matrix_rate, rate=config.rate)
    rates = runs.full_rates(optimizers)
    step, spent = 0, 0.0
    if (run / "text.pt").exists():
        saved = torch.load(run / "text.pt", weights_only=True)
        reading.load_state_dict(saved["model"])
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        step, spent = saved["step"], saved["spent"]
    print(json.dumps(asdict(config)), flush=True)

    rng = random.Random(f"{config.seed}-{step}")
    seen_scenes = draw_scenes(rng.getrandbits(40))
    clock = runs.Clock(config.minutes, spent)
    last_save = seen_at = time.time()
    seen = 0.0
    for progress in clock.steps():
        drawn = itertools.islice(seen_scenes, config.batch)
        asked = [(scene, with_strangers(caption(scene, rng), rng)) for scene in drawn]
        loss = loss_of(reading, *make_batch(tokenizer, asked))
        loss.backward()
        share = runs.rate_at(step, progress, warmup_steps=config.warmup_steps, decay_share=config.decay_share)
        runs.step_at(reading, optimizers, rates, share)
        step += 1
        seen += loss.item()
        if step % config.report_every == 0:
            speed = config.report_every * config.batch / (time.time() - seen_at)
            print(
                f"{time.strftime('%H:%M:%S')} step {step} captions {step * config.batch} progress {progress:.3f} "
                f"loss {seen / config.report_every:.3f} captions/s {speed:.0f}",
                flush=True,
            )
            seen, seen_at = 0.0, time.time()
        if time.time() - last_save > config.save_minutes * 60:
            _save(run, reading, optimizers, step, clock.spent)
            print("read right by tokens, by pool", json.dumps(measure(reading, tokenizer)), flush=True)
            last_save = seen_at = time.time()
    _save(run, reading, optimizers, step, clock.spent)
    print("read right by tokens, by pool", json.dumps(measure(reading, tokenizer)), flush=True)


def _tokenizer(run: Path, seed: int) -> CLIPTokenizer:
    """The run's, made of captions the first time."""
    if not (run / "tokenizer").exists():
        rng = random.Random(seed)
        texts = [caption(scene, rng).text for scene in itertools.islice(draw_scenes(seed), NUM_WORDED)]
        models.make_tokenizer(texts).save_pretrained(run / "tokenizer")
    return CLIPTokenizer.from_pretrained(run / "tokenizer")


def _save(run: Path, reading: Reading, optimizers: list[torch.optim.Optimizer], step: int, spent: float) -> None:
    states = [optimizer.state_dict() for optimizer in optimizers]
    body = {"model": reading.state_dict(), "optimizers": states, "step": step, "spent": spent}
    runs.save_whole(run / "text.pt", body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", required=True)
    parser.add_argument("--minutes", type=float, default=Config.minutes)
    parser.add_argument("--threads", type=int, default=Config.threads)
    train(Config(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
