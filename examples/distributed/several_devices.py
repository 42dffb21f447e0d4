"""Does a model come out the same on several devices of a machine as on one?

Trains a VAE on scikit-learn's digits twice, on one device and on all of a
`tf.distribute.MirroredStrategy`, and prints losses and how far the weights differ. Without GPUs
TensorFlow makes devices of the CPU: nothing gets faster by these.

    python examples/distributed/several_devices.py --devices 2

On a machine with several GPUs leave `make_devices` out, and say `tf.distribute.MirroredStrategy()`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import _quiet  # noqa: F401  # before all that imports TensorFlow

# isort: split
import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import tfvae


def make_devices(number: int) -> tf.distribute.Strategy:
    """Returns a strategy over the GPUs that there are, or over parts of the CPU."""
    if len(tf.config.list_physical_devices("GPU")) >= number:
        return tf.distribute.MirroredStrategy([f"/gpu:{index}" for index in range(number)])
    cpu = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration()] * number
    tf.config.set_logical_device_configuration(cpu, parts)
    return tf.distribute.MirroredStrategy([f"/cpu:{index}" for index in range(number)])


def load() -> np.ndarray:
    """Returns 1,797 digits `[N, 64]`, zeros and ones."""
    return (load_digits().data > 7).astype("float32")


def make_model() -> tfvae.VAE:
    """Makes and compiles a model: the same in each process and on any number of devices."""
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(128, "relu"),
            keras.layers.Dense(tfvae.layers.MultivariateNormalDiag.params_size(8)),
            tfvae.layers.MultivariateNormalDiag(8),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(128, "relu"),
            keras.layers.Dense(64),
            tfvae.layers.IndependentBernoulli(64),
        ]
    )
    vae = tfvae.VAE(encoder, decoder, seed=0)
    vae.compile(keras.optimizers.Adam(1e-3, global_clipnorm=10.0), jit_compile=False)
    return vae


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Trains on one device and on several, and returns how far they differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=100, help="of all devices together")
    given = parser.parse_args(arguments)

    strategy, x = make_devices(given.devices), load()
    one = make_model()
    with strategy.scope():
        several = make_model()
    losses = []
    for model in (one, several):
        fitted = model.fit(x, batch_size=given.batch_size, epochs=given.epochs, verbose=0)
        losses.append(fitted.history["loss"])
    print(f"{len(x)} digits, {given.batch_size} in a batch, nats\n")
    print(f"{'epoch':>6}{'one device':>14}{given.devices:6d} devices")
    for epoch, (first, second) in enumerate(zip(*losses, strict=True), 1):
        print(f"{epoch:6d}{first:14.5f}{second:14.5f}")
    pairs = zip(one.get_weights(), several.get_weights(), strict=True)
    found = {
        "loss": float(np.max(np.abs(np.subtract(*losses)))),
        "weights": float(max(np.max(np.abs(a - b)) for a, b in pairs)),
    }
    print(
        f"\nLargest differences: {found['loss']:.1e} of losses, {found['weights']:.1e} of weights."
    )
    return found


if __name__ == "__main__":
    main()
