"""From what a caller asks to what a back end paints: style, sizes, seeds and adapters resolved, and each picture's id.

What is resolved decides the picture and its id, so a retry finds what the first attempt made; so do the model's
weights, because others paint another picture. What can't be painted is refused here, before a replica is woken. The
pocket model reads no Chinese: it gets what its own words can say.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from sagaforge.datasets.images import derive_image_id
from sagaforge.datasets.styles import StyleParams, StylePreset
from sagaforge.deployments.diffusion.interface import ImageSpec
from sagaforge.errors import InvalidInput, NotFound
from sagaforge.functions.images.start_pictures import (
    Size,
    Start,
    fit_note,
    from_base64,
    on_canvas,
    own_size,
    read_start,
)
from sagaforge.image_schemas import (
    DEFAULT_STRENGTH,
    MAX_ADAPTERS,
    MAX_RESOLVED_CHARS,
    MAX_SEED,
    MIN_SIDE,
    RULES,
    SIDE_MULTIPLE,
    ImageRequest,
)
from sagaforge.imaging import prompts
from sagaforge.imaging.image_bytes import Read
from sagaforge.model_files import model_sha256
from sagaforge.pocket.captions import has_chinese, left_out, pocket_prompt
from sagaforge.profiles import ImageProfile

SHAPES = {"background": (3, 2), "character": (2, 3), "portrait": (2, 3)}


@dataclass(frozen=True)
class Planned:
    """One picture of a request. `shown`: the size that was asked for; the model may paint a smaller one. `part`: width
    and height of the middle of what is painted that is shown, None for all of it. `start`: what it starts from, as it
    was sent. `notes`: what is done that nobody asked for."""

    image_id: str
    spec: ImageSpec
    shown: Size
    part: Size | None = None
    start: Start | None = None
    notes: tuple[str, ...] = ()


def plan(
    request: ImageRequest,
    *,
    style: StylePreset | None,
    profile: ImageProfile,
    adapters: Mapping[str, str | None],
    idempotency_key: str | None,
    notes: tuple[str, ...] = (),
) -> list[Planned]:
    """The pictures of a request, fully resolved. Decodes what it starts from, which takes a while for large pictures.

    Args:
        adapters: names of those there are, with the hashes of those in `adapter_names`; asked only if there are such.
        notes: what was done to the request already.

    Raises:
        NotFound: there is no such adapter.
        InvalidInput, UnsupportedType, TooLarge: a picture to start from is none, or no good one; a prompt has signs
            that mean nothing here; what follows from the request can't be painted.
    """
    variant = style.for_model(profile.is_pocket) if style else None
    params = variant.default_params if variant else StyleParams()
    start, read = _start(request)
    shown, told = _size(request, params, profile, read[0] if read else None)
    notes += told
    (width, height), part = painted(shown, profile)
    if part:
        notes += (f"It is painted at {width} × {height}, of which the middle {part[0]} × {part[1]} is shown.",)
    asked, tagged = prompts.without_adapters(request.prompt)
    if profile.is_pocket and has_chinese(asked) and (caption := pocket_prompt(prompts.plain(asked))):
        notes += left_out(prompts.plain(asked), caption)
        asked = caption
    prompt, of_style = prompts.without_adapters(style.resolve(asked, is_pocket=profile.is_pocket) if style else asked)
    negative = ", ".join(text for text in (request.negative_prompt, variant.negative_prompt if variant else "") if text)
    _check_words(prompt, negative)
    wanted = _adapters(request, tagged + of_style, style, adapters)
    image, mask = None, None
    if start and read:
        image, mask = on_canvas(start, read, shown, (width, height), part or (width, height))
        notes += tuple(note for one in read if one for note in one.notes)
        notes += fit_note(read[0].image.size, shown, start.fit)
    spec = ImageSpec(
        prompt=prompt,
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
        strength=_first(request.strength, DEFAULT_STRENGTH),
        adapter_sha256={name: sha256 for name, _ in wanted if (sha256 := adapters[name]) is not None},
        model_sha256=model_sha256(profile.model.source),
    )
    if spec.num_steps < 1:
        raise InvalidInput(f"A strength of {spec.strength} leaves none of {spec.steps} steps: raise strength or steps.")
    planned = []
    for seed in _seeds(request, idempotency_key):
        one = replace(spec, seed=seed)
        planned.append(Planned(_image_id(one, shown, start, profile), one, shown, part, start, notes))
    return planned


def adapter_names(request: ImageRequest, style: StylePreset | None, *, is_pocket: bool) -> set[str]:
    """The adapters that a request and its style name. Raises `InvalidInput` for a prompt that names them wrongly."""
    of_style = prompts.without_adapters(style.resolve("", is_pocket=is_pocket))[1] if style else []
    named = {name for name, _ in (*prompts.without_adapters(request.prompt)[1], *of_style)}
    return named | {one.name for one in request.lora} | ({style.lora_path} if style and style.lora_path else set())


def painted(shown: Size, profile: ImageProfile) -> tuple[Size, Size | None]:
    """What the model paints for a picture of `shown`: its shape, and no more pixels than the model knows. Larger
    pictures it paints badly: it repeats itself. No side is shorter than MIN_SIDE; where that makes another shape, the
    second size is that of the middle part that has the right one."""
    width, height = shown
    shrink = min(1.0, (profile.max_pixels / (width * height)) ** 0.5)
    unit = profile.size_unit
    sides = [max(unit, round(side * shrink / unit) * unit) for side in shown]
    across, down = (max(side, -(-MIN_SIDE // unit) * unit) for side in sides)
    if [across, down] == sides:
        return (across, down), None
    scale = min(across / width, down / height)
    return (across, down), (max(1, round(width * scale)), max(1, round(height * scale)))


def _start(request: ImageRequest) -> tuple[Start | None, tuple[Read, Read | None] | None]:
    """What the request starts from, as it was sent and as it was read."""
    if request.image is None:
        for name in ("mask", "strength", "fit"):
            if getattr(request, name) is not None:
                raise InvalidInput(f"{name} is about a picture to start from, and there is none: send `image` too.")
        return None, None
    mask = from_base64(request.mask, "mask") if request.mask is not None else None
    start = Start(from_base64(request.image, "image"), mask, request.fit or "crop")
    return start, read_start(start)


def _size(
    request: ImageRequest, params: StyleParams, profile: ImageProfile, started: Read | None
) -> tuple[Size, tuple[str, ...]]:
    """As asked; else as the kind of picture has it, the picture that it starts from, the style, the model. One side
    alone makes a square, or a picture of the shape of the one that it starts from. With a note of what was rounded."""
    if request.width and request.height:
        return (request.width, request.height), ()
    if started and not (request.image_type and not (request.width or request.height)):
        size = own_size(started.image.size, request.width, request.height)
        if request.width or request.height or size == started.image.size:
            return size, ()
        was = " × ".join(map(str, started.image.size))
        return size, (f"The size is {size[0]} × {size[1]}, after the image's {was}.",)
    if request.width or request.height:
        side = request.width or request.height or 0
        return (side, side), ()
    side = profile.shown_side
    if request.image_type is not None:
        across, down = SHAPES[request.image_type]
        unit = (across * down) ** 0.5
        return (_even(side * across / unit), _even(side * down / unit)), ()
    if params.width and params.height:
        return (params.width, params.height), ()
    return (side, side), ()


def _even(pixels: float) -> int:
    return round(pixels / SIDE_MULTIPLE) * SIDE_MULTIPLE


def _check_words(prompt: str, negative: str) -> None:
    """What the prompts have become is what receipts hold, and reads well."""
    if len(prompt) > MAX_RESOLVED_CHARS or len(negative) > MAX_RESOLVED_CHARS:
        raise InvalidInput(
            f"prompt or negative_prompt has more than {MAX_RESOLVED_CHARS} characters with the style's words: shorten"
            " it, or take another style."
        )
    prompts.parse(prompt)
    prompts.parse(negative)
    if prompts.without_adapters(negative)[1]:
        raise InvalidInput("negative_prompt names an adapter; name it in prompt, or in `lora`.")


def _seeds(request: ImageRequest, idempotency_key: str | None) -> range:
    """Of all pictures, counting up. They do not start over at the largest: two pictures would be the same."""
    first = request.seed if request.seed is not None else _seed(idempotency_key)
    if first + request.num_images - 1 > MAX_SEED:
        raise InvalidInput(
            f"seed counts up for num_images pictures, and {MAX_SEED} is the largest there is: send a smaller seed."
        )
    return range(first, first + request.num_images)


def _adapters(
    request: ImageRequest, tagged: list[tuple[str, float]], style: StylePreset | None, existing: Collection[str]
) -> tuple[tuple[str, float], ...]:
    """Those of `lora` and of the prompt, in this order, then the style's own."""
    named = [*((one.name, one.scale) for one in request.lora), *tagged]
    wanted = dict(named)
    if len(wanted) < len(named):
        raise InvalidInput(
            "An adapter is named twice, in `lora` or in the prompt; name each once, with the scale it shall have."
        )
    if len(wanted) > MAX_ADAPTERS:
        raise InvalidInput(f"`lora` and the prompt name {len(wanted)} adapters; {MAX_ADAPTERS} are the most.")
    for name in wanted:
        if name not in existing:
            there = ", ".join(sorted(existing)[:20]) or "none yet"
            raise NotFound(f"There is no adapter {name!r}; there are: {there}.")
    if style is not None and style.lora_path is not None:
        if style.lora_path not in existing:
            raise NotFound(f"The style {style.style_id!r} needs the adapter {style.lora_path!r}, which is not here.")
        wanted.setdefault(style.lora_path, style.lora_scale)
    return tuple(wanted.items())


def _image_id(spec: ImageSpec, shown: Size, start: Start | None, profile: ImageProfile) -> str:
    decisive: dict[str, Any] = {**asdict(spec), "shown": shown, "rules": RULES}
    decisive["model"] = decisive.pop("model_sha256") or profile.model.source
    if not spec.adapters:
        del decisive["adapter_sha256"]
    # What was sent, and not what is made of it: what a mask protects comes from there.
    decisive["image"] = hashlib.sha256(start.image).hexdigest() if start else None
    decisive["mask"] = hashlib.sha256(start.mask).hexdigest() if start and start.mask else None
    decisive["fit"] = start.fit if start else None
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
