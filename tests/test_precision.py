"""Every policy of precision, over all layers and priors: densities are float32 at least."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.priors.test_base import CONNECTED, PRIORS
from tfvae import flows, layers, priors
from tfvae._precision import full_dtype

tfd = tfp.distributions

POLICIES = ["float32", "float64", "mixed_float16", "mixed_bfloat16", "float16", "bfloat16"]
over_policies = pytest.mark.parametrize("policy", POLICIES)


@pytest.fixture
def policy_of_all(policy):
    """Sets the policy of everything that is made in a test."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    yield "float64" if policy == "float64" else "float32"
    keras.config.set_dtype_policy(before)


ALL_PRIORS = {
    **{cls.__name__: make for cls, (make, _) in PRIORS.items() if cls not in CONNECTED},
    "MaskedAutoregressive": lambda shape: priors.MaskedAutoregressive(
        shape, num_transforms=1, hidden_units=[4]
    ),
    "NeuralSpline": lambda shape: priors.NeuralSpline(shape, num_transforms=1, hidden_units=[4]),
    "Parametric": lambda shape: priors.Parametric(layers.MultivariateNormalTriL(shape)),
    "Parametric flow": lambda shape: priors.Parametric(
        layers.TransformedDistribution(layers.MultivariateNormalDiag(shape), flows.RealNVP(1, [4]))
    ),
}


@pytest.mark.slow
@over_policies
def test_priors_under_a_policy(policy_of_all):
    for name, make in ALL_PRIORS.items():
        prior = make(3)
        with keras.src.backend.AutocastScope("float16"):  # As in the call of a layer around.
            p_z = prior.distribution()
        assert p_z.dtype.name == policy_of_all, name
        z, log_p = p_z.experimental_sample_and_log_prob(5, seed=[1, 2])
        assert log_p.dtype.name == policy_of_all, name
        # A draw and its density are of one map.
        np.testing.assert_allclose(p_z.log_prob(z), log_p, rtol=1e-4, atol=1e-4, err_msg=name)


REGULARIZERS = {
    "StandardNormal": lambda: priors.StandardNormal(2),
    "Normal": lambda: priors.Normal(2),
    "GaussianMixture": lambda: priors.GaussianMixture(3, 2),
    "RealNVP": lambda: priors.RealNVP(2, hidden_units=[4]),
    "Parametric": lambda: priors.Parametric(layers.MultivariateNormalTriL(2)),
    "model": lambda: keras.Sequential([layers.VariableLayer(4), layers.MultivariateNormalDiag(2)]),
    "function": lambda: function_of_a_variable(
        keras.Variable([0.5, 1.0], dtype=full_dtype(keras.config.dtype_policy().variable_dtype))
    ),
}


def function_of_a_variable(loc):
    return lambda: tfd.MultivariateNormalDiag(
        tf.convert_to_tensor(loc), tf.ones(2, tf.as_dtype(loc.dtype))
    )


@pytest.mark.slow
@over_policies
@pytest.mark.parametrize("form", ["regularizer", "layer"])
def test_penalties_under_a_policy(policy_of_all, form):
    x = np.random.default_rng(0).normal(size=(4, 4)).astype("float32")
    chosen = REGULARIZERS if form == "regularizer" else ["Normal", "function"]
    for name in chosen:
        prior = REGULARIZERS[name]()
        dense = keras.layers.Dense(4)
        if form == "layer":
            head = [layers.MultivariateNormalDiag(2), layers.KLDivergenceAddLoss(prior)]
        else:
            penalty = layers.KLDivergenceRegularizer(prior)
            head = [layers.MultivariateNormalDiag(2, activity_regularizer=penalty)]
        model = keras.Sequential([keras.Input((4,)), dense, *head])
        with tf.GradientTape() as tape:
            q = model(x)
            (loss,) = model.losses
        assert q.dtype.name == loss.dtype.name == policy_of_all, name
        gradients = tape.gradient(loss, model.trainable_weights)
        assert all(g is not None and np.all(np.isfinite(g)) for g in gradients), name
        p = prior.distribution() if hasattr(prior, "distribution") else None
        if p is not None:
            z = tf.convert_to_tensor(q)
            expected = tf.reduce_mean(q.log_prob(z) - p.log_prob(z))
            np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-5, err_msg=name)


def test_penalties_name_types_that_differ():
    penalty = layers.KLDivergenceRegularizer(priors.Normal(2))
    layer = layers.MultivariateNormalDiag(2, dtype="float64", activity_regularizer=penalty)
    with pytest.raises(TypeError, match=r"q of float64, `distribution_b` of float32. Make"):
        layer(np.zeros([3, 4]))


def test_small_weights_are_not_rounded_away():
    weight = keras.Variable(1e-8, trainable=False)
    penalty = layers.KLDivergenceRegularizer(
        tfd.MultivariateNormalDiag(tf.zeros(2)), use_exact_kl=True, weight=weight
    )
    layer = layers.MultivariateNormalDiag(2, activity_regularizer=penalty, dtype="mixed_float16")
    layer(np.ones([3, 4], "float32"))
    assert float(layer.losses[0]) > 0.0


NETWORKS = {
    "Autoregressive": lambda: layers.Autoregressive(
        3, layers.IndependentNormal(), 4, hidden_units=[8]
    ),
    "PixelCNN": lambda: layers.PixelCNN(
        (2, 2, 1), layers.IndependentNormal(), 4, filters=4, num_blocks=1
    ),
    **{
        name: lambda flow=flow: layers.TransformedDistribution(
            layers.MultivariateNormalDiag(2), flow(), context_size=0
        )
        for name, flow in {
            "RealNVP": lambda: flows.RealNVP(2, [8]),
            "NeuralSpline": lambda: flows.NeuralSpline(2, [8]),
            "MaskedAutoregressive": lambda: flows.MaskedAutoregressive(2, [8]),
            "InverseAutoregressive": lambda: flows.InverseAutoregressive(2, [8]),
        }.items()
    },
    "AutoregressiveTransform": lambda: keras.Sequential(
        [
            layers.MultivariateNormalDiag(2),
            layers.AutoregressiveTransform(tfvae.networks.MADE(2, hidden_units=[8])),
        ]
    ),
    "AutoregressiveTransform of a built MADE": lambda: keras.Sequential(
        [layers.MultivariateNormalDiag(2), layers.AutoregressiveTransform(built_made())]
    ),
}


def built_made():
    made = tfvae.networks.MADE(2, 2, hidden_units=[8], activation="tanh")
    made.build((2,))
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    "policy",
    [
        "mixed_float16",
        *(pytest.param(p, marks=pytest.mark.slow) for p in ("float64", "float16", "bfloat16")),
    ],
)
@pytest.mark.parametrize("name", NETWORKS)
def test_layers_with_networks_draw_what_their_densities_describe(policy_of_all, name):
    """Bijectors keep their own inputs for their own outputs: a copy of the draw is scored."""
    layer = NETWORKS[name]()
    params = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    q = layer(params)
    for weight in layer.trainable_weights:
        noise = np.random.default_rng(1).normal(size=weight.shape)
        weight.assign(0.5 * noise)
    q = layer(params)
    z = q.sample(seed=[1, 2])
    again = layer(params).sample(seed=[1, 2])
    np.testing.assert_allclose(z, again, rtol=1e-6)
    assert q.log_prob(z).dtype.name == policy_of_all
    if not name.startswith(("Auto", "Pixel")) or "Transform" in name:
        q = getattr(q, "tensor_distribution", q)
        copy = tf.constant(z.numpy())
        u = q.bijector.inverse(copy)
        base = q.distribution.log_prob(u)
        log_det = q.bijector.inverse_log_det_jacobian(copy, event_ndims=1)
        np.testing.assert_allclose(q.log_prob(copy), base + log_det, rtol=1e-4, atol=1e-4)
        # The noise that was drawn comes back.
        noise = q.distribution.sample(seed=[3, 4])
        back = q.bijector.inverse(tf.constant(q.bijector.forward(noise).numpy()))
        np.testing.assert_allclose(back, noise, rtol=1e-3, atol=1e-3)
