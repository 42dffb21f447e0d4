"""Parameters left to broadcasting: each helper gives what it gives of the same ones in full."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.conftest import mlp_decoder, real_data
from tfvae.distributions.factors import as_factors
from tfvae.distributions.gaussian import as_diagonal_normal
from tfvae.distributions.kl import closed_form_kl
from tfvae.distributions.pairwise import pairwise_log_prob, pairwise_log_prob_fast
from tfvae.distributions.reparameterised import sample_and_log_prob
from tfvae.distributions.statistics import centre, statistic
from tfvae.distributions.support import Support

tfd = tfp.distributions
independent = lambda q: tfd.Independent(q, 1)  # noqa: E731

T = np.array([[0.3, -1.0], [1.2, 0.1], [-0.4, 2.0], [0.9, 0.9]], "float32")
P = np.exp(T)
# From a function that makes a parameter whole, [4, 2], or leaves it as it is.
FAMILIES = {
    "scalar scale": lambda whole: independent(tfd.Normal(T, whole(0.7))),
    "scalar loc": lambda whole: independent(tfd.Normal(whole(0.5), P)),
    "scale of dimensions": lambda whole: independent(tfd.Normal(T, whole([0.5, 2.0]))),
    "scale of examples": lambda whole: independent(tfd.Normal(T, whole(P[:, :1]))),
    "diagonal": lambda whole: tfd.MultivariateNormalDiag(T, whole([0.5, 2.0])),
    "no loc": lambda whole: tfd.MultivariateNormalDiag(whole(0.0), P),
    "Laplace": lambda whole: independent(tfd.Laplace(T, whole(0.7))),
    "StudentT": lambda whole: independent(tfd.StudentT(whole(5.0), T, whole(0.7))),
    "LogNormal": lambda whole: independent(tfd.LogNormal(T, whole(0.7))),
    "Uniform": lambda whole: independent(tfd.Uniform(whole(-1.0), P)),
    "RelaxedBernoulli": lambda whole: independent(tfd.RelaxedBernoulli(whole(0.5), T)),
    "ZeroInflated": lambda whole: independent(
        tfvae.distributions.ZeroInflated(tfd.Poisson(P), logits=whole(0.5))
    ),
}


def in_full(value):
    return np.broadcast_to(np.asarray(value, "float32"), T.shape)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_helper_broadcasts(name):
    few, full = FAMILIES[name](lambda value: value), FAMILIES[name](in_full)
    q = tfd.MultivariateNormalDiag([0.1, 0.2], [1.0, 2.0])
    z, log_q = sample_and_log_prob(full, 3, [1, 2])
    found = sample_and_log_prob(few, 3, [1, 2])
    assert found[0].shape == (3, 4, 2)
    np.testing.assert_allclose(few.log_prob(z), log_q, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(few.log_prob(found[0]), found[1], rtol=1e-4, atol=1e-5)
    for helper in (
        lambda d: pairwise_log_prob(d, z),
        lambda d: pairwise_log_prob_fast(d, z),
        lambda d: as_factors(d).log_prob(z),
        centre,
        lambda d: statistic(d, "mean"),
        lambda d: statistic(d, "stddev"),
        lambda d: statistic(d, "entropy"),
        lambda d: closed_form_kl(d, q),
        lambda d: closed_form_kl(q, d),
        lambda d: getattr(as_diagonal_normal(d), "loc", None),
        lambda d: getattr(as_diagonal_normal(d), "scale", None),
        lambda d: mixture_of(d).log_prob(z),
        lambda d: statistic(mixture_of(d), "mean"),
    ):
        values = [helper(few), helper(full)]
        if values[1] is None:
            assert values[0] is None
            continue
        assert values[0].shape == values[1].shape
        np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-5)


def mixture_of(posteriors):
    """Returns the mixture of posteriors that stands in a `VampPrior`."""
    prior = tfvae.priors.VampPrior(4)
    prior.connect(lambda u: posteriors, (3,), Support("Normal"))
    prior.build((2,))
    return prior.distribution()


def normal_of_unit_scale(t):
    return tfd.Independent(tfd.Normal(t, 1.0), 1)


def head(name, reads):
    inputs = keras.Input((reads,), name=name)
    made = tfvae.layers.DistributionLambda(normal_of_unit_scale)
    return keras.Model(inputs, made(keras.layers.Dense(2)(inputs)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vae", "vamp", "hierarchy"])
def test_models_take_posteriors_of_a_scalar_scale(kind):
    decoder = mlp_decoder(likelihood=tfvae.layers.IndependentNormal)
    if kind == "hierarchy":
        model = tfvae.HierarchicalVAE([head("x", 6), head("z_1", 2)], [decoder, head("z_2", 2)])
    else:
        prior = tfvae.priors.VampPrior(3) if kind == "vamp" else None
        model = tfvae.VAE(head("x", 6), decoder, prior)
    model.compile("sgd", jit_compile=False)
    history = model.fit(real_data(), epochs=1, verbose=0).history
    assert all(np.isfinite(values[-1]) for values in history.values())


def test_entropies_that_tfp_cannot_add_up_are_estimated():
    base = tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))
    assert statistic(tfd.TransformedDistribution(base, tfp.bijectors.Shift(T)), "entropy") is None
    scaled = tfd.TransformedDistribution(base, tfp.bijectors.Scale(2.0))
    expected = np.log(2 * np.pi * np.e) + 2 * np.log(2.0)
    np.testing.assert_allclose(statistic(scaled, "entropy"), expected, rtol=1e-6)
