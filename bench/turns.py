"""Measuring in turn, and telling it: rounds of runs, processes, targets met or not, the machine.

Every round runs each side, so that whatever else the machine does meets all alike: twice, of which the second
run counts, since the side before leaves threads that spin and memory that goes back to the system. A ratio is
the median of the ratios of the rounds.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from math import isnan, nan
from pathlib import Path
from statistics import median
from time import perf_counter

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("numpy", "numba", "astropy", "ccdproc", "stcal")
HEAD = ("", "hotfit", "other side", "ratio", "demanded", "met")


@dataclass(frozen=True)
class Row:
    """One line of a table: hotfit against another side, or against a limit."""

    what: str
    mine: str
    other: str
    ratio: float = nan  # other side over hotfit: larger is better
    demanded: float | None = None  # the least ratio that meets the target

    @property
    def cells(self) -> tuple[str, ...]:
        if self.demanded is None:
            wanted, met = "", ""
        else:
            wanted, met = f"{self.demanded:.3g}", "yes" if self.ratio >= self.demanded else "**no**"
        ratio = "" if isnan(self.ratio) else f"{self.ratio:.3g}"
        return self.what, self.mine, self.other, ratio, wanted, met


def in_turn(
    runs: dict[str, Callable[[], object]], rounds: int, *, few: dict[str, int] | None = None
) -> dict[str, list[float]]:
    """Seconds of every run in every round, by name; `few` says which are too slow for all rounds.

    These run once in a round.
    """
    seconds, few = {name: [] for name in runs}, few or {}
    for name in few:
        runs[name]()
    for done in range(rounds):
        for name, run in runs.items():
            if done < few.get(name, rounds):
                if name not in few:
                    run()
                start = perf_counter()
                run()
                seconds[name].append(perf_counter() - start)
    return seconds


def against(
    what: str, mine: list[float], other: list[float], demanded: float | None = None, *, scale: float = 1.0
) -> Row:
    """hotfit against another side, from the seconds of both; `scale` multiplies the other side's."""
    ratio = median(theirs * scale / ours for ours, theirs in zip(mine, other, strict=False))
    return Row(what, seconds_text(median(mine)), seconds_text(median(other)), ratio, demanded)


def below(what: str, value: float, limit: float, unit: str) -> Row:
    """A figure against the limit that it must stay below."""
    return Row(what, f"{value:.4g} {unit}", f"limit {limit:.4g} {unit}", limit / value, 1.0)


def seconds_text(seconds: float) -> str:
    """Seconds, or milliseconds where they are few."""
    return f"{seconds * 1e3:.3g} ms" if seconds < 0.1 else f"{seconds:.3g} s"


def print_table(title: str, rows: list[Row]) -> None:
    """Print a Markdown table of targets."""
    lines = [HEAD, ("---", *["---:"] * 4, "---"), *(row.cells for row in rows)]
    print(f"\n### {title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines), flush=True)


def python(*arguments, changes: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """Run this Python on arguments, with this checkout's hotfit; raises with its stderr if that fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **(changes or {})}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # pip compiles what it installs
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)[:300]}\n{done.stderr}")
    return done


def machine() -> str:
    """Processor, system and versions, in a line."""
    import hotfit

    found = [f"hotfit {hotfit.__version__}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return (
        f"{processor()}, {os.cpu_count()} cores; {platform.system()}, Python {platform.python_version()}, "
        + ", ".join(found)
    )


def processor() -> str:
    """The model of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
