"""A head: hair behind it, a face with readable eyes, and the hair in front; in units of half a head's height."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sagaforge.training.pocket.sdxl.canvas import Colour, Points, ellipse, mix, smooth
from sagaforge.training.pocket.sdxl.painter import INK, Painter
from sagaforge.training.pocket.sdxl.palette import EYES, HAIR, SKIN
from sagaforge.training.pocket.sdxl.scenes import Character

Place = Callable[[object], Points]


@dataclass(frozen=True)
class Frame:
    """Where a figure is: the middle of its face and half of its head's height, in canvas units."""

    x: float
    y: float
    r: float

    def __call__(self, points: object) -> Points:
        return np.asarray(points, np.float32) * self.r + np.array([self.x, self.y], np.float32)

    def curve(self, points: object, *, closed: bool = True, steps: int = 5) -> Points:
        return smooth(self(points), closed=closed, steps=steps)

    def oval(self, x: float, y: float, rx: float, ry: float) -> Points:
        return ellipse(self.x + x * self.r, self.y + y * self.r, rx * self.r, ry * self.r)


def _mirrored(half: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """A closed outline from its right half, given from top to bottom."""
    return half + [(-x, y) for x, y in reversed(half) if x != 0]


def draw_hair_behind(p: Painter, f: Frame, who: Character) -> None:
    """What hangs or stands out behind the head and the body."""
    base = HAIR[who.hair]
    back = mix(base, (24, 14, 48), 0.22)
    if who.hair_style == "bob":
        p.shape(f.curve(_mirrored([(0, -1.1), (0.9, -0.8), (1.2, 0.1), (1.14, 0.8), (0.8, 1.12), (0, 1.1)])), back)
    elif who.hair_style == "long":
        outline = [(0, -1.1), (0.95, -0.8), (1.22, 0.2), (1.28, 1.4), (1.34, 2.5), (0.95, 3.15), (0.5, 3.0), (0, 2.9)]
        p.shape(f.curve(_mirrored(outline)), back)
    elif who.hair_style == "ponytail":
        tail = [(0.3, -0.95), (1.0, -1.2), (1.55, -0.7), (1.7, 0.3), (1.62, 1.3), (1.9, 2.1), (1.35, 1.7), (1.2, 0.6)]
        shape = f.curve([*tail, (0.95, -0.3)])
        p.shape(shape, base)
        p.shade(f.curve([(0.9, -0.6), (1.25, -0.2), (1.35, 0.8), (1.6, 1.9), (1.1, 1.5), (1.0, 0)]), shape, 0.3)
        p.shape(f.oval(0.72, -0.86, 0.2, 0.2), (214, 66, 84))
    elif who.hair_style == "twintails":
        for side in (-1, 1):
            tail = [(0.7, -0.75), (1.25, -0.85), (1.65, -0.2), (1.72, 0.8), (1.6, 1.8), (1.72, 2.5), (1.2, 2.1)]
            shape = f.curve([(side * x, y) for x, y in [*tail, (1.14, 1.0), (1.0, 0.1)]])
            p.shape(shape, base)
            inner = [(0.9, -0.4), (1.25, 0.2), (1.32, 1.2), (1.45, 2.2), (1.1, 1.8), (1.0, 0.5)]
            p.shade(f.curve([(side * x, y) for x, y in inner]), shape, 0.3)
            p.shape(f.oval(side * 0.86, -0.72, 0.17, 0.2), (214, 66, 84))
    elif who.hair_style == "bun":
        shape = f.oval(0, -1.34, 0.5, 0.44)
        p.shape(shape, base)
        p.shade(f.curve([(-0.5, -1.25), (0, -1.1), (0.5, -1.25), (0.4, -0.9), (-0.4, -0.9)]), shape, 0.4)
        p.shine(f.oval(-0.12, -1.52, 0.22, 0.09), shape, 0.4)


def draw_head(p: Painter, f: Frame, who: Character) -> None:
    """The face, then the hair in front of it."""
    skin = SKIN[who.skin]
    is_man = who.person == "man"
    neck = f([(-0.28, 0.7), (0.28, 0.7), (0.32, 1.5), (0, 1.62), (-0.32, 1.5)])
    p.shape(neck, skin)
    p.shade(f.curve([(-0.4, 0.7), (0.4, 0.7), (0.36, 1.22), (0, 1.4), (-0.36, 1.22)]), neck, 0.36)
    for side in (-1, 1):
        p.shape(f.oval(side * 0.9, 0.2, 0.14, 0.2), mix(skin, (150, 60, 50), 0.15))
    jaw = [(0.72, 0.72), (0.38, 1.03), (0, 1.1)] if is_man else [(0.64, 0.66), (0.27, 0.96), (0, 1.04)]
    face = f.curve(_mirrored([(0, -1.0), (0.6, -0.88), (0.9, -0.3), (0.87, 0.24), *jaw]))
    p.shape(face, skin)
    # The hair's shadow on the forehead, and the side that is turned from the light.
    p.shade(
        f.curve([(-0.95, -0.9), (0.95, -0.9), (0.9, 0.0), (0.4, 0.06), (-0.1, 0.1), (-0.6, 0.06)]),
        face,
        0.2,
        hatch=False,
    )
    p.shade(f.curve([(0.66, -0.6), (1.1, -0.4), (1.0, 0.9), (0.3, 1.2), (0.62, 0.6)]), face, 0.16, hatch=False)
    _draw_features(p, f, who, skin)
    _draw_hair(p, f, who)


def _draw_features(p: Painter, f: Frame, who: Character, skin: Colour) -> None:
    is_man, is_large = who.person == "man", f.r > 14
    for side in (-1, 1):
        p.shine(f.oval(side * 0.52, 0.6, 0.2, 0.1), f.oval(side * 0.5, 0.6, 0.3, 0.3), 0.26, (236, 88, 88))
        _draw_eye(p, f, who, side)
        brow = [(side * 0.22, -0.2), (side * 0.44, -0.29), (side * 0.66, -0.21)]
        p.line(f.curve(brow, closed=False), mix(HAIR[who.hair], (30, 18, 20), 0.55), (0.085 if is_man else 0.055) * f.r)
    dark = mix(skin, (120, 30, 40), 0.55)
    if is_large:
        p.line(f.curve([(0.02, 0.42), (0.07, 0.53), (-0.01, 0.56)], closed=False), dark, 0.045 * f.r)
        p.line(
            f.curve([(-0.2, 0.73), (-0.08, 0.79), (0.08, 0.79), (0.2, 0.72)], closed=False),
            mix(dark, (110, 20, 40), 0.5),
            0.055 * f.r,
        )
        if not is_man:
            p.shine(f.oval(0, 0.84, 0.1, 0.035), f.oval(0, 0.84, 0.2, 0.1), 0.4, (214, 84, 96))
    else:
        p.line(f([(-0.15, 0.68), (0, 0.76), (0.15, 0.68)]), dark, 0.06 * f.r)


def _draw_eye(p: Painter, f: Frame, who: Character, side: int) -> None:
    """White, iris, pupil, glint and lash. An iris keeps its colour at night and in every style."""
    tall = 0.22 if who.person == "man" else 0.27
    x, y = side * 0.41, 0.27
    white = f.oval(x, y, 0.225, tall)
    canvas = p.canvas
    canvas.fill(white, mix((255, 252, 250), p.tone((255, 252, 250)), 0.5))
    iris = EYES[who.eyes]
    tone = mix(iris, p.tone(iris), 0.35)
    ix = x - side * 0.01
    canvas.fill(f.oval(ix, y + 0.01, 0.185, tall * 0.96), mix(tone, (10, 6, 24), 0.45))
    canvas.fill(f.oval(ix, y + 0.05, 0.16, tall * 0.76), tone)
    canvas.fill(f.oval(ix, y + tall * 0.5, 0.1, tall * 0.26), mix(tone, (255, 255, 255), 0.35))
    canvas.fill(f.oval(ix, y, 0.07, tall * 0.36), mix(tone, (6, 4, 16), 0.85))
    canvas.fill(f.oval(ix - 0.07, y - tall * 0.36, 0.06, 0.075), (255, 255, 255))
    lash = INK if p.style == "ink" else mix(p.tone(HAIR[who.hair]), (20, 10, 24), 0.8)
    top = [(x - side * 0.21, y - tall * 0.4), (x - side * 0.08, y - tall * 0.92), (x + side * 0.12, y - tall * 0.9)]
    canvas.stroke(f.curve([*top, (x + side * 0.28, y - tall * 0.34)], closed=False), lash, 0.085 * f.r)
    if p.shine_layer is not None:
        p.shine_layer.fill(f.oval(ix, y + 0.05, 0.14, tall * 0.6), mix((0, 0, 0), tone, 0.5))


def _draw_hair(p: Painter, f: Frame, who: Character) -> None:
    base = HAIR[who.hair]
    crown = [(-1.0, 0.3), (-1.1, -0.35), (-0.8, -0.98), (0, -1.27), (0.8, -0.98), (1.1, -0.35), (1.0, 0.3)]
    if who.person == "man":
        bangs = [(0.9, 0.2), (0.82, -0.28), (0.5, -0.5), (0.1, -0.34), (-0.3, -0.2), (-0.62, -0.24), (-0.84, 0.2)]
    elif who.hair_style in ("bun", "ponytail"):
        bangs = [(0.9, 0.5), (0.82, -0.1), (0.56, -0.42), (0.2, -0.56), (-0.12, -0.3), (-0.5, -0.1), (-0.78, -0.2)]
        bangs += [(-0.9, 0.5)]
    else:
        bangs = [(0.9, 0.62), (0.8, -0.12), (0.58, -0.34), (0.36, -0.1), (0.16, -0.36), (-0.1, -0.12), (-0.28, -0.36)]
        bangs += [(-0.5, -0.1), (-0.66, -0.34), (-0.8, -0.1), (-0.9, 0.62)]
    cap = f.curve(crown + bangs)
    p.shape(cap, base)
    p.shade(f.curve([(0.5, -1.2), (1.2, -0.7), (1.2, 0.6), (0.84, 0.7), (0.8, -0.3), (0.62, -0.7)]), cap, 0.3)
    p.shade(
        f.curve([(-0.95, -0.42), (0, -0.5), (0.95, -0.42), (0.9, 0.4), (0, 0.0), (-0.9, 0.4)]), cap, 0.15, hatch=False
    )
    band = [(-0.88, -0.62), (-0.4, -0.86), (0.1, -0.92), (0.5, -0.84), (0.48, -0.72), (0.08, -0.78), (-0.38, -0.7)]
    p.shine(f.curve([*band, (-0.84, -0.48)]), cap, 0.42, mix(base, (255, 255, 255), 0.75))
    if f.r > 14:
        strand = mix(base, (24, 12, 40), 0.38)
        for x0, x1 in ((-0.5, -0.42), (0.12, 0.18), (0.55, 0.6)):
            p.line(f.curve([(x0 * 0.5, -1.15), (x0, -0.75), (x1, -0.4)], closed=False), strand, 0.035 * f.r)
    if who.hair_style in ("long", "bob", "twintails") and who.person == "woman":
        end = {"long": 2.1, "bob": 1.05}.get(who.hair_style, 0.95)
        for side in (-1, 1):
            lock = [(0.8, -0.3), (1.06, -0.2), (1.12, end * 0.5), (1.0, end), (0.84, end * 0.6), (0.82, 0.2)]
            shape = f.curve([(side * x, y) for x, y in lock])
            p.shape(shape, base, line=0.8)
    rim = [(-1.1, 0.3), (-1.16, -0.4), (-0.84, -1.04), (-0.1, -1.3), (-0.1, -1.2), (-0.74, -0.92), (-1.0, -0.35)]
    p.shine(f.curve(rim), cap, 0.55)
