"""What a drawing shows: a tree of frozen dataclasses drawn from a seed, and which combinations training never sees."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

OUTDOORS = ("castle", "forest", "harbour", "village", "mountain", "desert", "city", "lighthouse", "ruins")
INDOORS = ("library", "tavern", "cave")
PLACES = OUTDOORS + INDOORS
TIMES = ("dawn", "day", "sunset", "night")
WEATHERS = ("clear", "rain", "snow", "fog")
STYLES = ("cel", "watercolour", "soft", "neon", "ink")
# A pair is two full figures side by side; "empty" has nobody in it.
COMPOSITIONS = ("empty", "portrait", "half", "left", "centre", "right", "pair")

PEOPLE = ("woman", "man")
HAIRS = ("black", "brown", "blonde", "red", "silver", "blue", "pink")
HAIR_STYLES = ("short", "bob", "long", "bun", "ponytail", "twintails")
EYES = ("brown", "blue", "green", "violet", "amber")
CLOTHES = ("red", "blue", "green", "purple", "yellow", "white", "black", "brown")
GARMENTS = ("robe", "coat", "dress", "armour", "tunic")
BUILDS = ("slim", "sturdy")
SKINS = ("pale", "tan", "brown", "dark")
ITEMS = ("none", "lantern", "sword", "book", "staff", "cat")

HELD_OUT_PERCENT = 10


@dataclass(frozen=True)
class Character:
    """Who stands in a picture."""

    person: str
    hair: str
    hair_style: str
    eyes: str
    clothes: str
    garment: str
    build: str
    skin: str
    item: str


@dataclass(frozen=True)
class Scene:
    """All that a picture shows; `seed` decides what no attribute names (where a cloud is, how tall a tower)."""

    place: str
    time: str
    weather: str
    composition: str
    characters: tuple[Character, ...]
    style: str
    seed: int


def num_figures(composition: str) -> int:
    return {"empty": 0, "pair": 2}.get(composition, 1)


def draw_character(rng: random.Random, composition: str) -> Character:
    person = rng.choice(PEOPLE)
    is_woman = person == "woman"
    return Character(
        person=person,
        hair=rng.choice(HAIRS),
        hair_style=rng.choice(HAIR_STYLES if is_woman else ("short", "short", "long", "ponytail")),
        eyes=rng.choice(EYES),
        clothes=rng.choice(CLOTHES),
        garment=rng.choice(GARMENTS if is_woman else ("robe", "coat", "armour", "tunic")),
        build=rng.choice(BUILDS),
        skin=rng.choice(SKINS),
        # A portrait ends at the shoulders: nothing that is held could be seen.
        item="none" if composition == "portrait" or rng.random() < 0.4 else rng.choice(ITEMS[1:]),
    )


def draw_scene(seed: int) -> Scene:
    """The scene of a seed, whether training may see it or not."""
    rng = random.Random(f"scene {seed}")
    place = rng.choice(PLACES)
    composition = rng.choices(COMPOSITIONS, (18, 24, 14, 11, 11, 11, 11))[0]
    return Scene(
        place=place,
        time=rng.choice(TIMES),
        weather="clear" if place in INDOORS or rng.random() < 0.5 else rng.choice(WEATHERS[1:]),
        composition=composition,
        characters=tuple(draw_character(rng, composition) for _ in range(num_figures(composition))),
        style=rng.choice(STYLES),
        seed=seed,
    )


def is_held_out(scene: Scene) -> bool:
    """Whether a combination of attributes is kept for the test: by who is where, or by when it is where."""
    if not scene.characters:
        return _is_kept("view", scene.place, scene.time, scene.weather)
    return any(_is_kept("figure", who.hair, who.clothes, scene.place) for who in scene.characters)


def _is_kept(*parts: str) -> bool:
    # Not hash(): that differs from one process to the next.
    return zlib.crc32("/".join(parts).encode()) % 100 < HELD_OUT_PERCENT


def draw_scenes(seed: int, *, held_out: bool = False) -> Iterator[Scene]:
    """Endless scenes of one part: those that training may see, or those that it never does."""
    rng = random.Random(f"scenes {seed}")
    while True:
        scene = draw_scene(rng.getrandbits(40))
        if is_held_out(scene) == held_out:
            yield scene
