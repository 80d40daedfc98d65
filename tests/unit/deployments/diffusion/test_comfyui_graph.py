"""The workflows that a ComfyUI server is sent, and the pictures that go along."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from sagaforge.deployments.diffusion.comfyui.backend import ComfyUI
from sagaforge.deployments.diffusion.interface import Progress
from sagaforge.errors import InvalidInput
from tests.support.comfyui_client import SIZE, SPEC, assert_is_of, backend_of, made, opened
from tests.support.comfyui_server import ComfyUIServer
from tests.support.comfyui_work import encoded


def node(server: ComfyUIServer, class_type: str) -> dict[str, Any]:
    """Inputs of the last workflow's only node of that type."""
    graph = server.submitted[-1]["prompt"]
    (inputs,) = [node["inputs"] for node in graph.values() if node["class_type"] == class_type]
    return dict(inputs)


def followed(server: ComfyUIServer, link: list[Any]) -> dict[str, Any]:
    """The node that a link leads to."""
    return dict(server.submitted[-1]["prompt"][link[0]])


async def test_text_to_image(server: ComfyUIServer, backend: ComfyUI) -> None:
    await made(backend, replace(SPEC, negative_prompt="blurry", scheduler="dpmpp_2m_karras", seed=-1))
    sampler = node(server, "KSampler")
    told = {name: value for name, value in sampler.items() if not isinstance(value, list)}
    assert told == {
        "seed": 2**64 - 1, "steps": 4, "cfg": 5.0, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1.0,
    }  # fmt: skip
    assert followed(server, sampler["positive"])["inputs"]["text"] == "a red cat"
    assert followed(server, sampler["negative"])["inputs"]["text"] == "blurry"
    assert followed(server, sampler["latent_image"])["inputs"] == {"width": 64, "height": 48, "batch_size": 1}


@pytest.mark.parametrize("name", ["dpmpp_2m", "euler", "euler_a", "ddim", "unipc"])
async def test_every_scheduler_has_a_name_there(server: ComfyUIServer, backend: ComfyUI, name: Any) -> None:
    await made(backend, replace(SPEC, scheduler=name, steps=1, guidance_scale=0.0))
    assert node(server, "KSampler")["cfg"] == 1.0


async def test_adapters_in_their_order_with_their_scales(server: ComfyUIServer) -> None:
    backend = backend_of(server, loras={"gold": "gold_v2.safetensors"})
    _, picture = await made(backend, replace(SPEC, adapters=(("ink", 0.8), ("gold", -0.25))))
    outer = followed(server, node(server, "KSampler")["model"])["inputs"]
    inner = followed(server, outer["model"])["inputs"]
    for inputs, file, scale in ((inner, "ink.safetensors", 0.8), (outer, "gold_v2.safetensors", -0.25)):
        assert (inputs["lora_name"], inputs["strength_model"], inputs["strength_clip"]) == (file, scale, scale)
    assert followed(server, inner["model"])["class_type"] == "CheckpointLoaderSimple"
    assert inner["clip"][0] == inner["model"][0]
    text = followed(server, node(server, "KSampler")["negative"])["inputs"]
    assert followed(server, text["clip"])["inputs"] == outer
    assert picture.facts["adapters"] == [
        {"name": "ink", "scale": 0.8, "file": "ink.safetensors"},
        {"name": "gold", "scale": -0.25, "file": "gold_v2.safetensors"},
    ]


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ('a "quoted" cat\'s \\ back\nslash', 'a "quoted" cat\'s \\ back\nslash'),
        ("燈塔 🗼 ñandú \u202eabc", "燈塔 🗼 ñandú \u202eabc"),
        ("half \ud83d a pair", "half ? a pair"),
        ("Mara (the keeper:1.4)", "Mara (the keeper:1.4)"),
        (r"Mara \(the keeper:1.4\), [fog], (", r"Mara \(the keeper:1.4\), (fog:0.909091), \("),
        ("", ""),
    ],
)
async def test_prompts_arrive_as_they_are_meant(
    server: ComfyUIServer, backend: ComfyUI, prompt: str, text: str
) -> None:
    await made(backend, replace(SPEC, prompt=prompt))
    assert followed(server, node(server, "KSampler")["positive"])["inputs"]["text"] == text


async def test_image_to_image(server: ComfyUIServer, backend: ComfyUI) -> None:
    start = encoded((100, 30), (10, 200, 30), "JPEG", quality=95)
    steps, picture = await made(backend, replace(SPEC, image=start, strength=0.5, steps=5))
    assert_is_of(picture)
    sampler = node(server, "KSampler")
    # Of 5 steps at 0.5, 2 run, as in diffusers; there the server is told those that run.
    assert (sampler["steps"], sampler["denoise"]) == (2, 0.5)
    assert steps[-1] == Progress(2, 2)
    latent = followed(server, sampler["latent_image"])
    assert latent["class_type"] == "VAEEncode"
    sent = opened(server.input(followed(server, latent["inputs"]["pixels"])["inputs"]["image"]))
    assert (sent.format, sent.size) == ("PNG", SIZE)
    assert all(abs(a - b) < 5 for a, b in zip(sent.getpixel((9, 9)), (10, 200, 30), strict=True))


async def test_inpainting(server: ComfyUIServer, backend: ComfyUI) -> None:
    start = encoded(SIZE, (1, 2, 3), "WEBP", lossless=True)
    mask = Image.new("L", SIZE, 100)
    mask.paste(200, (0, 0, 32, 48))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    await made(backend, replace(SPEC, image=start, mask=buffer.getvalue(), strength=1.0))
    sampler = node(server, "KSampler")
    assert (sampler["steps"], sampler["denoise"]) == (4, 1.0)
    masked = followed(server, sampler["latent_image"])
    assert masked["class_type"] == "SetLatentNoiseMask"
    assert followed(server, masked["inputs"]["samples"])["class_type"] == "VAEEncode"
    loader = followed(server, masked["inputs"]["mask"])
    assert (loader["class_type"], loader["inputs"]["channel"]) == ("LoadImageMask", "red")
    sent = opened(server.input(loader["inputs"]["image"]))
    assert (sent.getpixel((5, 5)), sent.getpixel((60, 5))) == (255, 0), "white is painted anew, and nothing is grey"


async def test_the_name_that_the_server_gave_an_upload(server: ComfyUIServer, backend: ComfyUI) -> None:
    spec = replace(SPEC, image=encoded(SIZE, (1, 2, 3)))
    await made(backend, spec)
    first = node(server, "LoadImage")["image"]
    await made(backend, spec)
    assert node(server, "LoadImage")["image"] == first, "the same picture does not pile up"
    server.files["input", "", first] = b"somebody else's"
    await made(backend, spec)
    renamed = node(server, "LoadImage")["image"]
    assert renamed == first.replace(".png", " (1).png")
    assert opened(server.input(renamed)).getpixel((0, 0)) == (1, 2, 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 60}, "multiples of 8"),
        ({"height": 0}, "multiples of 8"),
        ({"steps": 0}, "steps"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
        ({"adapters": (("ink", float("inf")),)}, "scale of an adapter"),
        ({"mask": b"mask"}, "needs the image"),
        ({"image": b"image", "strength": 0.0}, "strength"),
        ({"image": b"image", "strength": 0.1}, "leaves none"),
        ({"image": b"GIF89a"}, "image can't be read"),
        ({"image": encoded(SIZE, (0, 0, 0)), "mask": b"mask"}, "mask can't be read"),
        ({"image": encoded(SIZE, (0, 0, 0))[:60]}, "image can't be read"),
    ],
)
async def test_what_is_wrong_never_reaches_the_server(
    server: ComfyUIServer, backend: ComfyUI, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        await made(backend, replace(SPEC, **changes))
    assert server.requests == []
