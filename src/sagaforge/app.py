"""The composition root: settings in, bound deployments out. `serve_config.yaml` imports `build` from here.

Nothing else in the project chooses implementations. A replica builds its own engine and clients from the settings
bound to it.
"""

from __future__ import annotations

import os
from typing import Any

from ray.serve import Application

from sagaforge.errors import InvalidInput
from sagaforge.profiles import get_profile
from sagaforge.settings import Settings, load_settings
from sagaforge.storage import Storage

# Set by whoever has made sure that Serve listens where `Settings.check_exposure` allows it (launch.py).
EXPOSURE_CHECKED = "SAGAFORGE_EXPOSURE_CHECKED"


def build(args: dict[str, Any] | None = None) -> Application:
    """The bundle as one Serve application.

    Args:
        args: settings that override the environment, from `args:` in the Serve config file.

    Raises:
        InvalidInput: a setting is wrong, or callers could not be told apart; the message names its variable.
        StorageUnavailable: the storage root can't be written.
    """
    settings = load_settings(**(args or {}))
    check_callers_are_known(settings)
    profile = get_profile(settings.profile)
    storage = make_storage(settings)
    storage.check_writable()

    # Ray's LLM server imports vLLM, so it waits until all is checked.
    from sagaforge.deployments.diffusion.replica import Diffusion
    from sagaforge.deployments.ingress import Ingress
    from sagaforge.deployments.llm.replica import build_llm
    from sagaforge.deployments.retrieval.replica import Retrieval

    return Ingress.bind(  # type: ignore[attr-defined]
        settings,
        profile,
        storage,
        llm=build_llm(profile.llm),
        retrieval=Retrieval.bind(  # type: ignore[attr-defined]
            storage, profile.embedder, profile.reranker, profile.line_matcher
        ),
        diffusion=Diffusion.bind(profile.image.model, profile.image.limits, storage),  # type: ignore[attr-defined]
    )


def check_callers_are_known(settings: Settings) -> None:
    """Without a key only this machine is answered, and behind Ray's HAProxy everybody has its address."""
    is_hidden = os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1" and EXPOSURE_CHECKED not in os.environ
    if is_hidden and settings.api_key is None:
        raise InvalidInput(
            "Behind HAProxy (RAY_SERVE_ENABLE_HA_PROXY=1) every caller looks as if it were on this machine. Set "
            "SAGAFORGE_API_KEY, or start Ray without that variable."
        )


def make_storage(settings: Settings) -> Storage:
    """The storage that the settings name."""
    secret = settings.s3_secret_access_key
    return Storage(
        settings.storage,
        s3_endpoint=settings.s3_endpoint,
        s3_region=settings.s3_region,
        s3_access_key_id=settings.s3_access_key_id,
        s3_secret_access_key=secret.get_secret_value() if secret else None,
    )
