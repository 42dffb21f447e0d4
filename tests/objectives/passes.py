"""Passes without networks: rows of a batch are independent repetitions of one experiment."""

import itertools

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tfvae.divergences import closed_form_kl

tfd = tfp.distributions


def one_pass(objective, q_z, p_z, log_p_x, seed=(1, 2), num_samples=None):
    """Returns the `Terms` that a model would make for `objective`, with log p(x|z) = `log_p_x`."""
    draws = objective.draw(q_z, num_samples or objective.num_samples, tf.convert_to_tensor(seed))
    return tfvae.Terms(
        log_p_x=log_p_x(draws.z),
        log_p_z=p_z.log_prob(draws.z),
        log_q_z=draws.log_q_z,
        kl=closed_form_kl(q_z, p_z),
        z=draws.z,
        q_z=q_z,
        p_z=p_z,
        gradient_scale=draws.gradient_scale,
    )


def standard_normal(size):
    return tfvae.priors.StandardNormal(size).distribution()


class Gaussian:
    """One point of a linear Gaussian model in float64, its posterior free: x|z ~ N(W z, s2 I)."""

    def __init__(self, rows, loc=0.0, log_scale=0.0, seed=0, dims=3, latents=2):
        rng = np.random.default_rng(seed)
        # Orthogonal columns: the exact posterior is a diagonal Gaussian.
        columns, _ = np.linalg.qr(rng.normal(size=(dims, latents)))
        self.w = tf.Variable(columns * np.linspace(0.8, 1.5, latents))
        self.s2, self.x = 0.5, rng.normal(size=dims)
        m = np.sum(self.w.numpy() ** 2, axis=0) + self.s2
        self.exact_loc = self.x @ self.w.numpy() / m
        self.exact_log_scale = 0.5 * np.log(self.s2 / m)
        covariance = self.w.numpy() @ self.w.numpy().T + self.s2 * np.eye(dims)
        self.log_evidence = tfd.MultivariateNormalFullCovariance(
            np.zeros(dims), covariance
        ).log_prob(self.x)
        loc = self.exact_loc + loc
        log_scale = self.exact_log_scale + log_scale
        self.params = tf.constant(np.tile(np.concatenate([loc, log_scale]), (rows, 1)))
        zeros = tf.zeros(latents, tf.float64)
        self.p_z = tfd.MultivariateNormalDiag(zeros, tf.ones_like(zeros))

    def q_z(self, params):
        loc, log_scale = tf.split(params, 2, axis=-1)
        return tfd.MultivariateNormalDiag(loc, tf.exp(log_scale))

    def log_p_x(self, z):
        mean = tf.einsum("dk,sbk->sbd", self.w, z)
        return tf.reduce_sum(tfd.Normal(mean, np.sqrt(self.s2)).log_prob(self.x), axis=-1)

    def gradients(self, objective, seed=(1, 2), num_samples=None, compiled=False):
        """Returns the bound `[rows]`, and its gradients in q's parameters `[rows, 2 K]` and W."""

        def run():
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(self.params)
                q_z = self.q_z(self.params)
                terms = one_pass(objective, q_z, self.p_z, self.log_p_x, seed, num_samples)
                bound = objective(terms)
            return bound, tape.gradient(bound, self.params), tape.gradient(bound, self.w)

        run = tf.function(run, jit_compile=True) if compiled else run
        return [np.asarray(part) for part in run()]


class Finite:
    """A latent of K one-hot states, or of independent coins: every expectation is a sum."""

    def __init__(self, rows, coins=False, size=3, seed=0):
        rng = np.random.default_rng(seed)
        self.coins, self.size = coins, size
        self.logits = tf.constant(np.tile(rng.normal(size=size), (rows, 1)))
        self.w = tf.Variable(rng.normal(size=size))
        prior_logits = rng.normal(size=size)
        self.p_z = self.q_z(tf.constant(prior_logits))

    def q_z(self, logits):
        if self.coins:
            return tfd.Independent(tfd.Bernoulli(logits, dtype=tf.float64), 1)
        return tfd.OneHotCategorical(logits, dtype=tf.float64)

    def log_p_x(self, z):
        return tf.sin(3.0 * tf.einsum("k,...k->...", self.w, z))

    @property
    def states(self):
        """All values of z `[M, K]`."""
        if not self.coins:
            return np.eye(self.size)
        return np.array(list(itertools.product([0.0, 1.0], repeat=self.size)))

    def gradients(self, objective, seed=(1, 2)):
        """Returns the bound `[rows]`, and its gradients in q's logits `[rows, K]` and in w."""
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(self.logits)
            terms = one_pass(objective, self.q_z(self.logits), self.p_z, self.log_p_x, seed)
            bound = objective(terms)
        logits = tape.gradient(bound, self.logits)
        return np.asarray(bound), np.asarray(logits), np.asarray(tape.gradient(bound, self.w))

    def exact(self, bound, num_samples):
        """Returns the expectation of a bound over all tuples of S draws, and its gradients."""
        logits = self.logits[0]
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(logits)
            q_z, states = self.q_z(logits), tf.constant(self.states)
            log_q = q_z.log_prob(states)
            log_p = self.log_p_x(states) + self.p_z.log_prob(states)
            tuples = list(itertools.product(range(len(self.states)), repeat=num_samples))
            index = np.array(tuples).T  # [S, number of tuples]
            probability = tf.exp(tf.reduce_sum(tf.gather(log_q, index), axis=0))
            bounds = bound(tf.gather(log_p - log_q, index))
            mean = tf.reduce_sum(probability * bounds)
        found = [mean, tape.gradient(mean, logits), tape.gradient(mean, self.w)]
        return [part.numpy() for part in found]


def assert_mean(values, expected, error=0.0):
    """Checks the mean of rows against a number, or another mean with its standard error."""
    own = values.std(axis=0) / np.sqrt(len(values))
    assert np.all(np.abs(values.mean(axis=0) - expected) < 5 * np.hypot(own, error) + 1e-12)
