"""Train the pocket SDXL's UNet on an album, after its autoencoder and its text encoders. The clock rules the rate.

    PYTHONPATH=src python -m sagaforge.training.pocket.sdxl.train --run /tmp/pocket_sdxl_run --minutes 120

The pictures go through the autoencoder once; a caption is worded anew each time. Every few minutes the run saves
`checkpoint.pt`, from which it resumes, a grid of what it paints for prompts that it never saw (`samples/`), and what
the reader finds right in them (`scores.jsonl`). Export with `…pocket_sdxl.export`.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image
from torch import nn

from sagaforge.training import runs
from sagaforge.training.pocket.sdxl import judge, models
from sagaforge.training.pocket.sdxl.album import Album
from sagaforge.training.pocket.sdxl.captions import caption, with_strangers
from sagaforge.training.pocket.sdxl.figure import FRAMES
from sagaforge.training.pocket.sdxl.optimizers import make_optimizers
from sagaforge.training.pocket.sdxl.scenes import COMPOSITIONS
from sagaforge.training.pocket.sdxl.train_vae import to_tensor

ENCODED_AT_ONCE = 64
NUM_MEASURED = 2000
FIGURE_STRESS, EYE_STRESS = 3.0, 8.0
# Where eyes are in units of half a head, from its middle.
EYE_X, EYE_Y, EYE_RADIUS = 0.41, 0.3, 0.25


@dataclass(frozen=True)
class Config:
    """Everything that shapes a run. dropped: share of captions left empty, for guidance."""

    run: str
    minutes: float = 120.0
    threads: int = 2
    seed: int = 1
    batch: int = 32
    matrix_rate: float = 2e-3
    rate: float = 6e-4
    dropped: float = 0.1
    snr_cap: float = 5.0
    average: float = 0.997
    warmup_steps: int = 100
    decay_share: float = 0.35
    compile: bool = False
    report_every: int = 25
    save_minutes: float = 4.0
    score_minutes: float = 20.0
    num_scored: int = 200


@torch.no_grad()
def conditions(pipeline: Any, tokens: torch.Tensor) -> dict[str, Any]:
    """What a call of the UNet is given beside the noisy latents; the text encoders are frozen, as SDXL's.

    tokens: [n, length].
    """
    states, pooled = models.encoded_text(pipeline.text_encoder, pipeline.text_encoder_2, tokens)
    size = torch.tensor([[models.SIZE, models.SIZE, 0, 0, models.SIZE, models.SIZE]], dtype=runs.step_dtype())
    added = {"text_embeds": pooled.to(runs.step_dtype()), "time_ids": size.expand(len(tokens), -1)}
    return {"encoder_hidden_states": states.to(runs.step_dtype()), "added_cond_kwargs": added}


@torch.no_grad()
def encoded(run: Path, album: Album, autoencoder: Any) -> torch.Tensor:
    """Latents of the whole album, [n, channels, height, width]; kept on disk."""
    path = run / "latents.pt"
    if not path.exists():
        fast = autoencoder.to(dtype=runs.step_dtype(), memory_format=torch.channels_last)
        parts = []
        for start in range(0, len(album), ENCODED_AT_ONCE):
            pixels = to_tensor(album.pictures[start : start + ENCODED_AT_ONCE]).to(runs.step_dtype())
            parts.append(fast.encode(pixels).latent_dist.mean.to(torch.float16))
        autoencoder.float()
        runs.save_whole(path, {"latents": torch.cat(parts)})
    return torch.load(path, weights_only=True)["latents"]


def latent_scale(latents: torch.Tensor) -> float:
    """What makes latents as wide as a standard normal, by a sample of them."""
    return 1 / float(latents[:: max(1, len(latents) // NUM_MEASURED)].float().std())


def stress_of(composition: str) -> torch.Tensor:
    """What the error of each latent counts, [height, width]: figures, and their eyes where a portrait shows them, are
    small and yet most of what captions name."""
    cells = models.SIZE // models.FACTOR
    centres = (torch.arange(cells) + 0.5) * models.FACTOR
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    stress = torch.ones(cells, cells)
    for frame in FRAMES[composition]:
        right, down = (x - frame.x) / frame.r, (y - frame.y) / frame.r
        stress[(right.abs() < 1.4) & (down > -1.5) & (down < 6.6)] = FIGURE_STRESS
        if composition == "portrait":
            stress[((right.abs() - EYE_X).abs() < EYE_RADIUS) & ((down - EYE_Y).abs() < EYE_RADIUS)] = EYE_STRESS
    return stress


def loss_of(
    unet: Any, clean: torch.Tensor, noise: torch.Tensor, share: torch.Tensor, timesteps: torch.Tensor,
    given: dict[str, Any], stress: torch.Tensor, snr_cap: float,
) -> torch.Tensor:  # fmt: skip
    """Squared error of the velocity (arXiv 2202.00512), weighted by the capped signal to noise (arXiv 2303.09556).

    share: ᾱ of each, [n]; clean, noise: [n, channels, height, width]; given: of `conditions`; stress: [n, height,
    width].
    """
    signal, rest = (value.sqrt()[:, None, None, None].to(clean.dtype) for value in (share, 1 - share))
    predicted = unet(signal * clean + rest * noise, timesteps, **given).sample.float()
    squares = (predicted - (signal * noise - rest * clean).float()).square().mean(dim=1)
    errors = (squares * stress).mean(dim=(1, 2)) / stress.mean()
    snr = share / (1 - share)
    return (errors * snr.clamp(max=snr_cap) / (snr + 1)).mean() / 0.5


def train(config: Config) -> None:
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    run = Path(config.run)
    album = Album(run / "album")
    pipeline = judge.load_run(run)
    latents = encoded(run, album, pipeline.vae)
    scale = latent_scale(latents)
    pipeline.vae.register_to_config(scaling_factor=scale)

    master = pipeline.unet
    average = {name: value.clone() for name, value in master.state_dict().items()}
    optimizers = make_optimizers(master, matrix_rate=config.matrix_rate, rate=config.rate)
    rates = runs.full_rates(optimizers)
    step, spent = 0, 0.0
    if (run / "checkpoint.pt").exists():
        saved = torch.load(run / "checkpoint.pt", weights_only=True)
        master.load_state_dict(saved["model"])
        average = saved["average"]
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        step, spent = saved["step"], saved["spent"]
    fast = models.make_unet().to(dtype=runs.step_dtype(), memory_format=torch.channels_last)
    # PyTorch's fused attention goes backward slowly on a CPU: without it a step takes two thirds of the time.
    fast.set_attn_processor(AttnProcessor())
    fast.load_state_dict(master.state_dict())
    fast.train()
    print(json.dumps(asdict(config)), f"parameters {sum(p.numel() for p in master.parameters()):,}", flush=True)
    compute = torch.compile(loss_of) if config.compile else loss_of

    shares = pipeline.scheduler.alphas_cumprod
    stresses = {composition: stress_of(composition) for composition in COMPOSITIONS}
    rng, drawn = random.Random(f"{config.seed}-{step}"), torch.Generator().manual_seed(config.seed + step)
    clock = runs.Clock(config.minutes, spent)
    last_save = last_score = seen_at = time.time()
    seen = 0.0
    for progress in clock.steps():
        chosen = [rng.randrange(len(album)) for _ in range(config.batch)]
        texts = [
            "" if rng.random() < config.dropped else with_strangers(caption(album.scenes[n], rng), rng).text
            for n in chosen
        ]
        tokens = pipeline.tokenizer(
            texts, padding="max_length", truncation=True, max_length=models.MAX_TOKENS, return_tensors="pt"
        ).input_ids
        clean = (latents[chosen].float() * scale).to(runs.step_dtype()).contiguous(memory_format=torch.channels_last)
        noise = torch.randn(clean.shape, generator=drawn).to(runs.step_dtype())
        timesteps = torch.randint(0, len(shares), (config.batch,), generator=drawn)
        given = conditions(pipeline, tokens)
        stress = torch.stack([stresses[album.scenes[n].composition] for n in chosen])
        loss = compute(fast, clean, noise, shares[timesteps], timesteps, given, stress, config.snr_cap)
        loss.backward()
        runs.take_gradients(master, fast)
        share = runs.rate_at(step, progress, warmup_steps=config.warmup_steps, decay_share=config.decay_share)
        runs.take_step(master, fast, optimizers, rates, share)
        kept = min(config.average, (step + 1) / (step + 10))
        with torch.no_grad():
            for name, slow in master.named_parameters():
                average[name].lerp_(slow, 1 - kept)

        step += 1
        seen += loss.item()
        if step % config.report_every == 0:
            speed = config.report_every * config.batch / (time.time() - seen_at)
            print(
                f"{time.strftime('%H:%M:%S')} step {step} pictures {step * config.batch} progress {progress:.3f} "
                f"loss {seen / config.report_every:.4f} pictures/s {speed:.1f} rate {share:.2f}",
                flush=True,
            )
            seen, seen_at = 0.0, time.time()
        if time.time() - last_save > config.save_minutes * 60:
            _save(run, master, average, optimizers, step, clock.spent)
            last_save = seen_at = time.time()
        if time.time() - last_score > config.score_minutes * 60:
            _show(run, pipeline, average, step, min(24, config.num_scored))
            last_score = seen_at = time.time()
    _save(run, master, average, optimizers, step, clock.spent)
    if not clock.is_stopped:
        _show(run, pipeline, average, step, config.num_scored)


def _save(
    run: Path, master: nn.Module, average: dict[str, torch.Tensor], optimizers: list[torch.optim.Optimizer], step: int,
    spent: float,
) -> None:  # fmt: skip
    states = [optimizer.state_dict() for optimizer in optimizers]
    body = {"model": master.state_dict(), "average": average, "optimizers": states, "step": step, "spent": spent}
    runs.save_whole(run / "checkpoint.pt", body)


def _show(run: Path, pipeline: Any, average: dict[str, torch.Tensor], step: int, num_scored: int) -> None:
    """Paint unseen prompts with the averaged weights; keep a grid and the score."""
    own = {name: value.clone() for name, value in pipeline.unet.state_dict().items()}
    pipeline.unet.load_state_dict(average)
    pictures, scores = judge.score(pipeline, num_scored)
    pipeline.unet.load_state_dict(own)
    folder = run / "samples"
    folder.mkdir(exist_ok=True)
    shown = pictures[:24]
    columns = min(8, len(shown))
    rows = [np.concatenate(shown[at : at + columns], axis=1) for at in range(0, len(shown) - columns + 1, columns)]
    Image.fromarray(np.concatenate(rows)).save(folder / f"{step:06}.png")
    with (run / "scores.jsonl").open("a") as log:
        log.write(json.dumps({"at": time.strftime("%H:%M:%S"), "step": step, **scores}) + "\n")
    print("score", json.dumps(scores), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", required=True)
    parser.add_argument("--minutes", type=float, default=Config.minutes)
    parser.add_argument("--threads", type=int, default=Config.threads)
    parser.add_argument("--compile", action="store_true")
    train(Config(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
