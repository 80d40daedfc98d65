"""Models from folders, pictures as bytes, adapters by name: the engine with what it needs around it."""

from __future__ import annotations

import asyncio
import io
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from torch.nn import Linear

from sagaforge.deployments.diffusion.adapters.cache import AdapterCache
from sagaforge.deployments.diffusion.adapters.mixer import Adapter
from sagaforge.deployments.diffusion.engine.engine import DiffusionEngine
from sagaforge.deployments.diffusion.engine.loading import load_pipeline
from sagaforge.deployments.diffusion.engine.maker import ImageMaker
from sagaforge.deployments.diffusion.interface import ImageSpec, Made, Progress
from sagaforge.errors import InvalidInput, NotFound, TooLarge, Unavailable, UnsupportedType
from sagaforge.imaging.image_bytes import as_png, decode
from sagaforge.model_files import model_sha256
from sagaforge.profiles import EngineLimits, ImageModel
from tests.support.tiny_diffusion import make_pipeline
from tests.unit.deployments.diffusion.test_adapters import lora_files
from tests.unit.deployments.diffusion.test_diffusion_engine import picture

SPEC = ImageSpec("a red cat", width=32, height=32, steps=4, guidance_scale=3.0, seed=7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    make_pipeline("xl").save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def maker(folder: Path, one_thread: None) -> Iterator[ImageMaker]:
    files = {"ink": lora_files(1)["kohya"], "bad": b"not a file"}

    def fetch(name: str) -> bytes:
        if name not in files:
            raise NotFound(f"There is no adapter {name!r}.")
        return files[name]

    made = ImageMaker(ImageModel("tiny", str(folder)), EngineLimits(), fetch)
    yield made
    made.close()


async def make(maker: ImageMaker, spec: ImageSpec) -> tuple[list[Progress], Made]:
    events = [event async for event in maker.generate(spec)]
    assert isinstance(events[-1], Made)
    return [event for event in events if isinstance(event, Progress)], events[-1]


async def until(is_so: Callable[[], bool]) -> None:
    for _ in range(3000):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to that")


async def test_a_picture_comes_with_its_progress_and_facts(maker: ImageMaker, folder: Path) -> None:
    progress, made = await make(maker, replace(SPEC, preview_every=2))
    assert [(event.done, event.total) for event in progress] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert progress[1].preview is not None
    assert Image.open(io.BytesIO(progress[1].preview)).format == "JPEG"
    assert Image.open(io.BytesIO(made.image)).size == (32, 32)
    assert made.facts["model"] == "tiny"
    assert made.facts["model_sha256"] == model_sha256(str(folder))
    assert (await make(maker, SPEC))[1].image == made.image


async def test_adapters_are_fetched_by_name_and_stay(maker: ImageMaker) -> None:
    _, plain = await make(maker, SPEC)
    _, inked = await make(maker, replace(SPEC, adapters=(("ink", 1.0),)))
    assert inked.image != plain.image
    assert maker.adapters.resident == ["ink"]
    assert [one["name"] for one in inked.facts["adapters"]] == ["ink"]  # type: ignore[attr-defined]
    with pytest.raises(NotFound):
        await make(maker, replace(SPEC, adapters=(("missing", 1.0),)))
    with pytest.raises(UnsupportedType):
        await make(maker, replace(SPEC, adapters=(("bad", 1.0),)))


async def test_an_image_to_start_from(maker: ImageMaker) -> None:
    _, made = await make(maker, replace(SPEC, image=as_png(picture()), strength=0.5))
    assert Image.open(io.BytesIO(made.image)).size == (32, 32)
    with pytest.raises(InvalidInput):
        await make(maker, replace(SPEC, mask=as_png(picture())))


async def test_whoever_goes_away_is_not_painted_for(maker: ImageMaker) -> None:
    for _ in range(20):
        events = maker.generate(replace(SPEC, steps=100))
        await anext(events)
        await events.aclose()
    tasks = [asyncio.create_task(make(maker, replace(SPEC, steps=100))) for _ in range(20)]
    await asyncio.sleep(0.05)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await until(lambda: maker.engine.num_requests == 0)


@pytest.mark.timeout(600)
async def test_a_thousand_who_go_away_leave_nothing_behind(maker: ImageMaker) -> None:
    """Some before the first step, some amid, some by being cancelled, some with adapters and pictures to start from."""

    async def go_away(number: int) -> None:
        changes: dict[str, Any] = {"seed": number, "steps": 5, "prompt": f"cat {number}", "preview_every": number % 3}
        if number % 4 == 0:
            changes |= {"adapters": (("ink", 0.5),), "image": as_png(picture(number % 7))}
        painting = maker.generate(replace(SPEC, **changes))
        if number % 2:
            task = asyncio.create_task(anext(painting))  # type: ignore[arg-type]
            await asyncio.sleep(number % 5 * 0.002)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        else:
            for _ in range(number % 3):
                await anext(painting)
        await painting.aclose()

    process, sizes = psutil.Process(), []
    num_threads = threading.active_count()
    for start in range(0, 1000, 40):
        await asyncio.gather(*(go_away(number) for number in range(start, start + 40)))
        sizes.append(process.memory_info().rss)
    await until(lambda: maker.engine.num_requests == 0)
    assert len(asyncio.all_tasks()) == 1
    assert threading.active_count() <= num_threads + 40, "only the event loop's own pool"
    assert sizes[-1] - sizes[len(sizes) // 4] < 24 * 1024**2, [size // 1024**2 for size in sizes]
    assert (await make(maker, SPEC))[1].facts["num_steps"] == 4


async def test_a_closed_maker_fails_what_it_has_not_finished(folder: Path) -> None:
    maker = ImageMaker(ImageModel("tiny", str(folder)), EngineLimits(), lambda name: b"")
    task = asyncio.create_task(make(maker, replace(SPEC, steps=150)))
    await until(lambda: maker.engine.num_requests > 0)
    await asyncio.to_thread(maker.close)
    with pytest.raises(Unavailable):
        await task
    assert not await maker.is_ready()


async def test_a_quantized_model_paints_nearly_the_same_with_adapters_too(folder: Path) -> None:
    pictures = []
    for quantized in (False, True):
        model = ImageModel("tiny", str(folder), quantized=quantized)
        maker = ImageMaker(model, EngineLimits(), lambda name: lora_files(1)["kohya"])
        _, made = await make(maker, replace(SPEC, adapters=(("ink", 1.0),)))
        kinds = {type(module.weight).__name__ for module in maker._pipeline.unet.modules() if type(module) is Linear}
        assert kinds == {"Int8Tensor" if quantized else "Parameter"}
        maker.close()
        pictures.append(np.asarray(Image.open(io.BytesIO(made.image))).astype(int))
    assert 0 < np.abs(pictures[0] - pictures[1]).mean() < 4


@pytest.mark.parametrize("option", ["fused_projections", "tiled_decoding", "offload", "compiled"])
async def test_what_makes_it_faster_or_smaller_changes_no_picture(
    maker: ImageMaker, folder: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With adapters in the batch and without: their hooks must be where the option moves the work to."""
    # Traced and guarded as ever, but not turned into C++, which takes three minutes (tests/gpu does it in full).
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    model = replace(ImageModel("tiny", str(folder)), **{option: True})
    other = ImageMaker(model, EngineLimits(), lambda name: lora_files(1)["kohya"])
    painted = []
    for adapters in ((), (("ink", 1.0),), ()):
        spec = replace(SPEC, adapters=adapters)
        pictures = [Image.open(io.BytesIO((await make(one, spec))[1].image)) for one in (maker, other)]
        plain, changed = (np.asarray(picture).astype(int) for picture in pictures)
        assert np.abs(plain - changed).max() <= 1, adapters
        painted.append(plain)
    other.close()
    assert np.abs(painted[0] - painted[1]).max() > 8, "the adapter does something"


def test_options_that_exclude_each_other_say_so(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="exclude each other"):
        load_pipeline(ImageModel("tiny", str(folder), quantized=True, fused_projections=True))
    with pytest.raises(InvalidInput, match="exclude each other"):
        DiffusionEngine(make_pipeline("xl"), EngineLimits(full_every=2), is_compiled=True)


def test_models_that_can_not_be_loaded_say_why(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InvalidInput, match="can't be loaded"):
        load_pipeline(ImageModel("none", str(tmp_path)))
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(InvalidInput, match="can't be loaded"):
        load_pipeline(ImageModel("none", str(tmp_path / "model.safetensors")))
    if not torch.cuda.is_available():
        with pytest.raises(Unavailable, match="GPU"):
            load_pipeline(ImageModel("tiny", str(folder), device="gpu"))


def bomb() -> bytes:
    """A PNG of a few hundred bytes that says it is 30,000 pixels wide and high."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", UnsupportedType),
        (b"hello", UnsupportedType),
        (b"%PDF-1.4", UnsupportedType),
        (as_png(Image.new("RGB", (64, 64)))[:60], InvalidInput),
        (b"\0" * (21 * 1024**2), TooLarge),
        (bomb(), TooLarge),
    ],
    ids=["empty", "text", "pdf", "cut", "large", "bomb"],
)
def test_hostile_images_are_refused(body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        decode(body)


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "1", "LA"])
def test_every_kind_of_picture_becomes_rgb(mode: str) -> None:
    assert decode(as_png(Image.new(mode, (8, 8)))).mode == "RGB"


def test_the_least_used_adapter_is_put_away() -> None:
    num_reads = 0

    def read(name: str, body: bytes) -> Adapter:
        nonlocal num_reads
        num_reads += 1
        return Adapter(name, "", {})

    cache = AdapterCache(read, lambda name: b"", max_resident=3)
    for name in ("a", "b", "c", "a", "d"):
        cache.stack(((name, 1.0),))
    assert cache.resident == ["c", "a", "d"]
    assert num_reads == 4
    kept: Any = cache.stack((("a", 0.5), ("d", 1.0)))
    assert [(adapter.name, scale) for adapter, scale in kept] == [("a", 0.5), ("d", 1.0)]
    assert num_reads == 4
