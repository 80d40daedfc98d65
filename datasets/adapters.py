"""Image adapters (LoRA) at rest: safetensors files in the artefacts, by name and by content."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pydantic import TypeAdapter, ValidationError

from sagaforge.errors import Conflict, NotFound
from sagaforge.image_schemas import AdapterName
from sagaforge.storage import Storage, artefact_key

FOLDER = "adapters"
SUFFIX = ".safetensors"
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
NAME: TypeAdapter[str] = TypeAdapter(AdapterName)


@dataclass
class _Listed:
    """files: by name, each with its mark; problems: what can't be used, and why; doubled: names of several files."""

    files: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    doubled: dict[str, str] = field(default_factory=dict)


class AdapterStore:
    """Names, contents and files of the adapters there are. A file that is replaced is seen by the next call."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._hashes: dict[tuple[str, str], str] = {}

    async def all(self) -> tuple[list[str], list[str]]:
        """Names, sorted, and what is wrong with files that can't be used."""
        listed = await asyncio.to_thread(self._list)
        return sorted(listed.files), listed.problems

    async def hashed(self, wanted: Collection[str]) -> dict[str, str | None]:
        """All names; those that are wanted with the hash of their content, which is computed once for each content.

        Raises:
            Conflict: one that is wanted is the name of several files.
        """
        return await asyncio.to_thread(self._hashed, wanted)

    def read(self, name: str) -> bytes:
        """The file of an adapter. Raises `NotFound`, and `Conflict` where several files have the name."""
        listed = self._list()
        if name in listed.doubled:
            raise Conflict(listed.doubled[name])
        try:
            return self._storage.get_object(_key(listed.files[name][0]))
        except (KeyError, NotFound) as exc:
            raise NotFound(f"There is no adapter {name!r}.") from exc

    def _hashed(self, wanted: Collection[str]) -> dict[str, str | None]:
        listed = self._list()
        found: dict[str, str | None] = dict.fromkeys(listed.files)
        hashes: dict[tuple[str, str], str] = {}
        for name in wanted:
            if name in listed.doubled:
                raise Conflict(listed.doubled[name])
            if name not in listed.files:
                continue
            file, mark = listed.files[name]
            known = self._hashes.get((file, mark)) if mark is not None else None
            found[name] = known or self._storage.sha256_object(_key(file))
            if mark is not None:
                hashes[file, mark] = found[name] or ""
        # Of a file that was replaced, only the newest is kept.
        there = set(listed.files.values())
        self._hashes = {key: value for key, value in (self._hashes | hashes).items() if key in there}
        return found

    def _list(self) -> _Listed:
        listed = _Listed()
        for file, mark in self._storage.list_marks(artefact_key(FOLDER)).items():
            suffix = PurePosixPath(file).suffix
            if suffix.lower() in PICKLES:
                listed.problems.append(f"{file!r} is a pickle, which can run code: convert it to safetensors.")
            if suffix.lower() != SUFFIX:
                continue
            stem = file[: -len(suffix)]
            try:
                name = NAME.validate_python(stem)
            except ValidationError as exc:
                listed.problems.append(f"{file!r} can't be asked for by name, so rename it: {exc.errors()[0]['msg']}.")
                continue
            if name in listed.files:
                both = f"{listed.files[name][0]!r} and {file!r}"
                listed.doubled[name] = f"{both} are both called {name!r}: rename one of them."
            else:
                listed.files[name] = (file, mark)
        for name in listed.doubled:
            del listed.files[name]
        listed.problems += listed.doubled.values()
        return listed


def _key(file: str) -> str:
    return artefact_key(f"{FOLDER}/{file}")
