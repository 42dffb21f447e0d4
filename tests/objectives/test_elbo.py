"""The ELBO: its formula, its two forms of the rate, its arguments."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.objectives.linear import LinearModel
from tfvae.objectives import ELBO, Constant, Cyclical, Linear, Schedule

tfd = tfp.distributions


def make_terms(num_samples, batch=5, kl=True):
    """Returns `Terms` of a Gaussian posterior against N(0, I), with arbitrary log p(x|z)."""
    generator = np.random.default_rng(0)
    loc = generator.normal(size=(batch, 2)).astype("float32")
    q_z = tfd.MultivariateNormalDiag(loc, np.full([batch, 2], 0.5, "float32"))
    p_z = tfvae.priors.StandardNormal(2).distribution()
    z, log_q_z = q_z.experimental_sample_and_log_prob(num_samples, seed=[1, 2])
    return tfvae.Terms(
        log_p_x=tf.constant(generator.normal(size=(num_samples, batch)), tf.float32),
        log_p_z=p_z.log_prob(z),
        log_q_z=log_q_z,
        kl=tfvae.divergences.closed_form_kl(q_z, p_z) if kl else None,
        z=z,
        q_z=q_z,
        p_z=p_z,
    )


@pytest.mark.parametrize("num_samples", [1, 4])
def test_formula(num_samples):
    terms = make_terms(num_samples)
    log_p_x = np.asarray(terms.log_p_x).mean(axis=0)
    log_ratio = np.asarray(terms.log_q_z - terms.log_p_z).mean(axis=0)
    for beta in (0, 0.0, 1.0, 4.0):
        np.testing.assert_allclose(ELBO(beta)(terms), log_p_x - beta * terms.kl, rtol=1e-5)
        sampled = ELBO(beta, analytic_kl=False)(terms)
        np.testing.assert_allclose(sampled, log_p_x - beta * log_ratio, rtol=1e-5)
        without = ELBO(beta)(make_terms(num_samples, kl=False))
        np.testing.assert_allclose(without, sampled, rtol=1e-6)
    np.testing.assert_allclose(ELBO()(terms), terms.elbo, rtol=1e-6)
    ramp = ELBO(beta=Linear(0.0, 4.0, steps=8))
    np.testing.assert_allclose(ramp(terms, 2), ELBO(1.0)(terms), rtol=1e-6)
    np.testing.assert_allclose(ramp(terms, tf.constant(100)), ELBO(4.0)(terms), rtol=1e-6)
    assert ELBO()(terms).shape == (5,)


def test_both_forms_of_the_rate_agree():
    terms = make_terms(4000)
    difference = terms.log_q_z - terms.log_p_z - terms.kl  # [S, B], mean zero
    error = tf.math.reduce_std(difference, axis=0) / np.sqrt(4000)
    gap = ELBO()(terms) - ELBO(analytic_kl=False)(terms)
    assert np.all(np.abs(gap) <= 5 * error)
    assert np.all(gap != 0.0)


@pytest.mark.parametrize(
    "objective",
    [
        ELBO(),
        ELBO(beta=4.0, analytic_kl=False, num_samples=7),
        ELBO(beta=np.float32(0.5)),
        ELBO(beta=Constant(2.0)),
        ELBO(beta=Linear(0.0, 1.0, steps=10)),
        ELBO(beta=Cyclical(0.0, 1.0, period=10, ramp=0.25), num_samples=2),
    ],
    ids=str,
)
def test_config_round_trip(objective):
    stored = keras.saving.serialize_keras_object(objective)
    copy = keras.saving.deserialize_keras_object(stored)
    assert copy == objective
    assert copy.num_samples == objective.num_samples
    terms = make_terms(2)
    np.testing.assert_array_equal(copy(terms, 3), objective(terms, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta": -1.0}, "`beta` must be a number >= 0 or a schedule. Received: beta=-1.0"),
        ({"beta": float("nan")}, "Received: beta=nan"),
        ({"beta": "4"}, "Received: beta='4'"),
        ({"beta": None}, "Received: beta=None"),
        ({"num_samples": 0}, "`num_samples` must be a whole number >= 1.*num_samples=0"),
        ({"num_samples": 1.5}, "Received: num_samples=1.5"),
        ({"num_samples": "many"}, "Received: num_samples='many'"),
        ({"num_samples": None}, "Received: num_samples=None"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ELBO(**arguments)


@keras.saving.register_keras_serializable("tests")
@dataclasses.dataclass(frozen=True)
class Stairs(Schedule):
    """The given values, `steps` updates each, the last for ever."""

    values: tuple
    steps: int

    def __call__(self, step):
        index = tf.minimum(tf.cast(step, tf.int32) // self.steps, len(self.values) - 1)
        return tf.gather(tf.constant(self.values), index)


@pytest.mark.slow
def test_a_sweep_of_beta_traces_reverse_water_filling():
    """Units go out one after another, as their eigenvalues fall below beta s2 (E1)."""
    linear, betas = LinearModel(), (0.5, 1.0, 2.0, 4.0)
    vae = linear.vae()
    objective = ELBO(beta=Stairs(betas, 400), num_samples=linear.num_draws)
    vae.compile(keras.optimizers.Adam(0.05), objective, jit_compile=False, steps_per_execution=100)
    data = tf.data.Dataset.from_tensors(linear.x).repeat(400)
    active = []
    for beta in betas:
        vae.fit(data, verbose=0)
        terms = vae.terms(linear.x, linear.num_draws)
        rate, distortion = linear.curve(beta)
        assert np.mean(terms.rate) == pytest.approx(rate, rel=0.02), beta
        assert np.mean(terms.distortion) == pytest.approx(distortion, rel=0.02), beta
        active.append(int(np.sum(np.mean(terms.dimension_rates, axis=0) > 0.01)))
    assert active == [3, 3, 2, 1]
