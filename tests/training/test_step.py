"""One update and one score of a batch, by the gradient of the same terms by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import binary_data, mlp_vae
from tfvae.objectives import ELBO
from tfvae.training.step import Step

X = tf.constant(binary_data(6))


@pytest.mark.slow
@pytest.mark.parametrize("sample_weight", [None, np.linspace(0.0, 2.0, 6, dtype="float32")])
def test_an_update_is_a_step_along_the_gradient_of_the_mean_bound(sample_weight):
    vae = mlp_vae(seed=3)
    vae.compile(keras.optimizers.SGD(0.5), ELBO(beta=0.5), run_eagerly=True)
    step, state = vae._step, tf.identity(vae.seed_generator.state)
    with tf.GradientTape() as tape:
        terms = vae.terms(X, objective=vae.objective, training=True)
        bound = -(terms.distortion + 0.5 * terms.rate)
        loss = -tf.reduce_mean(bound if sample_weight is None else bound * sample_weight)
    gradients = tape.gradient(loss, vae.trainable_weights)
    expected = [w - 0.5 * g for w, g in zip(vae.trainable_weights, gradients, strict=True)]
    vae.seed_generator.state.assign(state)
    sums = step.update({"x": X}, sample_weight, step.logs.begin())
    step.logs.end(sums)
    for weight, value in zip(vae.trainable_weights, expected, strict=True):
        np.testing.assert_allclose(weight, value, rtol=1e-5, atol=1e-7)
    results = vae.get_metrics_result()
    assert float(results["loss"]) == pytest.approx(float(loss), rel=1e-6)
    weights = np.ones(6) if sample_weight is None else sample_weight
    elbo = np.average(terms.elbo, weights=weights)
    assert float(results["elbo"]) == pytest.approx(elbo, rel=1e-5)


@pytest.mark.slow
def test_scores_change_no_weight_and_draw_the_same_noise():
    vae = mlp_vae(seed=3)
    vae.compile("adam", run_eagerly=True)
    before, step = vae.get_weights(), vae._step
    found = [step.score({"x": X}, None, step.logs.begin()) for _ in range(2)]
    np.testing.assert_array_equal(*found)
    # Further points of the same pass have other noise.
    assert np.any(step.score({"x": X}, None, found[0]) - found[0] != found[0])
    for old, new in zip(before, vae.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_model_that_is_not_compiled_has_no_step():
    vae = mlp_vae()
    with pytest.raises(ValueError, match="not compiled"):
        Step(vae).scored({"x": X})
