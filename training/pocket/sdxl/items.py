"""What a figure holds in the right hand, or has beside it."""

from __future__ import annotations

from sagaforge.training.pocket.sdxl.canvas import Colour
from sagaforge.training.pocket.sdxl.head import Frame
from sagaforge.training.pocket.sdxl.painter import Painter

HAND = (1.62, 3.1)
WOOD: Colour = (126, 84, 52)
STEEL: Colour = (206, 216, 232)


def draw_item(p: Painter, f: Frame, item: str) -> None:
    x, y = HAND
    if item == "lantern":
        _lantern(p, f, x, y)
    elif item == "sword":
        blade = f(
            [(x - 0.11, y - 0.1), (x + 0.11, y - 0.1), (x + 0.16, y - 2.7), (x + 0.03, y - 3.1), (x - 0.1, y - 2.7)]
        )
        p.shape(blade, STEEL)
        p.shine(f([(x - 0.1, y - 0.1), (x, y - 0.1), (x + 0.03, y - 3.0), (x - 0.1, y - 2.7)]), blade, 0.6)
        p.shape(
            f([(x - 0.42, y - 0.14), (x + 0.42, y - 0.14), (x + 0.4, y + 0.06), (x - 0.4, y + 0.06)]), (224, 180, 84)
        )
        p.shape(f([(x - 0.1, y + 0.06), (x + 0.1, y + 0.06), (x + 0.1, y + 0.6), (x - 0.1, y + 0.6)]), WOOD)
    elif item == "staff":
        p.shape(f([(x - 0.1, y - 3.2), (x + 0.1, y - 3.2), (x + 0.1, y + 3.5), (x - 0.1, y + 3.5)]), WOOD)
        p.glow(f.x + x * f.r, f.y + (y - 3.5) * f.r, 1.5 * f.r, (110, 240, 255), 0.8)
        p.lit(f.oval(x, y - 3.5, 0.34, 0.38), (150, 248, 255))
    elif item == "book":
        p.shape(
            f(
                [
                    (x - 0.95, y - 0.3),
                    (x - 0.1, y - 0.12),
                    (x + 0.7, y - 0.3),
                    (x + 0.7, y + 0.72),
                    (x - 0.1, y + 0.9),
                    (x - 0.95, y + 0.72),
                ]
            ),
            (150, 40, 44),
        )
        for side in (-1, 1):
            page = [(x - 0.1, y - 0.08), (x - 0.1 + side * 0.72, y - 0.24), (x - 0.1 + side * 0.72, y + 0.6)]
            p.shape(f([*page, (x - 0.1, y + 0.78)]), (250, 242, 218), line=0.6)
    elif item == "cat":
        if f.r > 14:
            _cat(p, Frame(f.x + 2.2 * f.r, f.y + 3.25 * f.r, f.r * 0.9))
        else:
            _cat(p, Frame(f.x + 2.1 * f.r, f.y + 5.75 * f.r, f.r))


def _lantern(p: Painter, f: Frame, x: float, y: float) -> None:
    cx, cy = f.x + x * f.r, f.y + (y + 0.95) * f.r
    p.glow(cx, cy, 3.0 * f.r, (255, 196, 96), 0.75)
    p.line(f.curve([(x - 0.3, y + 0.5), (x, y + 0.05), (x + 0.3, y + 0.5)], closed=False), (70, 60, 60), 0.08 * f.r)
    p.shape(f([(x - 0.34, y + 0.6), (x - 0.16, y + 0.38), (x + 0.16, y + 0.38), (x + 0.34, y + 0.6)]), (76, 64, 64))
    p.lit(f([(x - 0.3, y + 0.6), (x + 0.3, y + 0.6), (x + 0.36, y + 1.3), (x - 0.36, y + 1.3)]), (255, 220, 120))
    p.lit(f.oval(x, y + 1.0, 0.14, 0.24), (255, 250, 216))
    p.shape(f([(x - 0.4, y + 1.3), (x + 0.4, y + 1.3), (x + 0.4, y + 1.46), (x - 0.4, y + 1.46)]), (76, 64, 64))


def _cat(p: Painter, f: Frame) -> None:
    fur: Colour = (236, 150, 72)
    p.shape(f.curve([(0.5, 0.7), (1.0, 0.5), (1.05, -0.2), (0.85, -0.3), (0.8, 0.3), (0.4, 0.4)]), fur)
    p.shape(f.curve([(-0.35, -0.1), (0.35, -0.1), (0.6, 0.6), (0.5, 0.98), (-0.5, 0.98), (-0.6, 0.6)]), fur)
    p.shape(f.oval(0, 0.5, 0.22, 0.36), (252, 230, 200), line=0)
    head = [(-0.48, -0.95), (-0.2, -0.74), (0.2, -0.74), (0.48, -0.95), (0.54, -0.4), (0.3, -0.08), (-0.3, -0.08)]
    p.shape(f([*head, (-0.54, -0.4)]), fur)
    for side in (-1, 1):
        p.plain(f.oval(side * 0.22, -0.44, 0.09, 0.12), (40, 60, 30))
    p.plain(f.oval(0, -0.27, 0.07, 0.05), (200, 90, 90))
