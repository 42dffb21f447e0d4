"""What do a few labels buy, and which clusters form without any?

Models the 1,000 training digits that come with scikit-learn, 8 x 8 binary pixels each, by a class
y and a style z, p(y) p(z|y) p(x|y, z) with the posterior q(y|x) q(z|x, y):

    no labels        y is latent: its ten states are summed over, and become clusters
    some labels      y is given for some digits and latent for the rest

Prints, for numbers of labels from none on, how many held-out digits q(y|x) gets right, and beside
it a baseline: the same network trained on the labelled digits alone, and k-means without labels.
Each is trained with several seeds, which also choose the labels; differences are paired over
digits, errors cover digits and seeds. Clusters have no names: each is matched with the class that
fits it best. The pictures show what the model of the first seed draws for each class.

    python examples/semi_supervised.py
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
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans

import tfvae
from tfvae import datasets, layers, networks, objectives, plots, priors
from tfvae.evaluation import Estimate, render_table

IMAGE = (8, 8, 1)
CLASSES = 10
LATENTS = 8
LABELS = (0, 20, 100)


def network(head: Any, hidden: int, **shapes: Sequence[int]) -> keras.Model:
    """Returns a network that reads the nodes of these names and shapes, to a distribution."""
    body = [keras.layers.Dense(hidden, "relu")] if hidden else []
    params = keras.layers.Dense(head.num_params)
    flat = (
        [keras.layers.Flatten()] if len(shapes) == 1 else []
    )  # several are flattened to be joined
    return networks.functional(shapes, *flat, *body, params, head)


def build_model(hidden: int, seed: int) -> tfvae.DirectedModel:
    """Returns p(y) p(z|y) p(x|y, z) with q(y|x) q(z|x, y), y a one-hot vector."""
    keras.utils.set_random_seed(seed)
    x, y, z = {"x": IMAGE}, {"y": (CLASSES,)}, {"z": (LATENTS,)}
    return tfvae.DirectedModel(
        generative={
            "y": priors.OneHot(learn_weights=False),
            "z": network(layers.MultivariateNormalDiag(LATENTS), 0, **y),
            "x": network(layers.IndependentBernoulli(IMAGE), hidden, **y, **z),
        },
        posterior={
            "y": network(layers.OneHotCategorical(CLASSES), hidden, **x),
            "z": network(layers.MultivariateNormalDiag(LATENTS), hidden, **x, **y),
        },
        partly_observed=["y"],
        seed=seed,
    )


def some_labels(y: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Returns labels `[N]` of equally many examples of each class, and -1 for all others."""
    rng = np.random.default_rng(seed)
    labels = np.full(len(y), -1)
    for label in range(CLASSES):
        rows = np.flatnonzero(y == label)
        labels[rng.choice(rows, min(number // CLASSES, len(rows)), replace=False)] = label
    return labels


def classifier_alone(
    data: datasets.Dataset, labels: np.ndarray, hidden: int, seed: int, epochs: int = 100
) -> np.ndarray:
    """Returns which digits `[N]` q(y|x) gets right, trained on what is labelled, nothing else."""
    keras.utils.set_random_seed(seed)
    model = tfvae.ConditionalModel(
        network(layers.OneHotCategorical(CLASSES), hidden, context=IMAGE), seed=seed
    )
    known = labels >= 0
    y = keras.ops.one_hot(labels[known], CLASSES)
    # XLA would take longer to compile than so short a run can gain.
    model.compile(keras.optimizers.Adam(2e-3), jit_compile=False)
    data_known = {"x": np.asarray(y), "context": data.x_train[known]}
    model.fit(data_known, epochs=epochs, batch_size=10, verbose=0)
    probs = model.p_x(tf.constant(data.x_test)).mean()
    return np.argmax(probs, axis=1) == data.y_test


def matched(found: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns which clusters `[N]` are right, each named after the class that fits it best."""
    table = np.zeros((CLASSES, CLASSES))
    np.add.at(table, (found, y), 1)
    clusters, classes = linear_sum_assignment(-table)
    return classes[np.argsort(clusters)][found] == y


def k_means(data: datasets.Dataset, seed: int) -> np.ndarray:
    """Returns which digits `[N]` the clusters of k-means get right."""
    means = KMeans(CLASSES, n_init=10, random_state=seed)
    means.fit(data.x_train.reshape(len(data.x_train), -1))
    return matched(means.predict(data.x_test.reshape(len(data.x_test), -1)), data.y_test)


def one_training(
    data: datasets.Dataset, number: int, options: Any, seed: int
) -> tuple[tfvae.DirectedModel, dict[str, np.ndarray]]:
    """Returns a model with so many labels, what it and the baseline get right, and log p(x)."""
    labels = some_labels(data.y_train, number, seed)
    model = build_model(options.hidden, seed)
    objective: Any = objectives.ELBO()
    if number:
        objective = objective + options.weight * objectives.Supervised()
    model.compile(keras.optimizers.Adam(2e-3), objective, jit_compile=False)
    train = {"x": data.x_train, "y": labels}
    model.fit(train, epochs=options.epochs, batch_size=50, verbose=0)
    found = np.argmax(model.posterior_networks[0](data.x_test).mean(), axis=1)
    evidence = tfvae.log_likelihood(model, data.x_test, options.num_samples, verbose=False)
    if number:
        right, baseline = found == data.y_test, classifier_alone(data, labels, options.hidden, seed)
    else:
        right, baseline = matched(found, data.y_test), k_means(data, seed)
    return model, {
        "right": right.astype("float64"),
        "baseline": baseline.astype("float64"),
        "log_p_x": evidence.per_point.astype("float64"),
    }


def draw_classes(model: tfvae.DirectedModel, columns: int, seed: int) -> np.ndarray:
    """Returns means of p(x|y, z), z ~ p(z|y): a row of digits for each y."""
    y = tf.repeat(tf.eye(CLASSES), columns, axis=0)
    z = model.generative_networks[1](y).sample(seed=(seed, 0))
    return model.generative_networks[2]([y, z]).mean().numpy()


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description="Cluster digits, and learn from a few labels.")
    add = parser.add_argument
    add("--labels", type=int, nargs="+", default=LABELS, help="numbers of labels to compare")
    add("--epochs", type=int, default=40, help="epochs of training")
    add("--hidden", type=int, default=128, help="units of the hidden layers")
    add("--weight", type=float, default=20.0, help="of the log-likelihood of the labels")
    add("--num-samples", type=int, default=50, help="draws per digit for the log-likelihood")
    add("--seeds", type=int, default=3, help="trainings of each, with labels of their own")
    add(
        "--output",
        type=Path,
        default=Path("outputs/semi_supervised"),
        help="folder of the pictures",
    )
    return parser.parse_args(arguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the example."""
    options = parse(sys.argv[1:] if argv is None else list(argv))
    data = datasets.digits()
    options.output.mkdir(parents=True, exist_ok=True)
    found: dict[int, dict[str, np.ndarray]] = {}
    for number in options.labels:
        start = time.perf_counter()
        trained = [one_training(data, number, options, seed) for seed in range(options.seeds)]
        found[number] = {name: np.stack([s[name] for _, s in trained]) for name in trained[0][1]}
        figure = plots.images(draw_classes(trained[0][0], 10, 0), columns=10)
        figure.savefig(options.output / f"classes_{number}_labels.png", dpi=150)
        print(f"{number} labels: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    rows = []
    for number, scores in found.items():
        cells = [f"{scores[name].mean():.1%}" for name in ("right", "baseline")]
        cells.append(f"{Estimate.of_seeds(scores['right'] - scores['baseline']):+.1%}")
        gain = Estimate.of_seeds(scores["log_p_x"] - found[options.labels[0]]["log_p_x"])
        cells += [f"{scores['log_p_x'].mean():.2f}", f"{gain:+.2f}" if rows else ""]
        rows.append([str(number), *cells])
    title = f"{len(data.x_test)} held-out digits, {options.seeds} trainings of each; nats"
    over = f"over {options.labels[0]}"
    heads = ["labels", "right", "baseline", "over it", "log p(x)", over]
    print(render_table(title, heads, rows))
    print(f"Draws by class: {options.output}/classes_*_labels.png")


if __name__ == "__main__":
    main()
