"""All distribution layers and what SciPy says of each: one entry adds a family to the battery."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import scipy.special
import scipy.stats
import tensorflow_probability as tfp

from tfvae import layers

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
        )
        for event, dtype in zip(EVENTS, [None, "int32", None], strict=True)
    ],
}

ALL_CASES = [case for cases in CASES.values() for case in cases]
