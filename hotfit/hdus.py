"""dark_current.fits: a DarkFit as HDUs, and back."""

from urllib.parse import quote, unquote

import numpy as np
from astropy import units
from astropy.io import fits
from astropy.table import Table

import hotfit
from hotfit.calibrate import Detector
from hotfit.curves import Curves
from hotfit.findings import Findings, number, spelled
from hotfit.flags import DQ, MEANING, Rules
from hotfit.imagefile import WORD, empty, fold, word_sum
from hotfit.result import DarkFit

IMAGES = {
    "PRIMARY": ("rate", "float32"),
    "UNCERT": ("rate_error", "float32"),
    "MASK": ("mask", "uint8"),
    "DQ": ("dq", "uint32"),
    "INTERCEPT": ("intercept", "float32"),
    "SLOPERES": ("slope_residual", "float32"),
    "SLOPEERR": ("slope_residual_error", "float32"),
    "LACKFIT": ("lack_of_fit", "float32"),
    "SCATTER": ("scatter", "float32"),
    "MISFIT": ("misfit", "float32"),
    "MISFRAC": ("misfit_fraction", "float32"),
    "NUSED": ("n_used", "uint16"),
    "NGROUPS": ("n_groups", "uint16"),
    "NDROPPED": ("n_dropped", "uint8"),
}
"""The images of dark_current.fits in their order: the attributes they hold, and the types."""

PLAIN = "".join(chr(code) for code in range(32, 127) if chr(code) not in "%'")
"""What long FITS text can hold as it is; the rest is written as in an URL."""


def header_of(fit: Findings) -> fits.Header:
    """Detector, thresholds, counts of flags and version."""
    electrons = np.isfinite(fit.detector.gain)
    detector, rules = fit.detector, fit.rules
    cards = [
        ("BUNIT", spelled(fit.unit), "unit of the dark current"),
        ("IMAGETYP", "dark current", ""),
        ("CREATOR", f"hotfit {hotfit.__version__}", ""),
        ("EGAIN", number(detector.gain), "[electron/adu] gain"),
        ("GAINSRC", detector.gain_source, "source of the gain"),
        ("OWNGAIN", number(detector.measured_gain), "[electron/adu] gain that the darks show"),
        ("OWNGERR", number(detector.measured_gain_error), "standard error of OWNGAIN"),
        ("RDNOISE", detector.read_noise, f"[{'electron' if electrons else 'adu'}] read noise"),
        ("RNERR", number(detector.read_noise_error), "standard error of the read noise"),
        ("RNSRC", detector.read_noise_source, "source of the read noise"),
        ("SATURATE", number(detector.saturation), "[adu] saturation level"),
        ("SATSRC", detector.saturation_source, "source of the saturation level"),
        ("ADCSTEP", detector.step, "[adu] step of the converter"),
        ("BIASSUB", fit.bias_subtracted, "line through the origin"),
        ("FLOOR", number(fit.charge_floor), "[adu] an intercept above it holds charge"),
        ("HOT", rules.hot, "limit on the rate given by the user"),
        ("HOTLIMIT", number(fit.hot_limit), "limit on the rate used, unit of the map"),
        ("FDR", rules.fdr, "accepted false share of significant pixels"),
        ("TOLERANC", rules.tolerance, "least misfit over largest dark signal"),
        ("MINSIGMA", rules.min_sigma, "least misfit in single-frame sigmas"),
        ("BADFLAGS", ",".join(rules.bad), "flags that set DO_NOT_USE"),
        ("NULLLOF", number(fit.lack_of_fit_null), "lack of fit of quiet pixels / expected"),
        ("NULLSCAT", number(fit.scatter_null), "scatter of quiet pixels / expected"),
        ("NOISEDOF", number(fit.shared_degrees), "degrees of freedom of the shared noise"),
        ("PLIMIT", number(fit.lack_of_fit_limit), "p-value of lack of fit that is significant"),
        ("NFRAMES", len(fit.frames), "darks fitted"),
        ("STATEID", "" if fit.state is None else fit.state.identity, "of state.fits, for updates"),
        ("NCURVES", 0 if fit.curves is None else fit.curves.y.size, "pixels whose samples are kept"),
    ]
    counts = fit.flag_counts()
    cards += [(f"NBIT{int(flag).bit_length() - 1}", counts[flag.name], f"pixels {flag.name}") for flag in DQ]
    header = fits.Header(cards)
    for index, note in enumerate(fit.notes, start=1):
        header[f"NOTE{index}"] = quote(note, safe=PLAIN, errors="surrogateescape")
    return header


def images_of(fit: Findings) -> list:
    """The HDUs of the images, without their data; units of maps other than the rate are those of CCDData."""
    images = {name: empty(fit.dq.shape, dtype) for name, (_, dtype) in IMAGES.items()}
    primary = fits.PrimaryHDU(images.pop("PRIMARY"), header_of(fit))
    extensions = {name: fits.ImageHDU(image, name=name) for name, image in images.items()}
    extensions["UNCERT"].header["BUNIT"] = spelled(fit.unit)
    extensions["UNCERT"].header["UTYPE"] = "StdDevUncertainty"
    extensions["INTERCEPT"].header["BUNIT"] = "adu"
    hdus = fits.HDUList([primary, *extensions.values()])
    hdus.update_extend()
    return list(hdus)


def tables_of(fit: Findings) -> list:
    """The HDUs of the tables."""
    frames = fit.frames.copy()
    frames["file"] = [quote(name, safe=PLAIN, errors="surrogateescape") for name in frames["file"]]
    names = [flag.name for flag in DQ]
    bits = np.array([int(flag).bit_length() - 1 for flag in DQ], np.int16)
    flagdef = Table({"bit": bits, "name": names, "meaning": [MEANING[flag] for flag in DQ]})
    tables = {"FRAMES": frames, "FLAGDEF": flagdef}
    if fit.curves is not None:
        tables["CURVES"] = Table(vars(fit.curves))
    hdus = {name: fits.table_to_hdu(table) for name, table in tables.items()}
    for name, hdu in hdus.items():
        hdu.name = name
    return list(hdus.values())


def from_hdus(opened: fits.HDUList) -> DarkFit:
    """The DarkFit whose HDUs these are."""
    check_complete(opened)
    maps = {attribute: native(opened[name].data) for name, (attribute, _) in IMAGES.items()}
    del maps["mask"]  # a bit of dq
    for name, array in maps.items():
        if array.shape != maps["rate"].shape:
            raise ValueError(f"{name} has shape {array.shape}, the rate {maps['rate'].shape}")
    return DarkFit(**maps, **numbers_of(opened))


def findings_from(opened: fits.HDUList) -> Findings:
    """The same without its maps, of which none is read: no flag is set."""
    check_complete(opened)
    return Findings(dq=empty(opened[0].shape, np.uint32), **numbers_of(opened))


def numbers_of(opened: fits.HDUList) -> dict:
    """All findings but maps, by the names of their attributes."""
    header = opened[0].header

    def known(key):
        return np.nan if header[key] is None else header[key]

    detector = Detector(
        gain=known("EGAIN"),
        gain_source=header["GAINSRC"],
        read_noise=header["RDNOISE"],
        read_noise_source=header["RNSRC"],
        saturation=np.inf if header["SATURATE"] is None else header["SATURATE"],
        saturation_source=header["SATSRC"],
        step=header["ADCSTEP"],
        read_noise_error=known("RNERR"),
        measured_gain=known("OWNGAIN"),
        measured_gain_error=known("OWNGERR"),
    )
    rules = Rules(
        hot=header["HOT"],
        fdr=header["FDR"],
        tolerance=header["TOLERANC"],
        min_sigma=header["MINSIGMA"],
        bad=tuple(name for name in header["BADFLAGS"].split(",") if name),
    )
    return {
        "unit": units.Unit(header["BUNIT"]),
        "frames": native_table(opened["FRAMES"]),
        "detector": detector,
        "rules": rules,
        "bias_subtracted": header["BIASSUB"],
        "charge_floor": np.inf if header.get("FLOOR") is None else header["FLOOR"],
        "hot_limit": known("HOTLIMIT"),
        "lack_of_fit_null": known("NULLLOF"),
        "scatter_null": known("NULLSCAT"),
        "shared_degrees": known("NOISEDOF"),
        "lack_of_fit_limit": known("PLIMIT"),
        "curves": curves_of(opened),
        "notes": tuple(
            unquote(header[f"NOTE{index + 1}"], errors="surrogateescape")
            for index in range(len(header["NOTE*"]))
        ),
    }


def is_sound(opened: fits.HDUList) -> bool:
    """Whether headers and tables are as they were written, by their checksums; images are not looked at."""
    for hdu in opened:
        where = hdu.fileinfo()
        where["file"].seek(where["hdrLoc"])
        header = where["file"].read(where["datLoc"] - where["hdrLoc"])
        stated = int(hdu.header.get("DATASUM", -1))
        if fold(sum_of(header) + stated) != WORD:
            return False
        if isinstance(hdu, fits.BinTableHDU) and sum_of(where["file"].read(where["datSpan"])) != stated:
            return False
    return True


def sum_of(content: bytes) -> int:
    """The sum of the words of an HDU's header or data."""
    return word_sum(np.frombuffer(content, np.uint8), 0)


def check_complete(opened: fits.HDUList) -> None:
    """Raise ValueError if an HDU is missing; an older version may have had fewer."""
    header = opened[0].header
    needed = (*IMAGES, "FRAMES", *["CURVES"] * (header.get("NCURVES", 0) > 0))
    missing = [name for name in needed if name not in opened]
    if missing:
        maker = header.get("CREATOR", "an unknown program")
        raise ValueError(f"it lacks {', '.join(missing)}, and was made by {maker}")


def curves_of(opened: fits.HDUList) -> Curves | None:
    """The samples that a result holds; None where it is of a version that kept none."""
    if "CURVES" not in opened:
        return None
    table = native_table(opened["CURVES"])
    return Curves(**{name: np.asarray(table[name]) for name in table.colnames})


def native_table(hdu) -> Table:
    """A table with the byte order of this machine and names as they were."""
    table = Table.read(hdu, mask_invalid=False)
    table.meta.clear()
    for name in table.colnames:
        column = table[name]
        if column.dtype.kind in "SU":
            table[name] = [unquote(text, errors="surrogateescape") for text in column.astype(str)]
        else:
            table.replace_column(name, column.astype(column.dtype.newbyteorder("=")))
    return table


def native(array) -> np.ndarray:
    """The array in this machine's byte order; raises TypeError where there is none."""
    if array is None:
        raise TypeError("a map has no data")
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))
