"""What do a few labels buy, and which clusters form without any?

Models the 1,000 training digits that come with scikit-learn, 8 x 8 binary pixels each, by a class
y and a style z, p(y) p(z|y) p(x|y, z) with the posterior q(y|x) q(z|x, y):

    no labels        y is latent: its ten states are summed over, and become clusters
    some labels      y is given for some digits and latent for the rest

Prints, for numbers of labels from none on, how many held-out digits q(y|x) gets right, and beside
it a baseline: the same network trained on the labelled digits alone, and k-means without labels.
Clusters have no names: each is matched with the class that fits it best. The pictures show what
the model draws for each class.

    python examples/semi_supervised.py
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans

import tfvae
from tfvae import datasets, layers, networks, objectives, plots, priors
from tfvae.evaluation import render_table

IMAGE = (8, 8, 1)
CLASSES = 10
LATENTS = 8
LABELS = (0, 20, 50, 100)


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
    data: datasets.Dataset, labels: np.ndarray, hidden: int, seed: int, epochs: int = 200
) -> float:
    """Returns the accuracy of q(y|x), trained on what is labelled and nothing else."""
    keras.utils.set_random_seed(seed)
    model = tfvae.ConditionalModel(
        network(layers.OneHotCategorical(CLASSES), hidden, context=IMAGE), seed=seed
    )
    known = labels >= 0
    y = keras.ops.one_hot(labels[known], CLASSES)
    model.compile(keras.optimizers.Adam(2e-3))
    data_known = {"x": np.asarray(y), "context": data.x_train[known]}
    model.fit(data_known, epochs=epochs, batch_size=10, verbose=0)
    probs = model.p_x(tf.constant(data.x_test)).mean()
    return float(np.mean(np.argmax(probs, axis=1) == data.y_test))


def matched(found: np.ndarray, y: np.ndarray) -> float:
    """Returns the accuracy of clusters, each named after the class that fits it best."""
    table = np.zeros((CLASSES, CLASSES))
    np.add.at(table, (found, y), 1)
    return float(table[linear_sum_assignment(-table)].sum() / len(y))


def k_means(data: datasets.Dataset, seed: int) -> float:
    """Returns the accuracy of the clusters of k-means."""
    means = KMeans(CLASSES, n_init=10, random_state=seed)
    means.fit(data.x_train.reshape(len(data.x_train), -1))
    return matched(means.predict(data.x_test.reshape(len(data.x_test), -1)), data.y_test)


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
    add("--epochs", type=int, default=60, help="epochs of training")
    add("--hidden", type=int, default=128, help="units of the hidden layers")
    add("--weight", type=float, default=20.0, help="of the log-likelihood of the labels")
    add("--num-samples", type=int, default=100, help="draws per digit for the log-likelihood")
    add("--seed", type=int, default=0, help="of weights, training, and the choice of labels")
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
    rows = []
    for number in options.labels:
        start = time.perf_counter()
        labels = some_labels(data.y_train, number, options.seed)
        model = build_model(options.hidden, options.seed)
        objective: Any = objectives.ELBO()
        if number:
            objective = objective + options.weight * objectives.Supervised()
        model.compile(keras.optimizers.Adam(2e-3), objective)
        train = {"x": data.x_train, "y": labels}
        history = model.fit(train, epochs=options.epochs, batch_size=50, verbose=0).history
        found = model.predict(data.x_test, verbose=0)["y_mean"].argmax(axis=1)
        evidence = tfvae.log_likelihood(model, data.x_test, options.num_samples, verbose=False)
        if number:
            accuracy = float(np.mean(found == data.y_test))
            baseline = classifier_alone(data, labels, options.hidden, options.seed)
        else:
            accuracy, baseline = matched(found, data.y_test), k_means(data, options.seed)
        rates = [f"{history[name][-1]:.2f}" for name in ("rate_y", "rate_z")]
        mean = f"{evidence.mean:.2f} ± {evidence.standard_error:.2f}"
        rows.append([str(number), f"{accuracy:.1%}", f"{baseline:.1%}", mean, *rates])
        images = draw_classes(model, 10, options.seed)
        figure = plots.images(images, columns=10)
        figure.savefig(options.output / f"classes_{number}_labels.png", dpi=200)
        print(f"{number} labels: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    title = f"{len(data.x_test)} held-out digits; likelihoods in nats"
    heads = ["labels", "right", "baseline", "log p(x)", "rate of y", "rate of z"]
    print(render_table(title, heads, rows))
    print(f"Draws by class: {options.output}/classes_*_labels.png")


if __name__ == "__main__":
    main()
