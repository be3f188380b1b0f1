"""Nights of one simulated camera: pixels stay or change as told, noise and frame terms are new."""

from dataclasses import replace
from typing import NamedTuple

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


class Story(NamedTuple):
    """Two nights of a camera whose pixels changed in between; pixels by flat index."""

    pixels: Truth
    came: np.ndarray  # odd in the second night alone
    went: np.ndarray  # odd in the first night alone
    warmed: np.ndarray  # 20 % hotter in the second night
    before: hotfit.DarkFit
    after: hotfit.DarkFit


def story(camera: str, *, seed: int, warmer: float, warmed: int = 300, **changes) -> Story:
    """A third of the odd pixels of a camera turn odd from night to night, a third heal, some get hotter."""
    pixels = pixels_of(camera, seed=seed, **changes)
    rng = np.random.default_rng(seed)
    fate = rng.integers(0, 3, pixels.odd.size)
    comes, goes = (np.flatnonzero(fate == its) for its in (1, 2))
    warm = np.flatnonzero((pixels.kind.ravel() == Kind.LINEAR) & (pixels.rate.ravel() > 0.4))
    warm = rng.choice(warm, warmed, replace=False)
    before = night(healed(pixels, comes), 100 + seed)
    after = night(hotter(healed(pixels, goes), warm, 1.2), 200 + seed, warmer=warmer)
    came, went = (pixels.odd["pixel"][rows] for rows in (comes, goes))
    return Story(pixels, came, went, warm, before, after)


def flat(comparison, kind: str, significant: bool = True) -> np.ndarray:
    """Flat indices of the pixels that changed in that way."""
    table = comparison.table
    own = table[(table["change"] == kind) & (table["significant"] == significant)]
    return np.asarray(own["y"], int) * comparison.shape[1] + np.asarray(own["x"], int)
