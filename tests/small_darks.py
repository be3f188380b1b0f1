"""Small darks of every kind, in memory and in files, and the refusal that one of them gets."""

import bz2
import gzip

import numpy as np
import pytest
from astropy.io import fits

from hotfit.darks import open_darks
from hotfit.errors import HotfitError

SHAPE = (12, 7)
RNG = np.random.default_rng(1)
COUNTS = RNG.integers(0, 65536, SHAPE)
COUNTS.flat[:3] = 0, 32768, 65535


def make_hdu(data=None, exposure=10.0, kind="Dark Frame", hdu=fits.PrimaryHDU, **cards):
    image = hdu(COUNTS.astype(np.uint16) if data is None else data)
    if exposure is not None:
        image.header["EXPTIME"] = exposure
    if kind is not None:
        image.header["IMAGETYP"] = kind
    for key, value in cards.items():
        image.header[key.replace("_", "-")] = value
    return image


def save(path, *args, **cards):
    path.parent.mkdir(exist_ok=True)
    make_hdu(*args, **cards).writeto(path)
    return path


def two(folder, *args, name="odd.fits", **cards):
    """A good dark and one made as told."""
    return [save(folder / "good.fits"), save(folder / name, *args, **cards)]


def message(frames, **options):
    """The refusal, which is always one line."""
    with pytest.raises(HotfitError) as caught:
        open_darks(frames, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


FLOATS = RNG.normal(1000, 300, SHAPE)
FLOATS[3, 4] = np.nan
STORED = {
    "uint8": (COUNTS % 256).astype(np.uint8),
    "uint16": COUNTS.astype(np.uint16),
    "int16": (COUNTS - 32768).astype(np.int16),
    "int32": (COUNTS * 7 - 1000).astype(np.int32),
    "uint32": (COUNTS * 11).astype(np.uint32),
    "int64": (COUNTS * 13).astype(np.int64),
    "float32": FLOATS.astype(np.float32),
    "float64": FLOATS,
}


def squeeze(container, path):
    """Put a plain FITS file into `container`; return the new file."""
    pack = {".gz": gzip.compress, ".bz2": bz2.compress}[container]
    packed = path.with_name(path.name + container)
    packed.write_bytes(pack(path.read_bytes()))
    path.unlink()
    return packed


def header(cards: str) -> fits.Header:
    """Header of cards as they are written, one a line."""
    lines = (line for line in cards.strip().splitlines() if line)
    return fits.Header([fits.Card.fromstring(line.ljust(80)) for line in lines])
