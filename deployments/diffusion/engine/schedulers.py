"""Schedulers by the names that people know them by. Each request has its own, because most remember earlier steps."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    UniPCMultistepScheduler,
)

from sagaforge.image_schemas import SchedulerName

_KINDS: dict[SchedulerName, tuple[Any, dict[str, Any]]] = {
    "dpmpp_2m": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "dpmpp_2m_karras": (
        DPMSolverMultistepScheduler,
        {"algorithm_type": "dpmsolver++", "solver_order": 2, "use_karras_sigmas": True},
    ),
    "euler": (EulerDiscreteScheduler, {}),
    "euler_a": (EulerAncestralDiscreteScheduler, {}),
    "ddim": (DDIMScheduler, {}),
    "unipc": (UniPCMultistepScheduler, {}),
}


def make_scheduler(name: SchedulerName, config: Any) -> Any:
    """A new scheduler of that kind, for the model whose own scheduler has `config`."""
    kind, options = _KINDS[name]
    return kind.from_config(config, **options)


def step(
    scheduler: Any, model_output: torch.Tensor, timestep: torch.Tensor, sample: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """The next sample, and what the model expects in the end (the sample itself where the scheduler does not say)."""
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    extra = {"generator": generator} if takes_generator else {}
    stepped = scheduler.step(model_output, timestep, sample, **extra)
    expected = getattr(stepped, "pred_original_sample", None)
    if expected is None:
        # Multistep solvers keep their data predictions, the newest last.
        outputs = getattr(scheduler, "model_outputs", None)
        expected = outputs[-1] if outputs else stepped.prev_sample
    return stepped.prev_sample, expected
