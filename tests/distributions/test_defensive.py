"""A proposal mixed with a prior, against TFP's mixture of the same two."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.distributions.defensive import DefensiveMixture

tfd = tfp.distributions

LOC, SCALE, SHARE = [[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]], [[0.1, 0.2]] * 3, 0.3


def proposal():
    return tfd.MultivariateNormalDiag(LOC, SCALE)


PRIORS = {
    "one for all": lambda: tfd.MultivariateNormalDiag([0.0, 0.0], [1.0, 2.0]),
    "of each": lambda: tfd.MultivariateNormalDiag([[0.0, 0.0]] * 3, [[1.0, 2.0]] * 3),
}


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_densities_are_those_of_a_mixture(prior):
    mixture = DefensiveMixture(proposal(), prior(), SHARE)
    whole = PRIORS["of each"]()
    expected = tfd.Mixture(tfd.Categorical(probs=[[1 - SHARE, SHARE]] * 3), [proposal(), whole])
    z = np.random.default_rng(0).normal(size=(7, 3, 2)).astype("float32")
    np.testing.assert_allclose(mixture.log_prob(z), expected.log_prob(z), rtol=1e-5)
    assert mixture.batch_shape == [3]
    assert mixture.event_shape == [2]
    # Where the proposal gives nothing at all, the prior is left.
    far = np.full([3, 2], 1e3, "float32")
    left = whole.log_prob(far) + np.log(SHARE)
    np.testing.assert_allclose(mixture.log_prob(far), left, rtol=1e-6)


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_draws_have_the_moments_of_a_mixture_and_are_independent(prior):
    z = DefensiveMixture(proposal(), prior(), SHARE).sample(20_000, seed=[0, 1]).numpy()
    assert z.shape == (20_000, 3, 2)
    mean = (1 - SHARE) * np.array(LOC)
    spread = (1 - SHARE) * (np.square(LOC) + np.square(SCALE)) + SHARE * np.square([1.0, 2.0])
    spread = np.sqrt(spread - mean**2)
    assert np.abs((z.mean(axis=0) - mean) / spread).max() < 5 / np.sqrt(20_000)
    np.testing.assert_allclose(z.std(axis=0), spread, rtol=0.05)
    # One point's draws tell nothing of another's, also where one prior is that of all.
    others = np.corrcoef(z[:, :, 0].T)[np.triu_indices(3, 1)]
    assert np.abs(others).max() < 5 / np.sqrt(20_000)


def test_mixes_whole_numbers():
    """Drawn categories, of which either part may be an integer."""
    q = tfd.Categorical(probs=[[0.5, 0.5], [1.0, 0.0]], dtype=tf.int32)
    p = tfd.Categorical(probs=[0.0, 1.0], dtype=tf.float32)
    mixture = DefensiveMixture(q, p, SHARE)
    np.testing.assert_allclose(np.exp(mixture.log_prob([1, 1])), [0.65, 0.3], rtol=1e-5)
    draws = mixture.sample(4000, seed=[0, 1])
    assert draws.dtype == tf.int32
    np.testing.assert_allclose(np.mean(draws, axis=0), [0.65, 0.3], atol=5 * 0.5 / np.sqrt(4000))


def test_the_same_seed_gives_the_same_draws():
    mixture = DefensiveMixture(proposal(), PRIORS["one for all"](), SHARE)
    one, other, third = (mixture.sample(5, seed=[0, seed]) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, other)
    assert np.any(one != third)
