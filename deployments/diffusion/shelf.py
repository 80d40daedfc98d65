"""The adapters that a replica holds ready: loaded when first asked for, the least used put away."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from sagaforge.deployments.diffusion.adapters import Adapter, Stack
from sagaforge.deployments.diffusion.config import MAX_RESIDENT

MAX_BYTES = 4 * 1024**3


class AdapterShelf:
    """Adapters by name. A request keeps what it works with, so nothing is taken from under it.

    Args:
        read: name and bytes of a file → adapter, on the model's device.
        fetch: name → bytes of the file; raises `NotFound`.
    """

    def __init__(
        self,
        read: Callable[[str, bytes], Adapter],
        fetch: Callable[[str], bytes],
        max_resident: int = MAX_RESIDENT,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._read = read
        self._fetch = fetch
        self._max_resident = max_resident
        self._max_bytes = max_bytes
        self._resident: OrderedDict[str, Adapter] = OrderedDict()
        # One load at a time: two requests for a new adapter read it once.
        self._loading = threading.Lock()

    def stack(self, wanted: tuple[tuple[str, float], ...]) -> Stack:
        """The adapters of a request with their scales. Blocks while it loads; raises what `read` and `fetch` raise."""
        return tuple((self._get(name), scale) for name, scale in wanted)

    @property
    def resident(self) -> list[str]:
        """Names, the least recently used first."""
        return list(self._resident)

    def _get(self, name: str) -> Adapter:
        with self._loading:
            if name not in self._resident:
                self._resident[name] = self._read(name, self._fetch(name))
            self._resident.move_to_end(name)
            while len(self._resident) > 1 and (
                len(self._resident) > self._max_resident
                or sum(adapter.num_bytes for adapter in self._resident.values()) > self._max_bytes
            ):
                self._resident.popitem(last=False)
            return self._resident[name]
