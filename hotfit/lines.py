"""Straight lines through the samples of each pixel, and what they leave of each frame."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

BLOCK = 250_000
"""Samples that are worked on at once: they and what is made of them stay in cache."""


class Lines(NamedTuple):
    """Ordinary least-squares lines of P pixels, and the samples: what is left over is made frame by frame."""

    values: np.ndarray  # (N, all pixels) adu, as they were read
    pixels: np.ndarray  # (P,) where the pixels of these lines stand in them
    intercept: np.ndarray  # (P,) adu
    signal: np.ndarray  # (P,) dark signal in the longest exposure, adu
    u: np.ndarray  # (N,) float32, time in longest exposures
    offset: np.ndarray  # (N,) float32, adu
    maker: np.ndarray  # (N, N), residuals = maker @ values

    def of(self, pixels) -> "Lines":
        """The lines of some of the pixels."""
        return self._replace(
            pixels=self.pixels[pixels], intercept=self.intercept[pixels], signal=self.signal[pixels]
        )

    def counts(self) -> Iterator[np.ndarray]:
        """Yield the samples of each frame, (P,) adu."""
        return (frame[self.pixels] for frame in self.values)

    def residual(self, i) -> np.ndarray:
        """What the lines leave of one frame, (P,) adu."""
        return self.values[i, self.pixels] - (self.intercept + self.u[i] * self.signal) - self.offset[i]

    def residuals(self) -> Iterator[np.ndarray]:
        """Yield what the lines leave of each frame, (P,) adu."""
        return (self.residual(i) for i in range(self.u.size))


def basis(u, bias_subtracted: bool) -> np.ndarray:
    """Columns of the line in time: (N, 2), or (N, 1) through the origin."""
    return u[:, None] if bias_subtracted else np.column_stack([np.ones_like(u), u])


def fit_lines(values, u, weight, bias_subtracted: bool) -> Lines:
    """Fit `values` (N, P) against time `u` (N,), in longest exposures, with one weight a frame."""
    columns = basis(u, bias_subtracted)
    solver = np.linalg.inv(columns.T @ (weight[:, None] * columns)) @ (columns * weight[:, None]).T
    solver32 = solver.astype(np.float32)
    solution = np.empty((columns.shape[1], values.shape[1]), np.float32)
    for part in blocks(values.shape[1], u.size):
        solution[:, part] = solver32 @ values[:, part].astype(np.float32)
    return Lines(
        values=values,
        pixels=np.arange(values.shape[1]),
        intercept=np.zeros_like(solution[-1]) if bias_subtracted else solution[0],
        signal=solution[-1],
        u=u.astype(np.float32),
        offset=np.zeros(u.size, np.float32),
        maker=np.eye(u.size) - columns @ solver,
    )


def blocks(pixels: int, frames: int) -> list[slice]:
    """Cut so many pixels into runs of `BLOCK` samples."""
    size = max(1, BLOCK // frames)
    return [slice(first, first + size) for first in range(0, pixels, size)]
