"""Contact sheets: scenes with their captions, and the same scenes in the five styles.

python -m sagaforge.training.pocket.sdxl.sheet --out sheet.png
"""

from __future__ import annotations

import argparse
import itertools
import random
import textwrap
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from sagaforge.training.pocket.sdxl.canvas import Pixels
from sagaforge.training.pocket.sdxl.captions import caption
from sagaforge.training.pocket.sdxl.drawing import draw
from sagaforge.training.pocket.sdxl.scenes import STYLES, Scene, draw_scenes

_TEXT_HEIGHT = 58
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def captioned(scene: Scene, text: str, size: int) -> Pixels:
    """A picture with its caption below."""
    label: Pixels = np.full((_TEXT_HEIGHT, size, 3), 250, np.uint8)
    for i, line in enumerate(textwrap.wrap(text, width=size // 6)[:4]):
        cv2.putText(label, line, (4, 13 + 13 * i), _FONT, 0.34, (40, 40, 48), 1, cv2.LINE_AA)
    return np.concatenate([draw(scene, size), label])


def grid(tiles: list[Pixels], columns: int) -> Pixels:
    """Tiles of one size in rows, with a white gap."""
    framed = [cv2.copyMakeBorder(tile, 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=(250, 250, 250)) for tile in tiles]
    framed += [np.full_like(framed[0], 250)] * (-len(framed) % columns)
    rows = [np.concatenate(framed[i : i + columns], axis=1) for i in range(0, len(framed), columns)]
    return np.concatenate(rows)


def scene_sheet(seed: int, num: int, size: int, *, columns: int = 6, held_out: bool = False) -> Pixels:
    """Different scenes, each with a caption."""
    rng = random.Random(seed)
    scenes = itertools.islice(draw_scenes(seed, held_out=held_out), num)
    return grid([captioned(scene, caption(scene, rng).text, size) for scene in scenes], columns)


def style_sheet(seed: int, num: int, size: int) -> Pixels:
    """A row for each scene, a column for each style."""
    scenes = itertools.islice(draw_scenes(seed), num)
    return grid([draw(replace(scene, style=style), size) for scene in scenes for style in STYLES], len(STYLES))


def write(path: Path, picture: Pixels) -> None:
    cv2.imwrite(str(path), picture[..., ::-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a PNG; the styles go beside it as NAME-styles.png")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--num", type=int, default=24)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--held-out", action="store_true", help="scenes that training never sees")
    args = parser.parse_args()
    write(args.out, scene_sheet(args.seed, args.num, args.size, held_out=args.held_out))
    styles = args.out.with_name(f"{args.out.stem}-styles{args.out.suffix}")
    write(styles, style_sheet(args.seed, max(1, args.num // 4), args.size))
    print(f"{args.out} and {styles}")


if __name__ == "__main__":
    main()
