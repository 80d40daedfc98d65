"""The adapters that a replica holds ready: loaded when first asked for, the least used put away.

An adapter is its content: a file that was replaced is another one, even under the same name.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping

from sagaforge.deployments.diffusion.adapters.mixer import Adapter, Stack
from sagaforge.errors import Conflict
from sagaforge.profiles import MAX_RESIDENT

MAX_BYTES = 4 * 1024**3


class AdapterCache:
    """Adapters by name and content. A request keeps what it works with, so nothing is taken from under it.

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
        self._resident: OrderedDict[tuple[str, str], Adapter] = OrderedDict()
        # One load at a time: two requests for a new adapter read it once.
        self._loading = threading.Lock()

    def stack(self, wanted: tuple[tuple[str, float], ...], contents: Mapping[str, str] | None = None) -> Stack:
        """The adapters of a request with their scales. Blocks while it loads; raises what `read` and `fetch` raise.

        contents: the hash of each by name; one that is left out is what its file is now.

        Raises:
            Conflict: a file has other content than that.
        """
        return tuple((self._get(name, (contents or {}).get(name)), scale) for name, scale in wanted)

    @property
    def resident(self) -> list[str]:
        """Names, the least recently used first."""
        return [name for name, _ in self._resident]

    def _get(self, name: str, sha256: str | None) -> Adapter:
        with self._loading:
            if sha256 is None or (name, sha256) not in self._resident:
                body = self._fetch(name)
                found = hashlib.sha256(body).hexdigest()
                if sha256 not in (None, found):
                    raise Conflict(
                        f"The adapter {name!r} was replaced while its picture waited; send the request again."
                    )
                sha256 = found
                if (name, sha256) not in self._resident:
                    self._resident[name, sha256] = self._read(name, body)
            self._resident.move_to_end((name, sha256))
            while len(self._resident) > 1 and (
                len(self._resident) > self._max_resident
                or sum(adapter.num_bytes for adapter in self._resident.values()) > self._max_bytes
            ):
                self._resident.popitem(last=False)
            return self._resident[name, sha256]
