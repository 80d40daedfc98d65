"""One bundle for all integration tests: starting it costs a minute.

    TEST_BUNDLE="http://127.0.0.1:8000 .storage" pytest tests/integration

uses one that runs already (its address and its storage folder), for short rounds while writing code.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from tests.support.bundle import Bundle, running_bundle
from tests.support.paths import DATA


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundle]:
    if running := os.environ.get("TEST_BUNDLE"):
        url, storage = running.split()
        yield Bundle(url, Path(storage))
        return
    storage = tmp_path_factory.mktemp("bundle") / "storage"
    # As an operator updates: on what an older release has written (test_old_storage.py).
    shutil.unpack_archive(DATA / "storage_of_issue_12.tar.gz", storage, filter="data")
    with running_bundle(storage) as started:
        yield started


@pytest.fixture
def cluster(bundle: Bundle) -> Iterator[None]:
    """A connection to the bundle's Ray cluster, for tests that look inside or kill things."""
    ray.init(address="auto", namespace="serve", log_to_driver=False)
    yield
    ray.shutdown()
