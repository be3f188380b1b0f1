"""Trim and overscan: the same as ccdproc on the whole image, whatever band is read."""

import ccdproc
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

import hotfit
from hotfit.darks import open_darks
from hotfit.errors import HotfitError

ROWS, COLUMNS = 20, 30
RNG = np.random.default_rng(3)
COUNTS = RNG.integers(900, 1100, (2, ROWS, COLUMNS)).astype(np.uint16)


def make(counts=COUNTS, **cards):
    """Two darks in memory."""
    header = fits.Header({"IMAGETYP": "DARK", **cards})
    return [
        fits.PrimaryHDU(image, fits.Header({**header, "EXPTIME": 10.0 * (i + 1)}))
        for i, image in enumerate(counts)
    ]


def by_ccdproc(image, trim, overscan=None, axis=None):
    """What ccdproc makes of the whole image, given full sections."""
    ccd = CCDData(image, unit="adu")
    if overscan:
        ccd = ccdproc.subtract_overscan(ccd, fits_section=overscan, overscan_axis=axis, median=True)
    return ccdproc.trim_image(ccd, fits_section=trim).data


@pytest.mark.parametrize(
    ("trim", "full"),
    [
        ("[1:25,1:20]", "[1:25,1:20]"),
        (" [ 3 : 25 , 2 : 19 ] ", "[3:25,2:19]"),
        ("[3:25]", "[3:25,*]"),
        ("3:25", "[3:25,*]"),
        ("[3:25, :]", "[3:25,*]"),
        ("[*,5:9]", "[*,5:9]"),
        ("[25:3,2:19]", "[25:3,2:19]"),
        ("[3:25,19:2]", "[3:25,19:2]"),
        ("[25:1,20:1]", "[25:1,20:1]"),
        ("[-*,-*]", "[-*,-*]"),
        ("[7:7,4:18]", "[7:7,4:18]"),
        ("TRIMSEC", "[2:28,3:20]"),
        ("datasec", "[1:25,1:20]"),
    ],
)
def test_trimmed_bands_are_those_of_ccdproc(trim, full):
    darks = open_darks(make(TRIMSEC="[2:28,3:20]", DATASEC="[1:25, 1:20]"), trim=trim)
    expected = np.array([by_ccdproc(image, full) for image in COUNTS])
    assert darks.dtype == np.uint16
    assert darks.shape == expected.shape[1:]
    for first, last in [(0, darks.shape[0]), (0, 1), (2, 5), (darks.shape[0] - 1, darks.shape[0])]:
        np.testing.assert_array_equal(darks.rows(first, last), expected[:, first:last])


@pytest.mark.parametrize(
    ("overscan", "full", "axis", "trim"),
    [
        ("[26:30]", "[26:30,*]", 1, "[1:25,*]"),
        ("[26:30,1:20]", "[26:30,*]", 1, "[1:25,4:18]"),
        ("[30:26]", "[26:30,*]", 1, "[25:1,18:4]"),
        ("BIASSEC", "[26:30,*]", 1, "[1:25,*]"),
        ("[*,18:20]", "[*,18:20]", 0, "[1:25,1:17]"),
        ("[1:30,1:2]", "[*,1:2]", 0, "[1:25,20:3]"),
    ],
)
def test_overscan_subtracted_bands_are_those_of_ccdproc(overscan, full, axis, trim):
    darks = open_darks(make(BIASSEC="[26:30]"), trim=trim, overscan=overscan)
    expected = np.array([by_ccdproc(image, trim, full, axis) for image in COUNTS])
    assert darks.dtype == np.float32
    for first, last in [(0, darks.shape[0]), (2, 5)]:
        np.testing.assert_array_equal(darks.rows(first, last), expected[:, first:last].astype(np.float32))


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"trim": "[1:31,*]"}, "--trim [1:31,*] does not fit its 30 columns and 20 rows"),
        ({"trim": "[0:5,*]"}, "does not fit"),
        ({"trim": "[1:5,1:21]"}, "does not fit"),
        ({"trim": "[1:5:2,*]"}, "not a FITS section"),
        ({"trim": "[a:b]"}, "not a FITS section"),
        ({"trim": "[]"}, "not a FITS section"),
        ({"trim": "[1:5,1:5,1:5]"}, "not a FITS section"),
        ({"trim": "NOSEC"}, "has no NOSEC in its header; give --trim as"),
        ({"trim": "BADSEC"}, "--trim BADSEC = all is not a FITS section"),
        ({"overscan": "[26:30,1:10]"}, "the overscan [26:30,1:10] ends before the image does"),
        ({"overscan": "[1:10,19:20]"}, "trim the image to the same columns with --trim"),
        ({"overscan": "[26:31]"}, "--overscan [26:31] does not fit"),
    ],
)
def test_sections_that_do_not_fit_are_refused(options, part):
    with pytest.raises(HotfitError) as caught:
        open_darks(make(BADSEC="all"), **options)
    assert str(caught.value).startswith("frame 1: ")
    assert part in str(caught.value)


def test_raw_frames_beside_trimmed_ones():
    """As in the Guide: frames 4109 wide and 4096 wide; what survives in a trimmed header fits it still."""
    raw, trimmed = make(TRIMSEC="[1:25, :]", BIASSEC="[26:30]")
    trimmed = fits.PrimaryHDU(trimmed.data[:, :25], trimmed.header)
    with pytest.raises(HotfitError, match="20 x 25"):
        open_darks([raw, trimmed, *make()])
    assert open_darks([raw, trimmed], trim="TRIMSEC").shape == (20, 25)
    with pytest.raises(HotfitError, match=r"frame 2: --overscan BIASSEC = \[26:30\] does not fit its 25"):
        open_darks([raw, trimmed], trim="TRIMSEC", overscan="BIASSEC")


CLIPPED = {
    "16 bits": (65535, 1, np.uint16, {}),
    "16 bits in 32": (65535, 1, np.int32, {}),
    "16 bits in floats": (65535, 1, np.float32, {}),
    "12 bits": (4095, 1, np.uint16, {}),
    "12 bits shifted by 4": (65520, 16, np.uint16, {}),
    "16 bits, signed": (32767, 1, np.int16, {}),
    "full wells, given": (50000, 1, np.uint16, {"saturation": 49900}),
}


@pytest.mark.parametrize("name", CLIPPED)
def test_full_wells_stay_full_after_overscan_subtraction(name):
    """A level that varies from row to row must not turn a clipped sample into a count."""
    top, step, dtype, options = CLIPPED[name]
    rng = np.random.default_rng(1)
    exposure = np.repeat([0.0, 100.0], 5)
    counts = 1000 + rng.normal(0, 8, (10, 60, 90)) + 0.02 * exposure[:, None, None]
    counts[:, 30] += 60  # the level of this row lies above the others
    counts[exposure > 0, 30, 40:50] = 1e6
    counts = (np.minimum(counts, top) // step * step).astype(dtype)
    frames = [
        fits.PrimaryHDU(image, fits.Header({"IMAGETYP": "DARK", "EXPTIME": time}))
        for image, time in zip(counts, exposure, strict=True)
    ]
    fit = hotfit.fit_darks(frames, trim="[1:80]", overscan="[81:90]", **options)
    full = (fit.dq & np.uint32(hotfit.DQ.SATURATED)) != 0
    assert np.argwhere(full).tolist() == [[30, column] for column in range(40, 50)]
    assert np.isnan(fit.rate[30, 40:50]).all()
    assert abs(np.nanmedian(fit.intercept)) < max(2, step)
    assert fit.detector.saturation == pytest.approx(options.get("saturation", top) - 1000, abs=8)
    assert not any("no saturation level" in note for note in fit.notes)


def test_stuck_pixels_are_told_under_an_overscan():
    """They do not change in the counts as they are stored."""
    rng = np.random.default_rng(1)
    exposure = np.repeat([0.0, 100.0, 300.0], 7)
    counts = 1000 + rng.normal(0, 8, (21, 60, 90)) + 0.02 * exposure[:, None, None]
    counts += rng.normal(0, 3, (21, 60, 1))
    counts[:, 7, 8], counts[:, 50, 60] = 700, 30000
    frames = [
        fits.PrimaryHDU(image, fits.Header({"IMAGETYP": "DARK", "EXPTIME": time}))
        for image, time in zip(counts.round().astype(np.uint16), exposure, strict=True)
    ]
    fit = hotfit.fit_darks(frames, trim="[1:80]", overscan="[81:90]")
    assert np.argwhere(np.isnan(fit.rate)).tolist() == [[7, 8], [50, 60]]
    assert np.argwhere(fit.mask).tolist() == [[7, 8], [50, 60]]


def test_a_claim_of_the_header_counts_the_overscan_too():
    rng = np.random.default_rng(1)
    frames = [
        fits.PrimaryHDU(
            rng.normal(1000 + 5 * time, 8, (60, 90)).round().astype(np.uint16),
            fits.Header({"IMAGETYP": "DARK", "EXPTIME": time, "SATURATE": 3000}),
        )
        for time in (0.0, 0.0, 100.0, 100.0)
    ]
    fit = hotfit.fit_darks(frames, trim="[1:80]", overscan="[*,1:1]", bias_subtracted=False)
    assert fit.detector.saturation_source == "header"
    assert fit.detector.saturation == pytest.approx(3000 - 1500, abs=20)
