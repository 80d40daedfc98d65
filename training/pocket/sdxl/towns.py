"""Places that people built: castle, village, city, ruins.

`x` is where a place's landmark stands: beside the figures, never behind them.
"""

from __future__ import annotations

import numpy as np

from sagaforge.training.pocket.sdxl.canvas import Colour, ellipse, mix, rect, smooth
from sagaforge.training.pocket.sdxl.houses import STONE, arch, house, street_lamp, tower, wall
from sagaforge.training.pocket.sdxl.nature import (
    GRASS,
    SNOW,
    grass_tufts,
    ground_colour,
    hill,
    round_tree,
)
from sagaforge.training.pocket.sdxl.painter import CYAN, MAGENTA, Painter
from sagaforge.training.pocket.sdxl.sky import draw_sky


def castle(p: Painter, time: str, weather: str, x: float) -> None:
    """A castle on a hill, with a path that winds up to it."""
    is_snow = weather == "snow"
    draw_sky(p, time, weather, (x + 62) % 128, 74)
    hill(p, 66, 4, (110, 140, 150), 0.75)
    grass = ground_colour(GRASS, weather)
    mound = smooth([(x - 60, 100), (x - 34, 80), (x - 18, 71), (x + 18, 71), (x + 34, 80), (x + 60, 100), (x, 136)])
    p.shape(mound, mix(grass, (70, 110, 100), 0.3), 0.35)
    roof = p.rng.choice([(66, 88, 168), (176, 70, 62)])
    tower(p, x, 72, 13, 46 + p.rng.uniform(-3, 3), 0.34, roof=roof, snow=is_snow)
    tower(p, x - 12, 74, 9, 34, 0.28, roof=roof, snow=is_snow)
    tower(p, x + 12, 74, 9, 36, 0.28, roof=roof, snow=is_snow)
    wall(p, rect(x - 24, 58, 48, 18), STONE, 0.2)
    for i in range(9):
        p.shape(rect(x - 24 + i * 5.6, 55.4, 3.2, 3.0), STONE, 0.2, line=0.6)
    tower(p, x - 25, 78, 9, 27, 0.16, roof=roof, snow=is_snow)
    tower(p, x + 25, 78, 9, 27, 0.16, roof=roof, snow=is_snow)
    p.shape(arch(x, 76.5, 9, 12), (70, 50, 52), 0.1)
    hill(p, 88, 3, grass, 0.08)
    path = smooth(
        [(x - 3, 77), (x + 3, 77), (x + 8, 86), (64, 98), (78, 112), (96, 134), (40, 134), (48, 110), (x - 2, 88)]
    )
    p.plain(path, ground_colour((222, 196, 146), weather), 0.05)
    grass_tufts(p, 96, mix(grass, (40, 80, 60), 0.35), 14)


def village(p: Painter, time: str, weather: str, x: float) -> None:
    """A street between timber-framed houses."""
    is_snow = weather == "snow"
    draw_sky(p, time, weather, 64, 80)
    hill(p, 70, 4, (110, 150, 130), 0.75)
    roofs: list[Colour] = [(184, 82, 60), (150, 70, 76), (84, 104, 150)]
    for hx, base, w, h, depth in ((46, 84, 17, 15, 0.5), (82, 84, 17, 15, 0.52), (64, 82, 11, 10, 0.62)):
        house(p, hx, base, w, h, depth, roofs[int(hx) % 3], snow=is_snow)
    ground = ground_colour((190, 172, 152), weather)
    p.shape(rect(-4, 83, 136, 53), ground, 0.1, line=0)
    house(p, 26, 92, 27, 25, 0.22, p.rng.choice(roofs), snow=is_snow)
    house(p, 103, 92, 27, 25, 0.24, p.rng.choice(roofs), snow=is_snow)
    house(p, 4, 104, 34, 37, 0.04, p.rng.choice(roofs), snow=is_snow)
    house(p, 125, 104, 34, 37, 0.06, p.rng.choice(roofs), snow=is_snow)
    lane = smooth([(57, 84), (71, 84), (78, 98), (108, 134), (20, 134), (50, 98)], steps=4)
    p.shape(lane, mix(ground, (255, 236, 206), 0.4), 0.05, line=0.5)
    for i in range(14):
        cy = 90 + i * 3
        cx = 64 + p.rng.uniform(-1, 1) * (4 + (cy - 84) * 0.55)
        p.plain(ellipse(cx, cy, 1.6 + (cy - 84) * 0.05, 0.9, num=12), mix(ground, (110, 96, 100), 0.3))
    street_lamp(p, 34 if x > 64 else 96, 106, 40)


def city(p: Painter, time: str, weather: str, x: float) -> None:
    """Tall towers with rows of windows, signs in neon, and a wet street."""
    draw_sky(p, time, weather, (x + 30) % 128, 92)
    is_dark = p.light.is_dark or p.style == "neon"
    for depth, num, low, high in ((0.72, 11, 34, 66), (0.4, 8, 26, 56)):
        for i in range(num):
            w = 128 / num * p.rng.uniform(0.8, 1.02)
            bx = (i + 0.5) * 128 / num
            top = p.rng.uniform(low, high) + abs(bx - x) * 0.12 - 8
            body = rect(bx - w / 2, top, w, 110 - top)
            stone = (112, 118, 146) if depth > 0.5 else ((96, 98, 130), (74, 86, 128), (112, 92, 120))[i % 3]
            if i % 3 == 0:
                p.line(np.array([(bx, top - 10), (bx, top)]), stone, 0.7, depth)
                p.shape(rect(bx - w * 0.28, top - 4, w * 0.56, 6), stone, depth, line=0.6)
            p.shape(body, stone, depth, line=0.6)
            if depth < 0.5:
                _windows(p, bx - w / 2, top, w, 98 - top, depth, is_dark)
    for bx, w, top in ((4, 30, 10), (124, 30, 14)):
        body = rect(bx - w / 2, top + p.rng.uniform(-4, 4), w, 104)
        p.shape(body, (70, 74, 106), 0.1)
        p.shade(rect(bx + 3, top, w, 104), body, 0.24)
        _windows(p, bx - w / 2, top + 3, w, 84, 0.0, is_dark, step=6.0)
    road = (92, 94, 112)
    p.shape(rect(-4, 98, 136, 40), road, 0.05, line=0)
    for sx, colour, h in ((22.5, MAGENTA, 18), (105.5, CYAN, 22)):
        sign = rect(sx - 2.4, 42, 4.8, h)
        if is_dark:
            p.glow(sx, 42 + h / 2, 15, colour, 0.6)
            p.lit(sign, colour)
            p.canvas.fill(rect(sx - 3.5, 100, 7, 22), colour, alpha=0.42, blur=2)
        else:
            p.shape(sign, colour)
    for side in (-1, 1):
        kerb = [(64 + side * 22, 98), (64 + side * 80, 98), (64 + side * 80, 128), (64 + side * 62, 134)]
        p.shape(np.array(kerb, np.float32), (128, 128, 142), 0.05, line=0.6)
    for y0, y1, w in ((100, 104, 1.2), (107, 113, 2.0), (117, 127, 3.2)):
        p.plain(np.array([(64 - w, y0), (64 + w, y0), (64 + w * 1.3, y1), (64 - w * 1.3, y1)]), (236, 216, 150))
    p.canvas.fill(ellipse(64, 101, 60, 6), p.styled(p.light.sky[2]), alpha=0.25, blur=2)


def _windows(
    p: Painter, left: float, top: float, w: float, h: float, depth: float, lit: bool, step: float = 5.0
) -> None:
    num = max(2, int(w / step))
    for row in range(int(h / (step * 1.25))):
        y = top + 3 + row * step * 1.25
        for i in range(num):
            shape = rect(left + (i + 0.28) * w / num, y, w / num * 0.46, step * 0.62)
            if not lit:
                p.plain(shape, (178, 206, 228), depth)
            elif p.rng.random() < 0.6:
                p.canvas.fill(shape, (255, 214, 120) if p.rng.random() < 0.8 else (120, 226, 255))


def ruins(p: Painter, time: str, weather: str, x: float) -> None:
    """Old columns, whole and broken, in a green place."""
    draw_sky(p, time, weather, (x + 52) % 128, 78)
    hill(p, 70, 4, (110, 148, 130), 0.72)
    for tx in (20, 58, 96):
        round_tree(p, tx + p.rng.uniform(-6, 6), 84, 24, 0.55)
    grass = ground_colour((112, 162, 88), weather)
    hill(p, 84, 2, grass, 0.2)
    marble = mix((224, 214, 198), SNOW, 0.5) if weather == "snow" else (224, 214, 198)
    p.shape(rect(x - 32, 82, 64, 4), marble, 0.16)
    p.shape(rect(x - 35, 86, 70, 4), marble, 0.14)
    for i, dx in enumerate((-26, -9, 9, 26)):
        _column(p, x + dx, 82, 6.4, 42, 0.18, marble, is_whole=i != 3)
    p.shape(np.array([(x - 33, 34), (x + 14, 34), (x + 16, 41), (x - 33, 41)], np.float32), marble, 0.16)
    p.shape(np.array([(x - 34, 34), (x - 8, 22), (x + 8, 29), (x + 14, 34)], np.float32), marble, 0.18)
    hill(p, 100, 2, grass, 0.02)
    for cx, h in ((6, 62), (122, 48)):
        _column(p, cx, 108, 11, h, 0.0, marble, is_whole=h > 50)
    grass_tufts(p, 104, mix(grass, (40, 90, 60), 0.35), 14)


def _column(
    p: Painter, x: float, base: float, w: float, h: float, depth: float, colour: Colour, *, is_whole: bool
) -> None:
    top = base - h * (1 if is_whole else 0.6)
    if is_whole:
        shape = rect(x - w / 2, top, w, base - top)
    else:
        shape = np.array(
            [(x - w / 2, base), (x - w / 2, top + 3), (x, top - 2), (x + w / 2, top + 5), (x + w / 2, base)], np.float32
        )
    p.shape(shape, colour, depth)
    p.shade(rect(x + w * 0.1, top, w, base - top), shape, 0.28)
    for dx in (-0.2, 0.05):
        p.line(np.array([(x + dx * w, top + 5), (x + dx * w, base)]), mix(colour, (90, 80, 90), 0.4), 0.5, depth)
    p.shape(rect(x - w * 0.66, base - w * 0.4, w * 1.32, w * 0.4), colour, depth, line=0.8)
    if is_whole:
        p.shape(rect(x - w * 0.68, top - w * 0.3, w * 1.36, w * 0.45), colour, depth, line=0.8)
