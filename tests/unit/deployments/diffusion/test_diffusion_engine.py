"""The diffusion engine against diffusers' own pipelines, whatever shares the batch, and when things fail."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from diffusers import (
    StableDiffusionInpaintPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
)
from PIL import Image

from sagaforge.deployments.diffusion.engine import schedulers
from sagaforge.deployments.diffusion.engine.engine import DiffusionEngine, Ticket
from sagaforge.deployments.diffusion.engine.requests import (
    Event,
    Failed,
    Generated,
    GenerationRequest,
    SchedulerName,
    Stepped,
)
from sagaforge.errors import DeadlineExceeded, InvalidInput, Overloaded, TooLarge, Unavailable
from sagaforge.profiles import EngineLimits
from tests.support.tiny_diffusion import make_pipeline

# Of 255: float32 sums come in another order in another batch, which may turn a rounding.
TOLERANCE = 1

ASKED = GenerationRequest("a red cat", width=32, height=32, steps=5, guidance_scale=5.0, seed=7)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=["xl", "sd15"])
def pipeline(request: pytest.FixtureRequest) -> Any:
    return make_pipeline(request.param)


@pytest.fixture(scope="module")
def xl() -> Any:
    return make_pipeline("xl")


def finished(engine: DiffusionEngine, *requests: GenerationRequest) -> list[list[Event]]:
    """What each request heard, all of them having come at once."""
    heard: list[list[Event]] = [[] for _ in requests]
    for request, events in zip(requests, heard, strict=True):
        engine.submit(request, events.append)
    while engine.step():
        pass
    return heard


def image_of(events: list[Event]) -> np.ndarray:
    last = events[-1]
    assert isinstance(last, Generated), last
    return np.asarray(last.image).astype(int)


def assert_same(one: np.ndarray, other: np.ndarray) -> None:
    assert one.shape == other.shape
    assert np.abs(one - other).max() <= TOLERANCE


def stock(pipeline: Any, request: GenerationRequest, **extra: Any) -> np.ndarray:
    pipeline.set_progress_bar_config(disable=True)
    config = pipeline.scheduler.config
    pipeline.scheduler = schedulers.make_scheduler(request.scheduler, config)
    size = (
        {} if request.image is not None and request.mask is None else {"width": request.width, "height": request.height}
    )
    image = pipeline(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        **size,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance_scale,
        generator=torch.Generator().manual_seed(request.seed),
        **extra,
    ).images[0]
    return np.asarray(image).astype(int)


def picture(seed: int = 0) -> Image.Image:
    smooth = np.random.default_rng(seed).random((4, 4, 3)) * 255
    return Image.fromarray(smooth.astype(np.uint8)).resize((32, 32), Image.Resampling.BICUBIC)


def half_mask() -> Image.Image:
    mask = Image.new("L", (32, 32), 0)
    mask.paste(255, (0, 0, 16, 32))
    return mask


@pytest.mark.parametrize("scheduler", get_args(SchedulerName))
def test_the_picture_is_the_stock_pipelines(pipeline: Any, scheduler: SchedulerName) -> None:
    request = replace(ASKED, scheduler=scheduler, negative_prompt="blue")
    (events,) = finished(DiffusionEngine(pipeline), request)
    assert_same(image_of(events), stock(pipeline, request))
    assert [event.done for event in events if isinstance(event, Stepped)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "change",
    [
        {"guidance_scale": 1.0},
        {"negative_prompt": None},
        {"negative_prompt": ""},
        {"width": 48, "height": 24},
        {"steps": 1},
    ],
    ids=str,
)
def test_it_is_so_with_other_settings(pipeline: Any, change: dict[str, Any]) -> None:
    request = replace(ASKED, **change)
    (events,) = finished(DiffusionEngine(pipeline), request)
    assert_same(image_of(events), stock(pipeline, request))


def test_it_is_so_with_rescaled_guidance(xl: Any) -> None:
    request = replace(ASKED, guidance_rescale=0.7)
    (events,) = finished(DiffusionEngine(xl), request)
    assert_same(image_of(events), stock(xl, request, guidance_rescale=0.7))


@pytest.mark.parametrize("scheduler", ["dpmpp_2m", "euler", "ddim"])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_image_to_image_is_the_stock_pipelines(xl: Any, scheduler: SchedulerName, strength: float) -> None:
    request = replace(ASKED, image=picture(), strength=strength, steps=6, scheduler=scheduler)
    (events,) = finished(DiffusionEngine(xl), request)
    other = StableDiffusionXLImg2ImgPipeline(**xl.components, add_watermarker=False)
    assert_same(image_of(events), stock(other, request, image=picture(), strength=strength))


@pytest.mark.parametrize("scheduler", ["dpmpp_2m", "euler", "ddim"])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_inpainting_is_the_stock_pipelines(xl: Any, scheduler: SchedulerName, strength: float) -> None:
    request = replace(ASKED, image=picture(), mask=half_mask(), strength=strength, steps=6, scheduler=scheduler)
    (events,) = finished(DiffusionEngine(xl), request)
    other = StableDiffusionXLInpaintPipeline(**xl.components, add_watermarker=False)
    expected = stock(other, request, image=picture(), mask_image=half_mask(), strength=strength)
    assert_same(image_of(events), expected)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_inpainting_models_are_served_too(strength: float) -> None:
    pipeline = make_pipeline("sd15", in_channels=9)
    request = replace(ASKED, image=picture(), mask=half_mask(), strength=strength, steps=6)
    (events,) = finished(DiffusionEngine(pipeline), request)
    other = StableDiffusionInpaintPipeline(**pipeline.components, requires_safety_checker=False)
    expected = stock(other, request, image=picture(), mask_image=half_mask(), strength=strength)
    assert_same(image_of(events), expected)
    (no_mask,) = finished(DiffusionEngine(pipeline), ASKED)
    assert isinstance(no_mask[-1], Failed)
    assert isinstance(no_mask[-1].error, InvalidInput)


MIXED = [
    replace(ASKED, prompt=f"picture {number}", seed=number, **change)
    for number, change in enumerate([
        {"steps": 3, "guidance_scale": 1.0},
        {"steps": 9, "scheduler": "euler"},
        {"steps": 6, "scheduler": "ddim", "guidance_scale": 2.0},
        {"steps": 8, "scheduler": "euler_a"},
        {"width": 48, "height": 24},
        {"image": picture(), "strength": 0.7},
        {"image": picture(), "mask": half_mask(), "negative_prompt": "dull"},
        {"steps": 7, "scheduler": "unipc"},
    ])
]  # fmt: skip


def test_what_else_is_in_the_batch_changes_nothing(xl: Any) -> None:
    alone = [image_of(finished(DiffusionEngine(xl), request)[0]) for request in MIXED]
    together = finished(DiffusionEngine(xl), *MIXED)
    for events, expected in zip(together, alone, strict=True):
        assert_same(image_of(events), expected)

    engine = DiffusionEngine(xl, EngineLimits(max_rows=6))
    late: list[list[Event]] = [[] for _ in MIXED]
    for request, events in zip(MIXED, late, strict=True):  # each comes when the one before has begun
        engine.submit(request, events.append)
        engine.step()
    while engine.step():
        pass
    for events, expected in zip(late, alone, strict=True):
        assert_same(image_of(events), expected)


def test_nobody_waits_for_a_whole_other_picture(xl: Any) -> None:
    engine = DiffusionEngine(xl, EngineLimits(max_rows=4))
    order: list[str] = []

    def listen(name: str) -> Callable[[Event], None]:
        return lambda event: order.append(name) if isinstance(event, Generated) else None

    engine.submit(replace(ASKED, steps=40), listen("long"))
    for _ in range(3):
        engine.step()
    for number in range(4):
        engine.submit(replace(ASKED, steps=4, width=32 + 16 * (number % 2)), listen(f"short {number}"))
    num_calls = 0
    while len(order) < 4:
        engine.step()
        num_calls += 1
    assert "long" not in order
    # Five requests, two to a call at most and of two shapes: three calls a round.
    assert num_calls <= 4 * 3 + 1


def test_a_cancelled_request_leaves_and_the_others_stay(xl: Any) -> None:
    expected = image_of(finished(DiffusionEngine(xl), ASKED)[0])
    engine = DiffusionEngine(xl)
    heard: list[Event] = []
    gone: list[Event] = []
    tickets: list[Ticket] = []
    engine.submit(ASKED, heard.append)
    for _ in range(3):
        tickets.append(engine.submit(replace(ASKED, seed=1), gone.append))
    tickets[0].cancel()
    engine.step()
    tickets[1].cancel()
    tickets[2].cancel()
    num_heard = len(gone)
    while engine.step():
        pass
    assert len(gone) == num_heard == 2
    assert_same(image_of(heard), expected)
    assert engine.num_requests == 0


def test_a_late_request_is_told_so(xl: Any) -> None:
    engine = DiffusionEngine(xl)
    heard: list[Event] = []
    engine.submit(ASKED, heard.append, deadline_s=0.0)
    while engine.step():
        pass
    assert isinstance(heard[-1], Failed)
    assert isinstance(heard[-1].error, DeadlineExceeded)


def test_too_large_a_batch_is_split_and_only_what_can_not_fit_fails() -> None:
    pipeline = make_pipeline("xl")
    alone = [image_of(finished(DiffusionEngine(pipeline), replace(ASKED, seed=seed))[0]) for seed in range(4)]

    def forbid(module: torch.nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, Any]) -> None:
        rows, _, height, _ = args[0].shape
        if rows > 4 or height > 20:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    hook = pipeline.unet.register_forward_pre_hook(forbid, with_kwargs=True)
    engine = DiffusionEngine(pipeline)
    heard = finished(engine, *(replace(ASKED, seed=seed) for seed in range(4)), replace(ASKED, height=64))
    hook.remove()
    for events, expected in zip(heard, alone, strict=False):
        assert_same(image_of(events), expected)
    assert isinstance(heard[-1][-1], Failed)
    assert isinstance(heard[-1][-1].error, TooLarge)


def test_a_request_that_breaks_the_model_fails_alone() -> None:
    pipeline = make_pipeline("xl")
    expected = image_of(finished(DiffusionEngine(pipeline), ASKED)[0])

    def poison(module: torch.nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, Any]) -> None:
        if bool((args[0].abs() > 1e3).any()):
            raise RuntimeError("shapes do not match")

    hook = pipeline.unet.register_forward_pre_hook(poison, with_kwargs=True)
    good, bad, also = finished(
        DiffusionEngine(pipeline), ASKED, replace(ASKED, guidance_scale=1e30, seed=3), replace(ASKED, seed=9)
    )
    hook.remove()
    assert_same(image_of(good), expected)
    assert isinstance(bad[-1], Failed)
    assert isinstance(also[-1], Generated)


def test_a_picture_that_falls_apart_is_not_shown(xl: Any) -> None:
    (events,) = finished(DiffusionEngine(xl), replace(ASKED, guidance_scale=1e38, scheduler="euler"))
    assert isinstance(events[-1], Failed)
    assert isinstance(events[-1].error, InvalidInput)


def test_prompts_are_read_once(xl: Any) -> None:
    engine = DiffusionEngine(xl)
    finished(engine, *(replace(ASKED, seed=seed, negative_prompt="blue") for seed in range(5)))
    assert engine._conditioner.misses == 2
    assert engine._conditioner.hits == 8


def test_previews_are_small_and_come_as_asked(xl: Any) -> None:
    (events,) = finished(DiffusionEngine(xl), replace(ASKED, steps=6, preview_every=2))
    previews = [event.preview for event in events if isinstance(event, Stepped)]
    assert [preview is not None for preview in previews] == [False, True, False, True, False, False]
    assert previews[1] is not None
    assert previews[1].size == (16, 16)


@torch.inference_mode()
def test_a_preview_is_like_the_picture(xl: Any) -> None:
    pictures = DiffusionEngine(xl).pictures
    coarse = torch.randn(6, 4, 2, 2, generator=torch.Generator().manual_seed(5)) * 0.2
    latents = list(torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bicubic").split(1))
    decoded = np.stack([np.asarray(image.resize((16, 16))) for image in pictures.decode(latents)])
    previews = np.stack([np.asarray(pictures.preview(one)) for one in latents])
    assert np.corrcoef(decoded.ravel(), previews.ravel())[0, 1] > 0.3


@pytest.mark.parametrize(
    "change",
    [
        {"width": 33},
        {"height": 0},
        {"width": 100_000, "height": 100_000},
        {"steps": 0},
        {"steps": 10_000},
        {"mask": half_mask()},
        {"image": picture(), "strength": 0.0},
        {"image": picture(), "strength": 1.5},
    ],
    ids=str,
)
def test_what_no_model_can_do_is_refused_at_once(xl: Any, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        DiffusionEngine(xl).submit(replace(ASKED, **change), lambda event: None)


def test_a_strength_that_leaves_no_step_is_refused(xl: Any) -> None:
    (events,) = finished(DiffusionEngine(xl), replace(ASKED, image=picture(), strength=0.1))
    assert isinstance(events[-1], Failed)
    assert isinstance(events[-1].error, InvalidInput)


def test_a_full_engine_says_so(xl: Any) -> None:
    engine = DiffusionEngine(xl, EngineLimits(max_requests=2))
    engine.submit(ASKED, lambda event: None)
    engine.submit(ASKED, lambda event: None)
    with pytest.raises(Overloaded):
        engine.submit(ASKED, lambda event: None)


def test_it_works_in_a_thread_and_ends_when_closed(xl: Any) -> None:
    expected = image_of(finished(DiffusionEngine(xl), ASKED)[0])
    engine = DiffusionEngine(xl)
    worker = threading.Thread(target=engine.run_forever)
    worker.start()
    done = threading.Event()
    heard: list[Event] = []

    def listen(event: Event) -> None:
        heard.append(event)
        if isinstance(event, (Generated, Failed)):
            done.set()
        raise ValueError("a listener that fails")

    engine.submit(ASKED, listen)
    assert done.wait(60)
    assert_same(image_of(heard), expected)
    left: list[Event] = []
    engine.submit(replace(ASKED, steps=150), left.append)
    engine.close()
    worker.join(60)
    assert not worker.is_alive()
    assert isinstance(left[-1], Failed)
    with pytest.raises(Unavailable):
        engine.submit(ASKED, lambda event: None)
