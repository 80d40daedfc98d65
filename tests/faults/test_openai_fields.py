"""Every field of OpenAI's image clients is honoured, said to have no effect, or refused by its name."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support.fakes import House
from tests.support.http_client import check_problem


async def generated(client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    return await client.post("/v1/images/generations", json={"prompt": "x", "size": "64x64", "steps": 1, **fields})


@pytest.mark.parametrize(
    ("fields", "form"),
    [
        ({}, "PNG"),
        ({"output_format": "png", "output_compression": 100}, "PNG"),
        ({"output_format": "webp"}, "WEBP"),
        ({"output_format": "webp", "output_compression": 40}, "WEBP"),
        ({"output_format": "jpeg"}, "JPEG"),
        ({"output_format": "jpeg", "output_compression": 10, "response_format": "b64_json"}, "JPEG"),
    ],
    ids=str,
)
async def test_the_picture_has_the_format_that_was_asked_for(
    client: httpx.AsyncClient, fields: dict[str, Any], form: str
) -> None:
    plain = (await generated(client, seed=1)).json()
    answer = (await generated(client, seed=1, **fields)).json()
    bodies = [base64.b64decode(one["data"][0]["b64_json"]) for one in (plain, answer)]
    expected, picture = (Image.open(io.BytesIO(body)) for body in bodies)
    assert (picture.format, answer["output_format"]) == (form, form.lower())
    apart = np.abs(np.asarray(picture.convert("RGB")).astype(int) - np.asarray(expected).astype(int))
    is_exact = form == "PNG" or (form == "WEBP" and "output_compression" not in fields)
    assert (apart.max() == 0) if is_exact else (0 < apart.mean() < 25)


async def test_a_lower_compression_is_a_smaller_file(client: httpx.AsyncClient) -> None:
    sizes = [
        len((await generated(client, seed=1, output_format="jpeg", output_compression=c)).json()["data"][0]["b64_json"])
        for c in (5, 50, 100)
    ]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"negative_promt": "fog"}, "negative_promt", "there is no such field; did you mean negative_prompt?"),
        ({"output_fromat": "webp"}, "output_fromat", "did you mean output_format?"),
        ({"extra": 1}, "extra", "extra: there is no such field"),
        ({"x" * 9000: 1}, "x" * 200, "no such field"),
        ({"cfg_scale": 3}, "cfg_scale", "no such field"),
        ({"output_format": "gif"}, "output_format", "png"),
        ({"output_format": "webp", "response_format": "url"}, None, "output_format"),
        ({"output_compression": 50}, None, "output_compression"),
        ({"output_format": "jpeg", "output_compression": 101}, "output_compression", "100"),
        ({"background": "transparent"}, "background", "opaque"),
        ({"quality": "ultra"}, "quality", "high"),
        ({"style": "anime_style"}, "style", "vivid"),
        ({"moderation": "off"}, "moderation", "low"),
        ({"stream": True}, "stream", "False"),
        ({"partial_images": 2}, "partial_images", "0"),
        ({"n": 9}, "n", "8"),
        ({"prompt": "a (b:99)"}, None, "weight"),
    ],
    ids=str,
)
async def test_openais_fields_are_honoured_or_refused_by_name(
    client: httpx.AsyncClient, house: House, fields: dict[str, Any], field: str | None, words: str
) -> None:
    response = await generated(client, **fields)
    problem = check_problem(response, 422, "invalid_input")
    assert words in problem["detail"]
    assert problem["error"]["message"] == problem["detail"], "OpenAI's clients read this one"
    assert field is None or [one["field"] for one in problem["errors"]] == [field]
    assert house.images.specs == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"quality": "high"}, "quality"),
        ({"style": "vivid"}, "style"),
        ({"moderation": "low"}, "moderation"),
        ({"quality": "auto", "background": "opaque", "user": "u1", "partial_images": 0, "stream": False}, ""),
    ],
    ids=str,
)
async def test_what_has_no_effect_is_said(client: httpx.AsyncClient, fields: dict[str, Any], said: str) -> None:
    answer = (await generated(client, **fields)).json()
    assert [said in note for note in answer["notes"]] == ([True] if said else [])
