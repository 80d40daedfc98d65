"""From what a caller asks to what a back end paints: style, sizes, seeds and adapters resolved, and each picture's id.

What is resolved decides the picture and its id, so a retry finds what the first attempt made; so do the model's
weights, because others paint another picture. The pocket model reads no Chinese: it gets what its own words can say.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from sagaforge.datasets.images import derive_image_id
from sagaforge.datasets.styles import StyleParams, StylePreset
from sagaforge.deployments.diffusion.image_bytes import decode
from sagaforge.deployments.diffusion.spec import ImageSpec
from sagaforge.errors import InvalidInput, NotFound
from sagaforge.functions.pocket_prompt import has_chinese, pocket_prompt
from sagaforge.image_schemas import MAX_SEED, ImageRequest
from sagaforge.model_files import model_sha256
from sagaforge.profiles import ImageProfile

SHAPES = {"background": (3, 2), "character": (2, 3), "portrait": (2, 3)}
# Sizes that are enlarged afterwards come out even at any factor.
SIZE_UNIT = 8


@dataclass(frozen=True)
class Planned:
    """One picture of a request. `shown`: the size that was asked for; the model may paint a smaller one."""

    image_id: str
    spec: ImageSpec
    shown: tuple[int, int]


def plan(
    request: ImageRequest,
    *,
    style: StylePreset | None,
    profile: ImageProfile,
    adapters: Mapping[str, str | None],
    idempotency_key: str | None,
) -> list[Planned]:
    """The pictures of a request, fully resolved. Decodes what it starts from, which takes a while for large pictures.

    Args:
        adapters: names of those there are, with the hashes of those that the request names; asked only then.

    Raises:
        NotFound: there is no such adapter.
        InvalidInput, UnsupportedType, TooLarge: a picture to start from is none, or no good one.
    """
    variant = style.for_model(profile.is_pocket) if style else None
    params = variant.default_params if variant else StyleParams()
    shown = _size(request, params, profile)
    image, mask = _decoded(request.image, "image"), _decoded(request.mask, "mask")
    if mask is not None and image is None:
        raise InvalidInput("A mask needs the image that it belongs to: send `image` too.")
    negative = ", ".join(text for text in (request.negative_prompt, variant.negative_prompt if variant else "") if text)
    width, height = painted(shown, profile)
    wanted = _adapters(request, style, adapters)
    asked = (profile.is_pocket and has_chinese(request.prompt) and pocket_prompt(request.prompt)) or request.prompt
    spec = ImageSpec(
        prompt=style.resolve(asked, is_pocket=profile.is_pocket) if style else asked,
        negative_prompt=negative or None,
        width=width,
        height=height,
        steps=_first(request.steps, params.steps, profile.steps),
        guidance_scale=_first(request.cfg_scale, params.cfg_scale, profile.guidance_scale),
        seed=0,
        scheduler=_first(request.scheduler, params.scheduler, profile.scheduler),
        adapters=wanted,
        image=image,
        mask=mask,
        strength=request.strength,
        adapter_sha256={name: sha256 for name, _ in wanted if (sha256 := adapters[name]) is not None},
        model_sha256=model_sha256(profile.model.source),
    )
    first_seed = request.seed if request.seed is not None else _seed(idempotency_key)
    planned = []
    for number in range(request.num_images):
        one = replace(spec, seed=(first_seed + number) % (MAX_SEED + 1))
        planned.append(Planned(_image_id(one, shown, profile), one, shown))
    return planned


def painted(shown: tuple[int, int], profile: ImageProfile) -> tuple[int, int]:
    """What the model paints for a picture of `shown`: its shape, and no more pixels than the model knows. Larger
    pictures it paints badly: it repeats itself."""
    width, height = shown
    shrink = min(1.0, (profile.max_pixels / (width * height)) ** 0.5)
    unit = profile.size_unit
    return max(unit, round(width * shrink / unit) * unit), max(unit, round(height * shrink / unit) * unit)


def _size(request: ImageRequest, params: StyleParams, profile: ImageProfile) -> tuple[int, int]:
    """As asked; one side alone makes a square, none leaves it to the kind of picture, the style, the model."""
    if request.width or request.height:
        return request.width or request.height or 0, request.height or request.width or 0
    side = profile.shown_side
    if request.image_type is not None:
        across, down = SHAPES[request.image_type]
        unit = (across * down) ** 0.5
        return _even(side * across / unit), _even(side * down / unit)
    if params.width and params.height:
        return params.width, params.height
    return side, side


def _even(pixels: float) -> int:
    return round(pixels / SIZE_UNIT) * SIZE_UNIT


def _adapters(
    request: ImageRequest, style: StylePreset | None, existing: Collection[str]
) -> tuple[tuple[str, float], ...]:
    wanted = {one.name: one.scale for one in request.lora}
    if len(wanted) < len(request.lora):
        raise InvalidInput("An adapter is named twice in `lora`; name each once, with the scale it shall have.")
    for name in wanted:
        if name not in existing:
            there = ", ".join(sorted(existing)[:20]) or "none yet"
            raise NotFound(f"There is no adapter {name!r}; there are: {there}.")
    if style is not None and style.lora_path is not None:
        if style.lora_path not in existing:
            raise NotFound(f"The style {style.style_id!r} needs the adapter {style.lora_path!r}, which is not here.")
        wanted.setdefault(style.lora_path, style.lora_scale)
    return tuple(wanted.items())


def _image_id(spec: ImageSpec, shown: tuple[int, int], profile: ImageProfile) -> str:
    decisive: dict[str, Any] = {**asdict(spec), "shown": shown}
    decisive["model"] = decisive.pop("model_sha256") or profile.model.source
    if not spec.adapters:
        del decisive["adapter_sha256"]
    for name in ("image", "mask"):
        decisive[name] = hashlib.sha256(decisive[name]).hexdigest() if decisive[name] else None
    for name in ("preview_every", "deadline_s"):
        del decisive[name]
    return derive_image_id(decisive)


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _seed(idempotency_key: str | None) -> int:
    """Of a key, so that a retry paints the same; or any."""
    if idempotency_key is None:
        return secrets.randbelow(2**31)
    return int.from_bytes(hashlib.sha256(f"seed\0{idempotency_key}".encode()).digest()[:4], "big") >> 1


def _decoded(text: str | None, what: str) -> bytes | None:
    """The bytes of a base64 text, with or without "data:…;base64," before it; looked at, so that no replica is woken
    for a picture that is none."""
    if text is None:
        return None
    _, _, rest = text.partition(",") if text.startswith("data:") else ("", "", text)
    try:
        body = base64.b64decode(rest, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidInput(f"{what} must be base64 of a PNG, JPEG or WebP picture.") from exc
    decode(body, what)
    return body
