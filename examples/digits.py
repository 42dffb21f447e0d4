"""How well does a small VAE model handwritten digits, and does its export say the same?

Trains on the 1,000 training digits that come with scikit-learn, 8 x 8 binary pixels each, keeps
the weights of the best validation ELBO, and then answers with numbers on held-out digits: the
ledger of the ELBO, the log-likelihood with its standard error, and the largest difference between
the model and its export, reloaded with TensorFlow alone.

    python examples/digits.py

With `--report digits.html` all of it is written on one page, for any browser. Pictures go to
`outputs/digits`, the export to `saved_models/digits/1`; `serve_digits.py` uses it.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _quiet  # noqa: F401  # before all that imports TensorFlow

# isort: split
import keras
import numpy as np
import tensorflow as tf

import tfvae
from tfvae import datasets, plots

IMAGE = (8, 8, 1)
# What the recorded scores of an export are computed from: enough to see any change of a weight.
NUM_SCORED, SCORE_SAMPLES, SCORE_SEED = 16, 100, (20, 26)


def build_vae(num_latents: int, hidden: int, seed: int) -> tfvae.VAE:
    """Returns q(z|x) a diagonal Gaussian, p(x|z) a Bernoulli per pixel, p(z) = N(0, I)."""
    keras.utils.set_random_seed(seed)
    posterior = tfvae.layers.MultivariateNormalDiag
    likelihood = tfvae.layers.IndependentBernoulli
    encoder = keras.Sequential(
        [
            keras.Input(IMAGE),
            tfvae.networks.gated_mlp([hidden]),
            keras.layers.Dense(posterior.params_size(num_latents)),
            posterior(num_latents),
        ],
        name="encoder",
    )
    decoder = keras.Sequential(
        [
            keras.Input((num_latents,)),
            tfvae.networks.gated_mlp([hidden]),
            keras.layers.Dense(likelihood.params_size(IMAGE)),
            likelihood(IMAGE),
        ],
        name="decoder",
    )
    return tfvae.VAE(encoder, decoder, seed=seed)


def train(vae: tfvae.VAE, data: datasets.Dataset, epochs: int) -> keras.callbacks.History:
    """Fits `vae` and leaves it with the weights of the best validation ELBO."""
    vae.compile(keras.optimizers.Adam(2e-3))
    stop = tfvae.callbacks.EarlyStopping(patience=50)
    return vae.fit(
        data.x_train,
        epochs=epochs,
        batch_size=50,
        validation_data=(data.x_valid,),
        callbacks=[stop, tfvae.callbacks.ProgressBar()],
        verbose=0,  # one bar for all epochs in place of Keras's one for each
    )


def write_for_browsers(vae: tfvae.VAE, data: datasets.Dataset, folder: Path) -> None:
    """Writes ONNX files for `examples/serving/explorer`, and what the page shows of the data."""
    vae.export_onnx(folder, signatures=["portable_encode", "portable_decode"])
    z = vae.encode(data.x_test).mean().numpy()
    spread = z.std(axis=0)
    shown = {
        "image": IMAGE[:2],
        "spread": [round(float(each), 4) for each in spread],
        "points": [[round(float(number), 3) for number in row] for row in z[:300]],
        "labels": [int(label) for label in data.y_test[:300]],
    }
    (folder / "latents.json").write_text(json.dumps(shown) + "\n")
    print(f"  {folder / 'latents.json'}")


def independent_pixels(data: datasets.Dataset) -> float:
    """Returns the mean log p(x) `x_test` gets from pixels that know nothing of each other, nats."""
    p = (np.sum(data.x_train, axis=0) + 1.0) / (len(data.x_train) + 2.0)
    log_p_x = np.log(np.where(data.x_test > 0.5, p, 1.0 - p)).sum(axis=(1, 2, 3))
    return float(np.mean(log_p_x))


def draw(
    vae: tfvae.VAE, data: datasets.Dataset, history: keras.callbacks.History, folder: Path
) -> None:
    """Writes the four pictures into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "training_curves": plots.training_curves(history),
        "reconstructions": plots.reconstructions(vae, data.x_test),
        "samples": plots.samples(vae, 64, seed=0),
        "latent_space": plots.latent_space(vae, data.x_test, data.y_test),
    }
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=200)
        print(f"  {folder / name}.png")


def compare(vae: tfvae.VAE, folder: Path, x: np.ndarray) -> dict[str, float]:
    """Returns the largest differences between `vae` and its export, reloaded, on `x`."""
    served = tf.saved_model.load(str(folder)).signatures
    x_tensor = tf.constant(x)
    seed = tf.constant(SCORE_SEED, tf.int32)
    encoded = served["encode"](x=x_tensor)
    reconstruction = served["serving_default"](x=x_tensor)["reconstruction"]
    elbo = served["elbo"](x=x_tensor, num_samples=tf.constant(10), seed=seed)["elbo"]
    q_z = vae.encode(x)
    pairs = {
        "posterior means": (encoded["z_mean"], q_z.mean()),
        "posterior standard deviations": (encoded["z_stddev"], q_z.stddev()),
        "reconstructions": (reconstruction, vae.reconstruct(x)),
        "ELBO of one seed": (elbo, vae.terms(x_tensor, 10, seed).elbo),
    }
    return {name: float(np.max(np.abs(a - b))) for name, (a, b) in pairs.items()}


def score(folder: Path, x: np.ndarray) -> dict[str, Any]:
    """Returns what an export says of `x`, `[N, 8, 8, 1]`: per digit, in nats, with its seed."""
    served = tf.saved_model.load(str(folder)).signatures
    request = {
        "x": tf.constant(x),
        "num_samples": tf.constant(SCORE_SAMPLES),
        "seed": tf.constant(SCORE_SEED, tf.int32),
    }
    p = served["serving_default"](x=request["x"])["reconstruction"].numpy().astype(np.float64)
    log_p_x_given_mean = np.sum(np.log(np.where(x > 0.5, p, 1.0 - p)), axis=(1, 2, 3))
    columns = {
        "log_p_x_given_z_mean": log_p_x_given_mean,  # draws nothing at random
        "elbo": served["elbo"](**request)["elbo"].numpy(),
        "log_prob": served["log_prob"](**request)["log_prob"].numpy(),
    }
    return {
        "num_points": len(x),
        "num_samples": SCORE_SAMPLES,
        "seed": list(SCORE_SEED),
        "mean": {name: round(float(np.mean(v)), 5) for name, v in columns.items()},
        "per_point": {name: [round(float(e), 5) for e in v] for name, v in columns.items()},
    }


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(
        description="Train a VAE on 8 x 8 digits, score it, draw it, export it, and reload it."
    )
    add = parser.add_argument
    add("--epochs", type=int, default=300, help="most epochs; stops when validation does not gain")
    add("--latents", type=int, default=32, help="size of z")
    add("--hidden", type=int, default=256, help="units of the hidden layers")
    add("--num-samples", type=int, default=1000, help="draws per digit for the log-likelihood")
    add("--seed", type=int, default=0, help="of weights, training and evaluation")
    add("--output", type=Path, default=Path("outputs/digits"), help="folder of the pictures")
    add("--report", type=Path, help="HTML file to write a report to")
    add("--export", type=Path, default=Path("saved_models/digits/1"), help="folder of the export")
    add("--onnx", type=Path, help="folder of ONNX files for a browser; needs the extra `onnx`")
    add("--scores", type=Path, help="JSON file to record the export's scores in, with their seed")
    return parser.parse_args(arguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the example."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    options = parse(arguments)
    data = datasets.digits()
    vae = build_vae(options.latents, options.hidden, options.seed)

    start = time.perf_counter()
    history = train(vae, data, options.epochs)
    best = 1 + int(np.argmax(history.history["val_elbo"]))
    seconds = time.perf_counter() - start
    print(f"\nTrained in {seconds:.0f} s; the weights are those of epoch {best}.\n")

    print(tfvae.decompose(vae, data.x_test))
    print()
    print(tfvae.log_likelihood(vae, data.x_test, options.num_samples, seed=options.seed))
    print(f"For comparison, independent pixels: log p(x) = {independent_pixels(data):.3f} nats")

    print("\nPictures:")
    draw(vae, data, history, options.output)
    if options.report is not None:
        page = tfvae.report(
            vae, data.x_test, options.report, history, labels=data.y_test, title="Digits"
        )
        print(f"  {page}")

    print()
    vae.export(options.export)
    print("\nLargest difference to the model, reloaded with `tf.saved_model.load`:")
    for name, difference in compare(vae, options.export, data.x_test).items():
        print(f"  {name:<30} {difference:.1e}")

    if options.onnx is not None:
        print("\nFor browsers:")
        write_for_browsers(vae, data, options.onnx)

    if options.scores is not None:
        record = {
            "command": shlex.join(["python", "examples/digits.py", *arguments]),
            "versions": {
                "python": platform.python_version(),
                "tfvae": tfvae.__version__,
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
            },
            **score(options.export, data.x_test[:NUM_SCORED]),
        }
        options.scores.write_text(json.dumps(record, indent=2) + "\n")
        print(f"\nScores of the export, on {NUM_SCORED} digits: {options.scores}")


if __name__ == "__main__":
    main()
