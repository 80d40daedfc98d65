"""What training runs share: the clock, the step in two precisions, the rate."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from sagaforge.training import runs


def test_a_pause_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    at = iter([100.0, 101.0, 5000.0, 5029.0])
    monkeypatch.setattr(runs, "time", SimpleNamespace(monotonic=lambda: next(at)))
    clock = runs.Clock(minutes=2, spent=60.0)
    assert list(clock.steps()) == [60 / 120, 61 / 120, 91 / 120]
    assert clock.spent == 120.0
    assert not clock.is_stopped


def test_a_run_whose_time_is_over_takes_no_step() -> None:
    assert list(runs.Clock(minutes=1, spent=60.0).steps()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_step_end_and_is_the_last(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    clock, num_steps = runs.Clock(minutes=60, spent=0.0), 0
    for _ in clock.steps():
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        num_steps += 1
    assert clock.is_stopped
    assert num_steps == 1
    assert signal.getsignal(number) == before


def test_a_step_learns_in_float32_and_computes_in_bfloat16() -> None:
    torch.manual_seed(1)
    master = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    alone = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    fast = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).to(torch.bfloat16)
    for copy in (alone, fast):
        copy.load_state_dict(master.state_dict())
    optimizer = torch.optim.SGD(master.parameters(), lr=0.5)
    rates = runs.full_rates([optimizer])
    # The second layer takes no part: it stays, though an optimizer might decay it.
    fast[0](torch.full((2, 4), 100.0, dtype=torch.bfloat16)).sum().backward()
    gradients = [parameter.grad.float() for parameter in fast[0].parameters()]
    runs.take_gradients(master, fast)
    assert all(parameter.grad is None for parameter in (*fast.parameters(), *master[1].parameters()))
    runs.take_step(master, fast, [optimizer], rates, share=0.1)
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    assert norm > 100
    for new, old, gradient in zip(master[0].parameters(), alone[0].parameters(), gradients, strict=True):
        torch.testing.assert_close(new, old - 0.05 * gradient / norm)
    for new, old in zip(master[1].parameters(), alone[1].parameters(), strict=True):
        assert torch.equal(new, old)
    for quick, slow in zip(fast.parameters(), master.parameters(), strict=True):
        assert torch.equal(quick, slow.to(torch.bfloat16))
    assert rates == [[0.5]]


def test_a_rate_warms_up_stays_and_falls() -> None:
    rates = [runs.rate_at(step, progress, warmup_steps=10, decay_share=0.25) for step, progress in
             ((0, 0.0), (9, 0.1), (500, 0.7), (900, 0.875), (999, 1.0))]  # fmt: skip
    assert rates == [0.1, 1.0, 1.0, 0.5, 0.0]
