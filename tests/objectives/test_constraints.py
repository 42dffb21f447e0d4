"""Targets held by a multiplier, on a linear model whose rate-distortion curve is known."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.objectives.linear import LinearModel
from tests.objectives.test_elbo import make_terms
from tfvae.objectives import ELBO, Linear, TargetDistortion, TargetRate


def test_multipliers_weigh_the_excess():
    terms = make_terms(2)
    rate, distortion = terms.rate.numpy(), terms.distortion.numpy()
    state = {"multiplier": tf.constant(2.5), "excess": tf.constant(0.0)}
    for objective, expected in (
        (TargetRate(3.0), -distortion - 2.5 * (rate - 3.0)),
        (TargetDistortion(-1.0), -rate - 2.5 * (distortion + 1.0)),
    ):
        np.testing.assert_allclose(objective(terms, 0, state), expected, rtol=1e-5)
    np.testing.assert_allclose(TargetRate(0.0)(terms), ELBO()(terms), rtol=1e-6)
    ramp = TargetRate(Linear(0.0, 4.0, steps=4))
    np.testing.assert_allclose(ramp(terms, 3, state), TargetRate(3.0)(terms, 3, state), rtol=1e-6)


def test_multipliers_follow_the_smoothed_excess():
    terms = make_terms(2)
    rate = float(np.mean(terms.rate))
    objective = TargetRate(rate - 0.5, speed=0.2, smoothing=0.8)
    state = {"multiplier": tf.constant(2.0), "excess": tf.constant(-0.1)}
    state = objective.next_state(state, terms, 0)
    assert float(state["excess"]) == pytest.approx(0.8 * -0.1 + 0.2 * 0.5, abs=1e-6)
    assert float(state["multiplier"]) == pytest.approx(2.0 * np.exp(0.2 * 0.02), rel=1e-5)
    # An excess beyond one nat counts as one, and the multiplier has its limits.
    far = TargetRate(0.0, speed=1.0, smoothing=0.0)
    far_terms = terms._replace(kl=tf.fill([5], 100.0))
    state = far.next_state(state, far_terms, 0)
    assert float(state["multiplier"]) == pytest.approx(2.0 * np.exp(0.004 + 1.0), rel=1e-4)
    for _ in range(12):
        state = far.next_state(state, far_terms, 0)
    assert float(state["multiplier"]) == pytest.approx(1e4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [TargetRate, TargetDistortion])
def test_targets_are_reached_on_the_curve(kind):
    linear = LinearModel()
    rate, distortion = linear.curve(beta=1.6)
    target = rate if kind is TargetRate else distortion
    vae = linear.vae()
    objective = kind(target, speed=0.05, num_samples=linear.num_draws)
    vae.compile(keras.optimizers.Adam(0.05), objective, jit_compile=False, steps_per_execution=100)
    data = tf.data.Dataset.from_tensors(linear.x).repeat(700)
    history = vae.fit(data, verbose=0).history
    terms = vae.terms(linear.x, linear.num_draws)
    assert np.mean(terms.rate) == pytest.approx(rate, rel=0.02)
    assert np.mean(terms.distortion) == pytest.approx(distortion, rel=0.02)
    multiplier = 1.6 if kind is TargetRate else 1 / 1.6
    assert history["multiplier"][0] == pytest.approx(multiplier, rel=0.05)


@pytest.mark.parametrize("kind", [TargetRate, TargetDistortion])
def test_config_and_arguments(kind):
    objective = kind(Linear(1.0, 2.0, steps=5), speed=0.1, smoothing=0.5, num_samples=3)
    stored = keras.saving.serialize_keras_object(objective)
    assert keras.saving.deserialize_keras_object(stored) == objective
    for arguments, message in (
        ({"target": "low"}, "`target` must be a finite number or a schedule.*target='low'"),
        ({"target": float("nan")}, "Received: target=nan"),
        ({"target": 1.0, "speed": -1.0}, "`speed` must be a number >= 0. Received: speed=-1.0"),
        ({"target": 1.0, "smoothing": 1.0}, r"`smoothing` must lie in \[0, 1\).*smoothing=1.0"),
        ({"target": 1.0, "num_samples": 0}, "num_samples=0"),
    ):
        with pytest.raises(ValueError, match=message):
            kind(**arguments)
