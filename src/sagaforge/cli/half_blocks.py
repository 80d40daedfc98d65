"""A picture as coloured characters: each ▀ shows two pixels, one as its own colour and one as the ground below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.color import Color
from rich.segment import Segment, Segments
from rich.style import Style

if TYPE_CHECKING:
    from PIL import Image

BLOCK = "▀"
COLUMNS, ROWS = 48, 32  # at most; a square picture takes 48 by 24


def half_blocks(picture: Image.Image) -> Segments:
    """The picture in lines. A terminal's character is about twice as high as wide, so its halves are square pixels."""
    scale = min(COLUMNS / picture.width, 2 * ROWS / picture.height)
    columns = max(1, round(picture.width * scale))
    rows = max(1, round(picture.height * scale / 2))
    pixels = picture.convert("RGB").resize((columns, 2 * rows)).tobytes()

    def colour(x: int, y: int) -> Color:
        start = 3 * (y * columns + x)
        return Color.from_rgb(*pixels[start : start + 3])

    segments = []
    for y in range(0, 2 * rows, 2):
        segments += [Segment(BLOCK, Style(color=colour(x, y), bgcolor=colour(x, y + 1))) for x in range(columns)]
        segments.append(Segment.line())
    return Segments(segments)
