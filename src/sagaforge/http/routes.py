"""The table of routes: which function answers on which path, and what is particular to HTTP about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sagaforge import image_schemas
from sagaforge.functions.catalog import FUNCTIONS, Function
from sagaforge.settings import Settings

# A multipart body holds its file's bytes, part headers and a few short fields.
MULTIPART_OVERHEAD_BYTES = 64 * 1024
_BY_NAME = {function.name: function for function in FUNCTIONS}


@dataclass(frozen=True)
class Route:
    """One row. `has_file`: the request is a form with a file. `body_limit`: bytes of its body, where that is not the
    bundle's limit for all."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    name: str
    has_file: bool = False
    body_limit: Callable[[Settings], int] | None = None

    @property
    def function(self) -> Function:
        """What answers."""
        return _BY_NAME[self.name]


ROUTES: tuple[Route, ...] = (
    Route("GET", "/worlds", "list_worlds"),
    Route("GET", "/worlds/{world_id}", "show_world"),
    Route("DELETE", "/worlds/{world_id}", "delete_world"),
    Route("GET", "/worlds/{world_id}/chunks/{chunk_id}", "show_chunk"),
    Route("POST", "/rag/retrieve", "retrieve"),
    Route(
        "POST",
        "/rag/upload",
        "upload",
        has_file=True,
        body_limit=lambda settings: settings.upload_max_bytes + MULTIPART_OVERHEAD_BYTES,
    ),
    Route("POST", "/llm/turn", "take_turn"),
    Route("GET", "/story/{session_id}", "show_session"),
    Route(
        "POST",
        "/t2i/generate",
        "generate_image",
        # A picture to start from and its mask.
        body_limit=lambda settings: 2 * image_schemas.MAX_ENCODED_CHARS + settings.body_max_bytes,
    ),
    Route("GET", "/t2i/models", "list_image_models"),
    Route("GET", "/t2i/styles", "list_styles"),
    Route("POST", "/t2i/replay", "replay_image"),
    Route("GET", "/images", "list_images"),
    # Before the row whose `image_id` would take the ".png" too.
    Route("GET", "/images/{image_id}.png", "image_file"),
    Route("GET", "/images/{image_id}/thumbnail", "image_thumbnail"),
    Route("GET", "/images/{image_id}", "show_image"),
    Route("GET", "/v1/models", "list_models"),
    Route("POST", "/v1/chat/completions", "chat_completions"),
    Route("POST", "/v1/images/generations", "image_generations"),
)
