"""state.fits: a state as HDUs, and back."""

import json
import math
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
from astropy.io import fits
from astropy.table import Table

import hotfit
from hotfit.calibrate import Calibration, NoiseModel
from hotfit.darkset import Claims, DarkSet, assemble_members
from hotfit.findings import Findings, number
from hotfit.frames import Frame
from hotfit.geometry import Wells
from hotfit.headers import Claim, Options
from hotfit.readers import Coding, FileRows
from hotfit.state import State, Suspects
from hotfit.sums import FiledSums

VERSION = 2
"""Of what is in these files: others cannot be used."""

TEXTS = ("name", "path", "image_type", "settings", "reader")
"""Columns that may hold any text, which is written as in an URL."""


def to_hdus(state: State, filed: list[FiledSums]) -> list:
    """The HDUs of a state, whose sums are `filed`."""
    noise, darks = state.calibration.noise, state.darks
    options = {**darks.options._asdict(), "temperature_tolerance": number(darks.temperature_tolerance)}
    primary = fits.PrimaryHDU()
    primary.header.update(
        {
            "IMAGETYP": ("dark state", "what frames need to join the fit beside it"),
            "CREATOR": f"hotfit {hotfit.__version__}",
            "STATEVER": (VERSION, "version of this file"),
            "BIASSUB": (state.bias_subtracted, "line through the origin"),
            "ROWS": darks.shape[0],
            "COLUMNS": darks.shape[1],
            "NOISEVAR": (noise.read, "[adu**2] variance of a sample without charge"),
            "NOISESHO": (noise.shot, "[adu] variance per charge in adu"),
            "FLOOR": (number(noise.floor), "[adu] an intercept above it holds charge"),
            "EXCESS": (state.calibration.excess, "variance of quiet pixels / that of the model"),
            "STUCK": (state.calibration.stuck, "so many equal samples are no coincidence"),
            "LEVEL": (number(state.level), "[adu] saturation level of frames all read"),
            **cards_of(state.wells),
            "NSUSPECT": (state.suspects.index.size, "pixels whose samples are all kept"),
            "OPTIONS": quote(json.dumps(options)),
            "CLAIMS": quote(json.dumps(darks.claims)),
            "DOUBTS": quote(json.dumps(state.calibration.doubts)),
        }
    )
    sums = Table(
        {
            "exposure": darks.group_exposure,
            "file": [each.path.name for each in filed],
            "places": np.array([each.places for each in filed], np.int64),
            "checks": np.array([each.checks for each in filed], np.uint64).view(np.int64),
        }
    )
    tables = {"FRAMES": frames_table(state), "SUMS": sums}
    if state.wells is not None and state.wells.stuck is not None:
        tables["STUCK"] = Table({"stored": state.wells.stuck.astype(np.uint8)})
    if state.suspects.index.size:
        tables["SUSPECTS"] = Table({"place": state.suspects.index.astype(np.int64)})
        tables["SUSPECTS"]["counts"] = state.suspects.counts
        tables["SUSPECTS"]["stand_in"] = state.suspects.stand_in
    hdus = [fits.table_to_hdu(table) for table in tables.values()]
    for name, hdu in zip(tables, hdus, strict=True):
        hdu.name = name
    return [primary, *hdus]


def frames_table(state: State) -> Table:
    """One row a frame: what it is, and its terms."""
    frames, calibration = state.darks.frames, state.calibration
    texts = {
        "name": [frame.name for frame in frames],
        "path": list(state.paths),
        "image_type": [frame.image_type for frame in frames],
        "settings": [json.dumps(dict(frame.settings)) for frame in frames],
        "reader": [spelled(frame.reader) for frame in frames],
    }
    return Table(
        {
            **{name: [quote(text, errors="surrogateescape") for text in texts[name]] for name in TEXTS},
            "fingerprint": list(state.fingerprints),
            "exposure": state.darks.exposure,
            "temperature": [frame.temperature for frame in frames],
            "mjd": [frame.begun for frame in frames],
            "n_combined": state.darks.n_combined.astype(np.int64),
            "master": [frame.master for frame in frames],
            "own_offset": state.own_offset,
            "own_scale": state.own_scale,
            "part": state.part,
            "offset": calibration.offset,
            "offset_error": calibration.offset_error,
            "scale": calibration.scale,
            "scale_error": calibration.scale_error,
        }
    )


def cards_of(wells: Wells | None) -> dict:
    """What the header says of full wells."""
    if wells is None:
        return {"OVERSCAN": (False, "an overscan level was subtracted")}
    return {
        "OVERSCAN": (True, "an overscan level was subtracted"),
        "FULL": (number(wells.full), "[adu] stored count of a full converter"),
        "PEDESTAL": (wells.pedestal, "[adu] overscan level of all frames"),
    }


def wells_from(hdus: fits.HDUList) -> Wells | None:
    """The full wells that a state knows of."""
    header = hdus[0].header
    if not header["OVERSCAN"]:
        return None
    stuck = np.asarray(hdus["STUCK"].data["stored"]).astype(np.bool_) if "STUCK" in hdus else None
    return Wells(math.inf if header["FULL"] is None else header["FULL"], header["PEDESTAL"], stuck)


def check_version(header: fits.Header) -> None:
    """Raise ValueError if this is not the header of a state of this version."""
    if header.get("STATEVER") != VERSION:
        raise ValueError(f"it was made by {header.get('CREATOR', 'another program')}, in another version")


def from_hdus(hdus: fits.HDUList, directory: Path, base: Findings) -> State:
    """The state whose HDUs these are."""
    header = hdus[0].header
    frames = columns_of(hdus["FRAMES"])
    for name in TEXTS:
        frames[name] = [unquote(text, errors="surrogateescape") for text in frames[name].tolist()]
    shape = header["ROWS"], header["COLUMNS"]
    if shape != base.dq.shape or list(frames["name"]) != list(base.frames["file"]):
        raise ValueError("it belongs to another result")
    darks = darks_of(frames, shape, json.loads(unquote(header["OPTIONS"])))
    said = json.loads(unquote(header["CLAIMS"]))
    claims = Claims(*(tuple(Claim(*claim) for claim in of_kind) for of_kind in said))
    darks = replace(darks, claims=claims)
    group = darks.group
    part = np.asarray(frames["part"])
    calibration = Calibration(
        detector=base.detector,
        noise=NoiseModel(
            header["NOISEVAR"], header["NOISESHO"], math.inf if header["FLOOR"] is None else header["FLOOR"]
        ),
        **{name: np.asarray(frames[name]) for name in ("offset", "offset_error", "scale", "scale_error")},
        left=np.bincount(group, part) / np.bincount(group),
        excess=header["EXCESS"],
        stuck=header["STUCK"],
        notes=(),
        doubts=tuple(json.loads(unquote(header["DOUBTS"]))),
    )
    return State(
        darks=darks,
        calibration=calibration,
        bias_subtracted=header["BIASSUB"],
        own_offset=np.asarray(frames["own_offset"]),
        own_scale=np.asarray(frames["own_scale"]),
        wells=wells_from(hdus),
        level=math.inf if header["LEVEL"] is None else header["LEVEL"],
        part=part,
        paths=tuple(str(path) for path in frames["path"]),
        fingerprints=tuple(str(text) for text in frames["fingerprint"]),
        sums=tuple(sums_of(hdus, directory, shape, darks.group_exposure.size)),
        suspects=suspects_of(hdus, group.size),
    )


def darks_of(frames: dict, shape: tuple[int, int], options: dict) -> DarkSet:
    """The set of the frames; their rows are not readable."""
    tolerance = options.pop("temperature_tolerance")
    options["mixed"] = tuple(options["mixed"])
    rows = zip(
        *(list(frames[name]) for name in ("exposure", "temperature", "mjd", "n_combined", "master", *TEXTS)),
        strict=True,
    )
    members = [
        Frame(
            name=name,
            exposure=float(exposure),
            temperature=float(temperature),
            begun=float(begun),
            n_combined=int(n_combined),
            master=bool(master),
            image_type=image_type,
            gain_claims=(),
            read_noise_claims=(),
            saturation_claims=(),
            shape=shape,
            settings=json.loads(settings),
            remarks=(),
            reader=reader_of(reader, path),
            path=Path(path) if path else None,
        )
        for exposure, temperature, begun, n_combined, master, name, path, image_type, settings, reader in rows
    ]
    limit = math.inf if tolerance is None else tolerance
    return assemble_members(members, Options(**options), limit)


def spelled(reader: FileRows | None) -> str:
    """Where and how the counts of a plain file are stored, "" for another."""
    if reader is None:
        return ""
    coding = reader.coding
    where = {"offset": reader.offset, "columns": reader.columns, "stored": coding.stored.str}
    return json.dumps({**where, "scale": coding.scale, "zero": coding.zero, "blank": coding.blank})


def reader_of(text: str, path: str) -> FileRows | None:
    """The reader that was so spelled."""
    if not text:
        return None
    said = json.loads(text)
    coding = Coding(np.dtype(said["stored"]), said["scale"], said["zero"], said["blank"])
    return FileRows(Path(path), said["offset"], said["columns"], coding)


def columns_of(hdu) -> dict[str, np.ndarray]:
    """The columns of a table by their names, in this machine's byte order."""
    columns = {name: np.asarray(hdu.data[name]) for name in hdu.columns.names}
    return {name: array.astype(array.dtype.newbyteorder("=")) for name, array in columns.items()}


def sums_of(hdus: fits.HDUList, directory: Path, shape: tuple[int, int], exposures: int):
    """Yield what reads the sums of each exposure."""
    table = columns_of(hdus["SUMS"])
    if len(table["places"]) != exposures:
        raise ValueError(f"it has sums of {len(table['places'])} exposures, and {exposures} are needed")
    checks = table["checks"].view(np.uint64).tolist()
    for name, places, own in zip(table["file"].tolist(), table["places"].tolist(), checks, strict=True):
        yield FiledSums(directory / name, shape, places, own)


def suspects_of(hdus: fits.HDUList, frames: int) -> Suspects:
    """The suspects that were kept."""
    if hdus[0].header["NSUSPECT"] == 0:
        return Suspects(np.empty(0, np.intp), np.empty((0, frames), np.float32), np.empty(0, np.bool_))
    data = hdus["SUSPECTS"].data
    counts = data["counts"].astype(np.float32).reshape(-1, frames)
    return Suspects(data["place"].astype(np.intp), counts, data["stand_in"].astype(np.bool_))
