"""Image adapters (LoRA) at rest: safetensors files in the artefacts, by name."""

from __future__ import annotations

import asyncio

from sagaforge.errors import NotFound
from sagaforge.storage import Storage, artefact_key

FOLDER = "adapters"
SUFFIX = ".safetensors"


class AdapterStore:
    """Names and files of the adapters there are."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def names(self) -> list[str]:
        """Sorted."""
        listed = await asyncio.to_thread(self._storage.list_objects, artefact_key(FOLDER))
        return [name.removesuffix(SUFFIX) for name in listed if name.endswith(SUFFIX)]

    def read(self, name: str) -> bytes:
        """The file of an adapter. Raises `NotFound`."""
        try:
            return self._storage.get_object(artefact_key(f"{FOLDER}/{name}{SUFFIX}"))
        except NotFound as exc:
            raise NotFound(f"There is no adapter {name!r}.") from exc
