"""Mutators of one file that spoil its pixels: not a number, infinite, huge, constant, bytes swapped."""

from collections.abc import Callable

import numpy as np
from fuzz_places import image_data, somewhere, splice
from fuzz_texts import PATTERNS, pick


def pattern_in_data(data, rng):
    """A part of the data that is NaN, infinite, huge, zero or constant."""
    start, end = image_data(data)
    here = start + 8 * somewhere(rng, 0, (end - start) // 8)
    there = here + 8 * somewhere(rng, 0, (end - here) // 8)
    return filled(data, here, there, pick(rng, PATTERNS))


def all_data_alike(data, rng):
    """NaN, infinite, huge, zero or constant everywhere."""
    return filled(data, *image_data(data), pick(rng, PATTERNS))


def filled(data: bytes, first: int, last: int, pattern: str) -> bytes:
    """Repeat a pattern from one place to another."""
    raw = bytes.fromhex(pattern)
    return splice(data, first, (raw * ((last - first) // len(raw) + 1))[: last - first])


def sprinkled(data, rng):
    """Single values in the data that are NaN, infinite, huge, or zero."""
    start, end = image_data(data)
    for _ in range(int(rng.integers(1, 300))):
        raw = bytes.fromhex(pick(rng, PATTERNS))
        at = start + len(raw) * somewhere(rng, 0, (end - start) // len(raw))
        data = splice(data, at, raw) if at + len(raw) <= end else data
    return data


def swapped_bytes(data, rng):
    """The other byte order."""
    start, end = image_data(data)
    return splice(data, start, data[start:end][: (end - start) // 4 * 4][::-1])


VALUE_MUTATORS: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "pattern in data": pattern_in_data,
    "data alike": all_data_alike,
    "sprinkled data": sprinkled,
    "swapped bytes": swapped_bytes,
}
