"""How counts and lists are put into words."""

from collections.abc import Sequence


def counted(number: int, what: str) -> str:
    """A number of things, with an s unless there is one: ``1 caption``, ``2,000 captions``."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def joined(texts: Sequence[str]) -> str:
    """One or more texts as a list in a sentence: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))
