"""The tensors of an adapter file, read without running anything in it. A file is data from strangers: what is odd about
it is said before a number of it is used."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from sagaforge.errors import InvalidInput, UnsupportedType

MAX_HEADER_BYTES = 16 * 1024**2
MAX_SHOWN_CHARS = 160
PICKLES = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
DTYPES = ("F64", "F32", "F16", "BF16")
# Scripts write alphas as whole numbers.
ALPHA_DTYPES = (*DTYPES, "I64", "I32", "I16", "I8", "U8")


def read_tensors(body: bytes) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors, float32, and the texts that stand beside them.

    Raises:
        UnsupportedType: it is not safetensors.
        InvalidInput: it is damaged, or a tensor is of a type, shape or value that no adapter has; the message names it.
    """
    if not body:
        raise UnsupportedType("This file is empty; send safetensors.")
    length = struct.unpack("<Q", body[:8])[0] if len(body) >= 8 else MAX_HEADER_BYTES + 1
    if length > min(MAX_HEADER_BYTES, len(body) - 8) or body[8:9] != b"{":
        # Only now: the length of a good file's header may begin like a pickle.
        if body[:2] in PICKLES:
            raise UnsupportedType(
                "This is a pickle (.ckpt, .pt, .bin), which can run code when it is read. Send safetensors."
            )
        raise UnsupportedType("This is not a safetensors file, or it was cut short.")
    try:
        header = json.loads(body[8 : 8 + length].decode())
        _check_types(header)
        tensors = load(body)
    except (SafetensorError, ValueError, RecursionError) as exc:
        raise InvalidInput(f"This safetensors file is damaged: {shown(str(exc))}") from exc
    return {key: _numbers(key, tensor) for key, tensor in tensors.items()}, header.get("__metadata__") or {}


def shown(text: str) -> str:
    """A text of the file, fit for a message: on one line, and not too long."""
    printable = "".join(character if character.isprintable() else "?" for character in text[: MAX_SHOWN_CHARS + 1])
    return printable if len(text) <= MAX_SHOWN_CHARS else printable[:MAX_SHOWN_CHARS] + "…"


def alphas(metadata: Mapping[str, str]) -> Alphas:
    """What diffusers and peft write beside the tensors. Raises `InvalidInput` where it can't be understood."""
    try:
        config = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    except (ValueError, RecursionError) as exc:
        raise InvalidInput("`lora_adapter_metadata` in this file's header is not JSON.") from exc
    if not isinstance(config, dict):
        raise InvalidInput("`lora_adapter_metadata` in this file's header is not an object.")
    return Alphas(config)


class Alphas:
    """Alphas by layer, of a config of peft's: `lora_alpha`, `alpha_pattern` and `use_rslora`, each alone or behind the
    name of its part (`unet.lora_alpha`)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def scale(self, part: str, layer: str, rank: int) -> float:
        """What the update of a layer is multiplied by: alpha / rank; 1 where nothing is said."""
        prefix = f"{part}." if any(key.startswith(f"{part}.") for key in self._config) else ""
        alpha = self._pattern(f"{prefix}alpha_pattern", layer)
        if alpha is None:
            alpha = self._config.get(f"{prefix}lora_alpha")
        if alpha is None:
            return 1.0
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
            raise InvalidInput(f"The alpha of {layer} in `lora_adapter_metadata` is not a number.")
        return alpha / (math.sqrt(rank) if self._config.get(f"{prefix}use_rslora") else rank)

    def _pattern(self, name: str, layer: str) -> Any:
        patterns = self._config.get(name) or {}
        if not isinstance(patterns, dict):
            raise InvalidInput(f"`{name}` in `lora_adapter_metadata` is not an object.")
        for pattern, alpha in patterns.items():
            # peft takes them as regular expressions; those of a stranger are not run.
            if not pattern.replace(".", "").replace("_", "").isalnum():
                raise InvalidInput(f"`{name}` holds {shown(pattern)!r}; only names of layers can be used there.")
            if layer == pattern or layer.endswith(f".{pattern}"):
                return alpha
        return None


def _check_types(header: Any) -> None:
    """Raises `InvalidInput` for a tensor of numbers that no adapter is made of. What is wrong besides, the library
    tells."""
    for key, entry in header.items() if isinstance(header, dict) else ():
        dtype = entry.get("dtype") if isinstance(entry, dict) and key != "__metadata__" else None
        if isinstance(dtype, str) and dtype not in (ALPHA_DTYPES if key.endswith("alpha") else DTYPES):
            raise InvalidInput(
                f"{shown(key)} is stored as {shown(dtype)}; an adapter's numbers are float16, bfloat16, float32 or "
                "float64. Convert the file."
            )


def _numbers(key: str, tensor: torch.Tensor) -> torch.Tensor:
    if tensor.numel() == 0:
        raise InvalidInput(f"{shown(key)} is empty: its shape is {tuple(tensor.shape)}.")
    numbers = tensor.float()
    if not torch.isfinite(numbers).all():
        raise InvalidInput(f"{shown(key)} holds values that are not numbers.")
    return numbers
