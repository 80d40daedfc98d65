"""Reads adapter files for a pipeline: LoRA and its relatives, in the layouts of peft, diffusers, kohya and others.

All of a file is used, or it is refused and the key that can't be used is named. Only what provably changes nothing, as
an update of zeros, may lack its place in the model.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from sagaforge.deployments.diffusion.adapters.groups import Group
from sagaforge.deployments.diffusion.adapters.keys import Layers, kind_of, role_of
from sagaforge.deployments.diffusion.adapters.mixer import Adapter, Update
from sagaforge.deployments.diffusion.adapters.safetensors_file import alphas, read_tensors, shown
from sagaforge.deployments.diffusion.adapters.updates import update_of
from sagaforge.deployments.diffusion.engine.devices import working_device
from sagaforge.errors import InvalidInput, SagaForgeError


@dataclass(frozen=True)
class Loaded:
    """An adapter; which of its file's keys found their place in the model, and which did not and change nothing."""

    adapter: Adapter
    matched: tuple[str, ...]
    unmatched: tuple[str, ...]


def read_adapter(name: str, body: bytes, pipeline: Any) -> Loaded:
    """Read an adapter file for a pipeline of diffusers.

    Raises:
        UnsupportedType: it is not safetensors.
        InvalidInput: it is damaged, holds what is not understood, or does not fit the model; the message names the key.
    """
    try:
        return _read(name, body, pipeline)
    except SagaForgeError as exc:
        raise type(exc)(f"The adapter {name!r} can't be used. {exc.detail}") from exc


def _read(name: str, body: bytes, pipeline: Any) -> Loaded:
    tensors, metadata = read_tensors(body)
    told = alphas(metadata)
    layers = Layers(pipeline)
    placed: dict[tuple[str, str], Group] = {}
    homeless: dict[str, Group] = {}
    unknown: list[str] = []
    for key, tensor in tensors.items():
        if (meaning := role_of(key)) is None:
            unknown.append(key)
            continue
        path, role = meaning
        place = layers.find(path)
        group = homeless.setdefault(path, Group({}, {})) if place is None else placed.setdefault(place, Group({}, {}))
        group.add(role, key, tensor)
    _check_all(len(tensors), placed, homeless, unknown)
    updates: dict[str, dict[str, Update]] = {}
    for (part, layer), group in placed.items():
        device = working_device(layers.root(part))
        made = update_of(group, layers.module(part, layer), part, layer, told, device)
        updates.setdefault(part, {})[layer] = made
    return Loaded(
        Adapter(name, hashlib.sha256(body).hexdigest(), updates),
        tuple(sorted(key for group in placed.values() for key in group.keys.values())),
        tuple(sorted(key for group in homeless.values() for key in group.keys.values())),
    )


def _check_all(
    num_keys: int, placed: dict[tuple[str, str], Group], homeless: dict[str, Group], unknown: list[str]
) -> None:
    """Raises `InvalidInput` unless every key has its place, or no effect."""
    if len(unknown) == num_keys and not any(kind_of(key) for key in unknown):
        example = f", such as {shown(unknown[0])}" if unknown else ""
        raise InvalidInput(f"This file matches nothing in the model ({num_keys} keys{example}): it is not an adapter.")
    if unknown:
        key = next((key for key in unknown if kind_of(key)), unknown[0])
        what = kind_of(key)
        raise InvalidInput(
            f"{shown(key)} is {what or 'of a kind that is not known here'}, which can't be used "
            f"({len(unknown)} such of {num_keys} keys). Leaving it out would change the picture."
        )
    for group in (*placed.values(), *homeless.values()):
        group.check()
    strangers = [group for group in homeless.values() if not group.has_no_effect]
    if strangers and not placed:
        raise InvalidInput(
            f"This file matches nothing in the model ({num_keys} keys, such as {strangers[0].key}): it was made for "
            "another one."
        )
    if strangers:
        raise InvalidInput(
            f"{strangers[0].key} is for a layer that this model does not have ({len(strangers)} such layers beside "
            f"{len(placed)} that fit). It was made for another model."
        )
    if not placed:
        raise InvalidInput(f"This file changes nothing in the model ({num_keys} keys).")
