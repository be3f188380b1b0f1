"""Nights of one simulated camera: pixels stay or change as told, noise and frame terms are new."""

from dataclasses import replace

import numpy as np

import hotfit
from hotfit.cameras import choose
from hotfit.scene import Kind, Truth, draw_truth, render_all

EXPOSURES = {"guide": (0.0, 90.0, 200.0, 450.0, 1000.0), "cmos": (0.0, 30.0, 60.0, 120.0, 300.0)}


def pixels_of(camera="guide", *, seed=1, odd=1.0, shape=(200, 200), repeats=6, **changes) -> Truth:
    """The pixels of a camera, with the frame terms of no night in particular."""
    changes = {"exposures": EXPOSURES[camera], **changes}
    return draw_truth(choose(camera, odd, {"shape": shape, "repeats": repeats, **changes}), seed)


def night(truth: Truth, seed: int, *, warmer: float = 1.0, **options):
    """A fit of these pixels with the noise and frame terms of that seed, all rates times a factor."""
    terms = draw_truth(replace(truth.camera, shape=(4, 4)), seed)
    rate = truth.rate * np.float32(warmer)
    hits = np.zeros_like(truth.hits)
    tonight = replace(truth, rate=rate, offset=terms.offset, scale=terms.scale, hits=hits)
    cube = np.array(list(render_all(tonight, seed)))
    return hotfit.fit_cube(cube, truth.exposure, **options)


def healed(truth: Truth, chosen) -> Truth:
    """The same camera, but that the odd pixels `chosen`, rows of `truth.odd`, follow the line."""
    pixel = truth.odd["pixel"][chosen]
    constant = pixel[truth.odd["kind"][chosen] >= Kind.STUCK]
    kind, rate, intercept = truth.kind.copy(), truth.rate.copy(), truth.intercept.copy()
    kind.flat[pixel] = Kind.LINEAR
    rate.flat[constant] = truth.camera.median_rate
    intercept.flat[constant] = truth.camera.bias
    return replace(truth, kind=kind, rate=rate, intercept=intercept, odd=np.delete(truth.odd, chosen))


def hotter(truth: Truth, pixel, factor: float) -> Truth:
    """The same camera with another rate of some pixels, by flat index."""
    rate = truth.rate.copy()
    rate.flat[pixel] *= np.float32(factor)
    return replace(truth, rate=rate)
