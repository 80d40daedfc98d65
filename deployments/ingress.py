"""The ingress: the deployment that speaks HTTP.

`sagaforge.services` builds what it uses and `sagaforge.http` its routes; here is when it is ready.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from sagaforge.deployments.loopback import listen_on_loopback
from sagaforge.functions.samples import load_samples
from sagaforge.http.app import build_http_app
from sagaforge.profiles import Profile
from sagaforge.services import build_services
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
        listen_on_loopback()
        logging.getLogger("sagaforge").setLevel(settings.log_level)
        self._settings = settings
        self._services = build_services(settings, profile, storage, llm=llm, retrieval=retrieval, diffusion=diffusion)
        self._samples: asyncio.Task[None] | None = None
        self._warming: asyncio.Task[None] | None = None

    async def __serve_build_asgi_app__(self) -> FastAPI:
        if self._settings.load_samples:
            loading = load_samples(worlds=self._services.worlds, ingestion=self._services.ingestion)
            self._samples = asyncio.create_task(loading)
        self._warming = asyncio.create_task(self._services.ingestion.keep_warm(WARM_AFTER_S))
        return build_http_app(self._settings, self._services, self._readiness)

    async def _readiness(self) -> dict[str, str | None]:
        return {
            "llm": await _probe(self._services.llm.ping()),
            "retrieval": await _probe(self._services.retrieval.ping()),
            "worlds": self._samples_state(),
        }

    def _samples_state(self) -> str | None:
        if self._samples is None:
            return None
        if not self._samples.done():
            return "the sample worlds are being loaded"
        error = self._samples.exception()
        return f"the sample worlds could not be loaded: {error}" if error else None


async def _probe(answer: Awaitable[object]) -> str | None:
    try:
        await asyncio.wait_for(answer, PROBE_TIMEOUT_S)
    except TimeoutError:
        return "starting, or too busy to answer"
    except Exception as exc:
        logger.warning("a part failed its probe", exc_info=exc)
        return "not answering"
    return None
