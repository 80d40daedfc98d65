"""Colours: of hair, clothes, skin and eyes, and of the light at a time of day in some weather."""

from __future__ import annotations

from dataclasses import dataclass

from sagaforge.training.pocket.sdxl.canvas import Colour, luminance, mix, saturated

HAIR: dict[str, Colour] = {
    "black": (40, 36, 50),
    "brown": (122, 76, 44),
    "blonde": (246, 208, 104),
    "red": (206, 66, 28),
    "silver": (206, 214, 228),
    "blue": (52, 104, 222),
    "pink": (248, 130, 182),
}
CLOTHES: dict[str, Colour] = {
    "red": (200, 36, 48),
    "blue": (38, 82, 190),
    "green": (40, 138, 72),
    "purple": (130, 58, 176),
    "yellow": (244, 194, 48),
    "white": (242, 242, 246),
    "black": (44, 42, 56),
    "brown": (132, 84, 50),
}
EYES: dict[str, Colour] = {
    "brown": (112, 62, 32),
    "blue": (40, 120, 235),
    "green": (44, 168, 78),
    "violet": (150, 66, 216),
    "amber": (244, 170, 30),
}
SKIN: dict[str, Colour] = {
    "pale": (255, 226, 206),
    "tan": (240, 194, 158),
    "brown": (196, 140, 100),
    "dark": (140, 92, 66),
}


@dataclass(frozen=True)
class Light:
    """The light of a picture: the sky from top to horizon, what tints things, and what distance fades to."""

    sky: tuple[Colour, Colour, Colour]
    ambient: Colour
    haze: Colour
    key: Colour
    lamp: Colour
    is_dark: bool
    haze_strength: float

    def at(self, colour: Colour, depth: float = 0.0) -> Colour:
        """A thing's colour in this light, from depth 0 (near) to 1 (the horizon)."""
        lit = (colour[0] * self.ambient[0], colour[1] * self.ambient[1], colour[2] * self.ambient[2])
        return mix(lit, self.haze, min(1.0, depth * self.haze_strength))

    def on_figure(self, colour: Colour) -> Colour:
        # A part of the tint: what somebody wears must be seen at night, too, and no face may look ill.
        tint = mix((1, 1, 1), self.ambient, 0.5)
        if self.is_dark:
            tint = (0.80, 0.80, 0.94)
        return colour[0] * tint[0], colour[1] * tint[1], colour[2] * tint[2]


_SKY: dict[str, tuple[Colour, Colour, Colour]] = {
    "dawn": ((126, 156, 218), (226, 188, 222), (255, 222, 196)),
    "day": ((52, 128, 218), (116, 184, 240), (214, 238, 246)),
    "sunset": ((70, 44, 122), (226, 84, 104), (255, 190, 88)),
    "night": ((9, 12, 42), (22, 34, 88), (56, 80, 140)),
}
_AMBIENT: dict[str, Colour] = {
    "dawn": (0.97, 0.90, 0.97),
    "day": (1.0, 1.0, 1.0),
    "sunset": (1.0, 0.78, 0.68),
    "night": (0.40, 0.48, 0.78),
}
_HAZE: dict[str, Colour] = {
    "dawn": (240, 208, 220),
    "day": (186, 216, 238),
    "sunset": (244, 148, 104),
    "night": (44, 62, 116),
}
_KEY: dict[str, Colour] = {
    "dawn": (255, 228, 204),
    "day": (255, 250, 226),
    "sunset": (255, 186, 96),
    "night": (186, 206, 255),
}
# Neon has skies of its own: all of them dark, each with the hue of its hour at the horizon.
_NEON_SKY: dict[str, tuple[Colour, Colour, Colour]] = {
    "dawn": ((34, 30, 82), (112, 62, 142), (246, 168, 190)),
    "day": ((4, 52, 92), (8, 108, 150), (84, 214, 222)),
    "sunset": ((48, 8, 66), (170, 22, 92), (255, 128, 40)),
    "night": ((4, 4, 22), (10, 10, 46), (40, 26, 92)),
}


def light_of(time: str, weather: str, style: str) -> Light:
    """The light of an hour and a weather, as a style paints it."""
    is_neon = style == "neon"
    sky = (_NEON_SKY if is_neon else _SKY)[time]
    ambient, haze = _AMBIENT[time], _HAZE[time]
    if is_neon:
        haze = mix(sky[1], sky[2], 0.35)
    veil = {"clear": 0.0, "rain": 0.5, "snow": 0.35, "fog": 0.55}[weather]
    if veil:
        sky = (_veiled(sky[0], veil, weather), _veiled(sky[1], veil, weather), _veiled(sky[2], veil, weather))
        haze = _veiled(haze, veil * 0.7, weather)
        dim = {"rain": 0.80, "snow": 0.97, "fog": 0.95}[weather]
        ambient = (ambient[0] * dim, ambient[1] * dim, ambient[2] * dim)
    strength = {"soft": 0.95, "watercolour": 0.9, "neon": 0.6}.get(style, 0.8)
    return Light(
        sky=sky,
        ambient=ambient,
        haze=haze,
        key=_KEY[time],
        lamp=(255, 206, 112),
        is_dark=time == "night",
        haze_strength=min(1.0, strength * (1.35 if weather == "fog" else 1.0)),
    )


def _veiled(colour: Colour, amount: float, weather: str) -> Colour:
    grey = luminance(colour) * (0.8 if weather == "rain" else 1.04) + (8 if weather == "fog" else 0)
    veiled = mix(colour, (grey * 0.96, grey, min(255.0, grey * 1.06)), amount)
    return saturated(veiled, 1.0)
