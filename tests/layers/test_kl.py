"""Divergences as penalties: added once, the same at any batch size, exact or estimated."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tfvae.layers import (
    KLDivergenceAddLoss,
    KLDivergenceRegularizer,
    MultivariateNormalDiag,
    MultivariateNormalTriL,
    VariableLayer,
)

tfd = tfp.distributions

PARAMS = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
# KL(N(m, s) || N(0, 1)) = sum (s**2 + m**2 - 1) / 2 - log s
SCALE = 1e-5 + np.logaddexp(0.0, PARAMS[:, 2:].astype("float64"))
EXPECTED = np.sum((SCALE**2 + PARAMS[:, :2] ** 2 - 1.0) / 2.0 - np.log(SCALE), axis=-1)  # [B]


def standard():
    return tfd.MultivariateNormalDiag(tf.zeros(2))


@keras.saving.register_keras_serializable("tests")
def registered_prior():
    return tfd.Independent(tfd.Normal(tf.zeros(2), 1.0), 1)


@keras.saving.register_keras_serializable("tests")
def registered_points(q):
    return q.sample(8, seed=[0, 1])


@keras.saving.register_keras_serializable("tests")
def no_loss(y, rv):
    return tf.zeros_like(y[:, 0])


def penalized(as_layer, distribution_b, convert="sample", **kwargs):
    """Returns a model of parameters with the penalty in either form."""
    if as_layer:
        parts = [MultivariateNormalDiag(2, convert), KLDivergenceAddLoss(distribution_b, **kwargs)]
    else:
        regularizer = KLDivergenceRegularizer(distribution_b, **kwargs)
        parts = [MultivariateNormalDiag(2, convert, activity_regularizer=regularizer)]
    return keras.Sequential([keras.Input((4,)), *parts])


both_forms = pytest.mark.parametrize(
    "as_layer",
    [False, pytest.param(True, marks=pytest.mark.slow)],
    ids=["regularizer", "layer"],
)


@pytest.mark.slow
@both_forms
def test_added_once_and_as_a_mean_over_the_batch(as_layer):
    model = penalized(as_layer, standard(), use_exact_kl=True, weight=2.0)
    for batch in (1, 2, 6):
        q = model(PARAMS[:batch])
        assert len(model.losses) == 1
        np.testing.assert_allclose(model.losses[0], 2.0 * EXPECTED[:batch].mean(), rtol=1e-5)
        assert isinstance(q, tfd.MultivariateNormalDiag)
    model.compile(loss=no_loss)
    for batch_size in (2, 3, 6):
        value = model.evaluate(PARAMS, PARAMS[:, :2], batch_size=batch_size, verbose=0)
        assert value == pytest.approx(2.0 * EXPECTED.mean(), rel=1e-5)


@pytest.mark.slow
@both_forms
def test_estimate_agrees_with_the_closed_form(as_layer):
    estimates = {}
    for name, convert, points in [
        ("tensor", lambda q: q.sample(4000, seed=[1, 2]), None),
        ("points", "mean", lambda q: q.sample(4000, seed=[3, 4])),
    ]:
        extra = {} if points is None else {"test_points_fn": points}
        model = penalized(as_layer, standard(), convert, **extra)
        model(PARAMS)
        estimates[name] = float(model.losses[0])
        q = MultivariateNormalDiag(2)(PARAMS)
        z = q.sample(4000, seed=5)
        error = np.std(np.mean(q.log_prob(z) - standard().log_prob(z), axis=1)) / np.sqrt(4000)
        assert abs(estimates[name] - EXPECTED.mean()) <= 5 * error


@pytest.mark.parametrize("name", ["mean", "mode", "stddev", "variance"])
def test_test_points_that_are_no_draws_are_refused(name):
    regularizer = KLDivergenceRegularizer(standard())
    with pytest.raises(ValueError, match=rf"needs draws.*layer 'q'.*'{name}'.*use_exact_kl=True"):
        MultivariateNormalDiag(2, name, activity_regularizer=regularizer, name="q")
    with pytest.raises(ValueError, match=r"needs draws"):
        penalized(True, standard(), name)(PARAMS)


@pytest.mark.slow
@both_forms
def test_priors_as_models_are_trained_and_stored(as_layer, tmp_path):
    prior = keras.Sequential([VariableLayer(4, initializer="ones"), MultivariateNormalDiag(2)])
    model = penalized(as_layer, prior, use_exact_kl=True)
    assert len(model.trainable_weights) == 1
    rate = keras.optimizers.schedules.CosineDecay(0.3, 300)
    model.compile(keras.optimizers.Adam(rate), loss=no_loss)
    data = tf.data.Dataset.from_tensors((PARAMS, PARAMS[:, :2])).repeat(300)
    model.fit(data, verbose=0, shuffle=False)
    # The Gaussian nearest to a mixture in this divergence has the mixture's moments.
    second = np.mean(SCALE**2 + PARAMS[:, :2] ** 2, axis=0)
    p = prior(tf.zeros([1]))
    np.testing.assert_allclose(p.mean(), PARAMS[:, :2].mean(axis=0), atol=2e-3)
    np.testing.assert_allclose(p.variance() + p.mean() ** 2, second, rtol=5e-3)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")  # in safe mode
    loaded(PARAMS)
    model(PARAMS)
    np.testing.assert_allclose(loaded.losses[0], model.losses[0], rtol=1e-6)


@both_forms
@pytest.mark.parametrize(
    "make",
    [
        standard,
        registered_prior,
        lambda: registered_prior,
        lambda: tfd.MultivariateNormalTriL(tf.zeros(2), tf.eye(2)),
        lambda: tfvae.priors.StandardNormal(2),
        lambda: tfvae.distributions.FullNormal(tf.zeros(2), tf.eye(2)),
    ],
    ids=["distribution", "nested", "function", "tril", "prior", "own"],
)
def test_all_kinds_of_priors_are_stored(as_layer, make, tmp_path):
    model = penalized(as_layer, make(), use_exact_kl=True, test_points_fn=registered_points)
    model(PARAMS)
    np.testing.assert_allclose(model.losses[0], EXPECTED.mean(), rtol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")  # in safe mode
    loaded(PARAMS)
    np.testing.assert_allclose(loaded.losses[0], EXPECTED.mean(), rtol=1e-5)


@pytest.mark.parametrize(
    ("head", "prior"),
    [
        (tfvae.layers.IndependentBernoulli(4), tfd.Independent(tfd.Bernoulli(tf.zeros(4)), 1)),
        (tfvae.layers.OneHotCategorical(4), tfd.OneHotCategorical(tf.zeros(4))),
        (tfvae.layers.PowerSpherical(3), tfd.SphericalUniform(3)),
    ],
    ids=["bernoulli", "one-hot", "directions"],
)
def test_priors_of_other_spaces_are_stored(head, prior, tmp_path):
    penalty = KLDivergenceAddLoss(prior, use_exact_kl=True)
    model = keras.Sequential([keras.Input((4,)), head, penalty])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")  # in safe mode
    model(PARAMS), loaded(PARAMS)
    np.testing.assert_allclose(loaded.losses[0], model.losses[0], rtol=1e-6)


def test_what_cannot_be_stored_is_refused():
    penalty = KLDivergenceRegularizer(lambda: standard(), use_exact_kl=True)
    with pytest.raises(ValueError, match=r"`distribution_b` of a KL penalty cannot be stored"):
        penalty.get_config()
    penalty = KLDivergenceRegularizer(standard(), weight=lambda: 1.0)
    with pytest.raises(ValueError, match=r"`weight` of a KL penalty cannot be stored"):
        penalty.get_config()
    # Data that names anything but a class of tfp.distributions is no distribution.
    made = tfd.TransformedDistribution(standard(), tfp.bijectors.Exp())
    with pytest.raises(ValueError, match=r"cannot be stored as data"):
        KLDivergenceRegularizer(made).get_config()


@both_forms
def test_weights_that_change(as_layer):
    weight = keras.Variable(0.5, trainable=False)
    model = penalized(as_layer, standard(), use_exact_kl=True, weight=weight)
    step = tf.Variable(0.0, trainable=False)
    schedule = tfvae.objectives.Linear(0.0, 1.0, steps=10)
    scheduled = penalized(as_layer, standard(), use_exact_kl=True, weight=lambda: schedule(step))
    run = tf.function(lambda m, x: (m(x).mean(), m.losses[0])[1])
    for value in (0.5, 0.25):
        weight.assign(value)
        step.assign(10 * value)
        for m in (model, scheduled):
            np.testing.assert_allclose(run(m, PARAMS), value * EXPECTED.mean(), rtol=1e-5)
    copy = keras.Sequential.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    copy(PARAMS)
    np.testing.assert_allclose(copy.losses[0], 0.25 * EXPECTED.mean(), rtol=1e-5)


@pytest.mark.slow
@both_forms
def test_weight_may_be_a_schedule_of_the_training_steps(as_layer, tmp_path):
    schedule = tfvae.objectives.Linear(0.0, 1.0, steps=4)
    parts = penalized(as_layer, standard(), use_exact_kl=True, weight=schedule).layers
    same = keras.layers.Dense(4, kernel_initializer="identity", use_bias=False)
    model = keras.Sequential([keras.Input((4,)), same, *parts])
    model.compile(keras.optimizers.SGD(0.0), loss=no_loss)
    assert len(model.trainable_weights) == 1
    losses = []
    for _ in range(3):
        model.evaluate(PARAMS, PARAMS[:, :2], verbose=0)  # counts nothing
        losses.append(float(model.train_on_batch(PARAMS, PARAMS[:, :2])))
    np.testing.assert_allclose(losses, np.array([0.0, 0.25, 0.5]) * EXPECTED.mean(), rtol=1e-5)
    # A stored model goes on where it was.
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for m in (model, loaded):
        loss = m.evaluate(PARAMS, PARAMS[:, :2], verbose=0)
        assert loss == pytest.approx(0.75 * EXPECTED.mean(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("eager", [False, True], ids=["compiled", "eager"])
def test_layers_that_share_a_regularizer_count_the_same_steps(eager):
    schedule = tfvae.objectives.Linear(0.0, 1.0, steps=4)
    penalty = KLDivergenceRegularizer(standard(), use_exact_kl=True, weight=schedule)
    inputs = keras.Input((4,))
    same = keras.layers.Dense(4, kernel_initializer="identity", use_bias=False)(inputs)
    parts = [MultivariateNormalDiag(2, activity_regularizer=penalty)(same) for _ in range(2)]
    model = keras.Model(inputs, parts)
    model.compile(
        keras.optimizers.SGD(0.0), loss=[no_loss, no_loss], run_eagerly=eager, jit_compile=False
    )
    labels = [PARAMS[:, :2], PARAMS[:, :2]]
    losses = [float(model.train_on_batch(PARAMS, labels)[0]) for _ in range(3)]
    expected = 2 * np.array([0.0, 0.25, 0.5]) * EXPECTED.mean()
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


@both_forms
@pytest.mark.parametrize(
    ("make", "trainable"),
    [
        (lambda: keras.Variable(0.5, trainable=True), True),
        (lambda: keras.Variable(0.5, trainable=False), False),
        (lambda: tf.Variable(0.5, trainable=False), False),
        (lambda: tf.Variable(0.5), True),
    ],
    ids=["trainable", "keras", "tensorflow", "tensorflow trainable"],
)
def test_weights_that_are_variables_are_stored_as_they_are(as_layer, make, trainable, tmp_path):
    model = penalized(as_layer, standard(), use_exact_kl=True, weight=make())
    assert len(model.trainable_weights) == int(trainable)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")  # in safe mode
    assert len(loaded.trainable_weights) == int(trainable)
    loaded(PARAMS)
    np.testing.assert_allclose(loaded.losses[0], 0.5 * EXPECTED.mean(), rtol=1e-5)


def test_bad_arguments():
    with pytest.raises(TypeError, match=r"`distribution_b`.*Received: 3"):
        KLDivergenceRegularizer(3)
    with pytest.raises(TypeError, match=r"`weight` must be a number.*Received: 'much'"):
        KLDivergenceRegularizer(standard(), weight="much")
    with pytest.raises(TypeError, match=r"`weight` must be .*which needs step, total"):
        KLDivergenceRegularizer(standard(), weight=lambda step, total: step / total)
    with pytest.raises(TypeError, match=r"needs the output of a distribution layer"):
        KLDivergenceAddLoss(standard())(np.zeros([3, 2], "float32"))
    with pytest.raises(TypeError, match=r"must give a tfp distribution.*EagerTensor"):
        KLDivergenceRegularizer(lambda: tf.zeros(2), use_exact_kl=True)(standard())
    mixture = tfvae.layers.MixtureNormal(2, 2)(np.zeros([3, 10], "float32"))
    with pytest.raises(NotImplementedError, match=r"No closed form.*ReparameterizedMixture"):
        KLDivergenceRegularizer(standard(), use_exact_kl=True)(mixture)


def test_other_regularizers_act_on_the_draw():
    layer = MultivariateNormalDiag(2, "mean", activity_regularizer=keras.regularizers.L2(0.5))
    layer(PARAMS)
    (loss,) = layer.losses
    np.testing.assert_allclose(loss, 0.5 * np.sum(PARAMS[:, :2] ** 2), rtol=1e-6)


@pytest.mark.slow
def test_documented_example_trains_by_the_negative_elbo():
    """TFP's variational encoder, and a decoder, as one model with a plain function as loss."""
    x = np.random.default_rng(0).integers(0, 2, (64, 16)).astype("float32")
    penalty = KLDivergenceRegularizer(standard())
    encoder = keras.Sequential(
        [
            keras.Input((16,)),
            keras.layers.Dense(MultivariateNormalTriL.params_size(2)),
            MultivariateNormalTriL(2, lambda s: s.sample(10), activity_regularizer=penalty),
        ]
    )
    decoder = keras.Sequential(
        [keras.Input((None, 2)), keras.layers.Dense(16), tfvae.layers.IndependentBernoulli(16)]
    )
    model = keras.Model(encoder.inputs[0], decoder(encoder.outputs[0]))
    model.compile("adam", loss=lambda x, rv: -tf.reduce_mean(rv.log_prob(x), axis=0))
    history = model.fit(x, x, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
