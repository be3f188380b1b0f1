"""Darks of a realistic camera with known truth, for tests, benches and demonstrations.

    frames, truth = hotfit.simulate.darks("guide", shape=(256, 256), seed=1)
    python -m hotfit.simulate DIR

`hotfit.cameras` says what a camera is, `hotfit.scene` what its darks are made of; here they become arrays,
CCDData and files.
"""

import argparse
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from hotfit.cameras import CAMERAS, CMOS, GUIDE, Camera, choose
from hotfit.errors import HotfitError
from hotfit.scene import Kind, Truth, draw_truth, render_all

__all__ = ["CAMERAS", "CMOS", "GUIDE", "Camera", "Kind", "Truth", "cube", "darks", "main", "write"]

FIRST_FRAME = datetime(2026, 1, 15, 20)


def darks(camera="guide", *, seed=0, odd=1.0, **changes):
    """Simulated darks in memory.

    Parameters
    ----------
    camera : str or Camera
        A key of `CAMERAS`, or a camera.
    seed : int
        The same seed gives the same bits.
    odd : float
        Factor on the camera's fractions of all odd kinds: 0 leaves LINEAR pixels only.
    **changes
        Any field of `Camera`: shape, exposures, repeats, jitter, drift, cosmic_rate, ...
        None leaves it alone.

    Returns
    -------
    frames : list of CCDData
        (rows, columns) uint16 in adu, with a `fits.Header` as meta.
    truth : Truth
    """
    from astropy.nddata import CCDData

    truth = draw_truth(choose(camera, odd, changes), seed)
    images = zip(render_all(truth, seed), _headers(truth), strict=True)
    return [CCDData(image, unit="adu", meta=header) for image, header in images], truth


def cube(camera="guide", *, seed=0, odd=1.0, **changes):
    """The frames of `darks` as one array; parameters as there.

    Returns
    -------
    cube : (N, rows, columns) uint16 array
    exposure : (N,) float64 array
        Seconds.
    truth : Truth
    """
    truth = draw_truth(choose(camera, odd, changes), seed)
    out = np.empty((truth.exposure.size, *truth.kind.shape), np.uint16)
    for i, image in enumerate(render_all(truth, seed)):
        out[i] = image
    return out, truth.exposure, truth


def write(directory, camera="guide", *, seed=0, odd=1.0, **changes):
    """Write the frames of `darks` as FITS files, one at a time, and ``truth.fits``; parameters as there.

    Returns
    -------
    paths : list of Path
        The frames ``bias_0000s_001.fits``, ``dark_0090s_001.fits``, ..., in order. ``truth.fits`` beside them
        has IMAGETYP 'truth', images RATE, INTERCEPT, KIND, FULLWELL and HITS, and tables ODD and FRAMES.
    truth : Truth
    """
    from astropy.io import fits

    camera = choose(camera, odd, changes)
    directory = Path(directory)
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise HotfitError(f"{directory} exists and is not an empty directory: name a new one")
    truth = draw_truth(camera, seed)
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / name for name in _file_names(camera)]
    for path, image, header in zip(paths, render_all(truth, seed), _headers(truth), strict=True):
        fits.PrimaryHDU(image, header).writeto(path)
    _write_truth(directory / "truth.fits", truth, [path.name for path in paths], seed)
    return paths, truth


# --- files


def _headers(truth):
    """Yield a header for each frame, with the habits of real ones.

    EGAIN is for the converter's own numbers, hence wrong by `step` for the file's, and GAIN is a setting.
    """
    from astropy.io import fits

    camera, start = truth.camera, FIRST_FRAME
    for seconds, temperature in zip(truth.exposure, truth.temperature, strict=True):
        header = fits.Header()
        header["IMAGETYP"] = "Dark Frame" if seconds else "Bias Frame"
        header["EXPTIME"] = (seconds, "[s] exposure time")
        header["EXPOSURE"] = (seconds, "[s] exposure time")
        header["DATE-OBS"] = (start.isoformat(timespec="milliseconds"), "start of exposure, UTC")
        header["CCD-TEMP"] = (round(temperature, 3), "[degC] sensor temperature")
        header["SET-TEMP"] = (camera.set_temperature, "[degC] set point")
        header["XBINNING"] = 1
        header["YBINNING"] = 1
        if camera.gain_setting is not None:
            header["GAIN"] = (camera.gain_setting, "camera's gain setting")
        header["EGAIN"] = (camera.gain * camera.step, "[e-/adu] electrons per unit of the converter")
        header["INSTRUME"] = camera.instrument
        header["SWCREATE"] = "hotfit.simulate"
        yield header
        start += timedelta(seconds=seconds + camera.readout_time + 1)


def _file_names(camera):
    """Names that sort by exposure time and then by number."""
    texts = [np.format_float_positional(seconds, trim="-").split(".") for seconds in camera.exposures]
    decimals = max(len("".join(text[1:])) for text in texts)
    width = max(4, *(len(text[0]) for text in texts)) + (decimals + 1 if decimals else 0)
    return [
        f"{'dark' if seconds else 'bias'}_{seconds:0{width}.{decimals}f}s_{number:03}.fits"
        for seconds, count in zip(camera.exposures, camera.frames_per_exposure, strict=True)
        for number in range(1, count + 1)
    ]


def _write_truth(path, truth, names, seed):
    from astropy.io import fits
    from astropy.table import Table

    primary = fits.PrimaryHDU()
    primary.header["IMAGETYP"] = "truth"
    primary.header["CAMERA"] = truth.camera.name
    primary.header["SEED"] = seed
    primary.header["EGAIN"] = (truth.gain, "[e-/adu] of the numbers in the files")
    primary.header["RDNOISE"] = (truth.read_noise, "[e-]")
    primary.header["SWCREATE"] = "hotfit.simulate"
    images = {
        "RATE": (truth.rate, "electron/s"),
        "INTERCEPT": (truth.intercept, "adu"),
        "KIND": (truth.kind, ""),
        "FULLWELL": (truth.full_well, "adu"),
        "HITS": (truth.hits, ""),
    }
    hdus = [primary]
    for name, (data, unit) in images.items():
        hdus.append(fits.ImageHDU(data, name=name))
        hdus[-1].header["BUNIT"] = unit
    frames = Table(
        [names, truth.exposure, truth.temperature, truth.offset, truth.scale],
        names=["FILE", "EXPOSURE", "TEMPERATURE", "OFFSET", "SCALE"],
        units=[None, "s", "deg_C", "adu", None],
    )
    for name, table in (("ODD", Table(truth.odd)), ("FRAMES", frames)):
        hdus.append(fits.table_to_hdu(table))
        hdus[-1].name = name
    fits.HDUList(hdus).writeto(path)


# --- command line


def main(argv=None):
    """Write simulated darks; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hotfit.simulate", description="Write simulated darks.")
    parser.add_argument("directory", metavar="DIR", help="a new or empty directory")
    parser.add_argument("--camera", choices=CAMERAS, default="guide")
    parser.add_argument("--shape", type=int, nargs=2, metavar=("ROWS", "COLUMNS"))
    parser.add_argument("--exposures", type=float, nargs="+", metavar="SECONDS", help="0 makes bias frames")
    parser.add_argument("--frames-per-exposure", type=int, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    try:
        paths, truth = write(
            options.directory,
            options.camera,
            seed=options.seed,
            shape=options.shape,
            exposures=options.exposures,
            repeats=options.frames_per_exposure,
        )
    except (HotfitError, OSError) as error:
        print(f"hotfit.simulate: {error}", file=sys.stderr)
        return 1
    rows, columns = truth.kind.shape
    print(f"{len(paths)} frames of {rows} x {columns} pixels and truth.fits written to {options.directory}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
