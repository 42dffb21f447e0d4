"""Finite mixtures: exact evidence and responsibilities, by gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import tfvae
from tests.conftest import binary_data
from tfvae import layers, priors

# Means, and raw scales of standard deviation 2.
START = np.hstack([[[-1.0, 0.0], [1.0, 1.0], [1.0, -1.0]], np.log(np.expm1(np.full([3, 2], 2.0)))])


def clusters(num=600, seed=0):
    rng = np.random.default_rng(seed)
    centres, scales = np.array([[-3.0, 0.0], [2.0, 2.0], [2.0, -2.0]]), [0.5, 0.8, 1.2]
    which = rng.choice(3, size=num, p=[0.5, 0.3, 0.2])
    noise = rng.normal(size=(num, 2)) * np.array(scales)[which, None]
    return (centres[which] + noise).astype("float32"), which


@pytest.mark.slow
def test_fit_maximises_log_p_x_itself(tmp_path):
    x, which = clusters()
    model = tfvae.FiniteMixture(layers.IndependentNormal(2), 3, seed=0)
    terms = model.terms(x)
    np.testing.assert_allclose(terms.elbo, model.exact_log_p_x(x), rtol=1e-4, atol=1e-4)
    with tf.GradientTape(persistent=True) as tape:
        elbo = tf.reduce_mean(model.terms(x).elbo)
        log_p_x = tf.reduce_mean(model.exact_log_p_x(x))
    for weight in model.trainable_weights:
        np.testing.assert_allclose(
            tape.gradient(elbo, weight.value), tape.gradient(log_p_x, weight.value), atol=1e-5
        )
    model.decoder.layers[0].kernel.assign(START)
    model.compile(keras.optimizers.Adam(0.05), jit_compile=False)
    model.fit(x, epochs=80, batch_size=200, verbose=0)
    p_x = model.decode(np.eye(3, dtype="float32"))
    truth = sum(
        w * stats.multivariate_normal(c, s**2).pdf(x)
        for w, c, s in zip(
            [0.5, 0.3, 0.2], [[-3, 0], [2, 2], [2, -2]], [0.5, 0.8, 1.2], strict=True
        )
    )
    assert float(tf.reduce_mean(model.exact_log_p_x(x))) > np.log(truth).mean() - 0.05
    assert p_x.mean().shape == (3, 2)
    # Clusters are found: each is mostly one component.
    found = np.argmax(model.encode(x).mean(), axis=1)
    assert sum(np.max(np.bincount(which[found == k])) for k in set(found)) > 0.9 * len(x)

    model.save(tmp_path / "mixture.keras")
    loaded = keras.models.load_model(tmp_path / "mixture.keras")
    assert type(loaded) is tfvae.FiniteMixture
    np.testing.assert_array_equal(loaded.exact_log_p_x(x), model.exact_log_p_x(x))
    model.export(tmp_path / "export", verbose=False, signatures=["encode"])
    served = tf.saved_model.load(str(tmp_path / "export")).signatures
    np.testing.assert_allclose(
        served["encode"](x=tf.constant(x))["z_mean"], model.encode(x).mean(), rtol=1e-4, atol=1e-6
    )
    assert model.sample(5, seed=1).shape == (5, 2)


def fixed():
    """Weights 1/3 that are not learned."""
    return priors.OneHot(learn_weights=False)


@pytest.mark.slow
def test_fit_prior_gains_what_the_evidence_rises_by():
    x, _ = clusters(300)
    model = tfvae.FiniteMixture(layers.IndependentNormal(2), 3, fixed(), seed=0)
    model.decoder.layers[0].kernel.assign(START)
    model.compile("sgd", jit_compile=False)
    kernel, before = model.decoder.layers[0].kernel.numpy(), model.exact_log_p_x(x).numpy()
    prior = priors.OneHot()
    gain = model.fit_prior(
        prior, x, validation_data=x, epochs=40, optimizer=keras.optimizers.Adam(0.1)
    )
    rise = model.exact_log_p_x(x).numpy() - before
    assert model.prior is prior
    assert gain.nats == pytest.approx(rise.mean(), abs=1e-5)
    assert gain.standard_error == pytest.approx(stats.sem(rise), rel=1e-4)
    np.testing.assert_array_equal(model.decoder.layers[0].kernel, kernel)
    # At the maximum of the weights they are the mean responsibilities.
    found = np.mean(model.encode(x).mean(), axis=0)
    np.testing.assert_allclose(prior.distribution().mean(), found, atol=0.02)
    assert gain.nats > 0.01


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: priors.VampPrior(3), "VampPrior, one that is made of posteriors"),
        (lambda: priors.StandardNormal(), "StandardNormal, one over a continuum"),
        (lambda: priors.Categorical(3), "Categorical, one over several numbers, of which one-hot"),
        (
            lambda: priors.Parametric(layers.IndependentBernoulli(3)),
            "Parametric, one over several numbers",
        ),
        (
            lambda: priors.Conditional(
                keras.Sequential(
                    [keras.Input((2,)), keras.layers.Dense(3), layers.OneHotCategorical(3)]
                )
            ),
            "Conditional, one that reads a context",
        ),
    ],
)
def test_priors_that_are_no_weights_of_components_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        tfvae.FiniteMixture(layers.IndependentBernoulli(6), 3, make())
    model = tfvae.FiniteMixture(layers.IndependentBernoulli(6), 3)
    old = model.prior
    with pytest.raises(ValueError, match=message):
        model.replace_prior(make())
    assert model.prior is old


@pytest.mark.slow
def test_components_that_cannot_differ_are_refused():
    alone = layers.Autoregressive(6, layers.IndependentBernoulli(), hidden_units=[4])
    with pytest.raises(ValueError, match=r"Autoregressive of 0 parameters\. Give.*`context_size`"):
        tfvae.FiniteMixture(alone, 3)
    each = layers.Autoregressive(6, layers.IndependentBernoulli(), 2, hidden_units=[4])
    model, x = tfvae.FiniteMixture(each, 3, seed=0), binary_data(5)
    parts = []
    for state in np.eye(3, dtype="float32"):
        alone = model.decode(np.tile(state, (5, 1))).log_prob(x)
        parts.append(alone + model.prior_distribution().log_prob(state))
    np.testing.assert_allclose(model.exact_log_p_x(x), np.logaddexp.reduce(parts), rtol=1e-5)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`num_components` must be"):
        tfvae.FiniteMixture(layers.IndependentNormal(2), 0)
    with pytest.raises(TypeError, match="`component` must be a Keras model or layer"):
        tfvae.FiniteMixture("normal", 3)
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(TypeError, match="`component` must return a tfp distribution"):
        tfvae.FiniteMixture(dense, 3)
    model = tfvae.FiniteMixture(layers.IndependentBernoulli(2), 3)
    with pytest.raises(ValueError, match="`x` does not have the shape"):
        model.fit_em(binary_data(5, (3,)))
    with pytest.raises(ValueError, match="outside the support of the Bernoulli"):
        model.fit_em(np.full([5, 2], 2.0))


def test_the_input_of_a_component_may_have_any_name():
    inputs = keras.Input((3,), name="x")
    head = tfvae.layers.IndependentBernoulli(6)
    mixture = tfvae.FiniteMixture(keras.Model(inputs, head(keras.layers.Dense(6)(inputs))), 3)
    assert mixture.exact_log_p_x(np.zeros([4, 6], "float32")).shape == (4,)


@pytest.mark.slow
def test_numbers_without_a_fraction_count_as_whole_ones_and_others_are_told():
    x, found = binary_data(12), []
    for one in (1, 1.0):
        mixture = tfvae.FiniteMixture(layers.IndependentBernoulli(6), 2, seed=0).start_from(x)
        result = mixture.fit_em(x, max_iterations=2 * one, batch_size=5 * one)
        counts = mixture.expected_counts(x, 5 * one)
        found.append((result, counts.tolist(), mixture.sample(3 * one, seed=0).numpy().tolist()))
    assert found[0] == found[1]
    for name in ("max_iterations", "batch_size", "gradient_steps"):
        with pytest.raises(ValueError, match=rf"^`{name}` must be a whole number >= 1\."):
            mixture.fit_em(x, **{name: 0})
    with pytest.raises(ValueError, match=r"^`batch_size` must be a whole number >= 1\."):
        mixture.expected_counts(x, 0)
