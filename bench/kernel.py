"""Target 1: hotfit's pass over a cube in memory, against numpy, against reading, and against itself.

The result of hotfit and of numpy's matrix product is written into room that is there already; calibration
is done before, as numpy needs none. Where cubes differ in size, times are by sample.
"""

from functools import partial

from rivals import (
    CLOSED_FORM,
    HAS_STCAL,
    KERNEL,
    POLYFIT,
    PRODUCT,
    RIVALS,
    prepare_kernel,
    prepare_ramp,
    prepare_reading,
)
from scenes import SETS, Darks, simulate_darks
from turns import Row, against, in_turn

DEMANDED = {PRODUCT.name: 1.0, CLOSED_FORM.name: 5.0, POLYFIT.name: 40.0}
READING, RAMP = "reading the cube once", "stcal OLS_C on a ramp, one core"
LIKE_THE_FIRST = 1 / 2.5
SHAPES = ((1024, 1024), (4096, 4096), (1900, 2100))
SLOW_ROUNDS = 3


def rows(rounds: int, shrink: int) -> list[Row]:
    """All targets of the kernel; `shrink` divides the sides of the cubes."""
    first = simulate_darks(2048 // shrink)
    table = others(first, rounds)
    for label, changes in list(SETS.items())[1:]:
        table.append(like_the_first(label, first, simulate_darks(2048 // shrink, **changes), rounds))
    for shape in SHAPES:
        size = [side // shrink for side in shape]
        table.append(like_the_first(f"{size[0]} x {size[1]} pixels", first, simulate_darks(*size), rounds))
    runs = {"two": partial(prepare_kernel, workers=2)(first), "one": prepare_kernel(first, workers=1)}
    times = in_turn(runs, rounds)
    return [*table, against("two threads, against one", times["two"], times["one"], 1.8)]


def others(darks: Darks, rounds: int) -> list[Row]:
    """The kernel against whoever fits lines, and against reading."""
    runs = {rival.name: rival.prepare(darks) for rival in RIVALS[1:]}
    runs[READING] = prepare_reading(darks)
    if HAS_STCAL:
        runs[RAMP] = prepare_ramp(darks)
    times = in_turn(runs, rounds, few={RAMP: SLOW_ROUNDS})
    mine = times.pop(KERNEL.name)
    demanded = {**DEMANDED, READING: 1 / 4}
    table = [against(name, mine, theirs, demanded.get(name)) for name, theirs in times.items()]
    if not HAS_STCAL:
        table.append(Row(f"{RAMP}: not installed", "", ""))
    return table


def like_the_first(label: str, first: Darks, second: Darks, rounds: int) -> Row:
    """The kernel on the first cube (as the other side) and on a second one, by sample."""
    times = in_turn({"first": prepare_kernel(first), "second": prepare_kernel(second)}, rounds)
    scale = second.megasamples / first.megasamples
    return against(f"{label}, by sample", times["second"], times["first"], LIKE_THE_FIRST, scale=scale)
