"""Words of messages and titles: what came, how many there are, the first of a long list, where."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["counted", "kind_of", "level_of_the_user", "some_of"]


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


def level_of_the_user() -> int:
    """Returns `stacklevel` of a warning from where this is called, for the line of the user."""
    own = (f"{Path(__file__).parent}{os.sep}", contextlib.__file__)
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_code.co_filename.startswith(own):
        frame, level = frame.f_back, level + 1
    return level
