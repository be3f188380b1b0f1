"""python -m hotfit."""

import sys

from hotfit.cli import main

sys.exit(main())
