"""Every kind of model that is served, with seven rows of each input: all of `tests.kinds`, and
families that draw or score in ways of their own.
"""

import functools

import keras

import tfvae
from tests.conftest import mlp_decoder, mlp_encoder
from tests.kinds import KINDS, kind
from tfvae import flows, layers, priors
from tfvae.export.verification import example_inputs
from tfvae.layers import IndependentBernoulli, MultivariateNormalDiag

NUM = 7


def one_after_the_other():
    """Pixels given those before them, by a dense network."""
    made = layers.Autoregressive(6, IndependentBernoulli(), 4, hidden_units=[5])
    return tfvae.VAE(
        mlp_encoder(), keras.Sequential([keras.Input((2,)), keras.layers.Dense(4), made]), seed=0
    )


def pixel_cnn():
    picture = layers.PixelCNN(
        (2, 3, 1), IndependentBernoulli(), 4, filters=4, num_blocks=1, first_kernel_size=3
    )
    x = keras.Input((2, 3, 1))
    hidden = keras.layers.Dense(4)(keras.layers.Flatten()(keras.layers.Conv2D(2, 2)(x)))
    encoder = keras.Model(x, MultivariateNormalDiag(2)(hidden))
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4), picture])
    return tfvae.VAE(encoder, decoder, seed=0)


def code_after_code():
    """A learned prior of codes that are drawn."""
    encoder = linear(6, layers.IndependentCategorical(4, 3))
    prior = priors.Autoregressive(3, hidden_units=[5])
    return tfvae.VAE(encoder, mlp_decoder(latents=4), prior, max_states=0, seed=0)


def couplings():
    """A flow in the posterior and one in the prior, with images that convolutions make."""
    head = layers.TransformedDistribution(MultivariateNormalDiag(2), flows.RealNVP(2, [4]))
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4), head])
    z = keras.Input((2,))
    hidden = keras.layers.Reshape((1, 3, 2))(keras.layers.Dense(6)(z))
    hidden = keras.layers.Conv2DTranspose(1, (2, 1))(hidden)
    x = IndependentBernoulli(6)(keras.layers.Flatten()(hidden))
    return tfvae.VAE(encoder, keras.Model(z, x), priors.RealNVP(hidden_units=[4]), seed=0)


def of(posterior, prior=None, likelihood=IndependentBernoulli):
    """Returns a maker of VAEs over six numbers with two latents of a family."""

    def make():
        encoder, decoder = linear(6, posterior()), linear(2, likelihood(6))
        return tfvae.VAE(encoder, decoder, prior and prior(), seed=0)

    return make


def linear(size, layer):
    dense = keras.layers.Dense(layer._params_size())
    return keras.Sequential([keras.Input((size,)), dense, layer])


def relaxed():
    return layers.RelaxedOneHotCategorical(2)


SERVED = {
    **{name: functools.partial(lambda name: kind(name)[0], name) for name in KINDS},
    **{make.__name__: make for make in (one_after_the_other, pixel_cnn, code_after_code)},
    "couplings": couplings,
    "mixture_posterior": of(lambda: layers.MixtureNormal(2, 2)),
    "low_rank": of(lambda: layers.MultivariateNormalLowRank(2, 1)),
    "relaxed": of(relaxed, lambda: priors.Parametric(relaxed())),
    "von_mises_fisher": of(lambda: layers.VonMisesFisher(2), priors.Hyperspherical),
    "counts": of(lambda: MultivariateNormalDiag(2), None, layers.ZeroInflatedNegativeBinomial),
    "heavy_tails": of(lambda: MultivariateNormalDiag(2), None, layers.IndependentStudentT),
    "levels": of(lambda: MultivariateNormalDiag(2), None, layers.DiscretizedLogistic),
    "unit_interval": of(lambda: MultivariateNormalDiag(2), None, layers.IndependentBeta),
}


@functools.cache
def served(name):
    """Returns a model, not to be changed, and valid inputs of its signatures, seven rows of each
    that has rows.
    """
    model = SERVED[name]()
    return model, example_inputs(model, rows=NUM)
