"""A likelihood that starts from the statistics of the data."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._stored import made_again, objects_config
from tfvae._typing import Distribution, Tensor, register
from tfvae.layers.base import DistributionLayer, inspected
from tfvae.layers.parameters import within
from tfvae.layers.start import Start, start_of

__all__ = ["Adapted"]

# softplus(_ONE) = 1.
_ONE = math.log(math.e - 1.0)


@register
class Adapted(DistributionLayer):
    """Another layer, whose parameters are counted from the statistics of the data.

        loc = mean(x) + std(x) * raw,   scale = std(x) * softplus(raw + log(e - 1)), and so on

    Where the decoder returns zeros, the distribution has the mean of the data, exactly for each
    family, and its spread where the family has one; a step of the optimizer moves a column of
    thousands as far, in its own units, as a column of hundredths. So columns and images need no
    scaling by hand, and densities stay those of the data as it is.

    | family | zero of the decoder means |
    |---|---|
    | Gaussian, logistic, Laplace, Student t | mean and standard deviation |
    | log-normal, beta, counts with surplus variance or zeros | mean and variance, by moments |
    | Bernoulli, categories, Poisson | shares, or the rate |
    | levels, continuous Bernoulli | the mean of what is rounded, or cut off |
    | tables, masks, mixtures | those of their columns and components |

    Shares and rates of zero count as half a point. The numbers are weights that do not train, and
    are stored with the model.

    Args:
        layer: The distribution layer of whole events.
        data: What `adapt` takes; None leaves the layer as it is until `adapt` is called.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        **kwargs: See `DistributionLayer`.

    Returns:
        What `layer` returns, batch shape `[...]`, event shape that of `layer`.

    Raises:
        TypeError: `layer` is no distribution layer with a known number of parameters, or nobody
            has said where it starts: see `tfvae.layers.start_of`.
        ValueError: The data is empty, of another shape, or infinite.

    Example:
        >>> ages = np.array([[20.0], [60.0]])
        >>> layer = tfvae.layers.Adapted(tfvae.layers.IndependentNormal(1), ages)
        >>> p = layer(tf.zeros([1, 2]))
        >>> p.mean().numpy(), p.stddev().numpy()
        (array([[40.]], dtype=float32), array([[20.]], dtype=float32))
    """

    def __init__(
        self,
        layer: DistributionLayer,
        data: Any = None,
        convert_to_tensor_fn: Any = "sample",
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        inspected(layer, lambda distribution: None, "`layer` of `Adapted`")
        super().__init__(layer.event_shape, convert_to_tensor_fn, validate_args, **kwargs)
        self.layer = layer
        options: Any = {"trainable": False, "dtype": "float32", "autocast": False}
        size = (layer._params_size(),)
        self.shift = self.add_weight(size, "zeros", name="shift", **options)
        self.unit = self.add_weight(size, "ones", name="unit", **options)
        self.positive = self.add_weight(size, "zeros", name="positive", **options)
        if data is not None:
            self.adapt(data)

    def adapt(self, data: Any) -> None:
        """Sets the numbers from data.

        Args:
            data: Array `[N, *E]`, NaN where an entry is missing; or batches such as a
                `tf.data.Dataset`, of which tuples `(x, y)` give `x`.
        """
        if not hasattr(data, "__array__"):
            batches = [np.asarray(keras.utils.unpack_x_y_sample_weight(b)[0]) for b in data]
            data = np.concatenate(batches) if batches else np.zeros((0, *self.event_shape))
        x = np.asarray(data, np.float64)
        if len(x.shape) != 1 + len(self.event_shape) or x.shape[1:] != self.event_shape:
            raise ValueError(
                f"Layer '{self.name}' adapts to data of shape [N, "
                f"{', '.join(map(str, self.event_shape))}]. Received: shape={list(x.shape)}."
            )
        if not len(x) or np.isinf(x).any():
            fault = "holds infinite values" if len(x) else "is empty"
            raise ValueError(f"`data` {fault}. Expected at least one row, of finite values or NaN.")
        start = start_of(self.layer, x)
        for weight, value in zip((self.shift, self.unit, self.positive), start, strict=True):
            weight.assign(value.astype("float32"))

    @classmethod
    def params_size(cls, layer: DistributionLayer) -> int:
        """Returns the number of parameters that `layer` reads."""
        return layer._params_size()

    @classmethod
    def new(
        cls, params: Tensor, layer: DistributionLayer, validate_args: bool = False
    ) -> Distribution:
        """Returns the plain distribution of the parameters of `layer`, `[..., P]`, of no data."""
        return layer._distribution(params, validate_args=validate_args)

    def build(self, input_shape: Any) -> None:
        self.layer.build(input_shape)
        super().build(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **objects_config(layer=self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DistributionLayer:
        return super().from_config(made_again(config, "layer"))

    def _structure(self) -> dict[str, Any]:
        return {"layer": self.layer}

    def _distribution(self, params: Tensor, *, validate_args: bool = False) -> Distribution:
        raw = tf.convert_to_tensor(params)
        return self.new(
            self._counted(raw), self.layer, validate_args=validate_args or self.validate_args
        )

    def _counted(self, raw: Tensor) -> Tensor:
        """Returns the parameters of `layer` from those of this one, `[..., P]`."""
        shift, unit, positive = (
            tf.cast(tf.convert_to_tensor(weight), raw.dtype)
            for weight in (self.shift, self.unit, self.positive)
        )
        # Below, the softplus of a small unit would be none.
        above = unit * tf.math.softplus(within(-30.0, float("inf"), raw + _ONE))
        return tf.where(positive > 0.5, tfp.math.softplus_inverse(above), shift + unit * raw)


@start_of.register
def _adapted(layer: Adapted, x: np.ndarray) -> Start:
    return start_of(layer.layer, x)
