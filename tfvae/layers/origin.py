"""What a layer made a distribution of, to make others like it."""

from __future__ import annotations

from collections.abc import Callable

from tfvae._typing import Distribution, Tensor

__all__ = ["Origin", "origin_of", "with_origin"]


class Origin:
    """The unconstrained parameters of a distribution, and the function from these to it.

    Args:
        params: `[B, P]`, the input of the layer.
        make: From parameters of that shape to a distribution of the same family.
    """

    def __init__(self, params: Tensor, make: Callable[[Tensor], Distribution]) -> None:
        self.params = params
        self.make = make


def with_origin(distribution: Distribution, origin: Origin) -> Distribution:
    """Returns the distribution, which now knows its origin."""
    # Past tf.Module's attribute tracking, which copies what it is given.
    object.__setattr__(distribution, "_origin", origin)
    return distribution


def origin_of(distribution: Distribution) -> Origin | None:
    """Returns what `with_origin` noted; None where a distribution comes from elsewhere.

    It does not outlive a `tf.function`, which takes distributions apart at its borders.

    Example:
        >>> from tfvae.layers.origin import origin_of
        >>> q = tfvae.layers.MultivariateNormalDiag(2)(tf.zeros([3, 4]))
        >>> origin_of(q).params.shape
        TensorShape([3, 4])
        >>> origin_of(q).make(tf.ones([3, 4])).mean().shape
        TensorShape([3, 2])
    """
    return distribution.__dict__.get("_origin")
