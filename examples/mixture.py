"""Where do EM, gradients and an encoder take the same finite mixture?

A finite mixture p(x) = sum_k p(k) p(x|k) has an exact posterior, and everything is a sum over k:
log p(x) of held-out digits is exact. Fits mixtures of Bernoulli images to the 1,000 training digits
that come with scikit-learn, 8 x 8 binary pixels each, in three ways:

    EM          exact responsibilities, closed M steps: `fit_em`
    gradient    the same likelihood by stochastic gradient: `fit`, whose ELBO is log p(x)
    encoder     q(k|x) a network, its ELBO a sum over the states: `tfvae.VAE`, `OneHotCategorical`

EM and gradients start from clusters by k-means, so that no component is far from all digits.
Gradients stop where validation digits no longer gain; EM runs to its end. Prints the log-likelihood
of held-out digits, what it gains over EM, what the posterior of the network misses, how many
components are alive, with at least one held-out digit each, and how far the clusters agree with the
labels, which no model has seen, beside those of k-means itself. Each is fitted with several seeds;
differences are paired over digits, errors cover digits and seeds. Draws the components of the first
seed. `semi_supervised.py` adds a style to the clusters, and labels.

    python examples/mixture.py
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _quiet  # noqa: F401  # before all that imports TensorFlow

# isort: split
import keras
import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

import tfvae
from tfvae import datasets, layers, plots, priors
from tfvae.evaluation import Estimate, render_table

IMAGE = (8, 8, 1)
WAYS = ("EM", "gradient", "encoder")


def fit(way: str, components: int, data: datasets.Dataset, epochs: int, seed: int) -> Any:
    """Returns a mixture fitted in one of `WAYS`."""
    keras.utils.set_random_seed(seed)
    if way == "encoder":
        encoder = keras.Sequential(
            [
                keras.Input(IMAGE),
                keras.layers.Flatten(),
                keras.layers.Dense(128, "relu"),
                keras.layers.Dense(components),
                layers.OneHotCategorical(components),
            ]
        )
        size = layers.IndependentBernoulli.params_size(IMAGE)
        decoder = keras.Sequential(
            [
                keras.Input((components,)),
                keras.layers.Dense(size, kernel_initializer="random_normal"),
                layers.IndependentBernoulli(IMAGE),
            ]
        )
        model: Any = tfvae.VAE(encoder, decoder, priors.OneHot(), seed=seed)
    else:
        model = tfvae.FiniteMixture(layers.IndependentBernoulli(IMAGE), components, seed=seed)
        model.start_from(data.x_train, seed=seed)
    if way == "EM":
        model.fit_em(data.x_train, tolerance=1e-4)
        return model
    # XLA would take longer to compile than so short a run can gain.
    model.compile(keras.optimizers.Adam(0.02), jit_compile=False)
    best = tfvae.callbacks.EarlyStopping(patience=10)
    model.fit(
        data.x_train,
        validation_data=(data.x_valid,),
        epochs=epochs,
        batch_size=50,
        callbacks=[best],
        verbose=0,
    )
    return model


def score(model: Any, data: datasets.Dataset) -> dict[str, Any]:
    """Returns log p(x) `[N]` and the gap of held-out digits, nats, and what clusters they form."""
    evidence = tfvae.log_likelihood(model, data.x_test, 1, verbose=False)
    posterior = model.encode(data.x_test)
    shares = posterior.probs_parameter().numpy()
    return {
        "log_p_x": evidence.per_point.astype("float64"),
        "gap": evidence.mean - np.mean(model.terms(data.x_test, posterior=posterior).elbo),
        "alive": np.sum(shares.sum(axis=0) >= 1.0),
        "agreement": adjusted_rand_score(data.y_test, shares.argmax(axis=1)),
    }


def k_means(components: int, data: datasets.Dataset, seed: int) -> dict[str, Any]:
    """Returns what `score` says of clusters, of those of k-means."""
    flat = [x.reshape(len(x), -1) for x in (data.x_train, data.x_test)]
    found = KMeans(components, random_state=seed).fit(flat[0]).predict(flat[1])
    return {
        "alive": len(np.unique(found)),
        "agreement": adjusted_rand_score(data.y_test, found),
    }


def stacked(scores: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Returns the scores of several seeds, with a leading axis of them."""
    return {name: np.stack([each[name] for each in scores]) for name in scores[0]}


def component_images(model: Any, components: int) -> np.ndarray:
    """Returns the means of p(x|k), the most probable k first."""
    weights = model.prior_distribution().probs_parameter().numpy()
    means = model.decode(np.eye(components, dtype="float32")).mean().numpy()
    return means[np.argsort(-weights)]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description="Cluster digits by finite mixtures.")
    add = parser.add_argument
    add("--components", type=int, nargs="+", default=[10, 40], help="K, to compare")
    add("--ways", nargs="+", choices=WAYS[1:], default=WAYS[1:], help="beside EM")
    add("--epochs", type=int, default=100, help="most epochs by gradient")
    add("--seeds", type=int, default=3, help="fits of each")
    add("--output", type=Path, default=Path("outputs/mixture"), help="folder of the pictures")
    return parser.parse_args(arguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the example."""
    options = parse(sys.argv[1:] if argv is None else list(argv))
    data = datasets.digits()
    options.output.mkdir(parents=True, exist_ok=True)
    seeds, rows = range(options.seeds), []

    def of_clusters(found: dict[str, np.ndarray]) -> list[str]:
        return [f"{found['alive'].mean():.1f}", f"{Estimate.of(found['agreement']):.2f}"]

    for components in options.components:
        exact = np.zeros(())
        for way in (WAYS[0], *options.ways):
            start = time.perf_counter()
            models = [fit(way, components, data, options.epochs, seed) for seed in seeds]
            print(f"{components}, {way}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
            found = stacked([score(model, data) for model in models])
            exact = found["log_p_x"] if way == WAYS[0] else exact
            gain = Estimate.of_seeds(found["log_p_x"] - exact)
            cells = [f"{found['log_p_x'].mean():.2f}", "" if way == WAYS[0] else f"{gain:+.2f}"]
            cells.append(f"{round(found['gap'].mean(), 2) + 0.0:.2f}")
            rows.append([f"{components}, {way}", *cells, *of_clusters(found)])
            figure = plots.images(component_images(models[0], components), columns=10)
            figure.savefig(options.output / f"{way}_{components}.png", dpi=150)
        outside = stacked([k_means(components, data, seed) for seed in seeds])
        rows.append([f"{components}, k-means", "", "", "", *of_clusters(outside)])
    title = f"{len(data.x_test)} held-out digits, {options.seeds} fits of each; nats, exact"
    heads = ["K, fitted by", "log p(x)", "over EM", "gap", "alive", "Rand index"]
    print(render_table(title, heads, rows))
    print("gap: log p(x) - ELBO; alive: components with at least one held-out digit")
    print("Rand index: agreement with labels, adjusted for chance; errors are over seeds")
    print(f"Components: {options.output}/*.png")


if __name__ == "__main__":
    main()
