"""A scene as a picture: sky and place, mist, figures, weather, and what the style does last.

Drawn by OpenCV alone, without a display or fonts: one seed gives one picture.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from sagaforge.training.pocket.sdxl import indoors, towns, wilds
from sagaforge.training.pocket.sdxl.canvas import Pixels
from sagaforge.training.pocket.sdxl.figure import LANDMARK, draw_figure, frames_of
from sagaforge.training.pocket.sdxl.finish import finish
from sagaforge.training.pocket.sdxl.painter import Painter
from sagaforge.training.pocket.sdxl.palette import light_of
from sagaforge.training.pocket.sdxl.scenes import Scene
from sagaforge.training.pocket.sdxl.sky import draw_fog, draw_weather

SIZE = 128
Place = Callable[[Painter, str, str, float], None]
_PLACES: dict[str, Place] = {
    "castle": towns.castle,
    "forest": wilds.forest,
    "harbour": wilds.harbour,
    "village": towns.village,
    "mountain": wilds.mountain,
    "desert": wilds.desert,
    "city": towns.city,
    "lighthouse": wilds.lighthouse,
    "ruins": towns.ruins,
    "library": indoors.library,
    "tavern": indoors.tavern,
    "cave": indoors.cave,
}


def draw(scene: Scene, size: int = SIZE) -> Pixels:
    """The picture of a scene, RGB."""
    rng = random.Random(f"drawing {scene.seed}")
    light = light_of(scene.time, scene.weather, scene.style)
    p = Painter(size, scene.style, light, rng)
    frames = frames_of(scene.composition, rng)
    landmark = LANDMARK[scene.composition] + rng.uniform(-3, 3)
    _PLACES[scene.place](p, scene.time, scene.weather, landmark)
    draw_fog(p, scene.weather)
    for frame, who in zip(frames, scene.characters, strict=True):
        draw_figure(p, frame, who)
    draw_weather(p, scene.weather)
    return finish(p)
