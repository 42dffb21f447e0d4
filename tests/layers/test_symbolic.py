"""Subclassed models that return distributions, as parts of Functional and Sequential models."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.layers.cases import CASES
from tests.layers.test_arguments import OTHERS
from tfvae import layers
from tfvae.layers import IndependentBernoulli, IndependentNormal, MultivariateNormalDiag

tfd = tfp.distributions
X = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")


class Head(keras.Model):
    """A dense layer and what follows, which may read the distribution as one."""

    def __init__(self, size, *parts):
        super().__init__()
        self.dense, self.parts = keras.layers.Dense(size), list(parts)

    def call(self, x):
        q = self.dense(x)
        for part in self.parts:
            q = part(q)
            if isinstance(q, tfd.Distribution):
                assert len(q.event_shape) >= 0
        return q


@pytest.mark.slow
@pytest.mark.exhaustive
def test_every_family_passes_through_a_subclassed_model():
    inputs = keras.Input((3,))
    for family in CASES.values():
        case = family[0]
        alone, within = case.make(), Head(case.params_size, case.make())
        expected = alone(keras.KerasTensor((None, case.params_size)))
        found = within(inputs)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype), case.label
        made = keras.Model(inputs, found)(X)
        assert isinstance(made, case.tfp_class), case.label
        assert made.batch_shape == (5,)


@pytest.mark.parametrize("name", ["AutoregressiveTransform", "KLDivergenceAddLoss"])
def test_layers_that_take_distributions_get_them(name):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, Head(4, MultivariateNormalDiag(2), OTHERS[name][0]())(inputs))
    assert model.output_shape == (None, 2)
    assert isinstance(model(X), tfd.Distribution)


@pytest.mark.parametrize(
    ("parts", "shape"),
    [
        ([MultivariateNormalDiag(2, lambda q: q.sample(7))], (7, None, 2)),
        ([layers.DistributionLambda(lambda t: tfd.Normal(t, 1.0))], (None, 4)),
        ([MultivariateNormalDiag(2), keras.layers.Dense(6), IndependentNormal(3)], (None, 3)),
        ([MultivariateNormalDiag(2), keras.layers.Reshape((2, 1))], (None, 2, 1)),
        ([IndependentNormal((2, 1, 1)), keras.layers.Conv2D(3, 1)], (None, 2, 1, 3)),
    ],
    ids=["samples", "lambda", "chain", "reshape", "conv"],
)
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_shapes_are_those_of_the_tensor(parts, shape, policy):
    parts = [
        part.from_config(part.get_config()) if not hasattr(part, "seed") else part for part in parts
    ]
    for part in parts:
        part.dtype_policy = policy
    inputs = keras.Input((3,))
    model = keras.Model(inputs, Head(4, *parts)(inputs))
    assert model.output_shape == shape
    assert np.asarray(model(X)).shape == tuple(5 if size is None else size for size in shape)


class Both(keras.Model):
    """An encoder and a decoder, with a penalty that reads the posterior."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = (
            Head(4, MultivariateNormalDiag(2)),
            Head(3, IndependentBernoulli(3)),
        )

    def call(self, x):
        q = self.encoder(x)
        self.add_loss(
            tf.reduce_mean(tfd.kl_divergence(q, tfd.MultivariateNormalDiag([0.0, 0.0], [1.0, 1.0])))
        )
        return {"q": q, "p": self.decoder(q)}


@pytest.mark.slow
def test_structures_are_returned_whole():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, Both()(inputs))
    made = model(X)
    assert {name: type(d).__name__ for name, d in made.items()} == {
        "q": "MultivariateNormalDiag",
        "p": "Independent",
    }
    assert len(model.losses) == 1
    assert keras.Sequential(
        [keras.Input((3,)), Head(4, MultivariateNormalDiag(2))]
    ).output_shape == (
        None,
        2,
    )


@pytest.mark.slow
def test_models_of_subclassed_parts_train():
    inputs = keras.Input((3,))
    encoder, decoder = Head(4, MultivariateNormalDiag(2)), Head(6, IndependentNormal(3))
    model = keras.Model(inputs, decoder(encoder(inputs)))
    model.compile("sgd", loss=tfvae.NegativeLogLikelihood(), jit_compile=False)
    start = [weight.numpy() for weight in model.trainable_weights]
    model.fit(X, X, verbose=0)
    for old, weight in zip(start, model.trainable_weights, strict=True):
        assert np.any(old != weight.numpy())


@pytest.mark.slow
def test_labels_take_the_type_of_the_distribution():
    """Keras brings labels to float32 before a plain function given as loss sees them."""
    dense = keras.layers.Dense(1, kernel_initializer="zeros", dtype="float64")
    head = layers.DistributionLambda(lambda t: tfd.Poisson(log_rate=t), dtype="float64")
    model = keras.Sequential([keras.Input((1,), dtype="float64"), dense, head])
    model.compile("sgd", loss=lambda y, rv: -rv.log_prob(y), jit_compile=False)
    # Of rate one: -log p(1) = 1.
    loss = model.evaluate(np.ones([4, 1]), np.ones([4, 1]), verbose=0)
    assert loss == pytest.approx(1.0)
