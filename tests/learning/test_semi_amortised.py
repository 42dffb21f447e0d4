"""Refined posteriors in training: the steps, both gradients, and the limit of many steps."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests import analytic
from tests.conftest import binary_data, mlp_decoder, mlp_vae
from tests.evaluation.test_refinement import approximation_gap, wrong_encoder
from tests.learning.test_base import ladder
from tfvae import layers
from tfvae.learning import SemiAmortised
from tfvae.objectives import ELBO, ImportanceWeighted, LeaveOneOut, PathDerivative

X = binary_data(8)


def linear(latents=1):
    """A linear Gaussian model without noise in its draws, and data for it."""
    model = wrong_encoder(latents)
    return model, model.vae(analytic.SigmaPointLayer), model.draw(6)


def elbo_at(model, x, params):
    """The ELBO `[N]` of Gaussians of raw parameters `[N, 2 K]`, in closed form and float64."""
    loc, raw = np.split(params.astype("float64"), 2, axis=1)
    s = np.logaddexp(0.0, raw) ** 2
    rate = 0.5 * (s + loc**2 - 1.0 - np.log(s)).sum(axis=1)
    residual = x - model.b - loc @ model.w.T
    square = (residual**2).sum(axis=1) + s @ (model.w**2).sum(axis=0)
    constant = len(model.b) * np.log(2 * np.pi * model.s2)
    return -0.5 * (constant + square / model.s2) - rate


def slope(function, params, width=1e-4):
    """The gradient of each row's value by central differences."""
    columns = []
    for index in range(params.shape[1]):
        step = width * np.eye(params.shape[1])[index]
        columns.append((function(params + step) - function(params - step)) / (2 * width))
    return np.stack(columns, axis=1)


def raw_params(vae, x):
    return keras.Model(vae.encoder.inputs[0], vae.encoder.layers[0].output)(x).numpy()


@pytest.mark.slow
def test_steps_are_those_of_gradient_ascent():
    model, vae, x = linear(2)
    scheme = SemiAmortised(3, learning_rate=0.02)
    vae.compile("sgd", ELBO(num_samples=4), scheme=scheme, run_eagerly=True)
    params = raw_params(vae, x).astype("float64")
    for _ in range(3):
        params += 0.02 * slope(lambda p: elbo_at(model, x, p), params)
    q = scheme.posterior(vae._step, {"x": tf.constant(x)})
    loc, raw = np.split(params, 2, axis=1)
    np.testing.assert_allclose(q.mean(), loc, atol=1e-4)
    np.testing.assert_allclose(q.stddev(), np.logaddexp(0.0, raw), atol=1e-4)
    # Training and evaluation log what is refined, and not what the encoder says.
    refined = elbo_at(model, x, params).mean()
    assert refined > elbo_at(model, x, raw_params(vae, x)).mean() + 0.1
    assert vae.evaluate(x, verbose=0, return_dict=True)["elbo"] == pytest.approx(refined, rel=1e-4)
    assert vae.fit(x, verbose=0).history["elbo"][0] == pytest.approx(refined, rel=1e-4)


@pytest.mark.slow
@pytest.mark.xla
@pytest.mark.parametrize("backpropagate", [True, False])
def test_gradients_match_finite_differences(backpropagate):
    """Through the steps that of the whole; else, of a constant shift of the parameters."""
    model, vae, x = linear()
    scheme = SemiAmortised(2, learning_rate=0.02, backpropagate=backpropagate)
    vae.compile(keras.optimizers.SGD(1.0), ELBO(num_samples=2), scheme=scheme, jit_compile=True)
    start = raw_params(vae, x).astype("float64")

    def refined(params):
        for _ in range(2):
            params = params + 0.02 * slope(lambda p: elbo_at(model, x, p), params)
        return params

    if backpropagate:
        by_row = slope(lambda p: elbo_at(model, x, refined(p)), start)
    else:
        by_row = slope(lambda p: elbo_at(model, x, p), refined(start))
    before = [w.numpy() for w in vae.encoder.weights]
    vae.fit(x, batch_size=6, verbose=0)
    kernel, bias = (new.numpy() - old for new, old in zip(vae.encoder.weights, before, strict=True))
    np.testing.assert_allclose(bias, by_row.mean(axis=0), rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(kernel, x.T @ by_row / len(x), rtol=2e-3, atol=1e-3)


@pytest.mark.slow
def test_decoder_learns_at_the_refined_posterior():
    _, vae, x = linear()
    scheme = SemiAmortised(2, learning_rate=0.02, backpropagate=False)
    vae.compile(keras.optimizers.SGD(0.1), ELBO(num_samples=2), scheme=scheme, run_eagerly=True)
    q = scheme.posterior(vae._step, {"x": tf.constant(x)})
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(vae.terms(x, 2, posterior=q).elbo)
    gradients = tape.gradient(loss, vae.graph.generative_weights)
    before = [w.numpy() for w in vae.graph.generative_weights]
    vae.fit(x, batch_size=6, verbose=0)
    for old, new, gradient in zip(before, vae.graph.generative_weights, gradients, strict=True):
        np.testing.assert_allclose(new, old - 0.1 * gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_many_steps_leave_the_approximation_gap_alone():
    model, vae, x = linear(3)
    scheme = SemiAmortised(120, 0.05, backpropagate=False)
    vae.compile("sgd", ELBO(num_samples=6), scheme=scheme, run_eagerly=True)
    elbo = vae.terms(x, 6, posterior=scheme.posterior(vae._step, {"x": tf.constant(x)})).elbo
    gap = model.log_p_x(x) - elbo
    np.testing.assert_allclose(gap, approximation_gap(model), atol=2e-3)
    assert gap.numpy().mean() < model.gap(x).mean() - 0.5


@pytest.mark.slow
def test_first_order_gradients_go_with_any_estimator():
    vae = mlp_vae()
    objective = ImportanceWeighted(4, gradient=LeaveOneOut())
    scheme = SemiAmortised(2, 0.05, backpropagate=False)
    vae.compile("adam", objective, scheme=scheme, run_eagerly=True)
    assert np.isfinite(vae.fit(X, verbose=0).history["loss"][0])


@pytest.mark.slow
def test_what_cannot_be_refined_is_refused():
    with pytest.raises(ValueError, match=r"`steps` must be .*steps=0"):
        SemiAmortised(0, 0.1)
    with pytest.raises(ValueError, match=r"`learning_rate` must be .*learning_rate=0"):
        SemiAmortised(1, 0.0)
    objective = ELBO(analytic_kl=False, gradient=PathDerivative())
    with pytest.raises(ValueError, match=r"`PathDerivative` does not.*backpropagate=False"):
        mlp_vae().compile("adam", objective, scheme=SemiAmortised(1, 0.1))
    grouped = ImportanceWeighted(4, encoder_groups=2)
    for objective in (grouped, 2.0 * grouped):
        with pytest.raises(ValueError, match=r"second derivatives.*`encoder_groups`"):
            mlp_vae().compile("adam", objective, scheme=SemiAmortised(1, 0.1))
    mlp_vae().compile("adam", grouped, scheme=SemiAmortised(1, 0.1, backpropagate=False))
    with pytest.raises(ValueError, match=r"one layer of `tfvae.layers`.*HierarchicalVAE"):
        ladder().compile("adam", scheme=SemiAmortised(1, 0.1))
    density = tfvae.DensityModel(tfvae.priors.Normal(3))
    with pytest.raises(ValueError, match=r"no latents"):
        density.compile("adam", scheme=SemiAmortised(1, 0.1))


# Families whose draws carry gradients: those that are drawn by gamma variables, and others.
WITH_SECOND = [
    layers.MultivariateNormalTriL,
    layers.RelaxedOneHotCategorical,
]
WITHOUT_SECOND = [layers.IndependentStudentT, layers.IndependentBeta, layers.PowerSpherical]
PRIORS = {
    layers.PowerSpherical: lambda: tfvae.priors.Hyperspherical(),
    layers.RelaxedOneHotCategorical: lambda: tfvae.priors.Parametric(
        layers.RelaxedOneHotCategorical(2)
    ),
}


def vae_of(layer):
    head = keras.layers.Dense(layer.params_size(2))
    encoder = keras.Sequential([keras.Input((6,)), head, layer(2)])
    return tfvae.VAE(encoder, mlp_decoder(), PRIORS.get(layer, lambda: None)(), seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("layer", WITHOUT_SECOND)
def test_families_without_second_derivatives_are_refused_at_compile(layer):
    vae = vae_of(layer)
    with pytest.raises(ValueError, match=r"second derivatives.*RandomGammaGrad.*backpropagate=Fa"):
        vae.compile("sgd", scheme=SemiAmortised(1, 0.01), jit_compile=False)
    scheme = SemiAmortised(1, 0.01, backpropagate=False)
    vae.compile("sgd", scheme=scheme, run_eagerly=True)
    assert np.isfinite(vae.fit(X, verbose=0).history["loss"][0])


@pytest.mark.slow
@pytest.mark.parametrize("layer", WITH_SECOND)
def test_other_families_pass(layer):
    vae = vae_of(layer)
    vae.compile("sgd", scheme=SemiAmortised(1, 0.01), run_eagerly=True)
    assert np.isfinite(vae.fit(X, verbose=0).history["loss"][0])
