"""What a UNet is told besides the noisy picture: prompt embeddings, cached by their text, and SDXL's sizes."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from sagaforge.deployments.diffusion.adapters import AdapterMixer, Stack
from sagaforge.deployments.diffusion.devices import working_device
from sagaforge.deployments.diffusion.requests import GenerationRequest


@dataclass(frozen=True)
class Conditioning:
    """Rows for one request: with guidance the negative one, then the positive one; without, the positive one.

    embeddings: [rows, tokens, width]; pooled: [rows, width] and time_ids: [rows, 6] for SDXL, None for SD 1.5.
    """

    embeddings: torch.Tensor
    pooled: torch.Tensor | None
    time_ids: torch.Tensor | None


@dataclass(frozen=True)
class _Encoded:
    embeddings: torch.Tensor
    pooled: torch.Tensor | None

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (self.embeddings, self.pooled) if tensor is not None)


class Conditioner:
    """Encodes prompts with a pipeline's own text encoders. `cache_bytes`: what the cached embeddings may take."""

    def __init__(self, pipeline: Any, cache_bytes: int) -> None:
        self._pipeline = pipeline
        encoders = {part: getattr(pipeline, part, None) for part in ("text_encoder", "text_encoder_2")}
        self._mixers = [AdapterMixer(part, encoder) for part, encoder in encoders.items() if encoder is not None]
        self._cache_bytes = cache_bytes
        self._cache: OrderedDict[tuple[str, Stack], _Encoded] = OrderedDict()
        self.hits = self.misses = 0

    @property
    def is_xl(self) -> bool:
        return bool(self._pipeline.unet.config.addition_embed_type == "text_time")

    def condition(self, request: GenerationRequest) -> Conditioning:
        """The rows of a request."""
        # Most adapters leave the text encoders alone: their prompts are those of everybody.
        stack = tuple(one for one in request.adapters if any(mixer.touches((one,)) for mixer in self._mixers))
        rows = [self._encode(request.prompt, stack)]
        if request.guidance_scale > 1.0:
            rows.insert(0, self._negative(request.negative_prompt, stack, rows[0]))
        pooled = [row.pooled for row in rows if row.pooled is not None]
        return Conditioning(
            embeddings=torch.cat([row.embeddings for row in rows]),
            pooled=torch.cat(pooled) if pooled else None,
            time_ids=self._time_ids(request).repeat(len(rows), 1) if self.is_xl else None,
        )

    def _negative(self, prompt: str | None, stack: Stack, positive: _Encoded) -> _Encoded:
        if prompt is None and self.is_xl and self._pipeline.config.force_zeros_for_empty_prompt:
            assert positive.pooled is not None
            return _Encoded(torch.zeros_like(positive.embeddings), torch.zeros_like(positive.pooled))
        return self._encode(prompt or "", stack)

    def _encode(self, prompt: str, stack: Stack) -> _Encoded:
        key = (prompt, stack)
        if key in self._cache:
            self.hits += 1
            self._cache.move_to_end(key)
            return self._cache[key]
        self.misses += 1
        with ExitStack() as mixing:
            for mixer in self._mixers:
                mixing.enter_context(mixer.using([stack]))
            encoded = self._pipeline.encode_prompt(
                prompt=prompt,
                device=working_device(self._pipeline.unet),
                num_images_per_prompt=1,
                do_classifier_free_guidance=False,
            )
        row = _Encoded(encoded[0], encoded[2] if self.is_xl else None)
        self._cache[key] = row
        while sum(cached.num_bytes for cached in self._cache.values()) > self._cache_bytes and len(self._cache) > 1:
            self._cache.popitem(last=False)
        return row

    def _time_ids(self, request: GenerationRequest) -> torch.Tensor:
        """Original size, crop and target size, as SDXL's paper has them (arXiv 2307.01952, section 2.2)."""
        unet = self._pipeline.unet
        size = (request.height, request.width)
        return torch.tensor([[*size, 0, 0, *size]], dtype=unet.dtype, device=working_device(unet))
