"""Seeded ways to spoil small sets of darks: tables of variants and of mutators, and the cases made of them.

A mutator takes the bytes of one file, or the files of a set by name, and a random generator. The seed of a
case says all about it: `make_case(7)` is the same set of files and options on every machine.
"""

import bz2
import gzip
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from astropy.io import fits

SEED = 20260
BLOCK, CARD = 2880, 80
SHAPE = (24, 32)
EXPOSURES = (0, 60, 300, 0, 60, 300)
FILLERS = 8

Files = dict[str, bytes]

# --- the sets that are spoiled


def counts(seconds: float, pedestal: float, seed: int) -> np.ndarray:
    """Counts of a plain camera with some hot pixels, float64."""
    rate = np.random.default_rng(0).exponential(0.3, SHAPE)
    rate.flat[::40] = np.linspace(2, 300, rate.flat[::40].size)
    dark = rate * seconds
    noise = np.sqrt(25 + dark / 1.5) * np.random.default_rng([SEED, seed]).normal(size=SHAPE)
    return np.clip(pedestal + dark + noise, 0 if pedestal else None, 60000)


def dress(image: fits.PrimaryHDU, seconds: float):
    """Give an HDU the header of a camera program, and comments that a mutator may replace."""
    image.header.update(
        {
            "EXPTIME": float(seconds),
            "EXPOSURE": float(seconds),
            "IMAGETYP": "Dark Frame",
            "EGAIN": 1.5,
            "GAIN": 120,
            "OFFSET": 10,
            "CCD-TEMP": -10.0,
            "SET-TEMP": -10.0,
            "XBINNING": 1,
            "YBINNING": 1,
            "NCOMBINE": 1,
            "SATURATE": 60000,
            "INSTRUME": "Fuzz 1000",
            "READOUTM": "fast",
            "BIASSEC": "[1:2,1:24]",
            "TRIMSEC": "[3:32,1:24]",
        }
    )
    for _ in range(FILLERS):
        image.header["COMMENT"] = "filler"
    return image


def plain(kind: str, pedestal: float = 1000) -> Callable:
    """Files with the image in the primary HDU."""
    return lambda t, i: fits.HDUList([dress(fits.PrimaryHDU(counts(t, pedestal, i).astype(kind)), t)])


def scaled(t: float, i: int) -> fits.HDUList:
    """int16 with BSCALE, BZERO and BLANK."""
    image = fits.PrimaryHDU(((counts(t, 1000, i) - 30000) / 2).astype(np.int16))
    image.header["BLANK"] = -32768
    dress(image, t)
    # Set last, so that astropy writes the numbers as they are.
    image.header["BSCALE"], image.header["BZERO"] = 2.0, 30000.0
    return fits.HDUList([image])


def tiled(kind: str, **how) -> Callable:
    """Tile-compressed files."""
    return lambda t, i: fits.HDUList(
        [fits.PrimaryHDU(), dress(fits.CompImageHDU(counts(t, 1000, i).astype(kind), **how), t)]
    )


def mosaic(t: float, i: int) -> fits.HDUList:
    """An empty primary HDU that has the exposure, and two chips."""
    chips = [fits.ImageHDU(counts(t, 1000, i + 9 * n).astype("u2"), name=f"CHIP{n}") for n in (1, 2)]
    return fits.HDUList([dress(fits.PrimaryHDU(), t), *chips])


VARIANTS: dict[str, tuple[Callable, str, Callable]] = {
    "uint16": (plain("u2"), "", bytes),
    "uint8": (lambda t, i: plain("u1", 10)(t / 4, i), "", bytes),
    "int32": (plain("i4"), "", bytes),
    "float32": (plain("f4"), "", bytes),
    "float64": (plain("f8"), "", bytes),
    "bias subtracted": (plain("f4", 0), "", bytes),
    "scaled": (scaled, "", bytes),
    "mosaic": (mosaic, "", bytes),
    "gzip": (plain("u2"), ".gz", gzip.compress),
    "bzip2": (plain("f4"), ".bz2", bz2.compress),
    "rice": (tiled("u2", compression_type="RICE_1"), ".fz", bytes),
    "gzip tiles": (tiled("f4", compression_type="GZIP_2", quantize_level=0), ".fz", bytes),
    "quantised": (tiled("f4", compression_type="RICE_1"), ".fz", bytes),
    "hcompress": (tiled("i4", compression_type="HCOMPRESS_1"), ".fz", bytes),
}
"""Name: what makes the HDUs of an exposure time and number, suffix, and what packs the file."""


@cache
def whole_file(variant: str, number: int) -> bytes:
    """File `number` of a set, before it is packed."""
    stream = io.BytesIO()
    VARIANTS[variant][0](EXPOSURES[number], number).writeto(stream)
    return stream.getvalue()


def other_variant(rng) -> str:
    """The name of any variant."""
    return str(rng.choice(list(VARIANTS)))


# --- finding one's way in bytes


def headers(data: bytes) -> list[tuple[int, int]]:
    """Where every header begins, and where the block behind its END begins."""
    found = []
    for start in range(0, len(data), BLOCK):
        if start == 0 or data[start : start + 9] == b"XTENSION=":
            end = next((at for at in range(start, len(data), CARD) if is_end(data, at)), len(data) - 1)
            found.append((start, min(len(data), (end // BLOCK + 1) * BLOCK)))
    return found


def is_end(data: bytes, at: int) -> bool:
    """Whether the card at `at` is END."""
    return data[at : at + 8].rstrip() == b"END"


def cards(data: bytes, *keys: str) -> list[int]:
    """Where the cards of `keys` are, or all that are not blank."""
    names = {key.encode().ljust(8) for key in keys}
    places = [at for start, end in headers(data) for at in range(start, end, CARD)]
    return [at for at in places if (data[at : at + 8] in names if names else data[at : at + 80].strip())]


def image_header(data: bytes) -> tuple[int, int]:
    """The header that speaks for the image: the first with data, or the last."""
    found = headers(data) or [(0, 0)]
    return next(((a, b) for a, b in found if b < len(data) and data[b : b + 9] != b"XTENSION="), found[-1])


def image_data(data: bytes) -> tuple[int, int]:
    """Where the data of the image begin and end, an empty run in a file without."""
    start = image_header(data)[1]
    return start, next((a for a, _ in headers(data) if a > start), len(data))


def splice(data: bytes, at: int, new: bytes) -> bytes:
    """Overwrite bytes from `at`."""
    return data[:at] + new + data[at + len(new) :]


def card_of(key: str, text: str) -> bytes:
    """A card with any text for a value."""
    return f"{key:8}= {text:>20}".encode("latin-1").ljust(CARD)[:CARD]


def put(data: bytes, rng, key: str, text: str) -> bytes:
    """Set every card of `key`, or a comment where there is none."""
    places = cards(data, key) or cards(data, "COMMENT")[:1]
    for at in places:
        data = splice(data, at, card_of(key, text))
    return data


def somewhere(rng, first: int, last: int) -> int:
    """A place in first .. last (exclusive), `first` where that is empty."""
    return int(rng.integers(first, max(last, first + 1)))


def pick(rng, table):
    """One entry of a sequence."""
    return table[int(rng.integers(len(table)))]


# --- mutators of one file: bits, bytes, blocks


def flipped(data: bytes, rng, first: int, last: int, number: int) -> bytes:
    """Flip one bit in each of `number` bytes between two places."""
    raw = bytearray(data)
    for at in rng.integers(first, max(last, first + 1), number):
        if at < len(raw):
            raw[at] ^= 1 << int(rng.integers(8))
    return bytes(raw)


def noisy(data: bytes, rng, first: int, last: int, number: int) -> bytes:
    """Replace a run of `number` bytes between two places by random ones."""
    at = somewhere(rng, first, last - number)
    return splice(data, at, rng.bytes(min(number, max(0, len(data) - at))))


def flip_header_bit(data, rng):
    """One bit in a card that is not blank."""
    at = pick(rng, cards(data) or [0])
    return flipped(data, rng, at, at + 40, 1)


def flip_header_bytes(data, rng):
    """Bits in ten cards."""
    for _ in range(10):
        data = flip_header_bit(data, rng)
    return data


def random_card(data, rng):
    """A card of random bytes."""
    return splice(data, pick(rng, cards(data) or [0]), rng.bytes(CARD))


def printable_card(data, rng):
    """A card of random text."""
    text = bytes(rng.integers(32, 127, CARD).astype(np.uint8))
    return splice(data, pick(rng, cards(data) or [0]), text)


def blank_card(data, rng):
    """A card that is blanked out."""
    return splice(data, pick(rng, cards(data) or [0]), b" " * CARD)


def doubled_card(data, rng):
    """A card that replaces another."""
    here, there = pick(rng, cards(data) or [0]), pick(rng, cards(data) or [0])
    return splice(data, there, data[here : here + CARD])


def swapped_cards(data, rng):
    """Two cards that trade places."""
    here, there = pick(rng, cards(data) or [0]), pick(rng, cards(data) or [0])
    return splice(splice(data, there, data[here : here + CARD]), here, data[there : there + CARD])


def shifted_card(data, rng):
    """A card moved by some characters."""
    at, by = pick(rng, cards(data) or [0]), int(rng.integers(1, 12))
    return splice(data, at, (b" " * by + data[at : at + CARD])[:CARD])


def flip_data_bits(data, rng):
    """Some bits in the data."""
    return flipped(data, rng, *image_data(data), int(rng.integers(1, 40)))


def noise_in_data(data, rng):
    """A run of random bytes in the data: of a tile-compressed file, in its table or its heap."""
    return noisy(data, rng, *image_data(data), int(rng.integers(1, 600)))


def noise_in_first_data(data, rng):
    """Random bytes where a tile-compressed file keeps lengths and offsets."""
    start, end = image_data(data)
    return noisy(data, rng, start, min(end, start + 400), int(rng.integers(1, 16)))


def noise_anywhere(data, rng):
    """A run of random bytes."""
    return noisy(data, rng, 6, len(data), int(rng.integers(1, 200)))


def flip_anywhere(data, rng):
    """Some bits behind the magic number."""
    return flipped(data, rng, 6, len(data), int(rng.integers(1, 10)))


def cut_anywhere(data, rng):
    """Cut short."""
    return data[: somewhere(rng, 0, len(data))]


def cut_at_block(data, rng):
    """Cut short where a block ends."""
    return data[: BLOCK * somewhere(rng, 0, len(data) // BLOCK)]


def cut_at_card(data, rng):
    """Cut short in a header."""
    return data[: pick(rng, cards(data) or [0])]


def cut_a_little(data, rng):
    """Without its last bytes."""
    return data[: -somewhere(rng, 1, 400)]


def without_block(data, rng):
    """A block that is missing."""
    at = BLOCK * somewhere(rng, 0, len(data) // BLOCK)
    return data[:at] + data[at + BLOCK :]


def doubled_block(data, rng):
    """A block that stands there twice."""
    at = BLOCK * somewhere(rng, 0, len(data) // BLOCK)
    return data[: at + BLOCK] + data[at:]


def swapped_blocks(data, rng):
    """Two blocks that trade places."""
    here, there = (BLOCK * somewhere(rng, 0, len(data) // BLOCK) for _ in range(2))
    one, two = data[here : here + BLOCK], data[there : there + BLOCK]
    return splice(splice(data, there, one), here, two)


def zeroed_block(data, rng):
    """A block of zeros, as a full disk leaves it."""
    at = BLOCK * somewhere(rng, 0, len(data) // BLOCK)
    return splice(data, at, bytes(len(data[at : at + BLOCK])))


def inserted_bytes(data, rng):
    """Some bytes too many."""
    at = somewhere(rng, 0, len(data))
    return data[:at] + rng.bytes(int(rng.integers(1, 100))) + data[at:]


def removed_bytes(data, rng):
    """Some bytes too few."""
    at = somewhere(rng, 0, len(data))
    return data[:at] + data[at + int(rng.integers(1, 100)) :]


def junk_behind(data, rng):
    """More behind the end: bytes, blanks, zeros, another header."""
    junk = (rng.bytes(1), rng.bytes(5000), bytes(BLOCK), b" " * BLOCK, b"XTENSION= 'IMAGE   '", data)
    return data + pick(rng, junk)


def line_ends(data, rng):
    """Sent as text: line feeds became two characters."""
    return data.replace(b"\n", b"\r\n") if b"\n" in data else data.replace(b"\x03", b"\r\n")


# --- mutators of one file: cards


def entries(*lines: str) -> list[str]:
    """The entries of a table that is written with bars between them."""
    return [entry for line in lines for entry in line.split("|")]


SIZES = entries(
    "0|-1|1|2|3|7|31|33|1000|65536|999999|2147483647|2147483648|1000000000|1000000000000000000",
    "9223372036854775807|9999999999999999999999999999999999999999|32.5|1E3|'32'|''||T|NaN|(2, 3)|-32",
    "'1PB(9)'",
)
AXES = entries("NAXIS1|NAXIS2|NAXIS|NAXIS3|BITPIX|PCOUNT|GCOUNT|EXTEND|GROUPS")
TILES = entries("ZNAXIS1|ZNAXIS2|ZNAXIS|ZTILE1|ZTILE2|ZBITPIX|THEAP|ZVAL1|ZVAL2|ZBLANK")
TABLE = entries("TFIELDS|NAXIS1|NAXIS2|PCOUNT|TFORM1|TTYPE1|TFORM2|TTYPE2|ZIMAGE|ZDITHER0")
WORDS = entries("'RICE_1'|'RICE_ONE'|'GZIP_1'|'GZIP_2'|'PLIO_1'|'HCOMPRESS_1'|'NOCOMPRESS'|'XYZ'|''|5|T")
TFORMS = entries(
    "'1PB(99999)'|'1QB(1)'|'1PI(2)'|'1PE(3)'|'9PB'|'PB'|'1E'|'100000000B'|'0B'|'X'|''|7|'1PX(3)'"
)
EXTENSIONS = entries("'IMAGE'|'BINTABLE'|'TABLE'|'A3DTABLE'|'IUEIMAGE'|'FOREIGN'|'DUMP'|'XYZ'|''|5|T")

KEYS = entries(
    "EXPTIME|EXPOSURE|DARKTIME|EXP_TIME|EGAIN|E-GAIN|GAIN|OFFSET|CCD-TEMP|SET-TEMP|XBINNING|YBINNING|NCOMBINE",
    "SATURATE|BSCALE|BZERO|BLANK|BIASSEC|TRIMSEC|IMAGETYP|FRAME|OBSTYPE|INSTRUME|READOUTM|XORGSUBF|EXTNAME",
)
NUMBERS = entries(
    "NaN|nan|-nan|inf|-inf|1E400|1e300|1e-300|1E-45|-1|0|-0.0|1|1.0|1.0000001|16|255|65536|T|F|1,5|0x10|1_000",
    "1D3|1d400|+|-|.|/|//|1e|1e+|5.|.5|+7|007|3.402824E38|4294967296|1e18|2e9||(1.0, 2.0)|(1, 2|1 2|1 / two",
    "99999999999999999999999999999999999999999999999999999999999999|-1000000000000000000000000000000000000.",
)
STRINGS = entries(
    "''|' '|'nan'|'inf'|'1e400'|'10'|'10 s'|'-3'|'abc'|'''|'|'a''b'|'True'|'&'|'a&'|abc|'1e5' / s|'None'",
    "'Light'|'BIAS'|'Master Dark'|'[4096:4109]'|'[,]'|'High'|'dark'|'Zero Frame'",
    "'9999999999999999999999999999999999999999999999999999999999999999999'",
    "'very long text that goes on and on, as comments in headers sometimes do'",
)
UGLY = entries(
    "'caf\xe9'|'\xff\xfe'|'a\nb'|'a\x00b'|'\x1b[31mred'|'\x07'|'a\tb'|'\r'|\x7f|'\x85'|\n|\x00|5\x00|5\n|'\xa05'",
    "'Dark\nFrame'|'Dark\x00'|'Dark Frame\xa0'|'\xb2'",
)
CARDS = entries(
    "HIERARCH = 5|HIERARCH EXPTIME = 60.|HIERARCH ESO DET DIT = 'x|HIERARCH ESO DET DIT = 60|HIERARCH|=|= 5",
    "HIERARCH a.very.long_and-odd key = 1|CONTINUE  'abc&'|CONTINUE  abc|CONTINUE|CONTINUE= 5|        = 5",
    "EXPTIME 60|EXPTIME=60|EXPTIME = 60|exptime =                   60|EXPTIME =",
    "EXPTIME =  '60|EXPTIME = '60&'",
    "COMMENT = 5|HISTORY|END     = 5|END|LONGKEYWORD = 5|INHERIT = 'T'|BLOCKED = T|CHECKSUM= 'x'",
    "DATASUM = 'x'",
    "ZIMAGE  =                    T|XTENSION= 'IMAGE   '|SIMPLE  =                    T|NAXIS3  = 3",
    "BSCALE  =                   0.|BLANK   =                 2.5|BZERO   = '32768   '",
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


# --- mutators of one file: values


PATTERNS = entries(
    "7fc00000|7ff8000000000000|ffffffff|00000000|7f800000|ff800000|7f7fffff|80000000|7fefffffffffffff|00000001",
    "7fff|8000|0001|44fa0000|c4fa0000|7ff0000000000000",
)


def pattern_in_data(data, rng):
    """A part of the data that is NaN, infinite, huge, zero or constant."""
    start, end = image_data(data)
    here = start + 8 * somewhere(rng, 0, (end - start) // 8)
    there = here + 8 * somewhere(rng, 0, (end - here) // 8)
    return filled(data, here, there, pick(rng, PATTERNS))


def all_data_alike(data, rng):
    """NaN, infinite, huge, zero or constant everywhere."""
    return filled(data, *image_data(data), pick(rng, PATTERNS))


def filled(data: bytes, first: int, last: int, pattern: str) -> bytes:
    """Repeat a pattern from one place to another."""
    raw = bytes.fromhex(pattern)
    return splice(data, first, (raw * ((last - first) // len(raw) + 1))[: last - first])


def sprinkled(data, rng):
    """Single values in the data that are NaN, infinite, huge, or zero."""
    start, end = image_data(data)
    for _ in range(int(rng.integers(1, 300))):
        raw = bytes.fromhex(pick(rng, PATTERNS))
        at = start + len(raw) * somewhere(rng, 0, (end - start) // len(raw))
        data = splice(data, at, raw) if at + len(raw) <= end else data
    return data


def swapped_bytes(data, rng):
    """The other byte order."""
    start, end = image_data(data)
    return splice(data, start, data[start:end][: (end - start) // 4 * 4][::-1])


FILE_MUTATORS: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "bit of header": flip_header_bit,
    "bits of header": flip_header_bytes,
    "random card": random_card,
    "printable card": printable_card,
    "blank card": blank_card,
    "doubled card": doubled_card,
    "swapped cards": swapped_cards,
    "shifted card": shifted_card,
    "bits of data": flip_data_bits,
    "noise in data": noise_in_data,
    "noise in first data": noise_in_first_data,
    "noise anywhere": noise_anywhere,
    "bits anywhere": flip_anywhere,
    "cut": cut_anywhere,
    "cut at block": cut_at_block,
    "cut at card": cut_at_card,
    "cut a little": cut_a_little,
    "block removed": without_block,
    "block doubled": doubled_block,
    "blocks swapped": swapped_blocks,
    "block zeroed": zeroed_block,
    "bytes inserted": inserted_bytes,
    "bytes removed": removed_bytes,
    "junk behind": junk_behind,
    "line ends": line_ends,
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
    "pattern in data": pattern_in_data,
    "data alike": all_data_alike,
    "sprinkled data": sprinkled,
    "swapped bytes": swapped_bytes,
}

# --- mutators of a set


SECONDS = entries(
    "1e300|1e-300|1e38|1e-38|10|1.7e308|5e-324|0|1e7|1e-9|100|-1|nan|inf|1e400|T|''|'10'|1,5|",
    "99999999999999999999999999999999999999999999999999999999999999",
)
FINE_SECONDS = SECONDS[:11]
FACTORS = (1e300, 1e-300, 1e305, 1e-310, 1e35, 1e-35, 1e18, 1e-18, 1e-320)


def with_exposure(data: bytes, text: str) -> bytes:
    """A file of another exposure time."""
    for key in ("EXPTIME", "EXPOSURE"):
        data = put(data, None, key, text)
    return data


def equal_exposures(files: Files, rng) -> None:
    """One odd exposure time everywhere."""
    text = pick(rng, SECONDS)
    files.update({name: with_exposure(data, text) for name, data in files.items()})


def odd_exposures(files: Files, rng) -> None:
    """Odd exposure times that differ; mostly such as are accepted."""
    texts = FINE_SECONDS if rng.random() < 0.7 else SECONDS
    files.update({name: with_exposure(data, pick(rng, texts)) for name, data in files.items()})


def scaled_exposures(files: Files, rng) -> None:
    """Exposure times in a unit that nobody uses."""
    factor = pick(rng, FACTORS)
    for (name, data), seconds in zip(files.items(), EXPOSURES, strict=False):
        files[name] = with_exposure(data, repr(seconds * factor))


def close_exposures(files: Files, rng) -> None:
    """Exposure times that are almost equal, or of very different size."""
    step = pick(rng, [1e-12, 1e-6, 0.004, 0.006, 1e5])
    for number, (name, data) in enumerate(files.items()):
        files[name] = with_exposure(data, repr(10 * (1 + step * number)))


def foreign_file(files: Files, rng) -> None:
    """One file of another type."""
    number = int(rng.integers(len(files)))
    files[list(files)[number]] = whole_file(other_variant(rng), number)


def foreign_header(files: Files, rng) -> None:
    """The header of another type on the data of this."""
    number = int(rng.integers(len(files)))
    name = list(files)[number]
    other = whole_file(other_variant(rng), number)
    files[name] = other[: image_header(other)[1]] + files[name][image_header(files[name])[1] :]


def all_foreign_headers(files: Files, rng) -> None:
    """The headers of another type on all data."""
    variant = other_variant(rng)
    for number, name in enumerate(files):
        other = whole_file(variant, number)
        files[name] = other[: image_header(other)[1]] + files[name][image_header(files[name])[1] :]


def copies(files: Files, rng) -> None:
    """All files have the data of the first."""
    first = next(iter(files.values()))
    for name, data in files.items():
        files[name] = data[: image_header(data)[1]] + first[image_header(first)[1] :]


def all_alike(files: Files, rng) -> None:
    """NaN, infinite, huge, zero or constant in all files."""
    pattern = pick(rng, PATTERNS)
    files.update({name: filled(data, *image_data(data), pattern) for name, data in files.items()})


def one_value_in_all(files: Files, rng) -> None:
    """One key has one odd value in all files."""
    key, text = pick(rng, KEYS), pick(rng, NUMBERS + STRINGS + UGLY)
    files.update({name: put(data, rng, key, text) for name, data in files.items()})


SHAPES = ((1, 1), (3, 3), (4, 3), (32, 1), (1, 24), (10, 2), (768, 1), (-32, -24), (0, 0))
LARGE = ((32, 10**4), (10**4, 24), (10**5, 10**5), (24, 10**9), (10**8, 32), (2**31, 1), (10**18, 10**18))


def image_axes(files: Files) -> tuple[str, str]:
    """The keys of the image's columns and rows."""
    tiled = any(cards(data, "ZNAXIS1") for data in files.values())
    return ("ZNAXIS1", "ZNAXIS2") if tiled else ("NAXIS1", "NAXIS2")


def one_shape_for_all(files: Files, rng) -> None:
    """All images are cut to another shape, down to a pixel and less."""
    for key, size in zip(image_axes(files), pick(rng, SHAPES), strict=True):
        files.update({name: put(data, rng, key, str(size)) for name, data in files.items()})


def large_images(files: Files, rng) -> None:
    """All headers tell of more than there is, those of tiles consistently at times."""
    columns, rows = pick(rng, LARGE)
    keys = dict(zip(image_axes(files), (columns, rows), strict=True))
    if "ZNAXIS1" in keys and rng.random() < 0.5:
        keys["ZTILE1"] = columns
    for key, size in keys.items():
        files.update({name: put(data, rng, key, str(size)) for name, data in files.items()})


def one_size_in_all(files: Files, rng) -> None:
    """One card of the structure is absurd in all files."""
    tiled = image_axes(files)[0] == "ZNAXIS1"
    key, text = pick(rng, TILES + TABLE if tiled else AXES), pick(rng, SIZES)
    files.update({name: put(data, rng, key, text) for name, data in files.items()})


def few_values(files: Files, rng) -> None:
    """NaN in nearly all pixels of all files."""
    for name, data in files.items():
        start, end = image_data(data)
        files[name] = filled(data, start, end - int(rng.integers(2, 200)), "7fc00000")


def packed_again(files: Files, rng) -> None:
    """Compressed once more."""
    for name in list(files)[: int(rng.integers(1, len(files) + 1))]:
        files[name] = pick(rng, [gzip.compress, bz2.compress])(files[name])


SUFFIXES = entries("0|0.txt|0.fits.gz|0.fit.bz2|0.fits.fz|0.FTS|0.Z|0.zip|0.fits.xz")
NAMES = entries(
    "dark\n1.fits|d\udcff.fits|d\x1b[31m.fits|-d.fits|@d.fits|d[1].fits|\u4e00.fits| .fits|d*.fits|d#1.fits"
)


def other_suffix(files: Files, rng) -> None:
    """A name that says something else about the content."""
    files[pick(rng, SUFFIXES)] = files.pop(pick(rng, list(files)))


def odd_name(files: Files, rng) -> None:
    """A name that is awkward to print or to pass on, at times of a file that cannot be read."""
    data = files.pop(pick(rng, list(files)))
    files[pick(rng, NAMES)] = data if rng.random() < 0.6 else data[:100]


SET_MUTATORS: dict[str, Callable[[Files, np.random.Generator], None]] = {
    "equal exposures": equal_exposures,
    "odd exposures": odd_exposures,
    "scaled exposures": scaled_exposures,
    "close exposures": close_exposures,
    "foreign file": foreign_file,
    "foreign header": foreign_header,
    "foreign headers": all_foreign_headers,
    "copies": copies,
    "all alike": all_alike,
    "one value in all": one_value_in_all,
    "one shape for all": one_shape_for_all,
    "large images": large_images,
    "one size in all": one_size_in_all,
    "few values": few_values,
    "packed again": packed_again,
    "other suffix": other_suffix,
    "odd name": odd_name,
}

# --- cases


OPTIONS = entries(
    "|||--dry-run|--json|--dry-run --json|-v|--gain 1.5|--gain 2 --read-noise 7|--saturation 40000",
    "--bias-subtracted|--ext 1|--trim TRIMSEC|--overscan BIASSEC --trim TRIMSEC",
)
OF_TILES = {"absurd tiles", "absurd table", "compression", "codec size", "table format"}


@dataclass
class Case:
    """A spoiled set of files, and the options to run on it."""

    seed: int
    variant: str
    files: Files
    options: list[str]
    mutations: list[str] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)
    listed: str | None = None
    whole_folder: bool = True


def make_case(seed: int) -> Case:
    """Case `seed`: mutators take turns, all else is drawn. Below zero sets are whole, one a variant."""
    if seed < 0:
        return make_whole(seed, list(VARIANTS)[seed], 6)
    rng = np.random.default_rng([SEED, seed])
    names = [*FILE_MUTATORS, *SET_MUTATORS]
    chosen = [names[seed % len(names)]]
    variant = choose_variant(chosen[0], rng)
    case = make_whole(seed, variant, int(rng.choice([3, 6])))
    case.options = choose_options(variant, rng)
    if rng.random() < 0.2:
        chosen.append(pick(rng, names))
    spoil(case, chosen, rng)
    renamed = set(chosen) & {"other suffix", "odd name"}
    case.whole_folder = not renamed and bool(rng.random() < 0.5)
    if rng.random() < 0.05:
        seconds = [pick(rng, SECONDS) if rng.random() < 0.4 else str(t) for t in range(len(case.files))]
        case.listed = "".join(f"{name} {t}\n" for name, t in zip(case.files, seconds, strict=True))
        case.mutations.append("@list")
    return case


def make_whole(seed: int, variant: str, number: int) -> Case:
    """A set as it is before it is spoiled, packed if there is nothing more to do."""
    pack = VARIANTS[variant][2] if seed < 0 else bytes
    files = {f"{i}.fits{VARIANTS[variant][1]}": pack(whole_file(variant, i)) for i in range(number)}
    return Case(seed, variant, files, [])


def choose_variant(mutator: str, rng) -> str:
    """A variant, mostly one that the mutator means something for."""
    if mutator == "codec size":
        return "hcompress"
    tiled = [name for name, (_, suffix, _) in VARIANTS.items() if suffix == ".fz"]
    return pick(rng, tiled if mutator in OF_TILES and rng.random() < 0.8 else list(VARIANTS))


def choose_options(variant: str, rng) -> list[str]:
    """Options that let most sets of that variant through."""
    if variant == "mosaic" and rng.random() < 0.5:
        return ["--ext", pick(rng, ["1", "2", "CHIP2", "chip1", "all"])]
    if variant == "bias subtracted" and rng.random() < 0.6:
        return ["--bias-subtracted"]
    options = pick(rng, OPTIONS)
    refused = options in ("--ext 1", "--bias-subtracted")
    return [] if refused and rng.random() < 0.8 else options.split()


def spoil(case: Case, chosen: list[str], rng) -> None:
    """Apply mutators to one file, to some or to all, before or after the files are packed."""
    before = dict(case.files)
    pack = VARIANTS[case.variant][2]
    share = pick(rng, [0.0, 0.0, 0.4, 1.0, 1.0])
    hit = [name for name in case.files if rng.random() < share] or [pick(rng, list(case.files))]
    late = pack is not bytes and rng.random() < 0.4
    for mutator in chosen:
        case.mutations.append(mutator)
        if mutator in SET_MUTATORS:
            SET_MUTATORS[mutator](case.files, rng)
        elif not late:
            mutate(case.files, hit, mutator, rng)
    case.changed = {name for name, data in case.files.items() if before.get(name) != data}
    case.files = {name: pack(data) for name, data in case.files.items()}
    if late:
        packed = dict(case.files)
        for mutator in (name for name in chosen if name in FILE_MUTATORS):
            mutate(case.files, hit, mutator, rng)
        case.changed |= {name for name, data in case.files.items() if packed.get(name) != data}


def mutate(files: Files, hit: list[str], mutator: str, rng) -> None:
    """Apply one mutator to those of the files that are still there."""
    for name in hit:
        if name in files:
            files[name] = FILE_MUTATORS[mutator](files[name], rng)
