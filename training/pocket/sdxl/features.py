"""What the reader looks at in a picture: colours where hair, clothes and eyes should be, and a coarse view of all.

All of it bears a blur of a pixel or two, noise, shifts of a few pixels and slight colour casts.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from sagaforge.training.pocket.sdxl.canvas import UNITS, Pixels
from sagaforge.training.pocket.sdxl.figure import FRAMES, LANDMARK
from sagaforge.training.pocket.sdxl.head import Frame

Floats = NDArray[np.float32]

# Where hair and clothes are sampled, in heads from the middle of the face: middle and half width and height of a zone.
_ZONES = (
    *((x, y, 0.16, 0.1) for x, y in ((-0.62, -0.82), (-0.3, -1.02), (0.0, -1.08), (0.3, -1.02), (0.62, -0.82))),
    *((x, y, 0.16, 0.1) for x, y in ((-0.62, -0.5), (-0.2, -0.64), (0.2, -0.64), (0.62, -0.5))),
    *((x, y, 0.1, 0.16) for x, y in ((-0.96, -0.2), (0.96, -0.2))),
    *((x, y, 0.2, 0.14) for x, y in ((-0.6, 1.75), (-0.45, 2.05), (0.45, 2.05), (0.6, 1.75))),
    *((x, y, 0.16, 0.16) for x, y in ((-0.5, 2.5), (0.0, 2.5), (0.5, 2.5), (-0.45, 3.4), (0.45, 3.4))),
    *((x, y, 0.16, 0.1) for x, y in ((-0.35, 0.62), (0.35, 0.62))),
)
# Zones of the whole picture are in units of the canvas.
_WHOLE = Frame(0, 0, 1)
_EYE_ZONES = tuple(
    (side * 0.41 + dx, 0.27 + dy, 0.045, 0.05)
    for side in (-1, 1)
    for dx in (-0.09, 0.0, 0.09)
    for dy in (-0.02, 0.09, 0.17)
)


def degrade(picture: Pixels, rng: np.random.Generator, strength: float = 1.0) -> Pixels:
    """A picture as a small diffusion model might have drawn it."""
    size = picture.shape[0]
    shift = rng.integers(-3, 4, 2) * strength
    sigma = rng.uniform(1.0, 1.5) * strength * size / UNITS
    move = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    out = cv2.warpAffine(picture, move, (size, size), borderMode=cv2.BORDER_REPLICATE)
    values = cv2.GaussianBlur(out, (0, 0), max(0.1, sigma)).astype(np.float32)
    values *= 1 + rng.uniform(-0.05, 0.05, 3).astype(np.float32) * strength
    values += rng.standard_normal(values.shape, dtype=np.float32) * (7 * strength)
    degraded: Pixels = np.clip(values, 0, 255).astype(np.uint8)
    return degraded


def _zone_means(picture: Pixels, frame: Frame, zones: tuple[tuple[float, ...], ...]) -> Floats:
    """Mean colours of zones; a zone below the edge counts as the last row."""
    out = np.empty((len(zones), 3), np.float32)
    for i, (x, y, w, h) in enumerate(zones):
        left, right = (frame.x + (x - w) * frame.r, frame.x + (x + w) * frame.r)
        top, bottom = (frame.y + (y - h) * frame.r, frame.y + (y + h) * frame.r)
        x0, x1 = np.clip((round(left), max(round(right), round(left) + 1)), 0, UNITS)
        y0 = min(max(0, round(top)), UNITS - 2)
        y1 = min(max(round(bottom), y0 + 1), UNITS)
        x0 = min(x0, UNITS - 1)
        out[i] = picture[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)].mean(axis=(0, 1))
    return out


def at_128(picture: Pixels) -> Pixels:
    if picture.shape[0] == UNITS and picture.shape[1] == UNITS:
        return picture
    return np.asarray(cv2.resize(picture, (UNITS, UNITS), interpolation=cv2.INTER_AREA), np.uint8)


def figure_features(picture: Pixels, frame: Frame) -> Floats:
    means = _zone_means(picture, frame, _ZONES)
    thumb = cv2.resize(picture, (4, 4), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(np.concatenate([means.ravel(), thumb.ravel() * 0.5]) / 255, np.float32)


def eye_features(picture: Pixels) -> Floats:
    frame = FRAMES["portrait"][0]
    means = _zone_means(picture, frame, _EYE_ZONES)
    skin = _zone_means(picture, frame, _ZONES[-2:])
    return np.asarray(np.concatenate([means.ravel(), skin.ravel()]) / 255, np.float32)


def time_features(picture: Pixels, composition: str) -> Floats:
    """Colours of the sky above, and of what is seen at the landmark: indoors, the window."""
    x = LANDMARK[composition]
    above = [(at, y, 4.0, 4.0) for y in (7, 20, 34, 50, 64) for at in (6, 24, 44, 64, 84, 104, 122)]
    there = [(x + dx, y, 2.5, 3.0) for y in (28, 36, 44, 52, 60, 68, 76) for dx in (-7, 0, 7)]
    means = _zone_means(picture, _WHOLE, (*above, *there)) / 255
    hues = means / (means.sum(axis=1, keepdims=True) + 0.15)
    return np.concatenate([means.ravel(), hues.ravel(), picture.mean(axis=(0, 1)) / 255]).astype(np.float32)


def weather_features(picture: Pixels) -> Floats:
    """Fine bright and dark detail and its slant, contrast, and the colour of sky and ground by rows."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine = cv2.GaussianBlur(grey, (0, 0), 1.2) - cv2.GaussianBlur(grey, (0, 0), 3.0)
    cells = [_cells(np.abs(fine), 4)]
    for sign in (1, -1):
        detail = np.maximum(fine * sign, 0)
        tops = cv2.dilate(detail, np.ones((3, 3), np.uint8)) == detail
        # Flakes and drops are everywhere: sorted, the emptiest part of the picture says more than a lit window.
        for level in (3.0, 6.0, 10.0, 16.0):
            cells.append(np.sort(_cells((tops & (detail > level)).astype(np.float32), 4))[::3] * 500)
        rows = detail.reshape(4, 32, 4, 32).swapaxes(1, 2).reshape(16, -1)
        cells += [np.sort(np.percentile(rows, share, axis=1))[::3] for share in (90, 98)]
    dx, dy = cv2.Sobel(fine, cv2.CV_32F, 1, 0), cv2.Sobel(fine, cv2.CV_32F, 0, 1)
    for angle in range(0, 180, 15):
        a = np.deg2rad(angle)
        cells.append(_cells(np.abs(dx * np.cos(a) + dy * np.sin(a)), 2))
    rows = cv2.resize(picture, (3, 10), interpolation=cv2.INTER_AREA).astype(np.float32)
    wide = cv2.GaussianBlur(grey, (0, 0), 4.0)
    contrast = [_cells((wide - wide.mean()) ** 2, 4) ** 0.5]
    found = np.concatenate([np.log1p(np.concatenate([c.ravel() for c in (*cells, *contrast)])) * 20, rows.ravel()])
    return (found / 255).astype(np.float32)


def _cells(values: Floats, num: int) -> Floats:
    """Means over a grid of num x num cells."""
    side = UNITS // num
    means: Floats = values.reshape(num, side, num, side).mean(axis=(1, 3)).ravel()
    return means


def view_features(picture: Pixels) -> Floats:
    """A thumbnail, and the directions of edges by cell."""
    half = cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA)
    thumb = cv2.resize(half, (12, 12), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    grey = cv2.cvtColor(half, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    size, angle = cv2.cartToPolar(dx, dy)
    bins = ((angle % np.pi) * (8 / np.pi)).astype(np.int32) % 8
    cells = np.stack([np.where(bins == i, size, 0).reshape(8, 8, 8, 8).sum(axis=(1, 3)) for i in range(8)], axis=-1)
    edges = np.sqrt(cells / (cells.sum(axis=-1, keepdims=True) + 1.0))
    return np.concatenate([thumb.ravel(), edges.ravel()]).astype(np.float32)
