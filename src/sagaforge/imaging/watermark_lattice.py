"""The lines of a repeated tile in a picture's spectrum: picking them out of a picture, and finding at which scale and
offset they lie. What is written on them is not decided here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from sagaforge.imaging.watermark_code import NUM_SIGNS, constants

# Of 32 bits a number; numpy's types lose sight of that.
Plane = NDArray[np.floating]
Lines = NDArray[np.complexfloating]

# Of small pictures and of large ones, whose waves must outlive halving and then JPEG.
TILE_PX, LARGE_TILE_PX = 64, 96
_LARGE_PX = 384
NUM_GROUPS = 6
# Every fourth line is a pilot: known, so that it shows scale, offset and how far each group of lines can be trusted.
_PILOT_EVERY = 4
NUM_LINES = NUM_SIGNS // 2 * _PILOT_EVERY // (_PILOT_EVERY - 1)
# Of waves in a tile. Below, the picture itself is strong and the eye keen; above, JPEG and halving leave nothing.
_MIN_WAVES = 4.0
_SMOOTHING_PX = 1.5
_NEIGHBOURHOOD_PX = 5
# Of grey levels, where a picture is even: what JPEG leaves there is no detail.
_FLOOR = 2.0
_OUTLIER = 1.5
# Of the tile's own size: from large pictures' tiles, enlarged, to small pictures' ones, halved.
_SMALLEST_SCALE, _LARGEST_SCALE = 0.45, 1.8
_MIN_TRANSFORM = 512


@cache
def lines() -> NDArray[np.int64]:
    """[NUM_LINES, (vertical, horizontal)] waves in a tile, from few to many, half of the plane."""
    reach = np.arange(-TILE_PX // 2 + 1, TILE_PX // 2)
    found = np.stack(np.meshgrid(reach, reach[reach > 0], indexing="ij"), axis=-1).reshape(-1, 2)
    # Not on the axes, where straight edges are, nor where JPEG's blocks repeat.
    found = found[(found[:, 0] != 0) & ~(found % 8 == 0).all(axis=1)]
    length = np.hypot(found[:, 0], found[:, 1])
    found, length = found[length >= _MIN_WAVES], length[length >= _MIN_WAVES]
    return found[np.argsort(length, kind="stable")[:NUM_LINES]]


@cache
def is_pilot() -> NDArray[np.bool_]:
    return np.arange(NUM_LINES) % _PILOT_EVERY == 0


@cache
def pilots() -> Lines:
    """What the pilot lines carry."""
    signs = constants(3).randint(0, 2, (int(is_pilot().sum()), 2)) * 2 - 1
    return (signs[:, 0] + 1j * signs[:, 1]).astype(np.complex64)


def local_mean(plane: Plane, size_px: int) -> Plane:
    return np.asarray(cv2.blur(plane, (size_px, size_px), borderType=cv2.BORDER_REFLECT_101), dtype=np.float32)


def detail(luma: Plane) -> Plane:
    """Without what is smooth."""
    return luma - cv2.GaussianBlur(luma, (0, 0), _SMOOTHING_PX, borderType=cv2.BORDER_REFLECT_101)


def evened(luma: Plane) -> tuple[Plane, Plane]:
    """Detail weighted so that even places speak louder than edges and rough ones; and the weights.

    One over the deviation would make all as loud, one over its square is best where the mark is as strong everywhere.
    It is stronger in rough places: between the two was best on drawings."""
    fine = detail(luma)
    power = np.maximum(local_mean(fine * fine, _NEIGHBOURHOOD_PX), 0)
    weight = (power + _FLOOR**2) ** np.float32(-0.75)
    weight /= np.maximum(1, np.abs(fine) / ((np.sqrt(power) + 1) * _OUTLIER))
    return fine * weight, weight


def tile_px(shape: tuple[int, ...]) -> int:
    """The tile for a picture of this height and width."""
    return LARGE_TILE_PX if shape[0] * shape[1] >= _LARGE_PX**2 else TILE_PX


def folded(plane: Plane) -> Lines:
    """[NUM_LINES] of a picture whose tiles begin at its corner and have their own size."""
    size = tile_px(plane.shape)
    down, right = (-(-side // size) for side in plane.shape)
    padded = np.zeros((down * size, right * size), dtype=np.float32)
    padded[: plane.shape[0], : plane.shape[1]] = plane
    tile = padded.reshape(down, size, right, size).sum(axis=(0, 2))
    return np.fft.fft2(tile)[lines()[:, 0], lines()[:, 1]].astype(np.complex64)


def tiled(values: Lines, shape: tuple[int, ...]) -> Plane:
    """A picture full of the tile with these lines: the mean square is half the sum of theirs."""
    size = tile_px(shape)
    spectrum = np.zeros((size, size), dtype=np.complex64)
    spectrum[lines()[:, 0], lines()[:, 1]] = values
    tile = (np.fft.ifft2(spectrum).real * size**2).astype(np.float32)
    return np.tile(tile, [-(-side // size) for side in shape])[: shape[0], : shape[1]]


@dataclass(frozen=True)
class Place:
    """How a picture's tiles lie: `score` is in standard deviations of what chance gives."""

    score: float
    vertical_scale: float
    horizontal_scale: float


class Spectrum:
    """A picture's evened detail seen from its middle, at any scale."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        side = max(plane.shape)
        self._size = max(_MIN_TRANSFORM, 2 * cv2.getOptimalDFTSize(side))
        padded = np.zeros((self._size, self._size), dtype=np.float32)
        padded[: plane.shape[0], : plane.shape[1]] = plane
        middle = (-(plane.shape[0] // 2), -(plane.shape[1] // 2))
        self._values = np.fft.rfft2(np.roll(padded, middle, axis=(0, 1)))
        # A quarter of a wave at the border of the picture is what a scale may be wrong by.
        self._step = 1 / (2 * side * np.abs(lines()).max() / TILE_PX)

    def places(self, count: int) -> list[Place]:
        """The likeliest scales, best first."""
        steps = int(np.log(_LARGEST_SCALE / _SMALLEST_SCALE) / self._step) + 1
        scales = _SMALLEST_SCALE * np.exp(self._step * np.arange(steps + 1))
        scores = np.concatenate([self._scores(part, part) for part in np.array_split(scales, -(-len(scales) // 64))])
        best: list[Place] = []
        for index in np.argsort(-scores):
            scale = float(scales[index])
            if all(abs(np.log(scale / other.vertical_scale)) > 2.5 * self._step for other in best):
                best.append(Place(float(scores[index]), scale, scale))
            if len(best) == count:
                break
        return best

    def refined(self, place: Place) -> Place:
        """The place with scales of its own for either direction: sizes are whole numbers."""
        near = np.exp(self._step * np.linspace(-1, 1, 9))
        grid = np.meshgrid(place.vertical_scale * near, place.horizontal_scale * near)
        vertical, horizontal = (part.ravel() for part in grid)
        scores = self._scores(vertical, horizontal)
        best = int(np.argmax(scores))
        return Place(float(scores[best]), float(vertical[best]), float(horizontal[best]))

    def read(self, place: Place) -> Lines:
        """[NUM_LINES], moved so that the pilots are as they should be."""
        waves = lines() / (TILE_PX * np.array([place.vertical_scale, place.horizontal_scale]))
        rows, columns = (np.arange(side) - side // 2 for side in self._plane.shape)
        vertical = np.exp(-2j * np.pi * np.outer(waves[:, 0], rows)).astype(np.complex64)
        horizontal = np.exp(-2j * np.pi * np.outer(waves[:, 1], columns)).astype(np.complex64)
        values = np.einsum("kc,kc->k", vertical @ self._plane, horizontal)
        offsets = _correlation(_even_groups(values)[None, is_pilot()], 4 * TILE_PX)[0]
        down, right = np.unravel_index(int(np.argmax(offsets)), offsets.shape)
        turn = lines() @ np.array([down, right]) / (4 * TILE_PX)
        return values * np.exp(2j * np.pi * turn)

    def _scores(self, vertical: NDArray[np.float64], horizontal: NDArray[np.float64]) -> NDArray[np.float64]:
        values = _even_groups(self._at(vertical, horizontal))[:, is_pilot()]
        peaks = _correlation(values, TILE_PX).max(axis=(1, 2))
        return peaks / np.sqrt(len(pilots()))

    def _at(self, vertical: NDArray[np.float64], horizontal: NDArray[np.float64]) -> Lines:
        """[scales, NUM_LINES], between the values of the transform; nothing where there are no such waves."""
        row = lines()[:, 0] * (self._size / TILE_PX) / vertical[:, None]
        column = lines()[:, 1] * (self._size / TILE_PX) / horizontal[:, None]
        is_there = (np.abs(row) < self._size // 2 - 1) & (column < self._size // 2 - 1)
        row, column = row * is_there, column * is_there
        top, left = np.floor(row).astype(np.int64), np.floor(column).astype(np.int64)
        down, right = (row - top).astype(np.float32), (column - left).astype(np.float32)
        above, below = self._values[top, left], self._values[top + 1, left]
        above = above + (self._values[top, left + 1] - above) * right
        below = below + (self._values[top + 1, left + 1] - below) * right
        return (above + (below - above) * down) * is_there


def _even_groups(values: Lines) -> Lines:
    """Each group of lines at the same strength, single strong lines cut: the picture's own are most of these."""
    grouped = values.reshape(*values.shape[:-1], NUM_GROUPS, -1)
    strength = np.sqrt(np.mean(np.abs(grouped) ** 2, axis=-1, keepdims=True)) + 1e-6
    grouped = grouped / strength
    grouped = grouped / np.maximum(1, np.abs(grouped) / 2)
    return grouped.reshape(values.shape)


def _correlation(values: Lines, grid: int) -> NDArray[np.floating]:
    """[scales, grid, grid]: how well the pilots fit, by offset; by chance of variance `len(pilots())`."""
    spectrum = np.zeros((len(values), grid, grid // 2 + 1), dtype=np.complex64)
    at = lines()[is_pilot()]
    spectrum[:, at[:, 0], at[:, 1]] = values * pilots().conj()
    return np.fft.irfft2(spectrum, s=(grid, grid)) * (grid * grid / 2)
