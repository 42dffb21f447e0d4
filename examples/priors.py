"""What does a better prior buy, and what does it look like?

Trains the same encoder and decoder, with a latent z of two dimensions, on the 1,000 training digits
that come with scikit-learn, 8 x 8 binary pixels each, under priors p(z):

    StandardNormal          N(0, I), learns nothing
    GaussianMixture         ten Gaussians
    VampPrior               the mean of the posteriors q(z|u) of fifty learned digits u
    RealNVP                 a flow of affine couplings
    MaskedAutoregressive    a flow that maps one dimension after the other
    NeuralSpline            a flow of monotone splines

Prints the log-likelihood of held-out digits, its paired difference to that of the standard normal,
and the rate with its two parts: the mutual information of x and z (MI), and the marginal KL from
the aggregated posterior to the prior. Each model is trained with several seeds, and errors cover
digits and seeds. The last row are the models of the standard normal, whose prior alone is replaced
after training: that gains the marginal KL at most.

The picture shows log p(z) of each, with draws z ~ q(z|x). In two dimensions RealNVP and
MaskedAutoregressive differ by little, since a transform of either maps one z given the other: the
latter is left out unless `--priors` names it. The spline only bends what lies in [-5, 5], and the
posteriors stay in there.

    python examples/priors.py
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _quiet  # noqa: F401  # before all that imports TensorFlow

# isort: split
import keras
import numpy as np
import tensorflow as tf

import tfvae
from tfvae import datasets
from tfvae.evaluation import Estimate, render_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IMAGE = (8, 8, 1)
LATENTS = 2
PRIORS = (
    "StandardNormal",
    "GaussianMixture",
    "VampPrior",
    "RealNVP",
    "MaskedAutoregressive",
    "NeuralSpline",
)
FITTED_LATER = "GaussianMixture"
PARTS = ("rate", "mutual_information", "marginal_kl")


def build_prior(name: str, x: np.ndarray) -> tfvae.priors.Prior:
    """Returns one of `PRIORS`; that of posteriors starts from the first of the digits `x`."""
    if name == "VampPrior":
        start = x[:50]
        return tfvae.priors.VampPrior(len(start), pseudo_inputs=start)
    if name == "GaussianMixture":
        return tfvae.priors.GaussianMixture(10, LATENTS)
    if name == "StandardNormal":
        return tfvae.priors.StandardNormal(LATENTS)
    # A spline bends more than an affine map does: two of them are enough for two dimensions.
    transforms = 2 if name == "NeuralSpline" else 4
    return getattr(tfvae.priors, name)(LATENTS, num_transforms=transforms, hidden_units=[32, 32])


def build_vae(prior: tfvae.priors.Prior, hidden: int, seed: int) -> tfvae.VAE:
    """Returns q(z|x) a diagonal Gaussian, p(x|z) a Bernoulli per pixel, and this p(z)."""
    keras.utils.set_random_seed(seed)
    posterior = tfvae.layers.MultivariateNormalDiag
    likelihood = tfvae.layers.IndependentBernoulli
    encoder = keras.Sequential(
        [
            keras.Input(IMAGE),
            tfvae.networks.gated_mlp([hidden]),
            keras.layers.Dense(posterior.params_size(LATENTS)),
            posterior(LATENTS),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((LATENTS,)),
            tfvae.networks.gated_mlp([hidden]),
            keras.layers.Dense(likelihood.params_size(IMAGE)),
            likelihood(IMAGE),
        ]
    )
    return tfvae.VAE(encoder, decoder, prior, seed=seed)


def train(vae: tfvae.VAE, data: datasets.Dataset, epochs: int) -> None:
    """Fits `vae` and leaves it with the weights of the best validation ELBO."""
    # XLA would take longer to compile than so short a run can gain.
    vae.compile(keras.optimizers.Adam(5e-3), jit_compile=False)
    best = tfvae.callbacks.EarlyStopping(patience=epochs)
    vae.fit(
        data.x_train,
        epochs=epochs,
        batch_size=50,
        validation_data=(data.x_valid,),
        callbacks=[best],
        verbose=0,
    )


def score(vae: tfvae.VAE, x: np.ndarray, num_samples: int, seed: int) -> dict[str, np.ndarray]:
    """Returns log p(x) `[N]` of `x` `[N, 8, 8, 1]`, and means of the rate and its parts, nats."""
    evidence = tfvae.log_likelihood(vae, x, num_samples, seed=seed, verbose=False)
    logs = vae.evaluate(x, batch_size=len(x), verbose=0, return_dict=True)
    found = {"log_p_x": evidence.per_point.astype("float64")}
    return found | {name: np.array(logs[name]) for name in PARTS}


def stacked(scores: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Returns the scores of several trainings, with a leading axis of seeds."""
    return {name: np.stack([each[name] for each in scores]) for name in scores[0]}


def row(name: str, scores: dict[str, np.ndarray], baseline: dict[str, np.ndarray]) -> list[str]:
    """Returns a row of the table, from scores by seed, the difference paired over points."""
    gain = Estimate.of_seeds(scores["log_p_x"] - baseline["log_p_x"])
    difference = "" if scores is baseline else f"{gain:+.2f}"
    mean = f"{scores['log_p_x'].mean():.2f}"
    return [name, mean, difference, *(f"{scores[part].mean():.2f}" for part in PARTS)]


def draw_prior(
    vae: tfvae.VAE, x: np.ndarray, seed: int, size: int = 200
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns draws z ~ q(z|x) `[N, 2]`, a grid around them `[size, size, 2]`, and log p there."""
    z = vae.encode(x).sample(seed=(seed, 0)).numpy()
    low, high = z.min(axis=0), z.max(axis=0)
    # A square, so that all panels have one shape at one scale on both axes.
    centre, half = (low + high) / 2, 0.6 * np.max(high - low)
    first, second = (np.linspace(c - half, c + half, size, dtype="float32") for c in centre)
    grid = np.stack(np.meshgrid(first, second), axis=-1)
    log_p = vae.prior.distribution().log_prob(tf.constant(grid.reshape(-1, LATENTS)))
    return z, grid, log_p.numpy().reshape(size, size)


def draw_priors(vaes: dict[str, tfvae.VAE], x: np.ndarray, seed: int) -> Figure:
    """Returns small multiples: log p(z) of each model, and draws z ~ q(z|x) of these digits."""
    from matplotlib.figure import Figure

    columns = min(3, len(vaes))
    rows = -(-len(vaes) // columns)
    figure = Figure(figsize=(2.2 * columns + 0.6, 2.3 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    shown: Any = None
    for axes, (name, vae) in zip(panels, vaes.items(), strict=False):
        z, grid, log_p = draw_prior(vae, x, seed)
        shown = axes.contourf(
            grid[..., 0], grid[..., 1], log_p, levels=range(-12, -1), cmap="Blues", extend="both"
        )
        axes.scatter(*z.T, s=2, c="#b03a10", linewidths=0)
        axes.set_title(name, fontsize=9, loc="left")
        axes.set_aspect("equal")
        axes.tick_params(labelsize=7)
    for axes in panels[len(vaes) :]:
        axes.set_axis_off()
    bar = figure.colorbar(shown, ax=list(panels), aspect=30)
    bar.set_label("log p(z), nats", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.supxlabel("Dots: z ~ q(z|x) of held-out digits. Each panel has its scale.", fontsize=8)
    return figure


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description="Compare six priors of a two-dimensional latent.")
    add = parser.add_argument
    few = [name for name in PRIORS[1:] if name != "MaskedAutoregressive"]
    add("--priors", nargs="+", choices=PRIORS[1:], default=few, help="beside N(0, I)")
    add("--epochs", type=int, default=25, help="epochs; the best by validation is kept")
    add("--prior-epochs", type=int, default=25, help="epochs of the prior that is fitted later")
    add("--hidden", type=int, default=64, help="units of the hidden layers")
    add("--num-samples", type=int, default=200, help="draws per digit for the log-likelihood")
    add("--seeds", type=int, default=3, help="trainings of each")
    add("--output", type=Path, default=Path("outputs/priors"), help="folder of the picture")
    return parser.parse_args(arguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the example."""
    options = parse(sys.argv[1:] if argv is None else list(argv))
    data = datasets.digits()
    options.output.mkdir(parents=True, exist_ok=True)
    vaes: dict[str, list[tfvae.VAE]] = {}
    found: dict[str, dict[str, np.ndarray]] = {}
    for name in (PRIORS[0], *options.priors):
        start = time.perf_counter()
        vaes[name], scores = [], []
        for seed in range(options.seeds):
            vae = build_vae(build_prior(name, data.x_train), options.hidden, seed)
            train(vae, data, options.epochs)
            scores.append(score(vae, data.x_test, options.num_samples, seed))
            vaes[name].append(vae)
        found[name] = stacked(scores)
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    # Before the priors of the first models are replaced.
    picture = draw_priors({name: each[0] for name, each in vaes.items()}, data.x_test, 0)
    picture.savefig(options.output / "priors.png", dpi=200)

    gains, scores = [], []
    for seed, vae in enumerate(vaes[PRIORS[0]]):
        gain = vae.fit_prior(
            build_prior(FITTED_LATER, data.x_train),
            data.x_train,
            validation_data=data.x_test,
            epochs=options.prior_epochs,
            optimizer=keras.optimizers.Adam(1e-2),
            seed=seed,
        )
        gains.append(gain.nats)
        scores.append(score(vae, data.x_test, options.num_samples, seed))
    found["replaced later"] = stacked(scores)
    rows = [row(name, each, found[PRIORS[0]]) for name, each in found.items()]
    title = f"{len(data.x_test)} held-out digits, {options.seeds} trainings each, nats per digit"
    heads = ["prior", "log p(x)", f"over {PRIORS[0]}", "rate", "= MI", "+ KL"]
    print(render_table(title, heads, rows))
    print(f"Replaced later, N(0, I) by {FITTED_LATER}: the ELBO gains {np.mean(gains):.2f} nats;")
    print("encoder and decoder stay.")
    print(f"Priors and posteriors: {options.output / 'priors.png'}")


if __name__ == "__main__":
    main()
