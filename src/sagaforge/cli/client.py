"""A small typed client of the bundle's HTTP API.

Every failure leaves here as a `CliError`. Turns (and, in image_client.py, pictures) are the requests that are sent
again: their Idempotency-Key makes that safe, so a lost connection costs a pause and never a second turn.
"""

from __future__ import annotations

import ipaddress
import json
import os
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from time import sleep
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import quote

import httpx
from httpx_sse import EventSource
from pydantic import BaseModel

from sagaforge.cli.failures import CliError, from_problem
from sagaforge.cli.seam import Model, checked, json_object, parsed, seam
from sagaforge.events import ReadEvent, TurnEvent, names_of
from sagaforge.image_schemas import IllustratedTurn
from sagaforge.schemas import (
    Chunk,
    DeletedWorld,
    Health,
    RetrieveRequest,
    RetrieveResponse,
    Turn,
    TurnRequest,
    UploadResponse,
    WorldDetail,
    WorldList,
)

TURN_EVENTS = names_of(TurnEvent)
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
TURN_TIMEOUT_S = 330.0  # of silence; beyond the bundle's own deadline (300 s), so that its 504 is what is heard
PAINT_TIMEOUT_S = 600.0  # of silence: a large model that wakes up is read from disk first, and others may be before us
UPLOAD_TIMEOUT_S = 600.0  # likewise


@dataclass(frozen=True)
class Patience:
    """How often and how long a request is sent again. Five pauses from half a second up last out a restart: 15.5 s."""

    resends: int = 5
    first_pause_s: float = 0.5
    factor: float = 2.0
    in_flight_s: float = 120.0  # the first copy of the request may still be running after its connection was lost


class Client:
    def __init__(self, url: str, *, api_key: str | None = None, patience: Patience = Patience()) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        self.url = url
        self.patience = patience
        self.on_resend: Callable[[CliError, float], None] = lambda error, pause_s: None
        with seam(url):
            # A proxy from the environment is for the outside world; sent to it, loopback would be another machine's.
            self._http = httpx.Client(
                base_url=url, headers=headers, timeout=timeout, trust_env=not _is_loopback(httpx.URL(url).host)
            )

    @classmethod
    def from_environment(cls, url: str) -> Self:
        """The key has no command line option on purpose: a process list shows options to everybody."""
        key = os.environ.get("SAGAFORGE_API_KEY")
        if key and not (key.isascii() and key.isprintable()):
            raise CliError("SAGAFORGE_API_KEY holds what a header can't carry", code="E_INPUT", component="auth")
        return cls(url, api_key=key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    # --- plain requests ---------------------------------------------------------------------------------------------

    def health(self) -> Health:
        return self._request(Health, "GET", "/healthz")

    def ready(self) -> dict[str, Any]:
        with seam(self.url):
            return json_object(checked(self._http.get("/readyz")))

    def worlds(self) -> WorldList:
        return self._request(WorldList, "GET", "/worlds")

    def world(self, world_id: str, *, version: int | None = None, session_id: str | None = None) -> WorldDetail:
        """A world as it is now, as it was at a version, or as a session knows it."""
        query = {"version": version, "session_id": session_id}
        return self._request(WorldDetail, "GET", _world_path(world_id), params=_given(query))

    def chunk(self, world_id: str, chunk_id: str, *, version: int | None = None) -> Chunk:
        """A piece of lore as it was at a version; without one, as it was last."""
        path = f"{_world_path(world_id)}/chunks/{quote(chunk_id, safe='')}"
        return self._request(Chunk, "GET", path, params=_given({"version": version}))

    def delete_world(self, world_id: str) -> DeletedWorld:
        return self._request(DeletedWorld, "DELETE", _world_path(world_id))

    def retrieve(self, request: RetrieveRequest) -> RetrieveResponse:
        return self._request(RetrieveResponse, "POST", "/rag/retrieve", json=request_body(request))

    def upload(
        self,
        file: BinaryIO,
        *,
        filename: str,
        world_id: str,
        license: str | None,
        overwrite: bool,
        encoding: str | None = None,
    ) -> UploadResponse:
        form = {"world_id": world_id, "overwrite": "true" if overwrite else "false"}
        if license is not None:
            form["license"] = license
        if encoding is not None:
            form["encoding"] = encoding
        return self._request(
            UploadResponse,
            "POST",
            "/rag/upload",
            data=form,
            files={"file": (filename, file)},
            timeout=httpx.Timeout(UPLOAD_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        )

    def last_turn(self, session_id: str) -> Turn | None:
        """The turn a session stands at, to resume from; None when the bundle can't tell."""
        try:
            return self._request(Turn, "GET", f"/story/{quote(session_id, safe='')}")
        except CliError as error:
            # A bundle without the story routes answers 404 as well; an unknown session is refused at the first turn.
            if error.code in {"E_NOT_FOUND", "E_PROTOCOL"}:
                return None
            raise

    # --- turns ------------------------------------------------------------------------------------------------------

    def take_turn(self, request: TurnRequest, key: str) -> IllustratedTurn:
        body = request_body(request.model_copy(update={"stream": False}))
        for resend in self._attempts():
            with resend:
                return self._request(
                    IllustratedTurn,
                    "POST",
                    "/llm/turn",
                    json=body,
                    headers={"Idempotency-Key": key},
                    timeout=httpx.Timeout(_turn_silence_s(request), connect=CONNECT_TIMEOUT_S),
                )
        raise AssertionError("unreachable: the last attempt returns or raises")

    def stream_turn(self, request: TurnRequest, key: str) -> Generator[ReadEvent, None, None]:
        """The events of a turn up to `turn`, or to what becomes of its picture if one is asked for.

        Sent again after a loss, it starts over: a `restart` says so. A turn that was told whole by then comes again as
        it was.
        """
        body = request_body(request.model_copy(update={"stream": True}))
        last = ("image", "image_problem") if request.generate_image else ("turn",)
        silence_s = _turn_silence_s(request)
        is_first = True
        for resend in self._attempts():
            with resend:
                if not is_first:
                    yield ReadEvent(event="restart", data={})
                is_first = False
                yield from self._stream_once(TURN_EVENTS, "/llm/turn", body, key, last=last, silence_s=silence_s)
                return

    # --- what turns and pictures share ------------------------------------------------------------------------------

    def _stream_once(
        self,
        known: tuple[str, ...],
        path: str,
        body: dict[str, Any],
        key: str,
        *,
        last: tuple[str, ...],
        silence_s: float,
    ) -> Iterator[ReadEvent]:
        """The events of one request up to one named in `last`; a stream that ends before it is a lost connection."""
        headers = {"Idempotency-Key": key, "Accept": "text/event-stream"}
        timeout = httpx.Timeout(silence_s, connect=CONNECT_TIMEOUT_S)
        with (
            seam(self.url),
            self._http.stream("POST", path, json=body, headers=headers, timeout=timeout) as response,
        ):
            if not response.is_success:
                response.read()
            checked(response)
            for message in EventSource(response).iter_sse():
                if message.event not in known:  # a newer bundle's, or a keep-alive
                    continue
                event = parsed(ReadEvent, json.dumps({"event": message.event, "data": json.loads(message.data)}))
                if event.event == "error":
                    raise from_problem(event.data)
                yield event
                if event.event in last:
                    return
        raise CliError(
            "the bundle closed the stream before it was done",
            code="E_CONNECTION_LOST",
            component="connection",
            resend=True,
        )

    def _attempts(self) -> Iterator[_Attempt]:
        """As many attempts as patience allows; each swallows its failure only when another one follows."""
        patience = self.patience
        pause_s, num_left = patience.first_pause_s, patience.resends
        give_up_at = time.monotonic() + patience.in_flight_s
        while True:
            attempt = _Attempt()
            yield attempt
            error = attempt.error
            if error is None:
                return
            # Waiting for our own first copy to finish is no failed attempt: it has the clock as its bound.
            is_in_flight = error.code == "E_IN_FLIGHT" and time.monotonic() < give_up_at
            if not (error.resend and (is_in_flight or num_left > 0)):
                raise error
            wait_s = max(pause_s, error.retry_after_s or 0.0)
            if not is_in_flight:
                num_left -= 1
                pause_s *= patience.factor
            self.on_resend(error, wait_s)
            sleep(wait_s)

    def _request(self, model: type[Model], method: str, path: str, **options: Any) -> Model:
        with seam(self.url):
            response = self._http.request(method, path, **options)
        return parsed(model, checked(response).content)


class _Attempt:
    """Holds one attempt's failure back, for `_attempts` to judge."""

    def __init__(self) -> None:
        self.error: CliError | None = None

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self.error = error if isinstance(error, CliError) else None
        return self.error is not None


def request_body(request: BaseModel) -> dict[str, Any]:
    return request.model_dump(mode="json", exclude_none=True)


def _world_path(world_id: str) -> str:
    return f"/worlds/{quote(world_id, safe='')}"


def _given(query: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}


def _turn_silence_s(request: TurnRequest) -> float:
    return PAINT_TIMEOUT_S if request.generate_image else TURN_TIMEOUT_S


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
