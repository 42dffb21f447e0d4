"""Why does a strong decoder ignore its latents, and what brings them back?

An autoregressive decoder p(x|z) = prod_i p(x_i | x_<i, z) is a decoder like any other: a layer that
reads features of z. But each pixel also sees all pixels before it, so that the decoder can do
without z, and then it does: the rate is zero, and the ELBO is no worse for it. Trains such a model
on the 1,000 training digits that come with scikit-learn, 8 x 8 binary pixels each, plainly and by
five remedies:

    warm-up      the rate is let in slowly: ELBO(beta=Linear(0.0, 1.0, steps))
    cyclical     the same, begun anew four times: ELBO(beta=Cyclical(0.0, 1.0, period))
    free bits    some nats per dimension cost nothing: FreeBits(nats)
    target rate  a rate that is held by a multiplier: TargetRate(nats)
    blind        a decoder that sees z and no pixels

Prints what z says of held-out digits in each, and the log-likelihood that it costs or brings; draws
all in the plane of rate and distortion, where lines of equal ELBO fall.

    python examples/collapse.py
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

import tfvae
from tfvae import datasets, layers, objectives
from tfvae.evaluation import CollapseReport, measure_collapse, render_table

IMAGE = (8, 8, 1)
LATENTS = 8
HIDDEN = 128
KINDS = ("plain", "warm-up", "cyclical", "free bits", "target rate", "blind")


def build_vae(kind: str, seed: int) -> tfvae.VAE:
    """Returns a VAE whose decoder sees all pixels before each, or none."""
    keras.utils.set_random_seed(seed)
    if kind == "blind":
        size = layers.IndependentBernoulli.params_size(IMAGE)
        likelihood = [keras.layers.Dense(size), layers.IndependentBernoulli(IMAGE)]
    else:
        pixel = layers.IndependentBernoulli()
        likelihood = [layers.PixelCNN(IMAGE, pixel, HIDDEN, filters=16, first_kernel_size=5)]
    encoder = keras.Sequential(
        [
            keras.Input(IMAGE),
            keras.layers.Flatten(),
            keras.layers.Dense(HIDDEN, "relu"),
            keras.layers.Dense(layers.MultivariateNormalDiag.params_size(LATENTS)),
            layers.MultivariateNormalDiag(LATENTS),
        ]
    )
    decoder = keras.Sequential(
        [keras.Input((LATENTS,)), keras.layers.Dense(HIDDEN, "relu"), *likelihood]
    )
    return tfvae.VAE(encoder, decoder, seed=seed)


def compile_for(vae: tfvae.VAE, kind: str, steps: int, nats: float) -> None:
    """Compiles a model with the remedy of its kind, for so many steps in all."""
    objective: Any = objectives.ELBO()
    if kind == "warm-up":
        objective = objectives.ELBO(beta=objectives.Linear(0.0, 1.0, steps=max(1, steps // 2)))
    elif kind == "free bits":
        objective = objectives.FreeBits(nats / LATENTS)
    elif kind == "target rate":
        objective = objectives.TargetRate(nats)
    elif kind == "cyclical":
        beta = objectives.Cyclical(0.0, 1.0, period=max(1, steps // 4))
        objective = objectives.ELBO(beta=beta)
    vae.compile(keras.optimizers.Adam(5e-3), objective)


def train(vae: tfvae.VAE, data: datasets.Dataset, epochs: int, quiet: bool) -> None:
    """Fits `vae`; the monitor says in a line when z says nothing."""
    monitor = tfvae.callbacks.CollapseMonitor(data.x_valid, every=max(1, epochs // 2))
    callbacks = [] if quiet else [monitor]
    vae.fit(data.x_train, epochs=epochs, batch_size=50, callbacks=callbacks, verbose=0)


def draw(found: dict[str, CollapseReport], path: Path) -> None:
    """Draws all models in the plane of rate and distortion."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 3.6), layout="constrained")
    axes = figure.subplots()
    rates = np.array([report.rate for report in found.values()])
    distortions = np.array([report.distortion for report in found.values()])
    elbos = -(rates + distortions)
    right = max(1.0, 1.35 * float(rates.max()))
    for level in np.arange(np.floor(elbos.min()), np.ceil(elbos.max()) + 1.0, 2.0):
        axes.plot([0.0, right], [-level, -level - right], color="#d0d0d0", linewidth=0.7, zorder=0)
    for (name, report), marker in zip(found.items(), "osD^vP", strict=False):
        axes.scatter(report.rate, report.distortion, marker=marker, s=36, label=name, zorder=2)
    axes.set_xlim(-0.04 * right, right)
    low, high = distortions.min(), distortions.max()
    axes.set_ylim(low - 0.12 * (high - low) - 0.3, high + 0.12 * (high - low) + 0.3)
    axes.set_xlabel("rate, nats")
    axes.set_ylabel("distortion, nats")
    axes.set_title("Held-out digits; lines of equal ELBO, 2 nats apart", fontsize=9)
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=200)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description="Reproduce posterior collapse, and cure it.")
    add = parser.add_argument
    add("--epochs", type=int, default=25, help="epochs of training")
    add("--nats", type=float, default=4.0, help="free nats in all, and the target rate")
    add("--num-samples", type=int, default=100, help="draws per digit for the log-likelihood")
    add("--kinds", nargs="+", choices=KINDS, default=KINDS, help="models to compare")
    add("--seed", type=int, default=0, help="of weights and training")
    add("--output", type=Path, default=Path("outputs/collapse"), help="folder of the picture")
    return parser.parse_args(arguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the example."""
    options = parse(sys.argv[1:] if argv is None else list(argv))
    data = datasets.digits()
    options.output.mkdir(parents=True, exist_ok=True)
    rows, found = [], {}
    for kind in options.kinds:
        start = time.perf_counter()
        vae = build_vae(kind, options.seed)
        compile_for(vae, kind, options.epochs * len(data.x_train) // 50, options.nats)
        train(vae, data, options.epochs, quiet=kind != "plain")
        report = found[kind] = measure_collapse(vae, data.x_test)
        evidence = tfvae.log_likelihood(vae, data.x_test, options.num_samples, verbose=False)
        cells = [f"{evidence.mean:.2f} ± {evidence.standard_error:.2f}"]
        cells += [f"{-report.rate - report.distortion:.2f}", f"{report.rate:.2f}"]
        cells += [f"{report.mutual_information:.2f}", f"{report.active_units}"]
        rows.append([kind, *cells, f"{report.shuffle_cost:.2f}"])
        print(f"{kind}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    title = f"{len(data.x_test)} held-out digits, nats; I[x;z] is at most log N = "
    title += f"{np.log(len(data.x_test)):.2f}"
    heads = ["training", "log p(x)", "ELBO", "rate", "I[x;z]", "active", "shuffled"]
    print(render_table(title, heads, rows))
    print(f"active: dimensions of {LATENTS}; shuffled: more distortion with the z of others")
    draw(found, options.output / "rate_distortion.png")
    print(f"Picture: {options.output}/rate_distortion.png")


if __name__ == "__main__":
    main()
