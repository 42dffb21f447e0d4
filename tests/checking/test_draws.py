"""Which values are among which others, as far as bounds tell."""

import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.checking.draws import _within
from tfvae.distributions.support import support_of

tfd = tfp.distributions
SUPPORTS = {
    "one-hot": tfd.OneHotCategorical(logits=tf.zeros([2])),
    "numbered": tfd.Independent(tfd.Categorical(logits=tf.zeros([2, 3])), 1),
    "counts": tfd.Independent(tfd.Poisson(tf.ones([2])), 1),
    "real": tfd.MultivariateNormalDiag(tf.zeros([2]), tf.ones([2])),
    "positive": tfd.Independent(tfd.Gamma(tf.ones([2]), 1.0), 1),
    "share": tfd.Independent(tfd.Beta(tf.ones([2]), 1.0), 1),
    "direction": tfd.VonMisesFisher(tf.constant([1.0, 0.0]), 1.0),
}
# Values → all others that hold them.
HELD = {
    "one-hot": {"numbered", "counts", "real"},
    "numbered": {"counts", "real"},
    "counts": {"real"},
    "real": set(),
    "positive": {"real"},
    "share": {"real", "positive"},
    "direction": {"real"},
}


@pytest.mark.parametrize("name", HELD)
def test_values_are_within_those_that_hold_them(name):
    inner = support_of(SUPPORTS[name])
    found = {other for other, p in SUPPORTS.items() if _within(inner, support_of(p))}
    assert found == HELD[name] | {name}
