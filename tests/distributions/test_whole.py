"""Counts and categories that are not known."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.distributions.whole import CarefulCategorical, CarefulPoisson

tfd = tfp.distributions


@pytest.mark.parametrize(
    ("p", "q"),
    [
        (CarefulPoisson(log_rate=1.0), tfd.Poisson(log_rate=1.0)),
        (
            CarefulCategorical([0.0, 1.0, -1.0], dtype=tf.float32),
            tfd.Categorical([0.0, 1.0, -1.0], dtype=tf.float32),
        ),
    ],
    ids=["Poisson", "Categorical"],
)
def test_nan_is_nan_and_all_else_as_in_tfp(p, q):
    known = np.array([0.0, 1.0, 2.0], "float32")
    np.testing.assert_array_equal(p.log_prob(known), q.log_prob(known))
    np.testing.assert_array_equal(p.log_prob(known.astype("int32")), q.log_prob(known))
    found = p.log_prob(np.array([1.0, np.nan], "float32"))
    np.testing.assert_array_equal(np.isnan(found), [False, True])
    np.testing.assert_array_equal(p.sample(9, seed=[1, 2]), q.sample(9, seed=[1, 2]))
