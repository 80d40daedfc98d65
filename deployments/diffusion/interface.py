"""A picture to make, as it crosses processes: plain values and encoded images, and what comes back while it is made.

Every back end that makes pictures (the engine in a replica of ours, a ComfyUI server) is an `ImageBackend`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sagaforge.image_schemas import DEFAULT_STRENGTH, SchedulerName


@dataclass(frozen=True)
class ImageSpec:
    """One picture. Like `GenerationRequest`, but adapters are names with scales, and images are encoded (PNG, JPEG or
    WebP). Prompts are written as `prompts.parse` reads them.

    adapter_sha256: the content that each adapter shall have, by name; model_sha256: the model's. What is left out is
    taken as it is when the picture is made.
    """

    prompt: str
    width: int
    height: int
    steps: int
    guidance_scale: float
    seed: int
    negative_prompt: str | None = None
    scheduler: SchedulerName = "dpmpp_2m"
    adapters: tuple[tuple[str, float], ...] = ()
    image: bytes | None = None
    mask: bytes | None = None
    strength: float = DEFAULT_STRENGTH
    preview_every: int = 0
    deadline_s: float | None = None
    adapter_sha256: Mapping[str, str] = field(default_factory=dict)
    model_sha256: str | None = None

    @property
    def num_steps(self) -> int:
        """How many steps run: with an image only the last `strength` of them, as in diffusers."""
        return self.steps if self.image is None else min(int(self.steps * self.strength), self.steps)


def first_content(spec: ImageSpec) -> str | None:
    """The hash of the first adapter, by which Serve knows who has it loaded; None if there is none, or any will do."""
    return spec.adapter_sha256.get(spec.adapters[0][0]) if spec.adapters else None


@dataclass(frozen=True)
class Progress:
    """`done` of `total` steps; the preview is a small JPEG."""

    done: int
    total: int
    preview: bytes | None = None


@dataclass(frozen=True)
class Made:
    """The picture as PNG, and what made it: `backend`, `model`, `model_sha256`, `versions`, `adapters` and timings, for
    its receipt."""

    image: bytes
    facts: dict[str, object] = field(default_factory=dict)


ImageEvent = Progress | Made


class ImageBackend(Protocol):
    """Makes pictures."""

    name: str

    def generate(self, spec: ImageSpec) -> AsyncGenerator[ImageEvent, None]:
        """Yield progress, and last the picture. Closing the generator cancels the work. Raises `SagaForgeError`s:
        `InvalidInput` for what the back end can't do, `Unavailable` when it can't be reached."""
        ...

    async def is_ready(self) -> bool:
        """Whether it would take a picture on now."""
        ...
