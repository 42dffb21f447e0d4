"""Which parts go together? All posteriors x priors x objectives, cell by cell.

A cell is a tiny VAE of one posterior, prior and objective. It has to take two compiled steps to
finite weights, evaluate finitely and have a finite evidence; or to be refused by a sentence of the
package when it is made, compiled or first trained. All else fell through, and is printed.

Of each posterior and prior it compares the rate with the mean of log q(z|x) - log p(z) over other
draws, scored in 64 bits by distributions made anew of the same parameters, and the ELBO with the
evidence, which it must not exceed; of each objective, the rate that `evaluate` logs. Run it as

    python benchmarks/cells.py
    python benchmarks/cells.py --posteriors normal full --objectives elbo weighted
"""

from __future__ import annotations

import argparse
import collections
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import fuzz
import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from rich import box
from rich.console import Console
from rich.table import Table

import tfvae
from tfvae import flows, layers, objectives, priors

tfd = tfp.distributions

LATENTS, COLUMNS, ROWS, CONTEXT = 2, 4, 12, 3
DRAWS = 4000

EXTRA_POSTERIORS = {
    "normal family": lambda size: layers.MixtureSameFamily(2, layers.IndependentNormal(size)),
    "logistic mixture": lambda size: layers.MixtureLogistic(2, size),
    "masked": lambda size: layers.Masked(layers.IndependentNormal(size)),
    "adapted": lambda size: layers.Adapted(layers.IndependentNormal(size)),
    "autoregressive": lambda size: layers.Autoregressive(
        size, layers.IndependentNormal(), 3, hidden_units=[4]
    ),
    "autoregressive transform": lambda size: [
        layers.MultivariateNormalDiag(size),
        layers.AutoregressiveTransform(tfvae.networks.MADE(2, size, hidden_units=[4])),
    ],
    "autoregressive bits": lambda size: layers.Autoregressive(
        size, layers.IndependentBernoulli(), 3, hidden_units=[4]
    ),
    "pixels": lambda size: layers.PixelCNN(
        (1, size, 1), layers.IndependentNormal(), 3, filters=4, num_blocks=1
    ),
    "continuous bits": lambda size: layers.ContinuousBernoulli(size),
    "negative binomial": lambda size: layers.IndependentNegativeBinomial(size),
    "zero-inflated": lambda size: layers.ZeroInflatedPoisson(size),
    "zero-inflated nb": lambda size: layers.ZeroInflatedNegativeBinomial(size),
    "levels": lambda size: layers.DiscretizedLogistic(size, levels=4),
    "level mixture": lambda size: layers.MixtureOfDiscretizedLogistics(size, 2, levels=4),
    "one-hot mixture": lambda size: layers.CategoricalMixtureOfOneHotCategorical(size, 2),
    "table": lambda size: layers.Heterogeneous({"real": layers.IndependentNormal(size)}),
    "mixed table": lambda size: layers.Heterogeneous(
        {"real": layers.IndependentNormal(size - 1), "count": layers.IndependentPoisson()}
    ),
}
POSTERIORS: Mapping[str, Callable[[int], Any]] = {**fuzz.POSTERIORS, **EXTRA_POSTERIORS}

PRIORS: Mapping[str, Callable[[Callable[[], Any]], Any]] = {
    **fuzz.PRIORS,
    "flow on a mixture": lambda _: priors.FlowPrior(
        flows.RealNVP(2, [4]), priors.GaussianMixture(2)
    ),
    "bit sequence": lambda _: priors.Autoregressive(2, hidden_units=[4]),
    "sequence": lambda _: priors.Autoregressive(LATENTS, one_hot=True, hidden_units=[4]),
    "shares": lambda _: priors.Parametric(layers.IndependentBeta(LATENTS)),
    "bits": lambda _: priors.Parametric(layers.IndependentBernoulli(LATENTS)),
    "counts": lambda _: priors.Parametric(layers.IndependentPoisson(LATENTS)),
    "heavy tails": lambda _: priors.Parametric(layers.IndependentStudentT(LATENTS)),
    "conditional": lambda head: priors.Conditional(_network(head(), context=CONTEXT)),
}

EXTRA_OBJECTIVES = {
    "free bits": lambda _: objectives.FreeBits(0.1),
    "vimco": lambda n: objectives.ImportanceWeighted(max(n, 2), gradient=objectives.LeaveOneOut()),
    "groups": lambda _: objectives.ImportanceWeighted(4, groups=2),
    "encoder groups": lambda _: objectives.ImportanceWeighted(4, encoder_groups=2),
    "reweighted": lambda n: objectives.ReweightedWakeSleep(max(n, 2)),
    "tc weighted": lambda _: objectives.BetaTC(weights=objectives.MinibatchWeighted()),
    "supervised": lambda _: objectives.ELBO() + objectives.Supervised(),
    "sampled rate": lambda n: objectives.ELBO(analytic_kl=False, num_samples=n),
    "dip II": lambda n: objectives.DIPVAE(aggregated=True, num_samples=n),
    "rbf": lambda _: objectives.ELBO() + objectives.MMD(objectives.RBF()),
}
OBJECTIVES: Mapping[str, Callable[[int], Any]] = {**fuzz.OBJECTIVES, **EXTRA_OBJECTIVES}


class Cell(NamedTuple):
    """Names of the parts."""

    posterior: str
    prior: str
    objective: str


class Pair(NamedTuple):
    """A model, to be compiled with one objective after the other.

    Attributes:
        model: The model.
        data: What it trains on.
        start: Its weights.
        rate: Mean rate of the data at these weights, in nats; None where it has no mean.
        error: Standard error of the mean rate of one draw for each point.
    """

    model: Any
    data: Any
    start: list[np.ndarray]
    rate: float | None
    error: float


def pair_of(posterior: str, prior: str, eagerly: bool = False) -> Pair:
    """Returns the model of a posterior and a prior, whose numbers agree.

    Raises:
        fuzz.Fell: They do not.
        Exception: The parts do not fit each other.
    """
    keras.utils.set_random_seed(0)
    make = POSTERIORS[posterior]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, COLUMNS)).astype("float32")
    context = {"context": CONTEXT} if prior == "conditional" else {}
    data = {"x": x, "context": np.eye(CONTEXT, dtype="float32")[rng.integers(0, CONTEXT, ROWS)]}
    encoder = _network(make(LATENTS), x=COLUMNS, **context)
    event = encoder.output_shape[1:]
    z = keras.Input(event, name="z")
    head = layers.IndependentNormal(COLUMNS)
    p_x = head(keras.layers.Dense(2 * COLUMNS)(keras.layers.Flatten()(z)))
    made = PRIORS[prior](lambda: make(LATENTS))
    model = tfvae.VAE(encoder, keras.Model(z, p_x), made, seed=0)
    model.run_eagerly = eagerly
    given = data if context else x
    rate, error = _compared(model, given)
    return Pair(model, given, model.get_weights(), rate, error)


def _network(head: Any, **inputs: int) -> Any:
    """Returns a linear network from named inputs to the parameters of a layer, and that."""
    given = [keras.Input((width,), name=name) for name, width in inputs.items()]
    h = keras.layers.Concatenate()(given) if len(given) > 1 else given[0]
    heads = head if isinstance(head, list) else [head]
    made = keras.layers.Dense(fuzz._size(heads[0], LATENTS))(h)
    for layer in heads:
        made = layer(made)
    return keras.Model(given if len(given) > 1 else given[0], made)


def _compared(model: Any, data: Any) -> tuple[float | None, float]:
    """Checks rate and ELBO at the model's weights; returns the mean rate and its error.

    Raises:
        fuzz.Fell: The rate is not that of other draws, or the ELBO above the evidence.
    """
    given = data if isinstance(data, Mapping) else {"x": data}
    terms = model.terms(**given, num_samples=DRAWS, seed=1)
    q_z, p_z = terms.q_z, terms.p_z
    other = _tensor_of(q_z.sample(DRAWS, seed=[5, 6]))
    ratios = _doubled(q_z, other) - _doubled(p_z, other)  # [S, B]
    if not np.all(np.isfinite(ratios)):
        raise fuzz.Fell("log q(z|x) - log p(z) of draws is not finite")
    drawn = np.asarray(terms.log_q_z - terms.log_p_z, "float64")
    exact = terms.kl is not None or terms.log_weights is not None
    rate, points = np.asarray(terms.rate, "float64"), len(ratios[0])
    spread = ratios.std(axis=0)
    if np.any(np.abs(ratios - ratios.mean(axis=0)).max(axis=0) > 0.3 * np.sqrt(DRAWS) * spread):
        return None, 0.0  # One draw carries the mean: it has a tail too heavy to be compared.
    error = spread / np.sqrt(DRAWS)
    error = error if exact else np.hypot(error, drawn.std(axis=0) / np.sqrt(DRAWS))
    away = np.abs(ratios.mean(axis=0) - rate)
    if np.any(away > 5.0 * error + 1e-4 * (1.0 + np.abs(rate))) or np.abs(
        np.mean(ratios.mean(axis=0) - rate)
    ) > 4.0 * np.sqrt(np.sum(error**2)) / points + 1e-4 * (1.0 + np.abs(rate).mean()):
        raise fuzz.Fell(
            f"the rate is {rate.round(4)}, by other draws {ratios.mean(axis=0).round(4)} "
            f"with errors {error.round(4)}"
        )
    elbo, evidence = np.mean(terms.elbo), np.mean(terms.log_evidence)
    noise = 0.0 if terms.log_weights is not None else np.std(np.asarray(terms.log_w), axis=0)
    noise = np.sqrt(np.sum(np.square(noise)) / DRAWS) / points
    if elbo > evidence + 4.0 * noise + 1e-4 * (1.0 + abs(elbo)):
        raise fuzz.Fell(f"the ELBO {elbo} is above the evidence {evidence}")
    return float(rate.mean()), float(np.sqrt(np.sum(spread**2)) / points)


def _doubled(distribution: Any, z: tf.Tensor) -> np.ndarray:
    """Returns log densities in 64 bits, where a distribution can be made anew in them."""
    try:
        made = _made_anew(distribution)
        return np.asarray(made.log_prob(tf.cast(z, made.dtype)), "float64")
    except (TypeError, ValueError, NotImplementedError, AttributeError, tf.errors.OpError):
        return np.asarray(distribution.log_prob(z), "float64")


def _made_anew(value: Any) -> Any:
    """Returns the same with parameters of 64 bits, by the constructors of TFP where it is TFP's."""
    if isinstance(value, tf.DType):
        return tf.float64 if value.is_floating else value
    if tf.is_tensor(value) or isinstance(value, tf.Variable):
        return tf.cast(value, tf.float64) if value.dtype.is_floating else value
    if isinstance(value, np.ndarray):
        return value.astype("float64") if value.dtype.kind == "f" else value
    if isinstance(value, (list, tuple)):
        return type(value)(_made_anew(part) for part in value)
    if not isinstance(value, (tfd.Distribution, tfp.bijectors.Bijector)):
        return value
    if type(value).__module__ == "tfvae.distributions.open_support":
        raise NotImplementedError  # Its draws are held at ends that 64 bits have elsewhere.
    kind = next(base for base in type(value).__mro__ if "Coercible" not in base.__name__)
    given = {k: v for k, v in value.parameters.items() if k != "name"}
    return kind(**{name: _made_anew(part) for name, part in given.items()})


def _tensor_of(value: Any) -> tf.Tensor:
    return tf.convert_to_tensor(value)


@contextmanager
def watched(seconds: int) -> Iterator[None]:
    """Has what takes longer fall through."""

    def stop(*_: Any) -> None:
        raise fuzz.Fell(f"did not come back in {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome_of(task: Callable[[], Any], seconds: int = 300) -> tuple[str, Any]:
    """Returns "done" and what a task returns, or "refused" or "fell through" and why."""
    try:
        with watched(seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return "done", task()
    except fuzz.Fell as fell:
        return "fell through", str(fell)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1].filename
        if isinstance(error, (ValueError, TypeError)) and last.startswith(fuzz.PACKAGE):
            return "refused", str(error)
        return "fell through", "".join(traceback.format_exception(error)[-8:])


def trained(pair: Pair, objective: Any) -> None:
    """Takes two steps of one cell.

    Raises:
        fuzz.Fell: A number is not finite, or the rate that is logged another than the pair's.
    """
    model, data, start, rate, error = pair
    model.set_weights(start)
    options = {"jit_compile": False, "run_eagerly": model.run_eagerly}
    model.compile(keras.optimizers.Adam(1e-3), objective, **options)
    logged = model.evaluate(data, verbose=0, return_dict=True)
    fuzz._finite("evaluation", *logged.values())
    if rate is not None and abs(logged["rate"] - rate) > 5.0 * error + 1e-3 * (1.0 + abs(rate)):
        raise fuzz.Fell(f"logs a rate of {logged['rate']} for {rate} +- {error}")
    history = model.fit(data, batch_size=ROWS // 2, verbose=0).history
    fuzz._finite("logs", *history.values())
    fuzz._finite("weights", *model.get_weights())
    fuzz._finite("evaluation", *model.evaluate(data, verbose=0, return_dict=True).values())
    evidence = tfvae.log_likelihood(model, data, num_samples=4, seed=0, verbose=False)
    fuzz._finite("evidence", evidence.per_point)


def run(
    posteriors: Sequence[str],
    given: Sequence[str],
    chosen: Sequence[str],
    eagerly: bool = False,
    seconds: float | None = None,
) -> Iterator[tuple[Cell, str, str]]:
    """Yields each cell, what became of it, and why."""
    start = time.monotonic()
    for posterior in posteriors:
        for prior in given:
            if seconds is not None and time.monotonic() - start > seconds:
                return
            print(f"{posterior} x {prior}", end="\x1b[K\r", file=sys.stderr, flush=True)
            found, pair = outcome_of(lambda p=posterior, q=prior: pair_of(p, q, eagerly))
            for index, objective in enumerate(chosen):
                cell = Cell(posterior, prior, objective)
                if found != "done":  # Told once: it is the model, whatever the objective.
                    yield cell, found, pair if index == 0 or found == "refused" else "as before"
                    continue
                make = OBJECTIVES[objective]
                became, why = outcome_of(lambda p=pair, m=make: trained(p, m(2)))
                yield cell, became.replace("done", "trained"), why or ""
            keras.backend.clear_session()


def main(arguments: Sequence[str] | None = None) -> None:
    """Tries the cells, and prints what fell through and what became of all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    for name, parts in (
        ("posteriors", POSTERIORS),
        ("priors", PRIORS),
        ("objectives", OBJECTIVES),
    ):
        parser.add_argument(
            f"--{name}", nargs="+", choices=list(parts), default=list(parts), metavar="NAME"
        )
    parser.add_argument("--seconds", type=float, help="begin no further pair after so many")
    parser.add_argument("--eagerly", action="store_true", help="without graphs, in less time")
    settings = parser.parse_args(arguments)
    start = time.monotonic()
    found: dict[tuple[str, str], collections.Counter[str]] = {}
    reasons: collections.Counter[str] = collections.Counter()
    for cell, became, why in run(
        settings.posteriors,
        settings.priors,
        settings.objectives,
        settings.eagerly,
        settings.seconds,
    ):
        found.setdefault(cell[:2], collections.Counter())[became] += 1
        if became == "refused":
            reasons[_short(why)] += 1
        elif became == "fell through":
            print(f"{cell}\n{why}\n", flush=True)
    _print(found, reasons, settings.priors)
    counts = sum(found.values(), collections.Counter())
    seconds = time.monotonic() - start
    print(f"{dict(counts)} of {counts.total()} cells in {seconds:.0f} s")


def _short(why: str) -> str:
    """Returns the first sentence of a refusal, without what is quoted in it."""
    return why.split(". ")[0][:70]


def _print(found: Any, reasons: collections.Counter[str], given: Sequence[str]) -> None:
    """Prints how many objectives trained for each posterior and prior, and why the others not."""
    console = Console(width=80)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
    table.add_column("posterior", max_width=18)
    for number, _ in enumerate(given, 1):
        table.add_column(str(number), justify="right")
    for posterior in dict.fromkeys(pair[0] for pair in found):
        cells = [found.get((posterior, prior), collections.Counter()) for prior in given]
        table.add_row(posterior, *(_cell(counts) for counts in cells))
    console.print(table)
    console.print("  ".join(f"{n} {prior}" for n, prior in enumerate(given, 1)))
    console.print("Objectives that trained; . all refused, ! some fell through.\n")
    table = Table("refused since", "cells", box=box.SIMPLE_HEAD, pad_edge=False)
    for why, count in reasons.most_common():
        table.add_row(why, str(count))
    console.print(table)


def _cell(counts: collections.Counter[str]) -> str:
    if not counts:  # Not begun in time.
        return ""
    return "!" if counts["fell through"] else str(counts["trained"] or ".")


if __name__ == "__main__":
    main()
