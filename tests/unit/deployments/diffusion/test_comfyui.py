"""Pictures from a ComfyUI server, with connections that break and servers that restart."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from sagaforge.deployments.diffusion.comfyui.backend import ComfyUI
from sagaforge.deployments.diffusion.interface import Progress
from sagaforge.errors import Unavailable
from tests.support.comfyui_client import HASTY, SPEC, TIMEOUTS, assert_is_of, backend_of, made, opened
from tests.support.comfyui_server import CHECKPOINT, ComfyUIServer

# --- a picture --------------------------------------------------------------------------------------------------------


async def test_a_picture_with_its_progress_and_facts(server: ComfyUIServer, backend: ComfyUI) -> None:
    steps, picture = await made(backend)
    assert_is_of(picture)
    # Once each, although the server tells each twice.
    assert steps == [Progress(done, 4) for done in range(5)]
    facts = picture.facts
    assert (facts["backend"], facts["model"], facts["adapters"]) == ("comfyui", CHECKPOINT, [])
    assert facts["versions"] == {"comfyui": "0.9.1", "pytorch": "2.13.0", "python": "3.13"}
    assert isinstance(facts["worked_s"], float)
    assert not any("cancel" in request for request in server.requests)


async def test_the_workflow_stays_out_of_the_picture(backend: ComfyUI) -> None:
    _, picture = await made(backend)
    assert opened(picture.image).info == {}
    assert b"red cat" not in picture.image


@pytest.mark.parametrize("has_metadata", [True, False], ids=["type 4", "type 1"])
async def test_previews_are_jpegs_every_so_many_steps(
    server: ComfyUIServer, backend: ComfyUI, has_metadata: bool
) -> None:
    server.faults.has_metadata = has_metadata
    steps, _ = await made(backend, replace(SPEC, steps=5, preview_every=2))
    previews = [(step.done, opened(step.preview).format) for step in steps if step.preview]
    assert previews == [(2, "JPEG"), (4, "JPEG")]
    assert server.submitted[0]["extra_data"]["preview_method"] == "auto"


async def test_nobody_draws_previews_that_nobody_wants(server: ComfyUIServer, backend: ComfyUI) -> None:
    steps, _ = await made(backend)
    assert not any(step.preview for step in steps)
    assert server.submitted[0]["extra_data"]["preview_method"] == "none"


async def test_garbage_between_the_messages_is_nothing(server: ComfyUIServer, backend: ComfyUI) -> None:
    server.faults.garbage = True
    steps, picture = await made(backend, replace(SPEC, preview_every=1))
    assert_is_of(picture)
    assert [step.done for step in steps if step.preview] == [1, 2, 3, 4]


@pytest.mark.parametrize("has_metadata", [True, False], ids=["type 4", "type 1"])
async def test_two_pictures_at_once_do_not_mix(server: ComfyUIServer, backend: ComfyUI, has_metadata: bool) -> None:
    """Each hears all that is said to the other."""
    server.faults.chats, server.faults.has_metadata, server.step_s = True, has_metadata, 0.01
    specs = [replace(SPEC, seed=seed, steps=steps, preview_every=1) for seed, steps in ((10, 4), (200, 7))]
    for spec, (steps, picture) in zip(specs, await asyncio.gather(*(made(backend, s) for s in specs)), strict=True):
        assert_is_of(picture, spec.seed)
        assert [step.done for step in steps if step.preview is None] == list(range(spec.steps + 1))
        shades = [opened(step.preview).getpixel((3, 3)) for step in steps if step.preview]
        assert len(shades) == spec.steps
        assert all(abs(shade[0] - spec.seed) < 30 for shade in shades)


async def test_headers_and_a_path_before_the_routes(server: ComfyUIServer) -> None:
    backend = backend_of(server, headers={"Authorization": "Bearer key"})
    await made(backend)
    assert {headers["authorization"] for headers in server.headers} == {"Bearer key"}
    server.headers.clear()
    steps, _ = await made(ComfyUI(server.url.replace("//", "//me:p%40ss@"), checkpoint=CHECKPOINT, timeouts=TIMEOUTS))
    assert len(steps) == 5
    assert {headers["authorization"] for headers in server.headers} == {"Basic bWU6cEBzcw=="}
    assert not any("origin" in headers for headers in server.headers)
    with pytest.raises(Unavailable):
        await made(ComfyUI(f"{server.url}/elsewhere", checkpoint=CHECKPOINT, timeouts=TIMEOUTS))
    assert server.missed
    assert all(path.startswith("/elsewhere/") for path in server.missed)


async def test_a_server_that_chooses_ids_itself(server: ComfyUIServer, backend: ComfyUI) -> None:
    server.faults.chooses_ids = True
    steps, picture = await made(backend)
    assert_is_of(picture)
    assert len(steps) == 5


# --- the connection ---------------------------------------------------------------------------------------------------


async def test_without_a_socket_the_history_is_polled(server: ComfyUIServer, backend: ComfyUI) -> None:
    server.faults.refuses_sockets, server.step_s = True, 0.02
    steps, picture = await made(backend)
    assert_is_of(picture)
    assert steps == [Progress(0, 4)]


async def test_a_socket_that_drops_midway(server: ComfyUIServer, backend: ComfyUI) -> None:
    server.faults.drops_socket_at, server.step_s = 3, 0.02
    steps, picture = await made(backend)
    assert_is_of(picture)
    assert [step.done for step in steps] == [0, 1, 2]


async def test_a_socket_that_says_nothing(server: ComfyUIServer, backend: ComfyUI) -> None:
    server.faults.is_mute = True
    _, picture = await made(backend)
    assert_is_of(picture)


async def test_a_cached_run_has_no_progress_and_a_picture(server: ComfyUIServer, backend: ComfyUI) -> None:
    server.faults.is_cached = True
    steps, picture = await made(backend)
    assert_is_of(picture)
    assert steps == [Progress(0, 4)]


async def test_a_message_that_is_too_large_ends_the_socket_and_not_the_picture(
    server: ComfyUIServer, backend: ComfyUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagaforge.deployments.diffusion.comfyui.http.MAX_MESSAGE_BYTES", 400)
    steps, picture = await made(backend, replace(SPEC, preview_every=1))
    assert_is_of(picture)
    assert not any(step.preview for step in steps)


async def test_a_restart_while_it_is_polled(server: ComfyUIServer, backend: ComfyUI) -> None:
    server.faults.restarts_at, server.faults.refuses_sockets = 2, True
    steps, picture = await made(backend)
    assert_is_of(picture)
    assert steps == [Progress(0, 4)] * 2


async def test_a_restart_midway_submits_once_more(
    server: ComfyUIServer, backend: ComfyUI, caplog: pytest.LogCaptureFixture
) -> None:
    server.faults.restarts_at = 3
    steps, picture = await made(backend)
    assert_is_of(picture)
    assert [step.done for step in steps] == [0, 1, 2, 0, 1, 2, 3, 4]
    assert "forgotten" in caplog.text
    ids = [body["prompt_id"] for body in server.submitted]
    assert len(set(ids)) == 2


async def test_a_second_restart_is_enough(server: ComfyUIServer, backend: ComfyUI) -> None:
    server.faults.restarts_at, server.faults.num_restarts = 2, 2
    with pytest.raises(Unavailable, match="again"):
        await made(backend)
    assert len(server.submitted) == 2


async def test_a_server_that_stays_away(server: ComfyUIServer) -> None:
    server.step_s = 0.05
    backend = backend_of(server, timeouts=HASTY)
    async with aclosing(backend.generate(SPEC)) as events:
        await anext(events)
        await anext(events)
        await server.stop()
        with pytest.raises(Unavailable, match="reached"):
            async for _ in events:
                pass
    await server.start()


async def test_a_server_that_is_not_there(server: ComfyUIServer) -> None:
    backend = backend_of(server, timeouts=HASTY)
    assert await backend.is_ready()
    await server.stop()
    assert not await backend.is_ready()
    with pytest.raises(Unavailable, match="reached"):
        await made(backend)
    await server.start()


@pytest.mark.parametrize("path", ["/system_stats", "/view"])
async def test_what_is_only_asked_is_asked_again(server: ComfyUIServer, backend: ComfyUI, path: str) -> None:
    server.faults.statuses[path] = [503, 502]
    await made(backend, SPEC)
    assert server.requests.count(f"GET {path}") >= 2


async def test_a_submission_that_failed_is_not_sent_again(server: ComfyUIServer, backend: ComfyUI) -> None:
    server.faults.statuses["/prompt"] = [503]
    with pytest.raises(Unavailable, match="503"):
        await made(backend)
    assert server.requests.count("POST /prompt") == 1
