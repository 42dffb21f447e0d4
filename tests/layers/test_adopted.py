"""Variables of TensorFlow within functions and distributions: weights of the layer, once each."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.layers import (
    DistributionLambda,
    IndependentBernoulli,
    IndependentNormal,
    KLDivergenceAddLoss,
    KLDivergenceRegularizer,
    MixtureSameFamily,
    MultivariateNormalDiag,
    MultivariateNormalTriL,
    VariableLayer,
)

tfd, tfb = tfp.distributions, tfp.bijectors

GLOBAL_VARIABLE = tf.Variable(1.0, name="global_scale")
X = np.linspace(-1.0, 1.0, 12, dtype="float32")[:, None]
Y = (2.0 * X - 1.0 + 0.5 * np.cos(9.0 * X)).astype("float32")


@keras.saving.register_keras_serializable("tests")
def normal_of_global_scale(t):
    return tfd.Normal(t, GLOBAL_VARIABLE)


@keras.saving.register_keras_serializable("tests")
def minus_log_prob(y, rv):
    return -rv.log_prob(y)


def positive(value=1.0):
    return tfp.util.TransformedVariable(value, tfb.Softplus(), name="scale")


def prior(size=2):
    """Returns the trainable prior of TFP's own programs, and its two variables."""
    loc, scale = tf.Variable(tf.zeros(size)), positive(tf.ones(size))
    made = tfd.Independent(tfd.Normal(loc=loc, scale=scale), reinterpreted_batch_ndims=1)
    return made, [loc, scale.pretransformed_input]


def assert_holds(layer, variables):
    """Checks that the weights to train are these very variables, in any order."""
    assert {id(w.value) for w in layer.trainable_weights} == {id(v) for v in variables}
    assert len(layer.trainable_weights) == len(variables)


def scaled_by_a_bijector(variable):
    scale = tfb.Scale(variable)
    return lambda t: tfd.Normal(scale(t), 1.0)


def given_distribution(variable):
    made = tfd.Normal(variable, 1.0)
    return lambda t: made


HOLDERS = {
    "variable": lambda v: lambda t: tfd.Normal(t, v),
    "list": lambda v: lambda t, scales=(v,): tfd.Normal(t, scales[0]),
    "bijector": scaled_by_a_bijector,
    "distribution": given_distribution,
    "bound": lambda v: functools.partial(lambda t, scale: tfd.Normal(t, scale), scale=v),
}


@pytest.mark.parametrize("name", HOLDERS)
def test_variables_within_reach_of_a_function_are_its_weights(name):
    variable = tf.Variable(2.0, name="a/b")
    layer = DistributionLambda(HOLDERS[name](variable), "mean")
    assert_holds(layer, [variable])  # before the first call
    x = np.ones([3], "float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x).log_prob(x + 0.5))
    assert_holds(layer, [variable])
    assert tape.gradient(loss, layer.trainable_weights[0].value) != 0.0
    assert DistributionLambda(HOLDERS[name](variable)).weights[0] is layer.weights[0]


def test_transformed_and_global_variables_and_those_of_mixtures():
    scale = positive()
    layer = DistributionLambda(lambda t: tfd.Normal(t, scale))
    assert_holds(layer, [scale.pretransformed_input])
    assert_holds(DistributionLambda(normal_of_global_scale), [GLOBAL_VARIABLE])
    components = MixtureSameFamily(2, lambda t: tfd.Normal(t[..., 0], scale))
    assert_holds(components, [scale.pretransformed_input])
    layer = VariableLayer(2, activation=lambda t: t * scale)
    assert [weight.shape for weight in layer.trainable_weights] == [(2,), ()]
    assert layer.trainable_weights[1].value is scale.pretransformed_input


def test_one_weight_stands_for_a_variable_whoever_holds_it():
    given, variables = prior()
    inputs = keras.Input((4,))
    penalty = KLDivergenceRegularizer(given, use_exact_kl=True)
    q = MultivariateNormalDiag(2, activity_regularizer=penalty)(inputs)
    q = KLDivergenceAddLoss(given, use_exact_kl=True)(q)
    p = DistributionLambda(lambda z: tfd.Independent(tfd.Normal(z, given.distribution.scale), 1))(q)
    assert_holds(keras.Model(inputs, p), variables)
    # What a `keras.Variable` is made of is that weight.
    weight = keras.Variable(1.0)
    value = weight.value
    vars(weight)
    assert DistributionLambda(lambda t: tfd.Normal(t, value)).trainable_weights[0] is weight


def test_what_does_not_train_is_kept_with_the_layer():
    frozen, name = tf.Variable(2.0, trainable=False), tf.Variable("text", trainable=False)
    anything = tf.Variable([1.0], trainable=False, shape=tf.TensorShape(None))
    layer = DistributionLambda(lambda t, rest=(name, anything): tfd.Normal(t, frozen))
    assert layer(tf.zeros([2])).batch_shape == 2
    assert not layer.trainable_weights
    assert [weight.value is frozen for weight in layer.non_trainable_weights] == [True]


def test_values_that_tfp_reads_once_are_refused():
    loc = keras.Variable([0.0, 1.0], name="loc")
    for made in (tfd.Normal(loc, 1.0), tfd.Independent(tfd.Normal(loc, 1.0), 1)):
        with pytest.raises(TypeError, match=r"`distribution_b`.* a Normal made from .*'loc' had"):
            KLDivergenceRegularizer(made)
    penalty = KLDivergenceRegularizer(tfd.Normal(loc.value, 1.0))
    assert [part is loc for part in penalty.tracked_parts] == [True]


def test_what_keras_cannot_train_is_refused():
    import tf_keras

    network = tf_keras.layers.Dense(2)
    with pytest.raises(TypeError, match=r"a Dense of the legacy Keras 2"):
        DistributionLambda(lambda t: tfd.Normal(network(t), 1.0))
    flow = tfb.MaskedAutoregressiveFlow(tfb.AutoregressiveNetwork(params=2, hidden_units=[3]))
    flow.forward(tf.zeros([1, 2]))  # It has variables now.
    with pytest.raises(TypeError, match=r"a AutoregressiveNetwork of the legacy Keras 2"):
        DistributionLambda(lambda t: tfd.TransformedDistribution(tfd.Normal(t, 1.0), flow))
    anything = tf.Variable([1.0], shape=tf.TensorShape(None))
    with pytest.raises(TypeError, match=r"layer 'head' holds the variable.*of shape <unknown>"):
        DistributionLambda(lambda t: tfd.Normal(t, anything), name="head")
    # Out of sight in an attribute, it is seen when it is read.
    hidden = type("Holder", (), {"variable": tf.Variable(1.0, name="scale")})()
    with pytest.raises(TypeError, match=r"layer 'head' reads the variable 'scale:0'.*tf.Module"):
        DistributionLambda(lambda t: tfd.Normal(t, hidden.variable), name="head")(tf.zeros([2]))


def regression(scale):
    """Returns TFP's regression with a noise level of its own."""
    return keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(1, kernel_initializer="ones"),
            DistributionLambda(lambda t: tfd.Normal(t, scale)),
        ]
    )


@pytest.mark.slow
def test_regression_reaches_least_squares_and_weights_come_back(tmp_path):
    scale = positive()
    model = regression(scale)
    rate = keras.optimizers.schedules.CosineDecay(0.2, 300)
    model.compile(keras.optimizers.Adam(rate), loss=minus_log_prob, steps_per_execution=100)
    data = tf.data.Dataset.from_tensors((X, Y)).repeat(300)
    model.fit(data, verbose=0, shuffle=False)
    columns = np.concatenate([X, np.ones_like(X)], axis=1)
    (slope, bias), squares = np.linalg.lstsq(columns, Y[:, 0], rcond=None)[:2]
    fitted = [weight.numpy().item() for weight in model.layers[0].weights]
    np.testing.assert_allclose(fitted, [slope, bias], atol=1e-3)
    best = np.sqrt(squares[0] / len(X))
    np.testing.assert_allclose(scale, best, rtol=1e-3)
    model.save_weights(tmp_path / "model.weights.h5")
    other = positive(3.0)
    loaded = regression(other)
    loaded.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other, scale)
    np.testing.assert_array_equal(loaded(X).log_prob(Y), model(X).log_prob(Y))


@pytest.mark.parametrize(
    ("optimizer", "policy"),
    [
        (lambda: keras.optimizers.SGD(0.1), "float32"),
        (lambda: keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), "float32"),
        (lambda: keras.optimizers.SGD(0.1), "mixed_bfloat16"),
        (lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)), "mixed_float16"),
    ],
    ids=["plain", "average", "bfloat16", "float16"],
)
def test_steps_are_those_of_the_gradient(optimizer, policy):
    loc = tf.Variable(3.0)
    layer = DistributionLambda(lambda t: tfd.Normal(t + loc, 1.0), dtype=policy)
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(optimizer(), loss=minus_log_prob)
    for expected in (2.8, 2.62):  # -d/dm log N(1; m, 1) = m - 1
        model.train_on_batch(np.zeros([2, 1], "float32"), np.ones([2, 1], "float32"))
        np.testing.assert_allclose(loc, expected, rtol=1e-6)
    if model.optimizer.use_ema:
        model.optimizer.finalize_variable_values(model.trainable_weights)
        np.testing.assert_allclose(loc, (2.8 + 2.62) / 2, rtol=1e-6)


@pytest.mark.slow
def test_models_that_are_built_by_fit():
    scale = positive()

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)
            self.head = DistributionLambda(lambda t: tfd.Normal(t, scale))

        def call(self, x):
            return self.head(self.dense(x))

    model = Model()
    model.compile("sgd", loss=minus_log_prob)
    before = scale.numpy()
    model.fit(X, Y, verbose=0)
    assert len(model.trainable_weights) == 3
    assert scale.numpy() != before


@pytest.mark.slow
@pytest.mark.xla
def test_training_under_xla():
    scale = positive()
    before = scale.numpy()
    model = regression(scale)
    model.compile("sgd", loss=minus_log_prob, jit_compile=True)
    model.train_on_batch(X, Y)
    assert scale.numpy() != before


def test_functions_with_variables_are_stored(tmp_path):
    model = keras.Sequential([keras.Input((2,)), DistributionLambda(normal_of_global_scale)])
    GLOBAL_VARIABLE.assign(3.0)
    model.save(tmp_path / "model.keras")
    GLOBAL_VARIABLE.assign(1.0)
    loaded = keras.models.load_model(tmp_path / "model.keras")  # in safe mode
    np.testing.assert_array_equal(loaded(np.zeros([1, 2])).stddev(), [[3.0, 3.0]])
    GLOBAL_VARIABLE.assign(1.0)


@pytest.mark.slow
def test_all_variables_of_tfp_s_functional_autoencoder_train():
    """Two draws of z each, a trainable prior, and a weight of the penalty that does not train."""
    given, variables = prior()
    beta = tf.Variable(0.9, trainable=False)
    images = keras.Input((2, 2, 1))
    params = keras.layers.Dense(MultivariateNormalTriL.params_size(2))(
        keras.layers.Flatten()(images)
    )
    z = MultivariateNormalTriL(2, lambda q: q.sample(2, seed=42))(params)
    z = KLDivergenceAddLoss(given, weight=beta)(z)
    logits = keras.layers.Dense(IndependentBernoulli.params_size((2, 2, 1)))(z)
    average = keras.layers.Lambda(lambda t: tf.reduce_mean(t, axis=0))(logits)
    model = keras.Model(images, IndependentBernoulli((2, 2, 1), tfd.Bernoulli.logits)(average))
    assert len(model.trainable_weights) == 2 + 2 + 2
    assert any(weight.value is beta for weight in model.non_trainable_weights)
    before = [variable.numpy() for variable in variables]
    model.compile("adam", loss=minus_log_prob)
    x = (np.arange(16).reshape(4, 2, 2, 1) % 3 == 0).astype("float32")
    model.train_on_batch(x, x)
    for variable, old in zip(variables, before, strict=True):
        assert np.all(variable.numpy() != old)
    assert isinstance(model(x).distribution, tfd.Bernoulli)


def test_exported_models_hold_them(tmp_path):
    scale = positive()
    head = DistributionLambda(lambda t: tfd.Normal(t, scale), lambda p: p.mean() + p.stddev())
    model = keras.Sequential([keras.Input((2,)), head, keras.layers.Dense(1)])
    x = np.ones([3, 2], "float32")
    expected = model(x)
    model.export(tmp_path / "model", verbose=False)
    scale.assign(5.0)
    loaded = tf.saved_model.load(tmp_path / "model")
    np.testing.assert_allclose(loaded.serve(x), expected)


PARAMS = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")


@keras.saving.register_keras_serializable("tests")
def no_loss_at_all(y, rv):
    return tf.zeros_like(y[:, 0])


def penalized(as_layer, given):
    """Returns a model of parameters whose draws are held to `given`."""
    if as_layer:
        parts = [IndependentNormal(2), KLDivergenceAddLoss(given, use_exact_kl=True)]
    else:
        penalty = KLDivergenceRegularizer(given, use_exact_kl=True)
        parts = [IndependentNormal(2, activity_regularizer=penalty)]
    return keras.Sequential([keras.Input((4,)), *parts])


@pytest.mark.slow
@pytest.mark.parametrize("as_layer", [False, True], ids=["regularizer", "layer"])
def test_priors_made_from_variables_train(as_layer, tmp_path):
    given, variables = prior()
    model = penalized(as_layer, given)
    assert_holds(model, variables)
    rate = keras.optimizers.schedules.CosineDecay(0.3, 300)
    model.compile(keras.optimizers.Adam(rate), loss=no_loss_at_all, steps_per_execution=100)
    data = tf.data.Dataset.from_tensors((PARAMS, PARAMS[:, :2])).repeat(300)
    model.fit(data, verbose=0, shuffle=False)
    # The Gaussian nearest to a mixture in this divergence has the mixture's moments.
    q = IndependentNormal(2)(PARAMS)
    mean = np.mean(q.mean(), axis=0)
    variance = np.mean(q.variance() + q.mean() ** 2, axis=0) - mean**2
    np.testing.assert_allclose(given.mean(), mean, atol=1e-3)
    np.testing.assert_allclose(given.variance(), variance, rtol=2e-3)
    # As code of TFP it is no data, but its weights are.
    with pytest.raises(ValueError, match=r"holds a TransformedVariable.*`save_weights`"):
        model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    other, _ = prior()
    penalized(as_layer, other).load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other.stddev(), given.stddev())


@pytest.mark.parametrize("as_layer", [False, True], ids=["regularizer", "layer"])
def test_priors_made_from_plain_variables_are_stored(as_layer, tmp_path):
    loc, scale = tf.Variable([1.0, 2.0]), tf.Variable([0.5, 3.0], trainable=False)
    tied = tfd.Independent(tfd.Normal(loc, tfd.Normal(0.0, scale).scale), 1)
    model = penalized(as_layer, tied)
    model(PARAMS)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")  # in safe mode
    assert (len(loaded.trainable_weights), len(model.trainable_weights)) == (1, 1)
    loaded(PARAMS)
    np.testing.assert_allclose(loaded.losses[0], model.losses[0], rtol=1e-6)
    loc.assign([5.0, 5.0])  # It is a copy.
    np.testing.assert_array_equal(loaded.trainable_weights[0], [1.0, 2.0])
