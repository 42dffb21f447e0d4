"""What data a likelihood can have produced."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.distributions import support_of
from tfvae.layers import IndependentBernoulli, IndependentNormal

tfd = tfp.distributions


def test_binary_likelihoods():
    bernoulli = tfd.Independent(tfd.Bernoulli(logits=tf.zeros([5, 2, 3])), 2)
    for distribution in (
        bernoulli,
        tfd.BatchReshape(bernoulli, [5, 1]),
        IndependentBernoulli((2, 3))(np.zeros([5, 6], "float32")),
        tfd.Bernoulli(probs=0.5),
    ):
        support = support_of(distribution)
        assert support.likelihood == "Bernoulli"
        assert (support.lower, support.upper, support.whole) == (0.0, 1.0, True)
        assert "binarise" in support.remedy
        assert "IndependentNormal" in support.remedy


def test_real_likelihoods_take_everything():
    support = support_of(IndependentNormal((2, 3))(np.zeros([5, 12], "float32")))
    assert support.likelihood == "Normal"
    assert (support.lower, support.upper, support.whole) == (None, None, False)
