"""Priors that a normalizing flow makes of simple ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow_probability as tfp

from tfvae import flows
from tfvae._stored import made_again, objects_config
from tfvae._typing import Distribution, Shape, Tensor, event_tuple, register
from tfvae._words import kind_of
from tfvae.priors.base import Prior
from tfvae.priors.standard_normal import StandardNormal

__all__ = ["FlowPrior", "MaskedAutoregressive", "NeuralSpline", "RealNVP"]

tfd = tfp.distributions


@register
class FlowPrior(Prior):
    """p(z) of z = f(u), u drawn from another prior and f a trainable invertible map.

        log p(z) = log p_base(f^-1(z)) + log |det d f^-1(z) / dz|

    Trained with the model, it takes the shape of the aggregated posterior. Of the flows,
    `InverseAutoregressive` takes one step per dimension for the density: for priors choose another.

    Args:
        flow: A flow of `tfvae.flows`, of this prior alone.
        base: A `Prior`; by default `StandardNormal()`.
        event_shape: Shape of one latent; by default that of the model's encoder.
        **kwargs: See `Prior`.

    Raises:
        TypeError: `flow` is no flow or `base` no prior.
        ValueError: `base` reads a context or the model.

    Example:
        >>> flow = tfvae.flows.Chain([tfvae.flows.RealNVP(2), tfvae.flows.NeuralSpline(2)])
        >>> tfvae.priors.FlowPrior(flow, event_shape=16).distribution().event_shape
        TensorShape([16])

    Reference: Variational Lossy Autoencoder (Chen et al., 2017), https://arxiv.org/abs/1611.02731
    """

    def __init__(
        self,
        flow: flows.Flow,
        base: Prior | None = None,
        event_shape: int | Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(flow, flows.Flow):
            raise TypeError(
                "`flow` must be an object of `tfvae.flows`, such as `RealNVP()`. "
                f"Received: {kind_of(flow)}"
            )
        base = StandardNormal(name="base", dtype=flow.dtype) if base is None else base
        if not isinstance(base, Prior):
            raise TypeError(
                "`base` must be an object of `tfvae.priors`, such as `StandardNormal()`. "
                f"Received: {kind_of(base)}"
            )
        if base.takes_context or base.needs_model:
            raise ValueError(
                "`base` must be a prior of weights alone. "
                f"Received: {kind_of(base)}. For a prior given a context, end the network "
                "of a `Conditional` with `tfvae.layers.TransformedDistribution`."
            )
        self.flow = flow
        self.base = base
        if event_shape is not None:
            self.build(event_tuple(event_shape))

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """Returns a `tfd.TransformedDistribution`, batch shape `[]`, event shape `E`."""
        self.known_event_shape()
        return tfd.TransformedDistribution(self.base.distribution(), self.flow.bijector())

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **objects_config(flow=self.flow, base=self.base)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Prior:
        return cls(**made_again(config, "flow", "base"))

    def _build(self, event_shape: Shape) -> None:
        self.flow.build(event_shape)
        self.base.build(event_shape)


class _NamedFlowPrior(FlowPrior):
    """A `FlowPrior` on a standard normal whose flow is made from plain numbers."""

    _settings: tuple[str, ...]

    def get_config(self) -> dict[str, Any]:
        config = {k: v for k, v in super().get_config().items() if k not in ("flow", "base")}
        of_flow = self.flow.get_config()
        return {**config, **{name: of_flow[name] for name in self._settings}}


@register
class RealNVP(_NamedFlowPrior):
    """A standard normal, mapped by affine coupling transforms: see `tfvae.flows.RealNVP`.

    Draws and densities take one pass each.

    Args:
        event_shape: Shape of one latent; by default that of the model's encoder.
        num_transforms: Number of transforms; at least two change every dimension.
        hidden_units: Units of the hidden layers of each network.
        activation: Keras activation of the hidden layers.
        seed: Draws the halves of the dimensions that map each other.
        **kwargs: See `Prior`.

    Raises:
        ValueError: Latents of one dimension.

    Example:
        >>> tfvae.priors.RealNVP(16, num_transforms=6).distribution().sample(3).shape
        TensorShape([3, 16])

    Reference: Density estimation using Real NVP (Dinh et al., 2017),
    https://arxiv.org/abs/1605.08803
    """

    _settings = ("num_transforms", "hidden_units", "activation", "seed")

    def __init__(
        self,
        event_shape: int | Sequence[int] | None = None,
        *,
        num_transforms: int = 4,
        hidden_units: Sequence[int] = (64, 64),
        activation: str | Callable[[Tensor], Tensor] = "relu",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        flow = flows.RealNVP(
            num_transforms,
            hidden_units,
            activation=activation,
            seed=seed,
            dtype=kwargs.get("dtype"),
        )
        super().__init__(flow, event_shape=event_shape, **kwargs)


@register
class NeuralSpline(_NamedFlowPrior):
    """A standard normal, mapped by monotone splines: see `tfvae.flows.NeuralSpline`.

    Draws and densities take one pass each. Outside of `[-bound, bound]` the prior stays a standard
    normal.

    Args:
        event_shape: Shape of one latent; by default that of the model's encoder.
        num_transforms: Number of transforms; at least two change every dimension.
        hidden_units: Units of the hidden layers of each network.
        num_bins: Number of bins of each spline.
        bound: End of the interval that the splines bend.
        activation: Keras activation of the hidden layers.
        seed: Draws the halves of the dimensions that map each other.
        **kwargs: See `Prior`.

    Raises:
        ValueError: Latents of one dimension, or numbers that no spline has.

    Example:
        >>> tfvae.priors.NeuralSpline(16, num_bins=5).distribution().sample(3).shape
        TensorShape([3, 16])

    Reference: Neural Spline Flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032
    """

    _settings = ("num_transforms", "hidden_units", "num_bins", "bound", "activation", "seed")

    def __init__(
        self,
        event_shape: int | Sequence[int] | None = None,
        *,
        num_transforms: int = 4,
        hidden_units: Sequence[int] = (64, 64),
        num_bins: int = 8,
        bound: float = 5.0,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        flow = flows.NeuralSpline(
            num_transforms,
            hidden_units,
            num_bins=num_bins,
            bound=bound,
            activation=activation,
            seed=seed,
            dtype=kwargs.get("dtype"),
        )
        super().__init__(flow, event_shape=event_shape, **kwargs)


@register
class MaskedAutoregressive(_NamedFlowPrior):
    """A standard normal, mapped dimension by dimension: see `tfvae.flows.MaskedAutoregressive`.

    Densities, and so training, take one pass; draws take one step per dimension.

    Args:
        event_shape: Shape of one latent; by default that of the model's encoder.
        num_transforms: Number of transforms.
        hidden_units: Units of the hidden layers of each network.
        activation: Keras activation of the hidden layers.
        **kwargs: See `Prior`.

    Example:
        >>> tfvae.priors.MaskedAutoregressive(16).distribution().log_prob(tf.zeros([3, 16])).shape
        TensorShape([3])

    Reference: Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017),
    https://arxiv.org/abs/1705.07057
    """

    _settings = ("num_transforms", "hidden_units", "activation")

    def __init__(
        self,
        event_shape: int | Sequence[int] | None = None,
        *,
        num_transforms: int = 4,
        hidden_units: Sequence[int] = (64, 64),
        activation: str | Callable[[Tensor], Tensor] = "relu",
        **kwargs: Any,
    ) -> None:
        flow = flows.MaskedAutoregressive(
            num_transforms, hidden_units, activation=activation, dtype=kwargs.get("dtype")
        )
        super().__init__(flow, event_shape=event_shape, **kwargs)
