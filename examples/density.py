"""Which density fits the same data best: parametric, kernels, flow, autoregressive, or a VAE?

The data are the 1,797 digits that come with scikit-learn as eight numbers each, their first
principal components in units of their deviations. All rows of the table are densities of these
numbers, in nats, and compare:

    Gaussian          all means and covariances, by maximum likelihood: of principal components
                      the covariances are zero
    Gaussian mixture  of diagonal Gaussians
    kernel density    a Gaussian at each training point, its width by validation: no training
    flow              a masked autoregressive flow
    spline flow       coupling transforms of monotone splines
    autoregressive    p(x_i | x_<i), a mixture of Gaussians from a masked network
    VAE               eight latents, log p(x) by importance sampling

Each is trained until validation digits no longer gain. The digits are split as they come, so that
those held out are of other writers.

    python examples/density.py
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import tfvae
from tfvae import layers, priors
from tfvae.distributions import KernelDensity
from tfvae.evaluation import Estimate, render_table

DIMS = 8
FIRST = "Gaussian"
KERNELS = "kernel density"


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns training, validation and held-out points `[N, 8]`, float32."""
    found: Any = load_digits()
    components = PCA(DIMS, whiten=True).fit(found.data[:1000])
    scores = components.transform(found.data).astype("float32")
    return scores[:1000], scores[1000:1350], scores[1350:]


def vae() -> tfvae.VAE:
    """Returns a VAE with Gaussian noise of learned scale."""
    normal = layers.MultivariateNormalDiag
    encoder = keras.Sequential(
        [
            keras.Input((DIMS,)),
            keras.layers.Dense(64, "relu"),
            keras.layers.Dense(normal.params_size(DIMS)),
            normal(DIMS),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((DIMS,)),
            keras.layers.Dense(64, "relu"),
            keras.layers.Dense(layers.IndependentNormal.params_size(DIMS)),
            layers.IndependentNormal(DIMS, min_scale=0.05),
        ]
    )
    return tfvae.VAE(encoder, decoder)


# By name, as they stand in the table: what makes the model.
MODELS: dict[str, Callable[[], Any]] = {
    FIRST: lambda: tfvae.DensityModel(priors.Parametric(layers.MultivariateNormalTriL(DIMS))),
    "Gaussian mixture": lambda: tfvae.DensityModel(priors.GaussianMixture(20, DIMS)),
    KERNELS: lambda: None,
    "flow": lambda: tfvae.DensityModel(priors.MaskedAutoregressive(DIMS)),
    "spline flow": lambda: tfvae.DensityModel(priors.NeuralSpline(DIMS, num_transforms=2)),
    "autoregressive": lambda: tfvae.DensityModel(
        layers.Autoregressive(DIMS, layers.MixtureNormal(5, ()), hidden_units=[64, 64])
    ),
    "VAE": vae,
}


def train(model: Any, x: np.ndarray, valid: np.ndarray, epochs: int) -> int:
    """Fits a model and leaves it with the weights of the best validation; returns its epoch."""
    best = tfvae.callbacks.EarlyStopping(patience=15)
    model.compile(keras.optimizers.Adam(3e-3))
    model.fit(
        x, validation_data=(valid,), epochs=epochs, batch_size=100, callbacks=[best], verbose=0
    )
    return best.best_epoch + 1


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description="Compare densities on the same data.")
    add = parser.add_argument
    add("--epochs", type=int, default=200, help="most epochs of training")
    add("--num-samples", type=int, default=1000, help="draws per point for the VAE's log p(x)")
    add("--models", nargs="+", choices=list(MODELS), default=list(MODELS), help="rows")
    add("--seed", type=int, default=0, help="of weights and training")
    return parser.parse_args(arguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the example."""
    options = parse(sys.argv[1:] if argv is None else list(argv))
    x, valid, test = load()
    rows, first = [], None
    for name in options.models:
        start = time.perf_counter()
        keras.utils.set_random_seed(options.seed)
        if name == KERNELS:
            density = KernelDensity.fit(x, valid)
            found, how = Estimate.of(density.log_prob(test).numpy()), f"h = {density.bandwidth:.2f}"
        else:
            model = MODELS[name]()
            how = f"epoch {train(model, x, valid, options.epochs)}"
            draws = options.num_samples if name == "VAE" else 1
            found = tfvae.log_likelihood(model, test, draws, verbose=False)
        first = found if first is None else first
        gain = found.minus(first)
        against = "" if found is first else f"{gain.mean:+.2f} ± {gain.standard_error:.2f}"
        mean = f"{found.mean:.2f} ± {found.standard_error:.2f}"
        rows.append([name, mean, against, how])
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    title = f"{len(test)} held-out points of {DIMS} dimensions, nats"
    print(render_table(title, ["p(x)", "log p(x)", f"over {options.models[0]}", "best at"], rows))


if __name__ == "__main__":
    main()
