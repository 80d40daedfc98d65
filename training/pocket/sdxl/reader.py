"""Reads attributes back from a picture: the judge of what a model drew.

It knows where a composition puts things and how the styles colour them, no more. Its linear classifiers are fitted by
fit.py on drawings of seen scenes, degraded as a small diffusion model degrades pictures, and kept in reader.npz so that
the judge stays the same from one run to the next. After a change of the drawings: `python -m
sagaforge.training.pocket.sdxl.fit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from sagaforge.training.pocket.sdxl.canvas import Pixels
from sagaforge.training.pocket.sdxl.features import (
    Floats,
    at_128,
    eye_features,
    figure_features,
    time_features,
    view_features,
    weather_features,
)
from sagaforge.training.pocket.sdxl.figure import FRAMES
from sagaforge.training.pocket.sdxl.scenes import INDOORS, Scene, num_figures

WEIGHTS = Path(__file__).with_name("reader.npz")
# Read from the whole picture, in any style.
VIEW = ("style", "place", "composition")
FIGURE = ("hair", "clothes")

__all__ = ["Linear", "read", "readable", "score", "time_model", "values_of"]


@dataclass(frozen=True)
class Linear:
    """A linear classifier: the class of the highest score."""

    classes: tuple[str, ...]
    weights: Floats
    bias: Floats

    def __call__(self, features: Floats) -> str:
        return self.classes[int(np.argmax(self.weights @ features + self.bias))]


@lru_cache(maxsize=1)
def load() -> dict[str, Linear]:
    """The fitted classifiers by what they read: `place`, `time/neon`, `hair/ink`."""
    with np.load(WEIGHTS) as stored:
        names = {key.rsplit("|", 1)[0] for key in stored.files}
        return {
            name: Linear(
                tuple(str(stored[f"{name}|classes"]).split()),
                stored[f"{name}|weights"].astype(np.float32),
                stored[f"{name}|bias"].astype(np.float32),
            )
            for name in names
        }


def read(picture: Pixels, composition: str, style: str | None = None) -> dict[str, str]:
    """What a picture shows. Without a style, the one that is read decides how colours are judged.

    `hair`, `clothes` and, in a portrait, `eyes` are of the first figure; `hair2` and `clothes2` of the second.
    """
    models, picture = load(), at_128(picture)
    features = view_features(picture)
    found = {name: models[name](features) for name in VIEW}
    by = style or found["style"]
    # The composition that is asked for says where to look; the one that is seen, how many figures there are.
    found["figures"] = str(num_figures(found["composition"]))
    found["time"] = models[time_model(by, found["place"])](time_features(picture, composition))
    found["weather"] = models[f"weather/{by}"](weather_features(picture))
    for i, frame in enumerate(FRAMES[composition]):
        of_figure = figure_features(picture, frame)
        suffix = "2" if i else ""
        found |= {f"{name}{suffix}": models[f"{name}/{by}"](of_figure) for name in FIGURE}
    if composition == "portrait":
        found["eyes"] = models[f"eyes/{by}"](eye_features(picture))
    return found


def time_model(style: str, place: str) -> str:
    """The name of the classifier of the hour: each room has its window, all outdoors have the sky."""
    return f"time/{style}/{'indoors' if place in INDOORS else 'outdoors'}"


def values_of(scene: Scene) -> dict[str, str]:
    """The true values of everything that the reader can read in a scene."""
    values = {"style": scene.style, "place": scene.place, "time": scene.time}
    values |= {"composition": scene.composition, "figures": str(len(scene.characters))}
    # A roof keeps the weather out.
    if scene.place not in INDOORS:
        values["weather"] = scene.weather
    for i, who in enumerate(scene.characters):
        suffix = "2" if i else ""
        values |= {f"hair{suffix}": who.hair, f"clothes{suffix}": who.clothes}
    if scene.composition == "portrait":
        values["eyes"] = scene.characters[0].eyes
    return values


def readable(scene: Scene) -> set[str]:
    """The attributes of a scene that can be judged at all."""
    return set(values_of(scene))


def score(picture: Pixels, scene: Scene, named: set[str]) -> dict[str, bool]:
    """Which of the named attributes a picture shows as its scene asks; those that cannot be read are left out."""
    found = read(picture, scene.composition, scene.style)
    return {name: found[name] == value for name, value in values_of(scene).items() if name in named}
