"""From a payload to signs that survive noise, and back: a check, a convolutional code, an order. No pictures here."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
from numpy.typing import NDArray

PAYLOAD_BITS = 40
CHECK_BITS = 24
_MEMORY = 8
# Of the best free distance (18) for rate 1/3 and memory 8: Larsen, "Short convolutional codes with maximal free
# distance for rates 1/2, 1/3, and 1/4", IEEE Trans. Information Theory 19(3), 1973.
_POLYNOMIALS = (0o557, 0o663, 0o711)
_REPEATS = 2
_STEPS = PAYLOAD_BITS + CHECK_BITS + _MEMORY
NUM_SIGNS = _STEPS * len(_POLYNOMIALS) * _REPEATS
# The constant of the program: who does not know it reads nothing, who knows the program knows it.
SEED = 0x5A6AF029


def constants(what: int) -> np.random.RandomState:
    """RandomState and not Generator: NEP 19 freezes only its stream, and pictures outlive versions of numpy."""
    return np.random.RandomState((SEED + what) % 2**32)


@cache
def _order() -> NDArray[np.int64]:
    return constants(1).permutation(NUM_SIGNS)


@cache
def _scramble() -> NDArray[np.int64]:
    """Turns signs over, so that payload 0 and what a decoder makes of nothing have no form of their own."""
    return constants(2).randint(0, 2, NUM_SIGNS) * 2 - 1


@cache
def _outputs() -> NDArray[np.int64]:
    """[2 predecessors, new states, polynomials]: signs on the way into each state, whose lowest bit came last."""
    states = np.arange(2**_MEMORY)
    register = np.stack([states, states | 1 << _MEMORY])
    bits = [[[bin(int(value) & poly).count("1") % 2 for poly in _POLYNOMIALS] for value in row] for row in register]
    return 1 - 2 * np.array(bits)


def _check(payload: int) -> int:
    """Not a CRC: being linear it has weak patterns, and a hash misses every wrong payload with the same 2^-24."""
    digest = hashlib.blake2s(payload.to_bytes(PAYLOAD_BITS // 8, "big"), digest_size=CHECK_BITS // 8).digest()
    return int.from_bytes(digest, "big")


def encode(payload: int) -> NDArray[np.int64]:
    """[NUM_SIGNS] of 1 and -1."""
    if not 0 <= payload < 2**PAYLOAD_BITS:
        raise ValueError(f"payload must have at most {PAYLOAD_BITS} bits")
    word = (payload << CHECK_BITS | _check(payload)) << _MEMORY
    outputs, state = _outputs(), 0
    signs: list[NDArray[np.int64]] = []
    for step in reversed(range(_STEPS)):
        oldest, state = state >> (_MEMORY - 1), (state << 1 | word >> step & 1) % 2**_MEMORY
        signs.append(outputs[oldest, state])
    coded = np.tile(np.concatenate(signs), _REPEATS) * _scramble()
    placed = np.empty_like(coded)
    placed[_order()] = coded
    return placed


def decode(soft: NDArray[np.floating]) -> int | None:
    """The likeliest payload (Viterbi) of signs with their weights, or None where its check is wrong."""
    ordered = (soft[_order()] * _scramble()).reshape(_REPEATS, _STEPS, len(_POLYNOMIALS)).sum(axis=0)
    outputs = _outputs().astype(float)
    states = np.arange(2**_MEMORY)
    before = np.stack([states >> 1, states >> 1 | 1 << (_MEMORY - 1)])
    score = np.where(states == 0, 0.0, -np.inf)
    choices = np.empty((_STEPS, len(states)), dtype=np.intp)
    for step in range(_STEPS):
        ways = score[before] + outputs @ ordered[step]
        choices[step] = ways[1] > ways[0]
        score = np.maximum(ways[0], ways[1])
    state, word = 0, 0
    for step in reversed(range(_STEPS)):
        word |= (state & 1) << (_STEPS - 1 - step)
        state = int(before[choices[step, state], state])
    word >>= _MEMORY
    payload = word >> CHECK_BITS
    return payload if word % 2**CHECK_BITS == _check(payload) else None
