"""Importance-sampled evidence in blocks against NumPy on the same draws."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tests.conftest import binary_data, mlp_vae
from tfvae._random import fold_in, stateless_seed
from tfvae.models.importance import importance_evidence


@pytest.mark.parametrize(("num_samples", "block"), [(1, 1), (7, 7), (7, 3), (3, 10)])
def test_blocks_are_one_estimate(num_samples, block):
    vae, x, seed = mlp_vae(), binary_data(5), stateless_seed(3)
    blocks = -(-num_samples // block)
    log_w = [vae.terms(x, block, fold_in(seed, i)).log_w for i in range(blocks)]
    log_w = np.concatenate(log_w, axis=0)[:num_samples].astype("float64")  # [S, B]
    expected = scipy.special.logsumexp(log_w, axis=0) - np.log(num_samples)
    w = np.exp(log_w - log_w.max(axis=0))
    ess = w.sum(axis=0) ** 2 / np.square(w).sum(axis=0)
    compiled = tf.function(lambda count: importance_evidence(vae, {"x": x}, count, seed, block))
    for evidence in (
        importance_evidence(vae, {"x": x}, num_samples, seed, block),
        compiled(tf.constant(num_samples)),
    ):
        np.testing.assert_allclose(evidence.log_p_x, expected, rtol=1e-5)
        np.testing.assert_allclose(evidence.ess, ess, rtol=1e-4)
        if num_samples > 1:
            # Delta method: the standard error of a log mean is that of the mean, over the mean.
            error = w.std(axis=0, ddof=1) / np.sqrt(num_samples) / w.mean(axis=0)
            np.testing.assert_allclose(evidence.standard_error, error, rtol=1e-3, atol=1e-5)
