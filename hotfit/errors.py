"""The one exception that hotfit raises for input it cannot use, and how its text is shown."""


class HotfitError(ValueError):
    """Input that cannot be used; the message names it, says what is wrong and what to do."""


def printable(text: str) -> str:
    """Escape what would move the cursor or break the line."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
