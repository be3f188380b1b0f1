"""Bad pixels found by hotfit and by others in darks with known truth: ``python bench/accuracy.py``.

Every set of darks is written to FITS files, which all read. One case is of middle difficulty, and each of the
others changes one thing in it. Markdown tables: A, all methods in the middle case; B, hotfit, and all methods
in short, in every case; C, what hotfit measured of detector and frames. Pixels are counted over all seeds.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from masks import HOT, RIVALS, Frames, fit_hotfit

import hotfit
from hotfit import simulate
from hotfit.simulate import Kind

EXPOSURES = {"guide": (0.0, 90.0, 200.0, 450.0, 1000.0), "cmos": (0.0, 30.0, 60.0, 120.0, 300.0)}
REPEATS = 6
CROWDING = 5.0
METHODS = ("hotfit", *RIVALS)
ODD = ("roll-off", "late onset", "telegraph", "constant")
POPULATIONS = (*ODD, "good", "hot")
SCORES = (*(f"{kind}, %" for kind in ODD), "good, per million", "hot, %", "good and hot among masked, %")
MEASURED = (
    "gain, %",
    "gain from",
    "read noise, %",
    "saturation level / lowest full well reached",
    "scale rms, %",
    "scale rms of the longest exposure, %",
    "offset rms, adu",
    "notes",
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """How a set of darks is taken; the defaults are the middle case."""

    label: str
    jitter: float = 0.01  # relative rms of the dark rates' common factor
    drift: float = 2.0  # rms of the bias level, adu
    cosmic: float = 1.0  # times the camera's rate of cosmic rays
    header_gain: float | None = None  # EGAIN over the true gain; None leaves the camera's habit
    bias_frames: bool = True
    options: dict = field(default_factory=dict)  # what hotfit needs to accept the set

    def changes(self, camera: simulate.Camera) -> dict:
        """What `hotfit.simulate` has to change in the camera."""
        exposures = EXPOSURES[camera.name]
        if not self.bias_frames:
            exposures = (exposures[1] / 3, *exposures[1:])
        return {
            "exposures": exposures,
            "repeats": REPEATS,
            "jitter": self.jitter,
            "drift": self.drift,
            "cosmic_rate": camera.cosmic_rate * self.cosmic,
            "hot_fraction": camera.hot_fraction * CROWDING,
        }


CASES = {
    "middle": Case(label="middle"),
    "jitter-0.3": Case(label="temperature jitter 0.3 %", jitter=0.003),
    "jitter-3": Case(label="temperature jitter 3 %", jitter=0.03, options={"temperature_tolerance": 2.0}),
    "drift-0": Case(label="no bias drift", drift=0.0),
    "drift-10": Case(label="bias drift 10 adu", drift=10.0),
    "cosmic-10": Case(label="cosmic rays x 10", cosmic=10.0),
    "gain-4": Case(label="header gain x 4", header_gain=4.0),
    "no-bias": Case(label="no bias frames", bias_frames=False),
}
ALL_CASES = ",".join(CASES)


class Measured(NamedTuple):
    """What hotfit found out about one set, against the truth."""

    gain: float  # relative error
    gain_source: str
    read_noise: float  # relative error
    saturation: float  # level over the lowest full well that a pixel reached; nan if none did
    scale: float  # rms error over frames of more than 0 s
    longest_scale: float  # rms error over frames of the longest exposure
    offset: float  # rms error over all frames, adu
    notes: tuple[str, ...]


class Tally(NamedTuple):
    """Pixels of each population, those that each method masked, and what hotfit measured."""

    size: np.ndarray  # (populations,)
    masked: np.ndarray  # (methods, populations)
    full: int  # linear pixels in no population: full in the second shortest exposure
    measured: tuple[Measured, ...]  # of each seed

    def parts(self, method: int) -> np.ndarray:
        """Masked part of each population."""
        return self.masked[method] / np.maximum(self.size, 1)

    def odd_part(self, method: int) -> float:
        """Masked part of all odd pixels."""
        return self.masked[method, : len(ODD)].sum() / max(self.size[: len(ODD)].sum(), 1)

    def false_share(self, method: int) -> float:
        """Linear pixels among all that the method masked."""
        masked = self.masked[method]
        return masked[len(ODD) :].sum() / max(masked.sum(), 1)


def together(one: Tally, other: Tally) -> Tally:
    """The pixels and measurements of both."""
    return Tally(*map(add, one, other))


# --- measuring


def run_seeds(case: Case, camera: simulate.Camera, side: int, seeds: int) -> Iterator[Tally]:
    """Run one case with the seeds 1 to `seeds`, and say so on stderr."""
    for seed in range(1, seeds + 1):
        print(f"{camera.name}, {case.label}, seed {seed}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as scratch:
            yield run_case(case, camera, side, seed, Path(scratch) / "darks")


def run_case(case: Case, camera: simulate.Camera, side: int, seed: int, directory: Path) -> Tally:
    """Simulate one set of darks, run all methods on its files and count."""
    paths, truth = simulate.write(
        directory, camera.name, seed=seed, odd=CROWDING, shape=(side, side), **case.changes(camera)
    )
    if case.header_gain is not None:
        for path in paths:
            fits.setval(path, "EGAIN", value=truth.gain * case.header_gain)
    quantisation = (camera.step * truth.gain) ** 2 / 12
    frames = Frames(paths, truth.exposure, truth.gain, truth.read_noise**2 + quantisation)
    fit = fit_hotfit(frames, **case.options)
    masks = [fit.mask, *(rival(frames) for rival in RIVALS.values())]
    populations, full = sort_pixels(truth, frames.cube)
    size = [np.count_nonzero(members) for members in populations]
    masked = [[np.count_nonzero(mask & members) for members in populations] for mask in masks]
    return Tally(np.array(size), np.array(masked), full, (compare(fit, truth, frames.cube),))


def sort_pixels(truth: simulate.Truth, cube) -> tuple[list[np.ndarray], int]:
    """The members of each of `POPULATIONS`, and the number of linear pixels left out.

    Left out is what fills its well in the second shortest exposure: one exposure time makes no line.
    """
    kind, hot, linear = truth.kind, truth.rate >= HOT, truth.kind == Kind.LINEAR
    second = truth.exposure == np.unique(truth.exposure)[1]
    full = linear & (cube[second].max(axis=0) >= truth.full_well)
    linear &= ~full
    moving = [kind == odd for odd in (Kind.ROLL_OFF, Kind.LATE_ONSET, Kind.TELEGRAPH)]
    constant = np.isin(kind, (Kind.STUCK, Kind.DEAD, Kind.SATURATED))
    return [*moving, constant, linear & ~hot, linear & hot], int(np.count_nonzero(full))


def compare(fit: hotfit.DarkFit, truth: simulate.Truth, cube) -> Measured:
    """hotfit's measurements of detector and frames against the truth."""
    reached = truth.full_well[(cube.max(axis=0) >= truth.full_well) & (truth.kind != Kind.SATURATED)]
    scale_error = np.asarray(fit.frames["scale"]) - truth.scale
    return Measured(
        gain=fit.detector.gain / truth.gain - 1,
        gain_source=fit.detector.gain_source,
        read_noise=fit.detector.read_noise / truth.read_noise - 1,
        saturation=fit.detector.saturation / reached.min() if reached.size else np.nan,
        scale=rms(scale_error[truth.exposure > 0]),
        longest_scale=rms(scale_error[truth.exposure == truth.exposure.max()]),
        offset=rms(np.asarray(fit.frames["offset"]) - truth.offset),
        notes=tuple(note.partition(":")[0] for note in fit.notes),
    )


def rms(values) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


# --- tables


def print_table(title: str, head, rows) -> None:
    """Print a Markdown table whose first column is text and whose others are numbers."""
    lines = [("", *head), ("---", *["---:"] * len(head)), *rows]
    print(f"\n{title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines))


def percent(part: float, digits: int) -> str:
    return f"{100 * part:.{digits}f}"


def per_million(part: float) -> str:
    return f"{1e6 * part:.1f}" if part < 1e-4 else f"{1e6 * part:.0f}"


def scores(tally: Tally, method: int) -> tuple[str, ...]:
    """The cells of `SCORES`."""
    *odd, good, hot = tally.parts(method)
    false_share = percent(tally.false_share(method), 1)
    return (*(percent(part, 1) for part in odd), per_million(good), percent(hot, 2), false_share)


def short_scores(tally: Tally, method: int) -> str:
    """Odd pixels found in %, good ones masked per million and linear hot ones masked in %."""
    *_, good, hot = tally.parts(method)
    return f"{percent(tally.odd_part(method), 1)} / {per_million(good)} / {percent(hot, 2)}"


def measurements(tally: Tally) -> tuple[str, ...]:
    """The cells of `MEASURED`: the largest error of the seeds."""
    columns = Measured(*zip(*tally.measured, strict=True))
    notes = dict.fromkeys(note for notes in columns.notes for note in notes)
    return (
        f"{100 * max(columns.gain, key=abs):+.1f}",
        ", ".join(dict.fromkeys(columns.gain_source)),
        f"{100 * max(columns.read_noise, key=abs):+.1f}",
        f"{min(columns.saturation):.3f} to {max(columns.saturation):.3f}",
        percent(max(columns.scale), 3),
        percent(max(columns.longest_scale), 3),
        f"{max(columns.offset):.3f}",
        "; ".join(notes) or "none",
    )


def print_tables(name: str, tallies: dict[str, Tally]) -> None:
    """Tables A, B and C of one camera from its tallies by case."""
    if middle := tallies.get("middle"):
        rows = [(method, *scores(middle, index)) for index, method in enumerate(METHODS)]
        print_table(f"### A. {name}, middle case: masked", SCORES, rows)
        sizes = ", ".join(f"{size} {text}" for size, text in zip(middle.size, POPULATIONS, strict=True))
        print(f"\nPixels: {sizes}. Not counted: {middle.full} linear, full in the second shortest exposure.")
    labelled = [(CASES[key].label, tally) for key, tally in tallies.items()]
    rows = [(label, *scores(tally, 0)) for label, tally in labelled]
    print_table(f"### B. {name}, every case: masked by hotfit", SCORES, rows)
    rows = [(label, *(short_scores(tally, i) for i in range(len(METHODS)))) for label, tally in labelled]
    print_table("Odd found, % / good masked, per million / hot masked, %:", METHODS, rows)
    rows = [(label, *measurements(tally)) for label, tally in labelled]
    print_table(f"### C. {name}: errors of what hotfit measured, the largest of the seeds", MEASURED, rows)


def print_facts(names: list[str], options: argparse.Namespace) -> None:
    """What the tables were made from, and the command that makes them again."""
    print(
        f"\n{REPEATS} frames of each exposure, {options.side} x {options.side} pixels, seeds 1 to "
        f"{options.seeds}. Odd and hot pixels are {CROWDING:g} times as many as in the cameras of "
        "hotfit.simulate. Middle case: temperature jitter 1 %, bias drift 2 adu.\n"
    )
    for name in names:
        camera = simulate.CAMERAS[name]
        print(
            f"* {name}: {', '.join(f'{seconds:g}' for seconds in EXPOSURES[name])} s; {camera.bits} bits; "
            f"gain {camera.gain:g} e-/adu, in the header {camera.gain * camera.step:g}; read noise "
            f"{camera.read_noise:g} e-; {camera.cosmic_rate:g} cosmic rays a second and million pixels"
        )
    command = f"python bench/accuracy.py --side {options.side} --seeds {options.seeds}"
    command += f" --cases {options.cases}" if options.cases != ALL_CASES else ""
    command += f" --camera {options.camera}" if options.camera else ""
    print(
        f"\nConstant: stuck, dead or saturated. Good: linear below {HOT:g} e-/s. Hot: linear from there on. "
        f"hotfit {hotfit.__version__} is given no option (at 3 % jitter a temperature tolerance of 2 K), the "
        f"rivals true gain and read noise. Made by `{command}`."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=1024, help="rows and columns of the darks (1024)")
    parser.add_argument("--seeds", type=int, default=2, help="sets of darks of each case (2)")
    parser.add_argument("--cases", default=ALL_CASES, help=f"some of {ALL_CASES}")
    parser.add_argument("--camera", choices=EXPOSURES, help="one camera; both by default")
    options = parser.parse_args()
    keys = options.cases.split(",")
    if options.side < 64 or options.seeds < 1 or not set(keys) <= set(CASES):
        parser.error(f"--side must be at least 64, --seeds at least 1, --cases some of {ALL_CASES}")
    names = [options.camera] if options.camera else list(EXPOSURES)
    for name in names:
        camera = simulate.CAMERAS[name]
        tallies = {
            key: reduce(together, run_seeds(CASES[key], camera, options.side, options.seeds)) for key in keys
        }
        print_tables(name, tallies)
    print_facts(names, options)


if __name__ == "__main__":
    main()
