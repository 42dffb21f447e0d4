"""The mean of many posteriors, as one distribution."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._random import fold_in, split_seed, stateless_seed
from tfvae._shapes import with_event
from tfvae._typing import Distribution, Seed, Tensor, whole_number
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
    are products of float64 matrices, and draws cost no more than of one. Gradients of draws are
    those of the component that each came from, and none of the weights.

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
        parameters = dict(locals())
        batch = components_distribution.batch_shape
        if batch.rank != 1 or batch[0] == 0:
            raise ValueError(
                "`components_distribution` must be posteriors of batch shape [N], N >= 1, such as "
                f"`model.encode(x)`. Received: batch shape {batch}"
            )
        if mixture_distribution is None:
            shape = components_distribution.batch_shape_tensor() if batch[0] is None else batch
            dtype = _score_dtype(components_distribution)
            mixture_distribution = tfd.Categorical(logits=tf.zeros(shape, dtype))
        elif mixture_distribution.batch_shape.rank != 0:
            raise ValueError(
                "`mixture_distribution` must be one distribution over all posteriors, of batch "
                f"shape []. Received: batch shape {mixture_distribution.batch_shape}"
            )
        super().__init__(
            mixture_distribution,
            components_distribution,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            name=name,
        )
        parameters["mixture_distribution"] = mixture_distribution
        self._parameters = self._no_dependency(parameters)

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        return tfd.MixtureSameFamily._parameter_properties(dtype, num_classes)

    def estimate_entropy(self, num_samples: int = 1000, seed: Seed = None) -> EntropyEstimate:
        """Returns the entropy, by draws: that of a mixture has no closed form.

        Args:
            num_samples: Number of draws; of one there is no standard error.
            seed: Int or pair of ints.

        Raises:
            ValueError: `num_samples` is smaller than 1.
        """
        num_samples = whole_number("num_samples", num_samples)
        seed = None if seed is None else stateless_seed(seed)
        scores = -tf.cast(self.log_prob(self.sample(num_samples, seed=seed)), tf.float64)
        # Of one draw that is 0 / 0.
        variance = tf.math.reduce_variance(scores) / tf.cast(num_samples - 1, tf.float64)
        return EntropyEstimate(float(tf.reduce_mean(scores)), float(tf.sqrt(variance)))

    def _log_prob(self, value: Tensor) -> Tensor:
        components = self.components_distribution
        event = components.event_shape
        value = tf.cast(value, components.dtype)
        leading = value.shape.rank - event.rank
        known: Any = value.shape[:leading].num_elements()
        count = tf.reduce_prod(tf.shape(value)[:leading]) if known is None else known
        rows = tf.reshape(value, [count, *event])  # [R, *E]
        shares = tf.nn.log_softmax(self.mixture_distribution.logits_parameter())  # [N]
        elements = self._num_elements()
        most: Any = max(1, _ELEMENTS_AT_ONCE // elements) if isinstance(elements, int) else None
        whole = None not in (most, known) and known <= most

        def score(rows: Tensor) -> Tensor:
            log_q = pairwise_log_prob_exact(components, rows[None])[0]  # [R, N]
            return tf.cast(log_sum(log_q, shares), _score_dtype(components))

        if whole:
            found = score(rows)
        else:
            most = tf.maximum(1, _ELEMENTS_AT_ONCE // elements) if most is None else most
            found = _in_blocks(score, rows, most, _score_dtype(components))
        return with_event(found, [], axes=event.rank, like=value)

    def _num_elements(self) -> Any:
        """Returns how many elements a draw of each component has, as an int where it is known."""
        return self._num_components() * max(1, self.event_shape.num_elements())

    def _num_components(self) -> Any:
        components = self.components_distribution
        return components.batch_shape[0] or components.batch_shape_tensor()[0]

    def _sample_n(self, n: Tensor, seed: Any = None) -> Tensor:
        components = self.components_distribution
        which_seed, noise = split_seed(seed, 2)
        which = self.mixture_distribution.sample(n, seed=which_seed)  # [n]
        normal = as_diagonal_normal(components)
        if normal is not None:
            loc, scale = (tf.gather(part, which) for part in (normal.loc, normal.scale))
            return tfd.Normal(loc, scale).sample(seed=noise)
        known: Any = tf.get_static_value(n), tf.get_static_value(self._num_elements())
        if None not in known and int(known[0]) * int(known[1]) <= _ELEMENTS_AT_ONCE:
            each = components.sample(n, seed=noise)  # [n, N, *E]
            return tf.gather(each, which, axis=1, batch_dims=1)
        return self._one_of_each(which, noise)

    def _one_of_each(self, which: Tensor, seed: Tensor) -> Tensor:
        """Returns a draw of each of these components `[n, *E]`, by passes over all components.

        A pass draws about as often in all as is asked for, m times of each component; the draw that
        is the t-th of its component takes the (t mod m)-th of pass t // m.
        """
        components, turn = self.components_distribution, _turns(which)
        number = self._num_components()
        num_each = tf.maximum(1, -(-tf.shape(which)[0] // number))  # m
        known: Any = tf.get_static_value(num_each)
        num_each = num_each if known is None else int(known)

        def draw(index: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
            each = components.sample(num_each, seed=fold_in(seed, index))  # [m, N, *E]
            own = tf.gather_nd(each, tf.stack([turn % num_each, which], axis=1))
            now = with_event(turn // num_each == index, [1] * (drawn.shape.rank - 1), axes=0)
            return index + 1, tf.where(now, own, drawn)

        shape = tf.concat([tf.shape(which), components.event_shape_tensor()], axis=0)
        start = tf.ensure_shape(tf.zeros(shape, components.dtype), [None, *components.event_shape])
        last = tf.reduce_max(tf.concat([turn // num_each, [-1]], axis=0))
        _, drawn = tf.while_loop(
            lambda index, _: index <= last,
            draw,
            (tf.constant(0), start),
            parallel_iterations=1,
            maximum_iterations=number,  # n / m at most; XLA asks for it where gradients are taken
        )
        return drawn


def _score_dtype(components: Distribution) -> Any:
    """Returns the type of log-densities: that of draws, which may also be whole numbers."""
    dtype = tf.as_dtype(components.dtype)  # A name, where a distribution was given one.
    return dtype if dtype.is_floating else tf.float32


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


def _in_blocks(score: Any, rows: Tensor, most: Tensor | int, dtype: Any) -> Tensor:
    """Returns scores `[R]` of rows `[R, ...]`, at most so many at a time."""
    number = tf.shape(rows)[0]
    # Of no rows there is one block all the same, of zeros: a loop that never runs has no shape.
    num_blocks = tf.maximum(1, -(-number // most))
    size = tf.maximum(1, -(-number // num_blocks))
    one: Any = tf.cast(number == 0, tf.int32)
    rows = tf.pad(rows, [[0, one], *([[0, 0]] * (rows.shape.rank - 1))])
    # Filled up with the last row: zeros may be no values at all, and have no gradient.
    places = tf.minimum(tf.range(num_blocks * size), tf.maximum(number, 1) - 1)

    # Not written out in the loop: in loops within loops TensorFlow gives the sums of gradients of
    # large graphs names that are taken ("already exists").
    @tf.function(autograph=False, experimental_attributes={"_noinline": True})
    def score_block(block: Tensor) -> Tensor:
        return score(tf.gather(rows, block))

    found = tf.map_fn(
        score_block,
        tf.reshape(places, tf.stack([num_blocks, size])),
        fn_output_signature=tf.TensorSpec([None], dtype),
        parallel_iterations=1,
    )
    return tf.reshape(found, [-1])[:number]
