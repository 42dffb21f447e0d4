"""Another prior for a trained model, fitted to its aggregated posterior."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfvae._random import fold_in, stateless_seed
from tfvae.priors import Prior

if TYPE_CHECKING:
    from tfvae.models.one_prior import OnePriorModel

__all__ = ["PriorGain", "fit_prior"]


class PriorGain(NamedTuple):
    """What a new prior gained on held-out data.

    Attributes:
        nats: Mean over points of E_q[log p_new(z) - log p_old(z)]: by as much the rate falls and
            the ELBO rises. Of a finite mixture, the posterior of which is made of its prior, that
            of log p_new(x) - log p_old(x).
        standard_error: Of `nats`, over points and draws.
        history: What `fit` logged, by name.
    """

    nats: float
    standard_error: float
    history: dict[str, list[float]]


def fit_prior(
    model: OnePriorModel,
    prior: Prior,
    x: Any,
    *,
    validation_data: Any,
    epochs: int = 10,
    batch_size: int = 100,
    optimizer: Any = "adam",
    num_samples: int = 10,
    seed: int = 0,
    verbose: Any = 0,
) -> PriorGain:
    """Replaces the prior of a trained model, and fits nothing else; see `OnePriorModel`."""
    # The networks themselves, and not copies: only the prior is new.
    new = model.with_prior(prior)
    if not new.built:
        new.build({"x": (None, *model.event_shape)})
    if isinstance(validation_data, tuple):
        validation_data = keras.utils.unpack_x_y_sample_weight(validation_data)[0]
    held_out = {name: np.asarray(part) for name, part in model.named(validation_data).items()}
    model.check_data(held_out, "validation_data")
    with _frozen(*model.parts_beside_prior):
        new.compile(optimizer)
        history = new.fit(x, epochs=epochs, batch_size=batch_size, verbose=verbose).history

    gains = []
    for index in range(0, len(held_out["x"]), batch_size):
        batch: dict[str, Any] = {
            name: tf.convert_to_tensor(part[index : index + batch_size])
            for name, part in held_out.items()
        }
        draw = fold_in(stateless_seed(seed), index)
        gains.append(model.gain_of_prior(new, batch, num_samples, draw).numpy())
    gain = np.concatenate(gains).astype("float64")
    model.replace_prior(prior)
    deviation = gain.std(ddof=1) if len(gain) > 1 else float("nan")
    return PriorGain(float(gain.mean()), float(deviation / np.sqrt(len(gain))), history)


@contextlib.contextmanager
def _frozen(*networks: keras.layers.Layer) -> Iterator[None]:
    """Sets all layers untrainable, and back to what each was."""
    parts = [part for network in networks for part in network._flatten_layers()]
    before = [part.trainable for part in parts]
    try:
        for network in networks:
            network.trainable = False
        yield
    finally:
        for part, trainable in zip(parts, before, strict=True):
            part.trainable = trainable
