"""What streams tell, event by event: one union for turns and one for pictures. Each is serialised once, at the edge.

An event has a name and its data. `ReadEvent` is the same as a client reads it, who must not mind what a newer bundle
tells besides.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer

from sagaforge.image_schemas import GeneratedImage, ImageAnswer
from sagaforge.schemas import Chunk, Dialogue, Problem, Sentence, Shape, Turn


class ReadEvent(BaseModel):
    """An event as a client reads it: `data` is what its JSON says."""

    event: str
    data: dict[str, Any]


class Nothing(Shape):
    """Data of an event that says all by its name."""


class ErrorEvent(Shape):
    """The last event of a stream that failed after its first one."""

    event: Literal["error"] = "error"
    data: Problem


# --- turns ----------------------------------------------------------------------------------------------------------


class TurnIds(Shape):
    session_id: str
    turn_id: str


class FoundLore(Shape):
    chunks: list[Chunk]


class ImageProgress(Shape):
    """`image` counts from 0; `preview` is a data URL of a small JPEG, left out where there is none."""

    image: int
    done: int
    total: int
    preview: str | None = None

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if value is not None}


class NumberedImage(GeneratedImage):
    """A picture that is there, with its number in the request, from 0."""

    image: int


class ImageProblem(Shape):
    code: str
    detail: str


class StartedEvent(Shape):
    event: Literal["started"] = "started"
    data: TurnIds


class LoreEvent(Shape):
    event: Literal["lore"] = "lore"
    data: FoundLore


class SentenceEvent(Shape):
    """A sentence, as the citation gate let it through."""

    event: Literal["sentence"] = "sentence"
    data: Sentence


class DialogueEvent(Shape):
    event: Literal["dialogue"] = "dialogue"
    data: Dialogue


class RestartEvent(Shape):
    """What was shown is void: the turn begins anew, because an engine was lost or the answer was of no use."""

    event: Literal["restart"] = "restart"
    data: Nothing = Field(default_factory=Nothing)


class TurnTakenEvent(Shape):
    """The whole turn, committed."""

    event: Literal["turn"] = "turn"
    data: Turn


class ImageStepEvent(Shape):
    event: Literal["image_step"] = "image_step"
    data: ImageProgress


class TurnImageEvent(Shape):
    event: Literal["image"] = "image"
    data: NumberedImage


class ImageProblemEvent(Shape):
    """Why there is no picture of the turn, which is committed all the same."""

    event: Literal["image_problem"] = "image_problem"
    data: ImageProblem


# In order: started, lore, sentence*, dialogue*, turn; restart goes back to the sentences. With `generate_image`, after
# the turn: image_step* and image, or image_problem.
TurnEvent = Annotated[
    StartedEvent
    | LoreEvent
    | SentenceEvent
    | DialogueEvent
    | RestartEvent
    | TurnTakenEvent
    | ImageStepEvent
    | TurnImageEvent
    | ImageProblemEvent
    | ErrorEvent,
    Field(discriminator="event"),
]

# --- pictures -------------------------------------------------------------------------------------------------------


class PlannedImage(Shape):
    """A picture that will be made. `steps`: those that will run."""

    image_id: str
    seed: int
    width: int
    height: int
    steps: int


class PlannedImages(Shape):
    images: list[PlannedImage]


class PaintingStartedEvent(Shape):
    event: Literal["started"] = "started"
    data: PlannedImages


class StepEvent(Shape):
    event: Literal["step"] = "step"
    data: ImageProgress


class ImageEvent(Shape):
    event: Literal["image"] = "image"
    data: NumberedImage


class PaintedEvent(Shape):
    """All pictures: the whole answer."""

    event: Literal["done"] = "done"
    data: ImageAnswer


# In order: started, step* of any picture, image when one is there, done.
PaintingEvent = Annotated[
    PaintingStartedEvent | StepEvent | ImageEvent | PaintedEvent | ErrorEvent, Field(discriminator="event")
]

StreamEvent = TurnEvent | PaintingEvent


def names_of(events: Any) -> tuple[str, ...]:
    """The names of the events in one of the unions here."""
    union, _ = get_args(events)
    return tuple(event.model_fields["event"].default for event in get_args(union))
