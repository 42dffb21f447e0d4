"""Distributions around others answer for these, composite tensors or not."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.distributions import (
    Support,
    as_diagonal_normal,
    as_factors,
    element_states,
    marginals_of,
    probabilities,
    support_of,
)

tfd = tfp.distributions


class Plain(tfd.Distribution):
    """Exponential variables as somebody may write them: no composite tensor, no bijector."""

    def __init__(self, rate):
        self.rate = tf.convert_to_tensor(rate)
        super().__init__(self.rate.dtype, tfd.NOT_REPARAMETERIZED, False, True)

    def _batch_shape(self):
        return self.rate.shape

    def _event_shape(self):
        return tf.TensorShape([])

    def _log_prob(self, x):
        return tf.where(x > 0.0, tf.math.log(self.rate) - self.rate * x, -float("inf"))


@support_of.register(Plain)
def _(distribution):
    del distribution
    return Support("Plain", lower=0.0, exclusive=True)


RATES = np.array([[1.0, 2.0, 3.0]], "float32")


@pytest.mark.parametrize(
    "outer",
    [
        tfd.Independent(Plain(RATES), 1),
        tfd.BatchReshape(Plain(RATES), [3]),
        tfd.BatchBroadcast(Plain(RATES), [2, 3]),
        tfd.MixtureSameFamily(tfd.Categorical(tf.zeros([1, 3])), Plain(RATES)),
    ],
    ids=lambda outer: type(outer).__name__,
)
def test_what_is_no_composite_tensor_is_seen_through_all_the_same(outer):
    assert not isinstance(outer, tf.__internal__.CompositeTensor)
    assert support_of(outer) == Support("Plain", lower=0.0, exclusive=True)


def test_elements_and_marginals_of_what_is_no_composite_tensor():
    p = tfd.Independent(Plain(RATES), 1)
    assert type(as_factors(p)) is Plain
    assert as_diagonal_normal(p) is element_states(p) is probabilities(p) is None
    x = tf.constant([[0.5, np.nan, 1.0]])
    np.testing.assert_allclose(marginals_of(p)(x), [np.log(3.0) - 0.5 - 3.0], rtol=1e-6)


@pytest.mark.parametrize(
    "family",
    [
        lambda loc: tfd.MultivariateNormalDiag(loc, tf.ones_like(loc)),
        lambda loc: tfd.TransformedDistribution(
            tfd.Independent(tfd.Normal(loc, 1.0), 1), tfp.bijectors.Exp()
        ),
        lambda loc: tfd.MixtureSameFamily(tfd.Categorical(tf.zeros(3)), tfd.Normal(loc, 1.0)),
    ],
    ids=["vector", "transformed", "mixture"],
)
def test_draws_for_no_rows_where_a_graph_leaves_them_open(family):
    draw = tf.function(
        lambda loc: family(loc).experimental_sample_and_log_prob(4, seed=[0, 1]),
        input_signature=[tf.TensorSpec([None, 3])],
    )
    for rows in (0, 2):
        loc = tf.ones([rows, 3])
        for found, expected in zip(
            draw(loc), family(loc).experimental_sample_and_log_prob(4, seed=[0, 1]), strict=True
        ):
            assert found.shape[:2] == (4, rows)
            np.testing.assert_allclose(found, expected, rtol=1e-5)
