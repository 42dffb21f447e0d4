"""Any likelihood, for data with missing entries."""

from __future__ import annotations

from typing import Any

from tfvae import distributions
from tfvae._stored import made_again, objects_config
from tfvae._typing import Distribution, Tensor, register
from tfvae.distributions.masked import check_marginals
from tfvae.layers.base import DistributionLayer, inspected

__all__ = ["Masked"]


@register
class Masked(DistributionLayer):
    """Another layer's distribution, whose density takes NaN as *not observed*.

        log p(x_observed) = log integral p(x_observed, x_missing) d x_missing

    Exact for independent elements of any family, for tables (`Heterogeneous`) and for mixtures of
    these; other layers are refused. A VAE with this likelihood takes data with NaN everywhere, and
    its encoder must too: let it begin with `tfvae.networks.FillMissing` or `DataEncoder`.

    Args:
        layer: The distribution layer of whole events. What it makes of its distribution as a
            tensor does not matter here.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfvae.distributions.Masked`, batch shape `[...]`, event shape that of `layer`.

    Raises:
        TypeError: `layer` is no distribution layer with a known number of parameters.
        ValueError: The marginals of its distribution are not known, or its draws are no floats.

    Example:
        >>> layer = tfvae.layers.Masked(tfvae.layers.IndependentNormal(3))
        >>> p = layer(tf.zeros([5, layer.params_size(layer.layer)]))
        >>> p.log_prob([0.0, np.nan, 1.0]).shape
        TensorShape([5])

    Reference: MIWAE (Mattei and Frellsen, 2019), https://arxiv.org/abs/1812.02633
    """

    def __init__(
        self,
        layer: DistributionLayer,
        convert_to_tensor_fn: Any = "sample",
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        inspected(layer, check_marginals, "`layer` of `Masked`")
        super().__init__(layer.event_shape, convert_to_tensor_fn, validate_args, **kwargs)
        self.layer = layer

    @classmethod
    def params_size(cls, layer: DistributionLayer) -> int:
        """Returns the number of parameters that `layer` reads."""
        return layer._params_size()

    @classmethod
    def new(
        cls, params: Tensor, layer: DistributionLayer, validate_args: bool = False
    ) -> Distribution:
        """Returns the plain distribution of the parameters of `layer`, `[..., P]`."""
        return distributions.Masked(layer._distribution(params), validate_args=validate_args)

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
