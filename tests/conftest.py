"""What every test gets: a marker by the folder it stands in, and an environment without settings of ours."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import httpx

    from sagaforge.deployments.diffusion.comfyui.backend import ComfyUI
    from tests.support.comfyui_server import ComfyUIServer
    from tests.support.fakes import House
    from tests.support.scripted_bundle import Bundle
    from tests.support.scripted_images import ScriptedImages

# Before anything imports Ray. Else a call of a test's leftover handle, on a thread of its own, starts a cluster while the
# next test starts its own, and that one fails. What needs a cluster here asks for it.
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
# As launch.py does: who connects to a bundle's Ray must take loopback's address for this machine's, too.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

TESTS_DIR = Path(__file__).parent
MARKED_FOLDERS = ("integration", "gpu")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        top = item.path.relative_to(TESTS_DIR).parts[0]
        item.add_marker(top if top in MARKED_FOLDERS else "unit")
    # Unit tests first: what fails in seconds is said in seconds, and no cluster's threads run beside them.
    items.sort(key=lambda item: item.get_closest_marker("unit") is None)
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


# --- a house: real stores on a temporary folder, with fakes where an engine would be ----------------------------------


@pytest.fixture
async def house(tmp_path: Path) -> House:
    from tests.support.fakes import make_house

    return await make_house(tmp_path)


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    from tests.support.http_client import app_of, client_of

    async with client_of(app_of(house)) as client:
        yield client


@pytest.fixture
async def open_client(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Makes a client of a house with settings of its own; gives (client, house)."""
    from tests.support.fakes import make_house
    from tests.support.http_client import app_of, client_of

    opened: list[httpx.AsyncClient] = []

    async def make(*, address: str = "127.0.0.1", **settings: Any) -> tuple[httpx.AsyncClient, House]:
        house = await make_house(tmp_path, **settings)
        opened.append(client_of(app_of(house), address=address))
        return opened[-1], house

    yield make
    for client in opened:
        await client.aclose()


# --- a ComfyUI server without models, and the back end that makes pictures with it ------------------------------------


@pytest.fixture
async def server() -> AsyncIterator[ComfyUIServer]:
    from tests.support.comfyui_server import serving

    async with serving() as server:
        yield server


@pytest.fixture
def backend(server: ComfyUIServer) -> ComfyUI:
    from tests.support.comfyui_client import backend_of

    return backend_of(server)


# --- commands about pictures, against a bundle of scripted answers ----------------------------------------------------


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Bundle, ScriptedImages]]:
    """One server for the module: uvicorn takes its time to start and stop."""
    from tests.support.scripted_bundle import serving
    from tests.support.scripted_images import ScriptedImages

    with serving() as scripted:
        yield scripted, ScriptedImages(scripted.app)


@pytest.fixture
def images(served: tuple[Bundle, ScriptedImages], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScriptedImages:
    scripted, images = served
    images.reset()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAGAFORGE_URL", scripted.url)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("SAGAFORGE_API_KEY", raising=False)
    return images


# --- models so small that threads cost more than they bring -----------------------------------------------------------


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
