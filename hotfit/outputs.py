"""The files of a result, each written once: the images by blocks of rows in threads, the rest at the end."""

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table

import hotfit
from hotfit.export import check_exports, write_list
from hotfit.findings import Findings
from hotfit.flags import DQ, reasons
from hotfit.hdus import IMAGES, images_of, tables_of
from hotfit.imagefile import ImageFile, empty
from hotfit.maps import blocks, in_threads
from hotfit.places import MAP_FILE
from hotfit.result import DarkFit

HDU_NAMES = {attribute: name for name, (attribute, _) in IMAGES.items() if name not in ("MASK", "DQ")}
"""The HDUs of the maps that are known before the flags."""


class Extras(NamedTuple):
    """What is written only if it is asked for."""

    report: bool = False
    export: tuple[str, ...] = ()  # names of programs, see `hotfit.export`

    @classmethod
    def checked(cls, report: bool, export: str | Iterable[str]) -> "Extras":
        """Raises HotfitError if these cannot be made."""
        if report:
            from hotfit.drawing import check_matplotlib

            check_matplotlib()
        return cls(report, check_exports(export))


NOTHING = Extras()


def write_files(fit: DarkFit, directory, extras: Extras = NOTHING) -> None:
    """Write every file of a fit in memory into a directory that is empty or can be made."""
    directory = Path(directory)
    directory.mkdir(exist_ok=True)
    with ImageFile(directory / MAP_FILE, images_of(fit)) as file:

        def write_rows(first, last):
            for attribute, name in HDU_NAMES.items():
                file.write(name, first, getattr(fit, attribute)[first:last])

        in_threads(write_rows, blocks(fit.dq.shape))
        complete(fit, file, directory, extras)


def complete(fit: Findings, file: ImageFile, directory: Path, extras: Extras) -> None:
    """Write what follows from the flags: their images, the other files meanwhile, headers and tables."""
    mask = fits.PrimaryHDU(empty(fit.dq.shape, np.uint8))
    mask.header["IMAGETYP"] = ("dark mask", "1 = bad")
    mask.header["BUNIT"] = ""
    mask.header["CREATOR"] = f"hotfit {hotfit.__version__}"
    with ImageFile(directory / "mask.fits", [mask]) as mask_file, ThreadPoolExecutor(1) as aside:

        def write_rows(first, last):
            dq = fit.dq[first:last]
            bad = ((dq & np.uint32(DQ.DO_NOT_USE)) != 0).view(np.uint8)
            file.write("DQ", first, dq)
            file.write("MASK", first, bad)
            mask_file.write("PRIMARY", first, bad)

        images = aside.submit(in_threads, write_rows, blocks(fit.dq.shape))
        table = bad_pixels(fit)
        table.write(directory / "bad_pixels.ecsv")
        text = json.dumps({"version": hotfit.__version__, **fit.summary()}, indent=2)
        (directory / "summary.json").write_text(text + "\n", encoding="utf-8")
        for name in extras.export:
            write_list(fit, name, directory)
        if extras.report:
            from hotfit.report import REPORT_FILE, write_report

            write_report(fit, table, directory / REPORT_FILE)
        images.result()
        mask_file.finish([mask], [])
    if fit.state is not None:
        fit = replace(fit, state=fit.state.write(directory))
    file.finish(images_of(fit), tables_of(fit))


def write_plane(plane: Mapping, directory: Path, report: bool) -> None:
    """Write what several detectors have in common, see `hotfit.focalplane`, beside their directories."""
    text = json.dumps(plane, indent=2)
    (directory / "summary.json").write_text(text + "\n", encoding="utf-8")
    if report:
        from hotfit.overview import write_overview
        from hotfit.report import REPORT_FILE

        write_overview(plane, directory / REPORT_FILE, REPORT_FILE)


def bad_pixels(fit: Findings) -> Table:
    """One row for every masked pixel: where it is, its rate, and the flags that made it bad."""
    y, x = fit.masked()
    dq = fit.dq[y, x]
    columns = ("slope_residual", "slope_residual_error", "misfit", "misfit_fraction", "scatter")
    values = fit.values_at(y, x, ("rate", "rate_error", *columns))
    return Table(
        {
            "x": x.astype(np.int32),
            "y": y.astype(np.int32),
            "rate": values["rate"] * fit.unit,
            "error": values["rate_error"] * fit.unit,
            **{name: values[name] for name in columns},
            "reasons": reasons(dq, fit.rules.bad),
        }
    )
