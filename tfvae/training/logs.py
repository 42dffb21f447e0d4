"""What is logged of a pass: sums in one array while steps run, means where they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfvae._typing import Tensor

__all__ = ["LOSS", "Logs", "Mean"]

LOSS = "loss"


class Mean(keras.metrics.Mean):
    """A metric of Keras whose sums are the same on all devices that a model is on.

    Those of Keras have sums of their own on each, which are added up to be read.

    Args:
        name: What is logged.
    """

    def add_variable(self, *args: Any, **kwargs: Any) -> Any:
        """See `keras.metrics.Metric.add_variable`."""
        return super().add_variable(*args, **{**kwargs, "aggregation": "only_first_replica"})


class Logs:
    """Metrics of Keras by name, and their sums as one array that a compiled loop can carry.

    A column of the array holds the sum of the values of a metric and that of their weights.

    Args:
        trackers: The metrics, the loss among them.
    """

    def __init__(self, trackers: Mapping[str, keras.metrics.Mean]) -> None:
        self._trackers = dict(trackers)

    @property
    def names(self) -> Sequence[str]:
        """What is logged."""
        return tuple(self._trackers)

    def begin(self) -> Tensor:
        """Returns the sums so far, `[2, M]` of the M metrics."""
        rows = [(metric.total, metric.count) for metric in self._trackers.values()]
        return tf.stack([tf.stack([tf.convert_to_tensor(x) for x in row]) for row in rows], axis=1)

    def points(self, sums: Tensor) -> Tensor:
        """Returns of how many points the loss is summed up, a scalar."""
        return sums[1, self.names.index(LOSS)]

    def are_finite(self, sums: Tensor) -> Tensor:
        """Returns whether the loss is finite, a truth value."""
        return tf.math.is_finite(sums[0, self.names.index(LOSS)])

    def add(
        self,
        sums: Tensor,
        loss: Tensor,
        values: Mapping[str, Tensor],
        size: Tensor,
        sample_weight: Tensor | None,
    ) -> Tensor:
        """Returns the sums after one more batch of B points.

        Args:
            sums: `[2, M]`.
            loss: The mean over the batch, a scalar.
            values: `[B]` by name, of all metrics but the loss.
            size: B, an int32 scalar.
            sample_weight: `[B]`, or None.

        Raises:
            ValueError: There are values of what is no metric.
        """
        unknown = sorted(set(values) - set(self.names))
        if unknown:
            raise ValueError(
                f"There is no metric for {', '.join(unknown)}. Name it in `names` of the scheme."
            )
        size = tf.cast(size, sums.dtype)
        weight, total = None, size
        if sample_weight is not None:
            weight = tf.cast(tf.reshape(sample_weight, [-1]), sums.dtype)
            total = tf.reduce_sum(weight)
        added = {LOSS: (tf.cast(loss, sums.dtype) * size, size)}
        for name, value in values.items():
            value = tf.cast(value, sums.dtype)
            value = value if weight is None else value * weight
            added[name] = tf.reduce_sum(value), total
        nothing = tf.zeros([], sums.dtype), tf.zeros([], sums.dtype)
        rows = [added.get(name, nothing) for name in self.names]
        return sums + tf.stack([tf.stack(part) for part in zip(*rows, strict=True)])

    def end(self, sums: Tensor) -> None:
        """Sets the metrics to the sums."""
        totals, counts = tf.unstack(sums, num=2)
        for i, metric in enumerate(self._trackers.values()):
            metric.total.assign(totals[i])
            metric.count.assign(counts[i])
