"""Replicas through handles: which failure becomes what, and when a replica is asked anew."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import BackPressureError, RequestCancelledError

from sagaforge.deployments import handles
from sagaforge.deployments.diffusion.client import ImageClient
from sagaforge.deployments.diffusion.interface import ImageSpec, Made, Progress
from sagaforge.deployments.llm.client import Finished, LLMClient, Piece, Restarted
from sagaforge.deployments.retrieval.client import RetrievalClient
from sagaforge.errors import InvalidInput, NotFound, Overloaded, Unavailable

SPEC = ImageSpec("a red cat", width=32, height=32, steps=4, guidance_scale=3.0, seed=7)
WORD = 'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\n'


class Response:
    """Yields the parts; a part that is an exception is raised."""

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self._parts = parts
        self.is_cancelled = False

    async def __aiter__(self) -> AsyncGenerator[Any, None]:
        for part in self._parts:
            if isinstance(part, Exception):
                raise part
            yield part

    def cancel(self) -> None:
        self.is_cancelled = True


class Handle:
    """One script of parts for each call; the last for all calls after it. Every method is the same one."""

    def __init__(self, *scripts: tuple[Any, ...]) -> None:
        self._scripts = scripts
        self.responses: list[Response] = []
        self.generate = self.complete = self
        self.asked: dict[str, Any] = {}

    def options(self, **options: Any) -> Handle:
        self.asked.update(options)
        return self

    def remote(self, request: Any) -> Response:
        self.responses.append(Response(self._scripts[min(len(self.responses), len(self._scripts) - 1)]))
        return self.responses[-1]


def llm(handle: Any) -> LLMClient:
    return LLMClient(handle, model_id="tiny", max_model_len=100)


async def all_of(events: AsyncGenerator[Any, None]) -> list[Any]:
    return [event async for event in events]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handles, "RETRY_PAUSE_S", 0.0)


@pytest.mark.parametrize(
    ("failure", "error", "words"),
    [
        (BackPressureError(num_queued_requests=9, max_queued_requests=9), Overloaded, "model has all the work"),
        (RayTaskError("generate", "", InvalidInput("No such size.")), InvalidInput, "No such size"),
        (RayTaskError("generate", "a trace", KeyError("x")), RayTaskError, "a trace"),
        (RequestCancelledError("7"), Unavailable, "cancelled"),
        (ActorDiedError(), Unavailable, "model was lost"),
    ],
    ids=["full", "ours", "others", "cancelled", "dead"],
)
async def test_failures_become_ours(failure: Exception, error: type[Exception], words: str) -> None:
    handle: Any = Handle((failure,))
    for generate in (ImageClient(handle).generate(SPEC), llm(handle).generate({}), llm(handle).complete({})):
        with pytest.raises(error, match=words):
            await all_of(generate)
    assert all(response.is_cancelled for response in handle.responses)


async def test_a_replica_that_dies_is_asked_anew() -> None:
    made = Made(b"png")
    handle: Any = Handle((Progress(1, 4), ActorDiedError()), (made,))
    assert await all_of(ImageClient(handle).generate(SPEC)) == [Progress(1, 4), Progress(0, 4), made]
    handle = Handle((WORD, ActorDiedError()), (WORD,))
    assert await all_of(llm(handle).generate({})) == [
        Piece("Hi"),
        Restarted(),
        Piece("Hi"),
        Finished("stop", 0, 0, None),
    ]


async def test_what_is_passed_through_is_asked_anew_until_something_was_sent() -> None:
    assert await all_of(llm(Handle((ActorDiedError(),), (WORD,))).complete({})) == [WORD]
    handle = Handle((WORD, ActorDiedError()), (WORD,))
    with pytest.raises(Unavailable, match="while it answered"):
        await all_of(llm(handle).complete({}))
    assert len(handle.responses) == 1


async def test_it_is_asked_some_times_and_no_more() -> None:
    handle: Any = Handle((ActorDiedError(),))
    with pytest.raises(Unavailable, match="several times"):
        await all_of(ImageClient(handle).generate(SPEC))
    assert len(handle.responses) == handles.MAX_ATTEMPTS


class Searches:
    """A handle of retrieval: each call of `search` takes the next of `answers`, the last for all after it."""

    def __init__(self, *answers: Any) -> None:
        self._answers = answers
        self.num_asked = 0
        self.search = self

    async def remote(self, *args: Any) -> Any:
        answer = self._answers[min(self.num_asked, len(self._answers) - 1)]
        self.num_asked += 1
        if isinstance(answer, Exception):
            raise answer
        return answer


async def found_by(handle: Any) -> list[Any]:
    return await RetrievalClient(handle).search("w", 1, "bell", top_k=3)


@pytest.mark.parametrize(
    ("failure", "error", "words"),
    [
        (BackPressureError(num_queued_requests=9, max_queued_requests=9), Overloaded, "Retrieval has all the work"),
        (RayTaskError("search", "", NotFound("No such world.")), NotFound, "No such world"),
        (RayTaskError("search", "a trace", KeyError("x")), RayTaskError, "a trace"),
        (RequestCancelledError("7"), Unavailable, "cancelled"),
    ],
    ids=["full", "ours", "others", "cancelled"],
)
async def test_a_search_that_fails_is_not_asked_again(failure: Exception, error: type[Exception], words: str) -> None:
    handle = Searches(failure)
    with pytest.raises(error, match=words):
        await found_by(handle)
    assert handle.num_asked == 1


async def test_a_search_that_is_lost_is_asked_again_some_times_and_no_more() -> None:
    assert await found_by(Searches(ActorDiedError(), ActorDiedError(), ["chunk"])) == ["chunk"]
    handle = Searches(ActorDiedError())
    with pytest.raises(Unavailable, match="several times"):
        await found_by(handle)
    assert handle.num_asked == handles.MAX_ATTEMPTS


async def test_a_picture_goes_where_its_adapter_is_loaded() -> None:
    handle = Handle((Made(b"png"),))
    client = ImageClient(handle)  # type: ignore[arg-type]
    await all_of(client.generate(SPEC))
    assert handle.asked == {"stream": True}
    contents = {"mara": "cd" * 32, "ink": "ab" * 32}
    await all_of(client.generate(replace(SPEC, adapters=(("ink", 1.0), ("mara", 0.5)), adapter_sha256=contents)))
    assert handle.asked == {"stream": True, "multiplexed_model_id": "ab" * 32}
