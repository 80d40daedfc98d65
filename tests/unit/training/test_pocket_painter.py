"""The pocket SDXL as it lies in models/, judged by the reader: a few of the prompts that its card counts many of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLPipeline

from sagaforge.model_files import MODELS_DIR
from sagaforge.training.pocket.sdxl import judge

NUM_UNSEEN, NUM_RESTYLED = 16, 4


@pytest.fixture(scope="module")
def pipeline() -> Any:
    loaded: Any = StableDiffusionXLPipeline.from_pretrained(MODELS_DIR / "pocket-sdxl", torch_dtype=torch.float32)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_what_prompts_name_is_in_the_pictures(pipeline: Any) -> None:
    asked = judge.cases(NUM_UNSEEN)
    pictures = judge.paint(pipeline, [prompt for _, prompt, _ in asked])
    right = judge.shares(pictures, asked)
    by_chance = judge.shares([*pictures[1:], pictures[0]], asked)
    assert right["all"] >= 0.75, right
    assert by_chance["all"] <= 0.5, by_chance


def test_a_style_preset_changes_the_style_and_keeps_the_rest(pipeline: Any) -> None:
    for preset, asked in judge.restyled(NUM_RESTYLED).items():
        pictures = judge.paint(pipeline, [prompt for _, prompt, _ in asked])
        style = judge.shares(pictures, [(scene, prompt, {"style"}) for scene, prompt, _ in asked])
        rest = judge.shares(pictures, [(scene, prompt, names - {"style"}) for scene, prompt, names in asked])
        assert style["all"] >= 0.75, (preset, style)
        assert rest["all"] >= 0.7, (preset, rest)
