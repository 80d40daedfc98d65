"""The picture half of the scripted bundle: it "paints" from the seed, and replays with a fault that a test asks for."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
from fastapi import FastAPI, Header, Request
from fastapi.responses import Response, StreamingResponse
from PIL import Image, ImageFilter

from sagaforge.image_schemas import Receipt, UsedAdapter
from sagaforge.imaging.receipts import with_receipt
from sagaforge.imaging.watermark import mark
from tests.support.loopback import event
from tests.support.scripted_bundle import document, holodeck, problem

SIDE_PX, STEPS = 192, 3
DROP, HANG, FAIL = "drop", "hang", "fail"
MADE = datetime(2026, 11, 22, 12, tzinfo=UTC)


def image_id(seed: int) -> str:
    return f"{seed:032x}"


def receipt(seed: int, asked: str = "a lighthouse at dusk") -> Receipt:
    return Receipt(
        image_id=image_id(seed),
        created_at=MADE,
        request={"prompt": asked},
        prompt=f"{asked}, neon",
        negative_prompt="blurry",
        seed=seed,
        width=SIDE_PX,
        height=SIDE_PX,
        painted_width=SIDE_PX // 2,
        painted_height=SIDE_PX // 2,
        steps=STEPS,
        cfg_scale=4.5,
        scheduler="dpmpp_2m",
        style_preset="cyberpunk",
        backend="engine",
        model="pocket-sdxl",
        model_sha256="0123456789abcdef",
        adapters=[UsedAdapter(name="alice", scale=0.8, sha256="ff00", license="CC-BY-4.0")],
        versions={"torch": "2.13.0"},
        worked_s=1.25,
        license="Apache-2.0",
        watermark=f"{seed:010x}",
    )


@cache
def painted(seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    return mark(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(3)), seed)


def png(seed: int, asked: str = "a lighthouse at dusk") -> bytes:
    return with_receipt(painted(seed), receipt(seed, asked))


def generated(made: Receipt) -> dict[str, Any]:
    shared = ("prompt", "negative_prompt", "seed", "model", "width", "height", "steps", "cfg_scale", "scheduler")
    metadata = {name: getattr(made, name) for name in (*shared, "style_preset")}
    return {
        "image_id": made.image_id,
        "image_path": f"images/{made.image_id}.png",
        "image_url": f"/images/{made.image_id}.png",
        "thumbnail_url": f"/images/{made.image_id}/thumbnail",
        "metadata": {**metadata, "generation_time": made.worked_s, "loras": [], "a_field_of_a_newer_bundle": 1},
        "a_field_of_a_newer_bundle": 1,
    }


class ScriptedImages:
    """Adds its routes to a scripted bundle. `script` says what happens to the next requests for pictures."""

    def __init__(self, app: FastAPI) -> None:
        self._add_routes(app)
        self.reset()

    def reset(self) -> None:
        self.script: list[Any] = []
        self.requests: list[tuple[str | None, dict[str, Any]]] = []  # (idempotency key, body) of each
        self.seeds: dict[str | None, int] = {}  # by key
        self.made: dict[str, Receipt] = {}
        self.downloads: list[Any] = []  # what happens to the next downloads
        self.replays: list[dict[str, Any]] = []
        self.replay: dict[str, Any] = {}  # png, changed
        self.queries: list[dict[str, str]] = []
        self.saw_hang_up = threading.Event()

    def add(self, seed: int, asked: str = "a lighthouse at dusk") -> Receipt:
        return self.made.setdefault(image_id(seed), receipt(seed, asked))

    def _listed(self, made: Receipt) -> dict[str, Any]:
        more = {"asked": made.request["prompt"], "license": made.license, "watermark": made.watermark}
        return {**generated(made), **more, "created_at": MADE.isoformat()}

    def _add_routes(self, app: FastAPI) -> None:
        @app.post("/t2i/generate")
        async def generate(request: Request, idempotency_key: str | None = Header(None)) -> Any:
            body = await request.json()
            self.requests.append((idempotency_key, body))
            step = self.script.pop(0) if self.script else None
            if isinstance(step, Response):
                return step
            first = self.seeds.setdefault(idempotency_key, body.get("seed", 100 + len(self.seeds)))
            made = [self.add(first + number, body["prompt"]) for number in range(body["num_images"])]
            return StreamingResponse(self._events(made, step), media_type="text/event-stream")

        @app.get("/images")
        async def images(request: Request) -> Any:
            asked = dict(request.query_params)
            self.queries.append(asked)
            found = [one for one in self.made.values() if asked.get("watermark") in (None, one.watermark)]
            return {"images": [self._listed(one) for one in found[: int(asked["limit"])]], "next_before": None}

        @app.get("/images/{name}")
        async def image(name: str) -> Any:
            made = self.made.get(name.removesuffix(".png"))
            if made is None:
                return problem(404, "not_found", f"There is no picture {name}.")
            if not name.endswith(".png"):
                return {**self._listed(made), "receipt": made.model_dump(mode="json")}
            failure = self.downloads.pop(0) if self.downloads else None
            return failure or Response(png(made.seed, made.request["prompt"]), media_type="image/png")

        @app.get("/t2i/styles")
        async def styles() -> Any:
            texts = {"base_model": "sdxl", "prompt_template": "{prompt}", "negative_prompt": "", "trigger_words": []}
            params = {"steps": 14, "cfg_scale": 4.0}
            style = {"style_id": "cyberpunk", "title": "Cyberpunk", "style_suffix": "neon", "default_params": params}
            return {"styles": [{**texts, **style}], "problems": ["my_style.yaml: no title"]}

        @app.post("/t2i/replay")
        async def replay(request: Request) -> Any:
            body = await request.json()
            self.replays.append(body)
            again = self.replay.get("png", png(body["seed"]))
            encoded = again if isinstance(again, str) else base64.b64encode(again).decode()
            return {"png": encoded, "receipt": body, "changed": self.replay.get("changed", [])}

    async def _events(self, made: list[Receipt], step: Any) -> AsyncIterator[str]:
        pictures = [
            {"image_id": one.image_id, "seed": one.seed, "width": one.width, "height": one.height, "steps": STEPS}
            for one in made
        ]
        yield event("started", {"images": pictures}) + ": keep-alive\n\n"
        if step == HANG:
            try:
                await asyncio.sleep(0.5)  # asleep
                yield event("step", {"image": 0, "done": 1, "total": STEPS, "preview": "data:image/jpeg;base64,"})
                await asyncio.sleep(30)
            finally:
                self.saw_hang_up.set()
        for number, one in enumerate(made):
            for done in range(1, STEPS + 1):
                yield event("step", {"image": number, "done": done, "total": STEPS})
            if step == DROP:
                raise ConnectionAbortedError("scripted")  # uvicorn closes the connection without the last chunk
            if step == FAIL:
                yield event("error", {"code": "deadline_exceeded", "detail": "It took too long.", "request_id": "r1"})
                return
            yield event("image", {"image": number, **generated(one)})
        yield event("an_event_of_a_newer_bundle", {})
        images = [generated(one) for one in made]
        yield event("done", {**images[0], "images": images})


def saved_as(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def error_of(*args: str) -> dict[str, Any]:
    """What a command fails with, which always comes with a next step."""
    found = document(holodeck("image", *args, "--json", expect=1))
    assert found["ok"] is False
    assert found["error"]["suggested_actions"]
    error: dict[str, Any] = found["error"]
    return error
