"""Models of p(x|c): the context enters encoder, decoder and prior, and every use of the model."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import (
    assert_trains_under_xla,
    binary_data,
    mlp_decoder,
    mlp_encoder,
    slow_but,
)
from tfvae import flows, layers
from tfvae.layers import IndependentBernoulli, MultivariateNormalDiag

LABELS = np.arange(24) % 3
CONTEXT = np.eye(3, dtype="float32")[LABELS]
DATA = {"x": binary_data(24), "context": CONTEXT}


def joined(size, head, *, context=3, names=("first", "context")):
    first, second = keras.Input((size,), name=names[0]), keras.Input((context,), name=names[1])
    hidden = keras.layers.Dense(5, "tanh")(keras.layers.Concatenate()([first, second]))
    return keras.Model([first, second], head(keras.layers.Dense(head.size)(hidden)))


class Head:
    """A last layer and the number of its parameters."""

    def __init__(self, layer, size):
        self.layer, self.size = layer(size), layer.params_size(size)

    def __call__(self, params):
        return self.layer(params)


def encoder(**kwargs):
    return joined(6, Head(MultivariateNormalDiag, 2), **kwargs)


def decoder(**kwargs):
    return joined(2, Head(IndependentBernoulli, 6), **kwargs)


def prior():
    return tfvae.priors.Conditional(
        keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), MultivariateNormalDiag(2)])
    )


MODELS = {
    "everywhere": lambda: tfvae.VAE(encoder(), decoder(), prior(), seed=0),
    "decoder only": lambda: tfvae.VAE(mlp_encoder(), decoder(), seed=0),
    "encoder only": lambda: tfvae.VAE(encoder(), mlp_decoder(), seed=0),
    "prior only": lambda: tfvae.VAE(mlp_encoder(), mlp_decoder(), prior(), seed=0),
}


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
@pytest.mark.parametrize("name", MODELS)
def test_trains_under_xla(name):
    assert_trains_under_xla(MODELS[name](), DATA)


@pytest.mark.parametrize("name", slow_but(of=list(MODELS)))
def test_life_of_a_conditional_model(name, tmp_path):
    vae = MODELS[name]()
    assert vae.data.context_shape == (3,)
    start = [w.numpy() for w in vae.trainable_weights]
    # Few batches cost less than a graph: those are made under XLA, and by the export.
    vae.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    history = vae.fit(DATA, epochs=2, batch_size=12, verbose=0, validation_data=(DATA,)).history
    assert np.all(np.isfinite(history["val_elbo"]))
    assert not any(np.array_equal(a, b) for a, b in zip(start, vae.trainable_weights, strict=True))
    dataset = tf.data.Dataset.from_tensor_slices(DATA).batch(7)
    assert vae.evaluate(dataset, verbose=0, return_dict=True)["elbo"] == pytest.approx(
        vae.evaluate(DATA, batch_size=7, verbose=0, return_dict=True)["elbo"], rel=1e-5
    )

    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    x, context = DATA["x"], DATA["context"]
    log_w = vae.terms(x, 3, 5, context=context).log_w
    np.testing.assert_array_equal(loaded.terms(x, 3, 5, context=context).log_w, log_w)

    # Row by row: each point is scored under its own context.
    q_z, p_z = vae.encode(x, context), vae.prior_distribution(context)
    z = vae.terms(x, 3, 5, context=context).z
    p_x = vae.decode(z, context)
    assert p_x.batch_shape == (3, 24)
    x_each = np.broadcast_to(x, (3, *x.shape))
    expected = p_x.log_prob(x_each) + p_z.log_prob(z) - q_z.log_prob(z)
    np.testing.assert_allclose(log_w, expected, rtol=1e-4, atol=1e-4)
    one = vae.decode(z[2, 4:5], context[4:5]).log_prob(x[4:5])
    np.testing.assert_allclose(one, p_x.log_prob(x_each)[2, 4:5], rtol=1e-5)

    evidence = tfvae.log_likelihood(vae, DATA, num_samples=50, batch_size=7, verbose=False)
    assert evidence.per_point.shape == (24,)
    ledger = tfvae.decompose(vae, DATA, num_samples=50, evidence_samples=50, verbose=False)
    for identity, residual in ledger.residuals.items():
        assert abs(residual.mean) <= 5 * residual.standard_error + 1e-4, identity
    assert vae.predict(DATA, verbose=0)["reconstruction"].shape == (24, 6)
    assert vae.reconstruct(x, context=context).shape == (24, 6)
    assert vae(DATA).batch_shape == (24,)

    assert vae.sample(24, seed=1, context=context).shape == (24, 6)
    np.testing.assert_array_equal(
        vae.sample(5, seed=1, context=context[:1]),
        vae.sample(5, seed=1, context=np.repeat(context[:1], 5, axis=0)),
    )
    vae.export(tmp_path / "export", verbose=False, signatures=["generate", "log_prob"])
    served = tf.saved_model.load(str(tmp_path / "export")).signatures
    drawn = served["generate"](seed=tf.constant([1, 2]), context=tf.constant(context[:4]))
    np.testing.assert_array_equal(
        drawn["x"], vae.generate(4, tf.constant([1, 2]), tf.constant(context[:4]))["x"]
    )
    scored = served["log_prob"](
        x=tf.constant(x),
        num_samples=tf.constant(16),
        seed=tf.constant([1, 2]),
        context=tf.constant(context),
    )
    assert np.all(np.isfinite(scored["log_prob"]))


# Each prior of `tfvae.priors` that has weights, given a context: the layer that ends the network of
# a `Conditional`, or a prior that takes one itself, and a posterior over the same latents.
CONDITIONAL = {
    "Normal": (4, lambda: MultivariateNormalDiag(2)),
    "GaussianMixture": (
        layers.MixtureSameFamily.params_size(3, 4),
        lambda: layers.MixtureSameFamily(3, MultivariateNormalDiag(2)),
    ),
    "RealNVP": (
        8,
        lambda: layers.TransformedDistribution(MultivariateNormalDiag(2), flows.RealNVP(2, [4]), 4),
    ),
    "NeuralSpline": (
        8,
        lambda: layers.TransformedDistribution(
            MultivariateNormalDiag(2), flows.NeuralSpline(2, [4]), 4
        ),
    ),
    "MaskedAutoregressive": (
        8,
        lambda: layers.TransformedDistribution(
            MultivariateNormalDiag(2), flows.MaskedAutoregressive(2, [4]), 4
        ),
    ),
    "directions": (3, lambda: layers.PowerSpherical(2)),
    "Categorical": (6, lambda: layers.IndependentCategorical(2, 3)),
    "OneHot": (2, lambda: layers.OneHotCategorical(2)),
    "Autoregressive": (
        4,
        lambda: layers.Autoregressive(
            2, layers.IndependentCategorical((), 3), context_size=4, hidden_units=[5]
        ),
    ),
}
POSTERIORS = {
    "directions": (3, lambda: layers.PowerSpherical(2)),
    "Categorical": (6, lambda: layers.IndependentCategorical(2, 3)),
    "Autoregressive": (6, lambda: layers.IndependentCategorical(2, 3)),
    "OneHot": (2, lambda: layers.OneHotCategorical(2)),
}


@pytest.mark.parametrize("name", slow_but(of=list(CONDITIONAL)))
def test_any_prior_may_depend_on_a_context(name):
    def network(size, params, head):
        parts = [keras.layers.Dense(5, "tanh"), keras.layers.Dense(params), head()]
        return keras.Sequential([keras.Input((size,)), *parts])

    p = tfvae.priors.Conditional(network(3, *CONDITIONAL[name]))
    q = network(6, *POSTERIORS.get(name, (4, lambda: MultivariateNormalDiag(2))))
    vae = tfvae.VAE(q, mlp_decoder(), p, seed=0)
    start = [w.numpy() for w in p.trainable_weights]
    # As a graph and with XLA, which take their time, in the batteries of these families.
    vae.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    history = vae.fit(DATA, epochs=1, batch_size=12, verbose=0).history
    assert np.all(np.isfinite(history["elbo"]))
    for old, weight in zip(start, p.trainable_weights, strict=True):
        assert np.any(old != weight.numpy()), weight.path
    # Row by row, p(z|c) is that of its own context.
    z = vae.terms(DATA["x"], context=CONTEXT, seed=1).z[0]
    log_p = vae.prior_distribution(CONTEXT).log_prob(z).numpy()
    each = [vae.prior_distribution(CONTEXT[row : row + 1]) for row in range(4)]
    for row in range(3):
        one = each[row].log_prob(z[row : row + 1])
        np.testing.assert_allclose(one[0], log_p[row], rtol=1e-4, atol=1e-5)
        other = each[row + 1].log_prob(z[row : row + 1])
        assert abs(float(other[0]) - log_p[row]) > 1e-5
    assert vae.sample(5, seed=2, context=CONTEXT[:1]).shape == (5, 6)


def test_context_matters_where_it_enters():
    vae = MODELS["everywhere"]()
    x, other = DATA["x"], np.roll(CONTEXT, 1, axis=1)
    assert not np.allclose(vae.encode(x, CONTEXT).mean(), vae.encode(x, other).mean())
    z = np.zeros([24, 2], "float32")
    assert not np.allclose(vae.decode(z, CONTEXT).mean(), vae.decode(z, other).mean())
    mean = vae.prior_distribution(CONTEXT).mean()
    assert not np.allclose(mean, vae.prior_distribution(other).mean())


@pytest.mark.slow
def test_missing_surplus_and_wrong_contexts_are_explained():
    vae = MODELS["everywhere"]()
    vae.compile()
    x, c = DATA["x"], CONTEXT
    weights = [w.numpy() for w in vae.weights]
    for call in (
        lambda: vae.fit(x, verbose=0),
        lambda: vae.evaluate(x, verbose=0),
        lambda: vae.fit(tf.data.Dataset.from_tensor_slices(x).batch(7), verbose=0),
        lambda: vae.terms(x),
        lambda: vae.sample(3),
        lambda: vae.decode(np.zeros([3, 2], "float32")),
        lambda: vae.prior_distribution(),
        lambda: tfvae.log_likelihood(vae, x),
    ):
        with pytest.raises(ValueError, match=r"needs a context beside `x`.*Expected: c of shape"):
            call()
    for data, message in [
        ({"x": x, "context": c[:, :2]}, r"`context` does not have the shape.*\[batch, 3\]"),
        ({"x": x, "context": c[:5]}, r"one row per row of `x`. Received: 5 rows for 24"),
        ({"x": x, "context": c * np.nan}, "`context` holds NaN"),
        ({"x": x, "context": c.astype("U3")}, r"`context` must hold numbers. Received: dtype=<U3"),
        ({"x": x, "label": c}, r"Received: a dict with the keys \['label', 'x'\]"),
        ({"context": c}, r"Received: a dict with the keys \['context'\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            vae.fit(data, verbose=0)
    bad = tf.data.Dataset.from_tensor_slices({"x": x, "context": c * np.nan}).batch(7)
    with pytest.raises(ValueError, match="`context` holds NaN or infinite values in a batch"):
        vae.fit(bad, verbose=0)
    with pytest.raises(ValueError, match="one row per draw, or one row for all"):
        vae.sample(5, context=c[:3])
    assert all(np.array_equal(a, b) for a, b in zip(weights, vae.weights, strict=True))

    plain = tfvae.VAE(mlp_encoder(), mlp_decoder())
    plain.compile()
    with pytest.raises(ValueError, match=r"takes no context.*Received: context of shape \[24, 3\]"):
        plain.fit(DATA, verbose=0)


@pytest.mark.slow
def test_vamp_prior_needs_an_encoder_without_context():
    with pytest.raises(ValueError, match="the encoder needs a context too"):
        tfvae.VAE(encoder(), decoder(), tfvae.priors.VampPrior(4))
    vae = tfvae.VAE(mlp_encoder(), decoder(), tfvae.priors.VampPrior(4))
    assert vae.terms(**DATA).log_p_z.shape == (1, 24)


@pytest.mark.slow
def test_networks_may_name_their_inputs_or_be_classes():
    x, c = keras.Input((6,), name="x"), keras.Input((3,), name="context")
    params = keras.layers.Dense(4)(keras.layers.Concatenate()([x, c]))
    by_name = keras.Model({"x": x, "context": c}, MultivariateNormalDiag(2)(params))

    class Decoder(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(6)
            self.head = IndependentBernoulli(6)

        def call(self, z, context):
            return self.head(self.dense(keras.ops.concatenate([z, context], axis=-1)))

    vae = tfvae.VAE(by_name, Decoder())
    assert vae.graph.posterior.parts["z"].reads == ("x", "context")
    assert vae.graph.generative["x"].reads == ("z", "context")
    vae.compile()
    assert np.isfinite(vae.fit(DATA, verbose=0).history["loss"][0])
    np.testing.assert_array_equal(
        vae.encode(**DATA).mean(), by_name({"context": CONTEXT, "x": DATA["x"]}).mean()
    )
    # No network tells the shape of its context: the data does.
    late = tfvae.VAE(mlp_encoder(), Decoder())
    assert not late.built
    late.compile()
    late.fit(DATA, verbose=0)
    assert late.data.context_shape == (3,)
    with pytest.raises(ValueError, match="reads a context of a shape that it does not know yet"):
        tfvae.VAE(mlp_encoder(), Decoder()).build((None, 6))


@pytest.mark.slow
def test_integer_contexts_reach_embeddings():
    z, label = keras.Input((2,)), keras.Input((), dtype="int32")
    embedded = keras.layers.Embedding(3, 4)(label)
    params = keras.layers.Dense(6)(keras.layers.Concatenate()([z, embedded]))
    decoder = keras.Model([z, label], IndependentBernoulli(6)(params))
    vae = tfvae.VAE(mlp_encoder(), decoder)
    vae.compile()
    history = vae.fit({"x": DATA["x"], "context": LABELS}, verbose=0).history
    assert np.isfinite(history["loss"][0])
    assert vae.sample(3, context=np.array([0, 1, 2])).shape == (3, 6)


def test_too_many_inputs_are_refused():
    inputs = [keras.Input((2,)) for _ in range(3)]
    head = MultivariateNormalDiag(1)
    network = keras.Model(inputs, head(keras.layers.Dense(2)(keras.layers.Concatenate()(inputs))))
    with pytest.raises(ValueError, match="Received: 3 inputs"):
        tfvae.VAE(network, mlp_decoder())


def test_a_network_is_no_prior():
    with pytest.raises(TypeError, match="`network` must be a Keras model"):
        tfvae.priors.Conditional(lambda c: c)
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(TypeError, match="must return a tfp distribution"):
        tfvae.priors.Conditional(dense, 2).distribution(CONTEXT)
    conditional = prior()
    conditional.build((2,))
    with pytest.raises(ValueError, match=r"needs a context\. Received: none"):
        conditional.distribution()


@pytest.mark.slow
def test_a_context_of_the_encoder_alone_is_not_asked_of_draws():
    vae = tfvae.VAE(encoder(), mlp_decoder(latents=2), seed=0)
    assert vae.sample(5, seed=0).shape == (5, 6)
    x, q_z = DATA["x"], vae.encode(DATA["x"], DATA["context"])
    assert vae.terms(x, 2, posterior=q_z).log_p_x.shape == (2, len(x))
    with pytest.raises(ValueError, match="needs a context"):
        vae.terms(x)


def test_data_by_name_and_contexts_by_keyword_are_the_same_everywhere():
    vae = tfvae.VAE(encoder(), decoder(), prior(), seed=0)
    x, context = binary_data(5), CONTEXT[:5]
    named = {"x": x, "context": context}
    np.testing.assert_array_equal(vae.encode(named).mean(), vae.encode(x, context).mean())
    np.testing.assert_array_equal(vae.encode(x, context=context).mean(), vae.encode(named).mean())
    np.testing.assert_array_equal(vae.reconstruct(named), vae.reconstruct(x, context=context))
    one, other = vae.terms(named, 2, seed=0), vae.terms(x, 2, seed=0, context=context)
    np.testing.assert_array_equal(one.log_w, other.log_w)
    pairs = [(named, {}), (x, {"context": context})]
    for data, given in pairs:
        figure = tfvae.plots.reconstructions(vae, data, image_shape=(2, 3), **given)
        assert figure.axes
        assert tfvae.plots.latent_space(vae, data, **given).axes
    with pytest.raises(ValueError, match="context"):
        vae.encode({"x": x})
