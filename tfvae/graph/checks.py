"""Checks of the networks that users hand to a model, and the words they get."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._tracing import noting_graphs, release
from tfvae._typing import Distribution, Tensor
from tfvae.distributions.support import Support, support_of

__all__ = ["check_distribution", "check_missing", "check_same_kind"]

tfd = tfp.distributions


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
            one is over directions, or over vectors that add up to one, and the other is not.
    """
    states, own = support_of(p_z), support_of(q_z)
    if own.whole and _is_continuous(p_z):
        raise ValueError(
            "`encoder` draws states, and `prior` has a density: probabilities are no densities, "
            f"and their KL is infinite. Received: a posterior over states of {own.likelihood} and "
            f"a prior {type(p_z).__name__}. Pass a prior over the same states, such as "
            "`priors.Parametric` of the layer that ends the encoder, `priors.Categorical` or "
            "`priors.OneHot`; or end the encoder with a family of densities."
        )
    if states.whole and _is_continuous(q_z):
        raise ValueError(
            "`encoder` draws from a continuum, of which `prior` knows single points only: their "
            f"KL is infinite. Received: a posterior {type(q_z).__name__} and a prior over states "
            f"of {states.likelihood}. End the encoder with `OneHotCategorical`, "
            "`IndependentCategorical` or `IndependentBernoulli`; "
            "`ELBO(gradient=Relaxed())` relaxes their draws for the gradient alone. Or choose a "
            "continuous prior."
        )
    if own.norm != states.norm and not (own.whole or states.whole):
        raise ValueError(
            "Posterior and prior have densities of different kinds, whose KL is infinite: that of "
            "vectors with a norm of one counts areas of a surface, others count volumes. Received: "
            f"a posterior {_title(q_z, own)} and a prior {_title(p_z, states)}. Take a prior over "
            "the same values, `priors.Hyperspherical` of directions or `priors.Parametric` of the "
            "layer that ends the encoder, or another encoder. What a family of your own is over is "
            "told by `tfvae.distributions.support_of.register`."
        )


def _title(distribution: Distribution, support: Support) -> str:
    name = type(distribution).__name__
    return f"{name} over vectors of norm one" if support.norm else f"{name} over numbers"


def _is_continuous(distribution: Distribution) -> bool:
    """Whether a distribution has a density for sure: draws that follow its parameters say so."""
    kinds = tf.nest.flatten(distribution.reparameterization_type)
    return all(kind == tfd.FULLY_REPARAMETERIZED for kind in kinds)


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
