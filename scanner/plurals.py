"""Format counts and lists for sentences."""

from collections.abc import Sequence


def pluralize(number: int, what: str) -> str:
    """Return a count with its noun: ``1 caption``, ``2,000 captions``."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def join_with_and(texts: Sequence[str]) -> str:
    """Return one or more texts as a list for a sentence: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))
