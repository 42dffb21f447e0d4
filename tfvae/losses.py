"""Losses for stock Keras models that return distributions."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfvae._typing import Distribution, Tensor, register

__all__ = ["NegativeLogLikelihood"]


@register
class NegativeLogLikelihood(keras.losses.Loss):
    """-log p(y) under the distribution that a stock Keras model returns.

        loss = mean_b -log p(y[b])

    Args:
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss.
        **kwargs: As in `keras.losses.Loss`.

    Call arguments:
        y_true: Data `[B, *E]`.
        y_pred: Distribution, batch shape `[B]`, event shape `E`: the output of a model that ends
            with a layer of `tfvae.layers`.
        sample_weight: `[B]` or None.

    Returns:
        Scalar in nats, or `[B]` without reduction.

    Raises:
        TypeError: `y_pred` is no distribution.
        ValueError: `y_true` has another shape than draws of `y_pred`, but for a last axis of one.

    Example:
        >>> model = keras.Sequential([
        ...     keras.Input((3,)), keras.layers.Dense(2), tfvae.layers.IndependentNormal(1)])
        >>> model.compile("adam", loss=tfvae.NegativeLogLikelihood())
        >>> history = model.fit(np.ones([8, 3]), np.ones([8, 1]), verbose=0)
    """

    def __init__(
        self,
        reduction: str = "sum_over_batch_size",
        name: str = "negative_log_likelihood",
        **kwargs: Any,
    ) -> None:
        super().__init__(reduction=reduction, name=name, **kwargs)

    def __call__(
        self, y_true: Tensor, y_pred: Distribution, sample_weight: Tensor | None = None
    ) -> Tensor:
        # The base class turns `y_pred` into a tensor before `call` can see the distribution.
        values = self.call(y_true, y_pred)
        if sample_weight is not None:
            values *= tf.cast(tf.reshape(sample_weight, [-1]), values.dtype)
        if self.reduction in ("none", None):
            return values
        total = tf.reduce_sum(values)
        if self.reduction == "sum":
            return total
        if self.reduction == "mean_with_sample_weight" and sample_weight is not None:
            return total / tf.reduce_sum(tf.cast(sample_weight, values.dtype))
        return total / tf.cast(tf.size(values), values.dtype)

    def call(self, y_true: Tensor, y_pred: Distribution) -> Tensor:
        """Returns -log p(y) `[B]`."""
        if not isinstance(y_pred, Distribution):
            raise TypeError(
                "`NegativeLogLikelihood` needs a model that returns a distribution. Received: "
                f"{type(y_pred).__name__} of shape {getattr(y_pred, 'shape', None)}. "
                "End the model with a layer of `tfvae.layers`."
            )
        y_true = tf.convert_to_tensor(y_true)
        y_true = _aligned(y_true, y_pred.batch_shape, y_pred.event_shape)
        score = getattr(y_pred, "_scored_as_tensor", y_pred.log_prob)
        return -score(tf.cast(y_true, y_pred.dtype))


def _aligned(y_true: Tensor, batch: tf.TensorShape, event: tf.TensorShape) -> Tensor:
    """Returns the labels without, or with, a last axis of one, as Keras's own losses do.

    Left to broadcasting, [B] against [B, 1] would be scored as [B, B].
    """
    expected = batch + event
    if expected.rank is None:
        return y_true  # Nothing is known of it, as of some distributions of TFP in a graph.
    if batch.rank == 0:
        # One distribution for all examples takes any leading axes as they are.
        expected = y_true.shape[: max(0, y_true.shape.rank - event.rank)] + event
    rank, shape = len(expected), y_true.shape
    if len(shape) == rank - 1 and expected[-1] == 1 and shape[-1:] != [1]:
        y_true = tf.expand_dims(y_true, -1)
    elif len(shape) == rank + 1 and shape[-1] == 1:
        y_true = tf.squeeze(y_true, -1)
    # A model with samples in front of its batch scores each of them by the same labels; these still
    # have a row per example.
    missing = rank - len(y_true.shape)
    fits = y_true.shape.is_compatible_with(expected[max(0, missing) :])
    if missing > 0:
        fits = fits and missing < batch.rank and not _either_way(y_true.shape, batch, missing)
    if not fits:
        raise ValueError(
            "`y_true` must hold one example per distribution that the model returns. "
            f"Expected: {expected.as_list()}. Received: {shape.as_list()}. "
            "Set `event_shape` on the model's last layer to the shape of one example. Labels of a "
            "model with samples in front of its batch may lack that axis where its size is known "
            "and not that of the batch; else give them all axes."
        )
    return y_true


def _either_way(labels: tf.TensorShape, batch: tf.TensorShape, missing: int) -> bool:
    """Whether the rows of the labels may just as well belong to the first axis of the batch."""
    rows, first = labels[0], batch[0]
    return first is None or rows == first or (rows is None and batch[missing] is not None)
