"""A picture of the moment: after a turn is committed, it is painted from the world's own words."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from sagaforge.datasets.packs.pack import Character
from sagaforge.datasets.styles import Styles
from sagaforge.datasets.worlds.world_store import World, WorldStore
from sagaforge.errors import SagaForgeError
from sagaforge.events import (
    ImageEvent,
    ImageProblem,
    ImageProblemEvent,
    ImageStepEvent,
    StepEvent,
    TurnEvent,
    TurnImageEvent,
    TurnTakenEvent,
)
from sagaforge.functions.images.generate import Studio, stream_image
from sagaforge.image_schemas import GeneratedImage, IllustratedTurn, ImageRequest
from sagaforge.imaging.prompts import escaped, plain
from sagaforge.pocket.captions import has_chinese, left_out, pocket_prompt
from sagaforge.profiles import ImageProfile
from sagaforge.schemas import Turn, TurnRequest

MAX_PROMPT_CHARS = 4000  # an image request takes no more
# Looks come as free keys; these are said together with what they are of.
NAMED_LOOKS = {"hair_color": ("hair", "頭髮"), "eye_color": ("eyes", "眼睛")}
UNSEEN_LOOKS = frozenset({"height", "age"})


async def stream_illustrated(
    request: TurnRequest, turns: AsyncGenerator[TurnEvent, None], *, worlds: WorldStore, studio: Studio
) -> AsyncGenerator[TurnEvent, None]:
    """The events of a turn, then those of its picture if the request asks for one.

    A picture that fails takes nothing from the turn, which
    is committed by then: `image_problem` {code, detail} says why there is none. The same turn gets the same picture.
    """
    turn: Turn | None = None
    async with aclosing(turns) as events:
        async for event in events:
            if isinstance(event, TurnTakenEvent):
                turn = event.data
            yield event
    if turn is None or not request.generate_image:
        return
    try:
        world = await worlds.version(turn.game_state.world_id, turn.game_state.world_version)
        asked, notes = await picture_of(turn, world, request.style_preset, studio.styles, studio.profile)
        painting = stream_image(asked, idempotency_key=turn.turn_id, studio=studio, notes=notes)
        async with aclosing(painting) as steps:
            async for step in steps:
                if isinstance(step, StepEvent):
                    yield ImageStepEvent(data=step.data)
                elif isinstance(step, ImageEvent):
                    yield TurnImageEvent(data=step.data)
    except SagaForgeError as exc:
        yield ImageProblemEvent(data=ImageProblem(code=exc.code, detail=exc.detail))


async def take_illustrated(request: TurnRequest, events: AsyncGenerator[TurnEvent, None]) -> Turn:
    """The committed turn, with its picture (`IllustratedTurn`) if the request asks for one."""
    turn: Turn | None = None
    picture: dict[str, Any] = {}
    async with aclosing(events) as stream:
        async for event in stream:
            if isinstance(event, TurnTakenEvent):
                turn = event.data
            elif isinstance(event, TurnImageEvent):
                picture["image"] = GeneratedImage(
                    **{name: getattr(event.data, name) for name in GeneratedImage.model_fields}
                )
            elif isinstance(event, ImageProblemEvent):
                picture["image_problem"] = event.data.detail
    assert turn is not None, "a turn ends with its turn event or raises"
    # Checked when it was made; once more would cost as much as the gate.
    return IllustratedTurn.model_construct(**dict(turn), **picture) if request.generate_image else turn


async def picture_of(
    turn: Turn, world: World, style_preset: str | None, styles: Styles, profile: ImageProfile
) -> tuple[ImageRequest, tuple[str, ...]]:
    """The request for a picture of a turn: who is spoken to, where, in the world's own look; and notes of what of that
    it leaves out.

    What the world tells of people and places is text, whatever brackets are in it; what it has under `[visual_style]`
    is written for a painter, with weights. The style is the one asked for, or the world's `style_preset` in
    `[visual_style]` where there is such a one.
    """
    state = turn.game_state
    visual = world.style.get("visual_style", {})
    own = visual.get("style_preset")
    if style_preset is None and own in {style.style_id for style in (await styles.all())[0]}:
        style_preset = own
    character = world.characters.get(state.character_id or "")
    scene = world.scenes.get(state.scene_id or "")
    parts = [looks(character) if character else ""]
    if scene is not None:
        parts += [state.location or scene.location or scene.title, scene.atmosphere]
    elif state.location:
        parts.append(state.location)
    told = [escaped(line) for part in parts if (line := _line(part))]
    told += [line for key in ("base_prompt", "prompt_suffix", "lighting") if (line := _line(str(visual.get(key, ""))))]
    prompt, notes = _within(", ".join(told) or escaped(_line(turn.narration)), "prompt")
    negative, more = _within(str(visual.get("negative_prompt", "")), "negative prompt")
    notes += more
    if profile.is_pocket and (caption := pocket_prompt(plain(prompt))):
        notes += left_out(plain(prompt), caption)
        prompt = caption
    asked = ImageRequest(
        prompt=prompt,
        negative_prompt=negative or None,
        style_preset=style_preset,
        image_type="portrait" if character is not None and scene is None else None,
        world_id=world.world_id,
        stream=True,
    )
    return asked, notes


def looks(character: Character) -> str:
    """What somebody looks like, in the order of the world's file."""
    appearance = character.appearance
    if isinstance(appearance, str):
        return appearance or character.description
    parts = []
    for key, value in appearance.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        if key in UNSEEN_LOOKS or not text:
            continue
        english, chinese = NAMED_LOOKS.get(key, ("", ""))
        if has_chinese(text):
            parts.append(chinese + text)
        else:
            parts.append(text if english in text else f"{text} {english}")
    return ", ".join(parts)


def _line(text: str) -> str:
    """The text on one line, without the full stop at its end."""
    return " ".join(text.split()).rstrip(".。")


def _within(text: str, what: str) -> tuple[str, tuple[str, ...]]:
    """As many of the text's words as an image request takes, with a note if that is not all of them."""
    if len(text) <= MAX_PROMPT_CHARS:
        return text, ()
    kept = text[:MAX_PROMPT_CHARS].rsplit(" ", 1)[0]
    return kept, (f"The {what} from the world has {len(text)} characters; the first {len(kept)} are used.",)
