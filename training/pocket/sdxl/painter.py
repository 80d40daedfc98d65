"""The five styles: how a shape, a shadow, a line or a light is put on the canvas in each.

What is drawn says what it is (a shape of a colour at a depth, part of a figure or not); only this file and finish.py
know what a style makes of it.
"""

from __future__ import annotations

import random

import numpy as np

from sagaforge.training.pocket.sdxl.canvas import Canvas, Colour, Points, luminance, mix, saturated
from sagaforge.training.pocket.sdxl.palette import Light

PAPER: Colour = (247, 240, 224)
INK: Colour = (44, 34, 38)
CYAN: Colour = (40, 232, 255)
MAGENTA: Colour = (255, 48, 190)
NEON_DARK: Colour = (12, 10, 30)


class Painter:
    """Paints shapes in one style and one light."""

    def __init__(self, size: int, style: str, light: Light, rng: random.Random) -> None:
        self.style = style
        self.light = light
        self.rng = rng
        self.canvas = Canvas(size, PAPER if style in ("ink", "watercolour") else (0, 0, 0))
        # What shines in neon: drawn a second time on black, and blurred over the picture at the end.
        self.shine_layer = Canvas(size) if style == "neon" else None
        self.is_figure = False

    def tone(self, colour: Colour, depth: float = 0.0) -> Colour:
        """A colour as it stands in the picture: lit, then as the style takes it."""
        lit = self.light.on_figure(colour) if self.is_figure else self.light.at(colour, depth)
        return self.styled(lit)

    def styled(self, lit: Colour) -> Colour:
        if self.style == "cel":
            return saturated(lit, 1.12)
        if self.style == "watercolour":
            return mix(saturated(lit, 1.05), PAPER, 0.10 if self.is_figure else 0.22)
        if self.style == "neon":
            return mix(NEON_DARK, saturated(lit, 1.25), 0.70 if self.is_figure else 0.30)
        if self.style == "ink":
            if self.is_figure:
                return mix(saturated(lit, 1.05), PAPER, 0.14)
            return mix(mix(saturated(lit, 0.55), (150, 124, 96), 0.2), PAPER, 0.42)
        return lit

    def shape(self, points: Points, colour: Colour, depth: float = 0.0, *, line: float = 1.0) -> None:
        """A solid thing; `line` scales the outline of the styles that have one (0: none)."""
        tone, canvas = self.tone(colour, depth), self.canvas
        if self.style in ("soft", "watercolour"):
            strength = 0.10 if self.style == "watercolour" else 0.17
            top, bottom = float(points[:, 1].min()), float(points[:, 1].max())
            left, right = float(points[:, 0].min()), float(points[:, 0].max())
            up = mix(tone, self.light.key if self.style == "soft" else (255, 255, 255), strength * 0.7)
            down = mix(tone, (24, 20, 56), strength)
            canvas.gradient(points, up, down, (left, top), (left + (right - left) * 0.35, bottom))
        else:
            canvas.fill(points, tone)
        if self.shine_layer is not None:
            # What is in front hides the light behind it.
            self.shine_layer.fill(points, (0, 0, 0))
        if not line:
            return
        if self.style == "cel":
            edge = mix(mix(tone, (26, 16, 40), 0.72), self.light.haze, depth * 0.5)
            canvas.stroke(points, edge, 0.62 * line if self.is_figure else 0.5 * line, closed=True)
        elif self.style == "watercolour":
            canvas.stroke(points, mix(tone, (40, 26, 50), 0.45), 0.5, closed=True, alpha=0.32)
        elif self.style == "ink":
            edge = mix(INK, PAPER, 0.0 if self.is_figure else 0.12 + 0.55 * depth)
            canvas.stroke(points, edge, (0.75 if self.is_figure else 0.55) * line, closed=True)
        elif self.style == "neon":
            self._neon_edge(points, colour, depth, line, closed=True)

    def _neon_edge(self, points: Points, colour: Colour, depth: float, line: float, *, closed: bool) -> None:
        accent = mix(CYAN, MAGENTA, min(1.0, depth * 1.3))
        if self.is_figure:
            bright = mix(saturated(colour, 1.5), (255, 255, 255), 0.25 + 0.2 * (luminance(colour) < 70))
        else:
            bright = mix(mix(saturated(colour, 1.6), accent, 0.7), NEON_DARK, 0.12 + 0.45 * depth)
        self.canvas.stroke(points, bright, 0.5 * line, closed=closed)
        if self.shine_layer is not None:
            strength = 0.55 if luminance(bright) > 190 else 0.8
            self.shine_layer.stroke(points, mix((0, 0, 0), bright, strength), 0.9 * line, closed=closed)

    def shade(
        self, points: Points, within: Points, amount: float = 0.3, *, blur: float = 1.2, hatch: bool = True
    ) -> None:
        """A shadow on a thing."""
        dark: Colour = (30, 18, 66)
        if self.style == "ink":
            self.canvas.fill(points, (70, 54, 62), alpha=amount * 0.5, within=within)
            if hatch:
                self._hatch(points, within)
        elif self.style == "cel":
            self.canvas.fill(points, dark, alpha=amount * 0.85, within=within)
        elif self.style == "neon":
            self.canvas.fill(points, (4, 2, 20), alpha=min(1.0, amount * 1.2), within=within)
        else:
            soft = blur if self.style == "soft" else blur * 0.4
            self.canvas.fill(points, dark, alpha=amount, blur=soft, within=within)

    def _hatch(self, points: Points, within: Points) -> None:
        x0, y0 = points.min(axis=0)
        x1, y1 = points.max(axis=0)
        for offset in np.arange(y0 - (x1 - x0), y1, 2.6):
            line = np.array(
                [(x0, offset), (x1, offset + (x1 - x0)), (x1, offset + (x1 - x0) + 0.5), (x0, offset + 0.5)]
            )
            clip = line[:, 1].clip(y0, y1)
            if clip.max() - clip.min() > 1:
                self.canvas.fill(_clipped(line.astype(np.float32), y0, y1), INK, alpha=0.55, within=within)

    def shine(self, points: Points, within: Points, amount: float = 0.4, colour: Colour | None = None) -> None:
        """A lighter part of a thing: a highlight, a rim of light."""
        bright = colour or self.light.key
        if self.style == "ink":
            amount *= 0.5
        blur = {"soft": 0.5, "watercolour": 0.4}.get(self.style, 0.0)
        self.canvas.fill(points, bright, alpha=amount, blur=blur, within=within)

    def line(self, points: Points, colour: Colour, width: float, depth: float = 0.0) -> None:
        """A thin thing that is only a line: a rope, a strand, a mouth."""
        tone = self.tone(colour, depth)
        if self.style == "ink":
            tone = mix(tone, INK, 0.7 * (1 - depth))
        self.canvas.stroke(points, tone, width)

    def plain(self, points: Points, colour: Colour, depth: float = 0.0, *, alpha: float = 1.0, blur: float = 0) -> None:
        """A shape with neither gradient nor outline."""
        self.canvas.fill(points, self.tone(colour, depth), alpha=alpha, blur=blur)

    def lit(self, points: Points, colour: Colour, *, alpha: float = 1.0) -> None:
        """A thing that gives light itself: a window, a flame, a star."""
        tone = mix(colour, PAPER, 0.12) if self.style in ("ink", "watercolour") else colour
        self.canvas.fill(points, tone, alpha=alpha)
        if self.style == "ink":
            self.canvas.stroke(points, mix(INK, PAPER, 0.3), 0.4, closed=True)
        if self.shine_layer is not None:
            self.shine_layer.fill(points, colour)

    def glow(self, x: float, y: float, radius: float, colour: Colour, strength: float) -> None:
        """Light in the air around something."""
        factor = {"ink": 0.35, "cel": 0.7, "watercolour": 0.75, "neon": 0.8}.get(self.style, 1.0)
        self.canvas.glow(x, y, radius, colour, strength * factor)

    def haze(self, y0: float, y1: float, strength: float) -> None:
        """A band of mist across the picture."""
        x0, x1 = -20.0, 148.0
        band = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float32)
        colour = self.styled(self.light.haze) if self.style != "neon" else mix(NEON_DARK, self.light.haze, 0.75)
        self.canvas.fill(band, colour, alpha=strength, blur=(y1 - y0) * 0.28)


def _clipped(line: Points, y0: float, y1: float) -> Points:
    # A line at 45 degrees: what is cut off above is cut off to the left as well.
    (xa, ya), (xb, yb) = line[0], line[1]
    if ya < y0:
        xa, ya = xa + (y0 - ya), y0
    if yb > y1:
        xb, yb = xb - (yb - y1), y1
    return np.array([(xa, ya), (xb, yb), (xb, yb + 0.5), (xa, ya + 0.5)], np.float32)
