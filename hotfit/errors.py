"""The one exception that hotfit raises for input it cannot use."""


class HotfitError(ValueError):
    """Input that cannot be used; the message names it, says what is wrong and what to do."""
