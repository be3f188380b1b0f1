"""The whole sets of darks that the fuzz test spoils: the kinds of FITS file, and how each is made."""

import bz2
import gzip
import io
from collections.abc import Callable
from functools import cache, partial

import numpy as np
from astropy.io import fits

SEED = 20260
SHAPE = (24, 32)
EXPOSURES = (0, 60, 300, 0, 60, 300)
FILLERS = 8

Files = dict[str, bytes]


def counts(seconds: float, pedestal: float, seed: int) -> np.ndarray:
    """Counts of a plain camera with some hot pixels, float64."""
    rate = np.random.default_rng(0).exponential(0.3, SHAPE)
    rate.flat[::40] = np.linspace(2, 300, rate.flat[::40].size)
    dark = rate * seconds
    noise = np.sqrt(25 + dark / 1.5) * np.random.default_rng([SEED, seed]).normal(size=SHAPE)
    return np.clip(pedestal + dark + noise, 0 if pedestal else None, 60000)


def dress(image: fits.PrimaryHDU, seconds: float):
    """Give an HDU the header of a camera program, and comments that a mutator may replace."""
    image.header.update(
        {
            "EXPTIME": float(seconds),
            "EXPOSURE": float(seconds),
            "IMAGETYP": "Dark Frame",
            "EGAIN": 1.5,
            "GAIN": 120,
            "OFFSET": 10,
            "CCD-TEMP": -10.0,
            "SET-TEMP": -10.0,
            "XBINNING": 1,
            "YBINNING": 1,
            "NCOMBINE": 1,
            "SATURATE": 60000,
            "INSTRUME": "Fuzz 1000",
            "READOUTM": "fast",
            "BIASSEC": "[1:2,1:24]",
            "TRIMSEC": "[3:32,1:24]",
        }
    )
    for _ in range(FILLERS):
        image.header["COMMENT"] = "filler"
    return image


def plain(kind: str, pedestal: float = 1000) -> Callable:
    """Files with the image in the primary HDU."""
    return lambda t, i: fits.HDUList([dress(fits.PrimaryHDU(counts(t, pedestal, i).astype(kind)), t)])


def scaled(t: float, i: int) -> fits.HDUList:
    """int16 with BSCALE, BZERO and BLANK."""
    image = fits.PrimaryHDU(((counts(t, 1000, i) - 30000) / 2).astype(np.int16))
    image.header["BLANK"] = -32768
    dress(image, t)
    # Set last, so that astropy writes the numbers as they are.
    image.header["BSCALE"], image.header["BZERO"] = 2.0, 30000.0
    return fits.HDUList([image])


def tiled(kind: str, **how) -> Callable:
    """Tile-compressed files."""
    return lambda t, i: fits.HDUList(
        [fits.PrimaryHDU(), dress(fits.CompImageHDU(counts(t, 1000, i).astype(kind), **how), t)]
    )


def mosaic(t: float, i: int) -> fits.HDUList:
    """An empty primary HDU that has the exposure, and two chips."""
    chips = [fits.ImageHDU(counts(t, 1000, i + 9 * n).astype("u2"), name=f"CHIP{n}") for n in (1, 2)]
    return fits.HDUList([dress(fits.PrimaryHDU(), t), *chips])


VARIANTS: dict[str, tuple[Callable, str, Callable]] = {
    "uint16": (plain("u2"), "", bytes),
    "uint8": (lambda t, i: plain("u1", 10)(t / 4, i), "", bytes),
    "int32": (plain("i4"), "", bytes),
    "float32": (plain("f4"), "", bytes),
    "float64": (plain("f8"), "", bytes),
    "bias subtracted": (plain("f4", 0), "", bytes),
    "scaled": (scaled, "", bytes),
    "mosaic": (mosaic, "", bytes),
    "gzip": (plain("u2"), ".gz", partial(gzip.compress, mtime=0)),
    "bzip2": (plain("f4"), ".bz2", bz2.compress),
    "rice": (tiled("u2", compression_type="RICE_1"), ".fz", bytes),
    "gzip tiles": (tiled("f4", compression_type="GZIP_2", quantize_level=0), ".fz", bytes),
    "quantised": (tiled("f4", compression_type="RICE_1"), ".fz", bytes),
    "hcompress": (tiled("i4", compression_type="HCOMPRESS_1"), ".fz", bytes),
}
"""Name: what makes the HDUs of an exposure time and number, suffix, and what packs the file."""


@cache
def whole_file(variant: str, number: int) -> bytes:
    """File `number` of a set, before it is packed."""
    stream = io.BytesIO()
    VARIANTS[variant][0](EXPOSURES[number], number).writeto(stream)
    return stream.getvalue()
