"""What single cards mean: exposures and refusals, frames combined, image types, masters."""

import numpy as np
import pytest
from astropy.io import fits
from small_darks import header

from hotfit.darks import open_darks
from hotfit.errors import HotfitError

REFUSED = {
    "two keys disagree": ("EXPTIME = 300.\nEXPOSURE= 310.", ["EXPTIME = 300", "EXPOSURE = 310"]),
    "EXPREQ disagrees": ("EXPTIME = 300.\nEXPREQ  = 900.", ["EXPREQ = 900", "EXPTIME = 300"]),
    "DIT disagrees": ("EXPTIME = 3.\nHIERARCH ESO DET DIT = 2.", ["ESO DET DIT = 2", "EXPTIME = 3"]),
    "in seconds at one place, in ms at another": ("ITIME   = 2500", ["ITIME = 2500", "--exposure-unit"]),
    "sums or means": ("EXPTIME = 3.\nCOADDS  = 4", ["COADDS = 4", "@list"]),
    "SharpCap live stack": ("EXPTIME = 280.\nSUBEXP  = 8", ["SUBEXP = 8", "280 s in all"]),
    "-1 for unknown": ("EXPTIME = -1.\nIMAGETYP= 'DARK'", ["EXPTIME = -1"]),
    "negative, no dark": ("EXPTIME = -10.", ["EXPTIME = -10"]),
    "a dark of 0 s that waited": (
        "EXPTIME = 0.\nDARKTIME= 300.\nIMAGETYP= 'Dark Frame'",
        ["EXPTIME = 0 but DARKTIME = 300", "--exposure-key"],
    ),
    "rates": ("EXPTIME = 9.\nBUNIT   = 'electron/s'", ["holds rates (BUNIT = 'electron/s')"]),
    "rates, spelled otherwise": ("EXPTIME = 9.\nBUNIT   = 'adu s-1'", ["holds rates"]),
    "none but a dark time of 0": ("DARKTIME= 0", ["no exposure time"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_exposures_that_would_be_guesses_are_refused(case):
    cards, parts = REFUSED[case]
    with pytest.raises(HotfitError) as caught:
        open_darks([fits.PrimaryHDU(np.ones((4, 4), np.uint16), header(cards))] * 1)
    text = str(caught.value)
    assert text.startswith("frame 1: ")
    assert all(part in text for part in parts), text


READ = {
    "ITIME with its unit given": ("ITIME   = 2500", {"exposure_key": "ITIME", "exposure_unit": "ms"}, 2.5, 1),
    "HIERARCH key": ("HIERARCH ESO TEL T = 4.", {"exposure_key": "HIERARCH ESO TEL T"}, 4, 1),
    "unit in the value": ("EXPTIME = '250 ms'", {}, 0.25, 1),
    "unit in the comment": ("EXPTIME = 160000 / exposure time in ms", {}, 160, 1),
    "unit behind a comma": ("EXPTIME = 5000 / Exposure time, msec", {}, 5, 1),
    "unit alone": ("EXPTIME = 5000 / ms", {}, 5, 1),
    "a word in the comment": ("EXPTIME = 300. / time to the nearest millisecond", {}, 300, 1),
    "another word in the comment": ("EXPTIME = 300. / (millisecond resolution)", {}, 300, 1),
    "a format in the comment": ("EXPTIME = 300. / in min:sec", {}, 300, 1),
    "a country in the comment": ("EXPTIME = 5. / used in US surveys", {}, 5, 1),
    "unit in the comment, overruled": ("EXPTIME = 160 / exposure in ms", {"exposure_unit": "s"}, 160, 1),
    "total of averaged exposures": (
        "EXPTIME = 12.\nHIERARCH ESO DET DIT = 2.\nHIERARCH ESO DET NDIT = 6",
        {},
        2,
        6,
    ),
    "averaged coadds": ("TRUITIME= 2.\nCOADDS  = 3\nBUNIT   = 'ADU per coadd'", {}, 2, 3),
    "a dark that waited, decided": (
        "EXPTIME = 0.\nDARKTIME= 300.\nIMAGETYP= 'DARK'",
        {"exposure_key": "DARKTIME"},
        300,
        1,
    ),
    "a bias that waited": ("EXPTIME = 0.\nDARKTIME= 3.\nIMAGETYP= 'Bias Frame'", {}, 0, 1),
    "dark time alone": ("DARKTIME= 7.", {}, 7, 1),
    "requested within 1 %": ("EXPREQ  = 900.\nEXPTIME = 901.2", {}, 900, 1),
    "Siril stack": ("EXPTIME = 60.\nSTACKCNT= 20\nIMAGETYP= 'DARK'", {}, 60, 20),
    "IRAF": ("EXPTIME = 60.\nNCOMBINE= 24\nIMCMB001= 'a.fits'", {}, 60, 24),
    "ESO product": ("EXPTIME = 60.\nHIERARCH ESO PRO DATANCOM = 5", {}, 60, 5),
    "a mean level": ("EXPTIME = 60.\nNCOMBINE= 10.5", {}, 60, 1),
    "ASTAP": ("EXPTIME = 60.\nDARK_CNT= 11\nIMAGETYP= 'DARK'", {}, 60, 11),
}


@pytest.mark.parametrize("case", READ)
def test_exposures_and_frames_combined(case):
    cards, options, seconds, combined = READ[case]
    images = [fits.PrimaryHDU(np.full((4, 4), i, np.uint16), header(cards)) for i in range(2)]
    darks = open_darks(images, **options)
    np.testing.assert_allclose(darks.exposure, seconds)
    assert list(darks.n_combined) == [combined] * 2


TYPES = {
    "IMAGETYP= 'dark mask'": False,
    "IMAGETYP= 'DARKFLAT'": False,
    "IMAGETYP= 'Flat Dark'": False,
    "IMAGETYP= 'FLAT'": False,
    "IMAGETYP= 'SNAPSHOT'": False,
    "IMAGETYP= 'Light Frame'": False,
    "IMAGETYP= 'Dark Frame    '": True,
    "PICTTYPE= 3": True,
    "PICTTYPE= 1": False,
    "CCDSFPT = 4": False,
    "DATA-TYP= 'DARK'": True,
    "FRAMETYP= 'dark'": True,
    "OBJECT  = 'M 31'": True,
    "OBJECT  = 'Dark'": True,
    "HIERARCH ESO DPR TYPE = 'FLAT,LAMP'": False,
    "CALSTAT = 'BDF'": False,
    "CALSTAT = 'B'": True,
    "CALSTAT = 'UNCALIBRATED'": True,
    "IMAGETYP= 'UNKNOWN'": True,
    "IMAGETYP= 'None'": True,
    "IMAGETYP= 'raw dark'": True,
    "FRAME   = 'FULL'": True,
    "FRAME   = 'Light'": False,
    "OBSTYPE = 'CAL'": False,
}


@pytest.mark.parametrize("card", TYPES)
def test_image_types(card):
    good = [fits.PrimaryHDU(np.full((4, 4), i, np.uint16), header("EXPTIME = 9.")) for i in range(2)]
    odd = fits.PrimaryHDU(np.ones((4, 4), np.uint16), header(f"EXPTIME = 9.\n{card}"))
    darks = open_darks([*good, odd])
    assert [item.name for item in darks.skipped] == ([] if TYPES[card] else ["frame 3"])
    assert all(item.exposure == 9 and item.shape == (4, 4) for item in darks.skipped)


MASTERS = ["Master Dark", "MASTER_DARK", "MasterDark", "dark (master)", "Superdark", "Dark combined"]


def image(seconds, **cards):
    """A frame of four by four pixels."""
    return fits.PrimaryHDU(np.ones((4, 4), np.uint16), fits.Header({"EXPTIME": seconds, **cards}))


@pytest.mark.parametrize("kind", MASTERS)
def test_masters_are_left_out_beside_single_frames_and_used_alone(kind):
    singles = [image(9.0, IMAGETYP="Dark"), image(30.0, IMAGETYP="Dark")]
    of_singles, of_others = image(30.0, IMAGETYP=kind, NCOMBINE=7), image(90.0, IMAGETYP=kind, NCOMBINE=7)
    unknown = image(90.0, IMAGETYP=kind)
    darks = open_darks([*singles, of_singles, of_others, unknown])
    assert [frame.name for frame in darks.frames] == ["frame 1", "frame 2", "frame 4"]
    assert list(darks.n_combined) == [1, 1, 7]
    reasons = [item.reason for item in darks.skipped]
    assert all(repr(kind) in reason for reason in reasons)
    assert "single frames of its exposure" in reasons[0]
    assert "NCOMBINE, must be known" in reasons[1]
    assert len(open_darks([*singles, of_singles, unknown], mixed=["NCOMBINE"]).frames) == 4
    alone = open_darks([of_singles, unknown])
    assert list(alone.n_combined) == [7, 1]
    assert any("unknown number of frames" in note for note in alone.notes)


def test_an_exposure_of_days_is_told():
    frames = [image(1e6), image(9e5)]
    assert any("an exposure of 11.6 days" in note for note in open_darks(frames).notes)


def test_combined_frames_beside_their_constituents():
    single, other, combined = image(90.0), image(30.0), image(90.0, NCOMBINE=10)
    with pytest.raises(HotfitError, match=r"frame 3: is combined from 10 frames .* \(frame 1\).*NCOMBINE"):
        open_darks([single, other, combined])
    darks = open_darks([single, other, combined], mixed=("NCOMBINE",))
    assert list(darks.n_combined) == [1, 1, 10]
    assert any("frame 3: is combined" in note for note in darks.notes)
    assert list(open_darks([other, combined]).n_combined) == [1, 10]
