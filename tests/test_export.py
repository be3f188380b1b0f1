"""Lists of masked pixels for other programs, checked by their own rules."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from astropy.io import fits

import hotfit
from hotfit.errors import HotfitError
from hotfit.flags import DQ

SIRIL = shutil.which("siril-cli") or shutil.which("siril")


@pytest.fixture(scope="module")
def fit():
    cube, exposure, _ = hotfit.simulate.cube("guide", shape=(48, 70), seed=3, odd=20)
    cube[:, 0, 0] = 0  # dead, in a corner
    return hotfit.fit_cube(cube, exposure)


def test_siril_list_counts_rows_from_the_top(fit, tmp_path):
    text = (fit.write(tmp_path / "out", export="siril") / "bad_pixels.lst").read_text(encoding="ascii")
    comment, *lines = text.splitlines()
    assert comment.startswith("#")
    found = [re.fullmatch(r"P (\d+) (\d+) ([HC])", line).groups() for line in lines]
    x, y = (np.array([int(entry[i]) for entry in found]) for i in (0, 1))
    mask = np.zeros(fit.dq.shape, bool)
    mask[fit.dq.shape[0] - 1 - y, x] = True
    np.testing.assert_array_equal(mask, fit.mask)
    assert (0, fit.dq.shape[0] - 1) in zip(x, y, strict=True)
    hot = np.array([entry[2] == "H" for entry in found])
    np.testing.assert_array_equal(hot, (fit.dq[fit.dq.shape[0] - 1 - y, x] & DQ.HOT) != 0)
    assert hot.any()
    assert not hot.all()


@pytest.mark.skipif(SIRIL is None, reason="Siril is not installed")
@pytest.mark.parametrize("order", [None, "BOTTOM-UP", "TOP-DOWN"])
def test_siril_corrects_the_masked_pixels_and_no_others(fit, tmp_path, order):
    fit.write(tmp_path / "out", export="siril")
    image = np.full(fit.dq.shape, 1000, np.uint16)
    image[fit.mask] = 30000
    fits.writeto(tmp_path / "light.fit", image, fits.Header([("ROWORDER", order)] if order else []))
    script = tmp_path / "correct.ssf"
    script.write_text("requires 1.0.0\nload light\ncosme out/bad_pixels.lst\nsave corrected\n")
    command = [SIRIL, "-d", str(tmp_path), "-s", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (tmp_path / "corrected.fit").exists(), done.stdout + done.stderr
    corrected = fits.getdata(tmp_path / "corrected.fit")
    changed = corrected != image
    np.testing.assert_array_equal(corrected[~fit.mask], 1000)
    alone = fit.mask & (neighbours(fit.mask) == 0)
    assert alone.sum() > 10
    assert changed[alone].all()
    np.testing.assert_array_equal(corrected[alone], 1000)


def neighbours(mask):
    """How many of the 24 pixels around each are masked."""
    padded = np.pad(mask.astype(int), 2)
    rows, columns = mask.shape
    around = [padded[y : y + rows, x : x + columns] for y in range(5) for x in range(5)]
    return sum(around) - mask


def test_ds9_regions_are_boxes_around_the_masked_pixels(fit, tmp_path):
    text = (fit.write(tmp_path / "out", export=("ds9",)) / "bad_pixels.reg").read_text(encoding="ascii")
    lines = text.splitlines()
    assert lines[0] == "# Region file format: DS9 version 4.1"
    assert lines.count("image") == 1
    mask = np.zeros(fit.dq.shape, bool)
    for line in lines[lines.index("image") + 1 :]:
        x, y, tags = re.fullmatch(r"box\((\d+),(\d+),1,1,0\) # (.*)", line).groups()
        place = int(y) - 1, int(x) - 1
        mask[place] = True
        reasons = [name for name in fit.rules.bad if fit.dq[place] & DQ[name]]
        assert re.findall(r"tag=\{(\w+)\}", tags) == reasons
    np.testing.assert_array_equal(mask, fit.mask)


def test_ds9_regions_are_read_by_astropys_regions(fit, tmp_path):
    regions = pytest.importorskip("regions")
    found = regions.Regions.read(fit.write(tmp_path / "out", export="ds9") / "bad_pixels.reg", format="ds9")
    mask = np.zeros(fit.dq.shape)
    for region in found:
        mask += region.to_mask().to_image(fit.dq.shape)
    np.testing.assert_array_equal(mask, fit.mask)


def test_nothing_is_exported_unless_asked_for(fit, tmp_path):
    assert not {"bad_pixels.lst", "bad_pixels.reg"} & {p.name for p in fit.write(tmp_path / "out").iterdir()}


def test_a_program_without_a_list_is_refused(fit, tmp_path):
    with pytest.raises(HotfitError, match=r"^export='iris': choose from siril, ds9$"):
        fit.write(tmp_path / "out", export=["ds9", "iris"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("names", ["siril,ds9", "siril, ds9", ("siril", "ds9"), ["ds9", "siril", "ds9"]])
def test_several_programs_are_named_in_a_list_or_with_commas(fit, tmp_path, names):
    written = {path.name for path in fit.write(tmp_path / "out", export=names).iterdir()}
    assert written >= {"bad_pixels.lst", "bad_pixels.reg"}


def test_a_result_with_lists_can_be_replaced(fit, tmp_path):
    fit.write(tmp_path / "out", export=("siril", "ds9"))
    fit.write(tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / "bad_pixels.lst").exists()
