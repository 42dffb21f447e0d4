"""Joint distributions of levels against Gaussians with a known covariance."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

from tfvae.distributions import Hierarchy, Labelled, pairwise_log_prob
from tfvae.distributions.gaussian import precision_weighted
from tfvae.distributions.level_rates import level_rates
from tfvae.distributions.levels import Factor
from tfvae.distributions.statistics import centre, statistic

tfd = tfp.distributions

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 3)).astype("float32")
TOP, DOWN, BY_X = (RNG.normal(size=s).astype("float32") for s in [(3, 2), (2, 4), (3, 4)])


def posterior(x=X):
    """q(z_2|x) q(z_1|x, z_2), of which z_1 has the shape (2, 2)."""

    def middle(values):
        loc = values["x"] @ BY_X + values["z_2"] @ DOWN
        return tfd.Independent(tfd.Normal(tf.reshape(loc, [-1, 2, 2]), 0.5), 2)

    factors = [
        Factor("z_2", ("x",), lambda given: tfd.MultivariateNormalDiag(given["x"] @ TOP, [1.0, 2])),
        Factor("z_1", ("x", "z_2"), middle),
    ]
    return Hierarchy(factors, {"z_1": (2, 2), "z_2": (2,)}, {"x": tf.constant(x)})


def moments(x):
    """Mean and covariance of (z_1, z_2) given x."""
    mean, cov = x @ TOP, np.diag([1.0, 4.0])
    upper = np.hstack([DOWN.T @ cov @ DOWN + 0.25 * np.eye(4), DOWN.T @ cov])
    covariance = np.vstack([upper, np.hstack([cov @ DOWN, cov])])
    return np.concatenate([x @ BY_X + mean @ DOWN, mean]), covariance


@pytest.mark.slow
@pytest.mark.xla
def test_density_is_that_of_the_joint_gaussian():
    q = posterior()
    assert q.batch_shape == (5,)
    assert q.event_shape == (6,)
    z = RNG.normal(size=(7, 5, 6)).astype("float32")
    expected = np.stack(
        [stats.multivariate_normal(*moments(x)).logpdf(z[:, i]) for i, x in enumerate(X)], axis=1
    )
    np.testing.assert_allclose(q.log_prob(z), expected, rtol=1e-4)
    np.testing.assert_allclose(tf.reduce_sum(q.level_log_probs(z), -1), expected, rtol=1e-4)
    # One value meets all of the batch.
    alone = q.log_prob(z[0, 0])
    np.testing.assert_allclose(alone, q.log_prob(np.repeat(z[:1, :1], 5, axis=1))[0], rtol=1e-5)
    # Every draw under every posterior.
    pairs = pairwise_log_prob(q, tf.constant(z))
    for j, x in enumerate(X):
        expected = stats.multivariate_normal(*moments(x)).logpdf(z)
        np.testing.assert_allclose(pairs[:, :, j], expected, rtol=1e-4)
    compiled = tf.function(lambda z: pairwise_log_prob(posterior(), z), jit_compile=True)
    np.testing.assert_allclose(compiled(z), pairs, rtol=1e-4)


def test_draws_have_the_moments_and_the_densities_that_they_are_given():
    q = posterior()
    z, log_q = q.experimental_sample_and_log_prob(20_000, seed=[1, 2])
    assert z.shape == (20_000, 5, 6)
    np.testing.assert_allclose(log_q, q.log_prob(z), rtol=1e-4, atol=1e-4)
    for i, x in enumerate(X):
        mean, covariance = moments(x)
        error = np.sqrt(np.diag(covariance) / 20_000)
        assert np.all(np.abs(np.mean(z[:, i], axis=0) - mean) < 5 * error)
        # The standard error of a covariance of Gaussians.
        variances = np.diag(covariance)
        error = np.sqrt((np.outer(variances, variances) + covariance**2) / 20_000)
        assert np.all(np.abs(np.cov(z[:, i].numpy().T) - covariance) < 5 * error)
    np.testing.assert_array_equal(q.sample(3, seed=[1, 2]), q.sample(3, seed=[1, 2]))
    assert q.sample((2, 3), seed=[1, 2]).shape == (2, 3, 5, 6)
    z, log_q = q.experimental_sample_and_log_prob((2, 3), seed=[1, 2])
    np.testing.assert_allclose(log_q, q.log_prob(z), rtol=1e-4, atol=1e-4)


def test_levels_are_cut_out_and_joined_again():
    q = posterior()
    z = q.sample(2, seed=[1, 2])
    levels = q.split(z)
    assert {name: value.shape for name, value in levels.items()} == {
        "z_1": (2, 5, 2, 2),
        "z_2": (2, 5, 2),
    }
    np.testing.assert_array_equal(q.join(levels), z)
    assert q.levels == ("z_1", "z_2")


def test_centres_of_affine_levels_are_the_mean():
    q = posterior()
    np.testing.assert_allclose(centre(q), [moments(x)[0] for x in X], rtol=1e-4, atol=1e-5)
    # It is not the mean in general, and so goes by another name.
    for name in ("mean", "stddev", "entropy"):
        assert statistic(q, name) is None


def test_independent_levels_have_moments_and_entropy():
    factors = [
        Factor("z_2", (), lambda _: tfd.MultivariateNormalDiag([1.0, 2.0], [3.0, 4.0])),
        Factor("z_1", ("x",), lambda given: tfd.Independent(tfd.Normal(given["x"], 0.5), 1)),
    ]
    q = Hierarchy(factors, {"z_1": (3,), "z_2": (2,)}, {"x": tf.constant(X)})
    assert q.factorises
    np.testing.assert_allclose(q.mean(), np.hstack([X, np.tile([1.0, 2.0], (5, 1))]))
    np.testing.assert_allclose(q.stddev(), np.tile([0.5, 0.5, 0.5, 3.0, 4.0], (5, 1)))
    expected = 5 * 0.5 * np.log(2 * np.pi * np.e) + np.log(0.5**3 * 3.0 * 4.0)
    np.testing.assert_allclose(q.entropy(), np.full(5, expected), rtol=1e-6)
    # z_2 is one distribution for all five points, but drawn for each.
    z = q.split(q.sample(4, seed=[1, 2]))["z_2"].numpy()
    assert z.shape == (4, 5, 2)
    assert len(np.unique(z[..., 0])) == 20


def test_who_depends_on_whom():
    def chain(name, reads):
        return Factor(name, reads, lambda v: tfd.MultivariateNormalDiag(v[reads[0]], [1.0]))

    factors = [chain("z_1", ("x",)), chain("z_2", ("z_1",)), chain("z_3", ("z_2",))]
    q = Hierarchy(factors, {f"z_{i}": (1,) for i in (1, 2, 3)}, {"x": tf.zeros([5, 1])})
    assert q.descendants("z_1") == {"z_2", "z_3"}
    assert q.descendants("z_3") == set()
    assert q.parents("z_3") == ["z_2"]
    # Where nothing but the first level reads x, the others are the same for all.
    z = tf.ones([2, 4, 3])
    np.testing.assert_allclose(
        pairwise_log_prob(q, z),
        np.repeat(q.log_prob(tf.ones([1, 5, 3]))[0][None, None], 2, 0).repeat(4, 1),
        rtol=1e-6,
    )


def test_product_of_gaussians_is_normalised_and_proportional():
    one = tfd.Normal(tf.constant([[1.0, -2.0]]), tf.constant([[0.5, 2.0]]))
    other = tfd.Normal(tf.constant([[-1.0, 3.0]]), tf.constant([[1.5, 0.7]]))
    z = np.random.default_rng(0).normal(size=(50, 1, 2)).astype("float32")
    product = precision_weighted(one, other)
    ratio = product.log_prob(z) - tf.reduce_sum(one.log_prob(z) + other.log_prob(z), axis=-1)
    np.testing.assert_allclose(ratio, np.full((50, 1), ratio[0, 0]), rtol=1e-5)
    assert product.batch_shape == (1,)


def test_draws_that_carry_no_gradient_say_so():
    factors = [
        Factor("z_2", ("x",), lambda v: tfd.OneHotCategorical(logits=v["x"], dtype=tf.float32)),
        Factor("z_1", ("z_2",), lambda v: tfd.MultivariateNormalDiag(v["z_2"], [1.0] * 3)),
    ]
    q = Hierarchy(factors, {"z_1": (3,), "z_2": (3,)}, {"x": tf.constant(X)})
    assert q.reparameterization_type == tfd.NOT_REPARAMETERIZED
    assert posterior().reparameterization_type == tfd.FULLY_REPARAMETERIZED
    with pytest.raises(NotImplementedError, match="have no known mean"):
        q.mean()
    # A mixture of three Gaussians, by its joint density.
    z = q.sample(6, seed=[1, 2])
    states, points = z[..., 3:].numpy(), z[..., :3].numpy()
    probs = stats.norm.logpdf(points, states).sum(-1) + np.sum(
        states * tf.nn.log_softmax(X).numpy(), axis=-1
    )
    np.testing.assert_allclose(q.log_prob(z), probs, rtol=1e-4)


def test_states_that_cannot_be_count_nothing_in_rates():
    """Of a latent that is known in one row and not in the other: no closed form, a sum."""
    label = tf.constant([np.nan, 1.0])

    def q_y(_):
        logits = tf.constant([[0.0, 0.0, -np.inf]] * 2)
        return Labelled(tfd.Categorical(logits, dtype=tf.float32), label)

    q = Hierarchy([Factor("y", ("label",), q_y)], {"y": ()}, {"label": label})
    uniform = tfd.Categorical(tf.zeros(3), dtype=tf.float32)
    p = Hierarchy([Factor("y", (), lambda _: uniform)], {"y": ()})
    rates = level_rates(q, p, q.draw(2, tf.constant([0, 1]), max_states=3)).rates["y"]
    np.testing.assert_allclose(rates, [np.log(1.5), np.log(3.0)], rtol=1e-6)
