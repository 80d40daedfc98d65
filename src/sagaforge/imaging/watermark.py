"""An invisible mark in pictures that leads back to a row of a database: writing it, and reading it blind.

A tile is repeated over the picture; payload and pilots are written on lines of its spectrum. A picture without a mark
is read as marked once in 2.8 million, whatever is in it: a payload must have the hash of 24 bits that comes with it,
and at most NUM_PLACES are tried: 6 / 2^24 = 3.6e-7. Most pictures never come to that, as no pilots are found in them.
The same holds for wrong payloads of pictures whose mark is destroyed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sagaforge.imaging import watermark_code as code
from sagaforge.imaging import watermark_lattice as lattice
from sagaforge.imaging.image_bytes import eight_bits
from sagaforge.imaging.watermark_lattice import Lines, Plane, Spectrum

PAYLOAD_BITS = code.PAYLOAD_BITS
MIN_SIDE_PX = 64
NUM_PLACES = 6
# In standard deviations: the best of some 10^5 scales and offsets is about 4.5 by chance.
_MIN_SCORE = 4.5
_MIN_READ_PX, _MAX_READ_PX = 24, 1024
# At sides (geometric mean) of 128 and 1024 px: how far pixels move on even ground, and at most over the whole picture.
_SIDES_PX = (128, 1024)
_FLAT_STRENGTH = (1.5, 1.0)
_MIN_PSNR_DB = (38.2, 42.2)
_TEXTURE_PX = 7
_TEXTURE_SHARE = (0.8, 0.4)
# Rougher places would hide more, but a reader learns little there: the strength is better spent elsewhere.
_MAX_TEXTURE = 3.0
# The eye sees noise in the dark sooner.
_LIGHT, _STRENGTH_BY_LIGHT = (0, 80, 255), (0.7, 1.0, 1.0)
# Of a line, against the mean: more for lines that the picture itself drowns would leave too little for the others.
_MAX_SHARE = 1.5
_ROUNDS = 2


def mark(image: Image.Image, payload: int) -> Image.Image:
    """The picture with the payload in it. Modes other than L, LA, RGB and RGBA become RGB or RGBA; a picture with a
    side under MIN_SIDE_PX comes back as it was."""
    signs = code.encode(payload)
    if min(image.size) < MIN_SIDE_PX:
        return image.copy()
    image = _plain(image)
    pixels = _pixels(image)
    luma = _luma(pixels)
    strength = _strength(luma)
    added = strength * lattice.tiled(_values(luma, strength, signs), luma.shape)
    added *= min(1.0, _most(luma) / float(np.sqrt(np.mean(added**2))))
    num_colours = len(image.getbands()) - ("A" in image.getbands())
    pixels[..., :num_colours] += added[..., None]
    done = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return Image.fromarray(done[..., 0] if done.shape[2] == 1 else done, image.mode)


def read_mark(image: Image.Image) -> int | None:
    """The payload of a marked picture, also if it was cropped, resized or compressed."""
    if min(image.size) < _MIN_READ_PX:
        return None
    spectrum = Spectrum(lattice.evened(_luma(_pixels(_plain(_middle(image)))))[0])
    for place in spectrum.places(NUM_PLACES):
        if place.score < _MIN_SCORE:
            break
        payload = code.decode(_soft(spectrum.read(spectrum.refined(place))))
        if payload is not None:
            return payload
    return None


def _plain(image: Image.Image) -> Image.Image:
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        return image
    if image.mode.startswith("I"):
        return eight_bits(image).convert("RGB")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _middle(image: Image.Image) -> Image.Image:
    """Not more than is needed: the mark is the same everywhere."""
    left, top = (max(0, side - _MAX_READ_PX) // 2 for side in image.size)
    right, bottom = (min(side, start + _MAX_READ_PX) for side, start in zip(image.size, (left, top), strict=True))
    return image.crop((left, top, right, bottom))


def _pixels(image: Image.Image) -> Plane:
    """[height, width, bands]"""
    pixels = np.asarray(image).astype(np.float32)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _luma(pixels: Plane) -> Plane:
    if pixels.shape[2] < 3:
        return np.ascontiguousarray(pixels[..., 0])
    return pixels[..., :3] @ np.array([0.299, 0.587, 0.114], dtype=np.float32)


def _by_size(luma: Plane, values: tuple[float, float]) -> float:
    return float(np.interp(np.log(luma.size) / 2, np.log(_SIDES_PX), values))


def _most(luma: Plane) -> float:
    """The root mean square that the whole picture's mark may have."""
    return 255 / 10 ** (_by_size(luma, _MIN_PSNR_DB) / 20)


def _strength(luma: Plane) -> Plane:
    """How far each pixel may move (root mean square)."""
    flat, most = _by_size(luma, _FLAT_STRENGTH), _most(luma)
    # The mean of roots, squared: a lone edge on even ground counts little, as noise around it would show.
    texture = lattice.local_mean(np.sqrt(np.abs(lattice.detail(luma))), _TEXTURE_PX) ** 2
    texture = np.minimum(texture, _MAX_TEXTURE)
    light = np.interp(luma, _LIGHT, _STRENGTH_BY_LIGHT).astype(np.float32)
    low, high = 0.0, _by_size(luma, _TEXTURE_SHARE)
    for _ in range(8):
        share = (low + high) / 2
        if np.mean((light * (flat + share * texture)) ** 2) > most**2:
            high = share
        else:
            low = share
    return light * (flat + low * texture)


def _values(luma: Plane, strength: Plane, signs: NDArray[np.int64]) -> Lines:
    """What the lines carry, with the picture's own part taken into account, as in Malvar and Florencio, "Improved
    spread spectrum", IEEE Trans. Signal Processing 51(4), 2003; in rounds, as lines also leak into each other."""
    wanted = np.empty(lattice.NUM_LINES, dtype=np.complex64)
    wanted[lattice.is_pilot()] = lattice.pilots()
    wanted[~lattice.is_pilot()] = signs[0::2] + 1j * signs[1::2]
    even, weight = lattice.evened(luma)
    unit = 2 / float(np.sum(weight * strength))
    values = _spent(wanted, lattice.folded(even) * unit)
    for _ in range(_ROUNDS):
        marked = np.clip(luma + strength * lattice.tiled(values, luma.shape), 0, 255)
        values = _spent(wanted, lattice.folded(lattice.evened(marked)[0]) * unit - values)
    return values


def _spent(wanted: Lines, own: Lines) -> Lines:
    """Always the same strength in all: more of it on lines that the picture turns the wrong way, less where it turns
    them the right way by itself."""
    signs = np.stack([wanted.real, wanted.imag])
    have = np.stack([own.real, own.imag]) * signs
    most = _MAX_SHARE * np.sqrt(2 / have.size)
    low, high = -10.0, 10.0
    for _ in range(20):
        target = (low + high) / 2
        if np.sum(np.clip(target - have, 0, most) ** 2) > 2:
            high = target
        else:
            low = target
    real, imaginary = signs * np.clip(low - have, 0, most)
    return (real + 1j * imaginary).astype(np.complex64)


def _soft(values: Lines) -> NDArray[np.floating]:
    """Signs with their weights: by how strong and how noisy the pilots are in each group of lines."""
    grouped = values.reshape(lattice.NUM_GROUPS, -1)
    is_pilot = lattice.is_pilot().reshape(lattice.NUM_GROUPS, -1)
    known = grouped[is_pilot].reshape(lattice.NUM_GROUPS, -1)
    turned = known * lattice.pilots().reshape(known.shape).conj() / 2
    gain = _smooth(turned.real.mean(axis=1))
    noise = _smooth(np.mean(np.abs(turned - gain[:, None]) ** 2, axis=1))
    carried = (grouped * (np.maximum(gain, 0) / (noise + 1e-9))[:, None])[~is_pilot]
    return np.stack([carried.real, carried.imag], axis=1).ravel()


def _smooth(groups: NDArray[np.floating]) -> NDArray[np.floating]:
    padded = np.pad(groups, 1, mode="edge")
    return (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
