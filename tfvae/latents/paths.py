"""Ways from one point to another through z."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae._config import check_count
from tfvae._typing import Tensor
from tfvae.distributions.statistics import centre
from tfvae.distributions.ways import arc, line
from tfvae.evaluation.streaming import first_rows
from tfvae.latents.codes import check_latents
from tfvae.latents.traversals import decoded
from tfvae.models import LatentVariableModel

__all__ = ["Interpolation", "Path", "interpolate", "spherical", "straight"]

# Flat ends `[B, K]` and how far along `[T]`, from 0 to 1, to points `[T, B, K]`.
Path = Callable[[Tensor, Tensor, Tensor], Tensor]

_MOST_PAIRS = 1000


@dataclass(frozen=True)
class Interpolation:
    """What p(x|z) makes of z on the way from the codes of some points to those of others.

    Attributes:
        shares: How far along each step is `[T]`, from 0 to 1.
        z: `[T, B, *E]`.
        means: Observed node → the centre of p(x|z), `[T, B, *x_event]`.
    """

    shares: np.ndarray
    z: np.ndarray
    means: dict[str, np.ndarray]


def straight(start: Tensor, end: Tensor, shares: Tensor) -> Tensor:
    """Returns points `[T, B, K]` on lines from `start` to `end` `[B, K]`.

        z_t = (1 - t) z_0 + t z_1

    Example:
        >>> from tfvae.latents import straight
        >>> straight(tf.zeros([1, 2]), tf.ones([1, 2]), tf.constant([0.5]))[0, 0].numpy().tolist()
        [0.5, 0.5]
    """
    return line(start, end, shares[:, None, None])


def spherical(start: Tensor, end: Tensor, shares: Tensor) -> Tensor:
    """Returns points `[T, B, K]` on arcs from `start` to `end` `[B, K]`.

    Lines between draws of a Gaussian of many dimensions run through places nearer to its centre
    than any draw; arcs do not: their length goes evenly from that of one end to that of the other.
    Where the ends point the same way, or opposite ways, or one of them
    is zero, there is no one arc, and the line is taken.

    Reference: Sampling Generative Networks (White, 2016), https://arxiv.org/abs/1609.04468

    Example:
        >>> from tfvae.latents import spherical
        >>> half = spherical(tf.eye(2)[:1], tf.eye(2)[1:], tf.constant([0.5]))
        >>> round(float(tf.norm(half)), 6)
        1.0
    """
    found, is_there = arc(start, end, shares[:, None, None])
    return tf.where(is_there, found, straight(start, end, shares))


def interpolate(
    model: LatentVariableModel,
    start: Any,
    end: Any,
    *,
    path: Path | None = None,
    num_steps: int = 9,
) -> Interpolation:
    """Goes from the posterior centres of some points to those of as many others.

    Args:
        model: Any model whose latents are real numbers.
        start: B points, in any form that `fit` takes, 1,000 at most. Their context, where the
            model reads one, is that of the whole way.
        end: As many points.
        path: `straight` or `spherical`, or a function like these; by default `spherical` where
            latents are directions, vectors of length one, and `straight` for all others.
        num_steps: Steps, both ends among them.

    Returns:
        `Interpolation`.

    Raises:
        TypeError: `path` is no function, or `model` none of `tfvae`.
        ValueError: The rows differ in number, the model has no latents, or some of few states,
            between which there is nothing.

    Example:
        >>> from tfvae.demo import vae, x
        >>> from tfvae.latents import spherical
        >>> way = tfvae.latents.interpolate(vae, x[:3], x[3:6], path=spherical, num_steps=5)
        >>> way.means["x"].shape
        (5, 3, 8, 8, 1)
    """
    check_latents(model)
    if path is not None and not callable(path):
        raise TypeError(
            "`path` must be a function of `tfvae.latents`, `straight` or `spherical`, or one like "
            f"them. Received: path={path!r}"
        )
    num_steps = check_count("num_steps", num_steps)
    rows: dict[str, Any]
    others: dict[str, Any]
    rows, others = (
        {n: tf.convert_to_tensor(v) for n, v in model.data.as_batch(parts).items()}
        for parts in (first_rows(model, data, _MOST_PAIRS) for data in (start, end))
    )
    size = len(rows["x"])
    if len(others["x"]) != size:
        raise ValueError(
            f"`start` and `end` must have as many rows. Received: {size} and {len(others['x'])}"
        )
    finite = [n for n in model.graph.latents if model.graph.supports[n].whole]
    if finite:
        raise ValueError(
            f"There is nothing between two categories, and the latents {', '.join(finite)} of this "
            "model are such. `tfvae.latents.traversals` takes all their states in turn."
        )
    first, last = (
        tf.reshape(tf.cast(centre(model.encode(**batch)), tf.float32), [size, -1])
        for batch in (rows, others)
    )
    directions = [model.graph.supports[name].norm == 2 for name in model.graph.latents] == [True]
    if directions:  # The mean of a posterior over the sphere lies within it.
        first, last = tf.nn.l2_normalize(first, axis=-1), tf.nn.l2_normalize(last, axis=-1)
    if path is None:
        path = spherical if directions else straight
    shares = tf.linspace(0.0, 1.0, num_steps)
    z = tf.reshape(path(first, last, shares), [num_steps * size, *model.latent_shape])
    if "context" in rows:
        repeated = [num_steps, *[1] * (rows["context"].shape.rank - 1)]
        rows = {"context": tf.tile(rows["context"], repeated)}
    means = decoded(model, z, rows)
    shape = (num_steps, size)
    return Interpolation(
        shares=shares.numpy(),
        z=np.reshape(z, (*shape, *model.latent_shape)),
        means={name: part.reshape(*shape, *part.shape[1:]) for name, part in means.items()},
    )
