"""Mutators of a whole set: what its files have in common, what they do not, and what they are called."""

import bz2
import gzip
from collections.abc import Callable
from functools import partial

import numpy as np
from fuzz_files import EXPOSURES, VARIANTS, Files, whole_file
from fuzz_places import cards, image_data, image_header, put
from fuzz_texts import (
    AXES,
    FINE_SECONDS,
    KEYS,
    NUMBERS,
    PATTERNS,
    SECONDS,
    SIZES,
    STRINGS,
    TABLE,
    TILES,
    UGLY,
    entries,
    pick,
)
from fuzz_values import filled

FACTORS = (1e300, 1e-300, 1e305, 1e-310, 1e35, 1e-35, 1e18, 1e-18, 1e-320)
SHAPES = ((1, 1), (3, 3), (4, 3), (32, 1), (1, 24), (10, 2), (768, 1), (-32, -24), (0, 0))
LARGE = ((32, 10**4), (10**4, 24), (10**5, 10**5), (24, 10**9), (10**8, 32), (2**31, 1), (10**18, 10**18))
SUFFIXES = entries("0|0.txt|0.fits.gz|0.fit.bz2|0.fits.fz|0.FTS|0.Z|0.zip|0.fits.xz")
NAMES = entries(
    "dark\n1.fits|d\udcff.fits|d\x1b[31m.fits|-d.fits|@d.fits|d[1].fits|\u4e00.fits| .fits|d*.fits|d#1.fits"
)


def other_variant(rng) -> str:
    """The name of any variant."""
    return str(rng.choice(list(VARIANTS)))


def with_exposure(data: bytes, text: str) -> bytes:
    """A file of another exposure time."""
    for key in ("EXPTIME", "EXPOSURE"):
        data = put(data, None, key, text)
    return data


def equal_exposures(files: Files, rng) -> None:
    """One odd exposure time everywhere."""
    text = pick(rng, SECONDS)
    files.update({name: with_exposure(data, text) for name, data in files.items()})


def odd_exposures(files: Files, rng) -> None:
    """Odd exposure times that differ; mostly such as are accepted."""
    texts = FINE_SECONDS if rng.random() < 0.7 else SECONDS
    files.update({name: with_exposure(data, pick(rng, texts)) for name, data in files.items()})


def scaled_exposures(files: Files, rng) -> None:
    """Exposure times in a unit that nobody uses."""
    factor = pick(rng, FACTORS)
    for (name, data), seconds in zip(files.items(), EXPOSURES, strict=False):
        files[name] = with_exposure(data, repr(seconds * factor))


def close_exposures(files: Files, rng) -> None:
    """Exposure times that are almost equal, or of very different size."""
    step = pick(rng, [1e-12, 1e-6, 0.004, 0.006, 1e5])
    for number, (name, data) in enumerate(files.items()):
        files[name] = with_exposure(data, repr(10 * (1 + step * number)))


def foreign_file(files: Files, rng) -> None:
    """One file of another type."""
    number = int(rng.integers(len(files)))
    files[list(files)[number]] = whole_file(other_variant(rng), number)


def foreign_header(files: Files, rng) -> None:
    """The header of another type on the data of this."""
    number = int(rng.integers(len(files)))
    name = list(files)[number]
    other = whole_file(other_variant(rng), number)
    files[name] = other[: image_header(other)[1]] + files[name][image_header(files[name])[1] :]


def all_foreign_headers(files: Files, rng) -> None:
    """The headers of another type on all data."""
    variant = other_variant(rng)
    for number, name in enumerate(files):
        other = whole_file(variant, number)
        files[name] = other[: image_header(other)[1]] + files[name][image_header(files[name])[1] :]


def copies(files: Files, rng) -> None:
    """All files have the data of the first."""
    first = next(iter(files.values()))
    for name, data in files.items():
        files[name] = data[: image_header(data)[1]] + first[image_header(first)[1] :]


def all_alike(files: Files, rng) -> None:
    """NaN, infinite, huge, zero or constant in all files."""
    pattern = pick(rng, PATTERNS)
    files.update({name: filled(data, *image_data(data), pattern) for name, data in files.items()})


def one_value_in_all(files: Files, rng) -> None:
    """One key has one odd value in all files."""
    key, text = pick(rng, KEYS), pick(rng, NUMBERS + STRINGS + UGLY)
    files.update({name: put(data, rng, key, text) for name, data in files.items()})


def image_axes(files: Files) -> tuple[str, str]:
    """The keys of the image's columns and rows."""
    tiled = any(cards(data, "ZNAXIS1") for data in files.values())
    return ("ZNAXIS1", "ZNAXIS2") if tiled else ("NAXIS1", "NAXIS2")


def one_shape_for_all(files: Files, rng) -> None:
    """All images are cut to another shape, down to a pixel and less."""
    for key, size in zip(image_axes(files), pick(rng, SHAPES), strict=True):
        files.update({name: put(data, rng, key, str(size)) for name, data in files.items()})


def large_images(files: Files, rng) -> None:
    """All headers tell of more than there is, those of tiles consistently at times."""
    columns, rows = pick(rng, LARGE)
    keys = dict(zip(image_axes(files), (columns, rows), strict=True))
    if "ZNAXIS1" in keys and rng.random() < 0.5:
        keys["ZTILE1"] = columns
    for key, size in keys.items():
        files.update({name: put(data, rng, key, str(size)) for name, data in files.items()})


def one_size_in_all(files: Files, rng) -> None:
    """One card of the structure is absurd in all files."""
    tiled = image_axes(files)[0] == "ZNAXIS1"
    key, text = pick(rng, TILES + TABLE if tiled else AXES), pick(rng, SIZES)
    files.update({name: put(data, rng, key, text) for name, data in files.items()})


def few_values(files: Files, rng) -> None:
    """NaN in nearly all pixels of all files."""
    for name, data in files.items():
        start, end = image_data(data)
        files[name] = filled(data, start, end - int(rng.integers(2, 200)), "7fc00000")


def packed_again(files: Files, rng) -> None:
    """Compressed once more."""
    for name in list(files)[: int(rng.integers(1, len(files) + 1))]:
        files[name] = pick(rng, [partial(gzip.compress, mtime=0), bz2.compress])(files[name])


def other_suffix(files: Files, rng) -> None:
    """A name that says something else about the content."""
    files[pick(rng, SUFFIXES)] = files.pop(pick(rng, list(files)))


def odd_name(files: Files, rng) -> None:
    """A name that is awkward to print or to pass on, at times of a file that cannot be read."""
    data = files.pop(pick(rng, list(files)))
    files[pick(rng, NAMES)] = data if rng.random() < 0.6 else data[:100]


SET_MUTATORS: dict[str, Callable[[Files, np.random.Generator], None]] = {
    "equal exposures": equal_exposures,
    "odd exposures": odd_exposures,
    "scaled exposures": scaled_exposures,
    "close exposures": close_exposures,
    "foreign file": foreign_file,
    "foreign header": foreign_header,
    "foreign headers": all_foreign_headers,
    "copies": copies,
    "all alike": all_alike,
    "one value in all": one_value_in_all,
    "one shape for all": one_shape_for_all,
    "large images": large_images,
    "one size in all": one_size_in_all,
    "few values": few_values,
    "packed again": packed_again,
    "other suffix": other_suffix,
    "odd name": odd_name,
}
