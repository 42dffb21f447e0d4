"""How a distribution becomes a tensor, in the words that users have for it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow_probability as tfp

from tfvae._config import Configured
from tfvae._typing import Distribution, Tensor, register

__all__ = ["CONVERSIONS", "ReadProperty", "checked_conversion", "is_method"]

CONVERSIONS = ("sample", "mean", "mode", "stddev", "variance")


@register
@dataclass(frozen=True)
class ReadProperty(Configured):
    """Reads a property of a distribution, or of the one that `tfd.Independent` is made of.

    A method that takes no arguments will do as well.

    Args:
        name: Name of the property, such as "logits" or "logits_parameter".
    """

    name: str

    def __call__(self, distribution: Distribution) -> Tensor:
        """Returns the value of the property.

        Raises:
            AttributeError: The distribution has none of that name.
        """
        owner: Any = distribution
        while not hasattr(owner, self.name) and hasattr(owner, "distribution"):
            owner = owner.distribution
        if getattr(owner, self.name, None) is None:
            raise AttributeError(
                f"`convert_to_tensor_fn` reads `{self.name}`, which a distribution of class "
                f"{type(distribution).__name__} does not have. Use one of "
                f"{', '.join(map(repr, CONVERSIONS))}, or a callable."
            )
        found = getattr(owner, self.name)
        return found() if inspect.ismethod(found) else found


def checked_conversion(
    convert: str | property | Callable[[Distribution], Tensor],
) -> str | Callable[[Distribution], Tensor]:
    """Returns the name of a conversion that has one, and any other as a callable.

    Raises:
        ValueError: It is none.
    """
    for name in CONVERSIONS:
        if convert == name or convert is getattr(tfp.distributions.Distribution, name):
            return name
    if isinstance(convert, property) and convert.fget is not None:
        return ReadProperty(convert.fget.__name__)
    if is_method(convert):
        _check_takes_nothing(convert)
        return ReadProperty(getattr(convert, "__name__", ""))
    if callable(convert):
        return convert
    raise ValueError(
        "`convert_to_tensor_fn` must be a callable or one of "
        f"{', '.join(map(repr, CONVERSIONS))}. Received: {convert!r}"
    )


def _check_takes_nothing(method: Any) -> None:
    required = [
        name
        for name, given in list(inspect.signature(method).parameters.items())[1:]  # not `self`
        if given.default is given.empty
        and given.kind not in (given.VAR_POSITIONAL, given.VAR_KEYWORD)
    ]
    if required:
        raise ValueError(
            f"`convert_to_tensor_fn` is called with a distribution alone, and "
            f"`{method.__qualname__}` needs {', '.join(required)} too. Use one of "
            f"{', '.join(map(repr, CONVERSIONS))}, or a function such as "
            f"`lambda d: d.{method.__name__}(...)`."
        )


def is_method(convert: Any) -> bool:
    """Whether something is a method of one class of distributions, such as `logits_parameter`.

    What is called with a distribution of another class, such as an `Independent` of that one, would
    fail where the method first reads something.
    """
    owner, _, name = getattr(convert, "__qualname__", "").rpartition(".")
    found = getattr(tfp.distributions, owner, None) if owner else None
    return getattr(found, name, None) is convert
