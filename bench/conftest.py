"""The cube that all benchmarks share: ``python -m pytest bench --side 2048``."""

import pytest
from scenes import simulate_darks


def pytest_addoption(parser):
    parser.addoption("--side", type=int, default=1024, help="rows and columns of the simulated darks")


@pytest.fixture(scope="session")
def darks(request):
    return simulate_darks(request.config.getoption("--side"))
