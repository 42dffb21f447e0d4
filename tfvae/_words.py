"""Words of messages and titles: what came, how many there are, and the first of a long list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["counted", "kind_of", "some_of"]


def kind_of(value: Any) -> str:
    """Returns what came in place of an object, in words: its class, or that it is one.

    Example:
        >>> from tfvae._words import kind_of
        >>> kind_of(3), kind_of(tfvae.VAE)
        ('int', 'the class VAE, and no object of it such as `VAE(...)`')
    """
    if isinstance(value, type):
        return f"the class {value.__name__}, and no object of it such as `{value.__name__}(...)`"
    return type(value).__name__


def counted(number: int, what: str) -> str:
    """Returns how many there are of what is named in the singular.

    Example:
        >>> from tfvae._words import counted
        >>> counted(1, "point"), counted(20, "point")
        ('1 point', '20 points')
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def some_of(names: Iterable[str], most: int = 3) -> str:
    """Returns the first of some names, each once, and how many more there are.

    Example:
        >>> from tfvae._words import some_of
        >>> some_of("ab"), some_of("abca"), some_of("abcde")
        ('a, b', 'a, b, c', 'a, b, c and 2 more')
    """
    each = list(dict.fromkeys(names))
    more = f" and {len(each) - most} more" if len(each) > most else ""
    return ", ".join(each[:most]) + more
