"""What an ingress replica uses: handles made into clients, stores, and back ends in their order. Nothing else builds
any of these."""

from __future__ import annotations

from collections.abc import Callable

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
from sagaforge.deployments.retrieval.client import RetrievalClient
from sagaforge.functions.catalog import Services
from sagaforge.functions.images.generate import Studio
from sagaforge.profiles import Profile
from sagaforge.settings import Settings
from sagaforge.storage import Storage


def build_services(
    settings: Settings,
    profile: Profile,
    storage: Storage,
    *,
    llm: DeploymentHandle,
    retrieval: DeploymentHandle,
    diffusion: DeploymentHandle,
) -> Services:
    """What functions may need, over the handles that are bound to this replica."""
    library, play = get_writer(storage, "library"), get_writer(storage, "play")
    return Services(
        settings=settings,
        profile=profile,
        llm=LLMClient(llm, model_id=profile.llm.model_id, max_model_len=profile.llm.max_model_len),
        retrieval=RetrievalClient(retrieval),
        worlds=WorldStore(storage, library),
        sessions=SessionStore(storage, play),
        ingestion=WarmIngestion(
            storage,
            profile.embedder,
            memory_bytes=settings.upload_memory_bytes,
            deadline_s=settings.upload_deadline_s,
        ),
        studio=Studio(
            images=image_backend(settings, diffusion),
            gallery=Gallery(storage, play),
            styles=Styles(storage),
            adapters=AdapterStore(storage),
            profile=profile.image,
        ),
    )


def image_backend(settings: Settings, diffusion: DeploymentHandle) -> ImageBackend:
    """What paints, in the order that the settings say."""
    made: dict[str, Callable[[], ImageBackend]] = {
        "engine": lambda: ImageClient(diffusion),
        "comfyui": lambda: ComfyUI(settings.comfyui_api_url or "", checkpoint=settings.comfyui_checkpoint),
    }
    backends = [made[name]() for name in settings.image_order]
    return backends[0] if len(backends) == 1 else OrderedBackends(backends)
