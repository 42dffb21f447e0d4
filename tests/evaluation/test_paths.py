"""Where a path is stopped at, and which latents may be moved along one."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.kinds import kind
from tfvae.evaluation import Encoder
from tfvae.evaluation.paths import check_free, path_of, temperatures
from tfvae.evaluation.streaming import Stream


@pytest.mark.parametrize("number", [1, 2, 7, 1000])
def test_temperatures_rise_from_zero_to_one_and_lie_alike_at_both_ends(number):
    betas = temperatures(number)
    assert betas.shape == (number + 1,)
    assert (betas[0], betas[-1]) == (0.0, 1.0)
    assert all(low < high for low, high in itertools.pairwise(betas))
    np.testing.assert_allclose(betas + betas[::-1], 1.0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("semi_supervised", "knows nothing of values that the data gives of y"),
        ("drawn_bits", "`z` with a prior Bernoulli, which takes whole .* a larger `max_states`"),
        ("directions", "`z` with a prior SphericalUniform, which lies on a .* `tfvae.log_likelih"),
    ],
)
def test_latents_that_are_not_free_are_refused(name, what):
    with pytest.raises(ValueError, match=what):
        check_free(kind(name)[0])


@pytest.mark.parametrize("start", [None, Encoder()])
def test_both_ends_of_a_path_are_those_of_the_model(start):
    model, data = kind("conditional")
    ((batch, num),) = Stream(model, data, 20)
    path = path_of(model, batch, {}, start)
    z = tf.stack([path.draw(tf.constant([0, i])) for i in range(3)])
    assert z.shape == (3, num, 2)
    prior = model.prior_of(batch)
    first = model.encode(**batch) if start else prior
    np.testing.assert_allclose(path.log_density(z, 0.0), first.log_prob(z), rtol=1e-6)
    joint = model.decode(z, batch["context"]).log_prob(
        tf.broadcast_to(batch["x"], [3, num, 6])
    ) + prior.log_prob(z)
    np.testing.assert_allclose(path.log_density(z, 1.0), joint, rtol=1e-5)
