"""Bits per dimension in the unit of the data as it was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfvae._typing import Tensor
from tfvae.distributions.support import Support
from tfvae.models import LatentVariableModel

__all__ = ["Unit", "discrete_elements"]


class Unit:
    """How large one unit of the data as it was measured is in the data that a model is given.

    A density depends on the unit. Of x = unit * levels,

        p(levels) = unit**D p(x),   log p(levels) = log p(x) + sum_d log unit_d

    For whole levels with uniform noise on [0, 1) added, levels = counts + noise, that is a lower
    bound on log P(counts) in expectation over the noise. Probabilities of whole numbers have no
    unit.

    Args:
        model: The model.
        unit: Number > 0, or numbers that broadcast to one example.

    Raises:
        ValueError: `unit` is not positive, has another shape, or is not 1 where the likelihood
            gives probabilities.

    Example:
        >>> from tfvae.evaluation.units import Unit
        >>> decoder = keras.Sequential([keras.Input((1,)), keras.layers.Dense(6),
        ...                             tfvae.layers.IndependentNormal(3)])
        >>> encoder = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2),
        ...                             tfvae.layers.MultivariateNormalDiag(1)])
        >>> unit = Unit(tfvae.VAE(encoder, decoder), 1 / 256)
        >>> unit.of_first({"x": np.zeros([2, 3], "float32")}, 2)["log_unit"] / np.log(2)
        array([-24., -24.])

    Reference: A note on the evaluation of generative models (Theis et al., 2016),
    https://arxiv.org/abs/1511.01844
    """

    def __init__(self, model: LatentVariableModel, unit: Any = 1.0) -> None:
        values, shape = np.asarray(unit), model.data.event_shape
        numbers = np.issubdtype(values.dtype, np.number)
        if not numbers or not np.all(np.isfinite(values) & (values > 0.0)):
            raise ValueError(f"`unit` must be a number > 0, or such numbers. Received: unit={unit}")
        try:
            self._log_unit = np.broadcast_to(np.log(values.astype(np.float64)), shape).reshape(-1)
        except ValueError:
            raise ValueError(
                "`unit` must be one number, or broadcast to one example. Expected: shape "
                f"{list(shape)}. Received: shape {list(values.shape)}"
            ) from None
        if np.any(self._log_unit[discrete_elements(model)] != 0.0):
            raise ValueError(
                "`unit` must be 1 where the likelihood gives probabilities of whole numbers or "
                f"levels, which have no unit. Received: unit={unit} for a likelihood "
                f"{model.data.support.likelihood}"
            )

    def of_first(self, batch: Mapping[str, Tensor], count: int) -> dict[str, np.ndarray]:
        """Returns of each of the first points of a batch `[count]`, float64, by name.

        Returns:
            `num_observed`: number of entries that were observed, which NaN are not; and
            `log_unit`: sum over these of log unit, nats.
        """
        x = np.asarray(batch["x"])[:count].reshape(count, -1)
        observed = (x == x).astype(np.float64)
        return {"num_observed": observed.sum(axis=1), "log_unit": observed @ self._log_unit}


def discrete_elements(model: LatentVariableModel) -> np.ndarray:
    """Returns of which of the elements of an example `[D]` p(x|z) gives probabilities, bool.

    Example:
        >>> from tfvae.demo import vae
        >>> from tfvae.evaluation.units import discrete_elements
        >>> bool(np.all(discrete_elements(vae)))
        True
    """
    data = model.data
    parts = [_is_discrete(data.supports[name], math.prod(data.shapes[name])) for name in data.names]
    return np.concatenate(parts)


def _is_discrete(support: Support, size: int) -> np.ndarray:
    """Returns of which of the elements `[D]` densities are probabilities."""
    if not support.columns:
        return np.full(size, support.whole)
    columns = [_is_discrete(own, width) for _, width, own in support.columns]
    found = np.concatenate(columns)
    return np.tile(found, size // len(found))
