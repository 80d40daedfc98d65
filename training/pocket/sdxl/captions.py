"""English captions of scenes as people type prompts: tags or sentences, in varied words, with things left out.

A caption says which attributes it names: only those can be judged. Attributes of characters are named by their place in
the scene: `hair`, `clothes`, and `hair2`, `clothes2` for the second of a pair.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from sagaforge.training.pocket.sdxl import wording as w
from sagaforge.training.pocket.sdxl.scenes import INDOORS, Character, Scene

_FRAME_WORDS = (
    "a an the of in at with and on is stands there by under wearing wears who has have eyes hair haired next to left"
    " right portrait picture scene view skin inside during while it from outside windows sky eyed dressed clothes"
).split()

STRANGERS_SHARE = 0.15


@dataclass
class Caption:
    """A text and the attributes that it names."""

    text: str = ""
    named: set[str] = field(default_factory=set)


class _Writer:
    """Picks words and notes what they name."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.named: set[str] = set()

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def word(self, table: w.Words, value: str, name: str = "") -> str:
        if name:
            self.named.add(name)
        words = table[value]
        # The plainest word more often than each of the others.
        return words[0] if self.chance(0.35) else self.rng.choice(words)


def caption(scene: Scene, rng: random.Random) -> Caption:
    """A caption in words drawn by `rng`."""
    writer = _Writer(rng)
    text = _tags(writer, scene) if rng.random() < 0.55 else _sentence(writer, scene)
    if rng.random() < 0.85:
        text = f"{text}, {writer.word(w.STYLE, scene.style, 'style')}"
    if rng.random() < 0.12:
        text = f"{text}, {rng.choice(w.QUALITY)}"
    if rng.random() < 0.25:
        text = text[0].upper() + text[1:]
    return Caption(text, writer.named)


def with_strangers(worded: Caption, rng: random.Random) -> Caption:
    """Now and then with names in it that nobody knows: a world's own words must not lead a model astray."""
    if rng.random() >= STRANGERS_SHARE:
        return worded
    parts = worded.text.split(", ")
    for _ in range(rng.randint(1, 2)):
        name = "".join(rng.choice("bdfghklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(1, 3)))
        parts.insert(rng.randint(0, len(parts)), f"{rng.choice(('', 'the ', 'of ', 'in '))}{name}{rng.choice('nrsl')}")
    return Caption(", ".join(parts), worded.named)


def words_of(text: str) -> list[str]:
    """The words of a caption, as the vocabulary counts them."""
    return re.findall(r"[a-z]+(?:'s)?", text.lower())


def vocabulary() -> set[str]:
    """Every word that a caption may hold."""
    texts = [*_FRAME_WORDS, *w.QUALITY]
    for table in (*w.all_tables().values(), w.TIME_TAGS, w.ROLES):
        texts += [text for words in table.values() for text in words]
    return {word for text in texts for word in words_of(text)}


def _article(noun: str) -> str:
    if noun.endswith(("robes", " armor")) or (noun.endswith(" armour") and "suit" not in noun):
        return ""
    return "an " if noun[0] in "aeiou" else "a "


def _colours(writer: _Writer, who: Character, suffix: str) -> tuple[str, str]:
    """Hair and clothes, each perhaps left out: ("silver hair", "red coat")."""
    hair = ""
    if writer.chance(0.88):
        colour = writer.word(w.HAIR, who.hair, f"hair{suffix}")
        hair = f"{colour} hair"
        if writer.chance(0.45):
            style = writer.word(w.HAIR_STYLE, who.hair_style, f"hair_style{suffix}")
            hair = f"{colour} {style}"
    clothes = ""
    if writer.chance(0.88):
        colour = writer.word(w.CLOTHES, who.clothes, f"clothes{suffix}")
        garment = writer.word(w.GARMENT, who.garment, f"garment{suffix}")
        clothes = f"{colour} {garment}"
    return hair, clothes


def _person(writer: _Writer, who: Character, suffix: str) -> str:
    if writer.chance(0.14):
        # A role says what is worn, not whether a man or a woman wears it.
        person = writer.word(w.ROLES, who.garment)
    else:
        person = writer.word(w.PERSON, who.person, f"person{suffix}")
    if writer.chance(0.18):
        person = f"{writer.word(w.BUILD, who.build, f'build{suffix}')} {person}"
    return f"{_article(person)}{person}"


def _extras(writer: _Writer, scene: Scene, who: Character, suffix: str) -> list[str]:
    out = []
    if writer.chance(0.7 if scene.composition == "portrait" else 0.2):
        out.append(f"{writer.word(w.EYES, who.eyes, f'eyes{suffix}')} eyes")
    if writer.chance(0.25):
        out.append(writer.word(w.SKIN, who.skin, f"skin{suffix}"))
    if who.item != "none" and writer.chance(0.8):
        out.append(writer.word(w.ITEM, who.item, f"item{suffix}"))
    return out


def _figure_tags(writer: _Writer, scene: Scene, who: Character, suffix: str) -> list[str]:
    hair, clothes = _colours(writer, who, suffix)
    person = _person(writer, who, suffix)
    parts = [part for part in (hair, clothes, *_extras(writer, scene, who, suffix)) if part]
    if parts and writer.chance(0.6):
        first = parts.pop(0)
        link = "in" if first == clothes else "with"
        person = f"{person} {link} {_article(first) if first == clothes else ''}{first}"
    if suffix == "":
        writer.rng.shuffle(parts)
    return [person, *parts]


def _where(writer: _Writer, scene: Scene) -> list[str]:
    """Place, hour and weather as tags."""
    place = writer.word(w.PLACE, scene.place, "place") if writer.chance(0.93) else ""
    has_time = writer.chance(0.8)
    if place and has_time and writer.chance(0.5):
        tags = [f"{place} at {writer.word(w.TIME, scene.time, 'time')}"]
    else:
        tags = [place] if place else []
        if has_time:
            tags.append(writer.word(w.TIME_TAGS, scene.time, "time"))
    is_told = scene.weather != "clear" or (scene.place not in INDOORS and writer.chance(0.15))
    if is_told and writer.chance(0.9):
        tags.append(writer.word(w.WEATHER, scene.weather, "weather"))
    return tags


def _tags(writer: _Writer, scene: Scene) -> str:
    where = _where(writer, scene)
    shot = []
    # Where someone stands must be said, or nobody could know it; a caption without it is of the usual kind.
    if writer.chance(0.85 if scene.composition in ("left", "right", "portrait", "empty") else 0.6):
        shot = [writer.word(w.SHOT, scene.composition, "composition").removesuffix(" of")]
    figures: list[str] = []
    for i, who in enumerate(scene.characters):
        tags = _figure_tags(writer, scene, who, "2" if i else "")
        figures += ([f"and {tags[0]}", *tags[1:]] if i else tags) if len(scene.characters) == 2 else tags
        writer.named.add("figures")
    if not scene.characters and shot:
        writer.named.add("figures")
    groups = [where, shot] if writer.chance(0.5) else [shot, where]
    groups = [groups[0], figures, groups[1]] if writer.chance(0.3) else [figures, *groups]
    tags = [tag for group in groups for tag in group]
    return ", ".join(tags) or writer.word(w.PLACE, scene.place, "place")


def _described(writer: _Writer, scene: Scene, who: Character, suffix: str) -> str:
    hair, clothes = _colours(writer, who, suffix)
    text = _person(writer, who, suffix)
    extras = _extras(writer, scene, who, suffix)
    having = [part for part in (hair, *(e for e in extras if e.endswith(("eyes", "skin")))) if part]
    if having:
        text += f" with {' and '.join(having)}"
    if clothes:
        text += f" {writer.rng.choice(('in', 'wearing', 'dressed in'))} {_article(clothes)}{clothes}"
    for item in (e for e in extras if not e.endswith(("eyes", "skin"))):
        text += f", {item}"
    return text


def _sentence(writer: _Writer, scene: Scene) -> str:
    rng = writer.rng
    indoors = scene.place in INDOORS
    place = writer.word(w.PLACE, scene.place, "place")
    where = f"{rng.choice(('inside', 'in')) if indoors else rng.choice(('at', 'in', 'by'))} {place}"
    if writer.chance(0.8):
        where += f" at {writer.word(w.TIME, scene.time, 'time')}"
    if scene.weather != "clear" and writer.chance(0.9):
        where += f" in {writer.word(w.WEATHER, scene.weather, 'weather')}"
    if not scene.characters:
        writer.named.update(("composition", "figures"))
        opening = rng.choice(("a view of", "a picture of", "the scenery of", "a landscape with"))
        empty = rng.choice(("", " with nobody there", ", no people"))
        return f"{opening} {where.split(' ', 1)[1]}{empty}"
    writer.named.add("figures")
    described = [_described(writer, scene, who, "2" if i else "") for i, who in enumerate(scene.characters)]
    if scene.composition == "pair":
        writer.named.add("composition")
        return f"{described[0]} and {described[1]} {where}"
    if scene.composition == "portrait":
        writer.named.add("composition")
        return (
            f"{rng.choice(('a portrait of', 'a close-up portrait of', 'a portrait picture of'))} {described[0]} {where}"
        )
    if writer.chance(0.75 if scene.composition in ("left", "right") else 0.4):
        writer.named.add("composition")
        side = {"left": "on the left", "right": "on the right", "centre": "in the middle", "half": ""}[
            scene.composition
        ]
        if scene.composition == "half":
            return f"half body picture of {described[0]} {where}"
        return f"{described[0]} stands {side} {where}"
    return f"{described[0]} {where}"
