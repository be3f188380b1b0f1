"""Finding one's way in the bytes of a FITS file, and writing over what is there."""

BLOCK, CARD = 2880, 80


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
