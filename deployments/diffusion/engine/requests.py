"""What the diffusion engine is asked for, and what it says while and after it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from sagaforge.errors import SagaForgeError
from sagaforge.image_schemas import DEFAULT_STRENGTH, SchedulerName

if TYPE_CHECKING:
    # Only its name: that module brings torch along, which a client of another machine has no use for.
    from sagaforge.deployments.diffusion.adapters.mixer import Stack


@dataclass(frozen=True)
class GenerationRequest:
    """One picture.

    prompt, negative_prompt: with weights, as `prompts.parse` reads them. width, height: pixels, multiples of the
    model's (8 for most). steps: of the scheduler; with an image only the last
    `strength` of them run, as in diffusers. guidance_scale: 1 or less turns guidance off, and the negative prompt with
    it. seed: of the noise; what else is in the batch does not matter. image: start from it; with `mask` (white: paint
    anew) only there. preview_every: steps between previews, 0 for none. adapters: LoRA
    adapters that were read for this model, each with its scale.
    """

    prompt: str
    width: int
    height: int
    steps: int
    guidance_scale: float
    seed: int
    negative_prompt: str | None = None
    scheduler: SchedulerName = "dpmpp_2m"
    guidance_rescale: float = 0.0
    image: Image.Image | None = None
    mask: Image.Image | None = None
    strength: float = DEFAULT_STRENGTH
    preview_every: int = 0
    adapters: Stack = ()


@dataclass(frozen=True)
class Stepped:
    """`done` of `total` steps. The preview is a small picture of what the model expects in the end."""

    done: int
    total: int
    preview: Image.Image | None = None


@dataclass(frozen=True)
class Generated:
    """The picture, and seconds: from the first step to the last, and in the queue before."""

    image: Image.Image
    num_steps: int
    waited_s: float
    worked_s: float


@dataclass(frozen=True)
class Failed:
    """The request has left the engine without a picture."""

    error: SagaForgeError


Event = Stepped | Generated | Failed
# Called in the engine's thread: it must return at once, and not raise.
Listener = Callable[[Event], None]
