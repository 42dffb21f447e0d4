"""What does a better prior buy, and what does it look like?

Trains the same encoder and decoder, with a latent z of two dimensions, on the 1,000 training digits
that come with scikit-learn, 8 x 8 binary pixels each, under six priors p(z):

    StandardNormal          N(0, I), learns nothing
    GaussianMixture         ten Gaussians
    VampPrior               the mean of the posteriors q(z|u) of fifty learned digits u
    RealNVP                 a flow of affine couplings
    MaskedAutoregressive    a flow that maps one dimension after the other
    NeuralSpline            a flow of monotone splines

Prints the log-likelihood of held-out digits, its difference to that of the standard normal on the
same digits, and the rate with its two parts: the mutual information of x and z (MI), and the
marginal KL from the aggregated posterior to the prior. Standard errors are over the digits: each
model is trained once, and another `--seed` moves the numbers too. The last row is the model of the
standard normal, whose prior alone is replaced after training: that gains the marginal KL at most.

The picture shows log p(z) of the six, with draws z ~ q(z|x). In two dimensions RealNVP and
MaskedAutoregressive differ by little: a transform of either maps one z given the other. The
spline only bends what lies in [-5, 5], and the posteriors stay in there.

    python examples/priors.py
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    vae.compile(keras.optimizers.Adam(5e-3))
    best = tfvae.callbacks.EarlyStopping(patience=epochs)
    vae.fit(
        data.x_train,
        epochs=epochs,
        batch_size=50,
        validation_data=(data.x_valid,),
        callbacks=[best],
        verbose=0,
    )


def score(
    vae: tfvae.VAE, x: np.ndarray, num_samples: int, seed: int
) -> tuple[Estimate, tfvae.evaluation.Decomposition]:
    """Returns log p(x) of `x` `[N, 8, 8, 1]`, and the ledger of its ELBO, nats."""
    evidence = tfvae.log_likelihood(vae, x, num_samples, seed=seed, verbose=False)
    ledger = tfvae.decompose(vae, x, num_samples=20, evidence_samples=1, seed=seed, verbose=False)
    return evidence, ledger


def row(
    name: str,
    evidence: Estimate,
    baseline: Estimate | None,
    ledger: tfvae.evaluation.Decomposition,
) -> list[str]:
    """Returns a row of the table; the difference to `baseline` is paired over the points."""
    difference = ""
    if baseline is not None:
        gain = evidence.minus(baseline)
        difference = f"{gain.mean:+.2f} ± {gain.standard_error:.2f}"
    parts = (ledger.rate, ledger.mutual_information, ledger.marginal_kl)
    mean = f"{evidence.mean:.2f} ± {evidence.standard_error:.2f}"
    return [name, mean, difference, *(f"{part.mean:.2f}" for part in parts)]


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
    add("--priors", nargs="+", choices=PRIORS[1:], default=PRIORS[1:], help="beside N(0, I)")
    add("--epochs", type=int, default=80, help="epochs; the best by validation is kept")
    add("--prior-epochs", type=int, default=40, help="epochs of the prior that is fitted later")
    add("--hidden", type=int, default=128, help="units of the hidden layers")
    add("--num-samples", type=int, default=500, help="draws per digit for the log-likelihood")
    add("--seed", type=int, default=0, help="of weights, training and evaluation")
    add("--output", type=Path, default=Path("outputs/priors"), help="folder of the picture")
    return parser.parse_args(arguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the example."""
    options = parse(sys.argv[1:] if argv is None else list(argv))
    data = datasets.digits()
    options.output.mkdir(parents=True, exist_ok=True)
    vaes: dict[str, tfvae.VAE] = {}
    rows = []
    baseline = None
    for name in (PRIORS[0], *options.priors):
        start = time.perf_counter()
        vae = build_vae(build_prior(name, data.x_train), options.hidden, options.seed)
        train(vae, data, options.epochs)
        evidence, ledger = score(vae, data.x_test, options.num_samples, options.seed)
        rows.append(row(name, evidence, baseline, ledger))
        baseline = evidence if baseline is None else baseline
        vaes[name] = vae
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    # Before the prior of the first model is replaced.
    draw_priors(vaes, data.x_test, options.seed).savefig(options.output / "priors.png", dpi=200)

    vae = vaes[PRIORS[0]]
    gain = vae.fit_prior(
        build_prior(FITTED_LATER, data.x_train),
        data.x_train,
        validation_data=data.x_test,
        epochs=options.prior_epochs,
        optimizer=keras.optimizers.Adam(1e-2),
        seed=options.seed,
    )
    evidence, ledger = score(vae, data.x_test, options.num_samples, options.seed)
    rows.append(row("replaced later", evidence, baseline, ledger))
    title = f"{len(data.x_test)} held-out digits, nats per digit"
    heads = ["prior", "log p(x)", "gained", "rate", "= MI", "+ KL"]
    print(render_table(title, heads, rows))
    print(f"Replaced later, N(0, I) by {FITTED_LATER}: the ELBO gains")
    print(f"{gain.nats:.2f} ± {gain.standard_error:.2f} nats; encoder and decoder stay.")
    print(f"Priors and posteriors: {options.output / 'priors.png'}")


if __name__ == "__main__":
    main()
