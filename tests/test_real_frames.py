"""Real frames of three cameras, read."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from small_darks import message

from hotfit.darks import open_darks

REAL = Path(__file__).parents[2] / "shared" / "darks"


@pytest.mark.skipif(not REAL.is_dir(), reason="no real darks here")
class TestReal:
    def test_stl1001e(self):
        darks = open_darks(REAL / "stl1001e_0C")
        assert len(darks.frames) == 30
        assert list(darks.group_exposure) == [0, 10, 30, 60, 90, 120, 150, 180, 210, 240, 270, 300]
        assert darks.dtype == np.uint16
        assert [claim.value for claim in darks.claims.gain] == [2.06, 2.06]
        got = darks.rows(400, 410)
        assert list(got[[10, -1], 9, 329]) == [29076, 61805]
        for frame, rows in zip(darks.frames[::7], got[::7], strict=True):
            np.testing.assert_array_equal(rows, fits.getdata(frame.name)[400:410])

    def test_shapes_of_the_atik(self):
        text = message([REAL / "atik_m10C", REAL / "atik_unbinned_bias"])
        assert "Bias-0001.fit (1039 x 1391)" in text
        assert "519 x 695 in " in text
        assert "Dark-0001_1s.fit and 11 more" in text

    def test_st402(self):
        darks = open_darks(REAL / "st402_m15C")
        assert list(darks.group_exposure) == [240, 360, 1200]
        assert list(darks.group) == [0] * 5 + [1] * 5 + [2] * 5
