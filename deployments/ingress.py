"""The ingress: the deployment that speaks HTTP. It builds its clients from what is bound to it, and the routes from the
table of functions; everything else about HTTP is in `sagaforge.http`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from sagaforge.datasets.adapters import AdapterStore
from sagaforge.datasets.images import Gallery
from sagaforge.datasets.sessions import SessionStore
from sagaforge.datasets.store.writer import get_writer
from sagaforge.datasets.styles import Styles
from sagaforge.datasets.worlds.world_store import WorldStore
from sagaforge.deployments.diffusion.client import ImageClient
from sagaforge.deployments.diffusion.comfyui.backend import ComfyUI
from sagaforge.deployments.diffusion.fallback import OrderedBackends
from sagaforge.deployments.diffusion.interface import ImageBackend
from sagaforge.deployments.ingestion.pool import WarmIngestion
from sagaforge.deployments.llm.client import LLMClient
from sagaforge.deployments.retrieval.replica import RetrievalClient
from sagaforge.functions.catalog import Services
from sagaforge.functions.images.generate import Studio
from sagaforge.functions.samples import load_samples
from sagaforge.http.app import build_http_app
from sagaforge.profiles import Profile
from sagaforge.settings import Settings
from sagaforge.storage import Storage

logger = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 5.0
# At an update, the replica that this one replaces still has a warm ingestion worker of its own for about so long.
WARM_AFTER_S = 8.0


@serve.deployment(name="ingress")
@serve.ingress()
class Ingress:
    """One ingress replica."""

    def __init__(
        self,
        settings: Settings,
        profile: Profile,
        storage: Storage,
        *,
        llm: DeploymentHandle,
        retrieval: DeploymentHandle,
        diffusion: DeploymentHandle,
    ) -> None:
        logging.getLogger("sagaforge").setLevel(settings.log_level)
        self._settings = settings
        self._llm = llm
        self._retrieval = RetrievalClient(retrieval)
        self._ingestion = WarmIngestion(
            storage,
            profile.embedder,
            memory_bytes=settings.upload_memory_bytes,
            deadline_s=settings.upload_deadline_s,
        )
        self._services = Services(
            settings=settings,
            profile=profile,
            llm=LLMClient(llm, model_id=profile.llm.model_id, max_model_len=profile.llm.max_model_len),
            retrieval=self._retrieval,
            worlds=WorldStore(storage, get_writer(storage, "library")),
            sessions=SessionStore(storage, get_writer(storage, "play")),
            ingestion=self._ingestion,
            studio=Studio(
                images=image_backend(settings, diffusion),
                gallery=Gallery(storage, get_writer(storage, "play")),
                styles=Styles(storage),
                adapters=AdapterStore(storage),
                profile=profile.image,
            ),
        )
        self._samples: asyncio.Task[None] | None = None
        self._warming: asyncio.Task[None] | None = None

    async def __serve_build_asgi_app__(self) -> FastAPI:
        if self._settings.load_samples:
            loading = load_samples(worlds=self._services.worlds, ingestion=self._services.ingestion)
            self._samples = asyncio.create_task(loading)
        self._warming = asyncio.create_task(self._ingestion.keep_warm(WARM_AFTER_S))
        return build_http_app(self._settings, self._services, self._readiness)

    async def _readiness(self) -> dict[str, str | None]:
        return {
            "llm": await _probe(self._llm.check_health.remote()),
            "retrieval": await _probe(self._retrieval.ping()),
            "worlds": self._samples_state(),
        }

    def _samples_state(self) -> str | None:
        if self._samples is None:
            return None
        if not self._samples.done():
            return "the sample worlds are being loaded"
        error = self._samples.exception()
        return f"the sample worlds could not be loaded: {error}" if error else None


def image_backend(settings: Settings, diffusion: DeploymentHandle) -> ImageBackend:
    """What paints, in the order that the settings say."""
    made: dict[str, Callable[[], ImageBackend]] = {
        "engine": lambda: ImageClient(diffusion),
        "comfyui": lambda: ComfyUI(settings.comfyui_api_url or "", checkpoint=settings.comfyui_checkpoint),
    }
    backends = [made[name]() for name in settings.image_order]
    return backends[0] if len(backends) == 1 else OrderedBackends(backends)


async def _probe(answer: Awaitable[object]) -> str | None:
    try:
        await asyncio.wait_for(answer, PROBE_TIMEOUT_S)
    except TimeoutError:
        return "starting, or too busy to answer"
    except Exception as exc:
        logger.warning("a part failed its probe", exc_info=exc)
        return "not answering"
    return None
