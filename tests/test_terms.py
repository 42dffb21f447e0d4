"""The quantities that follow from one pass, by hand and in their limits."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from hypothesis import given, settings
from hypothesis import strategies as st

import tfvae
from tfvae.distributions.finite import weighted_states
from tfvae.objectives import MinibatchStratified, split_rate

tfd = tfp.distributions


def make_terms(loc, scale, num_samples=2, **scores):
    """Returns `Terms` of draws from N(loc, scale**2), with zeros for the scores not given."""
    q_z = tfd.MultivariateNormalDiag(loc, scale)
    p_z = tfvae.priors.StandardNormal(q_z.event_shape).distribution()
    z = q_z.sample(num_samples, seed=[3, 4])
    zeros = tf.zeros([num_samples, q_z.batch_shape[0]])
    scores = {"log_p_x": zeros, "log_p_z": zeros, "log_q_z": zeros, "kl": None, **scores}
    return tfvae.Terms(**scores, z=z, q_z=q_z, p_z=p_z)


def test_sums_and_means_by_hand():
    log_p_x = tf.constant([[-1.0, -2.0, -3.0], [-3.0, -2.0, 1.0]])  # [S, B]
    log_p_z = tf.constant([[-4.0, 0.0, -1.0], [-2.0, -1.0, -1.0]])
    log_q_z = tf.constant([[1.0, 0.5, -1.0], [0.0, 0.5, -3.0]])
    terms = make_terms(
        tf.zeros([3, 2]), tf.ones([3, 2]), log_p_x=log_p_x, log_p_z=log_p_z, log_q_z=log_q_z
    )
    np.testing.assert_allclose(terms.log_w, [[-6.0, -2.5, -3.0], [-5.0, -3.5, 3.0]])
    np.testing.assert_allclose(terms.distortion, [2.0, 2.0, 1.0])
    np.testing.assert_allclose(terms.sampled_rate, [3.5, 1.0, -1.0])
    np.testing.assert_allclose(terms.rate, terms.sampled_rate)
    np.testing.assert_allclose(terms.elbo, [-5.5, -3.0, 0.0])
    # Without a closed form the ELBO is the mean log weight, to the rounding.
    np.testing.assert_allclose(terms.elbo, tf.reduce_mean(terms.log_w, axis=0), rtol=1e-6)
    exact = terms._replace(kl=tf.constant([3.0, 1.0, 0.5]))
    np.testing.assert_allclose(exact.rate, [3.0, 1.0, 0.5])
    np.testing.assert_allclose(exact.sampled_rate, [3.5, 1.0, -1.0])
    np.testing.assert_allclose(exact.elbo, [-5.0, -3.0, -1.5])


def test_impossible_states_count_nothing():
    """0 * log 0 = 0, in values and gradients; an unknown value stays unknown."""
    log_weights = tf.constant([[-np.inf, -200.0, 0.0], [0.0, 0.0, -np.inf]])  # [S, B]
    values = tf.constant([[-np.inf, -np.inf, -3.0], [-2.0, -2.0, np.nan]])
    terms = make_terms(tf.zeros([3, 2]), tf.ones([3, 2]))._replace(log_weights=log_weights)
    np.testing.assert_array_equal(terms.expect(values), [-2.0, -2.0, np.nan])
    with tf.GradientTape() as tape:
        tape.watch([log_weights, values])
        terms = terms._replace(log_weights=log_weights)
        total = tf.reduce_sum(terms.expect(values)[:2])
    by_weights, by_values = tape.gradient(total, [log_weights, values])
    np.testing.assert_array_equal(by_weights[:, :2], [[0.0, 0.0], [-2.0, -2.0]])
    np.testing.assert_array_equal(by_values[:, :2], [[0.0, 0.0], [1.0, 1.0]])


def test_states_that_no_posterior_and_no_prior_has_count_nothing():
    """Categories masked out, as by logits of minus infinity, leave the sums of the others."""
    logits = np.array([[0.3, -0.2, 0.5], [1.0, 0.1, -0.4]], "float32")
    masked = np.concatenate([logits, np.full([2, 1], -np.inf, "float32")], axis=1)

    def scores(logits):
        logits = tf.constant(logits)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            q_z = tfd.Independent(tfd.Categorical(logits[:, None], dtype=tf.float32), 1)
            prior = tf.where(logits[:1] == -np.inf, -np.inf, 0.0)
            p_z = tfd.Independent(tfd.Categorical(prior, dtype=tf.float32), 1)
            states = weighted_states(q_z)
            log_p_z = p_z.log_prob(states.z)
            terms = tfvae.Terms(
                tf.zeros_like(log_p_z),
                log_p_z,
                states.log_prob,
                None,
                states.z,
                q_z,
                p_z,
                log_weights=states.log_weight,
            )
            parts = split_rate(terms, 2, MinibatchStratified())
            found = [terms.sampled_rate, terms.batch_mutual_information, terms.elbo, *parts]
            total = terms.elbo  # the others are logged alone
        return np.stack(found), tape.gradient(total, logits).numpy()[:, :3]

    for plain, other in zip(scores(logits), scores(masked), strict=True):
        np.testing.assert_allclose(other, plain, rtol=1e-4, atol=1e-5)


def test_mutual_information_in_its_limits():
    generator = np.random.default_rng(0)
    scale = generator.uniform(0.5, 2.0, size=(1, 3)).astype("float32")
    equal = make_terms(tf.zeros([7, 3]), tf.repeat(scale, 7, axis=0))
    np.testing.assert_allclose(equal.batch_mutual_information, np.zeros(7), atol=1e-5)
    # 1000 standard deviations apart, every posterior is known by its draw: I = log B.
    apart = make_terms(1000.0 * tf.range(7.0)[:, None] * tf.ones([7, 3]), tf.ones([7, 3]))
    np.testing.assert_allclose(apart.batch_mutual_information, np.log(7.0), rtol=1e-5)
    # Two groups of posteriors, equal within and far apart between: I = log 2.
    groups = make_terms(1000.0 * tf.constant([0.0, 0.0, 1.0, 1.0])[:, None], tf.ones([4, 1]))
    np.testing.assert_allclose(groups.batch_mutual_information, np.log(2.0), rtol=1e-5)


def test_mutual_information_of_one_point_is_nothing():
    terms = make_terms(tf.ones([1, 2]), tf.ones([1, 2]))
    np.testing.assert_array_equal(terms.batch_mutual_information, [0.0])


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=40, database=None)
@given(
    st.integers(1, 6).flatmap(
        lambda size: st.lists(
            st.tuples(st.floats(-100, 100), st.floats(0.05, 20)), min_size=size, max_size=size
        )
    )
)
def test_mutual_information_never_exceeds_log_of_the_batch(values):
    loc, scale = (np.array(part, "float32")[:, None] for part in zip(*values, strict=True))
    information = make_terms(loc, scale, num_samples=3).batch_mutual_information
    assert np.max(information) <= np.log(len(values)) + 1e-4


def full_gaussians(terms):
    """Returns the same posteriors as a class that has no fast density."""
    q_z = tfd.MultivariateNormalTriL(terms.q_z.mean(), tf.linalg.diag(terms.q_z.stddev()))
    return terms._replace(q_z=q_z)


def normal_terms(size, spread=2.0):
    generator = np.random.default_rng(size)
    loc = (spread * generator.normal(size=(size, 3))).astype("float32")
    return make_terms(loc, generator.uniform(0.5, 2.0, size=(size, 3)).astype("float32"))


@pytest.mark.parametrize("size", [1, 2, 15, 16])
def test_mutual_information_of_few_points_is_the_same_of_any_class(size):
    terms = normal_terms(size)
    full = full_gaussians(terms).batch_mutual_information
    np.testing.assert_allclose(full, terms.batch_mutual_information, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size", [17, 31, 32, 100])
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.xla)])
def test_of_many_points_sixteen_stand_for_those_that_follow(size, jit_compile):
    terms = normal_terms(size)
    scored = {math.ceil(k * size / 16) for k in range(16)}
    first = [max(i for i in scored if i <= j) for j in range(size)]
    assert len(set(first)) == 16
    expected = terms.batch_mutual_information.numpy()[first]

    @tf.function(jit_compile=jit_compile)
    def information(z, loc, scale):
        q_z = tfd.MultivariateNormalTriL(loc, tf.linalg.diag(scale))
        return terms._replace(z=z, q_z=q_z).batch_mutual_information

    arguments = (terms.z, terms.q_z.mean(), terms.q_z.stddev())
    np.testing.assert_allclose(information(*arguments), expected, rtol=1e-4, atol=1e-5)
    # The size of the batch need not be known.
    specs = [tf.TensorSpec([2, None, 3])] + 2 * [tf.TensorSpec([None, 3])]
    open_size = information.get_concrete_function(*specs)
    assert open_size.structured_outputs.shape.as_list() == [None]
    np.testing.assert_allclose(open_size(*arguments), expected, rtol=1e-4, atol=1e-5)


def test_sixteen_points_of_many_leave_the_expectation_as_it_is():
    """Of 32 points every other is scored: both halves together give the mean over all pairs."""
    terms = normal_terms(32)
    shifted = terms._replace(
        z=tf.roll(terms.z, 1, axis=1),
        q_z=tfd.MultivariateNormalDiag(
            tf.roll(terms.q_z.mean(), 1, axis=0), tf.roll(terms.q_z.stddev(), 1, axis=0)
        ),
    )
    halves = [np.mean(full_gaussians(t).batch_mutual_information) for t in (terms, shifted)]
    assert abs(halves[0] - halves[1]) > 1e-3  # they do differ
    full = np.mean(terms.batch_mutual_information)
    np.testing.assert_allclose(np.mean(halves), full, rtol=1e-4)


def test_limits_of_the_mutual_information_of_many_points():
    equal = make_terms(tf.zeros([40, 3]), tf.ones([40, 3]))
    values = full_gaussians(equal).batch_mutual_information
    np.testing.assert_allclose(values, np.zeros(40), atol=1e-5)
    # Each is known by its draw: log 40, although the draws of 16 are scored.
    apart = make_terms(1000.0 * tf.range(40.0)[:, None] * tf.ones([40, 3]), tf.ones([40, 3]))
    values = full_gaussians(apart).batch_mutual_information
    np.testing.assert_allclose(values, np.full(40, np.log(40.0)), rtol=1e-5)
    for spread in (0.1, 1.0, 10.0, 1000.0):
        values = full_gaussians(normal_terms(100, spread)).batch_mutual_information
        assert np.max(values) <= np.log(100.0) + 1e-4


def test_states_of_the_points_that_stand_for_many_keep_their_weights():
    """Two states, all of them in place of draws, for 32 posteriors of a class without elements."""
    probs = np.random.default_rng(0).uniform(0.1, 0.9, size=32)
    table = np.stack([1.0 - probs, probs], axis=-1)
    q_z = tfd.OneHotCategorical(probs=table.astype("float32"), dtype=tf.float32)
    z = tf.repeat(tf.eye(2)[:, None], 32, axis=1)  # [S, B, E]
    zeros = tf.zeros([2, 32])
    terms = tfvae.Terms(zeros, zeros, zeros, None, z, q_z, q_z, log_weights=q_z.log_prob(z))
    expected = np.sum(table * np.log(table / table.mean(axis=0)), axis=-1)[0::2].repeat(2)
    np.testing.assert_allclose(terms.batch_mutual_information, expected, rtol=1e-4, atol=1e-6)


def test_rates_of_dimensions_add_up_to_the_rate():
    generator = np.random.default_rng(0)
    loc = generator.normal(size=(5, 3)).astype("float32")
    terms = make_terms(loc, np.full((5, 3), 0.5, "float32"), num_samples=4000)
    expected = 0.5 * (0.25 + loc**2 - 1.0 - np.log(0.25))
    np.testing.assert_allclose(terms.dimension_rates, expected, rtol=1e-5)
    # Without a closed form it is the mean over the draws.
    scale = tf.ones([3])
    sampled = terms._replace(p_z=tfd.Independent(tfd.Logistic(tf.zeros([3]), scale), 1))
    rates = sampled.dimension_rates
    assert rates.shape == (5, 3)
    log_q, log_p = sampled.q_z.log_prob(sampled.z), sampled.p_z.log_prob(sampled.z)
    np.testing.assert_allclose(
        tf.reduce_sum(rates, axis=1), tf.reduce_mean(log_q - log_p, axis=0), rtol=1e-3, atol=1e-4
    )
    full = terms._replace(p_z=tfd.MultivariateNormalTriL(tf.zeros([3]), tf.eye(3)))
    with pytest.raises(ValueError, match=r"factorise over them.*Received: MultivariateNormalTriL"):
        _ = full.dimension_rates


def test_rates_of_dimensions_sum_over_states():
    """Two coins as categories of two levels, against coins: a pair without a closed form."""
    probs, logits = tf.constant([[0.3, 0.6], [0.9, 0.5]]), tf.constant([0.4, -0.2])
    pairs = tf.stack([1.0 - probs, probs], axis=-1)
    q_z = tfd.Independent(tfd.Categorical(probs=pairs, dtype=tf.float32), 1)
    z = tf.repeat(tf.constant([[[0.0, 0.0]], [[0.0, 1.0]], [[1.0, 0.0]], [[1.0, 1.0]]]), 2, axis=1)
    p_z = tfd.Independent(tfd.Bernoulli(logits, dtype=tf.float32), 1)
    log_q_z, zeros = q_z.log_prob(z), tf.zeros([4, 2])
    terms = tfvae.Terms(zeros, p_z.log_prob(z), log_q_z, None, z, q_z, p_z, log_weights=log_q_z)
    coins = tfd.Bernoulli(probs=probs)
    expected = tfd.kl_divergence(coins, tfd.Bernoulli(logits))
    np.testing.assert_allclose(terms.dimension_rates, expected, rtol=1e-5)
    np.testing.assert_allclose(terms.rate, tf.reduce_sum(expected, axis=1), rtol=1e-5)


def test_gradients_are_scaled_only_of_draws_made_for_it():
    terms = make_terms(tf.zeros([3, 2]), tf.ones([3, 2]))
    with pytest.raises(ValueError, match="cannot have their gradients scaled"):
        terms.scale_gradient(tf.zeros([3]), tf.ones([2, 3]))


@pytest.mark.parametrize("size", [512, 600])
def test_mutual_information_takes_one_draw_of_at_most_512_points(size):
    terms = make_terms(
        *np.random.default_rng(0).uniform(0.5, 2.0, size=(2, size, 3)).astype("float32"),
        num_samples=3,
    )
    log_q = terms.q_z.log_prob(terms.z[0][:, None])  # [B, B]
    whole = np.diag(log_q) - (tf.reduce_logsumexp(log_q, axis=1) - np.log(size))
    count = min(size, 512)
    scored = np.array([-(-k * size // count) for k in range(count)])
    stands_for = np.array([scored[scored <= j].max() for j in range(size)])
    np.testing.assert_allclose(
        terms.batch_mutual_information, whole.numpy()[stands_for], rtol=1e-4, atol=1e-4
    )
