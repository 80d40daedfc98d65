"""Back ends in an order of preference: who makes the picture, who is left out, and what a client sees of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import pytest

from sagaforge.deployments.diffusion import fallback
from sagaforge.deployments.diffusion.comfyui.backend import ComfyUI
from sagaforge.deployments.diffusion.comfyui.http import Timeouts
from sagaforge.deployments.diffusion.fallback import OrderedBackends
from sagaforge.deployments.diffusion.interface import ImageBackend, ImageEvent, ImageSpec, Made, Progress
from sagaforge.errors import (
    DeadlineExceeded,
    InvalidInput,
    Overloaded,
    SagaForgeError,
    StorageUnavailable,
    TooLarge,
    Unavailable,
)
from tests.support.comfyui_server import CHECKPOINT, serving

SPEC = ImageSpec("a red cat", 64, 64, steps=3, guidance_scale=5.0, seed=1)
DOWN = Unavailable("It is down.")


@dataclass
class Clock:
    """Stands still unless it is told to go on."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    # The module's name for it: the event loop keeps its own time.
    monkeypatch.setattr(fallback, "time", clock)
    return clock


class Scripted:
    """Plays one script per picture, and makes a picture when there is none left. A script is what it yields or raises;
    an `asyncio.Event` is waited for."""

    def __init__(self, name: str, *scripts: list[Any], **facts: object) -> None:
        self.name = name
        self.scripts = list(scripts)
        self.facts = facts
        self.specs: list[ImageSpec] = []
        self.num_closed = 0
        self.ready: bool | Exception | asyncio.Event = True
        self.begun = asyncio.Semaphore(0)

    async def begin(self, num_pictures: int) -> None:
        """Wait until it has begun so many more pictures."""
        for _ in range(num_pictures):
            await self.begun.acquire()

    async def is_ready(self) -> bool:
        if isinstance(self.ready, asyncio.Event):
            await self.ready.wait()
        if isinstance(self.ready, Exception):
            raise self.ready
        return bool(self.ready)

    async def generate(self, spec: ImageSpec) -> AsyncGenerator[ImageEvent, None]:
        self.specs.append(spec)
        self.begun.release()
        made = Made(self.name.encode(), self.facts)
        try:
            for step in self.scripts.pop(0) if self.scripts else [Progress(0, 3), Progress(3, 3), made]:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
        finally:
            self.num_closed += 1


def ordered(*backends: ImageBackend, **options: Any) -> OrderedBackends:
    return OrderedBackends(backends, **options)


async def made(backend: ImageBackend, spec: ImageSpec = SPEC) -> tuple[list[ImageEvent], Made]:
    *steps, last = [event async for event in backend.generate(spec)]
    assert isinstance(last, Made)
    return steps, last


async def test_the_first_makes_the_picture() -> None:
    first, second = Scripted("first", worked_s=0.5), Scripted("second")
    steps, picture = await made(ordered(first, second))
    assert steps == [Progress(0, 3), Progress(3, 3)]
    assert picture.image == b"first"
    assert picture.facts == {"backend": "first", "worked_s": 0.5}
    assert second.specs == []


async def test_who_knows_better_who_made_it_says_so() -> None:
    _, picture = await made(ordered(ordered(Scripted("inner"), name="pool")))
    assert picture.facts["backend"] == "inner"


@pytest.mark.parametrize("error", [DOWN, StorageUnavailable("No bucket.")])
async def test_the_next_begins_anew(error: SagaForgeError) -> None:
    first = Scripted("first", [Progress(0, 7), Progress(5, 7, b"preview"), error])
    steps, picture = await made(ordered(first, Scripted("second")))
    assert steps == [
        Progress(0, 7), Progress(5, 7, b"preview"), Progress(0, 7), Progress(0, 3), Progress(3, 3),
    ]  # fmt: skip
    assert picture.facts["backend"] == "second"


async def test_one_that_ends_without_a_picture_has_failed() -> None:
    _, picture = await made(ordered(Scripted("first", [Progress(3, 3)]), Scripted("second")))
    assert picture.facts["backend"] == "second"


async def test_when_all_fail_the_last_failure_is_told() -> None:
    with pytest.raises(Unavailable, match="That too"):
        await made(ordered(Scripted("first", [DOWN]), Scripted("second", [Unavailable("That too.")])))


@pytest.mark.parametrize(
    "error", [InvalidInput("No."), TooLarge("No."), Overloaded("No."), DeadlineExceeded("No."), RuntimeError("a bug")]
)
async def test_nothing_else_is_tried_again(error: Exception) -> None:
    first, second = Scripted("first", [error]), Scripted("second")
    pool = ordered(first, second)
    with pytest.raises(type(error)):
        await made(pool)
    assert second.specs == []
    _, picture = await made(pool)
    assert picture.facts["backend"] == "first", "it has not failed"


@pytest.mark.parametrize("ready", [False, Unavailable("Asleep."), "hangs"])
async def test_one_that_is_not_ready_is_passed_over(ready: Any) -> None:
    first, second = Scripted("first"), Scripted("second")
    first.ready = asyncio.Event() if ready == "hangs" else ready
    pool = ordered(first, second, ready_timeout_s=0.05)
    assert await pool.is_ready()
    _, picture = await made(pool)
    assert picture.facts["backend"] == "second"
    assert first.specs == []
    second.ready = False
    assert not await pool.is_ready()
    with pytest.raises(Unavailable):
        await made(pool)


async def test_to_be_loading_is_no_failure() -> None:
    first = Scripted("first")
    first.ready = False
    pool = ordered(first, Scripted("second"), first_pause_s=60.0)
    await made(pool)
    first.ready = True
    _, picture = await made(pool)
    assert picture.facts["backend"] == "first"


async def test_one_that_failed_is_left_out_for_a_while(clock: Clock) -> None:
    first, second = Scripted("first", [DOWN]), Scripted("second")
    pool = ordered(first, second, first_pause_s=10.0)
    await made(pool)
    clock.now += 9.0
    steps, picture = await made(pool)
    assert (len(first.specs), len(steps), picture.facts["backend"]) == (1, 2, "second")
    clock.now += 1.0
    _, picture = await made(pool)
    assert picture.facts["backend"] == "first"


async def test_each_further_failure_doubles_the_while(clock: Clock) -> None:
    first = Scripted("first", *[[DOWN]] * 4)
    pool = ordered(first, Scripted("second"), first_pause_s=10.0, max_pause_s=30.0)
    for pause_s in (10, 20, 30, 30):
        num_asked = len(first.specs)
        await made(pool)
        assert len(first.specs) == num_asked + 1
        clock.now += pause_s - 1
        await made(pool)
        assert len(first.specs) == num_asked + 1
        clock.now += 1
    assert (await made(pool))[1].facts["backend"] == "first"
    first.scripts = [[DOWN]]
    await made(pool)
    clock.now += 10
    assert (await made(pool))[1].facts["backend"] == "first", "to have worked once is to begin anew"


async def test_pictures_that_fail_together_are_one_failure(clock: Clock) -> None:
    let_go = asyncio.Event()
    first = Scripted("first", *[[let_go, DOWN]] * 5)
    pool = ordered(first, Scripted("second"), first_pause_s=10.0)
    making = [asyncio.create_task(made(pool)) for _ in range(5)]
    await first.begin(5)
    let_go.set()
    await asyncio.gather(*making)
    clock.now += 10.0
    assert (await made(pool))[1].facts["backend"] == "first"


async def test_one_picture_tries_it_and_the_others_wait_for_that() -> None:
    let_go = asyncio.Event()
    first, second = Scripted("first", [DOWN], [let_go, Made(b"probe")]), Scripted("second")
    pool = ordered(first, second, first_pause_s=0.0)
    await made(pool)
    probe = asyncio.create_task(made(pool))
    await first.begin(2)
    others = await asyncio.gather(*(made(pool) for _ in range(3)))
    assert {picture.facts["backend"] for _, picture in others} == {"second"}
    let_go.set()
    assert (await probe)[1].facts["backend"] == "first"
    assert (await made(pool))[1].facts["backend"] == "first"


@pytest.mark.parametrize("how", ["closed", "refused"])
async def test_a_probe_that_ends_otherwise_lets_the_next_one_try(how: str) -> None:
    second_script = [Progress(0, 3), asyncio.Event()] if how == "closed" else [InvalidInput("No.")]
    first = Scripted("first", [DOWN], second_script)
    pool = ordered(first, Scripted("second"), first_pause_s=0.0)
    await made(pool)
    async with aclosing(pool.generate(SPEC)) as events:
        with nullcontext() if how == "closed" else pytest.raises(InvalidInput):
            assert await anext(events) == Progress(0, 3)
    assert first.num_closed == 2
    assert (await made(pool))[1].facts["backend"] == "first"


async def test_closing_closes_who_works() -> None:
    first = Scripted("first", [Progress(0, 3), Progress(1, 3), asyncio.Event()])
    async with aclosing(ordered(first).generate(SPEC)) as events:
        await anext(events)
        assert first.num_closed == 0
    assert first.num_closed == 1


async def test_the_next_has_the_time_that_is_left(clock: Clock) -> None:
    first, second = Scripted("first", [Progress(0, 3), DOWN]), Scripted("second", [DOWN])
    async with aclosing(ordered(first, second).generate(replace(SPEC, deadline_s=5.0))) as events:
        await anext(events)
        clock.now += 2.0
        assert await anext(events) == Progress(0, 3)
        with pytest.raises(Unavailable):
            await anext(events)
    assert [spec.deadline_s for spec in (*first.specs, *second.specs)] == [5.0, 3.0]


async def test_no_time_left(clock: Clock) -> None:
    second = Scripted("second")
    pool = ordered(Scripted("first", [Progress(0, 3), DOWN]), second)
    async with aclosing(pool.generate(replace(SPEC, deadline_s=5.0))) as events:
        await anext(events)
        clock.now += 5.0
        with pytest.raises(DeadlineExceeded):
            async for _ in events:
                pass
    assert second.specs == []


async def test_nobody() -> None:
    assert not await ordered().is_ready()
    with pytest.raises(Unavailable):
        await made(ordered())


async def test_a_comfyui_server_that_dies_midway_and_its_neighbour() -> None:
    timeouts = Timeouts(connect_s=10.0, read_s=20.0, patience_s=0.3, restart_s=0.3, poll_s=0.05, cancel_s=10.0)
    async with serving() as one, serving() as other:
        one.step_s = 0.05
        backends = [
            ComfyUI(server.url, checkpoint=CHECKPOINT, name=name, timeouts=timeouts)
            for server, name in ((one, "one"), (other, "other"))
        ]
        pool = ordered(*backends, ready_timeout_s=10.0)
        seen: list[ImageEvent] = []
        async for event in pool.generate(SPEC):
            seen.append(event)
            if event == Progress(1, 3) and len(seen) == 2:
                await one.stop()
        await one.start()
    last = seen[-1]
    assert isinstance(last, Made)
    assert last.facts["backend"] == "other"
    assert [event.done for event in seen if isinstance(event, Progress)][-4:] == [0, 1, 2, 3]
