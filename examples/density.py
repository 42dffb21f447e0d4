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
    scikit-learn      its `GaussianMixture` of as many diagonal Gaussians, by EM: from outside

Each is trained until validation digits no longer gain, with several seeds; differences are paired
over digits, errors cover digits and seeds. The digits are split as they come, so that those held
out are of other writers. Draws points of each density over held-out ones, in two dimensions.

    python examples/density.py
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import _quiet  # noqa: F401  # before all that imports TensorFlow

# isort: split
import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

import tfvae
from tfvae import layers, priors
from tfvae.distributions import KernelDensity
from tfvae.evaluation import Estimate, render_table

DIMS = 8
FIRST = "Gaussian"
KERNELS = "kernel density"
OUTSIDE = "scikit-learn"
COMPONENTS = 20


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
    "Gaussian mixture": lambda: tfvae.DensityModel(priors.GaussianMixture(COMPONENTS, DIMS)),
    KERNELS: lambda: None,
    "flow": lambda: tfvae.DensityModel(priors.MaskedAutoregressive(DIMS)),
    "spline flow": lambda: tfvae.DensityModel(priors.NeuralSpline(DIMS, num_transforms=2)),
    "autoregressive": lambda: tfvae.DensityModel(
        layers.Autoregressive(DIMS, layers.MixtureNormal(5, ()), hidden_units=[64, 64])
    ),
    "VAE": vae,
    OUTSIDE: lambda: GaussianMixture(COMPONENTS, covariance_type="diag", reg_covar=1e-3),
}


def train(model: Any, x: np.ndarray, valid: np.ndarray, epochs: int) -> None:
    """Fits a model and leaves it with the weights of the best validation."""
    best = tfvae.callbacks.EarlyStopping(patience=15)
    # XLA would take longer to compile than so short a run can gain.
    model.compile(keras.optimizers.Adam(3e-3), jit_compile=False)
    model.fit(
        x, validation_data=(valid,), epochs=epochs, batch_size=100, callbacks=[best], verbose=0
    )


def score(
    name: str, parts: Sequence[np.ndarray], options: Any, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns log p(x) of held-out points `[N]`, nats, and as many draws `[N, 8]`."""
    keras.utils.set_random_seed(seed)
    x, valid, test = parts
    if name == KERNELS:
        density = KernelDensity.fit(x, valid)
        return density.log_prob(test).numpy(), density.sample(len(test), seed=(seed, 0)).numpy()
    model = MODELS[name]()
    if name == OUTSIDE:
        model.set_params(random_state=seed).fit(x)
        return model.score_samples(test), model.sample(len(test))[0]
    train(model, x, valid, options.epochs)
    draws = options.num_samples if name == "VAE" else 1
    evidence = tfvae.log_likelihood(model, test, draws, seed=seed, verbose=False)
    return evidence.per_point, np.asarray(model.sample(len(test), seed=seed))


def draw(drawn: dict[str, np.ndarray], test: np.ndarray, path: Path) -> None:
    """Draws two dimensions of held-out points, and over them those of each density."""
    from matplotlib.figure import Figure

    columns = min(4, len(drawn))
    rows = -(-len(drawn) // columns)
    figure = Figure(figsize=(2.0 * columns, 2.1 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (name, points) in zip(panels, drawn.items(), strict=False):
        axes.scatter(*test[:, :2].T, s=4, c="#b0b0b0", linewidths=0)
        axes.scatter(*points[:, :2].T, s=3, c="#1f4e79", linewidths=0)
        axes.set_title(name, fontsize=9, loc="left")
        axes.tick_params(labelsize=7)
    panels[0].set_xlim(-3.0, 3.0)
    panels[0].set_ylim(-3.0, 3.0)
    for axes in panels[len(drawn) :]:
        axes.set_axis_off()
    figure.supxlabel("first two of eight dimensions; grey: held-out digits", fontsize=8)
    figure.savefig(path, dpi=150)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description="Compare densities on the same data.")
    add = parser.add_argument
    add("--epochs", type=int, default=150, help="most epochs of training")
    add("--num-samples", type=int, default=500, help="draws per point for the VAE's log p(x)")
    others = [name for name in MODELS if name != FIRST]
    add("--models", nargs="+", choices=others, default=others, help=f"rows beside {FIRST}")
    add("--seeds", type=int, default=3, help="trainings of each")
    add("--output", type=Path, default=Path("outputs/density"), help="folder of the picture")
    return parser.parse_args(arguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the example."""
    options = parse(sys.argv[1:] if argv is None else list(argv))
    parts = load()
    found: dict[str, np.ndarray] = {}
    drawn: dict[str, np.ndarray] = {}
    for name in (FIRST, *options.models):
        start = time.perf_counter()
        trained = [score(name, parts, options, seed) for seed in range(options.seeds)]
        found[name] = np.stack([log_p for log_p, _ in trained]).astype("float64")
        drawn[name] = trained[0][1]
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    rows = []
    for name, log_p in found.items():
        over = f"{Estimate.of_seeds(log_p - found[FIRST]):+.2f}" if name != FIRST else ""
        means = log_p.mean(axis=1)
        rows.append([name, f"{means.mean():.2f}", over, f"{means.min():.2f}..{means.max():.2f}"])
    title = f"{len(parts[2])} held-out points of {DIMS} dimensions, {options.seeds} trainings, nats"
    print(render_table(title, ["p(x)", "log p(x)", f"over {FIRST}", "trainings"], rows))
    options.output.mkdir(parents=True, exist_ok=True)
    draw(drawn, parts[2], options.output / "draws.png")
    print(f"Draws: {options.output / 'draws.png'}")


if __name__ == "__main__":
    main()
