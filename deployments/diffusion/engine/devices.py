"""Where the parts of a pipeline compute, which with offloading is not where their weights lie."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.hooks.group_offloading import _get_group_onload_device


def working_device(part: Any) -> torch.device:
    """The device on which a part's calls run: what is made for them belongs there."""
    try:
        return _get_group_onload_device(part)
    except ValueError:  # it is not offloaded
        return part.device
