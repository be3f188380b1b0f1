"""How the detectors of a run are fitted, and the fit of one into its directory: here, or on a worker."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hotfit.darkset import DarkSet
from hotfit.filed import FiledFit, filing
from hotfit.flags import Rules
from hotfit.outputs import NOTHING, Extras


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What all detectors of a run have in common.

    Attributes
    ----------
    gain, read_noise, saturation : float or None
        In e-/adu, e- and adu; None: measured from the darks.
    bias_subtracted : bool
        Whether the line goes through the origin.
    rules : Rules
        What is flagged and masked.
    extras : Extras
        What is written besides.
    updatable : bool
        Whether to keep what frames need to join or leave later.
    workers : int or None
        Threads; None: as many as the process may use.
    memory : float
        MB (10**6 bytes) of frames and maps held at once.
    """

    gain: float | None = None
    read_noise: float | None = None
    saturation: float | None = None
    bias_subtracted: bool = False
    rules: Rules = field(default_factory=Rules)
    extras: Extras = NOTHING
    updatable: bool = False
    workers: int | None = None
    memory: float = 256.0


def fit_into(
    directory: Path,
    darks: DarkSet,
    recipe: Recipe,
    progress: Callable[[int, int], None],
    compiling: Callable[[bool], None] | None = None,
) -> FiledFit:
    """Fit a set of darks and write its result into a directory that is empty or can be made.

    Parameters
    ----------
    directory : Path
    darks : DarkSet
    recipe : Recipe
    progress : callable
        Called as ``progress(rows_done, rows)``.
    compiling : callable, optional
        As in `hotfit.jit.when_compiling`.

    Raises
    ------
    HotfitError
        What `hotfit.fit_darks` raises.
    """
    from hotfit.fit import fit_set  # and with it the compiler

    with filing(directory, recipe.extras) as keep:
        return fit_set(
            darks,
            keep,
            given={name: getattr(recipe, name) for name in ("gain", "read_noise", "saturation")},
            bias_subtracted=recipe.bias_subtracted,
            rules=recipe.rules,
            updatable=recipe.updatable,
            workers=recipe.workers,
            memory=recipe.memory,
            progress=progress,
            compiling=compiling,
        )
