"""Which likelihood do counts of genes in cells ask for, and does z earn its place?

Draws counts as single cells give them: programs of genes that cells mix, noise beyond Poisson's,
and cells read more or less often. The logarithm of a cell's total is the context that all models
are told. Compares by the held-out log-likelihood of a cell, in nats:

    genes apart   a negative binomial of each gene by its moments, no z: from outside, by SciPy
    poisson       a VAE with Poisson counts
    negative      a VAE with negative binomials, as the counts were drawn
    zeros         a VAE with surplus zeros as well, which these counts have not

Each VAE starts from the statistics of the counts (`layers.Adapted`) and is trained with several
seeds on the same cells; differences are paired over cells, errors cover cells and seeds. Draws
dimensions of z against the true programs.

    python examples/counts.py
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _quiet  # noqa: F401  # before all that imports TensorFlow

# isort: split
import keras
import numpy as np
from scipy import stats

import tfvae
from tfvae import layers, networks
from tfvae.evaluation import Estimate, render_table

GENES, PROGRAMS, LATENTS = 60, 3, 4
KINDS = {
    "poisson": layers.IndependentPoisson,
    "negative": layers.IndependentNegativeBinomial,
    "zeros": layers.ZeroInflatedNegativeBinomial,
}
APART = "genes apart"


def draw_cells(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns counts `[num, 60]`, logarithms of the totals `[num, 1]`, and programs `[num, 3]`."""
    rng = np.random.default_rng(seed)
    levels = rng.gamma(0.5, 1.0, (PROGRAMS, GENES))  # of the programs, the same for all cells
    mixed = rng.dirichlet(np.full(PROGRAMS, 0.5), num)
    rates = mixed @ (levels / levels.sum(axis=1, keepdims=True))
    rates *= rng.lognormal(6.0, 0.4, (num, 1))
    counts = rng.poisson(rates * rng.gamma(2.0, 0.5, rates.shape)).astype("float32")
    return counts, np.log(1.0 + counts.sum(axis=1, keepdims=True)).astype("float32"), mixed


def build_vae(kind: str, x: np.ndarray, totals: np.ndarray, hidden: int, seed: int) -> tfvae.VAE:
    """Returns a VAE of counts, told the totals."""
    keras.utils.set_random_seed(seed)
    genes = KINDS[kind](GENES)
    likelihood = layers.Adapted(genes, x)
    features = layers.DataEncoder({"genes": genes, "total": "real"}, indicators=False)
    features.adapt(np.concatenate([x, totals], axis=1))
    scaled = layers.DataEncoder({"z": ("real", LATENTS), "total": "real"}, indicators=False)
    scaled.adapt(np.concatenate([np.zeros((len(x), LATENTS), "float32"), totals], axis=1))
    posterior = layers.MultivariateNormalDiag(LATENTS)
    body = [keras.layers.Dense(hidden, "relu") for _ in range(2)]
    encoder = networks.functional(
        {"x": GENES, "context": 1},
        features,
        body[0],
        keras.layers.Dense(posterior.num_params),
        posterior,
    )
    decoder = networks.functional(
        {"z": LATENTS, "context": 1},
        scaled,
        body[1],
        keras.layers.Dense(likelihood.num_params),
        likelihood,
    )
    return tfvae.VAE(encoder, decoder, seed=seed)


def genes_apart(x: np.ndarray, test: np.ndarray, share: np.ndarray, test_share: Any) -> np.ndarray:
    """Returns log p of cells `[N]` by a negative binomial of each gene, its mean by the total."""
    mean = (x.sum(axis=0) + 0.5) / share.sum()  # of a gene in a cell of total one
    surplus = ((x - share * mean) ** 2 - share * mean).mean(axis=0)
    size = np.clip((mean**2) * (share**2).mean() / np.maximum(surplus, 1e-6), 0.05, 1e3)
    expected = test_share * mean
    return stats.nbinom.logpmf(test, size, size / (size + expected)).sum(axis=1)


def draw(codes: np.ndarray, programs: np.ndarray, path: Path) -> None:
    """Writes the picture: two principal directions of z, coloured by the strongest program."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6, 3.2), layout="constrained")
    axes = figure.subplots()
    centred = codes - codes.mean(axis=0)
    plane = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    drawn = axes.scatter(*plane.T, s=5, c=programs[:, 0], cmap="viridis", linewidths=0)
    figure.colorbar(drawn, ax=axes).set_label("share of the first program", fontsize=8)
    axes.set_xlabel("z, first direction", fontsize=8)
    axes.set_ylabel("second direction", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description="Compare likelihoods of counts.")
    add = parser.add_argument
    add("--cells", type=int, default=1000, help="to train on; a quarter more each to hold out")
    add("--epochs", type=int, default=100, help="most epochs; the best by validation is kept")
    add("--hidden", type=int, default=64, help="units of the hidden layers")
    add("--num-samples", type=int, default=100, help="draws per cell for log p(x)")
    add("--seeds", type=int, default=3, help="trainings of each VAE")
    add("--output", type=Path, default=Path("outputs/counts"), help="folder of the picture")
    return parser.parse_args(arguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the example."""
    options = parse(sys.argv[1:] if argv is None else list(argv))
    held_out = options.cells // 4
    all_cells = draw_cells(options.cells + 2 * held_out)
    bounds = [options.cells, options.cells + held_out]
    counts, totals, programs = (np.split(part, bounds) for part in all_cells)
    data = [{"x": x, "context": c} for x, c in zip(counts, totals, strict=True)]
    share = [np.exp(part) - 1.0 for part in totals]
    apart = genes_apart(counts[0], counts[2], share[0], share[2])
    found: dict[str, list[np.ndarray]] = {APART: [apart] * options.seeds}
    for kind in KINDS:
        found[kind] = []
        for seed in range(options.seeds):
            vae = build_vae(kind, counts[0], totals[0], options.hidden, seed)
            # XLA would take longer to compile than so short a run can gain.
            vae.compile(keras.optimizers.Adam(3e-3), jit_compile=False)
            best = tfvae.callbacks.EarlyStopping(patience=10)
            vae.fit(
                data[0],
                epochs=options.epochs,
                batch_size=50,
                validation_data=(data[1],),
                callbacks=[best],
                verbose=0,
            )
            evidence = tfvae.log_likelihood(vae, data[2], options.num_samples, verbose=False)
            found[kind].append(evidence.per_point.astype("float64"))
            if kind == "negative" and seed == 0:
                options.output.mkdir(parents=True, exist_ok=True)
                codes = vae.encode(data[2]).mean().numpy()
                draw(codes, programs[2], options.output / "programs.png")
    rows = []
    for kind, scores in found.items():
        gain = Estimate.of_seeds(np.stack(scores) - np.stack(found[APART]))
        over = "" if kind == APART else f"{gain:+.2f}"
        rows.append([kind, f"{np.mean(scores):.2f}", over])
    title = f"{held_out} held-out cells, {GENES} genes, {options.seeds} trainings each"
    print(render_table(title, ["counts by", "log p(x), nats", "over genes apart"], rows))
    print(f"Codes and programs: {options.output / 'programs.png'}")


if __name__ == "__main__":
    main()
