"""Muon in float32 beside torch's own, which computes in bfloat16."""

from __future__ import annotations

import pytest
import torch

from sagaforge.training import runs
from sagaforge.training.muon import Muon


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(24, 40), (40, 24)])
def test_steps_as_torch_s_own(shape: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "step_dtype", lambda: dtype)
    torch.manual_seed(0)
    begin = torch.randn(shape)
    ours, theirs = torch.nn.Parameter(begin.clone()), torch.nn.Parameter(begin.clone())
    options = {"lr": 1e-2, "weight_decay": 0.1}
    optimizers = [
        Muon([ours], **options),
        torch.optim.Muon([theirs], adjust_lr_fn="match_rms_adamw", **options),
    ]
    for _ in range(4):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    moved = (theirs - begin).norm()
    assert moved > 0.1
    assert (ours - theirs).norm() < 0.02 * moved
    # A checkpoint of the one resumes in the other.
    optimizers[1].load_state_dict(optimizers[0].state_dict())
