"""Mutators of one file that know nothing of meaning: bits, bytes and blocks flipped, moved, cut or lost."""

from collections.abc import Callable

import numpy as np
from fuzz_places import BLOCK, CARD, cards, image_data, somewhere, splice
from fuzz_texts import pick


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


BYTE_MUTATORS: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
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
}
