"""Why does a strong decoder ignore its latents, and what brings them back?

An autoregressive decoder p(x|z) = prod_i p(x_i | x_<i, z) is a decoder like any other: a layer that
reads features of z. But each pixel also sees all pixels before it, so that the decoder can do
without z, and then it does: the rate falls to zero, and the ELBO is no worse for it. Trains such a
model on the 1,000 training digits that come with scikit-learn, 8 x 8 binary pixels each, plainly
and by five remedies:

    warm-up      the rate is let in slowly: ELBO(beta=Linear(0.0, 1.0, steps))
    cyclical     the same, begun anew four times: ELBO(beta=Cyclical(0.0, 1.0, period))
    free bits    some nats per dimension cost nothing: FreeBits(nats)
    target rate  a rate that is held by a multiplier: TargetRate(nats)
    blind        a decoder that sees z and no pixels

Prints what z says of held-out digits in each, and the log-likelihood that it costs or brings: each
is trained with several seeds, differences are paired over digits, errors cover digits and seeds.
Draws all trainings in the plane of rate and distortion, where lines of equal ELBO fall.

    python examples/collapse.py
"""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _quiet  # noqa: F401  # before all that imports TensorFlow

# isort: split
import keras
import numpy as np

import tfvae
from tfvae import datasets, layers, objectives
from tfvae.evaluation import CollapseReport, Estimate, measure_collapse, render_table

IMAGE = (8, 8, 1)
LATENTS = 8
HIDDEN, STRONG = 128, 1024
KINDS = ("plain", "warm-up", "cyclical", "free bits", "target rate", "blind")


def build_vae(kind: str, seed: int) -> tfvae.VAE:
    """Returns a VAE whose decoder sees all pixels before each, or none."""
    keras.utils.set_random_seed(seed)
    if kind == "blind":
        size = layers.IndependentBernoulli.params_size(IMAGE)
        likelihood = [keras.layers.Dense(size), layers.IndependentBernoulli(IMAGE)]
    else:
        pixel = layers.IndependentBernoulli()
        likelihood = [layers.Autoregressive(IMAGE, pixel, HIDDEN, hidden_units=[STRONG])]
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
    # XLA would take longer to compile than so short a run can gain.
    vae.compile(keras.optimizers.Adam(5e-3), objective, jit_compile=False)


def train(kind: str, data: datasets.Dataset, options: Any, seed: int) -> tfvae.VAE:
    """Returns a trained model of a kind."""
    vae = build_vae(kind, seed)
    compile_for(vae, kind, options.epochs * len(data.x_train) // 50, options.nats)
    vae.fit(data.x_train, epochs=options.epochs, batch_size=50, verbose=0)
    return vae


def draw(found: dict[str, list[CollapseReport]], path: Path) -> None:
    """Draws all trainings in the plane of rate and distortion."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 3.6), layout="constrained")
    axes = figure.subplots()
    every = [report for reports in found.values() for report in reports]
    rates = np.array([report.rate for report in every])
    distortions = np.array([report.distortion for report in every])
    elbos = -(rates + distortions)
    right = max(1.0, 1.35 * float(rates.max()))
    for level in np.arange(np.floor(elbos.min()), np.ceil(elbos.max()) + 1.0, 2.0):
        axes.plot([0.0, right], [-level, -level - right], color="#d0d0d0", linewidth=0.7, zorder=0)
    for (name, reports), marker in zip(found.items(), "osD^vP", strict=False):
        places = np.array([[report.rate, report.distortion] for report in reports])
        axes.scatter(*places.T, marker=marker, s=26, label=name, zorder=2, alpha=0.8)
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
    add("--epochs", type=int, default=16, help="epochs of training")
    add("--nats", type=float, default=4.0, help="free nats in all, and the target rate")
    add("--num-samples", type=int, default=50, help="draws per digit for the log-likelihood")
    add("--kinds", nargs="+", choices=KINDS[1:], default=KINDS[1:], help="beside plain training")
    add("--seeds", type=int, default=3, help="trainings of each")
    add("--output", type=Path, default=Path("outputs/collapse"), help="folder of the picture")
    return parser.parse_args(arguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the example."""
    options = parse(sys.argv[1:] if argv is None else list(argv))
    data = datasets.digits()
    options.output.mkdir(parents=True, exist_ok=True)
    rows, found, first = [], {}, np.zeros(())
    for kind in (KINDS[0], *options.kinds):
        start = time.perf_counter()
        models = [train(kind, data, options, seed) for seed in range(options.seeds)]
        reports = found[kind] = [
            measure_collapse(vae, data.x_test, evidence_samples=1) for vae in models
        ]
        evidence = [
            tfvae.log_likelihood(vae, data.x_test, options.num_samples, verbose=False)
            for vae in models
        ]
        log_p_x = np.stack([each.per_point for each in evidence]).astype("float64")
        first = log_p_x if kind == KINDS[0] else first
        over = "" if kind == KINDS[0] else f"{Estimate.of_seeds(log_p_x - first):+.2f}"
        rates = [report.rate for report in reports]
        cells = [f"{log_p_x.mean():.2f}", over, f"{min(rates):.2f}..{max(rates):.2f}"]
        cells.append(f"{np.mean([report.mutual_information for report in reports]):.2f}")
        cells.append(f"{np.mean([report.active_units for report in reports]):.1f}")
        rows.append([kind, *cells])
        print(f"{kind}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    title = f"{len(data.x_test)} held-out digits, {options.seeds} trainings of each, nats"
    heads = ["training", "log p(x)", "over plain", "rates", "I[x;z]", "active"]
    print(render_table(title, heads, rows))
    print(
        f"rates: least and most of the trainings; active: mean number of dimensions of {LATENTS};"
    )
    print(f"I[x;z] of so many digits is at most their log N, {np.log(len(data.x_test)):.2f}")
    if message := found[KINDS[0]][0].message:
        print(textwrap.fill(f"Of the first plain training: {message}", 80))
    draw(found, options.output / "rate_distortion.png")
    print(f"Picture: {options.output}/rate_distortion.png")


if __name__ == "__main__":
    main()
