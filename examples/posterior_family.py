"""Does the family of the posterior decide whether x and z stay dependent?

Trains one decoder p(x|z), under one prior p(z) = N(0, I), on the 1,000 training digits that come
with scikit-learn, 8 x 8 binary pixels each, with posteriors q(z|x) that can say ever more:

    diagonal    a Gaussian of independent dimensions
    low rank    a Gaussian of a diagonal covariance plus a few directions
    full        a Gaussian of any covariance
    flow        a diagonal Gaussian through an inverse autoregressive flow
    hierarchy   q(z_2|x) q(z_1|x, z_2), which mixes Gaussians over z_1. It needs p(z_1|z_2) p(z_2)
                as prior: this one alone changes the model too

Low rank is left out unless `--families` names it.

Prints for held-out digits the log-likelihood, how far it is from that of the diagonal posterior,
the rate, the mutual information of x and z, and the gap between log-likelihood and ELBO. Then says
which differences are larger than their noise. Trainings from other seeds differ, too: errors cover
digits and seeds.

    python examples/posterior_family.py
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
from tfvae import datasets, flows, layers
from tfvae.evaluation import Estimate, render_table

IMAGE = (8, 8, 1)
LATENTS = 16
LATENTS_ABOVE = 8
RANK = 4
CONTEXT = 16
FAMILIES = ("diagonal", "low rank", "full", "flow", "hierarchy")
SCORES = ("log_p_x", "rate", "mutual_information", "gap")


def network(head: Any, hidden: int, **shapes: Sequence[int]) -> keras.Model:
    """Returns a network that reads x or levels of these names and shapes, to a distribution."""
    body, params = tfvae.networks.gated_mlp([hidden]), keras.layers.Dense(head.num_params)
    return tfvae.networks.functional(shapes, body, params, head)


def normal(size: int, hidden: int, **shapes: Sequence[int]) -> keras.Model:
    """Returns a network to a diagonal Gaussian."""
    return network(layers.MultivariateNormalDiag(size), hidden, **shapes)


def posterior(family: str, hidden: int) -> keras.Model:
    """Returns q(z|x) of a family."""
    if family == "low rank":
        head = layers.MultivariateNormalLowRank(LATENTS, RANK)
        return network(head, hidden, x=IMAGE)
    if family == "full":
        head = layers.MultivariateNormalTriL(LATENTS)
        return network(head, hidden, x=IMAGE)
    if family == "flow":
        base = layers.MultivariateNormalDiag(LATENTS)
        flow = flows.InverseAutoregressive(num_transforms=2, hidden_units=[64])
        head = layers.TransformedDistribution(base, flow, CONTEXT)
        return network(head, hidden, x=IMAGE)
    return normal(LATENTS, hidden, x=IMAGE)


def build_vae(family: str, hidden: int, seed: int) -> tfvae.LatentVariableModel:
    """Returns a model with the posterior of a family; all have the same p(x|z)."""
    keras.utils.set_random_seed(seed)
    decoder = network(layers.IndependentBernoulli(IMAGE), hidden, z_1=(LATENTS,))
    if family != "hierarchy":
        return tfvae.VAE(posterior(family, hidden), decoder, seed=seed)
    above = {"z_2": (LATENTS_ABOVE,)}
    posteriors = [
        normal(LATENTS, hidden, x=IMAGE, **above),
        normal(LATENTS_ABOVE, hidden, x=IMAGE),
    ]
    return tfvae.HierarchicalVAE(posteriors, [decoder, normal(LATENTS, hidden, **above)], seed=seed)


def train(vae: tfvae.LatentVariableModel, data: datasets.Dataset, epochs: int) -> None:
    """Fits `vae` and leaves it with the weights of the best validation ELBO."""
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


def score(vae: tfvae.LatentVariableModel, x: np.ndarray, num_samples: int) -> dict[str, np.ndarray]:
    """Returns the `SCORES` of points `x`, each `[N]`, nats."""
    ledger = tfvae.decompose(
        vae, x, num_samples=1, evidence_samples=num_samples, batch_size=len(x), verbose=False
    )
    return {name: getattr(ledger, name).per_point for name in SCORES}


def differs(values: np.ndarray) -> bool:
    """Whether the mean of values `[seeds, N]` is two standard errors from 0, of one sign in all."""
    found, signs = Estimate.of_seeds(values), np.sign(values.mean(axis=1))
    return abs(found.mean) > 2.0 * found.standard_error and len(set(signs)) == 1


def conclude(found: dict[str, dict[str, np.ndarray]], ceiling: float) -> list[str]:
    """Returns what scores `[seeds, N]`, by family and name, say of the question."""
    information = {
        family: Estimate.of_seeds(s["mutual_information"]) for family, s in found.items()
    }
    dependent = [
        family
        for family, scores in found.items()
        if information[family].mean > 0.0 and differs(scores["mutual_information"])
    ]
    lines = [
        "x and z stay dependent under all of these posteriors: here the family does not decide it."
        if len(dependent) == len(found)
        else f"x and z stay dependent under {', '.join(dependent) or 'none of them'}."
    ]
    full = [family for family, value in information.items() if value.mean > ceiling - 0.5]
    if full:
        lines.append(
            f"The mutual information of {', '.join(full)} is within 0.5 nats of its ceiling, "
            f"{ceiling:.2f}: it may be more than these points can show, so compare rates there."
        )
    seeds = len(found["diagonal"]["rate"])
    noise = "noise" if seeds > 1 else "the noise of the digits"
    for name, label in (("log_p_x", "log p(x)"), ("rate", "rate"), ("gap", "gap")):
        changes = {
            family: scores[name] - found["diagonal"][name]
            for family, scores in found.items()
            if family != "diagonal"
        }
        told = [
            f"{family} {Estimate.of_seeds(change).mean:+.2f}"
            for family, change in changes.items()
            if differs(change)
        ]
        lines.append(
            f"The {label} differs from that of the diagonal posterior by more than {noise}: "
            f"{', '.join(told) or 'nowhere'}."
        )
    lines.append(
        f"The noise covers digits and {seeds} trainings of each; few trainings tell it badly."
        if seeds > 1
        else "One training each: what differs may be the training and not the family; see --seeds."
    )
    return lines


def table(found: dict[str, dict[str, np.ndarray]]) -> str:
    """Returns scores `[seeds, N]`, by family and name, as text."""
    rows = []
    for family, scores in found.items():
        log_p_x = Estimate.of_seeds(scores["log_p_x"])
        change = Estimate.of_seeds(scores["log_p_x"] - found["diagonal"]["log_p_x"])
        cells = [f"{log_p_x:.2f}"]
        cells.append("" if family == "diagonal" else f"{change:+.2f}")
        cells += [f"{scores[name].mean():.2f}" for name in SCORES[1:]]
        rows.append([family, *cells])
    seeds, points = found["diagonal"]["rate"].shape
    title = f"{points} held-out digits, {seeds} training{'s' * (seeds > 1)} of each, nats per digit"
    heads = ["posterior", "log p(x)", "- diagonal", "rate", "I(x;z)", "gap"]
    return render_table(title, heads, rows)


def draw(found: dict[str, dict[str, np.ndarray]], ceiling: float, path: Path) -> None:
    """Draws scores `[seeds, N]`, by family and name: means, two standard errors, and each seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.8, 2.4), dpi=200, layout="constrained")
    panels = {
        "log p(x), minus diagonal": {
            "log p(x)": {
                family: scores["log_p_x"] - found["diagonal"]["log_p_x"]
                for family, scores in found.items()
            }
        },
        "rate; I(x;z), its ceiling in red": {
            "rate": {family: scores["rate"] for family, scores in found.items()},
            "I(x;z)": {family: scores["mutual_information"] for family, scores in found.items()},
        },
        "gap, log p(x) - ELBO": {
            "gap": {family: scores["gap"] for family, scores in found.items()}
        },
    }
    colours = {"log p(x)": "#333333", "rate": "#333333", "I(x;z)": "#d1495b", "gap": "#333333"}
    for axes, (title, series) in zip(
        figure.subplots(1, 3, sharey=True), panels.items(), strict=True
    ):
        for name, values in series.items():
            for row, each in enumerate(values.values()):
                value = Estimate.of_seeds(each)
                axes.errorbar(
                    value.mean,
                    row,
                    xerr=2.0 * value.standard_error,
                    fmt="o",
                    markersize=4,
                    color=colours[name],
                    linewidth=1.0,
                )
                if len(each) > 1:
                    heights = np.full(len(each), row + 0.25)
                    axes.plot(each.mean(axis=1), heights, "|", color=colours[name], markersize=4)
        axes.set_title(title, fontsize=8, loc="left")
        axes.set_xlabel("nats per digit", fontsize=7)
        axes.tick_params(labelsize=7, width=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", linewidth=0.3, color="#cccccc")
        axes.set_axisbelow(True)
    first, second, _ = figure.axes
    first.axvline(0.0, color="#999999", linewidth=0.8)
    second.axvline(ceiling, color="#d1495b", linewidth=0.8, linestyle="--")
    first.set_yticks(range(len(found)), list(found))
    first.invert_yaxis()
    figure.savefig(path)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description="Compare families of posteriors.")
    add = parser.add_argument
    few = [family for family in FAMILIES if family != "low rank"]
    add("--families", nargs="+", choices=FAMILIES[1:], default=few[1:], help="beside diagonal")
    add("--epochs", type=int, default=40, help="epochs; the best by validation is kept")
    add("--hidden", type=int, default=64, help="units of the hidden layers")
    add("--num-samples", type=int, default=100, help="draws per digit for the log-likelihood")
    add("--seeds", type=int, default=3, help="trainings of each")
    add(
        "--output",
        type=Path,
        default=Path("outputs/posterior_family"),
        help="folder of the figure",
    )
    return parser.parse_args(arguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the example."""
    options = parse(sys.argv[1:] if argv is None else list(argv))
    data = datasets.digits()
    options.output.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, Any]] = {}
    for family in (FAMILIES[0], *options.families):
        start = time.perf_counter()
        scores = []
        for seed in range(options.seeds):
            vae = build_vae(family, options.hidden, seed)
            train(vae, data, options.epochs)
            scores.append(score(vae, data.x_test, options.num_samples))
        found[family] = {name: np.stack([s[name] for s in scores]) for name in SCORES}
        print(f"{family}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    ceiling = float(np.log(len(data.x_test)))
    print(table(found))
    print(f"I(x;z) of so many digits is at most their log N, {ceiling:.2f}.")
    for line in conclude(found, ceiling):
        print(textwrap.fill(line, 80))
    path = options.output / "posterior_family.png"
    draw(found, ceiling, path)
    print(f"Figure: {path}")


if __name__ == "__main__":
    main()
