"""The table of functions: what the bundle can do, for whom, at what cost and within what time.

`sagaforge.functions.execute` runs a row; routes (`sagaforge.http.routes`), jobs and other front ends point into the
table. A new capability is a verb in a module beside this one, and one row here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from sagaforge import image_schemas, schemas
from sagaforge.datasets.sessions import SessionStore
from sagaforge.datasets.worlds.world_store import WorldStore
from sagaforge.deployments.ingestion.interface import Ingestion
from sagaforge.deployments.llm.client import LanguageModel
from sagaforge.deployments.retrieval.interface import LoreSearch
from sagaforge.events import StreamEvent, TurnEvent
from sagaforge.functions import worlds
from sagaforge.functions.context import CallContext, Permission
from sagaforge.functions.files import ServedFile
from sagaforge.functions.images import generate, illustration, replay
from sagaforge.functions.openai import chat, completions
from sagaforge.functions.openai import images as openai_images
from sagaforge.functions.story import turn
from sagaforge.profiles import Profile
from sagaforge.settings import Settings

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
    studio: generate.Studio


@dataclass(frozen=True)
class Function:
    """One row.

    `stream` is there for functions that can answer as events when the request says `stream: true`. `relay` replaces
    `call` where an engine's own text (a JSON document, or server-sent events) is handed through unread, `file` where
    the answer is a file.
    """

    name: str
    request: type[BaseModel] | None
    response: type[BaseModel] | None
    permission: Permission
    cost: CostClass
    deadline_s: Callable[[Settings], float]
    call: Callable[[Any, Services, CallContext], Awaitable[BaseModel]] | None = None
    relay: Callable[[Any, Services, CallContext], AsyncGenerator[str, None]] | None = None
    stream: Callable[[Any, Services, CallContext], AsyncGenerator[StreamEvent, None]] | None = None
    file: Callable[[Any, Services, CallContext], Awaitable[ServedFile]] | None = None


def _stream_turn(
    request: schemas.TurnRequest, services: Services, context: CallContext
) -> AsyncGenerator[TurnEvent, None]:
    turns = turn.stream_turn(
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
    return illustration.stream_illustrated(request, turns, worlds=services.worlds, studio=services.studio)


def _quick(settings: Settings) -> float:
    return 10.0


FUNCTIONS: tuple[Function, ...] = (
    Function(
        name="list_worlds",
        request=None,
        response=schemas.WorldList,
        permission="read",
        cost="cheap",
        deadline_s=_quick,
        call=lambda request, s, c: worlds.list_worlds(worlds=s.worlds),
    ),
    Function(
        name="show_world",
        request=worlds.PinnedWorldRef,
        response=schemas.WorldDetail,
        permission="read",
        cost="cheap",
        deadline_s=_quick,
        call=lambda request, s, c: worlds.show_world(request, worlds=s.worlds, sessions=s.sessions),
    ),
    Function(
        name="delete_world",
        request=worlds.WorldRef,
        response=schemas.DeletedWorld,
        permission="write",
        cost="cheap",
        deadline_s=_quick,
        call=lambda request, s, c: worlds.delete_world(request, worlds=s.worlds),
    ),
    Function(
        name="show_chunk",
        request=worlds.ChunkRef,
        response=schemas.ChunkDetail,
        permission="read",
        cost="cheap",
        deadline_s=_quick,
        call=lambda request, s, c: worlds.show_chunk(request, worlds=s.worlds, sessions=s.sessions),
    ),
    Function(
        name="retrieve",
        request=schemas.RetrieveRequest,
        response=schemas.RetrieveResponse,
        permission="read",
        cost="search",
        deadline_s=lambda settings: 30.0,
        call=lambda request, s, c: worlds.retrieve(
            request, retrieval=s.retrieval, worlds=s.worlds, sessions=s.sessions
        ),
    ),
    Function(
        name="upload",
        request=worlds.Upload,
        response=schemas.UploadResponse,
        permission="write",
        cost="ingest",
        deadline_s=lambda settings: settings.upload_deadline_s + 30.0,
        call=lambda request, s, c: worlds.upload(request, file=c.uploaded(), ingestion=s.ingestion),
    ),
    Function(
        name="take_turn",
        request=schemas.TurnRequest,
        response=image_schemas.IllustratedTurn,
        permission="write",
        cost="generate",
        deadline_s=lambda settings: settings.turn_deadline_s,
        call=lambda request, s, c: illustration.take_illustrated(request, _stream_turn(request, s, c)),
        stream=_stream_turn,
    ),
    Function(
        name="show_session",
        request=schemas.SessionRef,
        response=schemas.Turn,
        permission="read",
        cost="cheap",
        deadline_s=_quick,
        call=lambda request, s, c: turn.last_turn(request, sessions=s.sessions),
    ),
    Function(
        name="generate_image",
        request=image_schemas.ImageRequest,
        response=image_schemas.ImageAnswer,
        permission="write",
        cost="generate",
        deadline_s=lambda settings: settings.image_deadline_s,
        call=lambda request, s, c: generate.generate_image(request, idempotency_key=c.idempotency_key, studio=s.studio),
        stream=lambda request, s, c: generate.stream_image(request, idempotency_key=c.idempotency_key, studio=s.studio),
    ),
    Function(
        name="list_image_models",
        request=None,
        response=image_schemas.ImageModelList,
        permission="read",
        cost="cheap",
        deadline_s=_quick,
        call=lambda request, s, c: generate.list_image_models(studio=s.studio),
    ),
    Function(
        name="list_styles",
        request=None,
        response=image_schemas.StyleList,
        permission="read",
        cost="cheap",
        deadline_s=_quick,
        call=lambda request, s, c: generate.list_styles(styles=s.studio.styles, profile=s.studio.profile),
    ),
    Function(
        name="replay_image",
        request=image_schemas.Receipt,
        response=image_schemas.ReplayAnswer,
        permission="write",
        cost="generate",
        deadline_s=lambda settings: settings.image_deadline_s,
        call=lambda request, s, c: replay.replay(request, studio=s.studio),
    ),
    Function(
        name="list_images",
        request=image_schemas.ImageListRequest,
        response=image_schemas.ImageList,
        permission="read",
        cost="cheap",
        deadline_s=_quick,
        call=lambda request, s, c: generate.list_images(request, gallery=s.studio.gallery),
    ),
    Function(
        name="image_file",
        request=image_schemas.ImageRef,
        response=None,
        permission="read",
        cost="cheap",
        deadline_s=_quick,
        file=lambda request, s, c: generate.image_file(request, gallery=s.studio.gallery),
    ),
    Function(
        name="image_thumbnail",
        request=image_schemas.ThumbnailRef,
        response=None,
        permission="read",
        cost="cheap",
        deadline_s=_quick,
        file=lambda request, s, c: generate.thumbnail(request, gallery=s.studio.gallery),
    ),
    Function(
        name="show_image",
        request=image_schemas.ImageRef,
        response=image_schemas.ImageDetail,
        permission="read",
        cost="cheap",
        deadline_s=_quick,
        call=lambda request, s, c: generate.show_image(request, gallery=s.studio.gallery),
    ),
    Function(
        name="list_models",
        request=None,
        response=completions.ModelList,
        permission="read",
        cost="cheap",
        deadline_s=_quick,
        call=lambda request, s, c: completions.list_models(llm=s.llm),
    ),
    Function(
        name="chat_completions",
        request=chat.ChatCompletion,
        response=None,
        permission="write",
        cost="generate",
        deadline_s=lambda settings: settings.turn_deadline_s,
        relay=lambda request, s, c: completions.chat_completions(request, llm=s.llm),
    ),
    Function(
        name="image_generations",
        request=openai_images.ImageGeneration,
        response=openai_images.ImagesResponse,
        permission="write",
        cost="generate",
        deadline_s=lambda settings: settings.image_deadline_s,
        call=lambda request, s, c: openai_images.image_generations(
            request, base_url=c.base_url, idempotency_key=c.idempotency_key, studio=s.studio
        ),
    ),
)
