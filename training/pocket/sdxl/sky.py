"""The sky with its sun, moon, stars and clouds; rain, snow and fog in front of a place."""

from __future__ import annotations

import numpy as np

from sagaforge.training.pocket.sdxl.canvas import Colour, Points, ellipse, mix, rect, saturated
from sagaforge.training.pocket.sdxl.painter import PAPER, Painter


def _sky_tone(p: Painter, colour: Colour) -> Colour:
    if p.style == "ink":
        return mix(saturated(colour, 0.8), PAPER, 0.3)
    if p.style == "watercolour":
        return mix(saturated(colour, 1.1), PAPER, 0.14)
    return saturated(colour, 1.1) if p.style == "cel" else colour


def paint_sky(p: Painter, area: Points, horizon: float) -> None:
    """Three colours from the top of an area to the horizon."""
    top, middle, low = (_sky_tone(p, c) for c in p.light.sky)
    y0 = float(area[:, 1].min())
    half = y0 + (horizon - y0) * 0.55
    x0, x1 = float(area[:, 0].min()), float(area[:, 0].max())
    p.canvas.gradient(area, top, middle, (0, y0), (0, half))
    if area.shape[0] == 4 and x1 - x0 > 100:
        p.canvas.gradient(rect(x0, half, x1 - x0, horizon + 8 - half), middle, low, (0, half), (0, horizon))
    else:
        p.canvas.fill(rect(x0, half, x1 - x0, 2 * (horizon - half)), low, alpha=0.7, blur=4, within=area)


def draw_sky(p: Painter, time: str, weather: str, x: float, horizon: float) -> None:
    """The whole sky; `x` is where the sun or the moon stands."""
    rng = p.rng
    paint_sky(p, rect(0, 0, 128, 128), horizon)
    is_veiled = weather in ("rain", "fog", "snow")
    if time == "night":
        # Behind the moon: a flat cloud would cut its disc in half.
        if weather != "fog":
            _clouds(p, time, weather, horizon)
        if not is_veiled:
            for _ in range(34):
                r = rng.choice((0.4, 0.5, 0.6, 0.9))
                p.lit(ellipse(rng.uniform(0, 128), rng.uniform(2, horizon * 0.75), r, r, num=6), (250, 246, 226))
        if is_veiled:
            p.glow(x, 20, 30, (170, 190, 240), 0.4)
        else:
            _moon(p, x, 20)
    elif not is_veiled:
        _sun(p, time, x, horizon)
    if time != "night" and weather != "fog":
        _clouds(p, time, weather, horizon)


def _moon(p: Painter, x: float, y: float) -> None:
    p.glow(x, y, 26, (190, 210, 255), 0.5)
    p.lit(ellipse(x, y, 8, 8), (252, 246, 220))
    for dx, dy, r in ((2.5, -1.5, 2.0), (-2.5, 2.5, 1.5), (2.5, 3.5, 1.1)):
        p.canvas.fill(ellipse(x + dx, y + dy, r, r, num=10), (216, 212, 198), alpha=0.7)


def _sun(p: Painter, time: str, x: float, horizon: float) -> None:
    y, r, colour = {
        "dawn": (horizon - 14, 7.5, (255, 246, 214)),
        "day": (18.0, 8.0, (255, 250, 214)),
        "sunset": (horizon - 8, 12.0, (255, 232, 130)),
    }[time]
    p.glow(x, y, 4.2 * r, p.light.key, 0.75)
    p.lit(ellipse(x, y, r, r, num=28), colour)


def _clouds(p: Painter, time: str, weather: str, horizon: float) -> None:
    rng = p.rng
    light: Colour = {
        "day": (255, 255, 255),
        "dawn": (255, 222, 226),
        "sunset": (255, 150, 120),
        "night": (64, 80, 136),
    }[time]
    if weather != "clear":
        light = mix(p.light.sky[1], (40, 44, 60) if weather == "rain" else (240, 244, 250), 0.4)
    if p.style == "neon":
        light = mix(p.light.sky[1], light, 0.3)
    tone = mix(_sky_tone(p, light), _sky_tone(p, p.light.sky[1]), 0.5 if time == "night" else 0.12)
    for _ in range(3 if weather == "clear" else 4):
        x, y = rng.uniform(-6, 134), rng.uniform(6, horizon * 0.55)
        w = rng.uniform(12, 20) * (1.4 if weather != "clear" else 1.0)
        h = w * 0.3
        blur = {"soft": 0.7, "watercolour": 0.5}.get(p.style, 0)
        under = mix(tone, _sky_tone(p, p.light.sky[1]), 0.45)
        for lift, colour in ((0.0, under), (h * 0.38, tone)):
            for dx, dy, rx, ry in ((-0.45, 0.3, 0.5, 0.6), (0.5, 0.35, 0.48, 0.55), (0.0, 0.75, 0.42, 1.0)):
                puff = ellipse(x + dx * w, y - dy * h - lift, rx * w, ry * h)
                puff[:, 1] = np.minimum(puff[:, 1], y - lift * 0.5)
                p.canvas.fill(puff, colour, alpha=0.99, blur=blur)


def draw_weather(p: Painter, weather: str) -> None:
    """What falls or drifts in front of everything."""
    rng, is_on_paper = p.rng, p.style in ("ink", "watercolour")
    if weather == "rain":
        colour = {"neon": (130, 220, 255), "ink": (70, 84, 116), "watercolour": (236, 242, 255)}.get(
            p.style, (220, 232, 252) if not p.light.is_dark else (150, 170, 220)
        )
        for _ in range(56):
            x, y, length = rng.uniform(0, 142), rng.uniform(-8, 124), rng.uniform(9, 14)
            drop = [(x, y), (x + 0.8, y), (x + 0.8 - length * 0.3, y + length), (x - length * 0.3, y + length)]
            p.canvas.fill(np.array(drop, np.float32), colour, alpha=0.72)
    elif weather == "snow":
        for i in range(64):
            r = (0.9, 1.2, 1.6)[i % 3]
            x, y = rng.uniform(0, 128), rng.uniform(0, 126)
            if is_on_paper:
                # White on pale paper is seen by its shadow.
                p.canvas.fill(ellipse(x + 0.4, y + 0.5, r + 0.5, r + 0.5, num=10), (96, 112, 156), alpha=0.8)
            p.canvas.fill(ellipse(x, y, r, r, num=10), (253, 253, 255))


def draw_fog(p: Painter, weather: str) -> None:
    """Mist between the place and the figures."""
    if weather == "fog":
        strength = 0.7 if p.style in ("ink", "cel") else 0.6
        p.haze(28, 82, strength)
        p.haze(66, 114, strength * 0.85)
