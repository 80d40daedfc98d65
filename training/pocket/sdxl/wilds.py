"""Places of nature: forest, harbour, mountain, desert, lighthouse.

`x` is where a place's landmark stands: beside the figures, never behind them.
"""

from __future__ import annotations

import numpy as np

from sagaforge.training.pocket.sdxl.canvas import ellipse, mix, rect, smooth
from sagaforge.training.pocket.sdxl.houses import ship, window
from sagaforge.training.pocket.sdxl.nature import (
    EARTH,
    GRASS,
    LEAF,
    PINE,
    ROCK,
    SNOW,
    grass_tufts,
    ground_colour,
    hill,
    peak,
    pine,
    rock,
    water,
)
from sagaforge.training.pocket.sdxl.painter import Painter
from sagaforge.training.pocket.sdxl.sky import draw_sky


def forest(p: Painter, time: str, weather: str, x: float) -> None:
    """Trunks in layers, a canopy above, and a clearing with light."""
    draw_sky(p, time, weather, x, 84)
    p.glow(x, 52, 46, mix(p.light.sky[2], p.light.key, 0.4), 0.5)
    ground = ground_colour((84, 130, 70), weather)
    hill(p, 82, 2, mix(ground, (90, 130, 120), 0.4), 0.7, line=0)
    for depth, num, w in ((0.72, 9, 3.0), (0.42, 7, 5.0)):
        for i in range(num):
            tx = (i + 0.5) * 128 / num + p.rng.uniform(-4, 4)
            p.shape(rect(tx - w / 2, -4, w, 92 + (0.7 - depth) * 14), (104, 82, 70), depth, line=0.6)
        leaf = mix(LEAF, SNOW, 0.4) if weather == "snow" else LEAF
        y = 22 if depth > 0.5 else 13
        xs = np.linspace(-10, 138, 13)
        crown = smooth([*((cx, y + p.rng.uniform(-1, 9)) for cx in xs), (140, -10), (-12, -10)], steps=3)
        p.shape(crown, mix(leaf, (40, 84, 62), 0.5 if depth < 0.5 else 0.2), depth * 0.9, line=0.7)
    bushes = smooth(
        [
            *((bx, 84 - p.rng.uniform(0, 9) * (1 if i % 2 else 0.2)) for i, bx in enumerate(range(-10, 146, 11))),
            (146, 100),
            (-12, 100),
        ]
    )
    p.shape(bushes, mix(ground, (50, 110, 80), 0.55), 0.32, line=0.7)
    if weather == "clear":
        for dx in (-16, 4, 24):
            shaft = [(x + dx, -4), (x + dx + 8, -4), (x + dx - 14, 104), (x + dx - 34, 104)]
            p.canvas.fill(np.array(shaft, np.float32), p.styled(p.light.key), alpha=0.14, blur=1.2)
    hill(p, 93, 2, ground, 0.06)
    for side in (-1, 1):
        tx = 64 + side * 57 + p.rng.uniform(-2, 2)
        trunk = smooth(
            [
                (tx - 8, -6),
                (tx + 8, -6),
                (tx + 7, 50),
                (tx + 9, 92),
                (tx + 16, 112),
                (tx - 16, 112),
                (tx - 9, 92),
                (tx - 7, 50),
            ]
        )
        p.shape(trunk, (92, 66, 54))
        p.shade(rect(tx + 1, -6, 20, 124), trunk, 0.3)
        p.shine(rect(tx - 8, -6, 3.4, 106), trunk, 0.16)
    dark = mix(SNOW, (90, 130, 110), 0.3) if weather == "snow" else (40, 92, 60)
    p.shape(smooth([(-12, -12), (44, -12), (40, 6), (26, 14), (12, 20), (-12, 28)]), dark)
    p.shape(smooth([(140, -12), (84, -12), (90, 7), (104, 13), (116, 21), (140, 28)]), dark)
    for _ in range(5):
        fx, fy = p.rng.uniform(4, 124), p.rng.uniform(104, 124)
        p.plain(ellipse(fx, fy, 1.7, 1.3), p.rng.choice([(226, 80, 70), (250, 226, 140), (236, 236, 250)]))
    grass_tufts(p, 98, mix(ground, (30, 70, 50), 0.4), 16)


def harbour(p: Painter, time: str, weather: str, x: float) -> None:
    """Ships at anchor, a headland behind them, planks and bollards in front."""
    sun = (x + 46) % 128
    draw_sky(p, time, weather, sun, 62)
    p.shape(smooth([(-12, 64), (-8, 52), (18, 50), (34, 58), (52, 63), (52, 68), (-12, 68)]), (96, 128, 112), 0.66)
    p.shape(smooth([(140, 64), (132, 54), (112, 56), (94, 63), (94, 68), (140, 68)]), (96, 128, 112), 0.7)
    water(p, 63, sun)
    ship(p, (x + 58) % 128, 70, 0.55, 0.5)
    ship(p, x, 84, 1.15 + p.rng.uniform(-0.06, 0.06), 0.16)
    p.canvas.fill(ellipse(x, 87.5, 17, 1.8), p.tone((30, 50, 80)), alpha=0.5, blur=0.6)
    deck = ground_colour((170, 124, 84), weather)
    pier = np.array([(-4, 104), (132, 104), (132, 134), (-4, 134)], np.float32)
    p.shape(pier, deck)
    for y in (109, 115, 122):
        p.line(np.array([(-4, y), (132, y)]), mix(deck, (50, 30, 30), 0.5), 0.7)
    for px in (8, 120):
        p.shape(rect(px - 4, 90, 8, 22), (116, 80, 60))
        p.shade(rect(px + 1, 90, 4, 22), rect(px - 4, 90, 8, 22), 0.3)
        p.shape(ellipse(px, 90, 4.4, 1.8), (196, 160, 120))
    p.line(smooth([(8, 96), (36, 104), (64, 106), (92, 104), (120, 96)], closed=False), (226, 204, 160), 1.1)


def mountain(p: Painter, time: str, weather: str, x: float) -> None:
    """Snow-capped peaks over a lake, with pines in front."""
    draw_sky(p, time, weather, (x + 66) % 128, 78)
    for dx, y, half in ((-46, 44, 40), (44, 40, 44)):
        peak(p, x + dx, y, half, 84, 0.72, colour=(120, 126, 156))
    peak(p, x, 17 + p.rng.uniform(-2, 3), 52, 86, 0.4, colour=(116, 116, 140))
    hill(p, 80, 2, ground_colour((92, 136, 110), weather), 0.45)
    water(p, 85, (x + 66) % 128, until=106)
    is_snow = weather == "snow"
    for tx, base, h in ((16, 98, 24), (32, 96, 17), (97, 96, 18), (114, 98, 25)):
        pine(p, tx + p.rng.uniform(-3, 3), base - 9, h, 0.3, snow=is_snow)
    hill(p, 102, 2, ground_colour(GRASS, weather), 0.05)
    for tx, base, h in ((2, 112, 50), (17, 116, 38), (126, 112, 52), (111, 117, 36)):
        pine(p, tx + p.rng.uniform(-2, 2), base, h, 0.0, snow=is_snow)
    grass_tufts(p, 110, mix(PINE, GRASS, 0.3), 8)


def desert(p: Painter, time: str, weather: str, x: float) -> None:
    """Dunes, pyramids and a few cacti."""
    draw_sky(p, time, weather, (x + 60) % 128, 76)
    sand = ground_colour((238, 190, 116), weather)
    for dx, y, half, depth in ((26, 52, 22, 0.5), (0, 36, 34, 0.3)):
        px = x + dx
        shape = np.array([(px, y), (px + half, 80), (px - half, 80)], np.float32)
        p.shape(shape, (224, 176, 112), depth)
        p.shade(np.array([(px, y), (px + half, 80), (px + half * 0.25, 80)]), shape, 0.38, blur=0.2)
        for t in (0.3, 0.5, 0.7, 0.88):
            yy = y + (80 - y) * t
            p.line(np.array([(px - half * t, yy), (px + half * t, yy)]), (186, 136, 84), 0.5, depth)
    for y, depth, flip in ((76, 0.4, 1), (88, 0.16, -1), (104, 0.0, 1)):
        top = smooth(
            [(64 + flip * (cx - 64), y + dy) for cx, dy in ((-14, 4), (20, -3), (52, 3), (88, 6), (116, -1), (144, 3))],
            closed=False,
        )
        shape = np.concatenate([top, np.array([(64 + flip * 80, 136), (64 - flip * 80, 136)], np.float32)])
        p.shape(shape, mix(sand, (214, 140, 84), 0.25 * (1 - depth)), depth, line=0.7)
        lee = ((20, -3), (52, 3), (88, 6), (130, 40), (64, 40), (40, 20), (36, 8))
        p.shade(smooth([(64 + flip * (cx - 64), y + dy) for cx, dy in lee]), shape, 0.16, blur=0.6)
    for cx, base, s in (((x + 74) % 128, 102, 1.25), ((x + 96) % 128, 92, 0.7)):
        green = (84, 140, 84)
        for dx, h, y0 in ((-6, 11, -8), (6, 9, -12)):
            arm = smooth(
                [(cx, base + y0 * s), (cx + dx * s, base + y0 * s), (cx + dx * s, base + (y0 - h) * s)], closed=False
            )
            p.canvas.stroke(arm, p.tone(green, 0.05), 3.4 * s)
        p.shape(
            smooth(
                [
                    (cx - 2.6 * s, base),
                    (cx - 2.6 * s, base - 24 * s),
                    (cx, base - 27 * s),
                    (cx + 2.6 * s, base - 24 * s),
                    (cx + 2.6 * s, base),
                ]
            ),
            green,
            0.05,
        )


def lighthouse(p: Painter, time: str, weather: str, x: float) -> None:
    """A striped lighthouse on a cliff over the sea."""
    sun = (x + 58) % 128
    draw_sky(p, time, weather, sun, 80)
    water(p, 80, sun)
    side = 1 if x >= 64 else -1
    top = 30 + p.rng.uniform(-2, 2)
    if time == "night" or weather == "fog":
        beam = np.array([(x, top - 3), (x - side * 130, top - 24), (x - side * 130, top + 20)], np.float32)
        p.canvas.fill(beam, (255, 246, 200), alpha=0.32, blur=1.5)
    cliff = smooth(
        [
            (x - side * 24, 100),
            (x - side * 19, 80),
            (x - side * 10, 73),
            (x + side * 14, 71),
            (x + side * 50, 66),
            (x + side * 110, 66),
            (x + side * 110, 112),
            (x, 110),
        ],
        steps=3,
    )
    p.shape(cliff, (146, 126, 116), 0.12)
    p.shade(cliff + np.array([0, 14], np.float32), cliff, 0.28)
    turf = smooth(
        [
            (x - side * 12, 76),
            (x - side * 8, 72),
            (x + side * 14, 70),
            (x + side * 50, 65),
            (x + side * 110, 64),
            (x + side * 110, 74),
            (x + side * 20, 77),
        ],
        steps=3,
    )
    p.shape(turf, ground_colour(GRASS, weather), 0.1)
    body = [(x - 4.4, top), (x + 4.4, top), (x + 7, 73), (x - 7, 73)]
    shape = np.array(body, np.float32)
    p.shape(shape, (248, 246, 242), 0.08)
    for t0, t1 in ((0.12, 0.36), (0.6, 0.84)):
        y0, y1 = top + (73 - top) * t0, top + (73 - top) * t1
        w0, w1 = 4.4 + 2.6 * t0, 4.4 + 2.6 * t1
        p.plain(np.array([(x - w0, y0), (x + w0, y0), (x + w1, y1), (x - w1, y1)], np.float32), (214, 58, 58), 0.08)
    p.shade(rect(x + 1.6, top, 8, 60), shape, 0.24)
    p.shape(rect(x - 6, top - 2, 12, 2.4), (70, 66, 80), 0.05)
    p.glow(x, top - 5, 16, p.light.lamp, 0.8 if p.light.is_dark else 0.35)
    p.lit(rect(x - 3.4, top - 8, 6.8, 6.2), (255, 240, 170))
    p.shape(smooth([(x - 5, top - 8), (x, top - 13), (x + 5, top - 8)], steps=3), (214, 58, 58), 0.05)
    window(p, x, 64, 2.4, 3.6, 0.1)
    hill(p, 108, 2.5, ground_colour(mix(GRASS, EARTH, 0.3), weather), 0.0)
    for rx in (12, 116):
        rock(p, rx + p.rng.uniform(-3, 3), 112, 12, 10, 0.02, mix(ROCK, SNOW, 0.6) if weather == "snow" else ROCK)
    grass_tufts(p, 114, mix(GRASS, (40, 80, 60), 0.35), 8)
