"""Two nights of one camera of known truth: what changed is told, and what did not change is not."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from astropy import units
from astropy.table import Table
from nights import flat, hotter, night, pixels_of, story

import hotfit
from hotfit import drift, maps
from hotfit.compare import DRIFTED, KINDS, RECOVERED, TURNED_BAD
from hotfit.errors import HotfitError
from hotfit.flags import DQ

SEEDS = range(6)
WARMER = 1.1  # about one degree


@pytest.fixture(scope="module", params=["guide", "cmos"])
def unchanged(request):
    """Pairs of nights of an unchanged camera, the second one warmer, and their comparison."""
    found = []
    for seed in SEEDS:
        pixels = pixels_of(request.param, seed=seed, odd=20, shape=(200, 200), hot_fraction=0.005)
        before, after = night(pixels, 1000 + seed), night(pixels, 2000 + seed, warmer=WARMER)
        found.append((before, after, before.compare(after)))
    return found


@pytest.fixture(scope="module", params=["guide", "cmos"])
def changed(request):
    """A camera whose pixels heal, turn odd or get hotter, and the comparison."""
    told = story(request.param, seed=3, warmer=WARMER, odd=40, shape=(400, 400), hot_fraction=0.02)
    return told, told.before.compare(told.after)


@pytest.fixture(scope="module")
def quick():
    """Two small nights."""
    pixels = pixels_of(seed=5, odd=100, shape=(60, 70), hot_fraction=0.05, repeats=3)
    return night(pixels, 51), night(pixels, 52)


# --- nothing has changed


def test_an_unchanged_camera_has_not_changed(unchanged):
    """One frame in a hundred may show a false drift: two of six have a chance of 0.0015."""
    told = [comparison.counts() for *_, comparison in unchanged]
    assert sum(counts[DRIFTED] > 0 for counts in told) <= 1
    assert sum(counts[TURNED_BAD] + counts[RECOVERED] for counts in told) <= 2
    assert sum(comparison.tested for *_, comparison in unchanged) > 0.97 * len(SEEDS) * 200**2


def test_pixels_flip_near_the_limits_and_are_told_to_be_there(unchanged):
    near = sum(sum(comparison.counts(significant=False).values()) for *_, comparison in unchanged)
    masked = sum(comparison.masked_both for *_, comparison in unchanged)
    assert near > 5  # there is something to be told
    assert near < 0.02 * masked


def test_errors_of_differences_are_right(unchanged):
    """Their whole distribution, over all pairs: width, centre, and the tail beyond three errors."""
    sigmas = []
    for before, after, comparison in unchanged:
        common = drift.common_change(before, after)
        take = drift.rows(0, 200)
        found = drift.change_of(before, after, take, common, comparison.null).sigmas
        sigmas.append(found[drift.good_in_both(before, after, take) & np.isfinite(found)])
        assert comparison.null == pytest.approx(1, abs=0.02)
        assert abs(np.median(sigmas[-1])) < 0.03
    sigmas = np.concatenate(sigmas)
    assert sigmas.std() == pytest.approx(1, abs=0.01)
    assert np.mean(np.abs(sigmas) > 3) == pytest.approx(0.0027, rel=0.2)


def test_the_ratio_is_within_its_errors(unchanged):
    """Of the rates in adu/s, whose error is some 0.05 %; those in electron/s have that of the gain too."""
    for name in ("ratio_in_adu", "ratio"):
        value = np.array([getattr(comparison, name) for *_, comparison in unchanged])
        error = np.array([getattr(comparison, f"{name}_error") for *_, comparison in unchanged])
        pulls = (value - WARMER) / error
        assert np.abs(pulls).max() < 3.5
        assert 0.35 < np.sqrt(np.mean(pulls**2)) < 1.6
    assert max(comparison.ratio_in_adu_error for *_, comparison in unchanged) < 0.001


def test_the_share_of_false_ones_is_held():
    """Of all that is told to have drifted, a share of `fdr` did not; measured with a large one."""
    false, told = 0, 0
    for seed in range(4):
        pixels = pixels_of(seed=seed, odd=0, shape=(200, 200), hot_fraction=0.01)
        good = np.flatnonzero(pixels.rate.ravel() > 0.3)
        pixel = np.random.default_rng(seed).choice(good, 250, replace=False)
        before, after = night(pixels, 3000 + seed), night(hotter(pixels, pixel, 1.4), 4000 + seed)
        found = flat(before.compare(after, fdr=0.2), DRIFTED)
        told, false = told + found.size, false + np.setdiff1d(found, pixel).size
    assert told > 900
    assert 0.12 < false / told < 0.26


def test_pixels_noisier_than_others_do_not_drift():
    """Pixels differ in read noise by half of it and more, which is not in the errors of their rates."""
    rng, shape = np.random.default_rng(4), (200, 200)
    exposure = np.repeat([0.0, 60.0, 120.0, 300.0], 6)
    rate = np.where(rng.random(shape) < 0.02, rng.uniform(5, 30, shape), 0.05)
    noise = 4 * np.exp(0.5 * rng.standard_normal(shape))
    fits = []
    for _ in range(2):
        charge = rng.poisson(rate * exposure[:, None, None]) + rng.normal(0, noise, (24, *shape))
        fits.append(hotfit.fit_cube(np.round(1000 + charge).astype(np.uint16), exposure, gain=1))
    plain = (fits[1].rate - fits[0].rate) / np.hypot(fits[0].rate_error, fits[1].rate_error)
    good = ~(fits[0].mask | fits[1].mask)
    assert np.count_nonzero(good & (np.abs(plain) > 6)) > 30  # these would be told
    comparison = fits[0].compare(fits[1])
    assert comparison.counts()[DRIFTED] <= 1
    assert comparison.null == pytest.approx(1, abs=0.03)


def test_a_wrong_read_noise_moves_no_flag():
    pixels = pixels_of(seed=6, odd=0, shape=(200, 200), hot_fraction=0.01)
    before, after = night(pixels, 61, gain=1.5, read_noise=7), night(pixels, 62, gain=1.5, read_noise=14)
    comparison = before.compare(after)
    assert before.scatter_null / after.scatter_null > 3
    assert comparison.null == pytest.approx(1, abs=0.05)
    assert len(comparison.table) <= 2


def test_a_shift_of_all_rates_is_no_drift():
    """As a bias that rises with exposure makes it: by ten errors of a quiet pixel."""
    pixels = pixels_of(seed=4, odd=0, shape=(200, 200), hot_fraction=0.01)
    shifted = replace(pixels, rate=pixels.rate + np.float32(0.05))
    before, after = night(pixels, 41), night(shifted, 42, warmer=WARMER)
    comparison = before.compare(after)
    assert comparison.shift == pytest.approx(0.05 * WARMER, rel=0.03)
    assert comparison.shift > 8 * after.typical.rate_error
    assert comparison.counts()[DRIFTED] <= 1
    assert comparison.ratio_in_adu == pytest.approx(WARMER, abs=4 * comparison.ratio_in_adu_error)


def test_pixels_that_begin_to_saturate_have_not_changed():
    """A warmer sensor saturates some hot pixels one exposure earlier, which leaves them no rate."""
    hot = {"hot_fraction": 0.03, "hot_slope": 0.3, "max_rate": 3000.0}
    pixels = pixels_of(seed=7, odd=0, shape=(300, 300), **hot)
    comparison = night(pixels, 71).compare(night(pixels, 72, warmer=1.5))
    near, told = comparison.counts(significant=False), comparison.counts()
    assert near[TURNED_BAD] > 5
    assert told[TURNED_BAD] + told[RECOVERED] + told[DRIFTED] <= 1


def test_other_exposures_change_no_pixel():
    pixels = pixels_of(seed=8, odd=20, shape=(250, 250), hot_fraction=0.01)
    shorter = pixels_of(
        seed=8, odd=20, shape=(250, 250), hot_fraction=0.01, exposures=(0.0, 60.0, 150.0, 1000.0)
    )
    shorter = replace(shorter, kind=pixels.kind, rate=pixels.rate, odd=pixels.odd)
    comparison = night(pixels, 81).compare(night(shorter, 82))
    assert any("exposure times differ" in note for note in comparison.notes)
    assert sum(comparison.counts().values()) <= 2


# --- something has


def test_what_turned_bad_and_what_recovered_is_found(changed):
    told, comparison = changed
    for true, kind in ((told.came, TURNED_BAD), (told.went, RECOVERED)):
        assert true.size > 300
        found = flat(comparison, kind)
        assert np.isin(true, found).mean() >= 0.97
        assert np.isin(found, true).mean() >= 0.98


def test_a_fifth_more_is_found_where_it_can_be_seen(changed):
    (pixels, _, _, warm, before, after), comparison = changed
    good = ~(before.mask | after.mask).ravel()[warm]
    error = np.hypot(after.rate_error, comparison.ratio * before.rate_error).ravel()[warm]
    seen = good & (0.2 * WARMER * pixels.rate.ravel()[warm] > 8 * error)
    assert np.count_nonzero(seen) > 80
    drifted = flat(comparison, DRIFTED)
    assert np.isin(warm[seen], drifted).mean() >= 0.99
    assert np.isin(drifted, warm).mean() >= 0.96
    own = comparison.table[comparison.table["change"] == DRIFTED]
    assert np.median(own["difference"] / (comparison.ratio * own["rate_before"])) == pytest.approx(
        0.2, abs=0.02
    )


def test_the_ratio_does_not_follow_the_changed_pixels(changed):
    _, comparison = changed
    assert comparison.ratio_in_adu == pytest.approx(WARMER, rel=0.003)


def test_a_drift_below_the_tolerance_is_none(changed):
    (*_, before, after), comparison = changed
    wider = before.compare(after, tolerance=0.5)
    drifted = wider.table[wider.table["change"] == DRIFTED]
    assert len(drifted) < 0.1 * comparison.counts()[DRIFTED]
    assert flat(wider, TURNED_BAD).tolist() == flat(comparison, TURNED_BAD).tolist()


def test_the_other_way_round_all_is_reversed(changed):
    (*_, before, after), comparison = changed
    back = after.compare(before)
    assert back.ratio == pytest.approx(1 / comparison.ratio, rel=1e-3)
    for kind, other in ((TURNED_BAD, RECOVERED), (RECOVERED, TURNED_BAD)):
        both = np.intersect1d(flat(back, kind), flat(comparison, other)).size
        assert both >= 0.99 * flat(comparison, other).size


# --- one pixel that is masked in the later night alone


@pytest.fixture(scope="module")
def lone(quick):
    """A warm good pixel of both nights, without drift, and the two fits."""
    before, after = quick
    found = drift.find_drift(before, after, 0.01, 0.05)
    change = drift.change_of(before, after, drift.rows(0, 60), found.common, found.null)
    plain = drift.good_in_both(before, after, drift.rows(0, 60)) & (np.abs(change.sigmas) < 0.5)
    plain &= (before.n_groups == 5).ravel() & (after.n_groups == 5).ravel() & (before.rate > 3).ravel()
    place = np.divmod(np.flatnonzero(plain)[0], 70)
    return place, before, after


def altered(fit, place, **values):
    """The fit with other values of one pixel."""
    maps = {name: getattr(fit, name).copy() for name in values}
    for name, value in values.items():
        maps[name][place] = value
    return replace(fit, **maps)


def row_of(comparison, place):
    table = comparison.table
    (row,) = table[(table["y"] == place[0]) & (table["x"] == place[1])]
    return row


NONLINEAR, TELEGRAPH = (np.uint32(flag | DQ.DO_NOT_USE) for flag in (DQ.NONLINEAR, DQ.TELEGRAPH))


def test_a_flag_alone_is_no_evidence(lone):
    place, before, after = lone
    for dq in (NONLINEAR, TELEGRAPH, np.uint32(DQ.JUMP_DET | DQ.DO_NOT_USE)):
        row = row_of(before.compare(altered(after, place, dq=dq)), place)
        assert (row["change"], row["significant"]) == (TURNED_BAD, False)
        assert row["p"] > 0.01


@pytest.mark.parametrize(("sigmas", "significant"), [(4, False), (9, True), (-9, True)])
@pytest.mark.parametrize("quantity", ["rate", "bend"])
def test_the_rate_or_the_bend_is_evidence(lone, quantity, sigmas, significant):
    """Four sigmas are not, among some 4000 pixels: that is the false-discovery control."""
    place, before, after = lone
    if quantity == "rate":
        error = np.hypot(before.rate_error[place], after.rate_error[place])
        values = {"rate": after.rate[place] + sigmas * error}
    else:
        error = np.hypot(before.slope_residual_error[place], after.slope_residual_error[place])
        values = {"slope_residual": before.slope_residual[place] + sigmas * error}
    row = row_of(before.compare(altered(after, place, dq=NONLINEAR, **values)), place)
    assert (row["change"], row["significant"]) == (TURNED_BAD, significant)
    assert row["p"] < 0.01


def test_the_scatter_is_evidence(lone):
    place, before, after = lone
    wild = altered(after, place, dq=TELEGRAPH, scatter=500 * before.scatter[place])
    assert row_of(before.compare(wild), place)["significant"]
    assert row_of(wild.compare(before), place)["change"] == RECOVERED


def test_the_rate_of_a_pixel_that_scatters_is_no_evidence(lone):
    place, before, after = lone
    rate = after.rate[place] + 9 * np.hypot(before.rate_error[place], after.rate_error[place])
    before, after = (altered(fit, place, scatter=6 * fit.scatter_null) for fit in (before, after))
    assert not row_of(before.compare(altered(after, place, dq=TELEGRAPH, rate=rate)), place)["significant"]


def test_the_rate_of_a_pixel_that_bends_is_no_evidence_with_other_exposures(lone):
    place, before, after = lone
    frames = after.frames.copy()
    frames["exposure"] *= 1.2
    rate = 2 * after.rate[place]
    bent = altered(replace(after, frames=frames), place, dq=NONLINEAR, rate=rate, slope_residual=-0.5)
    assert not row_of(before.compare(bent), place)["significant"]
    assert row_of(before.compare(replace(bent, frames=after.frames)), place)["significant"]


# --- table, summary, picture


def test_the_table(changed, tmp_path):
    (*_, before, after), comparison = changed
    table = comparison.table
    place = (np.asarray(table["y"]), np.asarray(table["x"]))
    assert (np.diff(place[0].astype(int) * 400 + place[1]) > 0).all()
    for name, fit in (("before", before), ("after", after)):
        np.testing.assert_array_equal(table[f"rate_{name}"], fit.rate[place])
        np.testing.assert_array_equal(table[f"error_{name}"], fit.rate_error[place])
        assert table[f"rate_{name}"].unit == units.electron / units.s
        bad = np.asarray(fit.mask[place])
        assert ((table[f"reasons_{name}"] != "") == bad).all()
    kinds = np.asarray(table["change"])
    now, then = after.mask[place], before.mask[place]
    assert (kinds[now & ~then] == TURNED_BAD).all()
    assert (kinds[then & ~now] == RECOVERED).all()
    assert (kinds[~now & ~then] == DRIFTED).all()
    assert not (now & then).any()
    assert np.count_nonzero(now != then) == np.count_nonzero(before.mask != after.mask)
    expected = after.rate[place] - comparison.shift - comparison.ratio * before.rate[place]
    np.testing.assert_allclose(table["difference"], expected, rtol=1e-4, atol=1e-5)
    drifted = table[kinds == DRIFTED]
    assert (drifted["p"] <= comparison.limit).all()
    table.write(tmp_path / "changes.ecsv")
    again = Table.read(tmp_path / "changes.ecsv")
    assert again.colnames == table.colnames
    for name in table.colnames:
        np.testing.assert_array_equal(again[name], table[name])
        assert again[name].unit == table[name].unit


def test_the_summary_is_plain(changed):
    _, comparison = changed
    summary = json.loads(json.dumps(comparison.summary(), allow_nan=False))
    assert summary["turned_bad"] == flat(comparison, TURNED_BAD).size
    assert summary["near_threshold_bad"] == flat(comparison, TURNED_BAD, False).size
    assert summary["masked_after"] - summary["masked_before"] == sum(
        summary[name] * sign
        for name, sign in (
            ("turned_bad", 1),
            ("near_threshold_bad", 1),
            ("recovered", -1),
            ("near_threshold_good", -1),
        )
    )
    assert summary["unit"] == "electron/s"
    assert 3 < summary["limit_sigmas"] < 6
    assert "turned bad" in repr(comparison)


def test_results_that_were_written_compare_alike(quick, tmp_path):
    before, after = (fit.write(tmp_path / name) for fit, name in zip(quick, "ab", strict=True))
    read = hotfit.read(before).compare(hotfit.read(after))
    made = quick[0].compare(quick[1])
    assert len(made.table) > 0
    assert read.summary() == made.summary()
    assert (read.table["p"] == made.table["p"]).all()


def test_the_picture(changed):
    from matplotlib.figure import Figure

    _, comparison = changed
    axes = Figure().subplots()
    assert comparison.plot(ax=axes) is axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    for kind in KINDS:
        assert f"{kind}, {comparison.counts()[kind]}" in labels
    assert f"times {comparison.ratio:.4g}" in labels
    drawn = sum(len(each.get_offsets()) for each in axes.collections[1:])
    assert drawn == len(comparison.table)
    low, high = axes.get_xlim()
    for each in axes.collections[1:]:
        assert ((each.get_offsets() >= low * 0.999) & (each.get_offsets() <= high)).all()
    assert comparison.density.counts.sum() <= comparison.tested


def test_the_picture_of_no_change(quick):
    from matplotlib.figure import Figure

    figure = Figure()
    quick[0].compare(quick[0]).plot(ax=figure.subplots())
    figure.canvas.draw()


# --- what is refused, and what is noted


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fdr": 0}, "fdr=0: give a share"),
        ({"fdr": "x"}, "fdr='x': give a share"),
        ({"tolerance": -0.1}, "tolerance=-0.1: give a number that is not negative"),
        ({"tolerance": np.nan}, "tolerance=nan"),
    ],
)
def test_options_that_make_no_sense(quick, options, words):
    with pytest.raises(HotfitError, match=words):
        quick[0].compare(quick[1], **options)


def test_pairs_that_cannot_be_compared(quick):
    before, after = quick
    with pytest.raises(HotfitError, match="60 x 70 and 60 x 60 pixels"):
        before.compare(night(pixels_of(shape=(60, 60), repeats=3), 1))
    with pytest.raises(HotfitError, match="electron/s and adu/s: fit both with a gain"):
        before.compare(replace(after, unit=units.adu / units.s))
    with pytest.raises(HotfitError, match="other=str: give a DarkFit"):
        before.compare("hotfit-out")


def test_rates_without_a_gain():
    pixels = pixels_of(seed=9, odd=0, shape=(100, 100), hot_fraction=0.03)
    found = []
    for seed in (91, 92):
        fit = night(pixels, seed)
        gain = fit.detector.gain
        found.append(
            replace(
                fit,
                rate=fit.rate / np.float32(gain),
                rate_error=fit.rate_error / np.float32(gain),
                detector=replace(fit.detector, gain=np.nan, gain_source="unknown"),
                unit=units.adu / units.s,
            )
        )
    comparison = found[0].compare(found[1])
    assert comparison.ratio == comparison.ratio_in_adu
    assert comparison.ratio_error == comparison.ratio_in_adu_error
    assert comparison.ratio == pytest.approx(1, abs=0.01)
    assert comparison.table["difference"].unit == units.adu / units.s
    assert "adu/s" in comparison.plot().get_xlabel()


def notes(before, after):
    return "\n".join(before.compare(after).notes)


def test_the_same_fit_twice(quick):
    fit = quick[0]
    comparison = fit.compare(fit)
    assert len(comparison.table) == comparison.tested == 0
    assert np.isnan(comparison.null)
    assert np.isnan(comparison.limit)
    assert "no drift is tested" in notes(fit, fit)
    hot = fit.reflag(bad=("HOT", *fit.rules.bad))
    comparison = fit.compare(hot)
    assert comparison.counts(significant=False)[TURNED_BAD] == len(comparison.table) > 0
    assert "flagged with another bad" in "\n".join(comparison.notes)


def dated(fit, mjd, names=None):
    frames = fit.frames.copy()
    frames["mjd"] = mjd + 0.01 * np.arange(len(frames))
    if names is not None:
        frames["file"] = names
    return replace(fit, frames=frames)


def test_frames_that_both_have(quick):
    before, after = quick
    names = [f"night/dark_{i}.fits" for i in range(len(before.frames))]
    copied = [f"D:\\copy\\dark_{i}.fits" for i in range(len(before.frames))]
    assert f"{len(names)} frames are in both" in notes(
        dated(before, 60000, names), dated(after, 60000, copied)
    )
    assert "in both" not in notes(dated(before, 60000, names), dated(after, 60001, names))
    assert "in both" not in notes(before, after)  # arrays have no date


def test_nights_that_are_swapped(quick):
    before, after = quick
    assert "are they swapped?" in notes(dated(before, 60001), dated(after, 60000))
    assert "swapped" not in notes(dated(before, 60000), dated(after, 60001))


def test_too_few_hot_pixels():
    pixels = pixels_of(seed=2, odd=0, shape=(60, 60), hot_fraction=0.0)
    comparison = night(pixels, 21).compare(night(pixels, 22))
    assert np.isnan(comparison.ratio_error)
    assert comparison.ratio == 1
    assert "too few to measure the factor" in "\n".join(comparison.notes)
    assert comparison.summary()["ratio_error"] is None


def test_gains_that_differ(quick):
    """As where the header's gain is believed one night and not the next."""
    before, after = quick
    after = replace(after, detector=before.detector)
    other = replace(
        after,
        rate=after.rate * np.float32(1.2),
        rate_error=after.rate_error * np.float32(1.2),
        detector=replace(after.detector, gain=1.2 * after.detector.gain, gain_source="header"),
    )
    plain, comparison = before.compare(after), before.compare(other)
    assert "believe ratio_in_adu" in "\n".join(comparison.notes)
    assert "ratio_in_adu" not in "\n".join(plain.notes)
    assert comparison.ratio == pytest.approx(1.2 * plain.ratio, rel=1e-4)
    assert comparison.ratio_in_adu == pytest.approx(plain.ratio_in_adu, rel=1e-4)
    assert comparison.counts() == plain.counts()


def test_fits_without_any_rate(quick):
    fit = quick[0]
    nothing = np.full_like(fit.rate, np.nan)
    dq = np.full_like(fit.dq, DQ.UNRELIABLE_SLOPE | DQ.DO_NOT_USE)
    fit = replace(fit, rate=nothing, rate_error=nothing, dq=dq)
    comparison = fit.compare(fit)
    assert len(comparison.table) == comparison.tested == 0
    assert comparison.masked_both == fit.dq.size
    json.dumps(comparison.summary(), allow_nan=False)
    comparison.plot().figure.canvas.draw()


def test_a_test_that_one_night_lacks(quick):
    before, after = quick
    pair = replace(before, lack_of_fit_null=np.nan), after
    assert "lack of fit was tested in one of the fits alone" in notes(*pair)


def test_rates_that_differ_by_more_than_their_errors(quick):
    before, after = quick
    rng = np.random.default_rng(0)
    strange = after.rate + rng.normal(0, 3, after.rate.shape).astype(np.float32) * after.rate_error
    comparison = before.compare(replace(after, rate=strange))
    assert comparison.null > 1.8
    assert "times what their errors say" in "\n".join(comparison.notes)
    assert comparison.counts()[DRIFTED] <= 1


# --- memory


def test_it_goes_by_blocks(monkeypatch):
    """At most a few bytes for each pixel, however many there are: no map of the whole frame is made."""
    pixels = pixels_of(seed=1, shape=(600, 600), repeats=2)
    before, after = night(pixels, 11), night(pixels, 12)
    monkeypatch.setattr(maps, "SAMPLE", 5000)
    monkeypatch.setattr(maps, "BLOCK", 6000)
    before.compare(after)
    tracemalloc.start()
    before.compare(after)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * before.dq.size
