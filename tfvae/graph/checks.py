"""Checks of the networks that users hand to a model, and the words they get."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._tracing import noting_graphs, release
from tfvae._typing import Distribution, Tensor
from tfvae.distributions.heterogeneous import Heterogeneous
from tfvae.distributions.kernel_density import KernelDensity
from tfvae.distributions.normal_mixture import NormalMixture
from tfvae.distributions.support import Support, support_of
from tfvae.distributions.wrappers import (
    Independent,
    Mixture,
    MixtureSameFamily,
    Sample,
    TransformedDistribution,
)
from tfvae.flows.layered import LayeredFlow

__all__ = ["check_distribution", "check_missing", "check_same_kind"]

tfd, tfb = tfp.distributions, tfp.bijectors


def check_distribution(output: Any, part: str, shape_of: str, layer: str) -> Distribution:
    """Returns `output` where it is a distribution over one example, and raises otherwise.

    Args:
        output: What the user's network returned.
        part: Name of the network, "encoder" or "decoder".
        shape_of: What its distribution is over, "one latent" or "one example of `x`".
        layer: A layer that would mend it.

    Raises:
        TypeError: `output` is no distribution.
        ValueError: The distribution has no batch axis or more than one.
    """
    if not isinstance(output, Distribution):
        what = (
            f"a tensor of shape {_per_batch(output.shape)}"
            if tf.is_tensor(output)
            else type(output).__name__
        )
        raise TypeError(
            f"`{part}` must return a tfp distribution over {shape_of}. Received: {what}. "
            f"End the model with a layer of `tfvae.layers`, such as `{layer}`."
        )
    if output.batch_shape.rank != 1:
        raise ValueError(
            f"`{part}` must return one distribution over {shape_of} per example, batch shape [B]. "
            f"Received: batch_shape={_per_batch(output.batch_shape)}, "
            f"event_shape={output.event_shape}. "
            "Set `event_shape` on its last layer to the shape of a whole example."
        )
    return output


def check_same_kind(q_z: Distribution, p_z: Distribution) -> None:
    """Checks that densities are not compared with probabilities, nor with densities of surfaces.

    Raises:
        ValueError: One of posterior and prior is over a continuum, the other over whole numbers; or
            one is over directions, or over vectors that add up to one, and the other is not; or
            the posterior draws what the prior never does. All of it column by column, where those
            of a row differ.
    """
    for own, other in zip(*_same_number(_parts(q_z), _parts(p_z)), strict=True):
        _check_kinds(own, other)
        _check_within(own, other)


class _Part(NamedTuple):
    """What is known of one column of the draws, or of all.

    Attributes:
        name: Name of the family.
        support: Its support.
        is_continuous: Whether it has a density for sure.
        ends: Least and largest number that it draws, infinity where there is none; None where
            nothing is known.
    """

    name: str
    support: Support
    is_continuous: bool
    ends: tuple[float, float] | None


def _parts(distribution: Distribution) -> list[_Part]:
    """Returns what is known of each column, one for all where they are alike."""
    if isinstance(distribution, Heterogeneous):
        pairs = zip(distribution.sizes, distribution.distributions, strict=True)
        return [part for size, own in pairs for part in _parts(own) * size]
    support, name = support_of(distribution), type(distribution).__name__
    if not support.columns:
        # Some draws of surfaces and between bounds do not follow their parameters.
        bounded = _is_bounded(support)
        ends = _ends(support) if bounded else _known_ends(distribution)
        continuous = not support.whole and (bounded or _is_continuous(distribution))
        return [_Part(name, support, continuous, ends)]
    return [
        _Part(own.likelihood, own, not own.whole, _ends(own) if _is_bounded(own) else None)
        for _, number, own in support.columns
        for _ in range(number)
    ]


def _same_number(ours: list[_Part], theirs: list[_Part]) -> tuple[list[_Part], list[_Part]]:
    """Returns parts column by column."""
    most = max(len(ours), len(theirs))
    return tuple(parts * most if len(parts) == 1 else parts for parts in (ours, theirs))  # type: ignore[return-value]


def _check_kinds(own: _Part, other: _Part) -> None:
    """Checks that both are densities over the same, or both probabilities."""
    if own.support.whole and other.is_continuous:
        raise ValueError(
            "`encoder` draws states, and `prior` has a density: probabilities are no densities, "
            "and their KL is infinite. Received: a posterior over states of "
            f"{own.support.likelihood} and a prior {other.name}. Pass a prior over the same "
            "states, such as `priors.Parametric` of the layer that ends the encoder, "
            "`priors.Categorical` or `priors.OneHot`; or end the encoder with a family of "
            "densities."
        )
    if other.support.whole and own.is_continuous:
        raise ValueError(
            "`encoder` draws from a continuum, of which `prior` knows single points only: their "
            f"KL is infinite. Received: a posterior {own.name} and a prior over states of "
            f"{other.support.likelihood}. End the encoder with `OneHotCategorical`, "
            "`IndependentCategorical` or `IndependentBernoulli`; "
            "`ELBO(gradient=Relaxed())` relaxes their draws for the gradient alone. Or choose a "
            "continuous prior."
        )
    whole = own.support.whole or other.support.whole
    if own.support.norm != other.support.norm and not whole:
        raise ValueError(
            "Posterior and prior have densities of different kinds, whose KL is infinite: that of "
            "vectors with a norm of one counts areas of a surface, others count volumes. Received: "
            f"a posterior {_title(own)} and a prior {_title(other)}. Take a prior over "
            "the same values, `priors.Hyperspherical` of directions or `priors.Parametric` of the "
            "layer that ends the encoder, or another encoder. What a family of your own is over is "
            "told by `tfvae.distributions.support_of.register`."
        )


def _check_within(own: _Part, other: _Part) -> None:
    """Checks that the prior gives something to all that the posterior draws, as far as is known."""
    q, p = own.support, other.support
    low, high = _ends(p) if other.ends is None else other.ends
    if own.ends is None or ((low, high) == (-math.inf, math.inf) and not p.whole):
        return
    under, over = own.ends
    # One-hot vectors are bits, and not the other way round.
    apart = p.one_hot and not q.one_hot
    if q.whole and p.whole:
        # On another grid: to rounding, since levels are fractions.
        steps = [q.spacing / p.spacing, (under - low) / p.spacing]
        apart |= any(math.isfinite(step) and abs(step - round(step)) > 1e-6 for step in steps)
    if under < low - 1e-6 or over > high + 1e-6 or apart:
        raise ValueError(
            "The posterior draws what the prior never does, so that their KL is infinite. "
            f"Received: a posterior over {_range(own)} and a prior over {_range(other)}. Pass a "
            "prior over the same values, such as `priors.Parametric` of the layer that ends the "
            "encoder, or end the encoder with another layer."
        )


def _range(part: _Part) -> str:
    s = part.support
    low, high = part.ends or _ends(s)
    what = f" in steps of {s.spacing:g}" if s.whole and s.spacing != 1.0 else ""
    return f"{s.likelihood}, {low:g} to {high:g}{' (one-hot)' if s.one_hot else what}"


def _is_bounded(support: Support) -> bool:
    bounds = (support.lower, support.upper, support.norm)
    return support.whole or any(bound is not None for bound in bounds)


def _ends(support: Support) -> tuple[float, float]:
    low, high = support.lower, support.upper
    return (-math.inf if low is None else low), (math.inf if high is None else high)


def _title(part: _Part) -> str:
    return (
        f"{part.name} over vectors of norm one"
        if part.support.norm
        else f"{part.name} over numbers"
    )


def _space(distribution: Distribution) -> Any:
    """Returns what maps all vectors to the draws of a density, where TFP knows it, or None."""
    if isinstance(distribution, MixtureSameFamily):
        return _space(distribution.components_distribution)
    try:
        return distribution.experimental_default_event_space_bijector()
    except (AttributeError, NotImplementedError, TypeError, ValueError):
        return None


def _known_ends(distribution: Distribution) -> tuple[float, float] | None:
    """Returns the ends of a density that nobody has described, as far as TFP knows them."""
    space = _space(distribution)
    if isinstance(space, tfb.Exp) or (isinstance(space, tfb.Softplus) and space.low is None):
        return 0.0, math.inf
    if isinstance(space, tfb.Sigmoid):
        return (0.0, 1.0) if space.low is None else None
    parts = getattr(space, "bijectors", [space])
    return (-math.inf, math.inf) if all(map(_is_onto, parts)) else None


def _is_onto(bijector: Any) -> bool:
    """Whether a map takes all vectors to all vectors for sure."""
    flow = getattr(bijector, "_flow", None)
    known = (tfb.Identity, tfb.MaskedAutoregressiveFlow)
    return isinstance(flow, LayeredFlow) or isinstance(bijector, known)


def _is_continuous(distribution: Distribution) -> bool:
    """Whether a distribution has a density for sure, as where draws follow its parameters."""
    if isinstance(distribution, (KernelDensity, NormalMixture)):
        return True
    if isinstance(distribution, (Independent, Sample)):
        return _is_continuous(distribution.distribution)
    if isinstance(distribution, Mixture):
        return all(map(_is_continuous, distribution.components))
    if isinstance(distribution, TransformedDistribution):  # By a map with a slope.
        return _is_continuous(distribution.distribution)
    kinds = tf.nest.flatten(distribution.reparameterization_type)
    follows = all(kind == tfd.FULLY_REPARAMETERIZED for kind in kinds)
    return follows or _space(distribution) is not None


def check_missing(encode: Callable[[Tensor], Distribution], x: Tensor, weights: list[Any]) -> None:
    """Checks that an encoder reads NaN as missing, and does not compute with it.

    Some kernels turn NaN into a finite number in silence, so that posteriors alone do not tell;
    but a weight that has met NaN gets NaN as its gradient, and so does all that is trained by it.

    Args:
        encode: From `x` to q(z|x).
        x: Examples `[B, *x_event]` that the model can meet.
        weights: The encoder's weights.

    Raises:
        ValueError: The parameters of a posterior, or their gradients, are NaN.
    """
    # Every entry is missing once and observed once.
    x = tf.clip_by_value(x, tf.cast(-100.0, x.dtype), tf.cast(100.0, x.dtype))  # also of 16 bits
    odd = tf.reshape(tf.range(tf.size(x)) % 2 == 1, tf.shape(x))
    nan = tf.fill([], tf.cast(float("nan"), x.dtype))
    x = tf.concat([tf.where(odd, nan, x), tf.where(odd, x, nan)], axis=0)
    strategy = tf.distribute.get_strategy()

    def is_nan() -> list[Tensor]:
        values = [weight.value for weight in weights if "float" in weight.dtype]
        parts = tf.nest.flatten(encode(x), expand_composites=True)
        parts = [part for part in parts if tf.is_tensor(part) and part.dtype.is_floating]
        # Not by a tape, which records nothing in the scope of what builds a model in a graph.
        found = [*parts, *tf.gradients(parts, values)]
        found = [tf.convert_to_tensor(value) for value in found if value is not None]
        return [tf.reduce_any(tf.math.is_nan(value)) for value in found]

    graphs: list[Any] = []
    with tf.init_scope():
        # Gradients are those in the weights of one device.
        noted = tf.function(noting_graphs(lambda: strategy.run(is_nan), graphs), autograph=False)
        found = strategy.experimental_local_results(noted())[0]
        nan = any(bool(each) for each in found)
    release(graphs)
    if nan:
        raise ValueError(
            "`encoder` computes with the NaN of missing entries, which its likelihood, `Masked`, "
            "takes as not observed: one of them would turn weights into NaN. Let the encoder "
            "begin with a layer that replaces them: `tfvae.networks.FillMissing()`, or "
            "`tfvae.layers.DataEncoder(...)` for the columns of a table."
        )


def _per_batch(shape: tf.TensorShape) -> str:
    return f"[{', '.join(['batch', *map(str, shape[1:])])}]" if shape.rank else "[]"
