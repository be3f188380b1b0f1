"""python -m hotfit."""

from hotfit.cli import command

command()
