"""On a GPU: what saves memory or time paints the pictures that the plain model paints there, with adapters and without."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sagaforge.deployments.diffusion.engine.maker import ImageMaker
from sagaforge.profiles import EngineLimits, ImageModel
from tests.support.tiny_diffusion import make_pipeline
from tests.unit.deployments.diffusion.test_adapters import lora_files
from tests.unit.deployments.diffusion.test_image_maker import SPEC, make


async def painted(folder: Path, **options: Any) -> list[np.ndarray]:
    model = ImageModel("tiny", str(folder), device="gpu", **options)
    maker = ImageMaker(model, EngineLimits(), lambda name: lora_files(1)["kohya"])
    pictures = []
    for adapters in ((), (("ink", 1.0),)):
        _, made = await make(maker, replace(SPEC, adapters=adapters))
        pictures.append(np.asarray(Image.open(io.BytesIO(made.image))).astype(int))
    maker.close()
    return pictures


@pytest.mark.parametrize("option", ["fused_projections", "tiled_decoding", "offload", "compiled"])
async def test_options_change_no_picture(tmp_path: Path, option: str) -> None:
    make_pipeline("xl").save_pretrained(tmp_path)
    plain, changed = await painted(tmp_path), await painted(tmp_path, **{option: True})
    for one, other in zip(plain, changed, strict=True):
        assert np.abs(one - other).max() <= 2
    assert np.abs(plain[0] - plain[1]).max() > 8, "the adapter does something"
