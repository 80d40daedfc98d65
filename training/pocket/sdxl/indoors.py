"""The three places with a roof. Each has an opening to the sky, which tells the hour."""

from __future__ import annotations

import numpy as np

from sagaforge.training.pocket.sdxl.canvas import Colour, ellipse, mix, rect, smooth
from sagaforge.training.pocket.sdxl.houses import WOOD, arch, barrel
from sagaforge.training.pocket.sdxl.nature import hill
from sagaforge.training.pocket.sdxl.painter import Painter
from sagaforge.training.pocket.sdxl.sky import paint_sky

BOOKS: tuple[Colour, ...] = (
    (168, 58, 56),
    (58, 92, 148),
    (70, 124, 84),
    (206, 164, 84),
    (112, 72, 128),
    (222, 206, 176),
)


def _view(p: Painter, time: str, x: float, base: float, w: float, h: float) -> None:
    """A tall arched window: frame, sky with sun or moon, bars, and its light on the room."""
    p.shape(arch(x, base + 2, w + 5, h + 5), (140, 104, 78))
    opening = arch(x, base, w, h)
    paint_sky(p, opening, base)
    if time == "night":
        p.canvas.fill(ellipse(x + w * 0.16, base - h * 0.7, w * 0.17, w * 0.17), (252, 246, 220))
        for dx, dy in ((-0.3, 0.5), (-0.2, 0.82), (0.3, 0.4), (-0.05, 0.3)):
            p.canvas.fill(ellipse(x + dx * w, base - dy * h, 0.6, 0.6, num=8), (250, 246, 226))
    elif time != "day":
        p.canvas.fill(ellipse(x, base - h * 0.2, w * 0.25, w * 0.25), (255, 240, 170), within=opening)
    else:
        cloud = smooth(
            [
                (x - w * 0.4, base - h * 0.45),
                (x - w * 0.1, base - h * 0.6),
                (x + w * 0.2, base - h * 0.52),
                (x + w * 0.35, base - h * 0.42),
            ]
        )
        p.canvas.fill(cloud, (255, 255, 255), alpha=0.9, within=opening)
    for dx in (-0.17, 0.17):
        p.line(np.array([(x + dx * w, base), (x + dx * w, base - h * 0.94)]), (96, 70, 56), 1.0)
    for t in (0.33, 0.66):
        p.line(np.array([(x - w / 2, base - h * t), (x + w / 2, base - h * t)]), (96, 70, 56), 1.0)
    p.shape(rect(x - w / 2 - 4, base, w + 8, 3.4), (160, 120, 88))
    p.glow(x, base - h / 2, w * 1.7, p.light.sky[2], 0.16 if p.light.is_dark else 0.3)
    spill = np.array([(x - w * 0.4, 100), (x + w * 0.4, 100), (x + w * 0.9, 130), (x - w * 0.5, 130)], np.float32)
    p.canvas.fill(spill, p.light.key, alpha=0.10 if p.light.is_dark else 0.2, blur=2)


def library(p: Painter, time: str, weather: str, x: float) -> None:
    """Shelves full of books to the ceiling, around a tall window."""
    p.shape(rect(-4, -4, 136, 110), (128, 88, 66), 0.1, line=0)
    left, right = x - 17, x + 17
    _shelves(p, -4, left - 3)
    _shelves(p, right + 3, 132)
    _view(p, time, x, 82, 24, 66)
    p.shape(np.array([(-4, 100), (132, 100), (132, 134), (-4, 134)], np.float32), (150, 96, 62), line=0.8)
    carpet = np.array([(24, 104), (104, 104), (124, 134), (4, 134)], np.float32)
    p.shape(carpet, (152, 50, 62))
    p.line(np.array([(27, 106), (101, 106)]), (232, 190, 110), 0.9)
    lamp = (x + 52) % 128
    p.glow(lamp, 14, 20, p.light.lamp, 0.6)
    p.line(np.array([(lamp, -2), (lamp, 9)]), (60, 50, 50), 0.8)
    p.lit(smooth([(lamp - 4, 16), (lamp - 2.6, 9), (lamp + 2.6, 9), (lamp + 4, 16)]), (255, 224, 140))


def _shelves(p: Painter, left: float, right: float) -> None:
    if right - left < 8:
        return
    p.shape(rect(left, -4, right - left, 105), (104, 68, 50))
    for row in range(5):
        y = 20 + row * 19.5
        p.plain(rect(left + 2, y - 16.5, right - left - 4, 16.5), (62, 38, 36))
        x = left + 2.5
        while x < right - 4.5:
            w, h = p.rng.uniform(2.8, 4.6), p.rng.uniform(11, 15)
            if p.rng.random() < 0.92:
                p.shape(rect(x, y - h, w, h), p.rng.choice(BOOKS), line=0.4)
            x += w + 0.3
        p.shape(rect(left, y, right - left, 2.6), (140, 94, 66), line=0.7)


def tavern(p: Painter, time: str, weather: str, x: float) -> None:
    """A hearth with a fire, beams, barrels, and a window to the street."""
    p.shape(rect(-4, -4, 136, 112), (196, 150, 104), 0.06, line=0)
    for y in (40, 70):
        p.line(np.array([(-4, y), (132, y)]), (170, 124, 84), 0.8)
    p.shape(rect(-4, -4, 136, 13), (98, 64, 48))
    for bx in (22, 64, 106):
        p.shape(rect(bx - 4, -4, 8, 18), (112, 74, 54))
    p.shape(rect(-4, 100, 136, 36), (138, 92, 62), line=0.8)
    for y in (106, 114, 124):
        p.line(np.array([(-4, y), (132, y)]), (96, 60, 46), 0.8)
    _view(p, time, x, 66, 25, 40)
    fire = 108 if x < 64 else 20
    p.shape(rect(fire - 21, 44, 42, 58), (150, 136, 132))
    for i, (dx, y) in enumerate(((-14, 50), (0, 52), (13, 49), (-17, 66), (17, 70), (-16, 84), (17, 88))):
        p.plain(rect(fire + dx - 3.6, y, 7.2, 4 + i % 2), (128, 114, 114))
    p.shape(rect(fire - 24, 40, 48, 6), WOOD)
    p.shape(arch(fire, 102, 25, 38), (38, 24, 30))
    p.glow(fire, 90, 34, (255, 150, 60), 0.7)
    for w, h, colour in ((9, 25, (236, 84, 34)), (6, 18, (255, 164, 48)), (3.2, 11, (255, 238, 150))):
        flame = smooth(
            [
                (fire - w, 100),
                (fire - w * 0.7, 100 - h * 0.5),
                (fire - w * 0.1, 100 - h),
                (fire + w * 0.5, 100 - h * 0.6),
                (fire + w, 100),
            ]
        )
        p.lit(flame, colour)
    for dx in (-6, 5):
        p.shape(ellipse(fire + dx, 101, 8, 2.2), (92, 60, 46))
    barrel(p, 128 - fire, 108, 22, 26)
    barrel(p, 128 - fire + (17 if fire > 64 else -17), 112, 18, 22)
    p.glow(64, 24, 22, p.light.lamp, 0.5)
    p.line(np.array([(64, 12), (64, 19)]), (60, 48, 48), 0.8)
    p.lit(rect(61, 19, 6, 7.5), (255, 222, 130))
    p.shape(np.array([(59.5, 19), (68.5, 19), (64, 15)], np.float32), (66, 54, 56), line=0.5)


def cave(p: Painter, time: str, weather: str, x: float) -> None:
    """Dark rock around an opening to the sky, crystals that glow, and a pool."""
    rock: Colour = (104, 92, 120)
    p.shape(rect(-4, -4, 136, 136), mix(rock, (20, 16, 40), 0.45), line=0)
    mouth = smooth(
        [(x - 25, 84), (x - 29, 60), (x - 22, 36), (x - 6, 22), (x + 12, 25), (x + 25, 42), (x + 29, 64), (x + 25, 84)]
    )
    paint_sky(p, mouth, 78)
    if time == "night":
        p.canvas.fill(ellipse(x + 8, 40, 5.5, 5.5), (252, 246, 220))
    elif time != "day":
        p.canvas.fill(ellipse(x, 66, 7, 7), (255, 240, 170))
    p.canvas.fill(
        smooth([(x - 30, 90), (x - 20, 70), (x - 6, 76), (x + 8, 68), (x + 30, 90)]),
        p.tone((96, 120, 140), 0.7),
        within=mouth,
    )
    p.glow(x, 58, 48, p.light.sky[2], 0.26)
    ring = mix(rock, (30, 22, 50), 0.2)
    for side in (-1, 1):
        wall = [(64 + side * 76, -10), (64 + side * 22, -10), (64 + side * 36, 16), (64 + side * 44, 40)]
        wall += [(64 + side * 47, 70), (64 + side * 40, 104), (64 + side * 76, 134)]
        shape = smooth(wall, steps=3)
        p.shape(shape, ring)
        p.shade(shape + np.array([side * 12, 0], np.float32), shape, 0.3, blur=2)
    for sx, length in ((14, 30), (34, 19), (52, 13), (78, 15), (96, 22), (114, 34)):
        h = length + p.rng.uniform(-3, 3)
        spike = np.array([(sx - 7, -4), (sx + 7, -4), (sx + 1, h)], np.float32)
        p.shape(spike, rock)
        p.shade(rect(sx + 1, -4, 8, h + 4), spike, 0.3)
    floor = hill(p, 99, 1.5, rock, 0.0)
    pool = ellipse(64, 117, 40, 7)
    p.canvas.fill(pool, mix(p.tone((60, 120, 160)), p.styled(p.light.sky[2]), 0.4), within=floor)
    p.canvas.fill(ellipse(64, 115.5, 24, 1.6), (200, 250, 255), alpha=0.3)
    for cx, base, s, colour in (
        (10, 104, 1.3, (70, 232, 240)),
        (118, 104, 1.35, (196, 110, 255)),
        (22, 112, 0.8, (196, 110, 255)),
        (106, 112, 0.8, (70, 232, 240)),
    ):
        _crystals(p, cx, base, s, colour)


def _crystals(p: Painter, x: float, base: float, s: float, colour: Colour) -> None:
    p.glow(x, base - 8 * s, 20 * s, colour, 0.6)
    for dx, lean, h, w in ((-5, -5, 14, 2.6), (5, 6, 16, 2.8), (0, 0, 24, 3.4)):
        tip = (x + (dx + lean) * s, base - h * s)
        left, right = (x + (dx - w) * s, base), (x + (dx + w) * s, base)
        shape = np.array(
            [left, (tip[0] - w * 0.8 * s, tip[1] + 4 * s), tip, (tip[0] + w * 0.8 * s, tip[1] + 4 * s), right]
        )
        p.lit(shape.astype(np.float32), mix(colour, (20, 20, 60), 0.12))
        p.shine(
            np.array([left, (tip[0] - w * 0.8 * s, tip[1] + 4 * s), tip, (x + dx * s, base)]),
            shape,
            0.42,
            (255, 255, 255),
        )
