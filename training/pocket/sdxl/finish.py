"""What a style does to the finished picture: paper, bleeding edges, bloom, glow, the tremble of a pen."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from sagaforge.training.pocket.sdxl.canvas import UNITS, Pixels
from sagaforge.training.pocket.sdxl.painter import PAPER, Painter

Floats = NDArray[np.float32]


@lru_cache(maxsize=16)
def _noise(size: int, cell: float, seed: int) -> Floats:
    """Smooth noise between -1 and 1 with blots of `cell` units: the same paper under every picture."""
    num = max(2, round(UNITS / cell))
    rough = np.random.default_rng(seed).uniform(-1, 1, (num, num)).astype(np.float32)
    return np.asarray(cv2.resize(rough, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


@lru_cache(maxsize=8)
def _wobble(size: int, units: float, cell: float) -> tuple[Floats, Floats]:
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float32)
    amount = units * size / UNITS
    return xs + amount * _noise(size, cell, 1), ys + amount * _noise(size, cell, 2)


@lru_cache(maxsize=4)
def _vignette(size: int, strength: float) -> Floats:
    a = np.linspace(-1, 1, size, dtype=np.float32)
    dark = strength * np.clip((a * a)[None] + (a * a)[:, None] - 0.7, 0, 1)
    return np.asarray(1 - dark, np.float32)[..., None]


@lru_cache(maxsize=4)
def _paper(size: int) -> Floats:
    grain = _noise(size, 1.1, 5) * 0.022 + _noise(size, 7, 6) * 0.03
    return (1 + grain)[..., None]


@lru_cache(maxsize=4)
def _torn_edge(size: int) -> Floats:
    """How much of the paper is left white along the border, unevenly."""
    a = np.minimum(np.arange(size), np.arange(size)[::-1]).astype(np.float32) * UNITS / size
    border = np.minimum(a[None], a[:, None]) + 1.5 * _noise(size, 8, 7) + 0.8 * _noise(size, 3, 8)
    return np.clip((3.2 - border) / 1.6, 0, 1)[..., None]


def finish(p: Painter) -> Pixels:
    """The picture at its final size, with what its style does last."""
    picture = p.canvas.smaller()
    if p.style == "watercolour":
        return _watercolour(picture)
    if p.style == "soft":
        return _soft(picture)
    if p.style == "neon" and p.shine_layer is not None:
        return _neon(picture, p.shine_layer.pixels)
    if p.style == "ink":
        return _ink(picture)
    return picture


def _bytes(values: Floats | NDArray[np.float64]) -> Pixels:
    return np.clip(values, 0, 255).astype(np.uint8)


def _watercolour(picture: Pixels) -> Pixels:
    size = picture.shape[0]
    xs, ys = _wobble(size, 1.1, 9)
    wet = cv2.remap(picture, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    wet = cv2.medianBlur(wet, 3)
    values = wet.astype(np.float32)
    # Pigment gathers where a wash ends.
    wide = cv2.GaussianBlur(values, (0, 0), 1.6 * size / UNITS)
    values += (values - wide) * 0.35
    values *= _paper(size) * (1 + 0.055 * _noise(size, 16, 3))[..., None]
    paper = np.array(PAPER, np.float32) * _paper(size)
    edge = _torn_edge(size)
    return _bytes(values + (paper - values) * edge)


def _soft(picture: Pixels) -> Pixels:
    size = picture.shape[0]
    values = picture.astype(np.float32)
    small = cv2.resize(picture, (size // 2, size // 2), interpolation=cv2.INTER_AREA).astype(np.float32)
    bright = cv2.GaussianBlur(np.clip(small - 120, 0, 135), (0, 0), 2.6 * size / UNITS)
    bloom = cv2.resize(bright, (size, size), interpolation=cv2.INTER_LINEAR)
    values = values * 0.97 + bloom * 0.2
    values *= np.array([1.02, 1.0, 0.97], np.float32)
    return _bytes(values * _vignette(size, 0.22))


def _neon(picture: Pixels, shine: Pixels) -> Pixels:
    size = picture.shape[0]
    small = cv2.resize(shine, (size // 2, size // 2), interpolation=cv2.INTER_AREA).astype(np.float32)
    near = cv2.GaussianBlur(small, (0, 0), 0.9 * size / UNITS)
    far = cv2.GaussianBlur(small, (0, 0), 3.4 * size / UNITS)
    glow = cv2.resize(near * 0.5 + far * 0.75, (size, size), interpolation=cv2.INTER_LINEAR)
    values = picture.astype(np.float32)
    values += np.asarray(glow, np.float32) * (1 - values / 300)
    return _bytes(values * _vignette(size, 0.3))


def _ink(picture: Pixels) -> Pixels:
    size = picture.shape[0]
    xs, ys = _wobble(size, 0.55, 6)
    drawn = cv2.remap(picture, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    values = np.asarray(drawn * _paper(size), np.float32)
    paper = np.array(PAPER, np.float32) * _paper(size)
    return _bytes(values + (paper - values) * _torn_edge(size))
