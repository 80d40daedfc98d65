"""The retrieval deployment: what a replica builds from what `app.build` binds to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sagaforge.deployments.retrieval import replica as retrieval
from sagaforge.deployments.retrieval.rerank import WordReranker
from sagaforge.storage import Storage
from sagaforge.strategies import NoLineMatcher

EMBEDDER = "pocket-embedder"


def reranker_of(folder: Path, name: str | None) -> Any:
    replica = retrieval.Retrieval.func_or_class(Storage(str(folder)), EMBEDDER, name, NoLineMatcher)
    return replica._index._reranker


def test_a_profile_without_a_reranker_keeps_the_one_that_needs_no_model(tmp_path: Path) -> None:
    assert isinstance(reranker_of(tmp_path, None), WordReranker)


def test_a_profile_s_reranker_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "load_reranker", lambda name: ("loaded", name))
    assert reranker_of(tmp_path, "a-cross-encoder") == ("loaded", "a-cross-encoder")
