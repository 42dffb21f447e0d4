"""How sure is a prediction, and is it as sure as it says?

Predicts the progress of diabetes a year later from ten measurements of 442 patients, which come
with scikit-learn, by networks from inputs to a distribution:

    equal      a Gaussian whose deviation is the same for all patients
    own        a Gaussian with a deviation for each patient
    stock      the same network under stock Keras: `compile(loss=NegativeLogLikelihood())`
    linear     scikit-learn's `BayesianRidge`, from outside

For each: log p(y|x) of held-out patients in nats, the paired difference to the linear model, the
root mean square error of the mean, and how many of the targets lie within the intervals that ought
to hold 90 %. Each network is trained with several seeds on the same rows; errors cover patients and
seeds. Draws predictions with their intervals.

    python examples/regression.py
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
from sklearn.datasets import load_diabetes
from sklearn.linear_model import BayesianRidge

import tfvae
from tfvae import layers, networks
from tfvae.evaluation import Estimate, render_table

KINDS = ("equal", "own", "stock")
LINEAR = "linear"


def load() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns inputs `[N, 10]` of unit scale and targets `[N, 1]` of each part of the data."""
    x, y = load_diabetes(return_X_y=True)
    x = (x / x.std(axis=0)).astype("float32")
    order = np.random.default_rng(0).permutation(len(x))
    parts = dict(zip(("train", "valid", "test"), np.split(order, [250, 300]), strict=True))
    return {name: (x[rows], y[rows, None].astype("float32")) for name, rows in parts.items()}


@keras.saving.register_keras_serializable("examples")
class OneScale(keras.layers.Layer):
    """Puts one raw scale, a weight, beside the loc of each example."""

    def build(self, input_shape: Any) -> None:
        """Makes the weight."""
        self.raw = self.add_weight(shape=(1, 1), initializer="zeros", name="raw")

    def call(self, loc: Any) -> Any:
        """Returns `[B, 2]`."""
        return keras.ops.concatenate([loc, keras.ops.zeros_like(loc) + self.raw], axis=-1)


def network(kind: str, targets: np.ndarray, hidden: int) -> keras.Model:
    """Returns a network from inputs to p(y|x), which starts at the mean of the targets."""
    head = layers.Adapted(layers.IndependentNormal(1), targets)
    last = [keras.layers.Dense(1), OneScale()] if kind == "equal" else [keras.layers.Dense(2)]
    body = [keras.layers.Dense(hidden, "tanh"), keras.layers.Dropout(0.2)]
    return networks.functional({"inputs": 10}, *body, *last, head)


def fit(kind: str, data: dict[str, Any], options: Any, seed: int) -> Any:
    """Returns a trained model, whose call gives p(y|x)."""
    keras.utils.set_random_seed(seed)
    made = network(kind, data["train"][1], options.hidden)
    optimizer = keras.optimizers.Adam(5e-3)
    best = tfvae.callbacks.EarlyStopping("val_loss", patience=20)
    settings = {"epochs": options.epochs, "batch_size": 50, "callbacks": [best], "verbose": 0}
    if kind == "stock":
        made.compile(optimizer, loss=tfvae.NegativeLogLikelihood())
        made.fit(*data["train"], validation_data=data["valid"], **settings)
        return made
    model = tfvae.ConditionalModel(made, seed=seed)
    # XLA would take longer to compile than so short a run can gain.
    model.compile(optimizer, jit_compile=False)
    model.fit(*data["train"], validation_data=data["valid"], **settings)
    return model


def score(mean: np.ndarray, stddev: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Returns log p(y|x), the squared error and whether y lies within 90 %, each `[N]`."""
    within = np.abs(y - mean) < stats.norm.ppf(0.95) * stddev
    log_p = stats.norm.logpdf(y, mean, stddev)
    return {"log_p": log_p, "square": (y - mean) ** 2, "within": within.astype(float)}


def draw(means: np.ndarray, deviations: np.ndarray, y: np.ndarray, path: Path) -> None:
    """Writes the picture: targets in the order of their prediction, with its interval."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 3.2), layout="constrained")
    axes = figure.subplots()
    order = np.argsort(means)
    place, reach = np.arange(len(order)), stats.norm.ppf(0.95) * deviations[order]
    low, high = means[order] - reach, means[order] + reach
    axes.fill_between(place, low, high, color="#c9d7e8", linewidth=0, label="90 % interval")
    axes.plot(place, means[order], color="#1f4e79", linewidth=1, label="mean")
    axes.scatter(place, y[order], s=8, c="#b03a10", linewidths=0, label="held-out patients")
    axes.set_xlabel("patients, by prediction")
    axes.set_ylabel("progress of the disease")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description="Predict with intervals, and check them.")
    add = parser.add_argument
    add("--epochs", type=int, default=200, help="most epochs; the best by validation is kept")
    add("--hidden", type=int, default=32, help="units of the hidden layer")
    add("--seeds", type=int, default=3, help="trainings of each network")
    add("--output", type=Path, default=Path("outputs/regression"), help="folder of the picture")
    return parser.parse_args(arguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the example."""
    options = parse(sys.argv[1:] if argv is None else list(argv))
    data = load()
    inputs, targets = data["test"]
    y = targets[:, 0].astype("float64")
    ridge = BayesianRidge().fit(data["train"][0], data["train"][1][:, 0])
    found: dict[str, list[dict[str, np.ndarray]]] = {
        LINEAR: [score(*ridge.predict(inputs, return_std=True), y)] * options.seeds
    }
    for kind in KINDS:
        found[kind] = []
        for seed in range(options.seeds):
            p_y = fit(kind, data, options, seed)(inputs)
            mean, stddev = (np.asarray(part)[:, 0] for part in (p_y.mean(), p_y.stddev()))
            found[kind].append(score(mean, stddev, y))
            if kind == "own" and seed == 0:
                options.output.mkdir(parents=True, exist_ok=True)
                draw(mean, stddev, y, options.output / "intervals.png")
    rows = []
    for kind, scores in found.items():
        each = {name: np.stack([one[name] for one in scores]) for name in scores[0]}
        gain = Estimate.of_seeds(each["log_p"] - np.stack([s["log_p"] for s in found[LINEAR]]))
        over = "" if kind == LINEAR else f"{gain:+.3f}"
        cells = [f"{each['log_p'].mean():.3f}", over, f"{np.sqrt(each['square'].mean()):.1f}"]
        rows.append([kind, *cells, f"{each['within'].mean():.1%}"])
    title = f"{len(y)} held-out patients, {options.seeds} trainings of each network"
    heads = ["model", "log p(y|x), nats", "over linear", "error", "within 90 %"]
    print(render_table(title, heads, rows))
    print(f"Predictions and intervals: {options.output / 'intervals.png'}")


if __name__ == "__main__":
    main()
