"""What does it take to serve a trained VAE? TensorFlow and NumPy, and nothing else.

Loads an export of `digits.py` and calls its signatures: draw new digits, encode them, reconstruct
them, score them. Neither `tfvae` nor Keras nor TensorFlow Probability is imported. Every signature
that draws at random takes a seed, so the same request gets the same answer.

    python examples/serve_digits.py saved_models/digits_small/1
    python examples/serve_digits.py saved_models/digits_small/1 --digits my_digits.npy
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _quiet  # noqa: F401  # before all that imports TensorFlow
import numpy as np
import tensorflow as tf

_SHADES = " .:-=+*#%@"


def ascii_art(image: np.ndarray) -> list[str]:
    """Returns one line per row of an image `[H, W, 1]` in [0, 1], two characters per pixel."""
    levels = np.rint(np.clip(image[..., 0], 0.0, 1.0) * (len(_SHADES) - 1)).astype(int)
    return ["".join(_SHADES[level] * 2 for level in row) for row in levels]


def print_side_by_side(images: np.ndarray, title: str) -> None:
    """Prints images `[N, H, W, 1]` beside each other under a title."""
    pictures = [ascii_art(image) for image in images]
    print(f"\n{title}")
    print("\n".join("| " + " | ".join(rows) + " |" for rows in zip(*pictures, strict=True)))


def digits_from(path: Path, shape: Sequence[int]) -> np.ndarray:
    """Returns the digits of a .npy file as float32, `[N, *shape]`.

    Raises:
        ValueError: The array is of another shape, or holds values beside 0 and 1.
    """
    x = np.load(path, allow_pickle=False)
    if x.ndim < 1 or len(x) < 1 or x.size != len(x) * np.prod(shape):
        raise ValueError(
            f"'{path}' must hold digits of shape {[None, *shape]}. Received: {list(x.shape)}."
        )
    if not np.isin(x, (0, 1)).all():
        raise ValueError(
            f"'{path}' must hold the values 0 and 1. Received values from {x.min()} to {x.max()}. "
            "Binarise the data, for example `x > 0.5`."
        )
    return x.reshape(-1, *shape).astype(np.float32)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description="Use an exported VAE with TensorFlow alone.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("saved_models/digits_small/1"))
    parser.add_argument("--digits", type=Path, help=".npy file of binary digits, [N, 8, 8, 1]")
    parser.add_argument("--num-samples", type=int, default=1000, help="draws per score")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)

    loaded: Any = tf.saved_model.load(str(options.folder))
    call = loaded.signatures
    num_samples = tf.constant(options.num_samples)
    seed = tf.constant([options.seed, 0], tf.int32)
    print(f"{options.folder} serves:\n  {', '.join(sorted(call))}")

    new = call["generate"](num_samples=tf.constant(4), seed=seed)
    print_side_by_side(new["x_mean"].numpy(), "generate: means of p(x|z) at 4 draws of the prior")

    if options.digits is None:
        x = new["x"]
        source = "the digits just drawn"
    else:
        _, specs = call["encode"].structured_input_signature
        x = tf.constant(digits_from(options.digits, specs["x"].shape[1:]))
        source = f"the digits of {options.digits}"
    print_side_by_side(x[:4].numpy(), f"x: {source}")

    reconstruction = call["serving_default"](x=x)["reconstruction"]
    print_side_by_side(
        reconstruction[:4].numpy(), "reconstruct: means of p(x|z) at the mean of q(z|x)"
    )

    posterior = call["encode"](x=x)
    z_mean, z_stddev = posterior["z_mean"].numpy(), posterior["z_stddev"].numpy()
    print(f"\nencode: q(z|x) over {z_mean.shape[1]} latents; those it tells most about")
    for index, (mean, stddev) in enumerate(zip(z_mean[:4], z_stddev[:4], strict=True)):
        first = np.argsort(stddev)[:4]
        latents = "  ".join(f"z{k:<2d} {mean[k]:+.2f} ± {stddev[k]:.2f}" for k in first)
        print(f"  digit {index} {latents}")

    bound = call["elbo"](x=x, num_samples=num_samples, seed=seed)
    score = call["log_prob"](x=x, num_samples=num_samples, seed=seed)
    print(f"\nscore: in nats, {options.num_samples} samples per digit")
    print("             ELBO  distortion    rate  log p(x)  ± s.e.  effective samples")
    columns = [bound["elbo"], bound["distortion"], bound["rate"]]
    columns += [score["log_prob"], score["standard_error"], score["ess"]]
    for index, row in enumerate(np.stack(columns, axis=1)[:10]):
        print(
            "  digit {:<3d}{:8.2f}  {:10.2f}  {:6.2f}  {:8.2f}  {:6.2f}  {:17.1f}".format(
                index, *row
            )
        )
    print(f"  mean of {len(x)} digits: log p(x) = {np.mean(score['log_prob']):.2f}")


if __name__ == "__main__":
    main()
