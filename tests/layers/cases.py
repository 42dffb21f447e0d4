"""All distribution layers and what SciPy says of each: one entry adds a family to the battery."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import scipy.special
import scipy.stats
import tensorflow_probability as tfp

from tfvae import layers
from tfvae.distributions import OneHotMixture

tfd = tfp.distributions


class Oracle(NamedTuple):
    """What is known of a distribution from outside, in float64."""

    log_prob: Callable[[np.ndarray], np.ndarray]  # [..., *E] -> [...], nats
    mean: np.ndarray  # [..., *E]
    variance: np.ndarray  # [..., *E]


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

    @property
    def label(self) -> str:
        return f"{self.layer.__name__}{self.event_shape}".replace(" ", "")


def elementwise(event_shape: tuple, make: Callable[..., Any], num_parts: int) -> Callable:
    """Returns the oracle of independent elements, from a frozen SciPy distribution of them."""

    def oracle(params: np.ndarray) -> Oracle:
        parts = np.split(params.astype("float64"), num_parts, axis=-1)
        parts = [part.reshape((*params.shape[:-1], *event_shape)) for part in parts]
        frozen, axes = make(*parts), tuple(range(-len(event_shape), 0))
        log_density = frozen.logpmf if hasattr(frozen.dist, "logpmf") else frozen.logpdf
        return Oracle(
            log_prob=lambda x: np.sum(log_density(x), axis=axes),
            mean=frozen.mean(),
            variance=frozen.var(),
        )

    return oracle


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
    t = np.linspace(-14.0, 14.0, 4001 if dimensions < 2 else 401)
    x, w = np.sinh(t), np.cosh(t) * (t[1] - t[0])
    if dimensions < 2:
        return x.reshape([-1] + [1] * dimensions), w
    points = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    return points, np.outer(w, w).reshape(-1)


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
            # Whitening divides by the diagonal once per dimension, see the layer.
            bound=bound,
            grid=(lambda: real_line(2)) if size == 2 else None,
        )
        for size, floor, bound in [(1, 1e-5, 1e4), (2, 1e-4, 1e4), (3, 1e-3, 100.0)]
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
}

ALL_CASES = [case for cases in CASES.values() for case in cases]
