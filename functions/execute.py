"""Runs a function of the table for a caller: its permission, its deadline, its cancellation.

Every front end goes through here, so a limit exists once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, TypeVar

from pydantic import BaseModel

from sagaforge.errors import DeadlineExceeded, Forbidden
from sagaforge.functions.catalog import Function, Services
from sagaforge.functions.context import CallContext
from sagaforge.functions.files import ServedFile

T = TypeVar("T")


async def execute(
    function: Function, request: Any, *, services: Services, context: CallContext
) -> BaseModel | ServedFile:
    """The answer of a function that has `call` or `file`.

    Raises:
        Forbidden: the caller may not do this.
        DeadlineExceeded: it took longer than the row allows; the work was cancelled.
        SagaForgeError: what the function raises.
    """
    _check(function, context)
    run = function.call or function.file
    assert run is not None, f"{function.name} answers in parts"
    deadline_s = function.deadline_s(services.settings)
    try:
        async with asyncio.timeout(deadline_s):
            return await run(request, services, context)
    except TimeoutError as exc:
        raise _too_late(deadline_s) from exc


def execute_stream(
    function: Function, request: Any, *, services: Services, context: CallContext
) -> AsyncGenerator[Any, None]:
    """The parts of a function that has `stream` (events) or `relay` (an engine's own text).

    Closing it cancels the work. Raises as `execute`, with the first part or later.
    """
    _check(function, context)
    run = function.stream or function.relay
    assert run is not None, f"{function.name} answers at once"
    return _within(function.deadline_s(services.settings), run(request, services, context))


def _check(function: Function, context: CallContext) -> None:
    if function.permission not in context.caller.permissions:
        raise Forbidden(
            f"{context.caller.name} may not {function.permission} here; ask an operator for a key that may."
        )


async def _within(deadline_s: float, items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """`items`, all of them before the deadline; closing this closes them."""
    end = asyncio.get_running_loop().time() + deadline_s
    try:
        while True:
            # One timeout a step: the first item is awaited in another task than the rest, and a timeout belongs to one.
            async with asyncio.timeout_at(end):
                item = await anext(items)
            yield item
    except StopAsyncIteration:
        return
    except TimeoutError as exc:
        raise _too_late(deadline_s) from exc
    finally:
        await items.aclose()


def _too_late(deadline_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"It took longer than {deadline_s:.0f} s and was stopped; try again, or ask for less.")
