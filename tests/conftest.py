"""What every test gets: a marker by the folder it stands in, and an environment without settings of ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TESTS_DIR = Path(__file__).parent
MARKED_FOLDERS = ("integration", "gpu")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        top = item.path.relative_to(TESTS_DIR).parts[0]
        item.add_marker(top if top in MARKED_FOLDERS else "unit")
    if any(item.get_closest_marker("gpu") for item in items) and not _has_gpu():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no GPU here"))


def _has_gpu() -> bool:
    # Only asked where there are GPU tests to run: importing torch takes seconds.
    import torch

    return bool(torch.cuda.is_available())


# For the whole session, and before any fixture of a module: what the developer has exported, or keeps in a .env file,
# must not change what a test sees. Tests that need a setting set it with monkeypatch, which comes later.
@pytest.fixture(scope="session", autouse=True)
def _without_our_environment() -> None:
    from sagaforge.settings import ENV_PREFIX, Settings

    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        del os.environ[name]
    Settings.model_config["env_file"] = None
