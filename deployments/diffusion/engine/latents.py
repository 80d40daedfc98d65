"""Between pictures and latents: the VAE, masks, and small previews that need no VAE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from sagaforge.deployments.diffusion.engine.devices import working_device
from sagaforge.deployments.diffusion.engine.requests import GenerationRequest

NUM_CALIBRATION = 8


class Pictures:
    """The VAE of a pipeline. `channels` of a latent; `factor`: pixels for a latent's pixel; `max_decoded` at once."""

    def __init__(self, pipeline: Any, max_decoded: int) -> None:
        self._vae = pipeline.vae
        self.channels = int(self._vae.config.latent_channels)
        self.factor = int(pipeline.vae_scale_factor)
        self._processor = VaeImageProcessor(vae_scale_factor=self.factor, do_convert_rgb=True)
        self._mask_processor = VaeImageProcessor(
            vae_scale_factor=self.factor, do_normalize=False, do_binarize=True, do_convert_grayscale=True
        )
        self._max_decoded = max_decoded
        self._to_rgb: torch.Tensor | None = None

    def encode(
        self,
        image: Image.Image,
        request: GenerationRequest,
        generator: torch.Generator,
        dtype: torch.dtype,
        without: Image.Image | None = None,
    ) -> torch.Tensor:
        """Latents [1, channels, height, width] of the picture at the request's size, grey where `without` is white."""
        pixels = self._processor.preprocess(image, height=request.height, width=request.width).float()
        if without is not None:
            mask = self._mask_processor.preprocess(without, height=request.height, width=request.width)
            pixels = pixels * (mask < 0.5)
        pixels = pixels.to(device=working_device(self._vae), dtype=self._vae.dtype)
        latents = self._vae.encode(pixels).latent_dist.sample(generator)
        return ((latents.to(dtype) - self._mean(dtype)) * self._scale(dtype)).to(dtype)

    def mask(self, mask: Image.Image, request: GenerationRequest) -> torch.Tensor:
        """[1, 1, height, width] at the size of latents; 1 where to paint anew."""
        pixels = self._mask_processor.preprocess(mask, height=request.height, width=request.width)
        size = (request.height // self.factor, request.width // self.factor)
        return torch.nn.functional.interpolate(pixels, size=size)

    def decode(self, latents: Sequence[torch.Tensor]) -> list[Image.Image]:
        """Pictures of latents of one shape, [1, channels, height, width] each."""
        images: list[Image.Image] = []
        for start in range(0, len(latents), self._max_decoded):
            part = torch.cat(list(latents[start : start + self._max_decoded]))
            part = part / self._scale(part.dtype) + self._mean(part.dtype)
            pixels = self._vae.decode(part.to(self._vae.dtype), return_dict=False)[0]
            images += self._processor.postprocess(pixels, output_type="pil")
        return images

    def preview(self, latents: torch.Tensor) -> Image.Image:
        """A picture as small as the latents, by a linear map from latent channels to colours."""
        if self._to_rgb is None:
            self._to_rgb = self._fit_rgb()
        ones = torch.ones_like(latents[:1, :1])
        pixels = torch.einsum("chw,cr->hwr", torch.cat([latents[:1], ones], dim=1)[0].float(), self._to_rgb)
        values = ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
        return Image.fromarray(values)

    def _fit_rgb(self) -> torch.Tensor:
        """[channels + 1, 3], least squares between smooth random latents and what the VAE makes of them: so any VAE
        has previews without a table of its own."""
        generator = torch.Generator().manual_seed(0)
        coarse = torch.randn(NUM_CALIBRATION, self.channels, 4, 4, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bicubic")
        smooth = smooth.to(device=working_device(self._vae), dtype=self._vae.dtype)
        scaled = smooth / self._scale(smooth.dtype) + self._mean(smooth.dtype)
        pixels = self._vae.decode(scaled, return_dict=False)[0].float()
        seen = torch.nn.functional.avg_pool2d(pixels, self.factor).permute(0, 2, 3, 1).reshape(-1, 3)
        inputs = smooth.float().permute(0, 2, 3, 1).reshape(-1, self.channels)
        inputs = torch.cat([inputs, torch.ones(len(inputs), 1, device=inputs.device)], dim=1)
        return torch.linalg.lstsq(inputs, seen).solution

    def _mean(self, dtype: torch.dtype) -> torch.Tensor:
        mean = getattr(self._vae.config, "latents_mean", None)
        values = mean if mean is not None and self._has_std else [0.0] * self.channels
        return torch.tensor(values, dtype=dtype, device=working_device(self._vae)).view(1, -1, 1, 1)

    def _scale(self, dtype: torch.dtype) -> torch.Tensor:
        std = getattr(self._vae.config, "latents_std", None)
        factor = float(self._vae.config.scaling_factor)
        values = [factor / value for value in std] if std is not None else [factor] * self.channels
        return torch.tensor(values, dtype=dtype, device=working_device(self._vae)).view(1, -1, 1, 1)

    @property
    def _has_std(self) -> bool:
        return getattr(self._vae.config, "latents_std", None) is not None
