"""Things that people built: towers, walls, houses, windows, ships."""

from __future__ import annotations

import numpy as np

from sagaforge.training.pocket.sdxl.canvas import Colour, Points, ellipse, mix, rect, smooth
from sagaforge.training.pocket.sdxl.nature import SNOW
from sagaforge.training.pocket.sdxl.painter import Painter

STONE: Colour = (176, 170, 176)
ROOF: Colour = (176, 70, 62)
WOOD: Colour = (122, 84, 58)
PLASTER: Colour = (236, 216, 182)


def window(p: Painter, x: float, y: float, w: float, h: float, depth: float = 0.0) -> None:
    """A small window: lit in the dark, dark in the light."""
    shape = rect(x - w / 2, y - h / 2, w, h)
    if p.light.is_dark:
        p.glow(x, y, w * 2.4, p.light.lamp, 0.55)
        p.lit(shape, (255, 214, 120))
    else:
        p.plain(shape, (70, 74, 104), depth)


def wall(p: Painter, points: Points, colour: Colour, depth: float) -> None:
    """A wall with its right third in shadow."""
    p.shape(points, colour, depth)
    left, right = float(points[:, 0].min()), float(points[:, 0].max())
    top, bottom = float(points[:, 1].min()), float(points[:, 1].max())
    p.shade(rect(left + (right - left) * 0.62, top, right - left, bottom - top), points, 0.24)


def tower(
    p: Painter,
    x: float,
    base: float,
    w: float,
    h: float,
    depth: float,
    *,
    roof: Colour | None = ROOF,
    snow: bool = False,
) -> None:
    """A round tower, with a pointed roof or with battlements."""
    wall(p, rect(x - w / 2, base - h, w, h), STONE, depth)
    top = base - h
    p.shape(rect(x - w * 0.62, top - 1.5, w * 1.24, 3.2), mix(STONE, (255, 255, 255), 0.12), depth)
    if roof is None:
        for i in (-1, 0, 1):
            p.shape(rect(x + i * w * 0.44 - w * 0.13, top - 4, w * 0.26, 2.8), STONE, depth, line=0.7)
    else:
        cone = np.array([(x, top - w * 1.55), (x + w * 0.72, top - 1), (x - w * 0.72, top - 1)], np.float32)
        p.shape(cone, mix(roof, SNOW, 0.75) if snow else roof, depth)
        p.shade(np.array([(x, top - w * 1.55), (x + w * 0.72, top - 1), (x + w * 0.12, top - 1)]), cone, 0.28)
        flag = top - w * 1.55
        p.line(np.array([(x, flag), (x, flag - 5)]), (90, 80, 90), 0.5, depth)
        p.plain(np.array([(x, flag - 5), (x + 5, flag - 3.6), (x, flag - 2.2)], np.float32), (226, 70, 70), depth * 0.5)
    window(p, x - w * 0.08, top + h * 0.22, w * 0.24, w * 0.4, depth)
    if h > 26:
        window(p, x + w * 0.1, top + h * 0.52, w * 0.24, w * 0.4, depth)


def house(
    p: Painter, x: float, base: float, w: float, h: float, depth: float, roof: Colour, *, snow: bool = False
) -> None:
    """A timber-framed house with its gable to the street."""
    front = np.array(
        [(x - w / 2, base), (x - w / 2, base - h), (x, base - h * 1.5), (x + w / 2, base - h), (x + w / 2, base)]
    )
    wall(p, front.astype(np.float32), PLASTER, depth)
    for dx in (-0.5, -0.16, 0.18, 0.5):
        p.line(np.array([(x + dx * w, base), (x + dx * w, base - h)]), WOOD, 1.0, depth)
    p.line(np.array([(x - w / 2, base - h * 0.5), (x + w / 2, base - h * 0.5)]), WOOD, 1.0, depth)
    p.line(np.array([(x - w / 2, base - h), (x + w / 2, base - h)]), WOOD, 1.0, depth)
    eaves = [
        (x, base - h * 1.68),
        (x + w * 0.62, base - h * 0.92),
        (x + w * 0.54, base - h * 0.82),
        (x, base - h * 1.46),
    ]
    eaves += [(x - w * 0.54, base - h * 0.82), (x - w * 0.62, base - h * 0.92)]
    p.shape(np.array(eaves, np.float32), mix(roof, SNOW, 0.8) if snow else roof, depth)
    for dx in (-0.33, 0.01, 0.34):
        window(p, x + dx * w, base - h * 0.75, w * 0.17, h * 0.26, depth)
    window(p, x, base - h * 1.16, w * 0.16, h * 0.2, depth)
    for dx in (-0.33, 0.34):
        window(p, x + dx * w, base - h * 0.27, w * 0.17, h * 0.26, depth)


def ship(p: Painter, x: float, base: float, s: float, depth: float) -> None:
    """A sailing ship with two masts."""
    hull = [
        (x - 15 * s, base - 5 * s),
        (x + 16 * s, base - 6 * s),
        (x + 11 * s, base + 2 * s),
        (x - 11 * s, base + 2 * s),
    ]
    for dx, h in ((-5, 30), (6, 25)):
        p.line(np.array([(x + dx * s, base - 4 * s), (x + dx * s, base - h * s)]), WOOD, 1.0 * s, depth)
        for y0, y1, w in ((h - 2, h * 0.64, 5.2), (h * 0.59, 9, 6.8)):
            corners = (
                (-1, y1),
                (-0.86, (y0 + y1) / 2),
                (-0.66, y0),
                (0.66, y0),
                (0.98, (y0 + y1) / 2),
                (1.06, y1),
                (0, y1 + 1.6),
            )
            sail = np.array([(x + (dx + t * w) * s, base - y * s) for t, y in corners], np.float32)
            p.shape(sail, (250, 240, 220), depth, line=0.7)
            p.shade(sail + np.array([w * s * 0.8, 0], np.float32), sail, 0.2)
    p.shape(np.array(hull, np.float32), (120, 72, 52), depth)
    p.line(np.array([(x - 14 * s, base - 3.2 * s), (x + 14.5 * s, base - 4 * s)]), (226, 180, 90), 0.8 * s, depth)
    window(p, x + 9 * s, base - 1.5 * s, 2 * s, 1.8 * s, depth)


def street_lamp(p: Painter, x: float, base: float, h: float) -> None:
    p.line(np.array([(x, base), (x, base - h)]), (52, 48, 62), 1.3)
    top = base - h
    if p.light.is_dark:
        p.glow(x, top - 2, 14, p.light.lamp, 0.8)
    lamp = np.array([(x - 2.2, top), (x + 2.2, top), (x + 2.8, top - 4.6), (x - 2.8, top - 4.6)], np.float32)
    if p.light.is_dark:
        p.lit(lamp, (255, 222, 140))
    else:
        p.shape(lamp, (236, 226, 196))
    p.plain(np.array([(x - 3.4, top - 4.4), (x + 3.4, top - 4.4), (x, top - 7.4)], np.float32), (52, 48, 62))


def arch(x: float, base: float, w: float, h: float) -> Points:
    """The outline of a round-headed opening."""
    a = np.linspace(np.pi, 2 * np.pi, 14)
    top = base - h + w / 2
    head = np.stack([x + w / 2 * np.cos(a), top + w / 2 * np.sin(a)], axis=1)
    return np.concatenate([head, [(x + w / 2, base), (x - w / 2, base)]]).astype(np.float32)


def barrel(p: Painter, x: float, base: float, w: float, h: float) -> None:
    body = smooth(
        [
            (x - w * 0.42, base - h),
            (x + w * 0.42, base - h),
            (x + w * 0.54, base - h / 2),
            (x + w * 0.42, base),
            (x - w * 0.42, base),
            (x - w * 0.54, base - h / 2),
        ],
        steps=4,
    )
    p.shape(body, (150, 98, 58))
    p.shade(body + np.array([w * 0.55, 0], np.float32), body, 0.3)
    for t in (0.22, 0.78):
        p.line(np.array([(x - w * 0.5, base - h * t), (x + w * 0.5, base - h * t)]), (84, 76, 84), 1.0)
    p.shape(ellipse(x, base - h, w * 0.4, h * 0.09), (176, 124, 76), line=0.7)
