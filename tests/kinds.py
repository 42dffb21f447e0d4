"""One small model of each kind, over images of two rows and three columns, with its data."""

from __future__ import annotations

import functools

import keras
import numpy as np

import tfvae
from tests.conftest import mlp_decoder, mlp_encoder
from tests.models.test_directed import labelled_tables, network, table_data
from tfvae.layers import IndependentBernoulli, MultivariateNormalDiag, OneHotCategorical

NUM = 12
BITS = np.random.default_rng(0).integers(0, 2, (NUM, 6)).astype("float32")
LABELS = np.arange(NUM) % 3
ONE_HOT = np.eye(3, dtype="float32")[LABELS]


def normal():
    return MultivariateNormalDiag(2)


def pixels():
    return IndependentBernoulli(6)


def plain():
    return tfvae.VAE(mlp_encoder(), mlp_decoder(), seed=0), BITS


def one_latent():
    return tfvae.VAE(mlp_encoder(latents=1), mlp_decoder(latents=1), seed=0), BITS


def conditional():
    model = tfvae.VAE(
        network(normal(), first=(6,), context=(3,)),
        network(pixels(), first=(2,), context=(3,)),
        tfvae.priors.Conditional(network(normal(), context=(3,))),
        seed=0,
    )
    return model, {"x": BITS, "context": ONE_HOT}


def context_of_decoder():
    decoder = network(pixels(), first=(2,), context=(3,))
    return tfvae.VAE(mlp_encoder(), decoder, seed=0), {"x": BITS, "context": ONE_HOT}


def hierarchical():
    posteriors = [network(normal(), x=(6,), z_2=(2,)), network(normal(), x=(6,))]
    decoders = [network(pixels(), z_1=(2,)), network(normal(), z_2=(2,))]
    return tfvae.HierarchicalVAE(posteriors, decoders, seed=0), BITS


def levels_apart():
    posteriors = [network(normal(), x=(6,)), network(normal(), x=(6,))]
    decoders = [
        network(pixels(), z_1=(2,), context=(3,)),
        network(normal(), z_2=(2,), context=(3,)),
    ]
    model = tfvae.HierarchicalVAE(posteriors, decoders, seed=0)
    return model, {"x": BITS, "context": ONE_HOT}


def directed():
    """Nodes of other names than x and z."""
    model = tfvae.DirectedModel(
        {"code": tfvae.priors.StandardNormal(), "picture": network(pixels(), code=(2,))},
        {"code": network(normal(), picture=(6,))},
        seed=0,
    )
    return model, BITS


def given_node():
    """A prior that depends on an observed node."""
    model = tfvae.DirectedModel(
        {
            "y": tfvae.priors.OneHot(),
            "z": network(normal(), y=(3,)),
            "x": network(pixels(), z=(2,)),
        },
        {"z": network(normal(), x=(6,), y=(3,))},
        seed=0,
    )
    return model, {"y": ONE_HOT, "x": BITS}


def semi_supervised():
    """y -> z -> x, with labels for some."""
    model = tfvae.DirectedModel(
        {
            "y": tfvae.priors.OneHot(),
            "z": network(normal(), y=(3,)),
            "x": network(pixels(), z=(2,)),
        },
        {"y": network(OneHotCategorical(3), x=(6,)), "z": network(normal(), x=(6,), y=(3,))},
        partly_observed=["y"],
        seed=0,
    )
    return model, {"x": BITS, "y": np.where(np.arange(NUM) < 5, LABELS, -1)}


def tables():
    return labelled_tables(), table_data(NUM)


def observed_graph():
    """No latent node at all."""
    model = tfvae.DirectedModel(
        {"y": tfvae.priors.OneHot(), "x": network(pixels(), y=(3,))}, seed=0
    )
    return model, {"y": ONE_HOT, "x": BITS}


def mixture():
    return tfvae.FiniteMixture(pixels(), 3, seed=0), BITS


def codes():
    """Two categorical variables of three states: all nine are summed over."""
    head = tfvae.layers.IndependentCategorical(2, 3)
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(6), head])
    return tfvae.VAE(encoder, mlp_decoder(), tfvae.priors.Categorical(3), seed=0), BITS


def drawn_bits():
    """Bernoulli latents that are drawn."""
    encoder = network(IndependentBernoulli(2), x=(6,))
    prior = tfvae.priors.Parametric(IndependentBernoulli(2))
    return tfvae.VAE(encoder, mlp_decoder(), prior, max_states=0, seed=0), BITS


def flow():
    head = tfvae.layers.TransformedDistribution(
        MultivariateNormalDiag(2), tfvae.flows.InverseAutoregressive(1, [4])
    )
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4), head])
    return tfvae.VAE(encoder, mlp_decoder(), tfvae.priors.GaussianMixture(2, 2), seed=0), BITS


def full_covariance():
    encoder = network(tfvae.layers.MultivariateNormalTriL(2), x=(6,))
    return tfvae.VAE(encoder, mlp_decoder(), tfvae.priors.VampPrior(3), seed=0), BITS


def directions():
    encoder = network(tfvae.layers.PowerSpherical(3), x=(6,))
    prior = tfvae.priors.Hyperspherical()
    return tfvae.VAE(encoder, mlp_decoder(latents=3), prior, seed=0), BITS


def with_gaps():
    layer = tfvae.layers.Masked(IndependentBernoulli(6))
    encoder = keras.Sequential(
        [keras.Input((6,)), tfvae.networks.FillMissing(), keras.layers.Dense(4), normal()]
    )
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(6), layer])
    gaps = np.random.default_rng(1).random(BITS.shape) < 0.3
    gaps[0] = True  # nothing is known of one point
    return tfvae.VAE(encoder, decoder, seed=0), np.where(gaps, np.nan, BITS).astype("float32")


def density():
    return tfvae.DensityModel(tfvae.priors.Parametric(IndependentBernoulli(6)), seed=0), BITS


def regression():
    of_context = keras.Sequential([keras.Input((3,)), keras.layers.Dense(6), pixels()])
    return tfvae.ConditionalModel(of_context, seed=0), {"x": BITS, "context": ONE_HOT}


KINDS = {
    make.__name__: make
    for make in (
        plain,
        one_latent,
        conditional,
        context_of_decoder,
        hierarchical,
        levels_apart,
        directed,
        given_node,
        semi_supervised,
        tables,
        observed_graph,
        mixture,
        codes,
        drawn_bits,
        flow,
        full_covariance,
        directions,
        with_gaps,
        density,
        regression,
    )
}


@functools.cache
def kind(name):
    """Returns the model, not to be changed, and its data."""
    model, data = KINDS[name]()
    draws = tfvae.objectives.ELBO(num_samples=2, gradient=tfvae.objectives.LeaveOneOut())
    model.compile("adam", draws if name == "drawn_bits" else None, run_eagerly=True)
    return model, data
