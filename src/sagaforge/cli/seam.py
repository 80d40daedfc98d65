"""The seam to httpx: its errors and a bundle's answers become results or `CliError` here, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
from httpx_sse import SSEError
from pydantic import BaseModel, ValidationError

from sagaforge.cli.failures import CliError, from_problem

Model = TypeVar("Model", bound=BaseModel)


@contextmanager
def seam(url: str) -> Iterator[None]:
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise CliError(
            f"{url!r} is not an http(s) address: {error}",
            code="E_INPUT",
            actions=["Give --url or SAGAFORGE_URL as http://HOST:PORT."],
            stage="connect",
        ) from error
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise CliError(
            f"nothing answers at {url} ({error or 'timed out'})",
            code="E_CONNECT",
            component="connection",
            actions=["If the bundle is not running, start it with `make serve`.", "Or name another one with --url."],
            resend=True,
            stage="connect",
        ) from error
    except httpx.TimeoutException as error:
        raise CliError(
            f"{url} fell silent",
            code="E_TIMEOUT",
            component="connection",
            actions=["`holodeck debug health --detailed` says whether it is still there."],
            retryable=True,
        ) from error
    except (SSEError, httpx.DecodingError, json.JSONDecodeError) as error:
        raise _not_understood(str(error)) from error
    except httpx.TransportError as error:
        raise CliError(
            f"the connection to {url} was lost ({error or type(error).__name__})",
            code="E_CONNECTION_LOST",
            component="connection",
            actions=["`holodeck debug health` says whether the bundle is back."],
            resend=True,
        ) from error


def checked(response: httpx.Response) -> httpx.Response:
    """The response if it is a success, else what its problem document says, raised."""
    if response.is_success:
        return response
    try:
        problem = json_object(response)
    except CliError:
        problem = {}
    if "code" in problem:
        raise from_problem(problem, _retry_after_s(response))
    if response.status_code in {502, 503, 504}:
        raise CliError(
            f"a proxy before the bundle answered {response.status_code}",
            code="E_UNAVAILABLE",
            component="connection",
            actions=["`holodeck debug health --detailed` says which part is not ready."],
            resend=True,
            retry_after_s=_retry_after_s(response),
        )
    raise _not_understood(f"status {response.status_code} without a problem document")


def _retry_after_s(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None


def json_object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError as error:
        raise _not_understood("the answer is not JSON") from error
    if not isinstance(body, dict):
        raise _not_understood("the answer is not a JSON object")
    return body


def parsed(model: type[Model], content: bytes | str) -> Model:
    try:
        # Within a major version a newer bundle may answer more than this client knows of.
        return model.model_validate_json(content, extra="ignore")
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _not_understood(f"{model.__name__} {place}: {first['msg']}") from error


def _not_understood(reason: str) -> CliError:
    return CliError(
        f"the answer is not one this client understands: {reason}",
        code="E_PROTOCOL",
        component="connection",
        actions=["Check that --url is a SagaForge bundle of this version (`holodeck debug health`)."],
    )
