"""The pictures of a fit: what they show of darks of known truth, and what they say where they cannot."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import hotfit
from hotfit import drawing, plots, portrait
from hotfit.errors import HotfitError
from hotfit.flags import DQ

PICTURES = {
    "histogram": hotfit.DarkFit.plot_histogram,
    "short and long": hotfit.DarkFit.plot_short_long,
    "cumulative": hotfit.DarkFit.plot_cumulative,
    "map": hotfit.DarkFit.plot_map,
    "statistics": hotfit.DarkFit.plot_statistics,
    "frames": lambda fit, ax=None: fit.plot_frames(against="exposure", ax=ax),
    "pixel": lambda fit, ax=None: fit.plot_pixel(3, 4, ax=ax),
    "residuals": lambda fit, ax=None: fit.plot_residuals(3, 4, ax=ax),
}


@pytest.fixture(scope="module")
def guide():
    """A fit of the camera of the CCD Guide, with many hot and odd pixels, and the truth."""
    cube, exposure, truth = hotfit.simulate.cube(
        "guide", shape=(160, 200), seed=6, odd=100, hot_fraction=0.05
    )
    return hotfit.fit_cube(cube, exposure), truth


@pytest.fixture(autouse=True, scope="module")
def without_windows():
    before = pyplot.get_backend()
    pyplot.switch_backend("agg")
    yield
    pyplot.switch_backend(before)


@pytest.fixture(autouse=True)
def closing():
    yield
    pyplot.close("all")


@pytest.fixture
def axes():
    return Figure().subplots()


# --- what the numbers are


def test_dark_current_by_exposure_is_the_true_one(guide):
    fit, truth = guide
    shown = portrait.by_exposure(fit)
    np.testing.assert_allclose(shown.exposure, [90, 300, 1000])
    true = truth.rate[fit.curves.y, fit.curves.x]
    linear = (fit.dq[fit.curves.y, fit.curves.x] & ~np.uint32(DQ.HOT)) == 0
    faint = linear & (true < 0.1)  # where the common temperature of all frames matters little
    common = np.median(fit.rate[fit.curves.y, fit.curves.x][faint] - true[faint])  # a trend of the offsets
    for k in range(3):
        pull = (shown.rate[faint, k] - true[faint] - common) / np.hypot(
            shown.noise[k], np.sqrt(np.maximum(true[faint], 0) / shown.exposure[k] / 8)
        )
        assert np.median(pull) == pytest.approx(0, abs=0.05)
        assert np.subtract(*np.percentile(pull, [84.13, 15.87])) / 2 == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize("subtracted", [False, True])
def test_dark_current_without_bias_frames(subtracted):
    rng = np.random.default_rng(2)
    exposure = np.repeat([30.0, 100.0], 8)
    rate = rng.exponential(0.5, (20, 30))
    bias = 0 if subtracted else 1000
    cube = rng.poisson(rate * exposure[:, None, None]) + rng.normal(bias, 3, (16, 20, 30))
    fit = hotfit.fit_cube(np.round(cube + 0).astype(np.float32), exposure, gain=1, bias_subtracted=subtracted)
    shown = portrait.by_exposure(fit)
    for k in (0, 1):
        width = np.sqrt(shown.noise[k] ** 2 + rate / exposure[8 * k] / 8).mean()
        assert np.mean(shown.rate[:, k] - rate.ravel()) == pytest.approx(
            0, abs=5 * width / np.sqrt(rate.size)
        )


def test_samples_that_are_not_used_are_shown_as_they_are(guide):
    fit, _ = guide
    shown = portrait.by_exposure(fit)
    full = fit.curves.counts[:, -1] >= fit.detector.saturation
    ceiling = portrait.rate_ceiling(fit, shown.exposure[-1])
    full &= np.isfinite(fit.rate[fit.curves.y, fit.curves.x])
    assert full.any()
    assert_full(fit, shown.rate[full, -1], ceiling)


def assert_full(fit, rate, ceiling):
    """Between the level, which is that of the lowest full well, and the end of the converter."""
    assert rate.min() > 0.99 * ceiling
    end = ceiling * (65535 - fit.typical.intercept) / (fit.detector.saturation - fit.typical.intercept)
    assert rate.max() < 1.01 * end


def test_residuals_are_about_the_line(guide):
    fit, _ = guide
    pulls = []
    quiet = np.flatnonzero(fit.dq[fit.curves.y, fit.curves.x] == 0)[::20]
    for index in quiet:
        seen = portrait.residuals(fit, fit.curves.y[index], fit.curves.x[index])
        pulls.append((seen.counts - seen.line) / seen.sigma)
    pulls = np.array(pulls)
    assert np.mean(pulls) == pytest.approx(0, abs=0.01)
    spare = pulls.shape[1] - 2
    assert np.sum(pulls**2) / (len(quiet) * spare) == pytest.approx(1, abs=0.03)


def test_charge_of_the_readout_is_in_the_noise_of_hot_pixels():
    rng = np.random.default_rng(3)
    exposure = np.repeat([0.0, 30.0, 60.0], 10)
    rate, readout = 40.0, 5000.0
    electrons = np.zeros((30, 40, 40))
    electrons[:, 5:8] = rng.poisson(readout + rate * exposure[:, None, None], (30, 3, 40))
    cube = 1000 + electrons / 2 + rng.normal(0, 4, electrons.shape)
    fit = hotfit.fit_cube(np.round(cube).astype(np.uint16), exposure, gain=2.0)
    pulls = [portrait.residuals(fit, 6, x) for x in range(40)]
    squares = np.mean([((seen.counts - seen.line) / seen.sigma) ** 2 for seen in pulls])
    assert squares * 30 / 28 == pytest.approx(1, abs=0.12)


def test_p_values_of_good_pixels_are_even(guide):
    fit, _ = guide
    for name, found in portrait.p_values(fit).items():
        assert np.all(np.diff(found.p) >= 0)
        assert found.share[-1] == pytest.approx(1)
        for level in (0.1, 0.3, 0.5, 0.9):
            share = np.interp(level, found.p, found.share)
            assert share == pytest.approx(level, abs=0.02), name


def test_pixels_above_a_rate_are_counted(guide):
    fit, _ = guide
    edges, above = portrait.rates_above(fit, 0.01)
    for edge, number in list(zip(edges, above, strict=True))[::40]:
        assert number == np.count_nonzero(fit.rate > np.float32(edge))
    assert above[-1] == 0


@pytest.mark.parametrize("side", [7, 60, 1000])
def test_a_reduced_map_holds_the_means(guide, side):
    fit, _ = guide
    small, step = portrait.reduced(fit, side)
    assert max(small.shape) <= side
    y, x = small.shape[0] // 2, small.shape[1] - 1
    block = fit.rate[y * step : (y + 1) * step, x * step : (x + 1) * step]
    np.testing.assert_allclose(small[y, x], np.nanmean(block.astype(float)), rtol=1e-6)
    assert small.shape == tuple(-(-length // step) for length in fit.rate.shape)


# --- the pictures


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_draw_on_the_axes_given_or_on_new_ones(guide, name, axes):
    draw = PICTURES[name]
    assert draw(guide[0], ax=axes) is axes
    assert axes.get_xlabel()
    assert axes.get_ylabel()
    assert not pyplot.get_fignums()
    new = draw(guide[0])
    assert pyplot.get_fignums() == [new.figure.number]
    new.figure.savefig("/dev/null", format="svg")


def test_a_result_that_was_read_draws_the_same(guide, tmp_path, axes):
    fit = hotfit.read(guide[0].write(tmp_path / "out"))
    for draw in PICTURES.values():
        draw(fit, ax=Figure().subplots())
    fit.plot_histogram(ax=axes)
    other = guide[0].plot_histogram(ax=Figure().subplots())
    for mine, theirs in zip(axes.patches, other.patches, strict=True):
        np.testing.assert_array_equal(mine.get_path().vertices, theirs.get_path().vertices)


def test_the_histogram_has_a_curve_for_each_exposure(guide, axes):
    fit, _ = guide
    fit.plot_histogram(ax=axes)
    labels = [label.get_text() for label in axes.get_legend().get_texts()]
    assert labels == ["90 s", "300 s", "1000 s"]
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_short_and_long_agree_below_four_and_part_above(guide):
    """What the Guide shows of its camera: agreement below 4 e-/s, a branch below the line, the ceiling."""
    fit, _ = guide
    shown = portrait.by_exposure(fit)
    short, long = shown.rate[:, 0], shown.rate[:, -1]
    kept = ~fit.mask[fit.curves.y, fit.curves.x]
    full = fit.curves.counts.max(axis=1) >= fit.detector.saturation
    warm = kept & ~full & (long > 0.5) & (long < 4)
    assert np.median(long[warm] / short[warm]) == pytest.approx(1, abs=0.01)
    rolling = ~kept & ~full & (short > 4) & (long > 0.5)
    assert np.count_nonzero(rolling & (long < 0.9 * short)) > 20
    ceiling = portrait.rate_ceiling(fit, 1000)
    beyond = kept & (short > 1.2 * ceiling)
    assert beyond.any()
    assert_full(fit, long[beyond], ceiling)


def test_short_and_long_shows_the_line_the_ceiling_and_the_flags(guide, axes):
    fit, _ = guide
    fit.plot_short_long(ax=axes)
    labels = {text.get_text() for text in axes.get_legend().get_texts()}
    assert labels >= {"other pixels", "HOT", "NONLINEAR", "TELEGRAPH", "proportional to time", "saturation"}
    number = sum(len(points.get_offsets()) for points in axes.collections)
    assert number == fit.curves.y.size
    fit.plot_short_long(limit=2, ax=Figure().subplots())
    zoomed = fit.plot_short_long(limit=2, ax=Figure().subplots())
    assert zoomed.get_xlim()[1] == pytest.approx(2.06)
    labels = {text.get_text() for text in zoomed.get_legend().get_texts()}
    assert "saturation" not in labels


def test_a_pixel_has_the_colour_of_its_first_flag():
    bits = [0, DQ.HOT, DQ.HOT | DQ.NONLINEAR | DQ.DO_NOT_USE, DQ.JUMP_DET, DQ.SATURATED | DQ.HOT]
    found = {label: mask.tolist() for label, _, mask in plots.by_flag(np.array(bits, np.uint32))}
    assert found == {
        "other pixels": [True, False, False, True, False],
        "HOT": [False, True, False, False, False],
        "SATURATED": [False, False, False, False, True],
        "NONLINEAR": [False, False, True, False, False],
    }


def test_the_limit_of_hot_is_drawn(guide, axes):
    fit, _ = guide
    fit.plot_cumulative(ax=axes)
    assert axes.texts[0].get_text() == f"HOT, above {fit.hot_limit:.3g}"
    cold = replace(fit, hot_limit=-1.0)
    assert not cold.plot_cumulative(ax=Figure().subplots()).texts


def test_masked_pixels_are_on_the_map(guide, axes):
    fit, _ = guide
    fit.plot_map(ax=axes)
    places = np.concatenate([points.get_offsets() for points in axes.collections])
    y, x = np.nonzero(fit.mask)
    assert sorted(map(tuple, places)) == sorted(zip(x, y, strict=True))
    assert not fit.reflag(bad=()).plot_map(ax=Figure().subplots()).collections


def test_samples_of_a_pixel_are_marked_by_what_became_of_them(axes):
    cube, exposure, _ = hotfit.simulate.cube("guide", shape=(30, 30), seed=1, odd=0)
    cube[:, 3, 4] = np.where(exposure > 200, 65535, cube[:, 3, 4])
    cube[2, 3, 4] += 2000
    fit = hotfit.fit_cube(cube, exposure)
    fit.plot_pixel(3, 4, ax=axes)
    labels = axes.get_legend_handles_labels()[1]
    assert labels == ["fit", "used", "saturated", "dropped as a cosmic ray"]
    left = fit.plot_residuals(3, 4, ax=Figure().subplots())
    assert left.get_legend_handles_labels()[1] == ["used", "dropped as a cosmic ray"]


@pytest.mark.parametrize("against", ["time", "temperature", "exposure"])
@pytest.mark.parametrize("quantity", ["offset", "scale"])
def test_frames_are_drawn_against_what_their_headers_tell(quantity, against, tmp_path, axes):
    hotfit.simulate.write(tmp_path / "darks", "guide", shape=(40, 50), repeats=3, seed=2)
    fit = hotfit.fit_darks(tmp_path / "darks")
    fit.plot_frames(quantity=quantity, against=against, ax=axes)
    places = np.concatenate(
        [points.get_offsets() for points in axes.collections if isinstance(points, PathCollection)]
    )
    dark = np.asarray(fit.frames["exposure"]) > (0 if quantity == "scale" else -1)
    np.testing.assert_allclose(np.sort(places[:, 1]), np.sort(fit.frames[quantity][dark]))
    first = {"time": 0.0, "exposure": fit.frames["exposure"][dark].min()}.get(against)
    if first is not None and quantity == "offset":
        assert places[:, 0].min() == pytest.approx(first)


def test_colours_of_exposures_differ():
    assert len({to_hex(drawing.palette(share)) for share in np.linspace(0, 1, 6)}) == 6


# --- what cannot be drawn


def test_what_cannot_be_drawn_says_why(guide):
    fit, _ = guide
    old = replace(fit, curves=None)
    for draw in (old.plot_histogram, old.plot_short_long, old.plot_statistics):
        with pytest.raises(HotfitError, match=r"older version.*make it again"):
            draw()
    with pytest.raises(HotfitError, match="headers of the frames do not tell their temperature"):
        fit.plot_frames()
    with pytest.raises(HotfitError, match="quantity='rate': choose offset or scale"):
        fit.plot_frames(quantity="rate")
    with pytest.raises(HotfitError, match="against='moon': choose temperature, time or exposure"):
        fit.plot_frames(against="moon")
    with pytest.raises(HotfitError, match=r"pixel \(160, 0\): is outside the image, which has 160 rows"):
        fit.plot_pixel(160, 0)
    few = replace(fit, curves=type(fit.curves)(**{k: v[:1] for k, v in vars(fit.curves).items()}))
    with pytest.raises(HotfitError, match=r"pixel \(3, 4\): no samples.*nearest of fit.curves is \(0, 0\)"):
        few.plot_pixel(3, 4)


def test_two_exposures_with_bias_frames_have_no_longer_one():
    exposure = np.repeat([0.0, 60.0], 3)
    cube = np.random.default_rng(1).normal(1000, 5, (6, 20, 20)) + exposure[:, None, None]
    fit = hotfit.fit_cube(cube.astype(np.float32), exposure)
    with pytest.raises(HotfitError, match="all darks are of 60 s"):
        fit.plot_short_long()
    assert list(portrait.p_values(fit)) == ["scatter"]


def test_single_frames_of_two_exposures_are_not_tested():
    cube = np.random.default_rng(1).normal(1000, 5, (2, 20, 20)) + np.array([10.0, 60.0])[:, None, None]
    fit = hotfit.fit_cube(cube.astype(np.float32), [10.0, 60.0])
    with pytest.raises(HotfitError, match="nothing was tested"):
        fit.plot_statistics()


def test_without_matplotlib_the_remedy_is_named(guide, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(HotfitError, match=r"pip install 'hotfit\[report\]'"):
        guide[0].plot_cumulative()
