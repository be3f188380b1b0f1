"""hotfit: per-pixel linearity fits of dark frames.

>>> fit = hotfit.fit_darks("darks/")
>>> fit.rate, fit.rate_error, fit.mask, fit.dq

Everything is imported on first use, so that `import hotfit` costs nothing.
"""

import importlib

__version__ = "0.1.0"

_ROOMS = {
    "fit_darks": "hotfit.fit",
    "fit_cube": "hotfit.fit",
    "find_darks": "hotfit.darks",
    "DarkFit": "hotfit.result",
    "read": "hotfit.store",
    "DQ": "hotfit.flags",
    "HotfitError": "hotfit.errors",
}

__all__ = [
    "DQ",
    "DarkFit",
    "HotfitError",
    "__version__",
    "find_darks",
    "fit_cube",
    "fit_darks",
    "read",
    "simulate",
]


def __getattr__(name):
    if name in _ROOMS:
        return getattr(importlib.import_module(_ROOMS[name]), name)
    if name == "simulate":
        return importlib.import_module("hotfit.simulate")
    raise AttributeError(f"module 'hotfit' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
