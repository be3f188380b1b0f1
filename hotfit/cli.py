"""The command line: asks what is wanted, lets it be done, and says what went wrong, with an exit code.

`options.py` says what may be asked, `console.py` prints. Everything heavy is imported when that is clear.
"""

import gc
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from hotfit.console import fail
from hotfit.errors import HotfitError
from hotfit.options import build_parser


def command() -> NoReturn:
    """What the shell calls: `main` in a process of its own, where short runs need not wait for Python."""
    gc.set_threshold(100_000)  # modules that are imported are no garbage, and there is little else
    code = main()
    gc.freeze()  # nor need any be looked for when all is done
    sys.exit(code)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = build_parser()
    options = parser.parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # names of files may hold what a console cannot show
            stream.reconfigure(errors="backslashreplace")
    with suppress(ValueError):  # only the main thread may say so; ending by exception cleans up
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if options.update is not None:
            from hotfit.updating import run
        else:
            from hotfit.fitting import run
        run(options, parser)
    except HotfitError as error:
        return fail(str(error))
    except OSError as error:
        return fail(f"{error.filename or 'output'}: {error.strerror or error}")
    except MemoryError:
        return fail("out of memory: give a smaller --memory or fewer --workers")
    except KeyboardInterrupt:
        return fail("interrupted; nothing was written", 130)
    return 0
