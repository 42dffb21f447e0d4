"""Likelihood of tables: a family for each column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfvae import distributions
from tfvae._stored import object_config
from tfvae._typing import Distribution, Tensor, register
from tfvae.layers.base import DistributionLayer, inspected

__all__ = ["Heterogeneous", "columns_of"]

Columns = Mapping[str, DistributionLayer] | Sequence[tuple[str, DistributionLayer]]


@register
class Heterogeneous(DistributionLayer):
    """Rows of a table, each column or block of columns of a family of its own.

        log p(x) = sum_j log p_j(x_j | params_j)

    An event is one row `[D]` of numbers, in the order of `columns`; categories are numbers from 0
    to L - 1. A layer over scalars is one column, a layer over `[n]` is n columns side by side.
    Parameters are those of the columns one after the other, each as its layer orders them. Wrap the
    layer in `Adapted` to have the decoder count in the units of each column.

    For missing entries wrap the layer: `Masked(Heterogeneous(...))`. `DataEncoder` turns rows into
    the input of an encoder.

    Args:
        columns: Name → distribution layer, or pairs of these. A layer's own conversion to a tensor
            does not matter here.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfvae.distributions.Heterogeneous`, batch shape `[...]`, event shape `[D]`.

    Raises:
        TypeError: A column is no distribution layer with a known number of parameters.
        ValueError: There are no columns, a name is used twice, or a column is no scalar or vector.

    Example:
        >>> layer = tfvae.layers.Heterogeneous({
        ...     "age": tfvae.layers.IndependentNormal(),
        ...     "visits": tfvae.layers.IndependentPoisson(),
        ...     "colour": tfvae.layers.IndependentCategorical((), levels=4),
        ... })
        >>> p = layer(tf.zeros([5, layer.params_size(layer.columns)]))
        >>> p.log_prob([40.0, 2.0, 3.0]).shape
        TensorShape([5])

    Reference: Handling incomplete heterogeneous data using VAEs (Nazabal et al., 2020),
    https://arxiv.org/abs/1807.03653
    """

    def __init__(
        self,
        columns: Columns,
        convert_to_tensor_fn: Any = "sample",
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        pairs = columns_of(columns)
        sizes = [inspected(layer, _num_columns, f"Column '{name}'") for name, layer in pairs]
        for (name, layer), size in zip(pairs, sizes, strict=True):
            if size is None:
                raise ValueError(
                    f"Column '{name}' must be over scalars or vectors. "
                    f"Received: event_shape={layer.event_shape}. A table has rows `[D]`."
                )
        super().__init__((sum(sizes),), convert_to_tensor_fn, validate_args, **kwargs)
        self.columns = dict(pairs)

    @classmethod
    def params_size(cls, columns: Columns) -> int:
        """Returns the sum of what the layers of all columns read."""
        return sum(layer._params_size() for _, layer in columns_of(columns))

    @classmethod
    def new(cls, params: Tensor, columns: Columns, validate_args: bool = False) -> Distribution:
        """Returns the plain distribution of the parameters of all columns, `[..., P]`."""
        names, layers = zip(*columns_of(columns), strict=True)
        params = tf.convert_to_tensor(params)
        parts = tf.split(params, [layer._params_size() for layer in layers], axis=-1)
        # Not by calling them: parameters keep their precision whatever a layer's policy is.
        made = [layer._distribution(part) for layer, part in zip(layers, parts, strict=True)]
        return distributions.Heterogeneous(made, names, params.dtype, validate_args=validate_args)

    def build(self, input_shape: Any) -> None:
        for layer in self.columns.values():
            layer.build((*input_shape[:-1], layer._params_size()))
        super().build(input_shape)

    def get_config(self) -> dict[str, Any]:
        # Pairs and not a dict: the order of the columns must not hang on that of a file's keys.
        stored = [[name, object_config(layer)] for name, layer in self.columns.items()]
        return {**super().get_config(), "columns": stored}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DistributionLayer:
        load: Any = keras.saving.deserialize_keras_object
        columns = [(name, load(layer)) for name, layer in config["columns"]]
        return super().from_config({**config, "columns": columns})

    def _structure(self) -> dict[str, Any]:
        return {"columns": self.columns}


def columns_of(columns: Any) -> list[tuple[str, Any]]:
    """Returns a description of columns as pairs of a name and what it says of that column.

    Raises:
        ValueError: There are no columns, or a name is no text or is used twice.
    """
    pairs = [tuple(pair) for pair in (columns.items() if isinstance(columns, Mapping) else columns)]
    if not pairs or any(len(pair) != 2 or not isinstance(pair[0], str) for pair in pairs):
        raise ValueError(
            "`columns` must be a dict from name to layer, or pairs of these, and not empty. "
            f"Received: columns={columns!r}"
        )
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"Names of columns must differ. Received more than once: {twice}")
    return pairs


def _num_columns(distribution: Distribution) -> int | None:
    """Returns how many columns one draw takes, None where it is no vector."""
    shape = distribution.event_shape
    return None if shape.rank > 1 else shape.num_elements()
