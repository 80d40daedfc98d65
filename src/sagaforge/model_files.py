"""Which files a model is made of, by their hash: what was made with other files under the same name was made with
another model. Receipts, ids of pictures and worlds' vectors say which."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from sagaforge.storage import file_mark

# Weights, configurations (a scheduler's decides pictures too) and vocabularies; not cards and pictures beside them.
SUFFIXES = (".safetensors", ".json", ".txt", ".model")
MAX_KNOWN = 1024
# The models of the repository: a link in the source tree, package data in a wheel.
MODELS_DIR = Path(__file__).resolve().parent / "models"


def model_sha256(source: str) -> str | None:
    """One hash for all of a local model, by its files' names and hashes; None for a hub name.

    A file is read again when it has changed: the answer is about what lies there now.
    """
    path = Path(source)
    if not path.exists():
        return None
    if path.is_file():
        return _sha256(path)
    whole = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        if file.suffix in SUFFIXES and file.is_file() and not any(part.startswith(".") for part in name.parts):
            whole.update(f"{name.as_posix()}\0{_sha256(file)}\n".encode())
    return whole.hexdigest()


def _sha256(file: Path) -> str:
    mark = file_mark(file.stat())
    return _sha256_of(file, mark) if mark is not None else _sha256_of.__wrapped__(file, mark)


@lru_cache(maxsize=MAX_KNOWN)
def _sha256_of(file: Path, mark: str | None) -> str:
    with file.open("rb") as body:
        return hashlib.file_digest(body, "sha256").hexdigest()
