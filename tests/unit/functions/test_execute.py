"""The one way to run a function: its caller's permission, its deadline, and that what is closed stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from sagaforge.errors import DeadlineExceeded, Forbidden
from sagaforge.functions.catalog import FUNCTIONS, Function
from sagaforge.functions.context import LOCAL, CallContext
from sagaforge.functions.execute import execute, execute_stream
from sagaforge.functions.files import ServedFile
from sagaforge.http import routes
from tests.support.fakes import House
from tests.support.http_client import app_of, check_problem, client_of

ROW = FUNCTIONS[0]


def row(**fields: Any) -> Function:
    nothing = {"call": None, "relay": None, "stream": None, "file": None}
    return replace(ROW, **{**nothing, "deadline_s": lambda settings: 0.05, **fields})


async def hang(request: Any, services: Any, context: Any) -> Any:
    await asyncio.sleep(60)


async def parts(request: Any, services: Any, context: Any) -> AsyncGenerator[str, None]:
    yield "one"
    await asyncio.sleep(60)


@pytest.mark.parametrize("permission", ["read", "write", "admin"])
@pytest.mark.parametrize("allowed", [frozenset(), frozenset({"read"}), frozenset({"read", "write"})])
async def test_a_caller_may_do_what_its_permissions_say(house: House, permission: Any, allowed: frozenset[Any]) -> None:
    async def answer(request: Any, services: Any, context: Any) -> Any:
        return "done"

    context = CallContext("r", caller=replace(LOCAL, name="reader", permissions=allowed))
    at_once, in_parts = row(call=answer, permission=permission), row(stream=parts, permission=permission)
    if permission in allowed:
        assert await execute(at_once, None, services=house.services, context=context) == "done"
        stream = execute_stream(in_parts, None, services=house.services, context=context)
        assert await anext(stream) == "one"
        await stream.aclose()
    else:
        with pytest.raises(Forbidden, match=f"reader may not {permission}"):
            await execute(at_once, None, services=house.services, context=context)
        with pytest.raises(Forbidden, match=f"reader may not {permission}"):
            execute_stream(in_parts, None, services=house.services, context=context)


@pytest.mark.parametrize("way", ["call", "file"])
async def test_what_takes_too_long_is_stopped(house: House, way: str) -> None:
    with pytest.raises(DeadlineExceeded, match="longer than 0 s"):
        await execute(row(**{way: hang}), None, services=house.services, context=CallContext("r"))


@pytest.mark.parametrize("way", ["stream", "relay"])
async def test_parts_that_do_not_come_are_stopped(house: House, way: str) -> None:
    stream = execute_stream(row(**{way: parts}), None, services=house.services, context=CallContext("r"))
    assert await anext(stream) == "one"
    with pytest.raises(DeadlineExceeded):
        await anext(stream)


async def test_a_file_that_takes_too_long_is_a_504(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow(request: Any, services: Any, context: Any) -> ServedFile:
        return await hang(request, services, context)

    monkeypatch.setitem(
        routes._BY_NAME, "image_file", replace(routes._BY_NAME["image_file"], file=slow, deadline_s=lambda s: 0.05)
    )
    async with client_of(app_of(house)) as client:
        response: httpx.Response = await client.get(f"/images/{'ab12' * 8}.png")
    check_problem(response, 504, "deadline_exceeded")


def test_every_row_has_one_way_to_run() -> None:
    for function in FUNCTIONS:
        assert (function.call or function.relay or function.file) is not None, function.name
    assert {route.name for route in routes.ROUTES} == {function.name for function in FUNCTIONS}
