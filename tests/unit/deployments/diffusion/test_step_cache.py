"""The UNet's shallow steps: exact where nothing has changed, shared among requests, and off unless asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from sagaforge.deployments.diffusion.engine.engine import DiffusionEngine
from sagaforge.deployments.diffusion.engine.requests import GenerationRequest
from sagaforge.deployments.diffusion.engine.step_cache import StepCache
from sagaforge.profiles import EngineLimits
from tests.support.tiny_diffusion import make_pipeline
from tests.unit.deployments.diffusion.test_diffusion_engine import assert_same, finished, image_of

ASKED = GenerationRequest("a red cat", width=32, height=32, steps=9, guidance_scale=3.0, seed=7)


pytestmark = pytest.mark.usefixtures("one_thread")


def inputs_of(unet: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    generator = torch.Generator().manual_seed(1)
    side, channels = 16, unet.config.in_channels
    args = torch.randn(3, channels, side, side, generator=generator), torch.tensor([900.0, 500.0, 20.0])
    added = None
    if unet.config.addition_embed_type == "text_time":
        width = unet.config.projection_class_embeddings_input_dim - 6 * unet.config.addition_time_embed_dim
        added = {"text_embeds": torch.randn(3, width, generator=generator), "time_ids": torch.ones(3, 6)}
    states = torch.randn(3, 77, unet.config.cross_attention_dim, generator=generator)
    return args, {"encoder_hidden_states": states, "added_cond_kwargs": added}


@pytest.mark.parametrize("family", ["xl", "sd15"])
@torch.inference_mode()
def test_on_the_same_input_the_shallow_way_says_what_the_full_one_does(family: str) -> None:
    unet = make_pipeline(family).unet
    args, options = inputs_of(unet)
    plain = unet(*args, **options, return_dict=False)[0]
    cache = StepCache(unet)
    predicted, deep = cache.full(*args, **options)
    assert torch.equal(predicted, plain)
    assert torch.allclose(cache.shallow(deep, *args, **options), plain, atol=1e-6)
    assert not torch.allclose(cache.shallow(deep + 1, *args, **options), plain, atol=1e-3)
    assert torch.equal(unet(*args, **options, return_dict=False)[0], plain), "the UNet itself is as it was"


def test_deep_layers_are_asked_as_often_as_told_and_at_the_last_step() -> None:
    pipeline = make_pipeline("xl")
    calls: list[int] = []
    pipeline.unet.mid_block.register_forward_hook(lambda module, args, output: calls.append(len(output)))
    plain = image_of(finished(DiffusionEngine(pipeline), ASKED)[0])
    assert len(calls) == 9
    calls.clear()
    cached = image_of(finished(DiffusionEngine(pipeline, EngineLimits(full_every=3)), ASKED)[0])
    assert len(calls) == 4  # steps 0, 3, 6 and the last
    assert np.abs(cached - plain).max() > 0
    assert np.abs(cached - plain).mean() < 20, "another picture altogether"


def test_who_else_takes_shallow_steps_changes_nothing() -> None:
    pipeline = make_pipeline("xl")
    limits = EngineLimits(full_every=2)
    requests = [replace(ASKED, seed=n, steps=5 + n, guidance_scale=float(n)) for n in range(5)]
    alone = [image_of(finished(DiffusionEngine(pipeline, limits), request)[0]) for request in requests]
    for events, expected in zip(finished(DiffusionEngine(pipeline, limits), *requests), alone, strict=True):
        assert_same(image_of(events), expected)
