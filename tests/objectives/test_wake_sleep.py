"""The forward KL on a posterior of two modes, held to quadrature."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import optimize, stats

from tests.objectives.passes import Finite, Gaussian, assert_mean, one_pass, standard_normal
from tests.objectives.test_elbo import make_terms
from tfvae.objectives import (
    ELBO,
    ForwardKL,
    ImportanceWeighted,
    LeaveOneOut,
    PathDerivative,
    ReweightedWakeSleep,
    ScoreFunction,
)

tfd = tfp.distributions


class TwoModes:
    """z ~ N(0, 1), x|z ~ N(z**2, 0.3**2), seen at x = 1.5: z is near 1.2 or near -1.2."""

    x, scale = 1.5, 0.3

    def __init__(self):
        self.grid = np.linspace(-6.0, 6.0, 4001)
        log_p = self.log_joint(self.grid)
        self.log_evidence = np.log(np.trapezoid(np.exp(log_p), self.grid))
        self.posterior = np.exp(log_p - self.log_evidence)
        self.variance = np.trapezoid(self.grid**2 * self.posterior, self.grid)

    def log_joint(self, z):
        return stats.norm.logpdf(z) + stats.norm.logpdf(self.x, z**2, self.scale)

    def reverse_kl(self, params):
        log_q = stats.norm.logpdf(self.grid, params[0], np.exp(params[1]))
        log_p = self.log_joint(self.grid) - self.log_evidence
        return np.trapezoid(np.exp(log_q) * (log_q - log_p), self.grid)

    def forward_kl(self, params):
        log_q = stats.norm.logpdf(self.grid, params[0], np.exp(params[1]))
        log_p = self.log_joint(self.grid) - self.log_evidence
        return np.trapezoid(self.posterior * (log_p - log_q), self.grid)

    def terms(self, objective, params, seed, rows=1):
        q_z = tfd.MultivariateNormalDiag(
            tf.tile(params[None, :1], [rows, 1]), tf.tile(tf.exp(params[None, 1:]), [rows, 1])
        )
        log_p_x = lambda z: tfd.Normal(z[..., 0] ** 2, self.scale).log_prob(self.x)  # noqa: E731
        return one_pass(objective, q_z, standard_normal(1), log_p_x, seed)

    def fit(self, objective, start, steps=400):
        """Returns location and log scale of q, the mean over the last quarter of the steps."""
        params = tf.Variable(np.array(start, "float32"))
        optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, steps))
        optimizer.build([params])

        @tf.function(autograph=False)
        def step(index):
            with tf.GradientTape() as tape:
                terms = self.terms(objective, params, tf.stack([7, index]))
                loss = -tf.reduce_mean(objective(terms))
            optimizer.apply_gradients([(tape.gradient(loss, params), params)])
            return tf.identity(params)

        path = [step(tf.constant(i)).numpy() for i in range(steps)]
        return np.mean(path[-steps // 4 :], axis=0)


@pytest.fixture(scope="module")
def two_modes():
    return TwoModes()


@pytest.mark.slow
def test_forward_kl_covers_both_modes_where_reverse_kl_fits_one(two_modes):
    wide = two_modes.fit(ForwardKL(2000), start=[0.8, -0.5])
    # The Gaussian of least forward KL has the mean and the variance of the posterior.
    assert abs(wide[0]) < 0.05
    assert np.exp(2 * wide[1]) == pytest.approx(two_modes.variance, rel=0.03)
    narrow = two_modes.fit(ELBO(num_samples=200), start=[0.8, -0.5])
    best = optimize.minimize(two_modes.reverse_kl, [1.2, -1.0], method="Nelder-Mead").x
    assert narrow[0] == pytest.approx(best[0], rel=0.02)
    assert best[0] > 1.0
    assert np.exp(narrow[1]) == pytest.approx(np.exp(best[1]), rel=0.03)
    assert np.exp(narrow[1]) < 0.4 * np.exp(wide[1])
    # Each is best by its own measure.
    assert two_modes.forward_kl(wide) < two_modes.forward_kl(narrow) - 1.0
    assert two_modes.reverse_kl(narrow) < two_modes.reverse_kl(wide) - 0.2


def test_values_are_those_of_quadrature(two_modes):
    params = tf.constant([0.3, 0.2])
    terms = two_modes.terms(ForwardKL(5000), params, (1, 2), rows=200)
    forward = ForwardKL(5000)(terms).numpy()
    expected = -two_modes.forward_kl(params.numpy())
    error = forward.std() / np.sqrt(200)
    # Self-normalised estimates have a bias of the order of their variance.
    assert abs(forward.mean() - expected) < 5 * error + 2 * forward.var()
    assert np.all(forward <= 0)
    bound = ReweightedWakeSleep(5000)(terms).numpy()
    np.testing.assert_allclose(bound, ImportanceWeighted(5000)(terms), rtol=1e-6)


def test_gradients_by_hand():
    terms = make_terms(6)
    weights = tf.nn.softmax(terms.log_w, axis=0)
    log_p_x, log_p_z = tf.identity(terms.log_p_x), tf.identity(terms.log_p_z)
    log_q_z = tf.identity(terms.log_q_z)
    parts = [log_p_x, log_p_z, log_q_z]
    zeros = tf.zeros_like(weights)
    for objective, expected in (
        (ForwardKL(6), [zeros, zeros, weights]),
        (ReweightedWakeSleep(6), [weights, weights, weights]),
    ):
        with tf.GradientTape() as tape:
            tape.watch(parts)
            scores = dict(zip(("log_p_x", "log_p_z", "log_q_z"), parts, strict=True))
            bound = objective(terms._replace(**scores))
        for found, value in zip(tape.gradient(bound, parts), expected, strict=True):
            np.testing.assert_allclose(found, value, atol=1e-6)


def test_decoders_learn_by_the_importance_weighted_bound():
    model = Gaussian(20, loc=[0.3, -0.2], log_scale=[0.2, -0.1])
    wake = model.gradients(ReweightedWakeSleep(5))
    # The draws of both are constants, of the same seed.
    iwae = model.gradients(ImportanceWeighted(5, gradient=ScoreFunction()))
    np.testing.assert_allclose(wake[0], iwae[0], rtol=1e-9)
    np.testing.assert_allclose(wake[2], iwae[2], rtol=1e-6)
    assert model.gradients(ForwardKL(5))[2] == pytest.approx(np.zeros((3, 2)))


@pytest.mark.slow
def test_discrete_posteriors_move_to_the_true_one():
    """At the true posterior all weights are equal, and the gradient has the mean zero."""
    model = Finite(20_000)
    states = tf.constant(model.states)
    exact = model.log_p_x(states) + model.p_z.log_prob(states)
    other = model.logits
    model.logits = tf.tile(exact[None], [20_000, 1])
    at_exact = model.gradients(ForwardKL(4))
    np.testing.assert_allclose(at_exact[0], np.zeros(20_000), atol=1e-9)
    assert_mean(at_exact[1], 0.0)
    # Elsewhere, in the limit of many draws, it is p(z|x) - q(z|x) in the logits.
    model.logits = other[:100]
    _, found, _ = model.gradients(ForwardKL(2000))
    expected = tf.nn.softmax(exact) - tf.nn.softmax(other[0])
    np.testing.assert_allclose(found.mean(axis=0), expected, atol=0.01)


def test_sums_share_draws_that_are_constants():
    shared = ForwardKL(4) + ELBO(num_samples=4, gradient=LeaveOneOut())
    assert shared.num_samples == 4
    with pytest.raises(ValueError, match="carry the gradient of one"):
        ForwardKL(4) + ELBO(num_samples=4)
    with pytest.raises(ValueError, match="carry the gradient of one"):
        ForwardKL(4) + ELBO(analytic_kl=False, num_samples=4, gradient=PathDerivative())


@pytest.mark.parametrize("kind", [ForwardKL, ReweightedWakeSleep])
def test_config_and_arguments(kind):
    stored = keras.saving.serialize_keras_object(kind(7))
    assert keras.saving.deserialize_keras_object(stored) == kind(7)
    for number in (1, 0, 2.5, None):
        with pytest.raises(ValueError, match=f"Received: num_samples={number}"):
            kind(number)
