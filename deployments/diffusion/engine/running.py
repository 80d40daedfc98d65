"""One request on its way: its latents, its scheduler and where it stands. Follows diffusers' text-to-image,
image-to-image and inpaint pipelines step by step, so that the picture is the one that they make."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor

from sagaforge.deployments.diffusion.engine import schedulers
from sagaforge.deployments.diffusion.engine.conditioning import Conditioning
from sagaforge.deployments.diffusion.engine.devices import working_device
from sagaforge.deployments.diffusion.engine.latents import Pictures
from sagaforge.deployments.diffusion.engine.requests import GenerationRequest, Listener
from sagaforge.errors import InvalidInput


@dataclass(frozen=True)
class Kept:
    """What an inpainting keeps: latents of the picture, the noise that it gets at each step, and where not to keep it
    (1: paint anew), each [1, channels, height, width]."""

    latents: torch.Tensor
    noise: torch.Tensor
    mask: torch.Tensor


@dataclass
class Running:
    """A request between admission and its last step. `latents`: [1, channels, height, width]."""

    request: GenerationRequest
    listener: Listener
    conditioning: Conditioning
    scheduler: Any
    timesteps: torch.Tensor
    latents: torch.Tensor
    generator: torch.Generator
    arrived_at: float
    started_at: float
    kept: Kept | None = None
    # Channels that an inpainting UNet reads beside the latents: mask and masked picture.
    beside: torch.Tensor | None = None
    # Of so many steps one goes through all of the UNet; `deep` is what its deep layers said there.
    full_every: int = 1
    deep: torch.Tensor | None = None
    done: int = 0
    expected: torch.Tensor | None = None
    # The number of the engine's round in which it was last served.
    served_at: int = -1

    @property
    def num_rows(self) -> int:
        return int(self.conditioning.embeddings.shape[0])

    @property
    def is_finished(self) -> bool:
        return self.done >= len(self.timesteps)

    @property
    def shape(self) -> tuple[int, ...]:
        """Requests of one shape can share a UNet call."""
        return (*self.latents.shape[1:], *self.conditioning.embeddings.shape[1:], int(self.is_shallow))

    @property
    def is_shallow(self) -> bool:
        """Whether the next step can do without the deep layers. The last one, which decides details, can not."""
        is_last = self.done == len(self.timesteps) - 1
        return self.deep is not None and self.done % self.full_every != 0 and not is_last

    @property
    def timestep(self) -> torch.Tensor:
        return self.timesteps[self.done]

    def model_input(self) -> torch.Tensor:
        """[rows, channels, height, width]"""
        scaled = self.scheduler.scale_model_input(self.latents.repeat(self.num_rows, 1, 1, 1), self.timestep)
        return scaled if self.beside is None else torch.cat([scaled, self.beside.repeat(self.num_rows, 1, 1, 1)], dim=1)

    def advance(self, predicted: torch.Tensor) -> None:
        """Take what the UNet said for this request's rows, and go one step."""
        if self.num_rows == 2:
            without, with_prompt = predicted.chunk(2)
            predicted = without + self.request.guidance_scale * (with_prompt - without)
            if self.request.guidance_rescale > 0.0:
                predicted = _rescaled(predicted, with_prompt, self.request.guidance_rescale)
        dtype = self.latents.dtype
        latents, self.expected = schedulers.step(self.scheduler, predicted, self.timestep, self.latents, self.generator)
        self.done += 1
        if self.kept is not None:
            kept = self.kept.latents
            if not self.is_finished:
                kept = self.scheduler.add_noise(kept, self.kept.noise, self.timestep.reshape(1))
            latents = (1 - self.kept.mask) * kept + self.kept.mask * latents
        self.latents = latents.to(dtype)


def start(
    request: GenerationRequest,
    listener: Listener,
    conditioning: Conditioning,
    pictures: Pictures,
    unet: Any,
    scheduler_config: Any,
    arrived_at: float,
    full_every: int = 1,
) -> Running:
    """Everything up to the first step. Raises `InvalidInput` for what this model can't do."""
    dtype, device = unet.dtype, working_device(unet)
    scheduler = schedulers.make_scheduler(request.scheduler, scheduler_config)
    scheduler.set_timesteps(request.steps, device=device)
    timesteps = scheduler.timesteps
    if request.image is not None:
        skipped = request.steps - min(int(request.steps * request.strength), request.steps)
        timesteps = timesteps[skipped * scheduler.order :]
        if len(timesteps) == 0:
            raise InvalidInput(
                f"A strength of {request.strength} leaves none of {request.steps} steps: raise one of them."
            )
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(len(scheduler.timesteps) - len(timesteps))

    generator = torch.Generator().manual_seed(request.seed)
    shape = (1, pictures.channels, request.height // pictures.factor, request.width // pictures.factor)
    running = Running(
        request=request,
        listener=listener,
        conditioning=conditioning,
        scheduler=scheduler,
        timesteps=timesteps,
        latents=torch.empty(0),
        generator=generator,
        arrived_at=arrived_at,
        started_at=time.monotonic(),
        full_every=full_every,
    )
    reads_mask = unet.config.in_channels == 2 * pictures.channels + 1
    if not reads_mask and unet.config.in_channels != pictures.channels:
        raise InvalidInput("This model can't paint from text: its UNet reads other channels than its VAE writes.")
    if request.image is None:
        if reads_mask:
            raise InvalidInput("This model only paints into pictures: send an image and a mask.")
        noise = randn_tensor(shape, generator=generator, device=device, dtype=dtype)
        running.latents = noise * scheduler.init_noise_sigma
        return running

    is_all_noise = request.mask is not None and request.strength >= 1.0
    original = None
    if not (reads_mask and is_all_noise):
        original = pictures.encode(request.image, request, generator, dtype)
    noise = randn_tensor(shape, generator=generator, device=device, dtype=dtype)
    if is_all_noise:
        running.latents = noise * scheduler.init_noise_sigma
    else:
        assert original is not None
        running.latents = scheduler.add_noise(original, noise, timesteps[:1])
    if request.mask is not None:
        mask = pictures.mask(request.mask, request).to(device=device, dtype=dtype)
        if reads_mask:
            holed = pictures.encode(request.image, request, generator, dtype, without=request.mask)
            running.beside = torch.cat([mask, holed], dim=1)
        else:
            assert original is not None
            running.kept = Kept(original, noise, mask)
    elif reads_mask:
        raise InvalidInput("This model only paints into pictures: send a mask with the image.")
    return running


def _rescaled(guided: torch.Tensor, with_prompt: torch.Tensor, share: float) -> torch.Tensor:
    """Guidance with its overexposure taken back (arXiv 2305.08891, section 3.4)."""
    axes = list(range(1, with_prompt.ndim))
    as_before = guided * (with_prompt.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True))
    return share * as_before + (1 - share) * guided
