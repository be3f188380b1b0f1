"""The rules on whole maps at once: what the flags by blocks of rows must equal to the last bit."""

import numpy as np
from scipy import stats

from hotfit.flags import DQ, OBSERVED
from hotfit.verdict import BIAS_SIGMA, Verdict, benjamini_hochberg, moderated, shared_degrees


def decide_at_once(maps, rules, frames, groups, parameters):
    """Verdict on maps in memory, whose `dq` stays as it is."""
    dq = maps.dq & np.uint32(OBSERVED)
    used, times = maps.n_used.astype(np.int32), maps.n_groups.astype(np.int32)
    complete = (maps.n_used == frames) & (maps.n_groups == groups)
    spare, degrees, share = frames - groups, groups - parameters, rules.fdr / 2
    shared = shared_degrees(thinned(maps.scatter, complete & np.isfinite(maps.scatter)), spare)
    unstable, scatter_null, _ = significant(
        maps.scatter, used - times, shared, complete, (spare, shared), share
    )
    statistic, noise_degrees, noise_full = maps.lack_of_fit, shared, shared
    if np.isfinite(scatter_null):
        noise = moderated(maps.scatter / scatter_null, used - times, shared)
        statistic, noise_degrees, noise_full = maps.lack_of_fit / noise, shared + used - times, shared + spare
    lacking, lack_null, limit = significant(
        statistic, times - parameters, noise_degrees, complete, (degrees, noise_full), share
    )
    sigma = np.sqrt(scatter_null) if np.isfinite(scatter_null) else 1.0
    lacking &= (maps.misfit > rules.min_sigma * sigma) & (maps.misfit_fraction > rules.tolerance)
    unstable &= maps.scatter > (1 + rules.min_sigma**2) * scatter_null
    hot_limit, hot = rules.hot, maps.rate
    if hot_limit is None:
        centre, width = bulk(maps.rate)
        hot_limit = centre + 5 * width
        hot = np.where(maps.rate > 5 * maps.rate_error, maps.rate, -np.inf)
    centre, width = bulk(maps.intercept)
    strange = np.abs(maps.intercept - centre) > BIAS_SIGMA * width if parameters > 1 else False
    dq |= np.uint32(DQ.HOT) * (hot > hot_limit)
    dq |= np.uint32(DQ.TELEGRAPH) * unstable
    dq |= np.uint32(DQ.NONLINEAR) * lacking
    dq |= np.uint32(DQ.UNRELIABLE_BIAS) * strange
    dq |= np.uint32(DQ.UNRELIABLE_SLOPE) * ((times < 2) | ~np.isfinite(maps.rate))
    bad = np.uint32(sum(DQ[name] for name in rules.bad))
    dq |= np.uint32(DQ.DO_NOT_USE) * ((dq & bad) != 0)
    return Verdict(dq, hot_limit, lack_null, scatter_null, shared, limit)


def significant(statistic, degrees, noise_degrees, complete, full, fdr):
    """Significant pixels, the null that the complete ones show, and the p-value of the last one."""
    found = np.zeros(statistic.shape, bool)
    tested = np.isfinite(statistic) & (degrees > 0)
    values = thinned(statistic, tested & complete)
    if values.size == 0 or full[0] <= 0:
        return found, np.nan, np.nan
    null = float(np.median(values)) / float(stats.f.ppf(0.5, *full))
    if not null > 0:
        return found, np.nan, np.nan
    p = np.full(statistic.shape, np.nan)
    p[tested] = stats.f.sf(
        (statistic / null)[tested], degrees[tested], np.broadcast_to(noise_degrees, p.shape)[tested]
    )
    limit = benjamini_hochberg(p.ravel(), int(np.count_nonzero(tested)), fdr)
    return p <= limit, null, limit


def bulk(values):
    """Median and robust sigma of the finite values."""
    kept = thinned(values, np.isfinite(values))
    if kept.size == 0:
        return np.nan, np.nan
    centre = float(np.median(kept))
    return centre, 1.4826 * float(np.median(np.abs(kept - np.median(kept))))


def thinned(values, chosen):
    """The chosen ones of evenly spread values, a million or more."""
    stride = max(1, values.size // 1_000_000) | 1
    return values.ravel()[::stride][chosen.ravel()[::stride]]
