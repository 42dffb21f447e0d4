"""What do convolutions and a better prior buy for images of few pixels?

Models the digits that come with scikit-learn as they are scanned, 8 x 8 pixels of 17 levels of
grey, whose probabilities are counted in bits per pixel. Compares:

    pixels apart    the shares of the levels of each pixel: no z, no model of anything
    dense           a VAE of dense networks under N(0, I)
    conv            convolutions, and `layers.ImageParameters` as the head of the decoder
    conv, Vamp      the same under a `VampPrior` that starts from training digits

All decoders end in a `DiscretizedLogistic` that starts at the mean image (`layers.Adapted`). Each
model is trained with several seeds on the same digits; differences are paired over held-out
digits, errors cover digits and seeds. Draws reconstructions, new digits, and walks along the
three dimensions of z that vary most.

    python examples/images.py
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import _quiet  # noqa: F401  # before all that imports TensorFlow

# isort: split
import keras
import numpy as np
from sklearn.datasets import load_digits

import tfvae
from tfvae import latents, layers, networks, plots, priors
from tfvae.evaluation import Estimate, render_table

SHAPE, LEVELS, LATENTS = (8, 8, 1), 17, 10
KINDS = ("dense", "conv", "conv, Vamp")
APART = "pixels apart"
BITS = math.prod(SHAPE) * math.log(2.0)


def load() -> dict[str, np.ndarray]:
    """Returns images `[N, 8, 8, 1]` of values k / 16, as they come: held out are other writers."""
    x = (load_digits().images[..., None] / (LEVELS - 1)).astype("float32")
    return {"train": x[:1000], "valid": x[1000:1350], "test": x[1350:]}


def pixels_apart(x: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Returns log p of images `[N]`, nats, by the shares of the levels of each pixel."""
    values = np.arange(LEVELS) / (LEVELS - 1)
    shares = np.stack([(np.isclose(x, v).sum(axis=0) + 0.5) for v in values])
    log_p = np.log(shares / shares.sum(axis=0))  # [17, 8, 8, 1]
    which = np.rint(test * (LEVELS - 1)).astype(int)
    return np.take_along_axis(log_p, which, axis=0).sum(axis=(1, 2, 3))


def build_vae(kind: str, x: np.ndarray, seed: int) -> tfvae.VAE:
    """Returns one of `KINDS`."""
    keras.utils.set_random_seed(seed)
    posterior = layers.MultivariateNormalDiag(LATENTS)
    likelihood = layers.Adapted(layers.DiscretizedLogistic(SHAPE, levels=LEVELS), x)
    if kind == "dense":
        body = [networks.mlp([128])]
        back = [networks.mlp([128]), keras.layers.Dense(likelihood.num_params)]
    else:
        body = [networks.conv([16, 32])]
        maps = networks.conv_transpose([32, 16], image_shape=SHAPE)
        back = [maps, layers.ImageParameters(likelihood)]
    last = keras.layers.Dense(posterior.num_params)
    encoder = networks.functional({"x": SHAPE}, *body, last, posterior)
    decoder = networks.functional({"z": LATENTS}, *back, likelihood)
    prior = priors.VampPrior(pseudo_inputs=x[:100]) if "Vamp" in kind else None
    return tfvae.VAE(encoder, decoder, prior, seed=seed)


def draw(vae: tfvae.VAE, x: np.ndarray, folder: Path) -> None:
    """Writes the pictures: reconstructions, new digits, and walks along three dimensions."""
    folder.mkdir(parents=True, exist_ok=True)
    plots.reconstructions(vae, x).savefig(folder / "reconstructions.png", dpi=150)
    plots.samples(vae, 20, columns=10, seed=0).savefig(folder / "samples.png", dpi=150)
    codes = latents.codes(vae, x)
    walks = np.tile(codes.mean(axis=0), (3, 9, 1)).astype("float32")
    for row, k in enumerate(np.argsort(-codes.var(axis=0))[:3]):
        walks[row, :, k] = np.percentile(codes[:, k], np.linspace(1, 99, 9))
    means = vae.decode(walks.reshape(-1, LATENTS)).mean()
    plots.images(means, columns=9).savefig(folder / "walks.png", dpi=150)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description="Compare models of grey images.")
    add = parser.add_argument
    add("--kinds", nargs="+", choices=KINDS[1:], default=KINDS[1:], help="beside dense")
    add("--epochs", type=int, default=60, help="most epochs; the best by validation is kept")
    add("--num-samples", type=int, default=100, help="draws per image for log p(x)")
    add("--seeds", type=int, default=3, help="trainings of each model")
    add("--output", type=Path, default=Path("outputs/images"), help="folder of the pictures")
    return parser.parse_args(arguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the example."""
    options = parse(sys.argv[1:] if argv is None else list(argv))
    data = load()
    apart = pixels_apart(data["train"], data["test"])
    found: dict[str, list[np.ndarray]] = {APART: [apart] * options.seeds}
    for kind in (KINDS[0], *options.kinds):
        found[kind] = []
        for seed in range(options.seeds):
            vae = build_vae(kind, data["train"], seed)
            # XLA would take longer to compile than so short a run can gain.
            vae.compile(keras.optimizers.Adam(2e-3), jit_compile=False)
            best = tfvae.callbacks.EarlyStopping(patience=10)
            vae.fit(
                data["train"],
                epochs=options.epochs,
                batch_size=50,
                validation_data=(data["valid"],),
                callbacks=[best],
                verbose=0,
            )
            scored = tfvae.log_likelihood(vae, data["test"], options.num_samples, verbose=False)
            found[kind].append(scored.per_point.astype("float64"))
            if kind == options.kinds[-1] and seed == 0:
                draw(vae, data["test"], options.output)
    rows = []
    for kind, scores in found.items():
        gain = Estimate.of_seeds(np.stack(scores) - np.stack(found["dense"]))
        over = "" if kind == "dense" else f"{gain:+.2f}"
        rows.append([kind, f"{-np.mean(scores) / BITS:.3f}", f"{np.mean(scores):.2f}", over])
    title = f"{len(data['test'])} held-out digits, {options.seeds} trainings each"
    heads = ["model", "bits per pixel", "log p(x), nats", "over dense"]
    print(render_table(title, heads, rows))
    print(f"Reconstructions, samples and walks: {options.output}/*.png")


if __name__ == "__main__":
    main()
