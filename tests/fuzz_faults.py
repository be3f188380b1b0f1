"""Programs that do what the fuzz test must not let pass, and the complaint that each has to raise."""

import os
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from fuzz_complaints import MEMORY


def fail_in_two_lines(_argv):
    print("hotfit: one\nhotfit: two", file=sys.stderr)
    return 1


def fail_silently(_argv):
    return 1


def raise_error(_argv):
    raise ValueError("a traceback")


def sleep_on(_argv):
    time.sleep(100)


def warn(_argv):
    warnings.warn("overflow encountered in divide", RuntimeWarning, stacklevel=1)
    return 0


def take_memory(_argv):
    try:
        np.ones(MEMORY // 8 + 1)
    except MemoryError as error:
        print(f"hotfit: in/0.fits: cannot be read ({error})", file=sys.stderr)
    return 1


def leave_scratch(_argv):
    tempfile.mkdtemp(prefix="hotfit-")
    return 0


def leave_half(_argv):
    Path("out").mkdir()
    Path("out/mask.fits").touch()
    print("hotfit: sorry", file=sys.stderr)
    return 1


def succeed_by_half(_argv):
    Path("out").mkdir()
    return 0


def spoil_input(_argv):
    Path("in/0.fits").write_bytes(b"")
    return 0


def refuse(_argv):
    print("hotfit: no", file=sys.stderr)
    return 1


def crash(_argv):
    os.kill(os.getpid(), signal.SIGSEGV)


FAULTS = {
    fail_in_two_lines: "not one clear line",
    fail_silently: "not one clear line",
    raise_error: "ended with ValueError",
    sleep_on: "ended with no end",
    warn: "text on stderr",
    take_memory: "too much memory",
    leave_scratch: "left behind: hotfit-",
    leave_half: "a partial output",
    succeed_by_half: "the output is []",
    spoil_input: "an input file was changed",
    refuse: "a whole set was refused",
    crash: "died",
}
"""Program: a part of the complaint."""
