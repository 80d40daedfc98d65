"""Train the pocket SDXL's UNet and text encoders on an album, after its autoencoder. Resumes; the clock rules the rate.

    PYTHONPATH=src python -m sagaforge.training.pocket_sdxl.train --run /tmp/pocket_sdxl_run --minutes 120

The pictures go through the autoencoder once; a caption is worded anew each time. Every few minutes the run saves
`checkpoint.pt`, a grid of what it paints for prompts that it never saw (`samples/`), and what the reader finds right in
them (`scores.jsonl`). Export with `…pocket_sdxl.export`.
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
from sagaforge.training.pocket_sdxl import judge, models
from sagaforge.training.pocket_sdxl.album import Album
from sagaforge.training.pocket_sdxl.captions import caption
from sagaforge.training.pocket_sdxl.optimizers import make_optimizers
from sagaforge.training.pocket_sdxl.scenes import Scene, draw_scenes
from sagaforge.training.pocket_sdxl.train_vae import to_tensor

ENCODED_AT_ONCE = 64
NUM_WORDED = 20_000
STRANGERS_SHARE = 0.15
NUM_MEASURED = 2000


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


class Painter(nn.Module):
    """What learns: both text encoders and the UNet."""

    def __init__(self, pipeline: Any) -> None:
        super().__init__()
        self.text_encoder = pipeline.text_encoder
        self.text_encoder_2 = pipeline.text_encoder_2
        self.unet = pipeline.unet

    def forward(self, noisy: torch.Tensor, timesteps: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Predicted velocity, [n, channels, height, width]; conditioned as StableDiffusionXLPipeline does it."""
        first = self.text_encoder(tokens, output_hidden_states=True)
        second = self.text_encoder_2(tokens, output_hidden_states=True)
        size = torch.tensor([[models.SIZE, models.SIZE, 0, 0, models.SIZE, models.SIZE]], dtype=noisy.dtype)
        return self.unet(
            noisy,
            timesteps,
            encoder_hidden_states=torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1),
            added_cond_kwargs={"text_embeds": second.text_embeds, "time_ids": size.expand(len(noisy), -1)},
        ).sample


@torch.no_grad()
def encoded(run: Path, album: Album, autoencoder: Any) -> torch.Tensor:
    """Latents of the whole album, [n, channels, height, width]; kept on disk."""
    path = run / "latents.pt"
    if not path.exists():
        fast = autoencoder.to(dtype=torch.bfloat16, memory_format=torch.channels_last)
        parts = []
        for start in range(0, len(album), ENCODED_AT_ONCE):
            pixels = to_tensor(album.pictures[start : start + ENCODED_AT_ONCE]).to(torch.bfloat16)
            parts.append(fast.encode(pixels).latent_dist.mean.to(torch.float16))
        autoencoder.float()
        runs.save_whole(path, {"latents": torch.cat(parts)})
    return torch.load(path, weights_only=True)["latents"]


def latent_scale(latents: torch.Tensor) -> float:
    """What makes latents as wide as a standard normal, by a sample of them."""
    return 1 / float(latents[:: max(1, len(latents) // NUM_MEASURED)].float().std())


def loss_of(
    painter: Painter, clean: torch.Tensor, noise: torch.Tensor, share: torch.Tensor, timesteps: torch.Tensor,
    tokens: torch.Tensor, snr_cap: float,
) -> torch.Tensor:  # fmt: skip
    """Squared error of the velocity (arXiv 2202.00512), weighted by the capped signal to noise (arXiv 2303.09556).

    share: ᾱ of each, [n]; clean, noise: [n, channels, height, width].
    """
    signal, rest = (value.sqrt()[:, None, None, None].to(clean.dtype) for value in (share, 1 - share))
    predicted = painter(signal * clean + rest * noise, timesteps, tokens).float()
    errors = (predicted - (signal * noise - rest * clean).float()).square().mean(dim=(1, 2, 3))
    snr = share / (1 - share)
    return (errors * snr.clamp(max=snr_cap) / (snr + 1)).mean() / 0.5


def train(config: Config) -> None:
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    run = Path(config.run)
    album = Album(run / "album")
    if not (run / "tokenizer").exists():
        rng = random.Random(config.seed)
        texts = [
            caption(scene, rng).text for scene, _ in zip(draw_scenes(config.seed), range(NUM_WORDED), strict=False)
        ]
        models.make_tokenizer(texts).save_pretrained(run / "tokenizer")
    pipeline = judge.load_run(run)
    latents = encoded(run, album, pipeline.vae)
    scale = latent_scale(latents)
    pipeline.vae.register_to_config(scaling_factor=scale)

    master = Painter(pipeline)
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
    fast = Painter(judge.fresh_parts(pipeline)).to(dtype=torch.bfloat16)
    fast.unet.to(memory_format=torch.channels_last)
    # PyTorch's fused attention goes backward slowly on a CPU: without it a step takes two thirds of the time.
    fast.unet.set_attn_processor(AttnProcessor())
    for encoder in (fast.text_encoder, fast.text_encoder_2):
        encoder.set_attn_implementation("eager")
    fast.load_state_dict(master.state_dict())
    fast.train()
    print(json.dumps(asdict(config)), f"parameters {sum(p.numel() for p in master.parameters()):,}", flush=True)
    compute = torch.compile(loss_of) if config.compile else loss_of

    shares = pipeline.scheduler.alphas_cumprod
    rng, drawn = random.Random(f"{config.seed}-{step}"), torch.Generator().manual_seed(config.seed + step)
    clock = runs.Clock(config.minutes, spent)
    last_save = last_score = seen_at = time.time()
    seen = 0.0
    for progress in clock.steps():
        chosen = [rng.randrange(len(album)) for _ in range(config.batch)]
        texts = ["" if rng.random() < config.dropped else _worded(album.scenes[n], rng) for n in chosen]
        tokens = pipeline.tokenizer(
            texts, padding="max_length", truncation=True, max_length=models.MAX_TOKENS, return_tensors="pt"
        ).input_ids
        clean = (latents[chosen].float() * scale).to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
        noise = torch.randn(clean.shape, generator=drawn).to(torch.bfloat16)
        timesteps = torch.randint(0, len(shares), (config.batch,), generator=drawn)
        loss = compute(fast, clean, noise, shares[timesteps], timesteps, tokens, config.snr_cap)
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
            _show(run, pipeline, master, average, step, min(24, config.num_scored))
            last_score = seen_at = time.time()
    _save(run, master, average, optimizers, step, clock.spent)
    if not clock.is_stopped:
        _show(run, pipeline, master, average, step, config.num_scored)


def _worded(scene: Scene, rng: random.Random) -> str:
    """A caption, now and then with names in it that nobody knows: a world's own words must not lead astray."""
    text = caption(scene, rng).text
    if rng.random() >= STRANGERS_SHARE:
        return text
    parts = text.split(", ")
    for _ in range(rng.randint(1, 2)):
        name = "".join(rng.choice("bdfghklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(1, 3)))
        parts.insert(rng.randint(0, len(parts)), f"{rng.choice(('', 'the ', 'of ', 'in '))}{name}{rng.choice('nrsl')}")
    return ", ".join(parts)


def _save(
    run: Path, master: Painter, average: dict[str, torch.Tensor], optimizers: list[torch.optim.Optimizer], step: int,
    spent: float,
) -> None:  # fmt: skip
    states = [optimizer.state_dict() for optimizer in optimizers]
    body = {"model": master.state_dict(), "average": average, "optimizers": states, "step": step, "spent": spent}
    runs.save_whole(run / "checkpoint.pt", body)


def _show(
    run: Path, pipeline: Any, master: Painter, average: dict[str, torch.Tensor], step: int, num_scored: int
) -> None:
    """Paint unseen prompts with the averaged weights; keep a grid and the score."""
    own = {name: value.clone() for name, value in master.state_dict().items()}
    master.load_state_dict(average)
    pictures, scores = judge.score(pipeline, num_scored)
    master.load_state_dict(own)
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
