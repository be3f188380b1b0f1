"""state.fits: a state as a file beside the result, with the sums of each exposure in a file of their own."""

import warnings
from dataclasses import dataclass, replace
from hashlib import blake2b
from io import BytesIO
from pathlib import Path

from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from hotfit.errors import HotfitError
from hotfit.findings import Findings
from hotfit.state import State
from hotfit.statehdus import check_version, from_hdus, to_hdus
from hotfit.sums import SUMS_FILE, damaged, same_file

STATE_FILE = "state.fits"


@dataclass(frozen=True)
class StateFile:
    """The state of a result that was read, not yet looked at.

    Attributes
    ----------
    directory : Path
    identity : str
        `digest` of its file, as the result has it in its header.
    sound : bool
        Whether headers and tables of the result are as they were written.
    """

    directory: Path
    identity: str
    sound: bool = True

    def load(self, base: Findings) -> State:
        """Read it; `base` is the result that it belongs to.

        Raises
        ------
        HotfitError
            If it is not whole, of another version, or belongs to another result, or that is damaged.
        """
        path = self.directory / STATE_FILE
        if not self.sound:
            raise damaged(self.directory, "the checksums of its result differ")
        try:
            content = path.read_bytes()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", AstropyUserWarning)
                hdus = fits.open(BytesIO(content), checksum=True)
                check_version(hdus[0].header)
                self.check(content)
                return from_hdus(hdus, self.directory, base)
        except HotfitError:
            raise
        except Exception as error:  # astropy has no common base for what a damaged file can raise
            raise damaged(path, error) from error

    def check(self, content: bytes) -> None:
        """Raise ValueError if this is not the content of the file when the result was written."""
        if digest(content) != self.identity:
            raise ValueError("it belongs to another result")

    def write(self, directory: Path) -> "StateFile":
        """The same files in another directory."""
        path = self.directory / STATE_FILE
        try:
            self.check(path.read_bytes())
        except (OSError, ValueError) as error:
            raise HotfitError(
                f"{path}: is not that of this fit any more, and is not copied; read its result again"
            ) from error
        for own in (path, *self.directory.glob(SUMS_FILE.format("*"))):
            same_file(own, directory / own.name)
        return replace(self, directory=directory)


def write_state(state: State, directory: Path) -> StateFile:
    """Write a state into the directory of its result; sums that are in files are taken over as they are."""
    sums = [keeper.write(directory) for keeper in state.sums]
    hdus, stream = fits.HDUList(to_hdus(state, sums)), BytesIO()
    hdus.update_extend()
    for hdu in hdus:
        hdu.add_checksum(when="of this HDU")  # not the time: the same state has the same digest
    hdus.writeto(stream)
    content = stream.getbuffer()
    (directory / STATE_FILE).write_bytes(content)
    return StateFile(directory, digest(content))


def digest(content) -> str:
    """What tells the bytes of a state from those of all others."""
    return blake2b(content, digest_size=16).hexdigest()
