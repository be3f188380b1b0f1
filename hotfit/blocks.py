"""A look at the raw headers of a FITS file, before astropy makes room for whatever they say."""

import math
import re
from collections.abc import Iterator
from typing import BinaryIO

from hotfit.errors import HotfitError

BLOCK, CARD = 2880, 80
LONGEST_HEADER = 10_000_000
MOST = 999
"""What the FITS standard allows of axes and of columns."""

SIZE = re.compile(rb"(Z?NAXIS\d*|BITPIX|PCOUNT|GCOUNT|TFIELDS) *= *([^/]*)")
COLUMN = re.compile(rb"TFORM\d+ *= *'(\d*)([LXBIJKAEDCMPQ])")
BITS = dict(zip(b"LXBIJKAEDCMPQ", (8, 1, 8, 16, 32, 64, 8, 32, 64, 64, 128, 64, 128), strict=True))


def check_sizes(stream: BinaryIO, name: str, *, headers: int | None = None) -> None:
    """Raise HotfitError if a header promises axes, columns or bytes that there cannot be.

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
    while (headers is None or seen < headers) and (cards := _read_header(stream)):
        sizes = dict(_sizes(cards, name))
        _check_columns(cards, sizes, name)
        seen += 1
        if headers is None or seen < headers:
            stream.seek(_padded(_size_of(sizes)), 1)


def _read_header(stream: BinaryIO) -> list[bytes]:
    """Read one header; returns its cards, none if there is no header."""
    cards = []
    for _ in range(LONGEST_HEADER // BLOCK):
        block = stream.read(BLOCK)
        if len(block) < BLOCK:
            return []
        cards += [block[start : start + CARD] for start in range(0, BLOCK, CARD)]
        if any(card.rstrip() == b"END" for card in cards[-BLOCK // CARD :]):
            return cards
    return []


def _sizes(cards: list[bytes], name: str) -> Iterator[tuple[str, int]]:
    """Yield the keys that say how much follows, with their values."""
    for match in (SIZE.match(card) for card in cards):
        if match:
            key, text = match[1].decode(), match[2].strip().decode("ascii", "replace")
            value = int(text) if re.fullmatch(r"[-+]?\d{1,19}", text) else -1
            most = MOST if key in ("NAXIS", "ZNAXIS", "TFIELDS") else 2**62
            if key != "BITPIX" and not 0 <= value <= most:
                raise HotfitError(f"{name}: its header is damaged ({key} = {text[:30]}); copy it again")
            yield key, value


def _check_columns(cards: list[bytes], sizes: dict[str, int], name: str) -> None:
    """Refuse a table whose rows are narrower than its columns."""
    columns = [match for card in cards if (match := COLUMN.match(card))]
    width = sum(math.ceil(int(match[1] or 1) * BITS[match[2][0]] / 8) for match in columns)
    if columns and width > sizes.get("NAXIS1", 0):
        raise HotfitError(f"{name}: its header is damaged (columns of {width} bytes in a row); copy it again")


def _size_of(sizes: dict[str, int]) -> int:
    """Bytes of the data behind a header."""
    axes = [sizes.get(f"NAXIS{axis}", 0) for axis in range(1, sizes.get("NAXIS", 0) + 1)]
    elements = sizes.get("GCOUNT", 1) * (sizes.get("PCOUNT", 0) + math.prod(axes)) if axes else 0
    return min(abs(sizes.get("BITPIX", 8)) // 8 * elements, 2**62)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
