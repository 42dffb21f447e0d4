"""Models without latents: maximum likelihood, on the same fit, evaluation and export."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import tfvae
from tests.conftest import assert_trains_under_xla, binary_data, real_data
from tfvae import layers, priors


def correlated(num=2000, seed=0):
    rng = np.random.default_rng(seed)
    covariance = np.array([[2.0, 0.9, 0.0], [0.9, 1.0, 0.3], [0.0, 0.3, 0.5]])
    return rng.multivariate_normal([1.0, -1.0, 0.5], covariance, num).astype("float32")


def fitted(model, data, steps, rate=0.05):
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(keras.optimizers.Adam(schedule), jit_compile=False)
    dataset = tf.data.Dataset.from_tensors(data).repeat(steps)
    model.fit(dataset, verbose=0)
    return model


@pytest.mark.slow
def test_full_gaussian_reaches_the_closed_form_maximum_likelihood():
    x = correlated()
    density = priors.Parametric(layers.MultivariateNormalTriL(3))
    model = fitted(tfvae.DensityModel(density), x, 600)
    p, covariance = density.distribution(), np.cov(x.T, bias=True)
    np.testing.assert_allclose(p.mean(), x.mean(axis=0), atol=2e-3)
    np.testing.assert_allclose(p.covariance(), covariance, atol=5e-3)
    best = stats.multivariate_normal(x.mean(axis=0), covariance).logpdf(x)
    result = tfvae.log_likelihood(model, x, num_samples=1, verbose=False)
    assert best.mean() - 1e-4 < result.mean <= best.mean() + 1e-5
    assert np.all(result.per_point_standard_error == 0.0)


@pytest.mark.slow
def test_linear_regression_reaches_least_squares():
    """p(y|x) Gaussian with a linear mean: maximum likelihood is least squares."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(500, 3)).astype("float32")
    labels = (inputs @ [1.0, -2.0, 0.5] + 0.3 + 0.4 * rng.normal(size=500)).astype("float32")
    inputs_and_one = np.hstack([inputs, np.ones([500, 1])])
    weights, residual, *_ = np.linalg.lstsq(inputs_and_one, labels, rcond=None)
    scale = np.sqrt(residual[0] / 500)

    c = keras.Input((3,))
    # One scale for all: the bias of a layer whose kernel stays zero.
    constant = keras.constraints.MaxNorm(0.0)
    raw = keras.layers.Dense(1, kernel_initializer="zeros", kernel_constraint=constant)(c)
    loc = keras.layers.Dense(1)(c)
    params = keras.layers.Concatenate()([loc, raw])
    network = keras.Model(c, layers.IndependentNormal(1)(params))
    model = tfvae.ConditionalModel(network)
    data = {"x": labels[:, None], "context": inputs}
    fitted(model, data, 600)
    exact = stats.norm(inputs_and_one @ weights, scale).logpdf(labels).mean()
    result = tfvae.log_likelihood(model, data, num_samples=1, batch_size=500, verbose=False)
    assert result.mean == pytest.approx(exact, abs=1e-3)


@pytest.mark.slow
def test_classifier_is_a_conditional_model(tmp_path):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(200, 2)).astype("float32")
    labels = np.eye(3, dtype="float32")[(inputs[:, 0] > 0).astype(int) + (inputs[:, 1] > 0)]
    network = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(3), layers.OneHotCategorical(3)]
    )
    model = tfvae.ConditionalModel(network, seed=0)
    data = {"x": labels, "context": inputs}
    model.compile(keras.optimizers.Adam(0.05))
    history = model.fit(data, epochs=20, verbose=0, validation_data=(data,)).history
    loss = -np.mean(network(inputs).log_prob(labels))
    assert history["val_loss"][-1] == pytest.approx(loss, rel=1e-5)
    assert history["val_elbo"][-1] == pytest.approx(-loss, rel=1e-5)
    assert history["rate"][-1] == history["mutual_information"][-1] == 0.0
    predicted = model.predict(data, verbose=0)
    np.testing.assert_allclose(predicted["mean"], network(inputs).mean(), rtol=1e-5)
    drawn = model.sample(200, seed=1, context=inputs).numpy()
    assert drawn.shape == (200, 3)
    np.testing.assert_allclose(drawn.mean(axis=0), predicted["mean"].mean(axis=0), atol=0.15)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.exact_log_p_x(**data), model.exact_log_p_x(**data))
    model.export(tmp_path / "export", verbose=False, signatures=["log_prob"])
    served = tf.saved_model.load(str(tmp_path / "export")).signatures["log_prob"]
    log_prob = served(
        x=tf.constant(labels),
        num_samples=tf.constant(1),
        seed=tf.constant([0, 0]),
        context=tf.constant(inputs),
    )["log_prob"]
    np.testing.assert_allclose(log_prob, model.exact_log_p_x(**data), rtol=1e-5)
    with pytest.raises(ValueError, match=r"`y` is missing: .* Received: inputs alone"):
        model.fit(labels, verbose=0)
    with pytest.raises(ValueError, match="needs a context beside `x`"):
        model.sample(3)


DENSITIES = {
    "bernoulli": lambda: (priors.Parametric(layers.IndependentBernoulli(6)), binary_data(40)),
    "mixture": lambda: (priors.GaussianMixture(3), real_data(40, (6,))),
    "image": lambda: (
        priors.Parametric(layers.IndependentBernoulli((2, 3))),
        binary_data(40, (2, 3)),
    ),
}


@pytest.mark.slow
@pytest.mark.xla
@pytest.mark.parametrize("name", DENSITIES)
def test_trains_under_xla(name):
    density, x = DENSITIES[name]()
    model = tfvae.DensityModel(density, seed=0)
    model.build(x.shape)
    assert_trains_under_xla(model, x)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("name", DENSITIES)
def test_life_of_a_density(name, tmp_path):
    density, x = DENSITIES[name]()
    model = tfvae.DensityModel(density, seed=0)
    model.compile(keras.optimizers.Adam(0.05), jit_compile=False)
    history = model.fit(x, epochs=3, batch_size=16, verbose=0, validation_data=(x,)).history
    assert np.all(np.isfinite(history["val_loss"]))
    assert history["loss"][-1] == pytest.approx(-history["elbo"][-1])
    expected = density.distribution().log_prob(x)
    np.testing.assert_allclose(model.predict(x, verbose=0)["log_prob"], expected, rtol=1e-5)
    np.testing.assert_allclose(
        tfvae.log_likelihood(model, x, num_samples=1, verbose=False).per_point, expected, rtol=1e-5
    )
    ledger = tfvae.decompose(model, x, num_samples=1, evidence_samples=1, verbose=False)
    assert ledger.gap.mean == ledger.rate.mean == ledger.mutual_information.mean == 0.0
    assert model.sample(7, seed=1).shape == (7, *x.shape[1:])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.exact_log_p_x(x), model.exact_log_p_x(x))
    model.export(tmp_path / "export", verbose=False, signatures=["log_prob", "generate"])
    served = tf.saved_model.load(str(tmp_path / "export")).signatures
    log_prob = served["log_prob"](
        x=tf.constant(x), num_samples=tf.constant(1), seed=tf.constant([0, 0])
    )
    np.testing.assert_allclose(log_prob["log_prob"], expected, rtol=1e-5)
    drawn = served["generate"](num_samples=tf.constant(4), seed=tf.constant([0, 1]))
    assert drawn["x"].shape == (4, *x.shape[1:])


def test_minibatch_gradients_are_unbiased_estimates_of_the_whole():
    """The mean of the gradients of equal batches is the gradient of the whole (A4)."""
    x = real_data(40, (3,))
    density = priors.Parametric(layers.MultivariateNormalDiag(3))
    model = tfvae.DensityModel(density)

    def gradient(rows):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(model.terms(rows).log_p_x)
        return tape.gradient(value, density.params.value).numpy()

    parts = np.mean([gradient(x[i : i + 10]) for i in range(0, 40, 10)], axis=0)
    np.testing.assert_allclose(parts, gradient(x), rtol=1e-5, atol=1e-6)


def test_parametric_families_are_priors_too():
    prior = priors.Parametric(layers.MultivariateNormalTriL(2))
    encoder = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(4), layers.MultivariateNormalDiag(2)]
    )
    decoder = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(6), layers.IndependentBernoulli(6)]
    )
    vae = tfvae.VAE(encoder, decoder, prior)
    assert vae.terms(binary_data()).kl is not None
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(prior))
    assert copy.get_config() == prior.get_config()


def test_bad_arguments():
    with pytest.raises(TypeError, match=r"`density` must be a layer with a `distribution\(\)`"):
        tfvae.DensityModel(layers.IndependentNormal(3))
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    head = keras.Sequential([dense, layers.IndependentNormal(1)])
    with pytest.raises(TypeError, match=r"Use `tfvae\.ConditionalModel`"):
        tfvae.DensityModel(priors.Conditional(head))
    with pytest.raises(TypeError, match="`network` must return a tfp distribution"):
        tfvae.ConditionalModel(dense)
    with pytest.raises(TypeError, match="`network` must be a Keras model"):
        tfvae.ConditionalModel("network")
    with pytest.raises(TypeError, match="`layer` must be a distribution layer"):
        priors.Parametric(keras.layers.Dense(2))
    model = tfvae.DensityModel(priors.Normal(3))
    model.compile()
    with pytest.raises(ValueError, match=r"`x` does not have the shape.*\[batch, 3\]"):
        model.fit(real_data(5, (4,)), verbose=0)
