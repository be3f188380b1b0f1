"""A look at the raw headers of a FITS file, before astropy counts to whatever they say."""

import math
import re
from typing import BinaryIO

from hotfit.errors import HotfitError

BLOCK, CARD = 2880, 80
LONGEST_HEADER = 10_000_000
MOST = 999
"""What the FITS standard allows of axes and of columns."""

NUMBER = re.compile(rb"([A-Z0-9]+) *= *([-+]?\d+)")


def check_counts(stream: BinaryIO, name: str, *, headers: int | None = None) -> None:
    """Raise HotfitError if a header says that it has more axes or columns than there can be.

    Parameters
    ----------
    stream : binary file
        Read from where it stands.
    name : str
        What messages call it.
    headers : int, optional
        How many to look at; all by default.
    """
    seen = 0
    while (headers is None or seen < headers) and (numbers := _numbers_of(stream)):
        for key in ("NAXIS", "ZNAXIS", "TFIELDS"):
            if not 0 <= numbers.get(key, 0) <= MOST:
                raise HotfitError(f"{name}: {key} = {numbers[key]} is no FITS header; copy it again")
        seen += 1
        if headers is None or seen < headers:
            stream.seek(_padded(_size_of(numbers)), 1)


def _numbers_of(stream: BinaryIO) -> dict[str, int]:
    """Read one header; returns its whole numbers, none if there is no header."""
    numbers = {}
    for _ in range(LONGEST_HEADER // BLOCK):
        block = stream.read(BLOCK)
        if len(block) < BLOCK:
            return {}
        cards = [block[start : start + CARD] for start in range(0, BLOCK, CARD)]
        matches = (NUMBER.match(card) for card in cards)
        numbers.update({match[1].decode(): int(match[2]) for match in matches if match})
        if any(card.rstrip() == b"END" for card in cards):
            return numbers
    return {}


def _size_of(numbers: dict[str, int]) -> int:
    """Bytes of the data behind a header, 0 for what makes no sense."""
    axes = [numbers.get(f"NAXIS{axis}", 0) for axis in range(1, numbers.get("NAXIS", 0) + 1)]
    if not axes:
        return 0
    elements = numbers.get("GCOUNT", 1) * (numbers.get("PCOUNT", 0) + math.prod(axes))
    return min(max(0, abs(numbers.get("BITPIX", 8)) // 8 * elements), 2**62)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
