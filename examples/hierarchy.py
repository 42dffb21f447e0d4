"""What do more levels of latents buy, and which of them does a model use?

Trains the same networks on the 1,000 training digits that come with scikit-learn, 8 x 8 binary
pixels each, with one, two and three levels of latents, p(x|z_1) p(z_1|z_2) p(z_2|z_3) p(z_3), and
with posteriors that go up from the data or come down with the prior:

    bottom-up    q(z_1|x) q(z_2|z_1)
    top-down     q(z_2|x) q(z_1|x, z_2)
    VampPrior    top-down, under a mixture of posteriors q(z_2|u) in place of p(z_2) = N(0, I)
    ladder       q(z_l|x, z_l+1) proportional to q(z_l|x) p(z_l|z_l+1)

Prints the log-likelihood of held-out digits, and the rate level by level: a level whose rate is
zero says nothing of the data.

    python examples/hierarchy.py
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

import tfvae
from tfvae import datasets
from tfvae.evaluation import render_table

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
    vae.compile(keras.optimizers.Adam(2e-3), tfvae.objectives.ELBO(beta=warm_up))
    best = tfvae.callbacks.EarlyStopping(patience=epochs)
    vae.fit(
        data.x_train,
        epochs=epochs,
        batch_size=50,
        validation_data=(data.x_valid,),
        callbacks=[best],
        verbose=0,
    )


def score(vae: tfvae.HierarchicalVAE, x: np.ndarray, num_samples: int) -> dict[str, Any]:
    """Returns log p(x) of `x` `[N, 8, 8, 1]`, an `Estimate`, and the logged terms by name, nats."""
    evidence = tfvae.log_likelihood(vae, x, num_samples, verbose=False)
    logs = vae.evaluate(x, batch_size=len(x), verbose=0, return_dict=True)
    return {"log_p_x": evidence, **logs}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description="Compare one, two and three levels of latents.")
    add = parser.add_argument
    add("--epochs", type=int, default=60, help="epochs; the best by validation is kept")
    add("--hidden", type=int, default=128, help="units of the hidden layers")
    add("--num-samples", type=int, default=200, help="draws per digit for the log-likelihood")
    add("--kinds", nargs="+", choices=KINDS, default=KINDS, help="models to compare")
    add("--seed", type=int, default=0, help="of weights and training")
    return parser.parse_args(arguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the example."""
    options = parse(sys.argv[1:] if argv is None else list(argv))
    data = datasets.digits()
    rows = []
    for kind in options.kinds:
        start = time.perf_counter()
        vae = build_vae(kind, options.hidden, options.seed)
        train(vae, data, options.epochs)
        found = score(vae, data.x_test, options.num_samples)
        print(f"{kind}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
        evidence = found["log_p_x"]
        rates = [f"{found[f'rate_{n[2:]}']:.2f}" if n in vae.levels else "" for n in SIZES]
        mean = f"{evidence.mean:.2f} ± {evidence.standard_error:.2f}"
        rows.append([kind, mean, f"{found['elbo']:.2f}", f"{found['rate']:.2f}", *rates])
    title = f"{len(data.x_test)} held-out digits, nats per digit"
    heads = ["levels", "log p(x)", "ELBO", "rate", *(f"of {name}" for name in SIZES)]
    print(render_table(title, heads, rows))


if __name__ == "__main__":
    main()
