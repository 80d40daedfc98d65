"""Things of a landscape: ridges, hills, trees, water, rocks and grass."""

from __future__ import annotations

import numpy as np

from sagaforge.training.pocket.sdxl.canvas import Colour, Points, ellipse, mix, rect, smooth
from sagaforge.training.pocket.sdxl.painter import Painter

GRASS: Colour = (98, 158, 82)
PINE: Colour = (44, 98, 78)
LEAF: Colour = (86, 148, 66)
ROCK: Colour = (128, 122, 132)
EARTH: Colour = (160, 126, 92)
SNOW: Colour = (240, 246, 255)
WATER: Colour = (62, 128, 178)


def ground_colour(base: Colour, weather: str) -> Colour:
    """What lies on the ground: snow covers it, rain darkens it."""
    if weather == "snow":
        return mix(base, SNOW, 0.86)
    return mix(base, (60, 70, 90), 0.3) if weather == "rain" else base


def hill(p: Painter, y: float, swing: float, colour: Colour, depth: float, *, line: float = 1.0) -> Points:
    """A soft ridge over the whole width, down to the bottom."""
    xs = np.linspace(-12, 140, 8)
    ys = [y + p.rng.uniform(-swing, swing) for _ in xs]
    top = smooth(np.stack([xs, ys], axis=1), closed=False)
    shape = np.concatenate([top, np.array([(140, 136), (-12, 136)], np.float32)])
    p.shape(shape, colour, depth, line=line)
    return shape


def peak(p: Painter, x: float, y: float, half: float, base: float, depth: float, *, colour: Colour = ROCK) -> None:
    """A mountain with a shaded side and a cap of snow."""
    rng = p.rng
    left = [(x - half * t, y + (base - y) * t + rng.uniform(-1.5, 1.5)) for t in (0.25, 0.5, 0.75)]
    right = [(x + half * t, y + (base - y) * t + rng.uniform(-1.5, 1.5)) for t in (0.25, 0.5, 0.75)]
    outline = [(x, y), *right, (x + half, base), (x - half, base), *reversed(left)]
    shape = np.array(outline, np.float32)
    p.shape(shape, colour, depth)
    side = [(x, y), *right, (x + half, base), (x + half * 0.2, base), (x + half * 0.1, y + (base - y) * 0.6)]
    p.shade(np.array([*side, (x - half * 0.06, y + (base - y) * 0.3)], np.float32), shape, 0.26)
    drop = (base - y) * 0.34
    w = half * 0.34
    cap = [(x, y), (x + w, y + drop), (x + w * 0.5, y + drop * 0.74), (x + w * 0.1, y + drop * 1.1)]
    cap += [(x - w * 0.35, y + drop * 0.72), (x - w, y + drop)]
    p.canvas.fill(np.array(cap, np.float32), p.tone(SNOW, depth * 0.7), alpha=0.95, within=shape)
    p.shade(np.array([(x, y), (x + w, y + drop), (x + w * 0.3, y + drop), (x + w * 0.08, y + drop * 0.5)]), shape, 0.16)


def pine(
    p: Painter, x: float, base: float, height: float, depth: float, colour: Colour = PINE, snow: bool = False
) -> None:
    half = height * 0.27
    p.shape(rect(x - height * 0.035, base - height * 0.14, height * 0.07, height * 0.14), (92, 66, 52), depth, line=0)
    points = [(x, base - height)]
    for t, w in ((0.38, 0.5), (0.34, 0.3), (0.66, 0.8), (0.62, 0.55), (0.9, 1.0)):
        points.append((x + half * w, base - height * (1 - t)))
    points += [(2 * x - px, py) for px, py in reversed(points[1:])]
    shape = np.array(points, np.float32)
    p.shape(shape, mix(colour, SNOW, 0.42) if snow else colour, depth)
    p.shade(
        np.array([(x, base - height), (x + half, base - height * 0.1), (x + half * 0.2, base - height * 0.1)]),
        shape,
        0.24,
    )


def round_tree(p: Painter, x: float, base: float, height: float, depth: float, colour: Colour = LEAF) -> None:
    w = height * 0.34
    p.shape(rect(x - height * 0.05, base - height * 0.45, height * 0.1, height * 0.45), (104, 74, 56), depth, line=0.8)
    y = base - height * 0.66
    crown = [(x - w, y + w * 0.3), (x - w * 0.85, y - w * 0.5), (x - w * 0.2, y - w), (x + w * 0.5, y - w * 0.85)]
    crown += [(x + w, y - w * 0.1), (x + w * 0.8, y + w * 0.6), (x, y + w * 0.75), (x - w * 0.7, y + w * 0.7)]
    shape = smooth(crown)
    p.shape(shape, colour, depth)
    p.shade(shape + np.array([w * 0.5, w * 0.55], np.float32), shape, 0.26)
    p.shine(ellipse(x - w * 0.4, y - w * 0.5, w * 0.36, w * 0.24), shape, 0.3)


def rock(p: Painter, x: float, base: float, w: float, h: float, depth: float, colour: Colour = ROCK) -> None:
    points = [(x - w, base), (x - w * 0.8, base - h * 0.6), (x - w * 0.2, base - h), (x + w * 0.5, base - h * 0.8)]
    shape = np.array([*points, (x + w, base)], np.float32)
    p.shape(shape, colour, depth)
    p.shade(np.array([(x - w * 0.1, base - h), (x + w, base - h), (x + w, base), (x + w * 0.1, base)]), shape, 0.3)


def water(p: Painter, y: float, sun_x: float, *, until: float = 136) -> None:
    """A sheet of water: the sky's colours turned over, with a path of light below the sun or the moon."""
    near, far = p.tone(WATER), p.tone(WATER, 0.75)
    sheet = rect(-4, y, 136, until - y)
    low = mix(far, p.styled(p.light.sky[2]), 0.55)
    p.canvas.gradient(sheet, low, mix(near, p.styled(p.light.sky[0]), 0.3), (0, y), (0, until))
    glint = p.styled(p.light.key)
    for i in range(9):
        t = i / 8
        yy = y + 1.5 + t * (until - y) * 0.6
        w = (2.5 + 6.5 * t) * p.rng.uniform(0.6, 1.2)
        x = sun_x + p.rng.uniform(-2, 2) * (1 + t)
        p.canvas.fill(ellipse(x, yy, w, 0.55 + 0.5 * t, num=12), glint, alpha=0.62)
    for _ in range(9):
        yy = y + p.rng.uniform(0.06, 0.9) * (until - y)
        w = 3 + (yy - y) * 0.2
        p.canvas.fill(ellipse(p.rng.uniform(0, 128), yy, w, 0.5, num=10), p.styled(p.light.sky[2]), alpha=0.35)


def grass_tufts(p: Painter, y: float, colour: Colour, num: int) -> None:
    for _ in range(num):
        x, yy = p.rng.uniform(0, 128), p.rng.uniform(y, 126)
        h = 2 + (yy - y) * 0.08
        blade = [(x - 1.6, yy), (x - 1.5, yy - h), (x - 0.4, yy - 0.6), (x, yy - h * 1.3), (x + 0.5, yy - 0.6)]
        p.plain(np.array([*blade, (x + 1.7, yy - h), (x + 1.6, yy)], np.float32), colour)
