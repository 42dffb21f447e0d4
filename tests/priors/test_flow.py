"""Priors made by flows: their densities, and models with them."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.conftest import binary_data, mlp_decoder, mlp_encoder
from tests.flows.cases import perturb
from tfvae import flows, priors
from tfvae.divergences import closed_form_kl

tfd = tfp.distributions

NAMED = {
    priors.RealNVP: flows.RealNVP,
    priors.NeuralSpline: flows.NeuralSpline,
    priors.MaskedAutoregressive: flows.MaskedAutoregressive,
}
over_named = pytest.mark.parametrize("cls", NAMED, ids=lambda cls: cls.__name__)


@pytest.mark.slow
@over_named
def test_density_is_that_of_the_change_of_variables(cls):
    prior = cls(3, num_transforms=2, hidden_units=[8], activation="tanh", dtype="float64")
    assert type(prior.flow) is NAMED[cls]
    perturb(prior.flow)
    p_z = prior.distribution()
    assert isinstance(p_z, tfd.TransformedDistribution)
    assert (p_z.batch_shape, p_z.event_shape, p_z.dtype) == ((), (3,), tf.float64)
    z = tf.constant(np.random.default_rng(0).normal(size=(6, 3)))
    with tf.GradientTape() as tape:
        tape.watch(z)
        u = prior.flow.bijector().inverse(z)
    jacobian = tape.batch_jacobian(u, z)
    expected = scipy.stats.norm.logpdf(u).sum(axis=-1) + np.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(p_z.log_prob(z), expected, rtol=1e-8)
    assert np.max(np.abs(expected - scipy.stats.norm.logpdf(z).sum(axis=-1))) > 0.1
    draws, log_prob = p_z.experimental_sample_and_log_prob(4, seed=[1, 2])
    np.testing.assert_allclose(prior.distribution().log_prob(tf.identity(draws)), log_prob)


@over_named
def test_settings_are_those_of_the_flow(cls):
    kwargs = {"num_transforms": 3, "hidden_units": [5, 4], "activation": "tanh"}
    if cls is not priors.MaskedAutoregressive:
        kwargs["seed"] = 7
    if cls is priors.NeuralSpline:
        kwargs |= {"num_bins": 5, "bound": 3.0}
    prior = cls(4, **kwargs)
    config = prior.get_config()
    for name, value in kwargs.items():
        assert config[name] == value
        assert prior.flow.get_config()[name] == value
    copy = cls.from_config(config)
    assert copy.flow.get_config() == {**prior.flow.get_config(), "name": copy.flow.name}
    assert (copy.event_shape, len(copy.weights)) == (prior.event_shape, len(prior.weights))


@over_named
@pytest.mark.parametrize("policy", ["mixed_float16", "float64"])
def test_precision_is_that_of_the_weights(cls, policy):
    p_z = cls(2, hidden_units=[4], dtype=policy).distribution()
    expected = tf.float64 if policy == "float64" else tf.float32
    assert p_z.dtype == p_z.sample(seed=[1, 2]).dtype == expected
    assert p_z.log_prob(tf.zeros([2], expected)).dtype == expected


def test_a_new_prior_is_nearly_its_base():
    z = np.random.default_rng(0).normal(size=(50, 4)).astype("float32")
    expected = scipy.stats.norm.logpdf(z).sum(axis=-1)
    for cls in NAMED:
        np.testing.assert_allclose(cls(4).distribution().log_prob(z), expected, atol=0.3)


def test_any_flow_on_any_prior():
    base = priors.RealNVP(hidden_units=[4])
    prior = priors.FlowPrior(flows.InverseAutoregressive(2, [4]), base)
    prior.build((2, 3))
    assert base.event_shape == (2, 3)
    assert len(prior.trainable_weights) == len(base.weights) + len(prior.flow.weights)
    p_z = prior.distribution()
    draws, log_prob = p_z.experimental_sample_and_log_prob(4, seed=[1, 2])
    assert draws.shape == (4, 2, 3)
    np.testing.assert_allclose(prior.distribution().log_prob(draws), log_prob, rtol=1e-4)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(prior))
    assert copy.get_config() == prior.get_config()
    copy.set_weights(prior.get_weights())
    np.testing.assert_array_equal(
        copy.distribution().log_prob(draws), prior.distribution().log_prob(draws)
    )


def test_flows_given_a_context_are_networks_of_conditional_priors():
    base = tfvae.layers.MultivariateNormalDiag(2)
    head = tfvae.layers.TransformedDistribution(base, flows.NeuralSpline(2, [4]), 3)
    network = keras.Sequential([keras.Input((5,)), keras.layers.Dense(7), head])
    prior = priors.Conditional(network, 2)
    p_z = prior.distribution(tf.eye(5))
    assert isinstance(p_z, tfd.TransformedDistribution)
    assert p_z.log_prob(tf.zeros([4, 1, 2])).shape == (4, 5)
    assert {w.path for w in head.flow.weights} < {w.path for w in prior.trainable_weights}


def test_wrong_parts_are_explained():
    with pytest.raises(TypeError, match=r"`flow` must be an object of `tfvae.flows`.*Received: i"):
        priors.FlowPrior(3)
    with pytest.raises(TypeError, match=r"`base` must be an object of `tfvae.priors`.*Received: "):
        priors.FlowPrior(flows.RealNVP(), tfd.Normal(0.0, 1.0))
    with pytest.raises(ValueError, match=r"a prior of weights alone. Received: VampPrior"):
        priors.FlowPrior(flows.RealNVP(), priors.VampPrior(4))
    with pytest.raises(ValueError, match=r"at least 2 dimensions. Received: 1"):
        priors.RealNVP(1)
    with pytest.raises(ValueError, match=r"at least 2 dimensions. Received: 1"):
        tfvae.VAE(mlp_encoder(latents=1), mlp_decoder(latents=1), priors.NeuralSpline())


@pytest.mark.slow
@pytest.mark.exhaustive
def test_life_of_a_vae(tmp_path):
    x, prior = binary_data(32), priors.MaskedAutoregressive(hidden_units=[8])
    vae = tfvae.VAE(mlp_encoder(), mlp_decoder(), prior, seed=1)
    assert vae.prior.event_shape == (2,)
    # With XLA, which takes its time, in the battery of all priors.
    vae.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    before = [w.numpy() for w in vae.trainable_weights]
    history = vae.fit(x, batch_size=16, epochs=4, verbose=0).history
    assert np.all(np.isfinite([history[name] for name in history]))
    paths = {w.path for w in vae.trainable_weights}
    assert {w.path for w in vae.prior.flow.trainable_weights} <= paths
    for old, weight in zip(before, vae.trainable_weights, strict=True):
        assert np.any(weight.numpy() != old), weight.path
    terms = vae.terms(x, 5, 3)
    assert terms.kl is None
    assert closed_form_kl(terms.q_z, terms.p_z) is None
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(loaded.terms(x, 5, 3).log_w, terms.log_w)
    estimate = tfvae.log_likelihood(vae, x, num_samples=200, verbose=False, seed=0)
    again = tfvae.log_likelihood(loaded, x, num_samples=200, verbose=False, seed=0)
    assert str(estimate) == str(again)
    vae.export(tmp_path / "export", verbose=False, signatures=["generate", "elbo"])
    served = tf.saved_model.load(str(tmp_path / "export")).signatures
    seed = tf.constant([0, 1])
    elbo = served["elbo"](x=x, num_samples=tf.constant(5), seed=seed)["elbo"]
    np.testing.assert_allclose(elbo, vae.terms(x, 5, [0, 1]).elbo, rtol=1e-4, atol=1e-4)
    new = served["generate"](num_samples=tf.constant(4), seed=seed)
    np.testing.assert_allclose(new["z"], vae.generate(4, seed)["z"], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_prior_learns_the_aggregated_posterior():
    """Of codes in two clusters, which a standard normal scores 3.9 nats below their own density."""
    generator = np.random.default_rng(0)
    signs = generator.choice([-2.0, 2.0], (4000, 1))
    z = (signs + 0.5 * generator.normal(size=(4000, 2))).astype("float32")
    exact = np.logaddexp(
        scipy.stats.norm(-2.0, 0.5).logpdf(z).sum(axis=-1),
        scipy.stats.norm(2.0, 0.5).logpdf(z).sum(axis=-1),
    ) - np.log(2.0)
    prior = priors.NeuralSpline(2, num_transforms=4, hidden_units=[16])
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, 300))
    optimizer.build(prior.trainable_weights)

    @tf.function(autograph=False)
    def step(z):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(prior.distribution().log_prob(z))
        gradients = tape.gradient(loss, prior.trainable_weights)
        optimizer.apply_gradients(zip(gradients, prior.trainable_weights, strict=True))

    def excess():
        return np.mean(exact - prior.distribution().log_prob(z))

    before = excess()
    for rows in generator.integers(0, 4000, (300, 200)):
        step(tf.constant(z[rows]))
    assert before == pytest.approx(3.9, abs=0.2)
    assert -0.05 < excess() < 0.1
