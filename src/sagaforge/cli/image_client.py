"""The client's requests for pictures.

Painting is sent again after a lost connection, as turns are: the seed derives from the Idempotency-Key, so the second
request gets the pictures of the first.
"""

from __future__ import annotations

from collections.abc import Generator
from urllib.parse import quote

import httpx

from sagaforge.cli.client import CONNECT_TIMEOUT_S, PAINT_TIMEOUT_S, Client, request_body
from sagaforge.cli.seam import checked, seam
from sagaforge.events import PaintingEvent, ReadEvent, names_of
from sagaforge.image_schemas import (
    GeneratedImage,
    ImageDetail,
    ImageList,
    ImageListRequest,
    ImageRequest,
    Receipt,
    ReplayAnswer,
    StyleList,
)

PAINTING_EVENTS = names_of(PaintingEvent)


class ImageClient(Client):
    def stream_images(self, request: ImageRequest, key: str) -> Generator[ReadEvent, None, None]:
        """The events of a request up to `done`. Sent again after a loss, it begins anew with `started`."""
        body = request_body(request.model_copy(update={"stream": True}))
        for resend in self._attempts():
            with resend:
                yield from self._stream_once(
                    PAINTING_EVENTS, "/t2i/generate", body, key, last=("done",), silence_s=PAINT_TIMEOUT_S
                )
                return

    def png(self, image_id: str) -> bytes:
        # Asked for again after a loss: a picture that took a minute to paint should not be lost to a hiccup.
        for resend in self._attempts():
            with resend, seam(self.url):
                return checked(self._http.get(f"/images/{quote(image_id, safe='')}.png")).content
        raise AssertionError("unreachable: the last attempt returns or raises")

    def address(self, image: GeneratedImage) -> str:
        return self.url.rstrip("/") + image.image_url

    def images(self, request: ImageListRequest) -> ImageList:
        return self._request(ImageList, "GET", "/images", params=request_body(request))

    def image(self, image_id: str) -> ImageDetail:
        return self._request(ImageDetail, "GET", f"/images/{quote(image_id, safe='')}")

    def styles(self) -> StyleList:
        return self._request(StyleList, "GET", "/t2i/styles")

    def replay(self, receipt: Receipt) -> ReplayAnswer:
        return self._request(
            ReplayAnswer,
            "POST",
            "/t2i/replay",
            json=receipt.model_dump(mode="json"),  # whole: what is None in a receipt was None
            timeout=httpx.Timeout(PAINT_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        )
