"""Stock Keras models trained by likelihood: known parameters, weights, reductions, traps."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae

tfd = tfp.distributions


class LinearGaussian(keras.layers.Layer):
    """Parameters of y = x w + b + scale * noise: the noise does not depend on x."""

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 1), initializer="zeros")
        self.bias = self.add_weight(shape=(1,), initializer="zeros")
        self.raw_scale = self.add_weight(shape=(1,), initializer="zeros")

    def call(self, x):
        loc = keras.ops.matmul(x, self.kernel) + self.bias
        return keras.ops.concatenate([loc, keras.ops.zeros_like(loc) + self.raw_scale], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2)


def regression_data(num=256):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(num, 2)).astype("float32")
    y = x @ [[1.5], [-2.0]] + 0.5 + 0.3 * generator.normal(size=(num, 1))
    return x, y.astype("float32")


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [pytest.param(False, marks=pytest.mark.xla), True])
def test_stock_fit_recovers_the_closed_form(weighted):
    x, y = regression_data()
    weight = np.random.default_rng(1).uniform(0.0, 2.0, len(x)).astype("float32")
    weight = weight if weighted else np.ones_like(weight)
    model = keras.Sequential(
        [keras.Input((2,)), LinearGaussian(), tfvae.layers.IndependentNormal(1)]
    )
    rate = keras.optimizers.schedules.CosineDecay(0.1, 400)
    model.compile(
        keras.optimizers.Adam(rate),
        loss=tfvae.NegativeLogLikelihood(),
        steps_per_execution=50,
        jit_compile=not weighted,
    )
    data = (x, y, weight) if weighted else (x, y)
    model.fit(tf.data.Dataset.from_tensors(data).repeat(400), verbose=0, shuffle=False)

    # Weighted least squares, and the weighted mean of its squared residuals.
    design = np.concatenate([x, np.ones([len(x), 1])], axis=-1).astype("float64")
    root = np.sqrt(weight.astype("float64"))[:, None]
    expected = np.linalg.lstsq(root * design, root * y, rcond=None)[0]
    scale = np.sqrt(np.average((y - design @ expected)[:, 0] ** 2, weights=weight))
    found = [*model.layers[0].kernel.numpy()[:, 0], *model.layers[0].bias.numpy()]
    np.testing.assert_allclose(found, expected[:, 0], atol=1e-3)
    np.testing.assert_allclose(model(x).stddev(), np.full([256, 1], scale), rtol=2e-3)
    # What Keras reports is the likelihood at these parameters.
    density = scipy.stats.norm(design @ expected, scale).logpdf(y)[:, 0]
    value = model.evaluate(x, y, batch_size=256, sample_weight=weight, verbose=0)
    assert value == pytest.approx(-np.mean(weight * density), abs=1e-4)


def test_reductions_and_weights():
    generator = np.random.default_rng(0)
    params = generator.normal(size=(5, 6)).astype("float32")
    y = generator.normal(size=(5, 3)).astype("float32")
    weight = generator.uniform(size=5).astype("float32")
    p = tfvae.layers.IndependentNormal(3)(params)
    scale = 1e-5 + np.logaddexp(0.0, params[:, 3:])
    each = -scipy.stats.norm(params[:, :3], scale).logpdf(y).sum(axis=-1)  # [B]
    expected = {
        None: (each, weight * each),
        "none": (each, weight * each),
        "sum": (each.sum(), (weight * each).sum()),
        "mean": (each.mean(), (weight * each).mean()),
        "sum_over_batch_size": (each.mean(), (weight * each).mean()),
        "mean_with_sample_weight": (each.mean(), np.average(each, weights=weight)),
    }
    for reduction, (plain, weighted) in expected.items():
        loss = tfvae.NegativeLogLikelihood(reduction)
        np.testing.assert_allclose(loss(y, p), plain, rtol=1e-5)
        for form in (weight, weight[:, None], tf.constant(weight, tf.float64)):
            np.testing.assert_allclose(loss(y, p, form), weighted, rtol=1e-5)
        copy = keras.losses.deserialize(keras.losses.serialize(loss))
        assert type(copy) is tfvae.NegativeLogLikelihood
        assert copy.reduction == reduction
    np.testing.assert_allclose(tfvae.NegativeLogLikelihood()(y.astype("float64"), p), each.mean())


def test_labels_of_one_rank_less_or_more_are_not_broadcast():
    """Keras's own losses line up [B] with [B, 1]; broadcasting would give [B, B] in silence."""
    generator = np.random.default_rng(0)
    params = generator.normal(size=(5, 2)).astype("float32")
    y = generator.normal(size=(5, 1)).astype("float32")
    loss = tfvae.NegativeLogLikelihood("none")
    vector = tfvae.layers.IndependentNormal(1)(params)
    scalar = tfvae.layers.IndependentNormal(())(params)
    expected = loss(y, vector)
    assert expected.shape == (5,)
    for p in (vector, scalar):
        np.testing.assert_array_equal(loss(y, p), expected)
        np.testing.assert_array_equal(loss(y[:, 0], p), expected)
    with pytest.raises(ValueError, match=r"one example.*Expected.*\[5, 3\].*Received.*\[5, 2\]"):
        loss(np.zeros([5, 2]), tfvae.layers.IndependentNormal(3)(np.zeros([5, 6], "float32")))
    with pytest.raises(ValueError, match=r"Expected.*\[5, 3\].*Received.*\[5, 1\]"):
        loss(np.zeros([5, 1]), tfvae.layers.IndependentNormal(3)(np.zeros([5, 6], "float32")))


def likelihood(event, *batch):
    """Returns Gaussians of mean 0 and scale log 2 over events, of a batch shape."""
    layer = tfvae.layers.IndependentNormal(event)
    return layer(np.zeros([*batch, layer._params_size()], "float32"))


@pytest.mark.parametrize(
    ("p", "y"),
    [
        # One number per row is no vector of as many numbers as there are rows.
        (likelihood(5, 5), [5]),
        (likelihood((2, 5), 5), [2, 5]),
        (likelihood((), 5, 5), [5]),
        (likelihood(3, 5, 5), [5, 3]),
        (likelihood(5), [4, 1]),
        (likelihood(5), [4]),
    ],
    ids=str,
)
def test_labels_that_would_be_broadcast_are_refused(p, y):
    with pytest.raises(ValueError, match=r"one example per distribution.*Received: \[\d"):
        tfvae.NegativeLogLikelihood()(np.zeros(y, "float32"), p)


def test_labels_of_samples_in_front_of_the_batch():
    """Where sizes tell: S = 3 is known, and that of the batch either another or not."""
    nll = 0.5 * np.log(2 * np.pi) + np.log(np.log(2.0) + 1e-5)
    for event in ((), (2,)):
        y = np.zeros((5, *event), "float32")
        expected = np.full([3, 5], nll * max(1, 2 * len(event)))
        loss = tfvae.NegativeLogLikelihood("none")
        np.testing.assert_allclose(loss(y, likelihood(event, 3, 5)), expected, rtol=1e-6)
        layer = tfvae.layers.IndependentNormal(event)
        size = layer._params_size()

        def score(params, y, loss=loss, layer=layer):
            return loss(y, layer(params))

        for batch, known in (([3, None], True), ([None, 5], False), ([None, None], False)):
            specs = [tf.TensorSpec([*batch, size]), tf.TensorSpec([None, *event])]
            traced = tf.function(score, autograph=False)
            if known:
                found = traced.get_concrete_function(*specs)(tf.zeros([3, 5, size]), tf.constant(y))
                np.testing.assert_allclose(found, expected, rtol=1e-6)
            else:
                with pytest.raises(ValueError, match="samples in front of its batch may lack"):
                    traced.get_concrete_function(*specs)


def test_distributions_of_unknown_shape_are_scored_as_they_are():
    """`tfd.Autoregressive` does not say in a graph what its batch is."""

    def made(p):
        def normal(sample):
            return tfd.Independent(tfd.Normal(p + 0.0 * sample, 1.0), 1)

        return tfd.Autoregressive(normal, sample0=tf.zeros_like(p))

    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(3, kernel_initializer="zeros"),
            tfvae.layers.DistributionLambda(made),
        ]
    )
    model.compile("sgd", tfvae.NegativeLogLikelihood(), jit_compile=False)
    loss = model.evaluate(np.ones([4, 6]), np.ones([4, 3]), verbose=0)
    assert loss == pytest.approx(-3.0 * scipy.stats.norm.logpdf(1.0), rel=1e-6)


def test_tensors_are_refused_with_a_remedy():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(loss=tfvae.NegativeLogLikelihood(), run_eagerly=True)
    with pytest.raises(TypeError, match=r"returns a distribution.*Tensor of shape \(4, 1\)") as e:
        model.fit(np.ones([4, 2]), np.ones([4, 1]), verbose=0)
    assert "End the model with a layer of `tfvae.layers`" in str(e.value)
