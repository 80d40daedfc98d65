"""Texts → unit vectors. Two kinds behind one shape: static tables (model2vec) and transformer encoders.

Plain classes without Ray; heavy libraries are imported when a model is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from sagaforge.datasets.worlds.embedder import Embedder, Vectors
from sagaforge.errors import Unavailable
from sagaforge.model_files import MODELS_DIR, model_sha256
from sagaforge.text.terms import HAN_CHARACTER

# An English vocabulary holds a few hundred Han characters (MiniLM's has 390), one that reads Chinese holds thousands.
MIN_HAN_PIECES = 2000
POCKET_NAME = "pocket-embedder"
# Of the lengths of a static table's rows: what is as short as the first is common, from the second on it is rare.
COMMON_PERCENTILE, RARE_PERCENTILE = 0.1, 75


class StaticEmbedder:
    """A model2vec folder: a weighted mean of table rows. Tens of thousands of sentences a second on one core."""

    is_static = True

    def __init__(self, path: str | Path) -> None:
        from model2vec import StaticModel

        # force_download is its default even for a folder, and would ask the hub about a name.
        self._model = StaticModel.from_pretrained(str(path), force_download=False)
        self.name = _name_of(str(path))
        self.dim = int(self._model.dim)
        self.reads_chinese = _reads_chinese(self._model.tokens)
        self._lengths = np.linalg.norm(self._model.embedding, axis=1)
        self._common, self._rare = np.percentile(self._lengths, (COMMON_PERCENTILE, RARE_PERCENTILE))

    def telling(self, words: Sequence[str]) -> Vectors:
        # The rows of frequent tokens are short, so that they weigh little in a mean. A word counts as its rarest piece.
        ids = [encoding.ids for encoding in self._model.tokenizer.encode_batch(list(words), add_special_tokens=False)]
        unknown = self._model.unk_token_id
        known = [[self._lengths[i] for i in pieces if i != unknown] for pieces in ids]
        lengths = np.array([max(pieces, default=self._rare) for pieces in known], np.float32)
        return np.clip((lengths - self._common) / max(self._rare - self._common, 1e-6), 0.05, 1.0)

    def encode(self, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        # In this process: its worker processes would be forked inside a Ray replica.
        return _unit(self._model.encode(list(texts), use_multiprocessing=False))


class TransformerEmbedder:
    """A sentence-transformers style encoder by name or folder, through transformers; pooled as its own files say."""

    is_static = False

    def __init__(self, name: str, *, batch_size: int = 32, max_tokens: int = 512) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        self.name = _name_of(name)
        self._torch = torch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        self._model = AutoModel.from_pretrained(name, trust_remote_code=False).to(self._device).eval()
        self._pools_first_token = _pools_first_token(name)
        self._batch_size, self._max_tokens = batch_size, max_tokens
        self.dim = int(self._model.config.hidden_size)
        self.reads_chinese = _reads_chinese(self._tokenizer.get_vocab())

    def telling(self, words: Sequence[str]) -> Vectors:
        return np.ones(len(words), dtype=np.float32)

    def encode(self, texts: Sequence[str]) -> Vectors:
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # little padding
        for start in range(0, len(texts), self._batch_size):
            chosen = by_length[start : start + self._batch_size]
            rows[chosen] = self._encode_batch([texts[i] for i in chosen])
        return _unit(rows)

    def _encode_batch(self, texts: list[str]) -> Vectors:
        batch = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt"
        ).to(self._device)
        with self._torch.inference_mode():
            hidden = self._model(**batch).last_hidden_state
            if self._pools_first_token:
                pooled = hidden[:, 0]
            else:
                mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
                pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
        return cast(Vectors, pooled.float().cpu().numpy())


def load_embedder(name_or_path: str | Path) -> Embedder:
    """Load by folder or by name on the hub. Raises `Unavailable` that says which model is missing and what to do."""
    path = Path(name_or_path)
    if str(name_or_path) == POCKET_NAME and not path.is_dir():
        path = MODELS_DIR / POCKET_NAME
    try:
        if _is_static(path):
            return StaticEmbedder(path)
        if path.is_absolute() and not path.is_dir():
            raise FileNotFoundError(path)
        return TransformerEmbedder(str(name_or_path))
    except (OSError, ValueError) as exc:
        raise Unavailable(
            f"The embedding model {str(name_or_path)!r} can't be loaded ({type(exc).__name__}). Check the name and the "
            "network, or choose the pocket profile, which needs no download."
        ) from exc


def _name_of(name_or_path: str) -> str:
    sha256 = model_sha256(name_or_path)
    return name_or_path if sha256 is None else f"{Path(name_or_path).name}@{sha256[:12]}"


def _is_static(path: Path) -> bool:
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == "model2vec"


def _pools_first_token(name: str) -> bool:
    """Whether `1_Pooling/config.json` asks for the first token (the bge family); mean pooling when nothing does."""
    file: Any = Path(name) / "1_Pooling" / "config.json"
    if not Path(name).is_dir():
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            file = Path(hf_hub_download(name, "1_Pooling/config.json"))
        except (HfHubHTTPError, LocalEntryNotFoundError):
            return False
    return file.is_file() and bool(json.loads(file.read_text(encoding="utf-8")).get("pooling_mode_cls_token"))


def _reads_chinese(pieces: Any) -> bool:
    return sum(HAN_CHARACTER.search(piece) is not None for piece in pieces) >= MIN_HAN_PIECES


def _unit(rows: Any) -> Vectors:
    vectors = np.asarray(rows, dtype=np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return cast(Vectors, np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 1e-6))
