"""What camera programs and observatories write into the headers of darks, and what hotfit makes of it.

The cards are those that the programs write (names, spellings, comments); the counts are simulated, so that
the truth that a header distorts is known: a CCD of 1.5 e-/adu, and a CMOS camera of
0.125 e-/adu, whose 12 bits are shifted to 16.
"""

from dataclasses import dataclass, field

import numpy as np
import pytest
from astropy.io import fits
from small_darks import header

import hotfit
from hotfit.darks import open_darks
from hotfit.errors import HotfitError

CCD, CMOS = "guide", "cmos"
EXPOSURES = (0.0, 100.0, 300.0)
NO_TYPE = "no image type in the header, taken as a dark"


@dataclass(frozen=True)
class Program:
    """The habits of one program, and what should come of them.

    In `dark` and `bias`, `{t}` is replaced by the exposure in the program's own unit. `told` are the
    beginnings of notes, among them all that begin with "header".
    """

    camera: str
    dark: str
    bias: str = ""
    unit: float = 1.0
    gain: str = "darks"
    told: tuple[str, ...] = ()
    image_type: str = ""
    options: dict = field(default_factory=dict)
    extension: bool = False


PROGRAMS = {
    "MaxIm DL": Program(
        CCD,
        """
EXPTIME =   {t} /Exposure time in seconds
EXPOSURE=   {t} /Exposure time in seconds
DARKTIME=   400.0 /May be longer than the exposure
SET-TEMP=  -10.000000000000000 /CCD temperature setpoint in C
CCD-TEMP=  -9.7799999999999994 /CCD temperature at start of exposure in C
XBINNING=                    2 /Binning factor in width
XORGSUBF=                    0 /Subframe X position in binned pixels
READOUTM= 'Monochrome'         / Readout mode of image
IMAGETYP= 'Dark Frame' /        Type of image
EGAIN   =   1.0000000000000000 /Electronic gain in e-/ADU
DATAMAX =                65535 / above this level are considered saturated
SWCREATE= 'MaxIm DL Version 6.30 221112 16RA9'
""",
        bias="IMAGETYP= 'Bias Frame' /        Type of image",
        told=("header DATAMAX = 65535 adu is not used: pixels are full at 56",),
        image_type="Dark Frame",
    ),
    "CCDSoft": Program(
        CCD,
        """
EXPTIME =   {t} /Exposure time in seconds
IMAGETYP= 'Dark Frame          '
CCDSFPT =                    3
EGAIN   =            +1.50E+000
E-GAIN  =            +1.50E+000
TEMPERAT=               -10.02
DATAMAX =                50000
""",
        bias="IMAGETYP= 'Bias Frame          '\nCCDSFPT =                    2",
        gain="header",
        told=("header DATAMAX = 50000 adu is not used: samples reach 6",),
        image_type="Dark Frame",
    ),
    "CCDOPS": Program(
        CCD,
        """
SWCREATE= 'SBIG Win CCDOPS Version 5.47 Build 6-NT'
SBSTDVER= 'SBFITSEXT Version 1.0'
EXPTIME =   {t} / Exposure in seconds
CCD-TEMP=   -10.02
EGAIN   =                 2.78 / Electrons per ADU
SNAPSHOT=                    1 / Number images coadded
""",
        told=("header EGAIN = 2.78 e-/adu is not used: the darks show 1.5", NO_TYPE),
    ),
    "N.I.N.A., ZWO": Program(
        CMOS,
        """
IMAGETYP= 'DARK'               / Type of exposure
EXPOSURE=  {t} / [s] Exposure duration
EXPTIME =  {t} / [s] Exposure duration
GAIN    =                  120 / Sensor gain
OFFSET  =                   30 / Sensor gain offset
EGAIN   =                  2.0 / [e-/ADU] Electrons per A/D unit
INSTRUME= 'ZWO ASI294MC Pro'   / Imaging instrument name
SET-TEMP=                -10.0 / [degC] CCD temperature setpoint
CCD-TEMP=                -10.1 / [degC] CCD temperature
SWCREATE= 'N.I.N.A. 1.10.2.90' / Software that created this file
""",
        bias="IMAGETYP= 'BIAS'               / Type of exposure",
        gain="header",
        told=("header EGAIN = 2 e-/adu is for steps of the converter, of 16 adu",),
        image_type="DARK",
    ),
    "Sequence Generator Pro, the same camera": Program(
        CMOS,
        """
IMAGETYP= 'DARK    '           / Type of frame
CREATOR = 'Sequence Generator Pro v3.1.0.479'
EXPOSURE=  {t} / Exposure time in seconds
GAIN    =                  120 / Camera gain
EGAIN   =     7.99000000953674 / Electrons Per ADU
OFFSET  =                   30 / Camera offset
""",
        told=("header EGAIN = 7.99 e-/adu is not used: the darks show 0.12",),
        image_type="DARK",
    ),
    "SharpCap": Program(
        CMOS,
        """
EXPTIME =  {t} / seconds
GAIN    =                  300 /
OFFSET  =                    8 /
BLKLEVEL=                    8 /
EGAIN   =                  2.0 / Electrons per ADU at true ADC bit depth
EGAINSAV=                0.125 / Electrons per ADU at saved bit depth
ADCBITS =                   12 /
RDNOISE =                 2.50 / Read noise in electrons
SWCREATE= 'SharpCap v4.1.12946.0, 64 bit'
""",
        gain="header",
        told=(NO_TYPE,),
    ),
    "INDI": Program(
        CCD,
        """
EXPTIME =  {t} / Total Exposure Time (s)
DARKTIME=  {t} / Total Dark Exposure Time (s)
CCD-TEMP=                -10.0 / CCD Temperature (Celsius)
INSTRUME= 'Simulator'          / CCD Name
FRAME   = 'Dark    '           / Frame Type
GAIN    =                  100 / Gain
OFFSET  =                   50 / Offset
DATAMIN =                  900 / Minimum value
DATAMAX =                {max} / Maximum value
""",
        bias="FRAME   = 'Bias    '           / Frame Type",
        image_type="Dark",
    ),
    "ASIAIR": Program(
        CMOS,
        """
CREATOR = 'ZWO ASIAIR Plus'    / Capture software
IMAGETYP= 'Dark    '           / Type of image
EXPOSURE=  {t} / Exposure time in seconds
EXPTIME =  {t} / Exposure time in seconds
GAIN    =                  100 / Gain Value
OFFSET  =                   50 / Camera offset
SET-TEMP=                -10.0
CCD-TEMP=                -10.0
""",
        image_type="Dark",
    ),
    "QHY, PlayerOne, ToupTek, SVBony": Program(
        CMOS,
        """
IMAGETYP= 'DARK'
EXPTIME =  {t}
GAIN    =                   26 / the number of a setting
EGAIN   = 'High    '
READOUTM= 'High Gain Mode'
""",
        image_type="DARK",
    ),
    "FLI, in units of its own": Program(
        CCD,
        """
EXPTIME =  {t} / Duration of exposure in 10us periods
IMGTYPE =                    5 / The Image Type (ex. High Gain)
GAIN    =                 16.5 / Gain Value
CCD-TEMP=                  -10
""",
        unit=1e-5,
        told=("EXPTIME is taken in 10 us", NO_TYPE),
    ),
    "DESI": Program(
        CCD,
        """
OBSTYPE = 'DARK    '           / Spectrograph observation type
FLAVOR  = 'dark    '           / Observation type
EXPREQ  =  {t} / [s] Requested exposure time
EXPTIME =  {t} / [s] Actual exposure time
PROGRAM = 'DARK    '
""",
        bias="OBSTYPE = 'ZERO    '\nFLAVOR  = 'zero    '",
        image_type="DARK",
        options={"ext": "B0"},
        extension=True,
    ),
    "Lick ShARCS": Program(
        CCD,
        """
OBSTYPE = 'dark    '
ITIME   =  12345 / requested integration time in milliseconds per coadd
TRUITIME=  {t} / true integration time, s
COADDS  =                    1
SYSGAIN =                  2.15 / e-/ADU
SATURATE=                33000
""",
        told=("header SYSGAIN = 2.15 e-/adu is not used", "header SATURATE = 33000 adu is not used: samples"),
        image_type="dark",
    ),
    "Lick, older": Program(
        CCD,
        """
OBSTYPE = 'dark    '
ITIME   =  {t} / integration time in milliseconds per coadd
COADDS  =                    1
""",
        unit=1e-3,
        told=("ITIME is taken in ms",),
        image_type="dark",
    ),
    "IMG_EXP": Program(
        CCD,
        """
IMG_EXP =  {t}
MEAS_EXP=  100
CAM_SN  = '4       '
""",
        unit=1e-3,
        told=("IMG_EXP is taken in ms", NO_TYPE),
    ),
    "ESO": Program(
        CCD,
        """
EXPTIME =  {t} / Total integration time (sec)
HIERARCH ESO DPR CATG = 'CALIB   '
HIERARCH ESO DPR TYPE = 'DARK    '
HIERARCH ESO DET DIT = {t} / Integration Time
HIERARCH ESO DET NDIT = 1 / # of Sub-Integrations
HIERARCH ESO DET OUT1 CONAD = 1.5 / Conversion from ADUs to electrons
HIERARCH ESO DET OUT1 GAIN = 0.667 / Conversion from electrons to ADU
HIERARCH ESO DET OUT1 RON = 10. / Readout noise per output (e-)
""",
        bias="HIERARCH ESO DPR TYPE = 'BIAS    '",
        gain="header",
        image_type="DARK",
    ),
    "ESO, DIT alone": Program(
        CCD,
        """
HIERARCH ESO DPR TYPE = 'DARK    '
HIERARCH ESO DET DIT = {t} / Integration Time
""",
        image_type="DARK",
    ),
    "Pi of the Sky": Program(
        CCD,
        """
EXPTIME =  -{t} / Exposure time [sec], NOTE : negative means dark frame
OBJECT  = 'DARK    '
SATLEVEL=                    0
""",
        told=("EXPTIME is negative, taken without its sign",),
        image_type="DARK",
    ),
    "the CCD Guide": Program(
        CCD,
        """
EXPTIME =  {t} /Exposure time in seconds
IMAGETYP= 'DARK    '
BIASSEC = '[71:80]'
TRIMSEC = '[1:70, :]'
EGAIN   =   1.0000000000000000 /Electronic gain in e-/ADU
READOUTM= 'Monochrome'
""",
        bias="IMAGETYP= 'BIAS    '",
        image_type="DARK",
        options={"trim": "TRIMSEC"},
    ),
}


@pytest.fixture(scope="module")
def sets():
    """Counts, exposures and truth of two cameras: rich in warm pixels, so that they show their gain."""
    same = {"shape": (150, 200), "exposures": EXPOSURES, "repeats": 4, "hot_fraction": 0.03}
    return {camera: hotfit.simulate.cube(camera, seed=4, **same) for camera in (CCD, CMOS)}


def frames_of(program: Program, cube, exposure) -> list:
    """The counts with the headers of a program."""
    frames = []
    for image, seconds in zip(cube, exposure, strict=True):
        cards = header(program.dark.format(t=f"{seconds / program.unit:.6f}", max=image.max()))
        if not seconds and program.bias:
            cards.update(header(program.bias))
        if program.extension:
            hdus = [fits.PrimaryHDU(), fits.ImageHDU(np.zeros((10, 2), np.int16), name="SPEC")]
            frames.append(fits.HDUList([*hdus, fits.ImageHDU(image, cards, name="B0")]))
        else:
            frames.append(fits.PrimaryHDU(image, cards))
    return frames


@pytest.mark.parametrize("name", PROGRAMS)
def test_headers_of(name, sets):
    program = PROGRAMS[name]
    cube, exposure, truth = sets[program.camera]
    darks = open_darks(frames_of(program, cube, exposure), **program.options)
    np.testing.assert_allclose(darks.exposure, np.sort(exposure), rtol=1e-9)
    assert not darks.skipped
    assert {frame.image_type for frame in darks.frames if frame.exposure} == {program.image_type}
    fit = hotfit.fit_darks(darks)
    assert fit.detector.gain == pytest.approx(truth.gain, rel=0.05)
    assert fit.detector.gain_source == program.gain
    assert fit.detector.saturation_source == "darks"
    notes = [note.rpartition(": ")[2] if note.startswith("frame ") else note for note in fit.notes]
    for start in program.told:
        assert any(note.startswith(start) for note in notes), (start, notes)
    told = [start for start in program.told if start.startswith("header")]
    assert len([note for note in notes if note.startswith("header")]) == len(told)


def test_frames_that_ccdproc_combined_as_the_guide_does(sets):
    """COMBINED = T, and of how many frames is not said: no gain can be told from their noise."""
    cube, exposure, truth = sets[CCD]
    times = np.unique(exposure)
    means = [
        fits.PrimaryHDU(
            np.mean(cube[exposure == time][part], axis=0).astype(np.float32),
            fits.Header({"EXPTIME": time, "COMBINED": True, "IMAGETYP": "DARK", "EGAIN": truth.gain}),
        )
        for time in times
        for part in (slice(2), slice(2, None))
    ]
    fit = hotfit.fit_darks(means)
    assert fit.detector.gain_source == "unknown"
    assert any("of how many frames the masters are made" in note for note in fit.notes)
    single = fits.PrimaryHDU(cube[0], fits.Header({"EXPTIME": exposure[0], "IMAGETYP": "DARK"}))
    with pytest.raises(HotfitError, match="combined"):
        open_darks([*means, single])
