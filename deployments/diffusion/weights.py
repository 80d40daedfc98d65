"""Which weights a model has, by their hash: for receipts, and so that a picture of other weights is another picture."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=8)
def model_sha256(source: str) -> str | None:
    """One hash for all weights of a local model, by the hashes of its files; None for a hub name.

    Read once in a process: weights that are replaced are loaded, and hashed, at the next start.
    """
    path = Path(source)
    if not path.exists():
        return None
    whole = hashlib.sha256()
    for part in [path] if path.is_file() else sorted(path.rglob("*.safetensors")):
        with part.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
