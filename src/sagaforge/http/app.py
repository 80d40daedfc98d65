"""The FastAPI application: middleware, probes, and one route for each row of the table of functions."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, File, Form, Header, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from sagaforge import __version__
from sagaforge.errors import InvalidInput, SagaForgeError, Unavailable
from sagaforge.functions.catalog import Function, Services
from sagaforge.functions.context import CallContext, UploadedFile
from sagaforge.functions.execute import execute, execute_stream
from sagaforge.functions.files import ServedFile
from sagaforge.http.files import file_response
from sagaforge.http.middleware import OPEN_PATHS, ApiKey, BodyLimit, ErrorBoundary, RequestIds
from sagaforge.http.own_site import OwnSite, ResponseHeaders
from sagaforge.http.pages import add_pages
from sagaforge.http.problems import MEDIA_TYPE, handle_error, openai_error, problem_of
from sagaforge.http.routes import ROUTES, Route
from sagaforge.http.sse import HEADERS, event_stream
from sagaforge.http.strict import StrictRoute, file_name
from sagaforge.schemas import Health, Problem, Shape
from sagaforge.settings import Settings
from sagaforge.text.characters import check_name, check_text

T = TypeVar("T")
IdempotencyKey = Annotated[
    str | None,
    Header(max_length=200, pattern=r"\S", description="Repeat a request under the same key and it is done only once."),
]
# The schema stands inline: FastAPI would list a `model` under application/json, which no error is sent as.
PROBLEM_CONTENT = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"content": PROBLEM_CONTENT, "description": "What is wrong, and what to do."},
    "5XX": {"content": PROBLEM_CONTENT, "description": "A fault on our side."},
}

# Name of each needed part → None when it is ready, or what it waits for.
Readiness = Callable[[], Awaitable[dict[str, str | None]]]


class Ready(Shape):
    status: str
    parts: dict[str, str]


def build_http_app(settings: Settings, services: Services, readiness: Readiness) -> FastAPI:
    """The application that an ingress replica serves."""
    key = settings.api_key.get_secret_value() if settings.api_key else None
    app = FastAPI(
        title="SagaForge",
        version=__version__,
        description="A self-hosted studio for interactive story worlds.",
        redirect_slashes=False,  # a path is right or it is not; a redirect would repeat the caller's Host header
        middleware=[
            Middleware(ResponseHeaders),
            Middleware(RequestIds),
            Middleware(
                CORSMiddleware,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "X-API-Key", "X-Request-ID"],
                expose_headers=["X-Request-ID", "Retry-After", "Server-Timing"],
            ),
            Middleware(ErrorBoundary),
            Middleware(OwnSite, settings=settings, open_paths=OPEN_PATHS),
            Middleware(ApiKey, key=key),
            Middleware(
                BodyLimit,
                default=settings.body_max_bytes,
                limits={r.path: r.body_limit(settings) for r in ROUTES if r.body_limit is not None},
            ),
        ],
        exception_handlers={
            RequestValidationError: handle_error,  # type: ignore[dict-item]
            HTTPException: handle_error,  # type: ignore[dict-item]
            SagaForgeError: handle_error,  # type: ignore[dict-item]
        },
    )
    # Before the strict ones: probes and pages take no parameters, and what monitors and links add must not fail them.
    _add_probes(app, readiness)
    add_pages(app)
    app.router.route_class = StrictRoute
    for route in ROUTES:
        app.add_api_route(
            route.path,
            _endpoint(route, services),
            methods=[route.method],
            name=route.name,
            operation_id=route.name,
            response_model=None,
            responses={200: _success(route.function), **ERRORS},
        )
    return app


def _add_probes(app: FastAPI, readiness: Readiness) -> None:
    started = time.monotonic()

    @app.get("/healthz")
    @app.get("/health", include_in_schema=False)
    async def healthz() -> Health:
        return Health(status="healthy", version=__version__, uptime=round(time.monotonic() - started, 3))

    @app.get("/readyz", responses=ERRORS)
    async def readyz() -> Ready:
        waiting = {name: reason for name, reason in (await readiness()).items() if reason}
        if waiting:
            raise Unavailable("Not ready: " + "; ".join(f"{name}: {reason}" for name, reason in waiting.items()))
        return Ready(status="ready", parts=dict.fromkeys(await readiness(), "ready"))


def _success(function: Function) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Success"}
    if function.response is not None:
        success["model"] = function.response
    if function.stream is not None or function.relay is not None:
        success["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    return success


def _endpoint(route: Route, services: Services) -> Callable[..., Awaitable[Response]]:
    """The FastAPI endpoint of one row, in the form that its request needs."""
    function = route.function
    shape: Any = function.request

    async def answer(http: Request, request: BaseModel | None, context: CallContext) -> Response:
        is_stream = getattr(request, "stream", False)
        if function.relay is not None or (function.stream is not None and is_stream):
            parts = execute_stream(function, request, services=services, context=context)
            if function.relay is not None:
                return await _relay(parts, context.request_id, is_stream=is_stream)
            return await event_stream(parts, context.request_id)
        result = await execute(function, request, services=services, context=context)
        if isinstance(result, ServedFile):
            return await file_response(http, result)
        headers = {"Server-Timing": _server_timing(http, context)}
        return Response(result.model_dump_json(by_alias=True), headers=headers, media_type="application/json")

    if function.request is None:

        async def without_request(http: Request) -> Response:
            return await answer(http, None, _context(http))

        return without_request

    if route.method != "POST":

        async def with_parameters(http: Request, request: Annotated[Any, Depends(shape)]) -> Response:
            return await answer(http, request, _context(http))

        return _annotated(with_parameters, request=Annotated[shape, Depends()])

    if route.has_file:

        async def with_file(
            http: Request, request: Any, file: Annotated[UploadFile, File(description="zip, txt, md or pdf")]
        ) -> Response:
            _check_fields((await http.form()).multi_items(), {*shape.model_fields, "file"})
            context = _context(http)
            context.file = UploadedFile(file_name(http, file), file.file)
            return await answer(http, request, context)

        return _annotated(with_file, request=Annotated[shape, Depends(_form(shape))])

    async def with_body(http: Request, request: Any, idempotency_key: IdempotencyKey = None) -> Response:
        if idempotency_key is not None:
            check_name(idempotency_key, "Idempotency-Key")
        return await answer(http, request, _context(http, idempotency_key))

    return _annotated(with_body, request=shape)


def _annotated(endpoint: Callable[..., Awaitable[Response]], **annotations: Any) -> Callable[..., Awaitable[Response]]:
    # FastAPI reads an endpoint's annotations; these are known only when the row is.
    endpoint.__annotations__.update({"http": Request, "return": Response, **annotations})
    return endpoint


def _form(shape: type[BaseModel]) -> Callable[..., BaseModel]:
    """A dependency that reads the fields of `shape` from a form."""

    def read(**fields: Any) -> BaseModel:
        return shape(**fields)

    read.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.is_required() else field.default,
                annotation=Annotated[field.annotation, *field.metadata, Form(description=field.description)],
            )
            for name, field in shape.model_fields.items()
        ]
    )
    return read


def _check_fields(given: list[tuple[str, Any]], known: set[str]) -> None:
    """A form's reader passes over fields that nobody asked for, and takes the last of two."""
    for name, value in given:
        if name not in known:
            raise InvalidInput(f"The form has a field {name[:60]!r}; it may have {', '.join(sorted(known))}.")
        if isinstance(value, str):
            check_text(value, name)
    if len({name for name, _ in given}) < len(given):
        raise InvalidInput("The form has a field twice; send each once.")


def _context(http: Request, idempotency_key: str | None = None) -> CallContext:
    return CallContext(
        request_id=http.scope["request_id"],
        caller=http.scope["caller"],
        base_url=str(http.base_url),
        idempotency_key=idempotency_key,
    )


async def _relay(parts: AsyncGenerator[str, None], request_id: str, *, is_stream: bool) -> Response:
    """An engine's own text, handed through; a later failure ends the stream in the form that OpenAI's clients know."""
    first = await anext(parts)
    if not is_stream:
        await parts.aclose()
        return Response(first, media_type="application/json")

    async def body() -> AsyncGenerator[str, None]:
        try:
            yield first
            async for part in parts:
                yield part
        except Exception as error:
            body = {"error": openai_error(problem_of(error, request_id))}
            yield f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
        finally:
            await parts.aclose()

    return StreamingResponse(body(), media_type="text/event-stream", headers=HEADERS)


def _server_timing(http: Request, context: CallContext) -> str:
    """Stages in milliseconds (https://www.w3.org/TR/server-timing/); `total` is all of it within the ingress."""
    total = time.perf_counter() - http.scope["started_at"]
    stages = {**context.timings, "total": total}
    return ", ".join(f"{name};dur={1000 * seconds:.2f}" for name, seconds in stages.items())
