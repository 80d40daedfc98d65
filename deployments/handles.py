"""Streams from replicas: their failures mapped to ours, and a replica that died asked for anew.

A replica answers a caller's mistake with the error as the last part of its stream: what it raises, Serve logs with a
traceback, as if it had failed.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, RequestCancelledError
from ray.serve.handle import DeploymentHandle

from sagaforge.errors import Overloaded, SagaForgeError, Unavailable

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
RETRY_PAUSE_S = 0.5  # times the attempt's number: the router needs a moment to learn that a replica is gone

Event = TypeVar("Event")


async def stream(method: DeploymentHandle, request: Any, what: str) -> AsyncGenerator[Any, None]:
    """What a streaming method yields, from one replica. `what` begins the sentences that callers read of failures.

    Raises:
        RayActorError: the replica died.
        SagaForgeError: what the method raised; `Overloaded` or `Unavailable` when it was not run to its end.
    """
    response = method.remote(request)
    try:
        async for part in response:
            if isinstance(part, SagaForgeError):
                raise part
            yield part
    except BackPressureError as exc:
        raise Overloaded(f"{what} has all the work it can take; try again in a second.") from exc
    except RayTaskError as exc:
        if isinstance(exc.cause, SagaForgeError):
            raise exc.cause from None
        raise
    except RequestCancelledError as exc:
        raise Unavailable("The request was cancelled.") from exc
    finally:
        # Without this a caller that goes away leaves the replica working for nobody.
        response.cancel()


def telling(method: Callable[[Any, Any], AsyncGenerator[Event, None]]) -> Callable[..., AsyncGenerator[Any, None]]:
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
    attempt: Callable[[], AsyncGenerator[Event, None]], restarted: Event, what: str
) -> AsyncGenerator[Event, None]:
    """The events of an attempt. When its replica dies, `restarted`, and then those of a new one; a few times."""
    for number in range(1, MAX_ATTEMPTS + 1):
        try:
            async with aclosing(attempt()) as events:
                async for event in events:
                    yield event
            return
        except RayActorError as exc:
            if number == MAX_ATTEMPTS:
                raise Unavailable(f"{what} was lost several times in a row; try again.") from exc
            yield restarted
            await asyncio.sleep(number * RETRY_PAUSE_S)
