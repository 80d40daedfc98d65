"""Train the pocket SDXL's autoencoder on an album of drawings. Resumes; `--minutes` is of all its time.

    PYTHONPATH=src python -m sagaforge.training.pocket.sdxl.train_vae --run /tmp/pocket_sdxl_run --minutes 40

Writes `vae.pt` and, every few minutes, `vae.png`: drawings above what the autoencoder makes of them. After the UNet,
`--decoder-only` with more minutes makes pictures sharper: the UNet's latents stay what they are.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from sagaforge.training import runs
from sagaforge.training.pocket.sdxl import models
from sagaforge.training.pocket.sdxl.album import Album
from sagaforge.training.pocket.sdxl.optimizers import make_optimizers

NUM_SHOWN = 8


@dataclass(frozen=True)
class Config:
    run: str
    minutes: float = 40.0
    threads: int = 2
    decoder_only: bool = False
    seed: int = 1
    batch: int = 16
    # Many small steps go further than few large ones: parts of pictures at first, whole ones at the end.
    crop: int = 64
    whole_share: float = 0.15
    rate: float = 1e-3
    kl_weight: float = 1e-5
    warmup_steps: int = 100
    decay_share: float = 0.4
    report_every: int = 50
    save_minutes: float = 3.0


def to_tensor(pictures: np.ndarray) -> torch.Tensor:
    """uint8 [n, height, width, 3] → [n, 3, height, width] from -1 to 1, channels last in memory."""
    pixels = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return pixels.contiguous(memory_format=torch.channels_last)


def to_picture(pixels: torch.Tensor) -> np.ndarray:
    """The other way round, for one or for many."""
    values = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return values.movedim(-3, -1).cpu().numpy()


def draw_windows(count: int, size: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Top and left of a square for each picture, from anywhere in it, on the grid of the latents."""
    places = rng.integers(0, (models.SIZE - size) // models.FACTOR + 1, (count, 2)) * models.FACTOR
    return [(int(top), int(left)) for top, left in places]


def loss_of(made: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Absolute error at three sizes and of edges: lines and eyes are few pixels, and what people look at."""
    made, true = made.float(), true.float()
    loss = functional.l1_loss(made, true)
    for axis in (2, 3):
        loss = loss + functional.l1_loss(made.diff(dim=axis), true.diff(dim=axis))
    for size in (2, 4):
        loss = loss + 0.5 * functional.l1_loss(functional.avg_pool2d(made, size), functional.avg_pool2d(true, size))
    return loss


def train(config: Config) -> None:
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    run = Path(config.run)
    album = Album(run / "album")
    master = models.make_autoencoder()
    optimizers = make_optimizers(master, matrix_rate=config.rate, rate=config.rate)
    rates = runs.full_rates(optimizers)
    step, spent = 0, 0.0
    if (run / "vae.pt").exists():
        saved = torch.load(run / "vae.pt", weights_only=True)
        master.load_state_dict(saved["model"])
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        step, spent = saved["step"], saved["spent"]
    fast = models.make_autoencoder().to(memory_format=torch.channels_last, dtype=runs.step_dtype())
    fast.load_state_dict(master.state_dict())
    known = torch.load(run / "latents.pt", weights_only=True)["latents"] if config.decoder_only else None
    rng = np.random.default_rng(step + config.seed)
    clock = runs.Clock(config.minutes, spent)
    last_save = seen_at = time.time()
    seen = 0.0
    for progress in clock.steps():
        size = config.crop if progress < 1 - config.whole_share else models.SIZE
        chosen = np.sort(rng.integers(0, len(album), config.batch))
        windows = draw_windows(config.batch, size, rng)
        pictures = [album.pictures[n, y : y + size, x : x + size] for n, (y, x) in zip(chosen, windows, strict=True)]
        pixels = to_tensor(np.stack(pictures)).to(runs.step_dtype())
        if known is not None:
            side = size // models.FACTOR
            cells = [(n, y // models.FACTOR, x // models.FACTOR) for n, (y, x) in zip(chosen, windows, strict=True)]
            latents = torch.stack([known[n, :, y : y + side, x : x + side] for n, y, x in cells])
            loss = loss_of(fast.decode(latents.to(runs.step_dtype())).sample, pixels)
        else:
            posterior = fast.encode(pixels).latent_dist
            latents = posterior.mean + posterior.std * torch.randn_like(posterior.mean)
            loss = loss_of(fast.decode(latents).sample, pixels) + config.kl_weight * posterior.kl().mean()
        loss.backward()
        runs.take_gradients(master, fast)
        share = runs.rate_at(step, progress, warmup_steps=config.warmup_steps, decay_share=config.decay_share)
        runs.take_step(master, fast, optimizers, rates, share)
        step += 1
        seen += loss.item()
        if step % config.report_every == 0:
            speed = config.report_every * config.batch / (time.time() - seen_at)
            print(f"step {step} progress {progress:.3f} loss {seen / config.report_every:.4f} pictures/s {speed:.1f}")
            seen, seen_at = 0.0, time.time()
        if time.time() - last_save > config.save_minutes * 60:
            _save(run, master, optimizers, step, clock.spent, album)
            last_save = seen_at = time.time()
    _save(run, master, optimizers, step, clock.spent, album)


@torch.no_grad()
def _save(
    run: Path, model: Any, optimizers: list[torch.optim.Optimizer], step: int, spent: float, album: Album
) -> None:
    runs.save_whole(
        run / "vae.pt",
        {
            "model": model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "step": step,
            "spent": spent,
        },
    )
    pixels = to_tensor(album.pictures[:NUM_SHOWN])
    latents = model.encode(pixels).latent_dist.mean
    made = model.decode(latents).sample
    rows = [np.concatenate(list(to_picture(one)), axis=1) for one in (pixels, made)]
    Image.fromarray(np.concatenate(rows)).save(run / "vae.png")
    error = functional.mse_loss((made.clamp(-1, 1) + 1) / 2, (pixels + 1) / 2)
    print(f"saved at step {step}: {-10 * torch.log10(error):.2f} dB, latents {latents.std():.3f} wide", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", required=True)
    parser.add_argument("--minutes", type=float, default=Config.minutes)
    parser.add_argument("--threads", type=int, default=Config.threads)
    parser.add_argument("--decoder-only", action="store_true", help="the UNet's latents, in latents.pt, stay")
    train(Config(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
