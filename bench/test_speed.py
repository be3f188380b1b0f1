"""Speed of hotfit and of others on one cube of darks: ``python -m pytest bench``.

Benchmarks run one after the other here; `compare.py` takes turns, and says what each rival leaves out.
"""

import numpy as np
import pytest
from rivals import HOTFIT, RIVALS, check_agreement


@pytest.fixture(scope="module")
def hotfit_rate(darks):
    return HOTFIT.prepare(darks)()


@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
def test_fit(rival, darks, hotfit_rate, benchmark):
    run = rival.prepare(darks)
    check_agreement({HOTFIT.name: hotfit_rate, rival.name: run()})
    benchmark.group = "fit of {} x {} x {} uint16".format(*darks.cube.shape)
    rate = benchmark(run)
    assert np.isfinite(rate).any()
    if benchmark.enabled:
        benchmark.extra_info["Msamples/s"] = round(darks.megasamples / benchmark.stats.stats.median, 1)
