"""A session's state at its start, and the timeline that it keeps. Pure functions, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sagaforge.errors import InvalidInput
from sagaforge.schemas import GameState, Place, Player, Relationship, TimelineEvent

MAX_TIMELINE_EVENTS = 50  # one turn's row holds the whole state; older events stand in the rows of older turns
STAT_NAMES = ("health", "energy", "level")

# An event's text is the narrator's, so it is in the language of the play.
EVENT_TEXTS = {
    "en": {
        "moved": "Went to {name}",
        "discovered": "Learned of {name}",
        "took": "Took {name} (×{amount})",
        "gave": "Parted with {name} (×{amount})",
        "relationship": "{name}: {part} {amount:+d}",
        "stat": "{part} {amount:+d}",
        "flag": "{name}: {amount}",
        "flag_removed": "{name}: no longer",
    },
    "zh-Hant": {
        "moved": "前往{name}",
        "discovered": "得知{name}",
        "took": "取得{name}(×{amount})",
        "gave": "失去{name}(×{amount})",
        "relationship": "{name}:{part} {amount:+d}",
        "stat": "{part} {amount:+d}",
        "flag": "{name}:{amount}",
        "flag_removed": "{name}:不再成立",
    },
    "zh-Hans": {
        "moved": "前往{name}",
        "discovered": "得知{name}",
        "took": "取得{name}(×{amount})",
        "gave": "失去{name}(×{amount})",
        "relationship": "{name}:{part} {amount:+d}",
        "stat": "{part} {amount:+d}",
        "flag": "{name}:{amount}",
        "flag_removed": "{name}:不再成立",
    },
}


@dataclass(frozen=True)
class SceneFacts:
    """What the state needs of a scene. `npcs` are character ids."""

    id: str
    title: str = ""
    location: str = ""
    npcs: tuple[str, ...] = ()


def initial_state(
    *,
    session_id: str,
    world_id: str,
    world_version: int,
    scenes: Sequence[SceneFacts],
    characters: Mapping[str, str],
    character_id: str | None = None,
    scene_id: str | None = None,
    player_name: str | None = None,
) -> GameState:
    """The state before a session's first turn: in `scene_id`, else in a scene with `character_id`, else in the first.

    Raises `InvalidInput` for a scene or a character that the world does not have.
    """
    if character_id is not None and character_id not in characters:
        raise InvalidInput(f"the world has no character {character_id!r}")
    by_id = {scene.id: scene for scene in scenes}
    if scene_id is not None and scene_id not in by_id:
        raise InvalidInput(f"the world has no scene {scene_id!r}")
    with_character = (scene for scene in scenes if character_id in scene.npcs)
    scene = by_id[scene_id] if scene_id else next(with_character, next(iter(scenes), None))
    places: dict[str, Place] = {}
    for each in scenes:
        if each.location:
            place = places.setdefault(each.location, Place())
            place.characters_present = list(dict.fromkeys([*place.characters_present, *each.npcs]))
    location = scene.location if scene and scene.location else None
    if location:
        places[location].discovered = True
    return GameState(
        session_id=session_id,
        world_id=world_id,
        world_version=world_version,
        character_id=character_id,
        scene_id=scene.id if scene else None,
        location=location,
        player=Player(name=player_name) if player_name else Player(),
        relationships={character_id: Relationship()} if character_id else {},
        locations=places,
    )


def record_events(
    before: GameState,
    after: GameState,
    *,
    citations: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
    language: str = "en",
) -> GameState:
    """`after` with one timeline event for each thing that differs from `before`.

    Types: moved, discovered, took, gave, relationship, stat, flag, flag_removed. Each carries the turn's citations
    (chunk ids) and `after.turn_count`. `names` maps character ids to names. The last `MAX_TIMELINE_EVENTS` are kept.
    """
    texts = EVENT_TEXTS.get(language, EVENT_TEXTS["en"])
    events = [
        TimelineEvent(
            turn=after.turn_count,
            type=kind,
            text=texts[kind].format(name=name, part=part, amount=amount),
            citations=list(citations),
        )
        for kind, name, part, amount in _differences(before, after, names or {})
    ]
    return after.model_copy(update={"timeline": [*before.timeline, *events][-MAX_TIMELINE_EVENTS:]})


def _differences(
    before: GameState, after: GameState, names: Mapping[str, str]
) -> Iterator[tuple[str, str, str, bool | int | str]]:
    """(type, name, part, amount) of every event between two states, in a fixed order."""
    if after.location and after.location != before.location:
        yield "moved", after.location, "", 0
    for name, place in after.locations.items():
        was_discovered = name in before.locations and before.locations[name].discovered
        if place.discovered and not was_discovered and name != after.location:
            yield "discovered", name, "", 0
    carried_before = {item.name: item.quantity for item in before.inventory}
    carried_after = {item.name: item.quantity for item in after.inventory}
    for name in {**carried_before, **carried_after}:
        delta = carried_after.get(name, 0) - carried_before.get(name, 0)
        if delta:
            yield ("took" if delta > 0 else "gave"), name, "", abs(delta)
    for key, relation in after.relationships.items():
        old = before.relationships.get(key, Relationship())
        for part in ("affinity", "trust"):
            delta = getattr(relation, part) - getattr(old, part)
            if delta:
                yield "relationship", names.get(key, key), part, delta
    for part in STAT_NAMES:
        delta = getattr(after.player, part) - getattr(before.player, part)
        if delta:
            yield "stat", "", part, delta
    for name in {**before.world_flags, **after.world_flags}:
        if name not in after.world_flags:
            yield "flag_removed", name, "", 0
        elif before.world_flags.get(name) != after.world_flags[name]:
            yield "flag", name, "", after.world_flags[name]
