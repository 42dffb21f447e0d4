"""All distribution layers and what SciPy says of each: one entry adds a family to the battery."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow_probability as tfp

from tfvae import distributions, layers
from tfvae.distributions import OneHotMixture

tfd = tfp.distributions
log_expit = scipy.special.log_expit


class Oracle(NamedTuple):
    """What is known of a distribution from outside, in float64."""

    log_prob: Callable[[np.ndarray], np.ndarray]  # [..., *E] -> [...], nats
    mean: np.ndarray  # [..., *E]
    variance: np.ndarray  # [..., *E]
    cdf: Callable[[np.ndarray], np.ndarray] | None = None  # of each element, where continuous


@dataclass(frozen=True)
class Case:
    """One layer to be tested.

    Attributes:
        layer: The class.
        event_shape: Shape of one draw, `E`.
        tfp_class: What the output must be an instance of.
        params_size: Number of parameters, counted by hand.
        oracle: From parameters `[..., P]` to an `Oracle`.
        args: Positional arguments of the constructor, of `params_size` and of `new`.
        kwargs: Other arguments of the constructor.
        new_kwargs: The same for `new`.
        data: From shape and generator to values in the support.
        size_args: Positional arguments of `params_size`, where they are others.
        grid: Points `[N, *E]` and weights `[N]` that integrate, or sum, over the whole support.
        bound: Parameters in [-bound, bound] have finite densities and gradients in float32.
        draws_fit: Draws at such parameters are finite in float32 too.
        moments: Draws have so light tails that their moments can be compared.
    """

    layer: type
    event_shape: tuple
    tfp_class: type
    params_size: int
    oracle: Callable[[np.ndarray], Oracle]
    args: tuple
    kwargs: dict[str, Any] = field(default_factory=dict)
    new_kwargs: dict[str, Any] = field(default_factory=dict)
    data: Callable[[tuple, np.random.Generator], np.ndarray] = field(
        default=lambda shape, generator: generator.normal(size=shape)
    )

    def make(self, **kwargs: Any) -> layers.DistributionLayer:
        return self.layer(*self.args, **self.kwargs, **kwargs)

    def params(self, *leading: int, seed: int = 0) -> np.ndarray:
        generator = np.random.default_rng(seed)
        return generator.normal(size=(*leading, self.params_size)).astype("float32")

    def values(self, *leading: int, seed: int = 1) -> np.ndarray:
        generator = np.random.default_rng(seed)
        return self.data((*leading, *self.event_shape), generator).astype("float32")

    size_args: tuple | None = None
    grid: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None
    bound: float = 1e4
    draws_fit: bool = True
    moments: bool = True

    @property
    def label(self) -> str:
        return f"{self.layer.__name__}{self.event_shape}".replace(" ", "")


def elementwise(event_shape: tuple, make: Callable[..., Any], num_parts: int) -> Callable:
    """Returns the oracle of independent elements, from a frozen SciPy distribution of them."""

    def oracle(params: np.ndarray) -> Oracle:
        parts = np.split(params.astype("float64"), num_parts, axis=-1)
        parts = [part.reshape((*params.shape[:-1], *event_shape)) for part in parts]
        frozen, axes = make(*parts), tuple(range(-len(event_shape), 0))
        log_density = frozen.logpmf if hasattr(frozen, "logpmf") else frozen.logpdf
        return Oracle(
            log_prob=lambda x: np.sum(observed(log_density, x), axis=axes),
            mean=frozen.mean(),
            variance=frozen.var(),
            cdf=getattr(frozen, "cdf", None) if hasattr(frozen, "logpdf") else None,
        )

    return oracle


def observed(log_density: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """Returns the density of each element, and zero for one that is missing."""
    missing = np.isnan(x)
    return np.where(missing, 0.0, log_density(np.where(missing, 0.0, x)))


def with_gaps(data: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Returns the same data with a third of its entries missing."""

    def gappy(shape: tuple, generator: np.random.Generator) -> np.ndarray:
        x = np.asarray(data(shape, generator), "float64")
        return np.where(generator.uniform(size=shape) < 1 / 3, np.nan, x)

    return gappy


def joined(*parts: tuple[int, Callable[[np.ndarray], Oracle]]) -> Callable:
    """Returns the oracle of columns side by side, each with its number of parameters."""

    def oracle(params: np.ndarray) -> Oracle:
        ends = np.cumsum([size for size, _ in parts])[:-1]
        pieces = np.split(params, ends, axis=-1)
        known = [make(piece) for (_, make), piece in zip(parts, pieces, strict=True)]

        def log_prob(x: np.ndarray) -> np.ndarray:
            return sum(column.log_prob(x[..., j]) for j, column in enumerate(known))

        mean = np.stack([column.mean for column in known], axis=-1)
        variance = np.stack([column.variance for column in known], axis=-1)
        return Oracle(log_prob, mean, variance)

    return oracle


def rows(shape: tuple, generator: np.random.Generator) -> np.ndarray:
    """Returns rows of a real number, a count, one of three categories, and a positive number."""
    real, count = generator.normal(size=shape[:-1]), generator.poisson(2.0, shape[:-1])
    category, positives = generator.integers(0, 3, shape[:-1]), generator.lognormal(size=shape[:-1])
    return np.stack([real, count, category, positives], axis=-1)


def normal(min_scale: float = 1e-5) -> Callable[..., Any]:
    def make(loc: np.ndarray, raw: np.ndarray) -> Any:
        return scipy.stats.norm(loc, min_scale + np.logaddexp(0.0, raw))

    return make


def bernoulli(logits: np.ndarray) -> Any:
    return scipy.stats.bernoulli(scipy.special.expit(logits))


def binary(shape: tuple, generator: np.random.Generator) -> np.ndarray:
    return generator.integers(0, 2, shape)


def positive(raw: np.ndarray, floor: float = 1e-5) -> np.ndarray:
    return floor + np.logaddexp(0.0, raw)


def categories(shape: tuple, generator: np.random.Generator) -> np.ndarray:
    """Returns one-hot vectors."""
    return np.eye(shape[-1])[generator.integers(0, shape[-1], shape[:-1])]


def counts(shape: tuple, generator: np.random.Generator) -> np.ndarray:
    return generator.poisson(2.0, shape)


def real_line(dimensions: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns a grid over the real line, or over the plane for `dimensions=2`.

    Equal steps in asinh(x): dense at zero, and far enough for tails like 1 / x**3.
    """
    t = np.linspace(-14.0, 14.0, 200_001 if dimensions < 2 else 401)
    x, w = np.sinh(t), np.cosh(t) * (t[1] - t[0])
    if dimensions < 2:
        return x.reshape([-1] + [1] * dimensions), w
    points = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    return points, np.outer(w, w).reshape(-1)


def half_line() -> tuple[np.ndarray, np.ndarray]:
    t = np.linspace(-60.0, 60.0, 8001)
    return np.exp(t), np.exp(t) * (t[1] - t[0])


def listed(*values: Any) -> tuple[np.ndarray, np.ndarray]:
    points = np.asarray(values, "float64")
    return points, np.ones(len(points))


def all_counts() -> tuple[np.ndarray, np.ndarray]:
    return listed(*range(3000))


def full_normal(size: int, floor: float = 1e-5) -> Callable[[np.ndarray], Oracle]:
    """Returns the oracle of a Gaussian with the Cholesky factor of `MultivariateNormalTriL`."""

    def oracle(params: np.ndarray) -> Oracle:
        params = params.astype("float64")
        loc, raw = params[..., :size], params[..., size:]
        # TFP's `fill_triangular` winds clockwise: the matrix of the vector without its first K
        # entries, followed by the whole vector reversed, read row by row.
        square = np.concatenate([raw[..., size:], raw[..., ::-1]], axis=-1)
        tril = np.tril(square.reshape(*raw.shape[:-1], size, size))
        diagonal = np.arange(size)
        tril[..., diagonal, diagonal] = positive(tril[..., diagonal, diagonal], floor)
        covariance = tril @ np.swapaxes(tril, -1, -2)

        def log_prob(x: np.ndarray) -> np.ndarray:
            z = np.linalg.solve(tril, (x - loc)[..., None])[..., 0]
            log_det = np.log(np.diagonal(tril, axis1=-2, axis2=-1)).sum(axis=-1)
            return scipy.stats.norm.logpdf(z).sum(axis=-1) - log_det

        return Oracle(log_prob, loc, np.diagonal(covariance, axis1=-2, axis2=-1))

    return oracle


def one_hot(params: np.ndarray) -> Oracle:
    log_p = scipy.special.log_softmax(params.astype("float64"), axis=-1)
    p = np.exp(log_p)
    return Oracle(lambda x: np.sum(x * log_p, axis=-1), p, p * (1 - p))


def mixture(num_components: int, component: Callable[[np.ndarray], Oracle]) -> Callable:
    """Returns the oracle of a mixture, from that of its components."""

    def oracle(params: np.ndarray) -> Oracle:
        logits, rest = np.split(params.astype("float64"), [num_components], axis=-1)
        log_w = scipy.special.log_softmax(logits, axis=-1)
        rest = rest.reshape(*params.shape[:-1], num_components, -1)
        parts = [component(rest[..., c, :]) for c in range(num_components)]
        extra = parts[0].mean.ndim - (params.ndim - 1)
        w = np.exp(log_w).reshape(*params.shape[:-1], num_components, *[1] * extra)
        w = np.moveaxis(w, params.ndim - 1, 0)
        mean = sum(w_c * part.mean for w_c, part in zip(w, parts, strict=True))
        square = sum(
            w_c * (part.variance + part.mean**2) for w_c, part in zip(w, parts, strict=True)
        )

        def log_prob(x: np.ndarray) -> np.ndarray:
            each = [log_w[..., c] + part.log_prob(x) for c, part in enumerate(parts)]
            return scipy.special.logsumexp(each, axis=0)

        return Oracle(log_prob, mean, square - mean**2)

    return oracle


class OnGrid:
    """A density of single elements, with moments by quadrature or summation over a grid."""

    def __init__(self, log_density, points, weights, discrete=False):
        shape = np.shape(log_density(points[0]))
        points = points.reshape([-1] + [1] * len(shape))
        p = weights.reshape(points.shape) * np.exp(log_density(points))
        self._mean = np.sum(p * points, axis=0)
        self._var = np.sum(p * (points - self._mean) ** 2, axis=0)
        setattr(self, "logpmf" if discrete else "logpdf", log_density)

    def mean(self):
        return self._mean

    def var(self):
        return self._var


def unit_interval() -> tuple[np.ndarray, np.ndarray]:
    """Returns a grid over (0, 1), dense at both ends."""
    t = np.linspace(-80.0, 80.0, 8001)
    x = scipy.special.expit(t)
    inside = (x > 0) & (x < 1)
    return x[inside], (x * scipy.special.expit(-t) * (t[1] - t[0]))[inside]


def inner_values(shape: tuple, generator: np.random.Generator) -> np.ndarray:
    return generator.uniform(0.05, 0.95, shape)


def student_t(floor: float) -> Callable[..., Any]:
    def make(raw_df: np.ndarray, loc: np.ndarray, raw: np.ndarray) -> Any:
        return scipy.stats.t(positive(raw_df, floor), loc, positive(raw))

    return make


def beta(floor: float) -> Callable[..., Any]:
    def make(raw1: np.ndarray, raw0: np.ndarray) -> Any:
        return scipy.stats.beta(positive(raw1, floor), positive(raw0, floor))

    return make


def continuous_bernoulli(logits: np.ndarray) -> Any:
    def log_density(x: np.ndarray) -> np.ndarray:
        cross = x * log_expit(logits) + (1 - x) * log_expit(-logits)
        return cross + np.log(logits / np.tanh(logits / 2))

    return OnGrid(log_density, *unit_interval())


def negative_binomial(raw: np.ndarray, logits: np.ndarray) -> Any:
    return scipy.stats.nbinom(positive(raw, 1e-3), scipy.special.expit(-logits))


def zero_inflated(counts_of: Callable[..., Any]) -> Callable[..., Any]:
    def make(*parts: np.ndarray) -> Any:
        counts, pi = counts_of(*parts[:-1]), scipy.special.expit(parts[-1])

        def log_density(x: np.ndarray) -> np.ndarray:
            zero = np.log(pi + (1 - pi) * counts.pmf(0))
            return np.where(np.asarray(x) == 0, zero, np.log1p(-pi) + counts.logpmf(x))

        return OnGrid(log_density, *all_counts(), discrete=True)

    return make


def relaxed_bernoulli(temperature: float) -> Callable[..., Any]:
    def make(logits: np.ndarray) -> Any:
        def log_density(x: np.ndarray) -> np.ndarray:
            u = temperature * scipy.special.logit(x) - logits
            jacobian = np.log(temperature) - np.log(x) - np.log1p(-x)
            return scipy.stats.logistic.logpdf(u) + jacobian

        return OnGrid(log_density, *unit_interval())

    return make


def relaxed_one_hot(temperature: float) -> Callable[[np.ndarray], Oracle]:
    def oracle(params: np.ndarray) -> Oracle:
        logits = params.astype("float64")
        size = logits.shape[-1]

        def log_prob(x: np.ndarray) -> np.ndarray:
            log_x = np.log(x)
            each = logits - temperature * log_x
            constant = scipy.special.gammaln(size) + (size - 1) * np.log(temperature)
            return (
                constant
                + np.sum(each - log_x, axis=-1)
                - size * scipy.special.logsumexp(each, axis=-1)
            )

        noise = np.random.default_rng(0).gumbel(size=(200_000, *logits.shape))
        draws = scipy.special.softmax((logits + noise) / temperature, axis=-1)
        return Oracle(log_prob, draws.mean(axis=0), draws.var(axis=0))

    return oracle


def simplex(shape: tuple, generator: np.random.Generator) -> np.ndarray:
    return generator.dirichlet(np.full(shape[-1], 3.0), shape[:-1])


def segment() -> tuple[np.ndarray, np.ndarray]:
    x, w = unit_interval()
    points = np.stack([x, 1 - x], axis=-1)
    return points, w


def categorical(levels: int) -> Callable[[np.ndarray], Any]:
    def make(logits: np.ndarray) -> Any:
        log_p = scipy.special.log_softmax(logits, axis=-1)

        def log_density(x: np.ndarray) -> np.ndarray:
            index = np.broadcast_to(
                np.asarray(x, "int64"), np.broadcast_shapes(np.shape(x), log_p.shape[:-1])
            )
            full = np.broadcast_to(log_p, (*index.shape, levels))
            return np.take_along_axis(full, index[..., None], axis=-1)[..., 0]

        return OnGrid(log_density, *listed(*range(levels)), discrete=True)

    return make


def with_inner_axis(
    event_shape: tuple, make: Callable[..., Any], num_parts: int, size: int
) -> Callable:
    """As `elementwise`, for parts `[..., *E, size]`."""

    def oracle(params: np.ndarray) -> Oracle:
        parts = np.split(params.astype("float64"), num_parts, axis=-1)
        parts = [part.reshape((*params.shape[:-1], *event_shape, size)) for part in parts]
        frozen, axes = make(*parts), tuple(range(-len(event_shape), 0))
        return Oracle(
            lambda x: np.sum(observed(frozen.logpmf, x), axis=axes), frozen.mean(), frozen.var()
        )

    return oracle


def grid_of(levels: int, low: float = 0.0, high: float = 1.0) -> Callable:
    return lambda: listed(*np.linspace(low, high, levels))


def discretized(levels: int, low: float = 0.0, high: float = 1.0) -> Callable[..., Any]:
    def probability(x: np.ndarray, loc: np.ndarray, raw: np.ndarray) -> np.ndarray:
        half, scale = (high - low) / (levels - 1) / 2, positive(raw, 1e-4)
        upper = np.where(x > high - half, np.inf, (x + half - loc) / scale)
        lower = np.where(x < low + half, -np.inf, (x - half - loc) / scale)
        # Of the two equal differences the one without cancellation.
        direct = scipy.special.expit(upper) - scipy.special.expit(lower)
        mirrored = scipy.special.expit(-lower) - scipy.special.expit(-upper)
        return np.where(lower > 0, mirrored, direct)

    def make(loc: np.ndarray, raw: np.ndarray) -> Any:
        def log_density(x: np.ndarray) -> np.ndarray:
            return np.log(probability(np.asarray(x), loc, raw))

        return OnGrid(log_density, *grid_of(levels, low, high)(), discrete=True)

    make.probability = probability
    return make


def discretized_mixture(levels: int) -> Callable[..., Any]:
    probability = discretized(levels).probability

    def make(logits: np.ndarray, loc: np.ndarray, raw: np.ndarray) -> Any:
        weights = scipy.special.softmax(logits, axis=-1)

        def log_density(x: np.ndarray) -> np.ndarray:
            return np.log(
                np.sum(weights * probability(np.asarray(x)[..., None], loc, raw), axis=-1)
            )

        return OnGrid(log_density, *grid_of(levels)(), discrete=True)

    return make


def on_levels(levels: int, low: float = 0.0, high: float = 1.0) -> Callable:
    def data(shape: tuple, generator: np.random.Generator) -> np.ndarray:
        return low + (high - low) * generator.integers(0, levels, shape) / (levels - 1)

    return data


def low_rank(size: int, rank: int) -> Callable[[np.ndarray], Oracle]:
    def oracle(params: np.ndarray) -> Oracle:
        params = params.astype("float64")
        loc, raw, rest = np.split(params, [size, 2 * size], axis=-1)
        factor = rest.reshape(*params.shape[:-1], size, rank)
        scale = positive(raw)
        correlation = np.eye(size) + factor @ np.swapaxes(factor, -1, -2)
        covariance = scale[..., :, None] * correlation * scale[..., None, :]

        def log_prob(x: np.ndarray) -> np.ndarray:
            difference = x - loc
            solved = np.linalg.solve(covariance, difference[..., None])[..., 0]
            constant = size * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1]
            return -0.5 * (np.sum(difference * solved, axis=-1) + constant)

        return Oracle(log_prob, loc, np.diagonal(covariance, axis1=-2, axis2=-1))

    return oracle


def directions(family: str) -> Callable[[np.ndarray], Oracle]:
    """Returns the oracle of unit vectors whose cosine t with `mu` has a known density."""

    def oracle(params: np.ndarray) -> Oracle:
        params = params.astype("float64")
        mu, kappa = params[..., :-1], positive(params[..., -1], 1e-3)
        mu = mu / np.linalg.norm(mu, axis=-1, keepdims=True)
        d = mu.shape[-1]
        if family == "von Mises-Fisher":
            order = d / 2 - 1
            log_bessel = np.log(scipy.special.ive(order, kappa)) + kappa
            constant = order * np.log(kappa) - d / 2 * np.log(2 * np.pi) - log_bessel
            mean = scipy.special.ive(order + 1, kappa) / scipy.special.ive(order, kappa)
            square = 1 - (d - 1) * mean / kappa
        else:
            b = (d - 1) / 2
            a = kappa + b
            constant = scipy.special.gammaln(a + b) - scipy.special.gammaln(a)
            constant -= (a + b) * np.log(2) + b * np.log(np.pi)
            beta = scipy.stats.beta(a, b)
            mean = 2 * beta.mean() - 1
            square = 4 * beta.var() + mean**2

        def log_prob(x: np.ndarray) -> np.ndarray:
            cosine = np.sum(mu * x, axis=-1)
            shape = kappa * (cosine if family == "von Mises-Fisher" else np.log1p(cosine))
            return shape + constant

        mean, square = mean[..., None], square[..., None]
        second = square * mu**2 + (1 - square) / (d - 1) * (1 - mu**2)
        return Oracle(log_prob, mean * mu, second - (mean * mu) ** 2)

    return oracle


def unit_vectors(shape: tuple, generator: np.random.Generator) -> np.ndarray:
    x = generator.normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def circle() -> tuple[np.ndarray, np.ndarray]:
    angle = np.arange(5000) * 2 * np.pi / 5000
    points = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return points, np.full(5000, 2 * np.pi / 5000)


def logistic(loc: np.ndarray, raw: np.ndarray) -> Any:
    return scipy.stats.logistic(loc, positive(raw))


def independent(
    layer: type,
    make: Callable[..., Any],
    num_parts: int,
    events: Sequence[tuple] = ((), (3,)),
    grid: Callable = real_line,
    **fields: Any,
) -> list[Case]:
    """Returns the cases of a family of independent elements, one for each event shape."""
    return [
        Case(
            layer=layer,
            event_shape=event,
            tfp_class=tfd.Independent,
            params_size=num_parts * math.prod(event),
            oracle=elementwise(event, make, num_parts),
            args=(event,),
            grid=grid if event == () else None,
            **fields,
        )
        for event in events
    ]


EVENTS = [(), (3,), (2, 3, 2)]


def table(*names: str) -> dict[str, layers.DistributionLayer]:
    """Returns the layers of the columns that `rows` draws, or of some of them."""
    columns = {
        "real": layers.IndependentNormal(),
        "count": layers.IndependentPoisson(),
        "category": layers.IndependentCategorical((), 3),
        "positive": layers.IndependentLogNormal(min_scale=0.3),
    }
    return {name: columns[name] for name in names or columns}


TABLE_ORACLE = joined(
    (2, elementwise((), normal(), 2)),
    (1, elementwise((), lambda log_rate: scipy.stats.poisson(np.exp(log_rate)), 1)),
    (3, with_inner_axis((), categorical(3), 1, 3)),
    (
        2,
        elementwise(
            (), lambda loc, raw: scipy.stats.lognorm(s=positive(raw, 0.3), scale=np.exp(loc)), 2
        ),
    ),
)


def all_rows() -> tuple[np.ndarray, np.ndarray]:
    """Returns a grid over a real number, a count and a category."""
    real, weights = (value.reshape(-1) for value in real_line(1))
    real, weights = real[::500], 500 * weights[::500]
    axes = np.meshgrid(real, np.arange(120), np.arange(3), indexing="ij")
    points = np.stack([axis.reshape(-1) for axis in axes], axis=-1)
    return points, np.repeat(weights, 120 * 3)


def half_observed() -> tuple[np.ndarray, np.ndarray]:
    """Returns pairs of which the second number is missing: a density over the first alone."""
    x, weights = real_line(1)
    return np.concatenate([x, np.full_like(x, np.nan)], axis=-1), weights


CASES: dict[type, list[Case]] = {
    layers.IndependentNormal: [
        Case(
            layer=layers.IndependentNormal,
            event_shape=event,
            tfp_class=tfd.Independent,
            params_size=2 * math.prod(event),
            oracle=elementwise(event, normal(min_scale), 2),
            args=(event,),
            kwargs={"min_scale": min_scale},
            new_kwargs={"min_scale": min_scale},
            grid=real_line if event == () else None,
        )
        for event, min_scale in zip(EVENTS, [1e-5, 0.5, 1e-5], strict=True)
    ],
    layers.MultivariateNormalDiag: [
        Case(
            layer=layers.MultivariateNormalDiag,
            event_shape=(size,),
            tfp_class=tfd.MultivariateNormalDiag,
            params_size=2 * size,
            oracle=elementwise((size,), normal(), 2),
            args=(size,),
            grid=(lambda: real_line(1)) if size == 1 else None,
        )
        for size in (1, 4)
    ],
    layers.IndependentBernoulli: [
        Case(
            layer=layers.IndependentBernoulli,
            event_shape=event,
            tfp_class=tfd.Independent,
            params_size=math.prod(event),
            oracle=elementwise(event, bernoulli, 1),
            args=(event,),
            kwargs={"sample_dtype": dtype},
            new_kwargs={"dtype": dtype},
            data=binary,
            grid=(lambda: listed(0, 1)) if event == () else None,
        )
        for event, dtype in zip(EVENTS, [None, "int32", None], strict=True)
    ],
    layers.IndependentLogistic: independent(layers.IndependentLogistic, logistic, 2, EVENTS),
    layers.IndependentPoisson: independent(
        layers.IndependentPoisson,
        lambda log_rate: scipy.stats.poisson(np.exp(log_rate)),
        1,
        EVENTS,
        data=counts,
        grid=all_counts,
    ),
    layers.MultivariateNormalTriL: [
        Case(
            layer=layers.MultivariateNormalTriL,
            event_shape=(size,),
            tfp_class=tfd.MultivariateNormalTriL,
            params_size=size + size * (size + 1) // 2,
            oracle=full_normal(size, floor),
            args=(size,),
            kwargs={"min_scale": floor},
            new_kwargs={"min_scale": floor},
            grid=(lambda: real_line(2)) if size == 2 else None,
        )
        for size, floor in [(1, 1e-5), (2, 1e-4), (3, 1e-3), (8, 1e-5)]
    ],
    layers.OneHotCategorical: [
        Case(
            layer=layers.OneHotCategorical,
            event_shape=(4,),
            tfp_class=tfd.OneHotCategorical,
            params_size=4,
            oracle=one_hot,
            args=(4,),
            kwargs={"sample_dtype": dtype},
            new_kwargs={"dtype": dtype},
            data=categories,
            grid=lambda: listed(*np.eye(4)),
        )
        for dtype in (None, "int32")
    ],
    layers.CategoricalMixtureOfOneHotCategorical: [
        Case(
            layer=layers.CategoricalMixtureOfOneHotCategorical,
            event_shape=(4,),
            tfp_class=OneHotMixture,
            params_size=2 * (1 + 4),
            oracle=mixture(2, one_hot),
            args=(4, 2),
            data=categories,
            grid=lambda: listed(*np.eye(4)),
        )
    ],
    layers.MixtureSameFamily: [
        Case(
            layer=layers.MixtureSameFamily,
            event_shape=(2,),
            tfp_class=tfd.MixtureSameFamily,
            params_size=3 * (1 + 5),
            oracle=mixture(3, full_normal(2, 1e-4)),
            args=(3, layers.MultivariateNormalTriL(2, min_scale=1e-4)),
            size_args=(3, 5),
            grid=lambda: real_line(2),
        ),
        Case(
            layer=layers.MixtureSameFamily,
            event_shape=(),
            tfp_class=tfd.MixtureSameFamily,
            params_size=2 * (1 + 1),
            oracle=mixture(2, elementwise((), bernoulli, 1)),
            args=(2, layers.IndependentBernoulli()),
            size_args=(2, 1),
            data=binary,
            grid=lambda: listed(0, 1),
        ),
    ],
    **{
        layer: [
            Case(
                layer=layer,
                event_shape=event,
                tfp_class=tfd.MixtureSameFamily,
                params_size=3 * (1 + 2 * math.prod(event)),
                oracle=mixture(3, elementwise(event, make, 2)),
                args=(3, event),
                grid=real_line if event == () else None,
            )
            for event in EVENTS
        ]
        for layer, make in [
            (layers.MixtureNormal, normal()),
            (layers.MixtureLogistic, logistic),
        ]
    },
    layers.IndependentLaplace: independent(
        layers.IndependentLaplace,
        lambda loc, raw: scipy.stats.laplace(loc, positive(raw)),
        2,
    ),
    layers.IndependentStudentT: [
        *independent(
            layers.IndependentStudentT,
            student_t(9.0),
            3,
            kwargs={"min_df": 9.0},
            new_kwargs={"min_df": 9.0},
        ),
        # Of fewer than four degrees of freedom squares have no variance.
        *independent(layers.IndependentStudentT, student_t(2.0), 3, [(2, 1)], moments=False),
    ],
    layers.IndependentLogNormal: independent(
        layers.IndependentLogNormal,
        lambda loc, raw: scipy.stats.lognorm(s=positive(raw), scale=np.exp(loc)),
        2,
        data=lambda shape, generator: generator.lognormal(size=shape),
        grid=half_line,
        # Moments of exp(1e4) are beyond all floats.
        moments=False,
    ),
    layers.IndependentBeta: [
        *independent(
            layers.IndependentBeta,
            beta(1.0),
            2,
            kwargs={"min_concentration": 1.0},
            new_kwargs={"min_concentration": 1.0},
            data=inner_values,
            grid=unit_interval,
        ),
        # With poles at the ends.
        *independent(layers.IndependentBeta, beta(1e-3), 2, [(2, 1)], data=inner_values),
    ],
    layers.ContinuousBernoulli: independent(
        layers.ContinuousBernoulli,
        continuous_bernoulli,
        1,
        EVENTS,
        data=inner_values,
        grid=unit_interval,
    ),
    layers.IndependentNegativeBinomial: independent(
        layers.IndependentNegativeBinomial, negative_binomial, 2, data=counts, grid=all_counts
    ),
    layers.ZeroInflatedPoisson: independent(
        layers.ZeroInflatedPoisson,
        zero_inflated(lambda log_rate: scipy.stats.poisson(np.exp(log_rate))),
        2,
        data=counts,
        grid=all_counts,
    ),
    layers.ZeroInflatedNegativeBinomial: independent(
        layers.ZeroInflatedNegativeBinomial,
        zero_inflated(negative_binomial),
        3,
        data=counts,
        grid=all_counts,
    ),
    layers.IndependentCategorical: [
        Case(
            layer=layers.IndependentCategorical,
            event_shape=event,
            tfp_class=tfd.Independent,
            params_size=levels * math.prod(event),
            oracle=with_inner_axis(event, categorical(levels), 1, levels),
            args=(event, levels),
            kwargs={"sample_dtype": dtype},
            new_kwargs={"dtype": dtype},
            data=lambda shape, generator, levels=levels: generator.integers(0, levels, shape),
            grid=(lambda levels=levels: listed(*range(levels))) if event == () else None,
        )
        for event, levels, dtype in [((), 4, None), ((3,), 2, "int32"), ((2, 3, 2), 3, None)]
    ],
    layers.RelaxedBernoulli: [
        *independent(
            layers.RelaxedBernoulli,
            relaxed_bernoulli(0.7),
            1,
            kwargs={"temperature": 0.7},
            new_kwargs={"temperature": 0.7},
            data=inner_values,
            grid=unit_interval,
        )
    ],
    layers.RelaxedOneHotCategorical: [
        Case(
            layer=layers.RelaxedOneHotCategorical,
            event_shape=(size,),
            tfp_class=tfd.RelaxedOneHotCategorical,
            params_size=size,
            oracle=relaxed_one_hot(0.5),
            args=(size,),
            data=simplex,
            grid=segment if size == 2 else None,
        )
        for size in (2, 4)
    ],
    layers.DiscretizedLogistic: [
        Case(
            layer=layers.DiscretizedLogistic,
            event_shape=event,
            tfp_class=tfd.Independent,
            params_size=2 * math.prod(event),
            oracle=elementwise(event, discretized(*steps), 2),
            args=(event,),
            kwargs=dict(zip(("levels", "low", "high"), steps, strict=False)),
            new_kwargs=dict(zip(("levels", "low", "high"), steps, strict=False)),
            data=on_levels(*steps),
            grid=grid_of(*steps) if event == () else None,
        )
        for event, steps in [((), (256,)), ((3,), (2, -1.0, 1.0)), ((2, 3, 2), (17, 0.0, 16.0))]
    ],
    layers.MixtureOfDiscretizedLogistics: [
        Case(
            layer=layers.MixtureOfDiscretizedLogistics,
            event_shape=event,
            tfp_class=tfd.Independent,
            params_size=3 * 2 * math.prod(event),
            oracle=with_inner_axis(event, discretized_mixture(levels), 3, 2),
            args=(event, 2),
            kwargs={"levels": levels},
            new_kwargs={"levels": levels},
            data=on_levels(levels),
            grid=grid_of(levels) if event == () else None,
        )
        for event, levels in [((), 256), ((2, 3, 2), 8)]
    ],
    layers.MultivariateNormalLowRank: [
        Case(
            layer=layers.MultivariateNormalLowRank,
            event_shape=(size,),
            tfp_class=tfd.MultivariateNormalDiagPlusLowRankCovariance,
            params_size=size * (2 + rank),
            oracle=low_rank(size, rank),
            args=(size, rank),
            grid=(lambda: real_line(2)) if size == 2 else None,
        )
        for size, rank in [(2, 1), (4, 2)]
    ],
    layers.Heterogeneous: [
        Case(
            layer=layers.Heterogeneous,
            event_shape=(4,),
            tfp_class=distributions.Heterogeneous,
            params_size=2 + 1 + 3 + 2,
            oracle=TABLE_ORACLE,
            args=(table(),),
            data=rows,
            moments=False,
        ),
        Case(
            layer=layers.Heterogeneous,
            event_shape=(3,),
            tfp_class=distributions.Heterogeneous,
            params_size=2 + 1 + 3,
            oracle=joined(
                (2, elementwise((), normal(), 2)),
                (1, elementwise((), lambda raw: scipy.stats.poisson(np.exp(raw)), 1)),
                (3, with_inner_axis((), categorical(3), 1, 3)),
            ),
            args=(list(table("real", "count", "category").items()),),
            data=lambda shape, generator: rows(shape, generator)[..., :3],
            grid=all_rows,
        ),
    ],
    layers.Adapted: [  # before it has seen data; after, it is that of other parameters
        Case(
            layer=layers.Adapted,
            event_shape=(2, 3),
            tfp_class=tfd.Independent,
            params_size=12,
            oracle=elementwise((2, 3), normal(), 2),
            args=(layers.IndependentNormal((2, 3)),),
        ),
        Case(
            layer=layers.Adapted,
            event_shape=(),
            tfp_class=tfd.Independent,
            params_size=2,
            oracle=elementwise((), normal(), 2),
            args=(layers.IndependentNormal(),),
            grid=real_line,
        ),
    ],
    layers.Masked: [
        Case(
            layer=layers.Masked,
            event_shape=(4,),
            tfp_class=distributions.Masked,
            params_size=8,
            oracle=TABLE_ORACLE,
            args=(layers.Heterogeneous(table()),),
            data=with_gaps(rows),
            moments=False,
        ),
        *(
            Case(
                layer=layers.Masked,
                event_shape=event,
                tfp_class=distributions.Masked,
                params_size=size,
                oracle=oracle,
                args=(layer,),
                data=with_gaps(data),
                grid=grid,
            )
            for event, layer, size, oracle, data, grid in [
                (
                    (2, 3),
                    layers.IndependentNormal((2, 3)),
                    12,
                    elementwise((2, 3), normal(), 2),
                    lambda shape, generator: generator.normal(size=shape),
                    None,
                ),
                (
                    (4,),
                    layers.MultivariateNormalDiag(4),
                    8,
                    elementwise((4,), normal(), 2),
                    lambda shape, generator: generator.normal(size=shape),
                    None,
                ),
                (
                    (2,),
                    layers.MixtureNormal(3, 2),
                    15,
                    mixture(3, elementwise((2,), normal(), 2)),
                    lambda shape, generator: generator.normal(size=shape),
                    half_observed,
                ),
                (
                    (3,),
                    layers.MixtureOfDiscretizedLogistics(3, 2, levels=8),
                    18,
                    with_inner_axis((3,), discretized_mixture(8), 3, 2),
                    on_levels(8),
                    None,
                ),
                (
                    (),
                    layers.IndependentBernoulli(),
                    1,
                    elementwise((), bernoulli, 1),
                    binary,
                    lambda: listed(0, 1),
                ),
            ]
        ),
    ],
    **{
        layer: [
            Case(
                layer=layer,
                event_shape=(size,),
                tfp_class=tfp_class,
                params_size=size + 1,
                oracle=directions(name),
                args=(size,),
                data=unit_vectors,
                grid=circle if size == 2 else None,
            )
            # Three first: XLA takes sixteen seconds for the rejection sampler of the others.
            for size in (3, 2, 8)
        ]
        for layer, tfp_class, name in [
            (layers.VonMisesFisher, tfd.VonMisesFisher, "von Mises-Fisher"),
            (layers.PowerSpherical, tfd.PowerSpherical, "power"),
        ]
    },
}

ALL_CASES = [case for cases in CASES.values() for case in cases]

# One of each kind: independent elements, vectors, types of draws, mixtures, and what is composed.
QUICK = [
    CASES[layer][0]
    for layer in (
        layers.IndependentNormal,
        layers.IndependentBernoulli,
        layers.MultivariateNormalTriL,
        layers.MixtureSameFamily,
        layers.MixtureOfDiscretizedLogistics,
        layers.Heterogeneous,
        layers.Masked,
        layers.PowerSpherical,
    )
]


def mostly_slow(cases: Sequence[Case]) -> list[Any]:
    """Returns the cases as parameters of a battery: all but one of each kind are marked slow."""
    marked = [pytest.param(case, marks=pytest.mark.slow) for case in cases]
    quick = [any(case is one for one in QUICK) for case in cases]
    return [case if keep else slow for case, keep, slow in zip(cases, quick, marked, strict=True)]
