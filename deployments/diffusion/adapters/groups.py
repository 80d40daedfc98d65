"""One layer's tensors in an adapter file: which kind of update they are, and whether they are all there."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sagaforge.deployments.diffusion.adapters.safetensors_file import shown
from sagaforge.errors import InvalidInput

# What each kind of update is made of, and what it may have besides.
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "LoRA": (("down", "up"), ("mid", "up_bias")),
    "LoHa": (("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), ("hada_t1", "hada_t2")),
    "LoKr": ((), ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")),
    "difference": (("diff",), ()),
}
KIND_OF = {role: kind for kind, (needed, allowed) in KINDS.items() for role in (*needed, *allowed)}
ADDED = ("up_bias", "diff", "diff_b")
WITH_ANY = ("alpha", "magnitude", "diff_b")
# As trainers call them, for messages.
SPELLED = {"down": "lora_down (lora_A)", "up": "lora_up (lora_B)"}


@dataclass
class Group:
    """A layer's tensors by role, with the keys that they stood under."""

    tensors: dict[str, torch.Tensor]
    keys: dict[str, str]

    def add(self, role: str, key: str, tensor: torch.Tensor) -> None:
        if role in self.keys:
            raise InvalidInput(f"{shown(key)} and {shown(self.keys[role])} say the same thing of one layer.")
        self.tensors[role], self.keys[role] = tensor, key

    @property
    def key(self) -> str:
        """One that stands for all."""
        return shown(next((key for role, key in self.keys.items() if role != "alpha"), next(iter(self.keys.values()))))

    @property
    def has_no_effect(self) -> bool:
        """Whether it provably changes nothing, in whatever layer: a factor of each product is zero, and so is what is
        added."""
        added = [one for role, one in self.tensors.items() if role in ADDED]
        factors = [one for role, one in self.tensors.items() if role in KIND_OF and role not in ADDED]
        is_product_zero = not factors or any(not one.any() for one in factors)
        return "magnitude" not in self.tensors and is_product_zero and not any(one.any() for one in added)

    def check(self) -> None:
        """Raises `InvalidInput` for what is only a part, or parts of several kinds."""
        found: dict[str, str] = {}
        for role in self.tensors:
            if (kind := KIND_OF.get(role)) is not None:
                found.setdefault(kind, shown(self.keys[role]))
        if not found:
            if list(self.tensors) == ["diff_b"]:
                return
            raise InvalidInput(f"{self.key} belongs to an update that this file does not hold.")
        if len(found) > 1:
            kinds = " and ".join(f"{key} ({kind})" for kind, key in found.items())
            raise InvalidInput(f"{kinds} are updates of two kinds for one layer.")
        (kind,) = found
        if missing := [role for role in KINDS[kind][0] if role not in self.tensors]:
            raise InvalidInput(
                f"{found[kind]} is half of an update: its {SPELLED.get(missing[0], missing[0])} is missing. "
                "The file was cut short, or its keys were renamed."
            )
        self._check_both("hada_t1", "hada_t2")
        if kind == "LoKr":
            self._check_lokr()

    def _check_lokr(self) -> None:
        for name in ("lokr_w1", "lokr_w2"):
            halves = (f"{name}_a", f"{name}_b")
            if name in self.tensors and any(half in self.tensors for half in halves):
                raise InvalidInput(f"{shown(self.keys[name])} is there whole and in halves.")
            if name not in self.tensors and not any(half in self.tensors for half in halves):
                raise InvalidInput(f"{self.key} is a part of an update: its {name} is missing.")
            self._check_both(*halves)
        if "lokr_t2" in self.tensors and "lokr_w2_a" not in self.tensors:
            raise InvalidInput(f"{shown(self.keys['lokr_t2'])} is a part of an update: its lokr_w2_a is missing.")

    def _check_both(self, one: str, other: str) -> None:
        for there, missing in ((one, other), (other, one)):
            if there in self.tensors and missing not in self.tensors:
                raise InvalidInput(f"{shown(self.keys[there])} is half of an update: its {missing} is missing.")
