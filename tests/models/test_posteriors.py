"""Posteriors of all families: each model differs from the plain one by one line."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import assert_trains_under_xla, binary_data, mlp_decoder, slow_but
from tfvae import flows, layers, priors

X = binary_data(20)
# The one line: parameters per example, posterior and prior over latents of shape (3,).
FAMILIES = {
    "plain": lambda: (6, layers.MultivariateNormalDiag(3), priors.StandardNormal()),
    "full covariance": lambda: (9, layers.MultivariateNormalTriL(3), priors.StandardNormal()),
    "low rank": lambda: (9, layers.MultivariateNormalLowRank(3, rank=1), priors.StandardNormal()),
    "inverse autoregressive flow": lambda: (
        10,
        layers.TransformedDistribution(
            layers.MultivariateNormalDiag(3), flows.InverseAutoregressive(2, [5]), context_size=4
        ),
        priors.StandardNormal(),
    ),
    "coupling flow": lambda: (
        10,
        layers.TransformedDistribution(
            layers.MultivariateNormalDiag(3), flows.RealNVP(2, [5]), context_size=4
        ),
        priors.StandardNormal(),
    ),
    "flow on a full covariance": lambda: (
        9,
        layers.TransformedDistribution(layers.MultivariateNormalTriL(3), flows.RealNVP(2, [5])),
        priors.StandardNormal(),
    ),
    "von Mises-Fisher": lambda: (4, layers.VonMisesFisher(3), priors.Hyperspherical()),
    "power spherical": lambda: (4, layers.PowerSpherical(3), priors.Hyperspherical()),
    "relaxed one-hot": lambda: (
        3,
        layers.RelaxedOneHotCategorical(3),
        priors.Parametric(layers.RelaxedOneHotCategorical(3)),
    ),
    # Half of their draws are held at an end.
    "relaxed binary": lambda: (
        3,
        layers.RelaxedBernoulli(3, temperature=0.05),
        priors.Parametric(layers.RelaxedBernoulli(3, temperature=0.05)),
    ),
    "narrow relaxed one-hot": lambda: (
        3,
        layers.RelaxedOneHotCategorical(3, temperature=0.02),
        priors.Parametric(layers.RelaxedOneHotCategorical(3, temperature=0.02)),
    ),
    "beta": lambda: (6, layers.IndependentBeta(3), priors.Parametric(layers.IndependentBeta(3))),
    "categorical": lambda: (
        6,
        layers.IndependentCategorical(3, 2),
        priors.Categorical(2),
    ),
    "one-hot": lambda: (3, layers.OneHotCategorical(3), priors.OneHot()),
}
over_families = pytest.mark.parametrize(
    "family", slow_but("plain", "von Mises-Fisher", "categorical", of=list(FAMILIES))
)


def vae_with(family):
    params, posterior, prior = FAMILIES[family]()
    encoder = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(params), posterior]
    )
    return tfvae.VAE(encoder, mlp_decoder(latents=3), prior, seed=0)


@pytest.mark.slow
@over_families
def test_density_is_normalised_and_the_rate_is_its_mean(family):
    """Of densities over whatever space: q(z|x) / p(z) has the mean 1 over draws of the prior."""
    vae, num = vae_with(family), 20_000
    p_z, q_z = vae.prior_distribution(), vae.encode(X[:5])
    z = p_z.sample(num, seed=[1, 2])
    ratio = np.exp(q_z.log_prob(z[:, None]).numpy().astype("float64") - p_z.log_prob(z)[:, None])
    error = ratio.std(axis=0) / np.sqrt(num)
    assert np.all(error < 0.1)
    assert np.all(np.abs(ratio.mean(axis=0) - 1.0) <= 5 * error + 1e-5)
    terms = vae.terms(X, 2000, seed=3)
    assert np.mean(terms.rate) > 1e-3
    if terms.kl is not None and terms.log_weights is None:
        each = (terms.log_q_z - terms.log_p_z).numpy()
        error = each.std(axis=0) / np.sqrt(len(each))
        assert np.all(np.abs(terms.sampled_rate - terms.kl) <= 5 * error + 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parts", "posterior"),
    [
        (1, layers.RelaxedBernoulli(3, temperature=0.1)),
        (1, layers.RelaxedOneHotCategorical(3, temperature=0.1)),
        (2, layers.IndependentBeta(3)),
    ],
    ids=lambda part: getattr(part, "name", ""),
)
def test_posteriors_at_the_ends_of_their_support_train(parts, posterior):
    """With parameters of tens, where floats round to 0 and 1: the rate is one, above zero."""
    wide = keras.initializers.RandomNormal(stddev=10.0, seed=0)
    encoder = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(3 * parts, kernel_initializer=wide), posterior]
    )
    prior = priors.Parametric(type(posterior).from_config(posterior.get_config()))
    vae = tfvae.VAE(encoder, mlp_decoder(latents=3), prior, seed=0)
    vae.compile(keras.optimizers.Adam(0.05), jit_compile=False)
    history = vae.fit(X, epochs=3, batch_size=5, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))
    assert np.all(np.array(history["rate"]) > 0.0)
    assert all(np.all(np.isfinite(weight)) for weight in vae.get_weights())


# The rest has lives in the batteries of priors and of finite latents.
over_families_of_their_own = pytest.mark.parametrize(
    "family",
    slow_but(
        of=[
            "full covariance",
            "low rank",
            "inverse autoregressive flow",
            "coupling flow",
            "von Mises-Fisher",
            "relaxed one-hot",
        ],
    ),
)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
@over_families_of_their_own
def test_trains_under_xla(family):
    # XLA compiles the gradients of the second for whole batches alone; see test_compilation.py.
    size = 10 if family == "low rank" else 12
    assert_trains_under_xla(vae_with(family), X, size=size)


@pytest.mark.slow
@pytest.mark.exhaustive
@over_families_of_their_own
def test_life_of_a_model(family, tmp_path):
    vae = vae_with(family)
    start = [w.numpy() for w in vae.trainable_weights]
    vae.compile(keras.optimizers.Adam(0.02), jit_compile=False)
    history = vae.fit(X, epochs=12, batch_size=10, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))
    assert np.mean(history["elbo"][-3:]) > np.mean(history["elbo"][:2])
    for old, weight in zip(start, vae.trainable_weights, strict=True):
        assert np.any(old != weight.numpy()), weight.path
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(loaded.terms(X, 3, 5).log_w, vae.terms(X, 3, 5).log_w)
    vae.export(tmp_path / "export", verbose=False, signatures=["elbo", "generate"])
    served = tf.saved_model.load(str(tmp_path / "export")).signatures
    request = {"x": tf.constant(X), "num_samples": tf.constant(5), "seed": tf.constant([3, 4])}
    elbo = served["elbo"](**request)["elbo"]
    np.testing.assert_allclose(elbo, vae.terms(X, 5, [3, 4]).elbo, rtol=1e-4, atol=1e-4)
    new = served["generate"](num_samples=tf.constant(4), seed=tf.constant([1, 2]))
    assert (new["z"].shape, new["x"].shape) == ((4, 3), (4, 6))
