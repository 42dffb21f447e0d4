"""What do more levels of latents buy, and which of them does a model use?

Trains the same networks on the 1,000 training digits that come with scikit-learn, 8 x 8 binary
pixels each, with one, two and three levels of latents, p(x|z_1) p(z_1|z_2) p(z_2|z_3) p(z_3), and
with posteriors that go up from the data or come down with the prior:

    bottom-up    q(z_1|x) q(z_2|z_1)
    top-down     q(z_2|x) q(z_1|x, z_2)
    VampPrior    top-down, under a mixture of posteriors q(z_2|u) in place of p(z_2) = N(0, I)
    ladder       q(z_l|x, z_l+1) proportional to q(z_l|x) p(z_l|z_l+1)

Prints the log-likelihood of held-out digits, what it gains over one level, and the rate level by
level: a level whose rate is zero says nothing of the data. Each model is trained with several
seeds; differences are paired over digits, errors cover digits and seeds. Whether an upper level
comes to say anything may be a matter of the seed: rates are shown as the least and the most.

    python examples/hierarchy.py
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _quiet  # noqa: F401  # before all that imports TensorFlow

# isort: split
import keras
import numpy as np

import tfvae
from tfvae import datasets
from tfvae.evaluation import Estimate, render_table

IMAGE = (8, 8, 1)
SIZES = {"z_1": 16, "z_2": 8, "z_3": 4}
KINDS = (
    "1, plain",
    "2, bottom-up",
    "2, top-down",
    "2, VampPrior",
    "3, top-down",
    "3, ladder",
)


def network(reads: Sequence[str], head: Any, hidden: int) -> keras.Model:
    """Returns a network that reads what these names say, x or levels, to a distribution."""
    shapes = {name: (size,) for name, size in SIZES.items()} | {"x": IMAGE}
    body, params = tfvae.networks.gated_mlp([hidden]), keras.layers.Dense(head.num_params)
    return tfvae.networks.functional({name: shapes[name] for name in reads}, body, params, head)


def build_vae(kind: str, hidden: int, seed: int) -> tfvae.HierarchicalVAE:
    """Returns one of `KINDS`: Gaussian levels, and a Bernoulli per pixel."""
    keras.utils.set_random_seed(seed)
    levels = list(SIZES)[: int(kind[0])]
    above = dict(itertools.pairwise(levels))
    below = {high: low for low, high in above.items()}

    def normal(name: str, *reads: str) -> keras.Model:
        return network(reads, tfvae.layers.MultivariateNormalDiag(SIZES[name]), hidden)

    decoders = [network(["z_1"], tfvae.layers.IndependentBernoulli(IMAGE), hidden)]
    decoders += [normal(low, high) for low, high in above.items()]
    if "top-down" in kind or "VampPrior" in kind:
        posteriors = [normal(name, "x", *levels[i + 1 : i + 2]) for i, name in enumerate(levels)]
    elif "bottom-up" in kind:
        posteriors = [normal(name, below.get(name, "x")) for name in levels]
    else:
        posteriors = [normal(name, "x") for name in levels]
    prior = tfvae.priors.VampPrior(50) if "VampPrior" in kind else None
    return tfvae.HierarchicalVAE(
        posteriors, decoders, prior, precision_weighted="ladder" in kind, seed=seed
    )


def train(vae: tfvae.HierarchicalVAE, data: datasets.Dataset, epochs: int) -> None:
    """Fits `vae` and leaves it with the weights of the best validation ELBO.

    The rate is let in over the first fifth of the steps: upper levels that say nothing at first
    would otherwise never begin to.
    """
    steps = epochs * len(data.x_train) // 50
    warm_up = tfvae.objectives.Linear(0.0, 1.0, steps=max(1, steps // 5))
    # XLA would take longer to compile than so short a run can gain.
    vae.compile(keras.optimizers.Adam(2e-3), tfvae.objectives.ELBO(beta=warm_up), jit_compile=False)
    best = tfvae.callbacks.EarlyStopping(patience=epochs)
    vae.fit(
        data.x_train,
        epochs=epochs,
        batch_size=50,
        validation_data=(data.x_valid,),
        callbacks=[best],
        verbose=0,
    )


def score(vae: tfvae.HierarchicalVAE, x: np.ndarray, num_samples: int) -> dict[str, np.ndarray]:
    """Returns log p(x) `[N]` of `x` `[N, 8, 8, 1]` and the rate of each level, nats."""
    evidence = tfvae.log_likelihood(vae, x, num_samples, verbose=False)
    found = np.mean(vae.terms(x).level_rates, axis=0)
    rates = np.append(found, np.full(len(SIZES) - len(found), np.nan))
    return {"log_p_x": evidence.per_point.astype("float64"), "rates": rates}


def row(kind: str, found: dict[str, dict[str, np.ndarray]]) -> list[str]:
    """Returns a row of the table, from scores with a leading axis of seeds by kind and name."""
    log_p_x, first = found[kind]["log_p_x"], next(iter(found))
    gain = Estimate.of_seeds(log_p_x - found[first]["log_p_x"])
    cells = [f"{log_p_x.mean():.2f}", "" if kind == first else f"{gain:+.2f}"]
    lows, highs = (f(found[kind]["rates"], axis=0) for f in (np.min, np.max))
    return [
        kind,
        *cells,
        *(
            "" if np.isnan(low) else f"{low:.1f}..{high:.1f}"
            for low, high in zip(lows, highs, strict=True)
        ),
    ]


def draw(found: dict[str, dict[str, np.ndarray]], path: Path) -> None:
    """Draws gains over the first kind, and the rates of the levels, a mark for each training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.8, 0.9 + 0.32 * len(found)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    base = next(iter(found.values()))["log_p_x"]
    for place, scores in enumerate(found.values()):
        gain = Estimate.of_seeds(scores["log_p_x"] - base)
        left.errorbar(
            gain.mean, place, xerr=2.0 * gain.standard_error, fmt="o", color="#333333", markersize=4
        )
        for level, marker in enumerate("osD"):
            rates = scores["rates"][:, level]
            heights = np.full(len(rates), place)
            name = list(SIZES)[level] if place == len(found) - 1 else None
            colour = ("#1f4e79", "#b03a10", "#7a8b2c")[level]
            right.plot(rates, heights, marker, color=colour, markersize=4, alpha=0.8, label=name)
    left.axvline(0.0, color="#999999", linewidth=0.8)
    left.set_yticks(range(len(found)), list(found))
    left.invert_yaxis()
    left.set_title(f"log p(x) over {next(iter(found))}, ± 2 errors", fontsize=9, loc="left")
    right.set_title("rate of each level, each training", fontsize=9, loc="left")
    right.legend(fontsize=8, frameon=False)
    for axes in (left, right):
        axes.set_xlabel("nats per digit", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=200)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description="Compare one, two and three levels of latents.")
    add = parser.add_argument
    add("--epochs", type=int, default=35, help="epochs; the best by validation is kept")
    add("--hidden", type=int, default=64, help="units of the hidden layers")
    add("--num-samples", type=int, default=100, help="draws per digit for the log-likelihood")
    add("--kinds", nargs="+", choices=KINDS, default=KINDS, help="models to compare")
    add("--seeds", type=int, default=3, help="trainings of each model")
    add("--output", type=Path, default=Path("outputs/hierarchy"), help="folder of the picture")
    return parser.parse_args(arguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the example."""
    options = parse(sys.argv[1:] if argv is None else list(argv))
    data = datasets.digits()
    found: dict[str, dict[str, np.ndarray]] = {}
    for kind in options.kinds:
        start, scores = time.perf_counter(), []
        for seed in range(options.seeds):
            vae = build_vae(kind, options.hidden, seed)
            train(vae, data, options.epochs)
            scores.append(score(vae, data.x_test, options.num_samples))
        found[kind] = {name: np.stack([each[name] for each in scores]) for name in scores[0]}
        print(f"{kind}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    title = f"{len(data.x_test)} held-out digits, nats per digit; {options.seeds} trainings of each"
    heads = ["levels", "log p(x)", "gain", *(f"rate {name}" for name in SIZES)]
    print(render_table(title, heads, [row(kind, found) for kind in found]))
    print(f"gain: over {options.kinds[0]}; rates: the least and the most of the trainings")
    options.output.mkdir(parents=True, exist_ok=True)
    draw(found, options.output / "levels.png")
    print(f"Picture: {options.output / 'levels.png'}")


if __name__ == "__main__":
    main()
