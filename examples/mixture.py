"""Where do EM, gradients and an encoder take the same finite mixture?

A finite mixture p(x) = sum_k p(k) p(x|k) has an exact posterior, and everything is a sum over k:
log p(x) of held-out digits is exact. Fits mixtures of Bernoulli images to the 1,000 training digits
that come with scikit-learn, 8 x 8 binary pixels each, in three ways:

    EM          exact responsibilities, closed M steps: `fit_em`
    gradient    the same likelihood by stochastic gradient: `fit`, whose ELBO is log p(x)
    encoder     q(k|x) a network, its ELBO a sum over the states: `tfvae.VAE`, `OneHotCategorical`

EM and gradients start from clusters by k-means, so that no component is far from all digits.
Gradients stop where validation digits no longer gain; EM runs to its end. Prints the log-likelihood
of training and held-out digits, what the posterior of the network misses, how many components are
alive, with at least one held-out digit each, and how far the clusters agree with the labels, which
no model has seen; draws the components. One seed says little of which way is best.
`semi_supervised.py` adds a style to the clusters, and labels.

    python examples/mixture.py
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from sklearn.metrics import adjusted_rand_score

import tfvae
from tfvae import datasets, layers, plots, priors
from tfvae.evaluation import render_table

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
        result = model.fit_em(data.x_train, tolerance=1e-4)
        rises = np.diff(result.log_likelihood)
        print(
            f"EM, {components} components: {len(rises)} iterations, "
            f"the least rise {rises.min():.1e} nats",
            file=sys.stderr,
        )
        return model
    model.compile(keras.optimizers.Adam(0.02))
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
    """Returns the log-likelihoods, nats, the gap on held-out digits, and the agreement."""
    train, test = (
        tfvae.log_likelihood(model, x, 1, verbose=False) for x in (data.x_train, data.x_test)
    )
    posterior = model.encode(data.x_test)
    terms = model.terms(data.x_test, posterior=posterior)
    clusters = np.argmax(posterior.probs_parameter(), axis=1)
    return {
        "train": train,
        "test": test,
        "gap": test.mean - float(np.mean(terms.elbo)),
        "alive": int(np.sum(np.sum(posterior.probs_parameter(), axis=0) >= 1.0)),
        "agreement": adjusted_rand_score(data.y_test, clusters),
    }


def component_images(model: Any, components: int) -> np.ndarray:
    """Returns the means of p(x|k), the most probable k first."""
    weights = model.prior_distribution().probs_parameter().numpy()
    means = model.decode(np.eye(components, dtype="float32")).mean().numpy()
    return means[np.argsort(-weights)]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description="Cluster digits by finite mixtures.")
    add = parser.add_argument
    add("--components", type=int, nargs="+", default=[10, 20, 40], help="K, to compare")
    add("--ways", nargs="+", choices=WAYS, default=WAYS, help="ways to fit them")
    add("--epochs", type=int, default=200, help="most epochs by gradient")
    add("--seed", type=int, default=0, help="of weights and training")
    add("--output", type=Path, default=Path("outputs/mixture"), help="folder of the pictures")
    return parser.parse_args(arguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the example."""
    options = parse(sys.argv[1:] if argv is None else list(argv))
    data = datasets.digits()
    options.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for components in options.components:
        for way in options.ways:
            start = time.perf_counter()
            model = fit(way, components, data, options.epochs, options.seed)
            seconds = time.perf_counter() - start
            found = score(model, data)
            test = f"{found['test'].mean:.2f} ± {found['test'].standard_error:.2f}"
            cells = [test, f"{found['train'].mean:.2f}", f"{round(found['gap'], 2) + 0.0:.2f}"]
            cells += [f"{found['alive']}", f"{found['agreement']:.2f}", f"{seconds:.0f}"]
            rows.append([f"{components}, {way}", *cells])
            figure = plots.images(component_images(model, components), columns=10)
            figure.savefig(options.output / f"{way}_{components}.png", dpi=200)
    title = f"{len(data.x_test)} held-out digits; likelihoods in nats, exact"
    heads = ["K, fitted by", "held out", "training", "gap", "alive", "Rand", "s"]
    print(render_table(title, heads, rows))
    print("gap: log p(x) - ELBO; alive: at least one held-out digit; Rand: index, adjusted")
    print(f"Components: {options.output}/*.png")


if __name__ == "__main__":
    main()
