"""Anti-aliased polygons, gradients and soft lights on a pixel buffer, over OpenCV's scan converter.

Coordinates are units of 1/128 of the picture, whatever its size. Shapes are rasterised at twice the size, with
sub-pixel vertices and smoothed edges, and averaged down at the end.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

UNITS = 128
OVERSAMPLING = 2
_SHIFT = 4

Points = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Colour = tuple[float, float, float]
Box = tuple[int, int, int, int]

_RAMP = (np.arange(256, dtype=np.float32) / 255)[:, None]


@lru_cache(maxsize=4)
def _spline_basis(steps: int) -> NDArray[np.float32]:
    t = np.arange(steps, dtype=np.float32) / steps
    return 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], axis=1
    ).astype(np.float32)


def smooth(points: object, *, closed: bool = True, steps: int = 5) -> Points:
    """A curve through points (Catmull-Rom)."""
    p = np.asarray(points, dtype=np.float32).reshape(-1, 2)
    q = np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([p[:1], p, p[-1:]])
    around = np.stack([q[:-3], q[1:-2], q[2:-1], q[3:]])
    curve = np.einsum("sk,kpc->psc", _spline_basis(steps), around).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, p[-1:]])


@lru_cache(maxsize=32)
def _circle(num: int) -> Points:
    a = np.arange(num, dtype=np.float32) * (2 * np.pi / num)
    return np.stack([np.cos(a), np.sin(a)], axis=1)


def ellipse(x: float, y: float, rx: float, ry: float, *, num: int = 20) -> Points:
    return _circle(num) * np.array([rx, ry], np.float32) + np.array([x, y], np.float32)


def rect(x: float, y: float, w: float, h: float) -> Points:
    return np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)], dtype=np.float32)


def mix(a: Colour, b: Colour, amount: float) -> Colour:
    return (a[0] + (b[0] - a[0]) * amount, a[1] + (b[1] - a[1]) * amount, a[2] + (b[2] - a[2]) * amount)


def luminance(c: Colour) -> float:
    return 0.3 * c[0] + 0.59 * c[1] + 0.11 * c[2]


def saturated(c: Colour, amount: float) -> Colour:
    """More (above 1) or less of what a colour is besides grey."""
    grey = luminance(c)
    r, g, b = (min(255.0, max(0.0, grey + (v - grey) * amount)) for v in c)
    return r, g, b


class Canvas:
    """A buffer of RGB pixels that shapes are painted on."""

    def __init__(self, size: int, background: Colour = (0, 0, 0)) -> None:
        self.size = size
        self.n = size * OVERSAMPLING
        self.k = self.n / UNITS
        self.pixels: Pixels = np.empty((self.n, self.n, 3), np.uint8)
        self.pixels[:] = background

    def _fixed(self, points: Points) -> NDArray[np.int32]:
        # OpenCV counts from pixel centres.
        scaled: NDArray[np.int32] = ((np.asarray(points, np.float32) * self.k - 0.5) * (1 << _SHIFT)).astype(np.int32)
        return scaled

    def _box(self, points: Points, pad: float = 0.0) -> Box | None:
        x, y, w, h = cv2.boundingRect(self._fixed(points))
        margin = int(pad * self.k) + 2
        left, top = max(0, (x >> _SHIFT) - margin), max(0, (y >> _SHIFT) - margin)
        right, bottom = min(self.n, (x + w >> _SHIFT) + margin), min(self.n, (y + h >> _SHIFT) + margin)
        return (left, top, right, bottom) if right > left and bottom > top else None

    def _mask(self, points: Points, box: Box) -> Pixels:
        left, top, right, bottom = box
        mask: Pixels = np.zeros((bottom - top, right - left), np.uint8)
        fixed = self._fixed(points) - np.array([left << _SHIFT, top << _SHIFT], np.int32)
        cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, _SHIFT)
        return mask

    def _blend(self, box: Box, mask: Pixels, colour: NDArray[np.int16]) -> None:
        # 7 bits of coverage: the product then fits 16 bits. Rows are flat, because NumPy is slow over a last axis of 3.
        left, top, right, bottom = box
        height, width = mask.shape
        roi = self.pixels[top:bottom, left:right]
        old = roi.reshape(height, width * 3).astype(np.int16)
        coverage = cv2.merge((mask, mask, mask)).reshape(height, width * 3).astype(np.int16)
        coverage += 1
        coverage >>= 1
        change = (np.tile(colour, width) if colour.ndim == 1 else colour.reshape(height, width * 3)) - old
        change *= coverage
        change >>= 7
        change += old
        roi[:] = change.astype(np.uint8).reshape(height, width, 3)

    def fill(
        self, points: Points, colour: Colour, *, alpha: float = 1.0, blur: float = 0.0, within: Points | None = None
    ) -> None:
        """Fill a polygon; `blur` (units) softens its edge, `within` clips it to another polygon."""
        if alpha >= 1 and not blur and within is None:
            cv2.fillPoly(self.pixels, [self._fixed(points)], colour, cv2.LINE_AA, _SHIFT)
            return
        box = self._box(points, blur * 2)
        if box is not None and within is not None:
            box = _common(box, self._box(within))
        if box is None:
            return
        mask = self._mask(points, box)
        if blur:
            mask = _blurred(mask, blur * self.k)
        if within is not None:
            mask = np.asarray(cv2.multiply(mask, self._mask(within, box), scale=1 / 255), np.uint8)
        if alpha < 1:
            mask = np.asarray(cv2.convertScaleAbs(mask, alpha=alpha), np.uint8)
        self._blend(box, mask, np.array(colour, np.int16))

    def gradient(
        self, points: Points, first: Colour, last: Colour, start: tuple[float, float], end: tuple[float, float]
    ) -> None:
        """Fill a polygon with a linear gradient from one point (units) to another."""
        box = self._box(points)
        if box is None:
            return
        left, top, right, bottom = box
        dx, dy = (end[0] - start[0]) * self.k, (end[1] - start[1]) * self.k
        length = dx * dx + dy * dy + 1e-6
        xs = (np.arange(left, right, dtype=np.float32) - start[0] * self.k) * (dx / length)
        ys = (np.arange(top, bottom, dtype=np.float32) - start[1] * self.k) * (dy / length)
        t = (np.clip(xs[None] + ys[:, None], 0, 1) * 255).astype(np.uint8)
        steps = (np.array(first, np.float32) + _RAMP * (np.array(last, np.float32) - first)).astype(np.int16)
        self._blend(box, self._mask(points, box), steps[t])

    def stroke(self, points: Points, colour: Colour, width: float, *, closed: bool = False, alpha: float = 1.0) -> None:
        """A line of even width (units)."""
        thickness = max(1, round(width * self.k))
        if alpha >= 1:
            cv2.polylines(self.pixels, [self._fixed(points)], closed, colour, thickness, cv2.LINE_AA, _SHIFT)
            return
        box = self._box(points, width)
        if box is None:
            return
        left, top, right, bottom = box
        mask: Pixels = np.zeros((bottom - top, right - left), np.uint8)
        fixed = self._fixed(points) - np.array([left << _SHIFT, top << _SHIFT], np.int32)
        cv2.polylines(mask, [fixed], closed, 255, thickness, cv2.LINE_AA, _SHIFT)
        mask = np.asarray(cv2.convertScaleAbs(mask, alpha=alpha), np.uint8)
        self._blend(box, mask, np.array(colour, np.int16))

    def glow(self, x: float, y: float, radius: float, colour: Colour, strength: float) -> None:
        """A round light that fades outwards: moves the pixels below it towards its colour."""
        box = self._box(np.array([(x - radius, y - radius), (x + radius, y + radius)], np.float32))
        if box is None:
            return
        left, top, right, bottom = box
        dx = (np.arange(left, right, dtype=np.float32) / self.k - x) / radius
        dy = (np.arange(top, bottom, dtype=np.float32) / self.k - y) / radius
        near = np.clip(1 - (dx * dx)[None] - (dy * dy)[:, None], 0, 1)
        mask = (near * near * (255 * min(1.0, strength))).astype(np.uint8)
        self._blend(box, mask, np.array(colour, np.int16))

    def smaller(self) -> Pixels:
        """The picture at its final size."""
        return np.asarray(cv2.resize(self.pixels, (self.size, self.size), interpolation=cv2.INTER_AREA), np.uint8)


def _common(a: Box, b: Box | None) -> Box | None:
    if b is None:
        return None
    left, top, right, bottom = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return (left, top, right, bottom) if right > left and bottom > top else None


def _blurred(mask: Pixels, sigma: float) -> Pixels:
    height, width = mask.shape
    if sigma > 4 and min(height, width) > 16:
        # A wide blur has no detail: a quarter of the pixels each way show the same.
        small = cv2.resize(mask, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), sigma / 4, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.uint8)
