"""Does a VAE fill gaps in a table, and notice strange rows, better than scikit-learn's own tools?

Two tables that come with scikit-learn, in several random splits:

- wine, 178 rows of 13 measurements and a category, the cultivar. A share of all entries is hidden
  in the training rows and in the held-out ones. `tfvae.impute` fills the latter, beside
  `SimpleImputer`, `KNNImputer` and `IterativeImputer` (for them, the cultivar is columns of zeros
  and ones, of which the largest counts; the last one fills each column from all others, or from
  8 of them drawn anew each round).
- breast cancer, 30 measurements. Models see benign tumours alone; the score of a row, -log p(x)
  for the VAE, shall be higher for malignant ones than for held-out benign ones. Beside it
  `IsolationForest` and `LocalOutlierFactor`.

Prints the root mean square error of the hidden measurements in units of their standard deviation,
the share of hidden cultivars that are right, and the area under the ROC curve of the scores: means
over the splits, and how far each is from the VAE on the same splits. Splits share rows, so that
their differences are closer to each other than those of new tables would be: the errors allow for
that (`Estimate.of_splits`).

    python examples/tabular.py

One picture goes to `outputs/tabular`: the scores, and the error of each measurement.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import _quiet  # noqa: F401  # before all that imports TensorFlow

# isort: split
import keras
import numpy as np

import tfvae
from tfvae import layers
from tfvae.evaluation import Estimate, render_table

CULTIVARS = 3
HELD_OUT = 1.0 / 3.0
IMPUTED, SCORED = "VAE, tfvae.impute", "VAE, -log p(x)"


def build_vae(columns: dict[str, Any], rows: np.ndarray, options: Any, seed: int) -> tfvae.VAE:
    """Returns a VAE of the table that `columns` describes, its input scaled by `rows` `[N, D]`."""
    keras.utils.set_random_seed(seed)
    likelihood = layers.Masked(layers.Heterogeneous(columns))
    features = layers.DataEncoder(columns)
    features.adapt(rows)
    posterior = layers.MultivariateNormalDiag
    encoder = keras.Sequential(
        [
            keras.Input((rows.shape[1],)),
            features,
            keras.layers.Dropout(0.1),
            keras.layers.Dense(options.hidden, "relu"),
            keras.layers.Dense(posterior.params_size(options.latents)),
            posterior(options.latents),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((options.latents,)),
            keras.layers.Dense(options.hidden, "relu"),
            keras.layers.Dropout(0.1),
            keras.layers.Dense(likelihood.params_size(likelihood.layer)),
            likelihood,
        ]
    )
    return tfvae.VAE(encoder, decoder, seed=seed)


def train(vae: tfvae.VAE, rows: np.ndarray, epochs: int, seed: int) -> None:
    """Fits `vae` to four fifths of `rows`, up to the epoch that is best for the others."""
    order = np.random.default_rng([seed, 1]).permutation(len(rows))
    valid, own = rows[order[: len(rows) // 5]], rows[order[len(rows) // 5 :]]
    # XLA would take longer to compile than so short a run can gain.
    objective = tfvae.objectives.ImportanceWeighted(10)
    vae.compile(keras.optimizers.Adam(3e-3), objective, jit_compile=False)
    best = tfvae.callbacks.EarlyStopping("val_loss", patience=max(10, epochs // 5))
    vae.fit(
        own,
        epochs=epochs,
        batch_size=32,
        validation_data=(valid,),
        callbacks=[best],
        verbose=0,
    )


def wine_columns() -> dict[str, Any]:
    """Returns what a row of the wine table is made of."""
    return {
        "measurements": layers.IndependentNormal(13, min_scale=0.1),
        "cultivar": layers.IndependentCategorical((), CULTIVARS),
    }


def spread(table: np.ndarray) -> np.ndarray:
    """Returns the table `[N, 13 + 1]` with columns for all cultivars but the last, NaN where it is.

    A column for the last one too would follow from the others, and linear regression of each
    column on the rest, by `IterativeImputer`, would learn that and nothing else.
    """
    cultivar = table[:, -1:]
    one_hot = np.where(np.isnan(cultivar), np.nan, cultivar == np.arange(CULTIVARS - 1))
    return np.concatenate([table[:, :-1], one_hot], axis=1)


def gathered(table: np.ndarray) -> np.ndarray:
    """Returns the table `[N, 13 + 2]` with the cultivar as a number again."""
    measurements, shares = np.split(table, [1 - CULTIVARS], axis=1)
    shares = np.concatenate([shares, 1.0 - shares.sum(axis=1, keepdims=True)], axis=1)
    return np.concatenate([measurements, shares.argmax(axis=1)[:, None]], axis=1)


def impute_wine(options: Any, seed: int) -> dict[str, tuple[np.ndarray, float]]:
    """Returns, by method, squared errors `[13]` of the hidden entries and the share that is right.

    Squared errors are means over the hidden entries of each measurement, in squared standard
    deviations of the training rows.
    """
    from sklearn.datasets import load_wine
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

    generator = np.random.default_rng(seed)
    x, y = load_wine(return_X_y=True)
    table = np.concatenate([x, y[:, None]], axis=1)[generator.permutation(len(x))]
    hidden = generator.random(table.shape) < options.missing
    num = round(len(table) * (1.0 - HELD_OUT))
    seen = np.where(hidden, np.nan, table)
    mean, scale = np.nanmean(seen[:num, :-1], axis=0), np.nanstd(seen[:num, :-1], axis=0)
    for each in (table, seen):
        each[:, :-1] = (each[:, :-1] - mean) / scale
    rows, held_out = seen[:num], seen[num:]

    vae = build_vae(wine_columns(), rows, options, seed)
    train(vae, rows.astype("float32"), options.epochs, seed)
    filled = tfvae.impute(
        vae, held_out.astype("float32"), options.num_samples, seed=seed, verbose=False
    )
    found = {IMPUTED: filled.x}
    for name, imputer in {
        "SimpleImputer": SimpleImputer(),
        "KNNImputer": KNNImputer(),
        "IterativeImputer": IterativeImputer(max_iter=30, tol=1e-2, random_state=seed),
        "  from 8 columns each": IterativeImputer(
            n_nearest_features=8, max_iter=30, tol=0.0, skip_complete=True, random_state=seed
        ),
    }.items():
        with warnings.catch_warnings(action="ignore"):  # all rounds are meant to be run
            found[name] = gathered(imputer.fit(spread(rows)).transform(spread(held_out)))

    asked, truth, scores = hidden[num:], table[num:], {}
    for name, values in found.items():
        squares = np.where(asked, np.square(values - truth), 0.0)[:, :-1].sum(axis=0)
        right = (values == truth)[asked[:, -1], -1]
        scores[name] = squares / asked[:, :-1].sum(axis=0), float(np.mean(right))
    return scores


def score_tumours(options: Any, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns, by method, scores `[N]` of held-out rows, and which of these are malignant."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import IsolationForest
    from sklearn.neighbors import LocalOutlierFactor

    generator = np.random.default_rng(seed)
    x, y = load_breast_cancer(return_X_y=True)
    benign = generator.permutation(np.flatnonzero(y == 1))
    rows, held_out = np.split(benign, [round(len(benign) * (1.0 - HELD_OUT))])
    tested = np.concatenate([held_out, np.flatnonzero(y == 0)])
    mean, scale = x[rows].mean(axis=0), x[rows].std(axis=0)
    x = ((x - mean) / scale).astype("float32")

    columns = {"measurements": layers.IndependentNormal(30, min_scale=0.1)}
    vae = build_vae(columns, x[rows], options, seed)
    train(vae, x[rows], options.epochs, seed)
    log_p_x = tfvae.log_likelihood(vae, x[tested], options.num_samples, seed=seed, verbose=False)
    found = {SCORED: -log_p_x.per_point}
    for name, detector in {
        "IsolationForest": IsolationForest(random_state=seed),
        "LocalOutlierFactor": LocalOutlierFactor(novelty=True),
    }.items():
        found[name] = -detector.fit(x[rows]).score_samples(x[tested])
    return found, y[tested] == 0


def by_method(splits: Sequence[dict[str, Any]], number: Callable[[Any], float]) -> dict[str, Any]:
    """Returns a number of each method's results, `[splits]`."""
    return {name: np.array([number(split[name]) for split in splits]) for name in splits[0]}


def against(numbers: dict[str, np.ndarray], name: str, form: str) -> list[str]:
    """Returns the mean of a method over splits, and its paired difference to the first."""
    first = next(iter(numbers))
    gain = Estimate.of_splits(numbers[name] - numbers[first], HELD_OUT)
    over = f"{gain:+{form}}" if len(numbers[name]) > 1 else f"{gain.mean:+{form}}"
    return [f"{numbers[name].mean():{form}}", "" if name == first else over]


def draw(
    errors: dict[str, np.ndarray], scores: np.ndarray, strange: np.ndarray, folder: Path
) -> Path:
    """Writes the picture: errors by method `[13]`, and scores of rows; returns the file."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from sklearn.datasets import load_wine

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    places = np.arange(13)
    for (name, values), marker in zip(errors.items(), "os^Dv", strict=True):
        left.plot(np.sqrt(values), places, marker, markersize=5, label=name.strip(), alpha=0.8)
    wine: Any = load_wine()
    left.set_yticks(places, [name.split("/")[0] for name in wine.feature_names])
    left.invert_yaxis()
    left.set_xlabel("error of hidden entries, standard deviations")
    left.set_title("wine: root mean square error by measurement", fontsize=10)
    left.grid(axis="y", alpha=0.3)
    left.legend(frameon=False, fontsize=8, loc="lower right")
    # Malignant rows lie far out: the axis is linear around the benign ones, logarithmic beyond.
    low, high = scores.min(), scores.max()
    bins = low - 1.0 + np.geomspace(1.0, high - low + 2.0, 40)
    for label, rows in (("benign", ~strange), ("malignant", strange)):
        right.hist(scores[rows] - low + 1.0, bins - low + 1.0, alpha=0.6, label=label)
    right.set_xscale("log")
    right.set_xlabel("-log p(x) above the least of all rows, nats, plus 1")
    right.set_ylabel("held-out rows")
    right.set_title("breast cancer: score of a model of benign tumours", fontsize=10)
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "tables.png", dpi=150)
    plt.close(figure)
    return folder / "tables.png"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description="Fill gaps and find strange rows in tables.")
    add = parser.add_argument
    add("--epochs", type=int, default=120, help="most epochs; the best by validation is kept")
    add("--latents", type=int, default=4, help="size of z")
    add("--hidden", type=int, default=64, help="units of the hidden layers")
    add("--missing", type=float, default=0.3, help="share of the entries of wine that are hidden")
    add("--num-samples", type=int, default=100, help="draws of z per row")
    add("--splits", type=int, default=8, help="random splits, each with models of its own")
    add("--seed", type=int, default=0, help="of the first split")
    add("--output", type=Path, default=Path("outputs/tabular"), help="folder of the picture")
    return parser.parse_args(arguments)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the example."""
    from sklearn.metrics import roc_auc_score

    options = parse(sys.argv[1:] if argv is None else list(argv))
    filled, areas = [], []
    for seed in range(options.seed, options.seed + options.splits):
        start = time.perf_counter()
        filled.append(impute_wine(options, seed))
        scores, strange = score_tumours(options, seed)
        areas.append({name: roc_auc_score(strange, found) for name, found in scores.items()})
        print(f"split {seed}: {time.perf_counter() - start:.0f} s", file=sys.stderr)

    errors = {name: np.mean([split[name][0] for split in filled], axis=0) for name in filled[0]}
    roots = by_method(filled, lambda found: np.sqrt(np.mean(found[0])))
    shares = by_method(filled, lambda found: found[1])
    rows = [
        [name, *against(roots, name, ".3f"), *against(shares, name, ".1%")] for name in filled[0]
    ]
    title = f"wine, {options.missing:.0%} of all entries hidden, {options.splits} splits"
    heads = ["method", "error, std", "over VAE", "right", "over VAE"]
    print(render_table(title, heads, rows))
    surfaces = by_method(areas, lambda found: found)
    rows = [[name, *against(surfaces, name, ".4f")] for name in areas[0]]
    title = f"malignant against benign, {options.splits} splits"
    print("\n" + render_table(title, ["method", "area under the ROC curve", "over VAE"], rows))
    picture = draw(errors, scores[SCORED], strange, options.output)
    print(f"\nThe errors, and the scores of the last split: {picture}")


if __name__ == "__main__":
    main()
