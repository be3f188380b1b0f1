"""Mutators of one file that give its headers, tables and codecs odd values of the right form."""

import io
import struct
from collections.abc import Callable

import numpy as np
from astropy.io import fits
from fuzz_files import dress
from fuzz_places import CARD, cards, headers, image_data, is_end, put, splice
from fuzz_texts import (
    AXES,
    CARDS,
    EXTENSIONS,
    KEYS,
    NUMBERS,
    SIZES,
    STRINGS,
    TABLE,
    TFORMS,
    TILES,
    UGLY,
    WORDS,
    pick,
)


def changing(keys, texts) -> Callable:
    """A mutator that gives one of `keys` one of `texts`, if only where it can be put."""

    def change(data, rng):
        present = [key for key in keys if cards(data, key)]
        key = pick(rng, present if present and rng.random() < 0.9 else keys)
        return put(data, rng, key, pick(rng, texts))

    return change


def absurd_axes(data, rng):
    """Both axes of an image, or of the image in tiles, absurd at once."""
    for key in pick(rng, [("NAXIS1", "NAXIS2"), ("ZNAXIS1", "ZNAXIS2"), ("ZTILE1", "ZTILE2")]):
        data = put(data, rng, key, pick(rng, SIZES[:15])) if cards(data, key) else data
    return data


def many_odd_values(data, rng):
    """Five keys with odd values."""
    for _ in range(5):
        data = put(data, rng, pick(rng, KEYS), pick(rng, NUMBERS + STRINGS))
    return data


def odd_card(data, rng):
    """A card that bends or breaks the standard, in place of a comment or of any other."""
    places = cards(data, "COMMENT") if rng.random() < 0.6 else cards(data)
    return splice(data, pick(rng, places or [0]), pick(rng, CARDS).encode().ljust(CARD))


def no_end(data, rng):
    """END is missing, or spelled otherwise, in one header."""
    ends = [at for start, end in headers(data) for at in range(start, end, CARD) if is_end(data, at)]
    return splice(data, pick(rng, ends or [0]), pick(rng, [b" " * 8, b"END    x", b"end     ", b"END="]))


def early_end(data, rng):
    """END where another card was."""
    return splice(data, pick(rng, cards(data) or [0]), b"END".ljust(CARD))


def not_simple(data, rng):
    """SIMPLE is not T."""
    return put(data, rng, "SIMPLE", pick(rng, ["F", "", "'T'", "1", "TF"]))


def bare_primary(data, rng):
    """A primary HDU and nothing else."""
    primary = fits.PrimaryHDU()
    dress(primary, 60)
    stream = io.BytesIO()
    primary.writeto(stream)
    return stream.getvalue()


def other_codec_size(data, rng):
    """HCOMPRESS streams that tell another size than the header: decoders have believed them."""
    at = data.find(b"\xdd\x99", image_data(data)[0])
    size = struct.pack(">ii", *(pick(rng, [0, -1, 24, 32, 33, 100, 5000, 2**31 - 1]) for _ in range(2)))
    return splice(data, at + 2, size) if at > 0 else data


CARD_MUTATORS: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "absurd axis": changing(AXES, SIZES),
    "number of axes": changing(("NAXIS",), SIZES),
    "absurd axes": absurd_axes,
    "absurd tiles": changing(TILES, SIZES),
    "absurd table": changing(TABLE, SIZES + TFORMS),
    "compression": changing(("ZCMPTYPE", "ZQUANTIZ", "ZNAME1", "TTYPE1"), WORDS),
    "codec size": other_codec_size,
    "table format": changing(("TFORM1", "TFORM2", "TFORM3"), TFORMS),
    "extension type": changing(("XTENSION",), EXTENSIONS),
    "no end": no_end,
    "early end": early_end,
    "not simple": not_simple,
    "bare primary": bare_primary,
    "odd number": changing(KEYS, NUMBERS),
    "odd string": changing(KEYS, STRINGS),
    "ugly string": changing(KEYS, UGLY),
    "odd scaling": changing(("BSCALE", "BZERO", "BLANK", "ZSCALE", "ZZERO"), NUMBERS + STRINGS),
    "odd combined": changing(("NCOMBINE",), NUMBERS + STRINGS),
    "odd values": many_odd_values,
    "odd card": odd_card,
}
