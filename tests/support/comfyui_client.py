"""The ComfyUI back end as its tests use it: against a server that speaks its protocol, with a picture to ask for."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

from PIL import Image

from sagaforge.deployments.diffusion.comfyui.backend import ComfyUI
from sagaforge.deployments.diffusion.comfyui.http import Timeouts
from sagaforge.deployments.diffusion.interface import ImageEvent, ImageSpec, Made, Progress
from tests.support.comfyui_server import CHECKPOINT, ComfyUIServer
from tests.support.comfyui_work import colour

SIZE = (64, 48)
SEED = 0x1234
SPEC = ImageSpec("a red cat", *SIZE, steps=4, guidance_scale=5.0, seed=SEED)
# Long enough for a machine that is busy with something else; tests of a time that runs out set their own.
TIMEOUTS = Timeouts(
    connect_s=10.0, read_s=20.0, patience_s=5.0, restart_s=20.0, poll_s=0.05, quiet_s=0.2, cancel_s=10.0
)
HASTY = replace(TIMEOUTS, patience_s=0.2, restart_s=0.3)


def backend_of(server: ComfyUIServer, **options: Any) -> ComfyUI:
    return ComfyUI(server.url, **{"checkpoint": CHECKPOINT, "timeouts": TIMEOUTS, **options})


async def made(backend: ComfyUI, spec: ImageSpec = SPEC) -> tuple[list[Progress], Made]:
    events: list[ImageEvent] = [event async for event in backend.generate(spec)]
    *steps, last = events
    assert isinstance(last, Made)
    return [step for step in steps if isinstance(step, Progress)], last


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def assert_is_of(picture: Made, seed: int = SEED) -> None:
    image = opened(picture.image)
    assert (image.format, image.size, image.getpixel((5, 5))) == ("PNG", SIZE, colour(seed))
