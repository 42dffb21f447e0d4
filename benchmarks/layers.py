"""What do distribution layers cost beyond the bare tfp distribution, in densities and in draws?

For each family two functions under `tf.function` get the same parameters `[batch, P]`: one makes
the distribution by hand from `tfp.distributions`, the other calls the layer of `tfvae`. They take
turns in short blocks, and each round gives one ratio, layer over bare. Autoregressive likelihoods
are drawn from in turns with the naive loop, one whole pass of the network per dimension. Run it as

    python benchmarks/layers.py

Ratios are of medians within a round; below 1.1 a layer costs nothing that one would notice.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import paired
import tensorflow as tf
import tensorflow_probability as tfp
from rich import box
from rich.table import Table
from tqdm import tqdm

from tfvae import layers

tfd = tfp.distributions
softplus = tf.math.softplus

SIZE, RANK, COMPONENTS, LEVELS = 64, 4, 5, 8


def parts(params: Any, num: int) -> list[Any]:
    """Cuts the last axis into equal parts."""
    return tf.split(params, num, axis=-1)


def independent(family: Callable[..., Any], num_parts: int) -> Callable[[Any], Any]:
    """Returns the maker of independent elements of a family."""
    return lambda params: tfd.Independent(family(*parts(params, num_parts)), 1)


def low_rank(params: Any) -> Any:
    """Makes a Gaussian of diagonal plus low rank."""
    loc, raw, factor = tf.split(params, [SIZE, SIZE, SIZE * RANK], axis=-1)
    scale = softplus(raw) + 1e-5
    factor = tf.reshape(factor, [-1, SIZE, RANK]) * scale[..., None]
    return tfd.MultivariateNormalDiagPlusLowRankCovariance(loc, tf.square(scale), factor)


def tril(params: Any) -> Any:
    """Makes a Gaussian of full covariance."""
    loc, raw = params[..., :SIZE], params[..., SIZE:]
    fill = tfp.bijectors.FillScaleTriL(diag_shift=1e-5)
    return tfd.MultivariateNormalTriL(loc, fill(raw))


def mixture(params: Any) -> Any:
    """Makes a mixture of diagonal Gaussians."""
    logits = params[..., :COMPONENTS]
    rest = tf.reshape(params[..., COMPONENTS:], [-1, COMPONENTS, 2 * SIZE])
    loc, raw = parts(rest, 2)
    components = tfd.Independent(tfd.Normal(loc, softplus(raw) + 1e-5), 1)
    return tfd.MixtureSameFamily(tfd.Categorical(logits), components)


def directions(family: type) -> Callable[[Any], Any]:
    """Returns the maker of a distribution over unit vectors."""

    def make(params: Any) -> Any:
        direction = tf.linalg.l2_normalize(params[..., :-1], axis=-1)
        return family(direction, softplus(params[..., -1]) + 1e-3)

    return make


# By layer: its arguments, and the same distribution made by hand; None where TFP has none.
FAMILIES: dict[type, tuple[tuple[Any, ...], Callable[[Any], Any] | None]] = {
    layers.IndependentNormal: (
        (SIZE,),
        independent(lambda loc, raw: tfd.Normal(loc, softplus(raw) + 1e-5), 2),
    ),
    layers.IndependentLogistic: (
        (SIZE,),
        independent(lambda loc, raw: tfd.Logistic(loc, softplus(raw) + 1e-5), 2),
    ),
    layers.IndependentLaplace: (
        (SIZE,),
        independent(lambda loc, raw: tfd.Laplace(loc, softplus(raw) + 1e-5), 2),
    ),
    layers.IndependentStudentT: (
        (SIZE,),
        independent(
            lambda df, loc, raw: tfd.StudentT(softplus(df) + 2.0, loc, softplus(raw) + 1e-5), 3
        ),
    ),
    layers.IndependentLogNormal: (
        (SIZE,),
        independent(lambda loc, raw: tfd.LogNormal(loc, softplus(raw) + 1e-5), 2),
    ),
    layers.MultivariateNormalDiag: (
        (SIZE,),
        lambda p: tfd.MultivariateNormalDiag(p[..., :SIZE], softplus(p[..., SIZE:]) + 1e-5),
    ),
    layers.MultivariateNormalTriL: ((SIZE,), tril),
    layers.MultivariateNormalLowRank: ((SIZE, RANK), low_rank),
    layers.MixtureNormal: ((COMPONENTS, SIZE), mixture),
    layers.IndependentBernoulli: (
        (SIZE,),
        independent(lambda logits: tfd.Bernoulli(logits, dtype=tf.float32), 1),
    ),
    layers.ContinuousBernoulli: ((SIZE,), independent(tfd.ContinuousBernoulli, 1)),
    layers.IndependentBeta: (
        (SIZE,),
        independent(lambda a, b: tfd.Beta(softplus(a) + 1e-3, softplus(b) + 1e-3), 2),
    ),
    layers.OneHotCategorical: (
        (SIZE,),
        lambda p: tfd.OneHotCategorical(p, dtype=tf.float32),
    ),
    layers.IndependentCategorical: (
        (SIZE, LEVELS),
        lambda p: tfd.Independent(
            tfd.Categorical(tf.reshape(p, [-1, SIZE, LEVELS]), dtype=tf.float32), 1
        ),
    ),
    layers.IndependentPoisson: (
        (SIZE,),
        independent(lambda log_rate: tfd.Poisson(log_rate=log_rate), 1),
    ),
    layers.IndependentNegativeBinomial: (
        (SIZE,),
        independent(
            lambda raw, logits: tfd.NegativeBinomial(softplus(raw) + 1e-3, logits=logits), 2
        ),
    ),
    layers.RelaxedBernoulli: (
        (SIZE,),
        independent(lambda logits: tfd.RelaxedBernoulli(0.5, logits=logits), 1),
    ),
    layers.RelaxedOneHotCategorical: (
        (SIZE,),
        lambda p: tfd.RelaxedOneHotCategorical(0.5, logits=p),
    ),
    layers.VonMisesFisher: ((SIZE,), directions(tfd.VonMisesFisher)),
    layers.PowerSpherical: ((SIZE,), directions(tfd.PowerSpherical)),
    layers.DiscretizedLogistic: (
        (SIZE,),
        independent(
            lambda loc, raw: tfd.QuantizedDistribution(
                tfd.TransformedDistribution(
                    tfd.Logistic(loc, softplus(raw) + 1e-4),
                    tfp.bijectors.Chain([tfp.bijectors.Shift(-0.5), tfp.bijectors.Scale(255.0)]),
                ),
                low=0.0,
                high=255.0,
            ),
            2,
        ),
    ),
}


def seconds_of(call: Callable[[], Any], repeats: int) -> float:
    """Returns the seconds of one call, from `repeats` of them."""
    start = time.perf_counter()
    for _ in range(repeats):
        result = call()
    _ = result.numpy()
    return (time.perf_counter() - start) / repeats


def ratio(ours: Callable[[], Any], bare: Callable[[], Any], rounds: int, block: float) -> Any:
    """Returns `summarise` of seconds of `ours` over seconds of `bare`, in turns."""
    for call in (ours, bare):
        seconds_of(call, 3)
    repeats = max(3, int(block / seconds_of(bare, 3)))
    found = []
    for index in range(rounds):
        # Whoever comes first in a round may find the caches of the other.
        pair = (ours, bare) if index % 2 else (bare, ours)
        times = {call: seconds_of(call, repeats) for call in pair}
        found.append(times[ours] / times[bare])
    return {**paired.summarise(found), "bare_us": 1e6 * times[bare]}


def measure(layer: type, settings: argparse.Namespace) -> dict[str, Any]:
    """Returns the ratios of one family, for `log_prob` and `sample`, plain and compiled."""
    args, make = FAMILIES[layer]
    ours = layer(*args)
    rng = np.random.default_rng(0)
    params = tf.constant(rng.normal(size=(settings.batch, ours.params_size(*args))), tf.float32)
    x = tf.stop_gradient(ours(params).sample(seed=[0, 1]))
    bare_x = tf.round(x * 255.0) if layer is layers.DiscretizedLogistic else x
    calls = {
        "log_prob": (lambda p: ours(p).log_prob(x), lambda p: make(p).log_prob(bare_x)),
        "sample": (
            lambda p: ours(p).sample(seed=[1, 2]),
            lambda p: make(p).sample(seed=[1, 2]),
        ),
    }
    row: dict[str, Any] = {}
    for name, pair in calls.items():
        functions = [
            tf.function(f, autograph=False, jit_compile=settings.xla or None) for f in pair
        ]
        bound = [lambda f=f: f(params) for f in functions]
        row[name] = ratio(*bound, settings.rounds, settings.block)
    return row


# By name: what makes the layer of an event, and that event.
AUTOREGRESSIVE: dict[str, tuple[Callable[..., Any], Any]] = {
    "Autoregressive, 784 pixels": (layers.Autoregressive, 784),
    "PixelCNN, 14 x 14 pixels": (layers.PixelCNN, (14, 14, 1)),
    "PixelCNN, 28 x 28 pixels": (layers.PixelCNN, (28, 28, 1)),
}
CONTEXT = 16


def autoregressive(settings: argparse.Namespace) -> dict[str, Any]:
    """Returns seconds of the naive loop over seconds of the layer, for draws, by model."""
    context = tf.constant(
        np.random.default_rng(0).normal(size=(settings.draws, CONTEXT)), tf.float32
    )
    rows = {}
    for name, (layer, event) in AUTOREGRESSIVE.items():
        if settings.only and layer.__name__ not in settings.only:
            continue
        ours = layer(event, layers.IndependentBernoulli(), context_size=CONTEXT)
        drawn = tf.function(lambda c, ours=ours: ours(c).sample(seed=[1, 2]), autograph=False)
        # The same distribution without the layer's way of drawing: one pass per element.
        naive = tf.function(
            lambda c, ours=ours: ours.distribution(c).copy(sample_fn=None).sample(seed=[1, 2]),
            autograph=False,
        )
        calls = {"layer": lambda f=drawn: f(context), "naive": lambda f=naive: f(context)}
        for call in calls.values():
            seconds_of(call, 1)
        found = []
        for _ in range(min(3, settings.rounds)):
            seconds = {key: seconds_of(call, 1) for key, call in calls.items()}
            found.append(seconds["naive"] / seconds["layer"])
        rows[name] = paired.summarise(found)
    return rows


def to_table(result: dict[str, Any]) -> Table:
    """Returns the table of families."""
    title = "Time of a layer over that of the bare tfp distribution: median (min - max)"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("layer", no_wrap=True)
    for name in ("log_prob", "sample"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, row in result["families"].items():
        cells = [
            f"{row[key]['median']:.2f} ({row[key]['min']:.2f} - {row[key]['max']:.2f})"
            for key in ("log_prob", "sample")
        ]
        table.add_row(name, *cells)
    return table


def to_loop_table(result: dict[str, Any]) -> Table:
    """Returns the table of autoregressive layers."""
    table = Table(
        title="Time of a draw by the naive loop over that of the layer",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("layer", no_wrap=True)
    table.add_column("median (min - max)", justify="right", no_wrap=True)
    for name, row in result["autoregressive"].items():
        table.add_row(name, f"{row['median']:.1f} ({row['min']:.1f} - {row['max']:.1f})")
    return table


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measures, prints the tables, and returns the result."""
    parser = paired.parser_of(__doc__)
    parser.add_argument("--batch", type=int, default=500, help="rows of parameters")
    parser.add_argument("--rounds", type=int, default=7, help="ratios per family")
    parser.add_argument("--block", type=float, default=0.1, help="seconds of a turn")
    parser.add_argument("--draws", type=int, default=16, help="images drawn at once")
    parser.add_argument("--xla", action="store_true", help="compile with XLA")
    parser.add_argument("--only", nargs="*", help="names of layers")
    settings = parser.parse_args(arguments)
    chosen = [cls for cls in FAMILIES if not settings.only or cls.__name__ in settings.only]
    families = {}
    for cls in tqdm(chosen, unit=" families"):
        families[cls.__name__] = measure(cls, settings)
    result = {
        **paired.circumstances(settings),
        "families": families,
        "autoregressive": autoregressive(settings),
    }
    paired.print_table(to_table(result))
    medians = [row[key]["median"] for row in families.values() for key in row]
    if medians:
        print(f"median of all: {statistics.median(medians):.2f}, worst: {max(medians):.2f}")
    if result["autoregressive"]:
        paired.print_table(to_loop_table(result))
    return paired.written(result, settings)


if __name__ == "__main__":
    main()
