"""What a UNet is told besides the noisy picture: prompt embeddings, cached by their text, and SDXL's sizes.

A text encoder reads a window of some 75 tokens. A longer prompt is read window by window, and what they say is laid
one after the other for the UNet's attention, as in AUTOMATIC1111's web interface and compel. A weight moves a token's
embedding away from the empty prompt's, or towards it: empty + weight · (token - empty), as in compel and ComfyUI.
compel itself (2.5.1) reads another syntax, has no `(word:1.2)`, and calls encoders in batches of its own making, in
which the rows would not be those that adapters are mixed in for; so the few lines stand here.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch

from sagaforge.deployments.diffusion.adapters.mixer import AdapterMixer, Stack
from sagaforge.deployments.diffusion.engine.devices import working_device
from sagaforge.deployments.diffusion.engine.requests import GenerationRequest
from sagaforge.errors import InvalidInput
from sagaforge.imaging.prompts import Fragment, parse


@dataclass(frozen=True)
class Conditioning:
    """Rows for one request: with guidance the negative one, then the positive one; without, the positive one.

    embeddings: [rows, tokens, width], tokens of all windows; pooled: [rows, width] and time_ids: [rows, 6] for SDXL,
    None for SD 1.5.
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


@dataclass(frozen=True)
class _Encoder:
    """A text encoder with its tokenizer, and the mixer that gives its rows their adapters."""

    tokenizer: Any
    model: Any
    mixer: AdapterMixer


class Conditioner:
    """Encodes prompts with a pipeline's own text encoders. `cache_bytes`: what the cached embeddings may take;
    `max_windows` of one prompt."""

    def __init__(self, pipeline: Any, cache_bytes: int, max_windows: int) -> None:
        self._pipeline = pipeline
        self._encoders = [
            _Encoder(getattr(pipeline, tokenizer), getattr(pipeline, part), AdapterMixer(part, getattr(pipeline, part)))
            for part, tokenizer in (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2"))
            if getattr(pipeline, part, None) is not None
        ]
        self._cache_bytes = cache_bytes
        self._max_windows = max_windows
        self._cache: OrderedDict[tuple[str, Stack], _Encoded] = OrderedDict()
        self.hits = self.misses = 0

    @property
    def is_xl(self) -> bool:
        return bool(self._pipeline.unet.config.addition_embed_type == "text_time")

    def condition(self, request: GenerationRequest) -> Conditioning:
        """The rows of a request. Raises `InvalidInput` for a prompt that is too long or has wrong weights."""
        # Most adapters leave the text encoders alone: their prompts are those of everybody.
        stack = tuple(
            one for one in request.adapters if any(encoder.mixer.touches((one,)) for encoder in self._encoders)
        )
        rows = [self._encode(request.prompt, stack)]
        if request.guidance_scale > 1.0:
            rows.insert(0, self._negative(request.negative_prompt, stack, rows[0]))
        num_tokens = max(row.embeddings.shape[1] for row in rows)
        pooled = [row.pooled for row in rows if row.pooled is not None]
        return Conditioning(
            embeddings=torch.cat([self._padded(row.embeddings, num_tokens, stack) for row in rows]),
            pooled=torch.cat(pooled) if pooled else None,
            time_ids=self._time_ids(request).repeat(len(rows), 1) if self.is_xl else None,
        )

    def _negative(self, prompt: str | None, stack: Stack, positive: _Encoded) -> _Encoded:
        if prompt is None and self.is_xl and self._pipeline.config.force_zeros_for_empty_prompt:
            assert positive.pooled is not None
            return _Encoded(torch.zeros_like(positive.embeddings), torch.zeros_like(positive.pooled))
        return self._encode(prompt or "", stack)

    def _padded(self, embeddings: torch.Tensor, num_tokens: int, stack: Stack) -> torch.Tensor:
        """[1, num_tokens, width]: windows of the empty prompt stand where the other prompt of the request goes on."""
        if embeddings.shape[1] == num_tokens:
            return embeddings
        empty = self._encode("", stack).embeddings
        num_windows = (num_tokens - embeddings.shape[1]) // empty.shape[1]
        return torch.cat([embeddings, *[empty] * num_windows], dim=1)

    def _encode(self, prompt: str, stack: Stack) -> _Encoded:
        key = (prompt, stack)
        if key in self._cache:
            self.hits += 1
            self._cache.move_to_end(key)
            return self._cache[key]
        self.misses += 1
        row = self._read(parse(prompt), stack)
        self._cache[key] = row
        while sum(cached.num_bytes for cached in self._cache.values()) > self._cache_bytes and len(self._cache) > 1:
            self._cache.popitem(last=False)
        return row

    def _read(self, fragments: tuple[Fragment, ...], stack: Stack) -> _Encoded:
        """What all encoders say of all windows, side by side; pooled: of the first window, by the last encoder."""
        read = [_tokens(encoder.tokenizer, fragments) for encoder in self._encoders]
        sizes = [encoder.tokenizer.model_max_length - 2 for encoder in self._encoders]
        num_windows = max(-(-len(tokens) // size) or 1 for tokens, size in zip(read, sizes, strict=True))
        if num_windows > self._max_windows:
            raise InvalidInput(
                f"The prompt comes to {len(read[0])} tokens; {self._max_windows * sizes[0]} are the most: shorten it."
            )
        hidden = []
        pooled: torch.Tensor | None = None
        for encoder, tokens in zip(self._encoders, read, strict=True):
            said, pooled = self._say(encoder, tokens, num_windows, stack)
            hidden.append(said)
        return _Encoded(torch.cat(hidden, dim=-1), pooled)

    def _say(
        self, encoder: _Encoder, tokens: list[tuple[int, float]], num_windows: int, stack: Stack
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """One encoder's embeddings [1, tokens of all windows, width], and pooled [1, width] for SDXL."""
        is_weighted = any(weight != 1.0 for _, weight in tokens)
        # The empty prompt comes along as one window more, where weights are measured from it.
        ids, weights = _windows(encoder.tokenizer, tokens, num_windows + is_weighted)
        mask = None
        if getattr(encoder.model.config, "use_attention_mask", False) and not self.is_xl:
            mask = _attended(ids, encoder.tokenizer.eos_token_id).to(working_device(encoder.model))
        with encoder.mixer.using([stack] * len(ids)):
            said = encoder.model(
                ids.to(working_device(encoder.model)), attention_mask=mask, output_hidden_states=self.is_xl
            )
        hidden = said.hidden_states[-2] if self.is_xl else said[0]
        if is_weighted:
            empty = hidden[-1:]
            hidden = empty + (hidden - empty) * weights.to(hidden)[..., None]
        return hidden[:num_windows].reshape(1, -1, hidden.shape[-1]), said[0][:1] if self.is_xl else None

    def _time_ids(self, request: GenerationRequest) -> torch.Tensor:
        """Original size, crop and target size, as SDXL's paper has them (arXiv 2307.01952, section 2.2)."""
        unet = self._pipeline.unet
        size = (request.height, request.width)
        return torch.tensor([[*size, 0, 0, *size]], dtype=unet.dtype, device=working_device(unet))


def _tokens(tokenizer: Any, fragments: tuple[Fragment, ...]) -> list[tuple[int, float]]:
    """Ids and weights, without marks of begin and end."""
    return [
        (token, fragment.weight)
        for fragment in fragments
        for token in tokenizer(fragment.text, add_special_tokens=False, verbose=False).input_ids
    ]


def _windows(tokenizer: Any, tokens: list[tuple[int, float]], num_windows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and weights, [num_windows, window], each window with its marks and padded as the tokenizer does it."""
    room = tokenizer.model_max_length - 2
    ids, weights = [], []
    for start in range(0, num_windows * room, room):
        part = tokens[start : start + room]
        missing = room - len(part)
        ids.append(
            [tokenizer.bos_token_id, *(token for token, _ in part), tokenizer.eos_token_id]
            + [tokenizer.pad_token_id] * missing
        )
        weights.append([1.0, *(weight for _, weight in part), 1.0] + [1.0] * missing)
    return torch.tensor(ids), torch.tensor(weights)


def _attended(ids: torch.Tensor, eos: int) -> torch.Tensor:
    """1 up to each window's mark of its end, 0 for the padding after it."""
    return ((ids == eos).cumsum(dim=1) - (ids == eos).long() == 0).long()
