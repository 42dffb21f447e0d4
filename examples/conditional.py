"""What does a model of digits gain by being told which digit it is?

Trains the same networks twice on the 1,000 training digits that come with scikit-learn, 8 x 8
binary pixels each: p(x), and p(x|c), whose encoder, decoder and prior read the label c. Prints

- the log-likelihood of held-out digits, log p(x) of the one against log p(x|c) of the other, and
  log p(x) = log sum_c p(x|c) p(c) of the other when it is not told;
- how many held-out digits Bayes' rule names right, argmax_c log p(x|c) + log p(c), beside p(c|x)
  learned as such by a network of the same size, and scikit-learn's `SVC`, from outside;
- the largest difference between the model and its export, reloaded with TensorFlow alone, which is
  served the label with each request.

Networks are trained with several seeds; differences are paired over digits, errors cover digits and
seeds.

    python examples/conditional.py

One row of drawn digits for each label goes to `outputs/conditional`, the export to
`saved_models/conditional/1`.
"""

from __future__ import annotations

import argparse
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
from sklearn.svm import SVC

import tfvae
from tfvae import datasets, layers, plots
from tfvae.evaluation import Estimate, render_table

IMAGE, LABELS, LATENTS = (8, 8, 1), 10, 16


def one_hot(labels: np.ndarray) -> np.ndarray:
    """Returns labels `[N]` as contexts `[N, 10]`."""
    return np.eye(LABELS, dtype="float32")[labels]


def network(inputs: dict[str, Sequence[int]], head: Any, hidden: int) -> keras.Model:
    """Returns a network that reads inputs of these names and shapes, to a distribution."""
    body = tfvae.networks.gated_mlp([hidden])
    params = keras.layers.Dense(head.num_params)
    return tfvae.networks.functional(inputs, body, keras.layers.Dropout(0.2), params, head)


def build_vae(conditional: bool, hidden: int, seed: int) -> tfvae.VAE:
    """Returns a model of p(x|c), or the same without c, under N(0, I)."""
    keras.utils.set_random_seed(seed)
    label = {"context": (LABELS,)} if conditional else {}
    prior = None
    if conditional:
        mapped = network(label, layers.MultivariateNormalDiag(LATENTS), hidden // 4)
        prior = tfvae.priors.Conditional(mapped)
    encoder = network({"x": IMAGE, **label}, layers.MultivariateNormalDiag(LATENTS), hidden)
    decoder = network({"z": (LATENTS,), **label}, layers.IndependentBernoulli(IMAGE), hidden)
    return tfvae.VAE(encoder, decoder, prior, seed=seed)


def build_classifier(hidden: int, seed: int) -> tfvae.ConditionalModel:
    """Returns p(c|x): labels are the data here, and the image is what they depend on."""
    keras.utils.set_random_seed(seed)
    head = layers.IndependentCategorical((), LABELS)
    return tfvae.ConditionalModel(network({"context": IMAGE}, head, hidden), seed=seed)


def train(model: Any, data: Any, validation: Any, epochs: int) -> None:
    """Fits a model and leaves it with the weights of the best validation ELBO."""
    # XLA would take longer to compile than so short a run can gain.
    model.compile(keras.optimizers.Adam(2e-3), jit_compile=False)
    best = tfvae.callbacks.EarlyStopping(patience=epochs)
    model.fit(
        data,
        epochs=epochs,
        batch_size=50,
        validation_data=(validation,),
        callbacks=[best],
        verbose=0,
    )


def evidence_of_labels(vae: tfvae.VAE, x: np.ndarray, num_samples: int) -> np.ndarray:
    """Returns log p(x|c) `[N, 10]` of images `[N, 8, 8, 1]` under each label, nats."""
    columns = []
    for label in range(LABELS):
        data = {"x": x, "context": one_hot(np.full(len(x), label))}
        found = tfvae.log_likelihood(vae, data, num_samples, seed=label, verbose=False)
        columns.append(found.per_point)
    return np.stack(columns, axis=1)


def compare(vae: tfvae.VAE, folder: Path, x: np.ndarray, context: np.ndarray) -> dict[str, float]:
    """Returns the largest differences between `vae` and its export, reloaded."""
    served = tf.saved_model.load(str(folder)).signatures
    seed, given = tf.constant([20, 26], tf.int32), tf.constant(context)
    request = {"x": tf.constant(x), "context": given}
    elbo = served["elbo"](**request, num_samples=tf.constant(10), seed=seed)["elbo"]
    drawn = served["generate"](context=given, seed=seed)["x"]
    q_z = vae.encode(x, context)
    pairs = {
        "posterior means": (served["encode"](**request)["z_mean"], q_z.mean()),
        "reconstructions": (
            served["serving_default"](**request)["reconstruction"],
            vae.reconstruct(x, context=context),
        ),
        "ELBO of one seed": (elbo, vae.terms(tf.constant(x), 10, seed, context=given).elbo),
        "digits of one seed": (drawn, vae.generate(len(x), seed, given)["x"]),
    }
    return {name: float(np.max(np.abs(a - b))) for name, (a, b) in pairs.items()}


def draw(vae: tfvae.VAE, folder: Path, columns: int = 12) -> Path:
    """Writes new digits, the means of p(x|z, c), one row for each label; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    context = one_hot(np.repeat(np.arange(LABELS), columns))
    drawn = vae.generate(len(context), vae.make_seed(0), tf.constant(context))["x_mean"]
    figure = plots.images(np.asarray(drawn), columns=columns)
    figure.savefig(folder / "labels.png", dpi=200)
    return folder / "labels.png"


def support_vectors(data: datasets.Dataset) -> np.ndarray:
    """Returns which held-out labels `[N]` scikit-learn's `SVC` gets right, as it comes."""
    flat = [x.reshape(len(x), -1) for x in (data.x_train, data.x_test)]
    return SVC().fit(flat[0], data.y_train).predict(flat[1]) == data.y_test


def one_training(data: datasets.Dataset, options: Any, seed: int) -> tuple[Any, dict[str, Any]]:
    """Returns the conditional model, and what it and the others score, each `[N]`."""
    label: dict[str, Any] = {
        name: getattr(data, f"y_{name}") for name in ("train", "valid", "test")
    }
    plain = build_vae(False, options.hidden, seed)
    train(plain, data.x_train, data.x_valid, options.epochs)
    conditional = build_vae(True, options.hidden, seed)
    train(
        conditional,
        {"x": data.x_train, "context": one_hot(label["train"])},
        {"x": data.x_valid, "context": one_hot(label["valid"])},
        options.epochs,
    )
    classifier = build_classifier(options.hidden, seed)
    train(
        classifier,
        {"x": label["train"].astype("float32"), "context": data.x_train},
        {"x": label["valid"].astype("float32"), "context": data.x_valid},
        options.epochs // 3 + 1,
    )
    x, y = data.x_test, label["test"]
    log_p_c = np.log(np.bincount(label["train"], minlength=LABELS) / len(label["train"]))
    log_p_x = tfvae.log_likelihood(plain, x, options.num_samples, seed=seed, verbose=False)
    log_p_x_given_c = evidence_of_labels(conditional, x, options.num_samples)
    log_joint = log_p_x_given_c + log_p_c
    return conditional, {
        "plain": log_p_x.per_point.astype("float64"),
        "told": log_p_x_given_c[np.arange(len(x)), y],
        "not told": np.logaddexp.reduce(log_joint, axis=1),
        "by Bayes": log_joint.argmax(axis=1) == y,
        "as such": np.asarray(classifier.p_x(x).distribution.logits).argmax(axis=1) == y,
    }


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description="Model digits with and without their labels.")
    add = parser.add_argument
    add("--epochs", type=int, default=60, help="epochs; the best by validation is kept")
    add("--hidden", type=int, default=128, help="units of the hidden layers")
    add("--num-samples", type=int, default=100, help="draws per digit for the log-likelihood")
    add("--seeds", type=int, default=3, help="trainings of each network")
    add("--output", type=Path, default=Path("outputs/conditional"), help="folder of the picture")
    add("--export", type=Path, default=Path("saved_models/conditional/1"), help="of the export")
    return parser.parse_args(arguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the example."""
    options = parse(sys.argv[1:] if argv is None else list(argv))
    data = datasets.digits()
    start = time.perf_counter()
    trained = [one_training(data, options, seed) for seed in range(options.seeds)]
    conditional = trained[0][0]
    found = {name: np.stack([each[name] for _, each in trained]) for name in trained[0][1]}
    found["SVC"] = np.tile(support_vectors(data), (options.seeds, 1))
    print(f"trained in {time.perf_counter() - start:.0f} s", file=sys.stderr)

    def nats(name: str) -> list[str]:
        gain = Estimate.of_seeds(found[name] - found["plain"])
        return [f"{found[name].mean():.2f}", "" if name == "plain" else f"{gain:+.2f}"]

    def right(name: str) -> list[str]:
        gain = Estimate.of_seeds(found[name].astype("float64") - found["SVC"])
        return [f"{found[name].mean():.1%}", "" if name == "SVC" else f"{gain:+.1%}"]

    table = [
        ["p(x)", *nats("plain"), "", ""],
        ["p(x|c), told c", *nats("told"), "", ""],
        ["p(x|c), not told", *nats("not told"), *right("by Bayes")],
        ["p(c|x)", "", "", *right("as such")],
        ["SVC", "", "", *right("SVC")],
    ]
    heads = ["model", "nats", "over p(x)", "right", "over SVC"]
    title = f"{len(data.x_test)} held-out digits, {options.seeds} trainings of each network"
    print(render_table(title, heads, table))

    print(f"\nNew digits, one row for each label: {draw(conditional, options.output)}")
    conditional.export(options.export, verbose=False)
    print(f"\nLargest difference between the model and {options.export}, reloaded:")
    contexts = one_hot(np.asarray(data.y_test))
    for name, difference in compare(conditional, options.export, data.x_test, contexts).items():
        print(f"  {name:<20} {difference:.1e}")


if __name__ == "__main__":
    main()
