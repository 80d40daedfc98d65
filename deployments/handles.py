"""The one way to a replica: its failures mapped to ours, and one that died asked for anew.

A replica answers a caller's mistake with the error as the last part of its stream: what it raises, Serve logs with a
traceback, as if it had failed.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, TypeVar

from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, RequestCancelledError
from ray.serve.handle import DeploymentHandle

from sagaforge.errors import Overloaded, SagaForgeError, Unavailable

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
RETRY_PAUSE_S = 0.5  # times the attempt's number: the router needs a moment to learn that a replica is gone

T = TypeVar("T")


@contextmanager
def mapped(what: str) -> Iterator[None]:
    """What Ray and Serve raise of a call, as ours. `what` begins the sentences that callers read of failures.

    Raises:
        RayActorError: the replica died; asking anew is for `asked`, `restarting` and `until_sent` to do.
        SagaForgeError: what the replica raised; `Overloaded` or `Unavailable` when the call was not run to its end.
    """
    try:
        yield
    except BackPressureError as exc:
        raise Overloaded(f"{what} has all the work it can take; try again in a second.") from exc
    except RayTaskError as exc:
        if isinstance(exc.cause, SagaForgeError):
            raise exc.cause from None
        raise
    except RequestCancelledError as exc:
        raise Unavailable("The request was cancelled.") from exc


async def asked(ask: Callable[[], Awaitable[T]], what: str) -> T:
    """One answer, to a question that may be asked again: when its replica dies, another is asked; a few times."""
    for number in range(1, MAX_ATTEMPTS + 1):
        try:
            with mapped(what):
                return await ask()
        except RayActorError as exc:
            await _pause(number, exc, f"{what} was lost several times in a row; try again.")
    raise AssertionError("unreachable")


async def stream(method: DeploymentHandle, request: Any, what: str) -> AsyncGenerator[Any, None]:
    """What a streaming method yields, from one replica. Raises as `mapped` does."""
    response = method.remote(request)
    try:
        with mapped(what):
            async for part in response:
                if isinstance(part, SagaForgeError):
                    raise part
                yield part
    finally:
        # Without this a caller that goes away leaves the replica working for nobody.
        response.cancel()


def telling(method: Callable[[Any, Any], AsyncGenerator[T, None]]) -> Callable[..., AsyncGenerator[Any, None]]:
    """A streaming method of a replica, made to tell a refusal as its last part."""

    @functools.wraps(method)
    async def told(replica: Any, request: Any) -> AsyncGenerator[Any, None]:
        try:
            async with aclosing(method(replica, request)) as parts:
                async for part in parts:
                    yield part
        except SagaForgeError as exc:
            if exc.status >= 500:
                raise
            logger.info("refused: %s", exc.detail)
            yield exc

    return told


async def restarting(
    attempt: Callable[[], AsyncGenerator[T, None]], restarted: T, what: str
) -> AsyncGenerator[T, None]:
    """The events of an attempt. When its replica dies, `restarted`, and then those of a new one; a few times."""
    for number in range(1, MAX_ATTEMPTS + 1):
        try:
            async with aclosing(attempt()) as events:
                async for event in events:
                    yield event
            return
        except RayActorError as exc:
            if number < MAX_ATTEMPTS:
                yield restarted
            await _pause(number, exc, f"{what} was lost several times in a row; try again.")


async def until_sent(attempt: Callable[[], AsyncGenerator[T, None]], what: str) -> AsyncGenerator[T, None]:
    """The parts of an attempt that is handed through unread: made anew only until a first part was sent."""
    has_sent = False
    for number in range(1, MAX_ATTEMPTS + 1):
        try:
            async with aclosing(attempt()) as parts:
                async for part in parts:
                    has_sent = True
                    yield part
            return
        except RayActorError as exc:
            await _pause(MAX_ATTEMPTS if has_sent else number, exc, f"{what} was lost while it answered; try again.")


async def _pause(number: int, exc: RayActorError, last_words: str) -> None:
    """Before the attempt after `number`; `Unavailable` where there is none."""
    if number == MAX_ATTEMPTS:
        raise Unavailable(last_words) from exc
    await asyncio.sleep(number * RETRY_PAUSE_S)
