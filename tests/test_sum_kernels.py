"""The kernels of sums against that of samples, in which they must agree on all plain pixels."""

import numpy as np
import pytest
from test_kernels import PEDESTAL, SEED, SETS, empty_maps, prepare, random_samples, random_terms, run_kernel

from hotfit import kernels
from hotfit.design import make_shared

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # numpy's, without the JIT


def summed(darks, calibration, bias_subtracted):
    """Sums, the pixels that are not plain, and what the kernel fits with."""
    samples, start = darks.samples(0, 1)
    shared = make_shared(darks, calibration, bias_subtracted)
    shared = shared._replace(unit=1 / np.float32(darks.group_exposure[-1]))
    sums = kernels.Sums(*np.empty((4, darks.group_exposure.size, samples.shape[1]), np.float32))
    doubt = np.empty(samples.shape[1], np.bool_)
    longest = np.float32(darks.group_exposure[-1])
    kernels.sum_pixels(samples, start, *shared[1:], longest, sums, doubt)
    return sums, doubt, shared


def fit(sums, shared, longest, frames, shift=0.0):
    maps, doubt = empty_maps(sums.mean.shape[1]), np.empty(sums.mean.shape[1], np.bool_)
    shift = np.full(len(sums.mean), shift, np.float32)
    kernels.fit_sums(sums, shift, np.float32(longest), *shared[1:], frames, maps, doubt)
    return maps, doubt


def assert_alike(mine, theirs, chosen):
    """The same but for the rounding of float32: slopes within a part of their errors, others nearly."""
    mine, theirs = (kernels.Maps(*(array[chosen] for array in maps)) for maps in (mine, theirs))
    seen = theirs.rate > 5 * theirs.rate_error
    for name, shown in (("rate", True), ("slope_residual", seen)):  # that is a part of the rate
        error = getattr(theirs, f"{name}_error")
        known = np.isfinite(error) & shown
        assert np.isfinite(getattr(mine, name)[known]).all()
        away = np.abs(getattr(mine, name) - getattr(theirs, name)) / error
        assert away[known].max(initial=0) < 0.01, name
    for name in ("rate_error", "intercept", "lack_of_fit", "scatter", "misfit", "n_used", "n_groups", "dq"):
        got, expected = getattr(mine, name), getattr(theirs, name)
        np.testing.assert_allclose(got, expected, rtol=2e-3, atol=5e-3, err_msg=name)


@pytest.mark.parametrize("bias_subtracted", [False, True], ids=["intercept", "origin"])
@pytest.mark.parametrize("name", SETS)
def test_sums_give_the_maps_of_plain_pixels(name, bias_subtracted):
    frames, rng = np.array(SETS[name], float), np.random.default_rng(SEED)
    terms = random_terms(np.sort(frames), rng)
    y = random_samples(np.sort(frames), terms, np.uint16, 0 if bias_subtracted else PEDESTAL, rng)
    darks, calibration = prepare(y, frames, terms, bias_subtracted=bias_subtracted)
    sums, odd, shared = summed(darks, calibration, bias_subtracted)
    maps, doubt = fit(sums, shared, darks.group_exposure[-1], frames.size)
    expected, _, _ = run_kernel(y, frames, terms, bias_subtracted=bias_subtracted)
    constant = (y == y[0]).all(axis=0).ravel()
    assert np.count_nonzero((odd != doubt) & ~constant) <= 1
    plain = ~(odd | doubt)
    assert np.count_nonzero(plain) > 15
    assert_alike(maps, expected, plain)
    assert (expected.n_used[plain] == frames.size).all()
    assert odd[(expected.dq & (kernels.SATURATED | kernels.JUMP_DET)) != 0].all()


def test_sums_hold_what_they_say():
    frames, rng = np.array(SETS["thirty"], float), np.random.default_rng(SEED)
    terms = random_terms(np.sort(frames), rng)
    y = random_samples(np.sort(frames), terms, np.uint16, PEDESTAL, rng).reshape(frames.size, -1)
    darks, calibration = prepare(y, frames, terms)
    sums, odd, _ = summed(darks, calibration, False)
    z = y[:, ~odd] - terms.offset[:, None]
    x = terms.scale * darks.group_exposure[darks.group]
    for k in range(darks.group_exposure.size):
        own, weight = z[darks.group == k], terms.weight[darks.group == k]
        away = x[darks.group == k] - np.average(x[darks.group == k], weights=weight)
        mean = np.average(own, axis=0, weights=weight)
        np.testing.assert_allclose(sums.mean[k, ~odd], mean, rtol=1e-6)
        np.testing.assert_allclose(sums.square[k, ~odd], weight @ (own - mean) ** 2, rtol=1e-3, atol=0.5)
        np.testing.assert_allclose(sums.moment[k, ~odd], (weight * away) @ own, rtol=1e-3, atol=50)
        np.testing.assert_allclose(sums.high[k, ~odd], own.max(axis=0), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_frame_joins_and_leaves(dtype):
    """Sums that a frame joins are those of all samples, and are what they were when it leaves again."""
    rng = np.random.default_rng(SEED)
    weight, x, offset = np.array([1.0, 2, 1, 3]), np.array([90.5, 89, 92, 90]), np.array([1.5, -2, 0, 0.5])
    counts = rng.normal(1000, 20, (4, 2500)).round().astype(dtype)
    y = counts - offset[:, None]

    def sums_of(n):
        mean = np.average(y[:n], axis=0, weights=weight[:n])
        away = x[:n] - np.average(x[:n], weights=weight[:n])
        square, moment = weight[:n] @ (y[:n] - mean) ** 2, (weight[:n] * away) @ y[:n]
        return np.stack([mean, square, moment, y[:n].max(axis=0)])

    sums = np.zeros((4, 2, 2500), np.float32)
    sums[3] = -np.inf

    def move(frame, sign, before):
        away = x[frame] - (np.average(x[: before or 1], weights=weight[: before or 1]) if before else 0)
        numbers = sign * weight[frame], weight[:before].sum(), offset[frame], away
        joining = kernels.Joining(*map(np.float32, numbers))
        kernels.add_frame(counts, frame, 0, joining, kernels.Sums(*sums), 1)

    for frame in range(4):
        move(frame, 1, frame)
        np.testing.assert_allclose(sums[:, 1], sums_of(frame + 1), rtol=1e-4, atol=2e-2)
    assert (sums[:3, 0] == 0).all()
    before = sums[:, 1].copy()
    move(3, -1, 4)
    np.testing.assert_allclose(sums[:3, 1], sums_of(3)[:3], rtol=1e-4, atol=0.1)
    np.testing.assert_array_equal(sums[3, 1], before[3])


def test_shifted_offsets_move_the_intercept_alone():
    frames, rng = np.array(SETS["thirty"], float), np.random.default_rng(SEED)
    terms = random_terms(np.sort(frames), rng)
    y = random_samples(np.sort(frames), terms, np.uint16, PEDESTAL, rng)
    darks, calibration = prepare(y, frames, terms)
    sums, odd, shared = summed(darks, calibration, False)
    longest = darks.group_exposure[-1]
    maps, _ = fit(sums, shared, longest, frames.size)
    shifted, _ = fit(sums, shared, longest, frames.size, shift=4.0)
    warm = ~odd & (maps.intercept - 4 < calibration.noise.floor)
    np.testing.assert_allclose(shifted.intercept[warm], maps.intercept[warm] - 4, atol=0.02)
    np.testing.assert_allclose(shifted.rate[warm], maps.rate[warm], rtol=1e-3, atol=1e-4)


def test_weighted_sums_add_up_and_see_what_changes_places():
    words = np.random.default_rng(5).integers(0, 1 << 32, 3000, dtype=np.uint32)
    expected = sum(place * word for place, word in enumerate(words.tolist(), start=1)) % 2**64
    with np.errstate(over="ignore"):  # modulo is meant
        parts = [int(kernels.weighted_sum(words[first : first + 1000], first)) for first in (0, 1000, 2000)]
        turned = int(kernels.weighted_sum(np.roll(words, 7), 0))
    assert sum(parts) % 2**64 == expected
    assert turned != expected
