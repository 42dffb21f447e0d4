"""Distributions of other rows than those of the batch that they were made for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._shapes import no_columns
from tfvae._typing import Distribution, Tensor, event_tuple
from tfvae.distributions.hierarchy import Hierarchy
from tfvae.distributions.labelled import Labelled
from tfvae.distributions.levels import Factor
from tfvae.distributions.parameters import with_batch
from tfvae.layers.origin import Origin, origin_of, with_origin

__all__ = ["UnknownRows", "with_rows"]

Take = Callable[[Tensor], Tensor]


class UnknownRows(TypeError):
    """Of a distribution nobody can tell what its other rows would be."""


def with_rows(distribution: Distribution, take: Take) -> Distribution:
    """Returns the distribution of other rows, each made as those of the batch are.

    What a layer made is made anew from other parameters; of others TFP has to tell the parameters.

    Args:
        distribution: Batch shape `[B]` or more, of which the first axis holds the rows.
        take: From parameters `[B, ...]` to those of the other rows, `[M, ...]`.

    Raises:
        UnknownRows: Nobody tells the parameters, or levels depend on each other.

    Example:
        >>> from tfvae.layers.rows import with_rows
        >>> q = tfvae.layers.MultivariateNormalDiag(1)(tf.constant([[1.0, 0.0], [2.0, 0.0]]))
        >>> with_rows(q, lambda rows: tf.gather(rows, [1, 0, 1])).mean().numpy().ravel()
        array([2., 1., 2.], dtype=float32)
    """
    origin = origin_of(distribution)
    if origin is None:
        return _of_parameters(distribution, take)
    params = take(origin.params)
    return with_origin(origin.make(params), Origin(params, origin.make))


@functools.singledispatch
def _of_parameters(distribution: Distribution, take: Take) -> Distribution:
    found: dict[str, Any] = {}
    properties: Any = type(distribution).parameter_properties(dtype=distribution.dtype)
    for name, each in properties.items():
        value = distribution.parameters.get(name)
        if isinstance(value, tfp.distributions.Distribution):
            found[name] = with_rows(value, take)
            continue
        event_ndims = each.instance_event_ndims(distribution)
        if isinstance(value, tfp.bijectors.Bijector):
            raise _unknown(distribution)
        # What has no batch, such as a number of axes, has no number for the axes of its event.
        if value is not None and isinstance(event_ndims, int):
            value = tf.convert_to_tensor(value)
            found[name] = take(with_batch(value, distribution, event_ndims))
    if not found:
        raise _unknown(distribution)
    return distribution.copy(**found)


@_of_parameters.register
def _(distribution: Labelled, take: Take) -> Distribution:
    return Labelled(with_rows(distribution.distribution, take), take(distribution.value))


@_of_parameters.register
def _(distribution: Hierarchy, take: Take) -> Distribution:
    if not distribution.factorises:
        raise UnknownRows(
            "Levels that depend on each other are no distribution of rows: what is made of the "
            f"draws of others is not known. Received: {', '.join(distribution.levels)}."
        )
    roots = {name: with_rows(distribution.root(name), take) for name in distribution.levels}
    factors = [Factor(name, (), lambda _, root=root: root) for name, root in roots.items()]
    shapes = {name: event_tuple(root.event_shape) for name, root in roots.items()}
    first = next(iter(roots.values()))
    rows = no_columns(first.batch_shape, first.batch_shape_tensor())
    return Hierarchy(factors, shapes, {"": rows}, dtype=distribution.dtype)


def _unknown(distribution: Distribution) -> UnknownRows:
    return UnknownRows(
        "Only of what a layer of `tfvae.layers` makes, and of families whose parameters TFP tells, "
        f"are there other rows. Received: {type(distribution).__name__}."
    )
