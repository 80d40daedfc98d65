"""The table of functions: what the bundle can do, on which route, for whom, at what cost and within what time.

The ingress mounts it; batch jobs and other front ends call the same rows. A new capability is a verb in a module
beside this one, and one row here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from sagaforge import schemas
from sagaforge.datasets.sessions import SessionStore
from sagaforge.datasets.worlds import WorldStore
from sagaforge.deployments.ingestion import Ingestion
from sagaforge.deployments.llm_client import LanguageModel
from sagaforge.deployments.retrieval import LoreSearch
from sagaforge.errors import InvalidInput
from sagaforge.functions import lore, openai_api, story
from sagaforge.profiles import Profile
from sagaforge.settings import Settings

Permission = Literal["read", "write", "admin"]
CostClass = Literal["cheap", "search", "ingest", "generate"]


@dataclass(frozen=True)
class Services:
    """What functions may need; the ingress builds one, and each row below picks from it."""

    settings: Settings
    profile: Profile
    llm: LanguageModel
    retrieval: LoreSearch
    worlds: WorldStore
    sessions: SessionStore
    ingestion: Ingestion


@dataclass
class CallContext:
    """What a call carries besides its request. `timings` collects seconds by stage, for whoever wants to show them."""

    request_id: str
    idempotency_key: str | None = None
    file: lore.UploadedFile | None = None
    timings: dict[str, float] = field(default_factory=dict)

    def uploaded(self) -> lore.UploadedFile:
        """The file of the call; `InvalidInput` where it came without one."""
        if self.file is None:
            raise InvalidInput("Send the world as a file: multipart/form-data with a part named `file`.")
        return self.file


@dataclass(frozen=True)
class Function:
    """One row.

    `stream` is there for functions that can answer as events when the request says `stream: true`. `relay` replaces
    `call` where an engine's own text (a JSON document, or server-sent events) is handed through unread.
    """

    name: str
    method: Literal["GET", "POST"]
    route: str
    request: type[BaseModel] | None
    response: type[BaseModel] | None
    permission: Permission
    cost: CostClass
    deadline_s: Callable[[Settings], float]
    call: Callable[[Any, Services, CallContext], Awaitable[BaseModel]] | None = None
    relay: Callable[[Any, Services, CallContext], AsyncGenerator[str, None]] | None = None
    stream: Callable[[Any, Services, CallContext], AsyncGenerator[schemas.TurnEvent, None]] | None = None


def _stream_turn(
    request: schemas.TurnRequest, services: Services, context: CallContext
) -> AsyncGenerator[schemas.TurnEvent, None]:
    return story.stream_turn(
        request,
        idempotency_key=context.idempotency_key,
        timings=context.timings,
        llm=services.llm,
        retrieval=services.retrieval,
        worlds=services.worlds,
        sessions=services.sessions,
        profile=services.profile,
        lease_s=services.settings.turn_deadline_s,
    )


def _quick(settings: Settings) -> float:
    return 10.0


FUNCTIONS: tuple[Function, ...] = (
    Function(
        name="list_worlds",
        method="GET",
        route="/worlds",
        request=None,
        response=schemas.WorldList,
        permission="read",
        cost="cheap",
        deadline_s=_quick,
        call=lambda request, s, c: lore.list_worlds(worlds=s.worlds),
    ),
    Function(
        name="show_world",
        method="GET",
        route="/worlds/{world_id}",
        request=lore.WorldRef,
        response=schemas.WorldDetail,
        permission="read",
        cost="cheap",
        deadline_s=_quick,
        call=lambda request, s, c: lore.show_world(request, worlds=s.worlds),
    ),
    Function(
        name="show_chunk",
        method="GET",
        route="/worlds/{world_id}/chunks/{chunk_id}",
        request=lore.ChunkRef,
        response=schemas.Chunk,
        permission="read",
        cost="cheap",
        deadline_s=_quick,
        call=lambda request, s, c: lore.show_chunk(request, worlds=s.worlds),
    ),
    Function(
        name="retrieve",
        method="POST",
        route="/rag/retrieve",
        request=schemas.RetrieveRequest,
        response=schemas.RetrieveResponse,
        permission="read",
        cost="search",
        deadline_s=lambda settings: 30.0,
        call=lambda request, s, c: lore.retrieve(request, retrieval=s.retrieval, worlds=s.worlds),
    ),
    Function(
        name="upload",
        method="POST",
        route="/rag/upload",
        request=lore.Upload,
        response=schemas.UploadResponse,
        permission="write",
        cost="ingest",
        deadline_s=lambda settings: settings.upload_deadline_s + 30.0,
        call=lambda request, s, c: lore.upload(request, file=c.uploaded(), ingestion=s.ingestion),
    ),
    Function(
        name="take_turn",
        method="POST",
        route="/llm/turn",
        request=schemas.TurnRequest,
        response=schemas.Turn,
        permission="write",
        cost="generate",
        deadline_s=lambda settings: settings.turn_deadline_s,
        call=lambda request, s, c: story.take_turn(_stream_turn(request, s, c)),
        stream=_stream_turn,
    ),
    Function(
        name="show_session",
        method="GET",
        route="/story/{session_id}",
        request=schemas.SessionRef,
        response=schemas.Turn,
        permission="read",
        cost="cheap",
        deadline_s=_quick,
        call=lambda request, s, c: story.last_turn(request, sessions=s.sessions),
    ),
    Function(
        name="list_models",
        method="GET",
        route="/v1/models",
        request=None,
        response=openai_api.ModelList,
        permission="read",
        cost="cheap",
        deadline_s=_quick,
        call=lambda request, s, c: openai_api.list_models(llm=s.llm),
    ),
    Function(
        name="chat_completions",
        method="POST",
        route="/v1/chat/completions",
        request=openai_api.ChatCompletion,
        response=None,
        permission="write",
        cost="generate",
        deadline_s=lambda settings: settings.turn_deadline_s,
        relay=lambda request, s, c: openai_api.chat_completions(request, llm=s.llm),
    ),
)
