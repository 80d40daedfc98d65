"""The gallery page with a scripted API behind a real HTTP server: support for test_gallery_page.py."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from PIL import Image, ImageFilter

from sagaforge.errors import NotFound, SagaForgeError, Unauthorized
from sagaforge.http.pages import add_pages
from sagaforge.http.problems import handle_error
from sagaforge.image_schemas import (
    GalleryImage,
    GeneratedImage,
    ImageDetail,
    ImageList,
    ImageListRequest,
    ImageMetadata,
    ImageModelList,
    ImageModelSummary,
    ImageRequest,
    Receipt,
    StyleList,
    StyleSummary,
    UsedAdapter,
)
from tests.support import loopback
from tests.support.loopback import event

SIDE = 128
STEPS = 4
STYLES = {"anime_style": "Anime", "cyberpunk": "Cyberpunk", "fantasy_art": "Fantasy art", "realistic": "Realistic"}
LORAS = ["mara_venn", "inkwash"]
PAINTED_AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EVERYTHING = 10_000


def plain_picture(number: int) -> Image.Image:
    across = Image.linear_gradient("L").resize((SIDE, SIDE))
    return Image.merge("RGB", (across, across.rotate(90), Image.new("L", (SIDE, SIDE), 40 * number % 256)))


def png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def preview(picture: Image.Image, part: float) -> str:
    """What a painter shows along the way: the picture, coarse and pale at first."""
    out = io.BytesIO()
    seen = picture.filter(ImageFilter.GaussianBlur(5 * (1 - part)))
    Image.blend(Image.new("RGB", picture.size, (120, 116, 124)), seen, 0.3 + 0.7 * part).save(out, "JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


class Studio:
    """A scripted painter and its gallery.

    allowed: how many events may be sent; a test lets them go one by one. failure: what becomes of the next request
    (before the stream begins, or after its first event). drops: the next stream breaks off there. key: the API key that
    is needed, if any.
    """

    def __init__(self, picture: Any = plain_picture) -> None:
        self.url = ""
        self._picture = picture
        self.app = self._routes()
        self.reset()

    def reset(self) -> None:
        self.key: str | None = None
        self.allowed = EVERYTHING
        self.failure: SagaForgeError | None = None
        self.is_failure_early = False
        self.drops = False
        self.requests: list[ImageRequest] = []
        self.keys: list[str | None] = []
        self.listed: list[ImageListRequest] = []
        self.saw_hang_up = threading.Event()
        self.pictures: list[GalleryImage] = []  # the newest first
        self.receipts: dict[str, Receipt] = {}

    def hang(self, prompt: str, **request: Any) -> GalleryImage:
        """One more picture in the gallery."""
        return self._add(ImageRequest(prompt=prompt, **request), 1000 + len(self.pictures))

    def _add(self, request: ImageRequest, seed: int) -> GalleryImage:
        number = len(self.pictures)
        image_id = f"{number:032x}"
        receipt = Receipt(
            image_id=image_id,
            created_at=PAINTED_AT + timedelta(minutes=number),
            request=request.model_dump(exclude={"image", "mask", "stream"}, exclude_none=True, mode="json"),
            prompt=f"{request.prompt}, {request.style_preset}" if request.style_preset else request.prompt,
            negative_prompt=request.negative_prompt,
            seed=seed,
            width=request.width or SIDE,
            height=request.height or SIDE,
            painted_width=SIDE,
            painted_height=SIDE,
            steps=request.steps or STEPS,
            cfg_scale=request.cfg_scale or 4.0,
            scheduler=request.scheduler or "dpmpp_2m_karras",
            style_preset=request.style_preset,
            backend="diffusion",
            model="pocket-sdxl",
            model_sha256="5f" * 32,
            adapters=[UsedAdapter(name=one.name, scale=one.scale, license="CC-BY-4.0") for one in request.lora],
            versions={"torch": "2.13.0", "sagaforge": "0.1.0"},
            worked_s=3.14,
            license="CC0-1.0",
            watermark="00c0ffee42",
        )
        image = GalleryImage(
            image_id=image_id,
            image_path=f"images/{image_id}.png",
            image_url=f"/images/{image_id}.png",
            thumbnail_url=f"/images/{image_id}/thumbnail",
            metadata=ImageMetadata(
                generation_time=3.14,
                loras=receipt.adapters,
                **{name: getattr(receipt, name) for name in ImageMetadata.model_fields if hasattr(receipt, name)},
            ),
            asked=request.prompt,
            created_at=receipt.created_at,
            license=receipt.license,
            watermark=receipt.watermark,
        )
        self.receipts[image_id] = receipt
        self.pictures.insert(0, image)
        return image

    def _check(self, authorization: Annotated[str | None, Header()] = None) -> None:
        if self.key is not None and authorization is None:
            raise Unauthorized("Send the API key as `Authorization: Bearer <key>`.")
        if self.key is not None and authorization != f"Bearer {self.key}":
            raise Unauthorized("That API key is not valid here.")

    def _found(self, image_id: str) -> GalleryImage:
        found = next((image for image in self.pictures if image.image_id == image_id), None)
        if found is None:
            raise NotFound(f"There is no picture {image_id}.")
        return found

    def _routes(self) -> FastAPI:
        app = FastAPI(exception_handlers={SagaForgeError: handle_error})  # type: ignore[dict-item]
        add_pages(app)
        locked = [Depends(self._check)]

        @app.get("/t2i/styles", dependencies=locked)
        async def styles() -> StyleList:
            params = {"width": SIDE, "height": SIDE, "steps": STEPS, "cfg_scale": 4.0}
            texts = {"prompt_template": "{prompt}", "style_suffix": "", "negative_prompt": ""}
            return StyleList(
                styles=[
                    StyleSummary(
                        style_id=key, title=title, base_model="sdxl", default_params=params, trigger_words=[], **texts
                    )
                    for key, title in STYLES.items()
                ]
            )

        @app.get("/t2i/models", dependencies=locked)
        async def models() -> ImageModelList:
            model = ImageModelSummary(
                model_id="pocket-sdxl",
                backend="diffusion",
                max_pixels=SIDE * SIDE,
                steps=14,
                cfg_scale=4.0,
                scheduler="dpmpp_2m_karras",
                schedulers=["dpmpp_2m_karras", "euler"],
            )
            return ImageModelList(models=[model], loras=LORAS)

        @app.get("/images", dependencies=locked)
        async def images(request: Annotated[ImageListRequest, Depends()]) -> ImageList:
            self.listed.append(request)
            found = [one for one in self.pictures if request.before is None or one.created_at < request.before]
            page = found[: request.limit]
            more = page[-1].created_at.isoformat() if len(found) > len(page) else None
            return ImageList(images=page, next_before=more)

        @app.get("/images/{image_id}.png", dependencies=locked)
        async def image_file(image_id: str) -> Response:
            return Response(self._png(self._found(image_id)), media_type="image/png")

        @app.get("/images/{image_id}/thumbnail", dependencies=locked)
        async def thumbnail(image_id: str, size: int = 256) -> Response:
            assert size in (128, 256, 512)
            return Response(self._png(self._found(image_id)), media_type="image/png")

        @app.get("/images/{image_id}", dependencies=locked)
        async def image(image_id: str) -> ImageDetail:
            return ImageDetail(**self._found(image_id).model_dump(), receipt=self.receipts[image_id])

        @app.post("/t2i/generate", dependencies=locked)
        async def generate(request: Request, idempotency_key: Annotated[str | None, Header()] = None) -> Response:
            body = ImageRequest.model_validate_json(await request.body())
            self.requests.append(body)
            self.keys.append(idempotency_key)
            if self.failure is not None and self.is_failure_early:
                return await handle_error(request, self._fail())
            return StreamingResponse(self._paced(body), media_type="text/event-stream")

        return app

    def _png(self, image: GalleryImage) -> bytes:
        return png(self._picture(int(image.image_id, 16)))

    def _fail(self) -> SagaForgeError:
        failure, self.failure = self.failure, None
        assert failure is not None
        return failure

    async def _paced(self, request: ImageRequest) -> AsyncIterator[str]:
        sent = 0
        try:
            async for text in self._events(request):
                while sent >= self.allowed:  # noqa: ASYNC110 (a test sets it, from another thread)
                    await asyncio.sleep(0.01)
                yield text
                sent += 1
        except asyncio.CancelledError:
            self.saw_hang_up.set()
            raise

    async def _events(self, request: ImageRequest) -> AsyncIterator[str]:
        total = request.steps or STEPS
        first = request.seed if request.seed is not None else 41
        size = {"width": request.width or SIDE, "height": request.height or SIDE, "steps": total}
        count = range(request.num_images)
        started = [{"image_id": f"{len(self.pictures) + i:032x}", "seed": first + i, **size} for i in count]
        yield event("started", {"images": started})
        base = len(self.pictures)
        if self.drops:
            self.drops = False
            raise ConnectionAbortedError("scripted")  # uvicorn closes the connection without the last chunk
        for done in range(1, total + 1):
            if self.failure is not None:
                response = await handle_error(Request({"type": "http", "path": "/", "headers": []}), self._fail())
                assert isinstance(response, JSONResponse)
                yield event("error", json.loads(bytes(response.body)))
                return
            for i in count:
                seen = preview(self._picture(base + i), done / total)
                yield event("step", {"image": i, "done": done, "total": total, "preview": seen})
        made = [self._add(request, first + i) for i in count]
        plain = [GeneratedImage(**one.model_dump(include=set(GeneratedImage.model_fields))) for one in made]
        bodies = [one.model_dump(mode="json") for one in plain]
        for i, body in enumerate(bodies):
            yield event("image", {"image": i, **body})
        yield event("done", {**bodies[0], "images": bodies})


@contextmanager
def serving(**options: Any) -> Iterator[Studio]:
    """A scripted studio behind a real server."""
    studio = Studio(**options)
    with loopback.serving(studio.app) as studio.url:
        yield studio
