"""Small mosaics in files, and what results hold but for the time of writing."""

import re

import numpy as np
from astropy.io import fits

from hotfit import simulate

DATED = re.compile(rb"(CHECKSUM|DATASUM )= .{70}", re.DOTALL)


def write_mosaic(folder, chips=3, shape=(40, 48)):
    """Write darks of several chips, each with pixels of its own, as extensions CHIP1, CHIP2, ..."""
    folder.mkdir()
    darks = [
        simulate.darks("guide", shape=shape, repeats=3, seed=seed, odd=10)[0] for seed in range(1, chips + 1)
    ]
    for number, frames in enumerate(zip(*darks, strict=True)):
        hdus = [fits.PrimaryHDU(header=frames[0].header)]
        for chip, frame in enumerate(frames, start=1):
            hdus.append(fits.ImageHDU(np.asarray(frame.data), frame.header, name=f"CHIP{chip}"))
        fits.HDUList(hdus).writeto(folder / f"dark_{number:02d}.fits")
    return folder


def write_cameras(folder, names, shapes):
    """Write the darks of several cameras, each into a folder of its own."""
    folder.mkdir()
    for seed, (name, shape) in enumerate(zip(names, shapes, strict=True)):
        simulate.write(folder / name, "guide", shape=shape, repeats=3, seed=seed, odd=10)
        (folder / name / "truth.fits").unlink()
    return [folder / name for name in names]


def contents(directory):
    """What is in every file, but for the cards that hold the time of writing."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): DATED.sub(b"", path.read_bytes()) for path in files}


def left_in(directory):
    """Everything in a directory, hidden files too."""
    return sorted(entry.name for entry in directory.iterdir())
