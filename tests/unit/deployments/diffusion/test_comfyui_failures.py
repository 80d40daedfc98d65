"""A ComfyUI server that refuses or fails, and clients that go away."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from sagaforge.deployments.diffusion.comfyui.backend import ComfyUI
from sagaforge.deployments.diffusion.interface import ImageSpec, Progress
from sagaforge.errors import DeadlineExceeded, InvalidInput, SagaForgeError, TooLarge, Unavailable
from tests.support.comfyui_client import SPEC, assert_is_of, backend_of, made
from tests.support.comfyui_server import CHECKPOINT, ComfyUIServer
from tests.support.comfyui_work import encoded

# --- refusals and failures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "spec", "error", "words"),
    [
        ({"checkpoint": "other.safetensors"}, SPEC, Unavailable, "checkpoint other.safetensors"),
        ({}, replace(SPEC, adapters=(("chalk", 1.0),)), InvalidInput, "adapter chalk.safetensors"),
        ({}, replace(SPEC, width=8), InvalidInput, "8 for width"),
    ],
)
async def test_refusals_by_the_server(
    server: ComfyUIServer, options: dict[str, Any], spec: ImageSpec, error: type[SagaForgeError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        await made(backend_of(server, **options), spec)
    assert CHECKPOINT not in caught.value.detail, "what else lies on the server is nobody's business"
    assert server.is_idle


async def test_a_success_with_node_errors_is_none(server: ComfyUIServer, backend: ComfyUI) -> None:
    errors = [{"type": "bad_linked_input", "message": "Bad linked input", "details": "", "extra_info": {}}]
    server.faults.extra_errors = {"9": {"errors": errors, "dependent_outputs": ["10"], "class_type": "VAEDecode"}}
    server.step_s = 0.2
    with pytest.raises(Unavailable, match="VAEDecode: Bad linked input"):
        await made(backend, replace(SPEC, steps=500))
    await server.until(lambda: server.is_idle)


MEMORY = {"exception_type": "torch.OutOfMemoryError", "exception_message": "Allocation on device "}
BUG = {"exception_type": "RuntimeError", "exception_message": "mat1 and mat2\nshapes cannot be multiplied"}


@pytest.mark.parametrize("refuses_sockets", [False, True], ids=["told", "in history"])
@pytest.mark.parametrize(
    ("fails", "error", "words"), [(MEMORY, TooLarge, "memory"), (BUG, Unavailable, "KSampler: RuntimeError: mat1")]
)
async def test_failures_while_it_runs(
    server: ComfyUIServer,
    backend: ComfyUI,
    fails: dict[str, str],
    error: type[SagaForgeError],
    words: str,
    refuses_sockets: bool,
) -> None:
    server.faults.fails, server.faults.refuses_sockets = fails, refuses_sockets
    with pytest.raises(error, match=words):
        await made(backend)


@pytest.mark.parametrize("refuses_sockets", [False, True], ids=["told", "in history"])
async def test_somebody_else_stops_it(server: ComfyUIServer, backend: ComfyUI, refuses_sockets: bool) -> None:
    server.step_s, server.faults.refuses_sockets = 0.05, refuses_sockets
    making = asyncio.create_task(made(backend))
    await server.until(lambda: server.running)
    assert server.running is not None
    server.running.is_interrupted = True
    with pytest.raises(Unavailable, match="stopped"):
        await making


@pytest.mark.parametrize(
    ("png", "words"),
    [
        (b"<html>not here</html>", "no picture"),
        (encoded((32, 32), (0, 0, 0)), "32x32 instead of 64x48"),
        (encoded((64, 48), (9, 9, 9))[:-40], "no picture"),
    ],
)
async def test_what_is_no_picture_of_ours(server: ComfyUIServer, backend: ComfyUI, png: bytes, words: str) -> None:
    server.faults.png = png
    with pytest.raises(Unavailable, match=words):
        await made(backend)


async def test_more_bytes_than_a_picture_has(
    server: ComfyUIServer, backend: ComfyUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagaforge.deployments.diffusion.comfyui.run.MAX_IMAGE_BYTES", 50)
    with pytest.raises(Unavailable, match="more than 50 bytes"):
        await made(backend)


async def test_no_picture_at_the_end(server: ComfyUIServer, backend: ComfyUI) -> None:
    server.faults.makes_nothing = True
    with pytest.raises(Unavailable, match="no picture"):
        await made(backend)


# --- who goes away ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_job_cancel", [True, False], ids=["new", "old"])
async def test_closing_stops_the_work(server: ComfyUIServer, backend: ComfyUI, has_job_cancel: bool) -> None:
    server.step_s, server.faults.has_job_cancel = 0.1, has_job_cancel
    async with aclosing(backend.generate(replace(SPEC, steps=500))) as events:
        async for event in events:
            if isinstance(event, Progress) and event.done == 2:
                break
    await server.until(lambda: server.is_idle)
    assert next(iter(server.history.values()))["status"]["messages"][-1][0] == "execution_interrupted"


@pytest.mark.parametrize("has_job_cancel", [True, False], ids=["new", "old"])
async def test_closing_takes_out_what_is_queued_and_only_that(
    server: ComfyUIServer, backend: ComfyUI, has_job_cancel: bool
) -> None:
    """The old `/interrupt` stops whatever runs: it must not be asked for a picture that waits."""
    server.step_s, server.faults.has_job_cancel = 0.1, has_job_cancel
    first = asyncio.create_task(made(backend, replace(SPEC, steps=8)))
    await server.until(lambda: server.running)
    second = asyncio.create_task(made(backend))
    await server.until(lambda: server.pending)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert not server.pending
    _, picture = await first
    assert_is_of(picture)
    assert len(server.history) == 1


async def test_closing_while_it_is_submitted(server: ComfyUIServer, backend: ComfyUI) -> None:
    """A submission can't be called back: it is awaited, and then cancelled."""
    gate = server.faults.gate = asyncio.Event()
    server.step_s = 0.1
    making = asyncio.create_task(made(backend, replace(SPEC, steps=500)))
    await server.until(lambda: "POST /prompt" in server.requests)
    making.cancel()
    await asyncio.wait({making}, timeout=0.3)
    assert not making.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert len(server.submitted) == 1
    await server.until(lambda: server.is_idle)


@pytest.mark.parametrize("refuses_sockets", [False, True], ids=["socket", "polling"])
async def test_the_deadline(server: ComfyUIServer, backend: ComfyUI, refuses_sockets: bool) -> None:
    server.step_s, server.faults.refuses_sockets = 0.1, refuses_sockets
    with pytest.raises(DeadlineExceeded):
        await made(backend, replace(SPEC, steps=500, deadline_s=0.4))
    await server.until(lambda: server.is_idle)


async def test_a_cancellation_that_fails_is_logged(
    server: ComfyUIServer, backend: ComfyUI, caplog: pytest.LogCaptureFixture
) -> None:
    server.step_s = 0.05
    async with aclosing(backend.generate(replace(SPEC, steps=20))) as events:
        await anext(events)
        await anext(events)
        server.faults.statuses[f"/api/jobs/{server.submitted[0]['prompt_id']}/cancel"] = [500]
    assert [r.levelno for r in caplog.records if "cancelled" in r.message] == [logging.WARNING]
