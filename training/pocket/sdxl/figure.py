"""A figure from the neck down: garments of five kinds, arms, legs and shading; where it stands by composition."""

from __future__ import annotations

import random

from sagaforge.training.pocket.sdxl.canvas import Colour, ellipse, mix
from sagaforge.training.pocket.sdxl.head import Frame, draw_hair_behind, draw_head
from sagaforge.training.pocket.sdxl.items import draw_item
from sagaforge.training.pocket.sdxl.painter import Painter
from sagaforge.training.pocket.sdxl.palette import CLOTHES, SKIN
from sagaforge.training.pocket.sdxl.scenes import Character

# Middle of the face and half of the head's height, by composition.
FRAMES: dict[str, tuple[Frame, ...]] = {
    "empty": (),
    "portrait": (Frame(64, 62, 30),),
    "half": (Frame(64, 47, 19),),
    "left": (Frame(36, 49, 10),),
    "centre": (Frame(64, 49, 10),),
    "right": (Frame(92, 49, 10),),
    "pair": (Frame(38, 49, 10), Frame(90, 49, 10)),
}
# Where a place's landmark stands, so that no figure hides it.
LANDMARK = {"empty": 64, "portrait": 16, "half": 20, "left": 90, "centre": 26, "right": 38, "pair": 64}
GOLD: Colour = (232, 190, 92)
STEEL: Colour = (150, 160, 178)
TROUSERS: Colour = (70, 62, 80)
BOOTS: Colour = (84, 56, 44)


def frames_of(composition: str, rng: random.Random) -> list[Frame]:
    """Where figures stand, a little off the middle of their place."""
    return [
        Frame(f.x + rng.uniform(-1.5, 1.5), f.y + rng.uniform(-1, 1), f.r * rng.uniform(0.97, 1.03))
        for f in FRAMES[composition]
    ]


def draw_figure(p: Painter, f: Frame, who: Character) -> None:
    """One character, whole; what is below the picture's edge costs next to nothing."""
    p.is_figure = True
    if f.r < 14:
        shadow = ellipse(f.x + 0.3 * f.r, f.y + 6.72 * f.r, 1.7 * f.r, 0.34 * f.r)
        p.canvas.fill(shadow, (16, 12, 36), alpha=0.42, blur=0.6)
    elif p.style in ("soft", "watercolour"):
        # A darker air behind a large figure parts pale hair from a pale sky.
        p.canvas.fill(ellipse(f.x, f.y + 0.4 * f.r, 1.5 * f.r, 1.9 * f.r), p.light.sky[0], alpha=0.22, blur=5)
    draw_hair_behind(p, f, who)
    _draw_body(p, f, who)
    draw_head(p, f, who)
    if who.item != "none":
        draw_item(p, f, who.item)
    p.is_figure = False


def _widths(who: Character) -> tuple[float, float, float]:
    shoulder = {"slim": 1.0, "sturdy": 1.32}[who.build] + (0.14 if who.person == "man" else 0)
    waist = {"slim": 0.64, "sturdy": 1.0}[who.build] + (0.1 if who.person == "man" else 0)
    return shoulder, waist, max(waist + 0.16, 0.86)


def _draw_body(p: Painter, f: Frame, who: Character) -> None:
    sh, wa, hip = _widths(who)
    main = CLOTHES[who.clothes]
    dark = mix(main, (20, 12, 50), 0.3)
    trim = STEEL if who.clothes == "yellow" else GOLD
    is_wide = who.garment == "robe"
    if who.garment in ("tunic", "armour", "dress", "coat"):
        _draw_legs(p, f, hip, STEEL if who.garment == "armour" else TROUSERS, is_bare=who.garment == "dress", who=who)
    _draw_skirt(p, f, who, wa, hip, main, dark, trim)
    _draw_arms(p, f, who, sh, main, dark, is_wide=is_wide)
    torso = f.curve(
        [
            (-0.3, 1.22),
            (-sh * 0.8, 1.42),
            (-sh, 1.75),
            (-wa - 0.1, 2.5),
            (-wa, 3.1),
            (-hip, 3.6),
            (hip, 3.6),
            (wa, 3.1),
            (wa + 0.1, 2.5),
            (sh, 1.75),
            (sh * 0.8, 1.42),
            (0.3, 1.22),
            (0, 1.32),
        ]
    )
    p.shape(torso, main)
    p.shade(f.curve([(0.35, 1.6), (sh + 0.1, 1.4), (wa + 0.3, 3.7), (0.3, 3.7), (0.6, 2.6)]), torso, 0.26)
    p.shine(f.curve([(-sh - 0.1, 1.9), (-sh * 0.8, 1.4), (-0.5, 1.3), (-sh * 0.8, 1.6)]), torso, 0.5)
    _draw_details(p, f, who, sh, wa, main, dark, trim)


def _draw_skirt(
    p: Painter, f: Frame, who: Character, wa: float, hip: float, main: Colour, dark: Colour, trim: Colour
) -> None:
    """What hangs from the waist."""
    length, flare = {"robe": (6.5, 0.62), "coat": (5.4, 0.42), "dress": (5.0, 0.95)}.get(who.garment, (4.2, 0.2))
    if who.garment == "armour":
        length, flare = 4.1, 0.12
    w = hip + flare
    left, right = [(-hip, 3.5), (-w, length - 0.1)], [(w, length - 0.1), (hip, 3.5)]
    skirt = f([(-wa, 3.0), *left, (-w * 0.4, length + 0.12), (w * 0.4, length + 0.12), *right, (wa, 3.0)])
    p.shape(skirt, main)
    p.shade(f([(0.3, 3.2), (hip, 3.2), (w, length), (w * 0.45, length + 0.1)]), skirt, 0.28)
    fold = [(-0.35, 3.4), (-0.2, 3.4), (-w * 0.36, length + 0.1), (-w * 0.56, length + 0.1)]
    p.shade(f(fold), skirt, 0.2)
    if who.garment in ("robe", "dress"):
        p.line(
            f([(-w, length - 0.25), (-w * 0.4, length - 0.03), (w * 0.4, length - 0.03), (w, length - 0.25)]),
            trim,
            0.12 * f.r,
        )
    if who.garment == "coat":
        p.shade(f([(-0.05, 3.3), (0.05, 3.3), (0.3, length + 0.2), (-0.3, length + 0.2)]), skirt, 0.75, blur=0.2)


def _draw_legs(p: Painter, f: Frame, hip: float, colour: Colour, *, is_bare: bool, who: Character) -> None:
    if f.r > 14:
        return
    for side in (-1, 1):
        top, foot = side * hip * 0.5, side * 0.48
        leg = f([(top - 0.34, 3.6), (top + 0.34, 3.6), (foot + 0.24, 6.3), (foot - 0.24, 6.3)])
        p.shape(leg, SKIN[who.skin] if is_bare else colour)
        boot = [(foot - 0.27, 5.5), (foot + 0.27, 5.5), (foot + 0.28, 6.5), (foot + side * 0.2 + 0.24, 6.75)]
        p.shape(f([*boot, (foot + side * 0.2 - 0.34, 6.75)]), colour if who.garment == "armour" else BOOTS)


def _draw_arms(p: Painter, f: Frame, who: Character, sh: float, main: Colour, dark: Colour, *, is_wide: bool) -> None:
    """Two sleeves with hands; the right one is raised where it holds something."""
    sleeve = 0.52 if is_wide else 0.3
    for side in (-1, 1):
        holds = side == 1 and who.item in ("lantern", "sword", "staff", "book")
        elbow = (side * (sh + 0.16), 2.6)
        wrist = (side * (sh + (0.3 if holds else 0.12)), 3.0 if holds else 3.55)
        if holds:
            elbow = (side * (sh + 0.3), 2.5)
        p.shape(f.oval(wrist[0], wrist[1] + 0.16, 0.21, 0.24), SKIN[who.skin])
        arm = f.curve(
            [
                (side * (sh - 0.34), 1.5),
                (side * sh, 1.56),
                (elbow[0] + side * 0.12, elbow[1]),
                (wrist[0] + side * sleeve, wrist[1]),
                (wrist[0] - side * sleeve * 0.8, wrist[1] + 0.06),
                (elbow[0] - side * 0.42, elbow[1]),
                (side * (sh - 0.45), 2.1),
            ]
        )
        p.shape(arm, main)
        if who.garment == "armour":
            p.shape(f.oval(side * (sh - 0.06), 1.66, 0.46, 0.4), mix(main, (255, 255, 255), 0.12))
            p.shine(f.oval(side * (sh - 0.06) - 0.1, 1.5, 0.24, 0.1), f.oval(side * (sh - 0.06), 1.66, 0.46, 0.4), 0.6)


def _draw_details(
    p: Painter, f: Frame, who: Character, sh: float, wa: float, main: Colour, dark: Colour, trim: Colour
) -> None:
    """What tells the garments apart above the waist."""
    belt = f([(-wa - 0.03, 2.95), (wa + 0.03, 2.95), (wa + 0.05, 3.2), (-wa - 0.05, 3.2)])
    if who.garment == "coat":
        for side in (-1, 1):
            p.shape(
                f([(side * 0.26, 1.15), (side * 0.62, 1.45), (side * 0.34, 2.2), (0, 2.75), (side * 0.08, 1.7)]), dark
            )
        p.shape(f([(-0.24, 1.4), (0, 1.62), (0.24, 1.4), (0.08, 2.3), (-0.08, 2.3)]), (240, 236, 228), line=0)
        for y in (2.7, 3.05, 3.4):
            p.shape(f.oval(0.14, y, 0.07, 0.07), trim, line=0)
    elif who.garment == "robe":
        p.shape(
            f([(-0.34, 1.2), (-0.16, 1.2), (0.06, 2.0), (0.06, 2.95), (-0.08, 2.95), (-0.08, 2.05)]), trim, line=0.4
        )
        p.shape(f([(0.34, 1.2), (0.16, 1.2), (-0.06, 1.8), (0.02, 2.1)]), trim, line=0.4)
        p.shape(belt, trim, line=0.6)
    elif who.garment == "armour":
        for y in (3.15, 3.5):
            p.line(f.curve([(-wa, y), (0, y + 0.14), (wa, y)], closed=False), dark, 0.08 * f.r)
        chest = f.curve([(-sh * 0.7, 1.7), (-0.1, 1.6), (-0.06, 2.5), (-sh * 0.5, 2.6)])
        p.shine(chest, chest, 0.22)
        p.line(f([(0, 1.6), (0, 2.9)]), dark, 0.06 * f.r)
        p.shape(f.curve([(-0.42, 1.12), (0, 1.3), (0.42, 1.12), (0.4, 1.4), (0, 1.58), (-0.4, 1.4)]), STEEL)
    elif who.garment == "dress":
        p.shape(
            f.curve([(-0.46, 1.26), (0, 1.46), (0.46, 1.26), (0.34, 1.6), (0, 1.78), (-0.34, 1.6)]), (248, 244, 240)
        )
        p.shape(f.oval(0, 1.66, 0.12, 0.12), (214, 66, 84), line=0.5)
        p.shape(belt, dark, line=0.6)
    else:
        p.shape(f([(-0.2, 1.25), (0, 1.34), (0.2, 1.25), (0, 1.95)]), (240, 228, 204), line=0.6)
        p.shape(belt, BOOTS, line=0.6)
        p.shape(f([(-0.16, 2.93), (0.16, 2.93), (0.16, 3.22), (-0.16, 3.22)]), trim, line=0.5)
