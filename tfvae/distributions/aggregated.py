"""The mean of many posteriors, as one distribution."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._random import fold_in, stateless_seed
from tfvae._shapes import with_event
from tfvae._typing import Distribution, Seed, Tensor
from tfvae.distributions.gaussian import as_diagonal_normal
from tfvae.distributions.pairwise import log_sum, pairwise_log_prob_exact

__all__ = ["AggregatedPosterior", "EntropyEstimate"]

tfd = tfp.distributions

# Elements of values, components and dimensions that are worked on together: 64 MB of float32.
_ELEMENTS_AT_ONCE = 2**24


class EntropyEstimate(NamedTuple):
    """An entropy by draws.

    Attributes:
        entropy: -E log q(z), nats.
        standard_error: Of it, nats, over the draws.
    """

    entropy: float
    standard_error: float


class AggregatedPosterior(tfd.MixtureSameFamily):
    """The mean of N posteriors of any family, or their mixture with other weights.

        q(z) = sum_n w_n q_n(z),   w_n = 1 / N

    A `tfd.MixtureSameFamily` in bounded memory, for many components: densities are taken of as many
    values at once as make 16 million elements with all components and dimensions, of one at least,
    and draws are those of all components together, some at a time. Of diagonal Gaussians, densities
    are products of float64 matrices, and draws cost no more than of one. Draws carry no gradients.

    Args:
        components_distribution: The posteriors, batch shape `[N]`, event shape `E`, as
            `model.encode` gives them.
        mixture_distribution: A `tfd.Categorical` over them, batch shape `[]`; by default all weigh
            the same.
        validate_args: See `tfd.Distribution`.
        allow_nan_stats: See `tfd.Distribution`.
        name: See `tfd.Distribution`.

    Raises:
        ValueError: The posteriors, or their weights, are no batch of one axis.

    Example:
        >>> from tfvae.distributions import AggregatedPosterior
        >>> q = AggregatedPosterior(tfd.MultivariateNormalDiag([[-9.0], [9.0]], [[1.0], [1.0]]))
        >>> q.log_prob([[9.0], [0.0]]).numpy().round(2), q.sample(5, seed=[0, 1]).shape
        (array([ -1.61, -41.42], dtype=float32), TensorShape([5, 1]))
        >>> found = q.estimate_entropy(1000, seed=0)  # log 2 above that of one of them
        >>> abs(found.entropy - 2.112) < 5 * found.standard_error
        True

    Reference: ELBO surgery (Hoffman and Johnson, 2016)
    """

    def __init__(
        self,
        components_distribution: Any,
        mixture_distribution: Any = None,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "AggregatedPosterior",
    ) -> None:
        batch = components_distribution.batch_shape
        if batch.rank != 1:
            raise ValueError(
                "`components_distribution` must be posteriors of batch shape [N], such as "
                f"`model.encode(x)`. Received: batch shape {batch}"
            )
        if mixture_distribution is None:
            shape = components_distribution.batch_shape_tensor()
            zeros = tf.zeros(shape if batch[0] is None else batch, components_distribution.dtype)
            mixture_distribution = tfd.Categorical(logits=zeros)
        elif mixture_distribution.batch_shape.rank != 0:
            raise ValueError(
                "`mixture_distribution` must be one distribution over all posteriors, of batch "
                f"shape []. Received: batch shape {mixture_distribution.batch_shape}"
            )
        parameters = dict(locals())
        super().__init__(
            mixture_distribution,
            components_distribution,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            name=name,
        )
        self._parameters = self._no_dependency(parameters)

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        return tfd.MixtureSameFamily._parameter_properties(dtype, num_classes)

    def estimate_entropy(self, num_samples: int = 1000, seed: Seed = None) -> EntropyEstimate:
        """Returns the entropy, by draws: that of a mixture has no closed form.

        Args:
            num_samples: Number of draws, two or more.
            seed: Int or pair of ints.
        """
        seed = None if seed is None else stateless_seed(seed)
        scores = -tf.cast(self.log_prob(self.sample(num_samples, seed=seed)), tf.float64)
        spread = tf.sqrt(tf.math.reduce_variance(scores) / (num_samples - 1))
        return EntropyEstimate(float(tf.reduce_mean(scores)), float(spread))

    def _log_prob(self, value: Tensor) -> Tensor:
        components = self.components_distribution
        event = components.event_shape
        value = tf.cast(value, components.dtype)
        size, rank = event.num_elements() or 1, event.rank or 0
        rows = tf.reshape(value, [-1, *event])  # [R, *E]
        shares = _log_weights(self.mixture_distribution)
        number = components.batch_shape[0] or tf.shape(shares)[0]
        at_once = tf.maximum(1, _ELEMENTS_AT_ONCE // (number * size))
        known = tf.get_static_value(at_once), rows.shape[0]

        def score(rows: Tensor) -> Tensor:
            return log_sum(pairwise_log_prob_exact(components, rows[None])[0], shares)

        whole = None not in known and known[1] <= known[0]
        found = score(rows) if whole else _in_blocks(score, rows, at_once)
        return with_event(found, [], axes=rank, like=value)

    def _sample_n(self, n: Tensor, seed: Any = None) -> Tensor:
        components = self.components_distribution
        which_seed, noise = tfp.random.split_seed(stateless_seed(seed), n=2)
        which = self.mixture_distribution.sample(n, seed=which_seed)  # [n]
        normal = as_diagonal_normal(components)
        if normal is not None:
            loc, scale = (tf.gather(part, which) for part in (normal.loc, normal.scale))
            return tfd.Normal(loc, scale).sample(seed=noise)
        turn = _turns(which)
        # About as many draws in all of a pass as are asked for.
        at_once = -(-n // tf.maximum(1, components.batch_shape_tensor()[0]))
        known: Any = tf.get_static_value(at_once)
        at_once = tf.maximum(1, at_once) if known is None else max(1, int(known))

        def draw(index: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
            each = components.sample(at_once, seed=fold_in(noise, index))  # [m, N, *E]
            own = tf.gather_nd(each, tf.stack([turn % at_once, which], axis=1))
            now = with_event(turn // at_once == index, [1] * (drawn.shape.rank - 1), axes=0)
            return index + 1, tf.where(now, own, drawn)

        shape = tf.concat([[n], components.event_shape_tensor()], axis=0)
        start = tf.ensure_shape(tf.zeros(shape, components.dtype), [None, *components.event_shape])
        last = tf.reduce_max(tf.concat([turn // at_once, [-1]], axis=0))
        _, drawn = tf.while_loop(
            lambda index, _: index <= last, draw, [tf.constant(0), start], parallel_iterations=1
        )
        return drawn


def _log_weights(mixture: Distribution) -> Tensor:
    """Returns the logarithms of the weights of a mixture `[N]`."""
    return tf.nn.log_softmax(mixture.logits_parameter())


def _turns(which: Tensor) -> Tensor:
    """Returns how many equal numbers stand before each, `[n]`.

    Example:
        >>> from tfvae.distributions.aggregated import _turns
        >>> _turns(tf.constant([3, 1, 3, 3, 1])).numpy()
        array([0, 0, 1, 2, 1], dtype=int32)
    """
    order = tf.argsort(which, stable=True)
    ordered = tf.gather(which, order)
    place = tf.range(tf.shape(which)[0])
    within = place - tf.searchsorted(ordered, ordered, side="left")
    return tf.scatter_nd(order[:, None], within, tf.shape(which))


def _in_blocks(score: Any, rows: Tensor, at_once: Tensor) -> Tensor:
    """Returns scores `[R]` of rows `[R, ...]`, some at a time."""
    number = tf.shape(rows)[0]
    num_blocks = -(-number // at_once)
    missing = num_blocks * at_once - number
    padding = [[0, missing], *([[0, 0]] * (rows.shape.rank - 1))]
    shape = tf.concat([[num_blocks, at_once], tf.shape(rows)[1:]], axis=0)
    blocks = tf.reshape(tf.pad(rows, padding), shape)
    static = [None, tf.get_static_value(at_once), *rows.shape[1:]]
    blocks = tf.ensure_shape(blocks, static)
    spec = tf.TensorSpec(static[1:2], rows.dtype)
    found = tf.map_fn(score, blocks, fn_output_signature=spec, parallel_iterations=1)
    return tf.reshape(found, [-1])[:number]
