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


def test_full_wells_stay_full_after_overscan_subtraction():
    """A level that varies from row to row must not turn a clipped sample into a count."""
    cube, exposure, truth = hotfit.simulate.cube("guide", shape=(60, 80), seed=2, repeats=4, odd=0)
    cube[exposure > 0, 30, 40] = 65535
    rng = np.random.default_rng(1)
    strip = rng.normal(truth.intercept.mean(), 6, (*cube.shape[:2], 9)).round().astype(np.uint16)
    wide = np.concatenate([cube, strip], axis=2)
    frames = [
        fits.PrimaryHDU(image, fits.Header({"IMAGETYP": "DARK", "EXPTIME": time}))
        for image, time in zip(wide, exposure, strict=True)
    ]
    fit = hotfit.fit_darks(frames, trim="[1:80]", overscan="[81:89]", gain=truth.gain)
    assert hotfit.DQ.SATURATED in hotfit.DQ(int(fit.dq[30, 40]))
    assert np.isnan(fit.rate[30, 40])
    whole = hotfit.fit_cube(cube, exposure, gain=truth.gain)
    clean = ~(fit.mask | whole.mask)
    assert np.median(np.abs(fit.rate - whole.rate)[clean] / whole.rate_error[clean]) < 1
    assert abs(np.nanmedian(fit.intercept)) < 5
