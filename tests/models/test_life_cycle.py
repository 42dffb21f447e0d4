"""The life of a model, from any form of data to a file and on, over very different models."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import (
    binary_data,
    mlp_decoder,
    mlp_encoder,
    mlp_vae,
    real_data,
    slow_but,
)
from tfvae._random import fold_in, next_seed, stateless_seed
from tfvae.divergences import closed_form_kl
from tfvae.layers import IndependentBernoulli, IndependentNormal, MultivariateNormalDiag

LOGS = {"loss", "elbo", "distortion", "rate", "mutual_information", "marginal_kl"}


@keras.saving.register_keras_serializable("tests")
class SubclassedEncoder(keras.Model):
    """An encoder that does not know its input before data comes, with state and noise."""

    def __init__(self, latents=2, **kwargs):
        super().__init__(**kwargs)
        self.latents = latents
        self.norm = keras.layers.BatchNormalization()
        self.dropout = keras.layers.Dropout(0.3)
        self.dense = keras.layers.Dense(MultivariateNormalDiag.params_size(latents))
        self.head = MultivariateNormalDiag(latents)

    def call(self, x, training=False):
        h = self.dropout(self.norm(x, training=training), training=training)
        return self.head(self.dense(h))

    def get_config(self):
        return {**super().get_config(), "latents": self.latents}


def mlp_bernoulli(seed):
    return mlp_vae(seed=seed), binary_data(10)


def conv_images(seed):
    shape = (4, 4, 1)
    encoder = keras.Sequential(
        [
            keras.Input(shape),
            tfvae.networks.conv([3]),
            keras.layers.Dense(MultivariateNormalDiag.params_size(2)),
            MultivariateNormalDiag(2),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((2,)),
            tfvae.networks.conv_transpose([3], image_shape=shape),
            tfvae.layers.ImageParameters(IndependentBernoulli(shape)),
            IndependentBernoulli(shape),
        ]
    )
    return tfvae.VAE(encoder, decoder, seed=seed), binary_data(10, shape)


def gaussian_decoder(seed):
    decoder = mlp_decoder(likelihood=IndependentNormal)
    return tfvae.VAE(mlp_encoder(), decoder, seed=seed), real_data(10)


def subclassed_encoder(seed):
    return tfvae.VAE(SubclassedEncoder(), mlp_decoder(), seed=seed), binary_data(10)


def functional_encoder(seed):
    inputs = keras.Input((6,))
    h = tfvae.networks.gated_mlp([5])(inputs)
    loc, raw = keras.layers.Dense(2)(h), keras.layers.Dense(2, bias_initializer="ones")(h)
    params = keras.layers.Concatenate()([loc, raw])
    encoder = keras.Model(inputs, MultivariateNormalDiag(2)(params))
    return tfvae.VAE(encoder, mlp_decoder(), seed=seed), binary_data(10)


MODELS = [mlp_bernoulli, conv_images, gaussian_decoder, subclassed_encoder, functional_encoder]
over_all_models = pytest.mark.parametrize("make", slow_but("mlp_bernoulli", of=MODELS))


@pytest.fixture(scope="module")
def trained():
    """Returns models that have trained an epoch, each made once for all tests that use it."""
    made = {}

    def get(make):
        if make not in made:
            vae, x = make(seed=1)
            vae.compile("adam", jit_compile=False)
            vae.fit(x, batch_size=4, verbose=0)
            made[make] = vae, x
        return made[make]

    return get


class Batches(keras.utils.PyDataset):
    """Batches of four of an array, with or without labels."""

    def __init__(self, x, labels):
        super().__init__()
        self.x, self.labels = x, labels

    def __len__(self):
        return -(-len(self.x) // 4)

    def __getitem__(self, index):
        x = self.x[4 * index : 4 * index + 4]
        return (x, np.zeros(len(x))) if self.labels else (x,)


def forms_of(x):
    """Returns the same ten points in every form that Keras knows, and the arguments with it."""
    slices = tf.data.Dataset.from_tensor_slices
    y = np.arange(len(x))
    return {
        "array": ((x,), {"batch_size": 4}),
        "array and labels": ((x, y), {"batch_size": 4}),
        "tensor": ((tf.constant(x),), {"batch_size": 4}),
        "dataset": ((slices(x).batch(4),), {}),
        "dataset of (x,)": ((slices((x,)).batch(4),), {}),
        "dataset of (x, y)": ((slices((x, y)).batch(4),), {}),
        "dataset of (x, y, weight)": ((slices((x, y, np.ones(len(x)))).batch(4),), {}),
        "PyDataset of (x,)": ((Batches(x, labels=False),), {}),
        "PyDataset of (x, y)": ((Batches(x, labels=True),), {}),
    }


def snapshot(vae):
    """Returns all that training changes: weights, seeds, metrics and the optimizer's state."""
    return [v.numpy() for v in vae.variables + vae.optimizer.variables]


def restore(vae, values):
    for variable, value in zip(vae.variables + vae.optimizer.variables, values, strict=True):
        variable.assign(value)


def assert_same(first, second, **tolerances):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, **{"rtol": 0.0, "atol": 0.0, **tolerances})


@pytest.mark.slow
@over_all_models
def test_every_form_of_data_is_the_same_data(make, trained):
    vae, x = trained(make)
    begin, expected = snapshot(vae), None
    forms = forms_of(x)
    if make is not mlp_bernoulli:  # the rest depends on the data, not on the model
        forms = {name: forms[name] for name in ("array", "dataset of (x, y)")}
    for name, (arguments, kwargs) in forms.items():
        restore(vae, begin)
        order = {} if isinstance(arguments[0], tf.data.Dataset) else {"shuffle": False}
        history = vae.fit(*arguments, **kwargs, **order, verbose=0).history
        logs = vae.evaluate(*arguments, **kwargs, verbose=0, return_dict=True)
        assert set(history) == set(logs) == LOGS
        found = [*(history[key][0] for key in sorted(LOGS)), *(logs[key] for key in sorted(LOGS))]
        assert np.all(np.isfinite(found))
        found = found + vae.get_weights()
        expected = found if expected is None else expected
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.slow
@over_all_models
def test_logs_add_up_and_are_those_of_terms(make, trained):
    vae, x = trained(make)
    history = vae.fit(x, batch_size=4, epochs=2, validation_data=(x[:7],), verbose=0).history
    assert set(history) == LOGS | {f"val_{name}" for name in LOGS}
    for prefix in ("", "val_"):
        log = {name: np.array(history[prefix + name]) for name in LOGS}
        np.testing.assert_allclose(log["elbo"], -(log["distortion"] + log["rate"]), rtol=1e-5)
        rate = log["mutual_information"] + log["marginal_kl"]
        np.testing.assert_allclose(log["rate"], rate, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(log["loss"], -log["elbo"], rtol=1e-5)

    # Batches of 4, 4 and 2: means over points, not over batches.
    logs = vae.evaluate(x, batch_size=4, verbose=0, return_dict=True)
    # The noise of a batch is told apart by the number of points before it.
    seed = stateless_seed(vae.seed)
    parts = [vae.terms(x[i : i + 4], seed=fold_in(seed, i)) for i in (0, 4, 8)]
    for name, value in {
        "elbo": lambda terms: terms.elbo,
        "distortion": lambda terms: terms.distortion,
        "rate": lambda terms: terms.rate,
        "mutual_information": lambda terms: terms.batch_mutual_information,
        "marginal_kl": lambda terms: terms.rate - terms.batch_mutual_information,
        "loss": lambda terms: -terms.elbo,
    }.items():
        each = np.concatenate([value(terms) for terms in parts])  # [N]
        assert each.shape == (10,)
        assert logs[name] == pytest.approx(np.mean(each), rel=1e-5, abs=1e-6), name


def start(make, run_eagerly=False):
    keras.utils.set_random_seed(3)
    vae, x = make(seed=5)
    vae.compile(
        keras.optimizers.Adam(0.01),
        tfvae.objectives.ELBO(beta=tfvae.objectives.Linear(0.0, 1.0, steps=7), num_samples=2),
        jit_compile=False,
        run_eagerly=run_eagerly,
    )
    return vae, x


def train(vae, x, epochs):
    vae.fit(x, batch_size=4, epochs=epochs, shuffle=False, verbose=0)


@pytest.mark.slow
@over_all_models
def test_a_saved_model_continues_to_the_bit(make, tmp_path):
    # What is stored depends on the model, the graph of steps does not.
    vae, x = start(make, run_eagerly=make is not mlp_bernoulli)
    train(vae, x, 2)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")  # in safe mode
    assert type(loaded) is tfvae.VAE
    assert loaded.objective == vae.objective
    assert loaded.get_compile_config() == vae.get_compile_config()
    assert_same(loaded.get_weights(), vae.get_weights())
    np.testing.assert_array_equal(loaded.terms(x, 2, 3).log_w, vae.terms(x, 2, 3).log_w)
    for model in (vae, loaded):
        train(model, x, 1)
    assert_same(snapshot(loaded), snapshot(vae))
    # And on: the seeds of both stand at the same place.
    np.testing.assert_array_equal(loaded.sample(3), vae.sample(3))


@pytest.mark.slow
@pytest.mark.parametrize("make", [conv_images, subclassed_encoder])
def test_runs_of_one_seed_are_equal_to_the_bit(make):
    whole, x = start(make)
    train(whole, x, 3)
    parts, _ = start(make)
    train(parts, x, 1)
    train(parts, x, 2)
    assert_same(snapshot(whole), snapshot(parts))
    other, _ = make(seed=6)
    other.build(x.shape)
    other.set_weights(whole.get_weights())
    assert not np.array_equal(other.sample(50), whole.sample(50))


@over_all_models
def test_all_weights_get_a_finite_gradient(make):
    vae, x = make(seed=1)
    vae.compile("adam", jit_compile=False)
    vae.build(x.shape)
    with tf.GradientTape() as tape:
        loss, terms = vae._step.scored({"x": tf.constant(x)}, None, training=True)
    assert terms.log_p_x.shape == (1, 10)
    gradients = tape.gradient(loss, vae.trainable_weights)
    assert len(gradients) >= 4
    for weight, gradient in zip(vae.trainable_weights, gradients, strict=True):
        assert gradient is not None, weight.path
        assert np.all(np.isfinite(gradient)), weight.path
        assert np.any(gradient != 0.0), weight.path


@pytest.mark.slow
@pytest.mark.xla
@pytest.mark.rewriting
@over_all_models
def test_eager_graph_and_xla_agree_at_given_latents(make):
    vae, x = make(seed=1)
    vae.build(x.shape)
    z = real_data(3, (10, 2))  # [S, B, K]

    def scores(x, z):
        q_z, p_z = vae.encode(x), vae.prior_distribution()
        log_q_z, log_p_z = q_z.log_prob(z), p_z.log_prob(z)
        return (
            vae.graph.log_p_observed({"x": x}, {"z": z}),
            log_p_z,
            log_q_z,
            closed_form_kl(q_z, p_z),
        )

    expected = scores(x, z)
    assert [tuple(part.shape) for part in expected] == [(3, 10)] * 3 + [(10,)]
    for compiled in (tf.function(scores), tf.function(scores, jit_compile=True)):
        assert_same(compiled(x, z), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@over_all_models
def test_outputs_have_their_shapes_and_seeds(make, capsys):
    vae, x = make(seed=1)
    vae.build(x.shape)
    event = x.shape[1:]
    outputs = vae.predict(x, batch_size=4, verbose=0)
    assert {name: value.shape for name, value in outputs.items()} == {
        "z_mean": (10, 2),
        "z_stddev": (10, 2),
        "reconstruction": x.shape,
    }
    q_z = vae.encode(x)
    np.testing.assert_allclose(outputs["z_mean"], q_z.mean(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs["z_stddev"], q_z.stddev(), rtol=1e-5)
    mean = vae.decode(q_z.mean()).mean()
    np.testing.assert_allclose(outputs["reconstruction"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(vae.reconstruct(x), mean, rtol=1e-5, atol=1e-6)

    for draw in (lambda seed: vae.sample(10, seed), lambda seed: vae.reconstruct(x, seed)):
        assert draw(0).shape == (10, *event)
        np.testing.assert_array_equal(draw(3), draw((3, 0)))
        assert not np.array_equal(draw(0), draw(1))
    assert not np.array_equal(vae.sample(50), vae.sample(50))
    assert vae(x).batch_shape == (10,)

    # Leading axes of z are those of p(x|z), and every element is that of a plain call.
    z = real_data(3, (4, 2))
    p_x = vae.decode(z)
    assert p_x.batch_shape == (3, 4)
    assert p_x.event_shape == event
    np.testing.assert_allclose(p_x.mean()[2], vae.decode(z[2]).mean(), rtol=1e-5, atol=1e-6)
    repeated = np.broadcast_to(x[:4], (3, *x[:4].shape))
    log_p_x = vae.graph.log_p_observed({"x": x[:4]}, {"z": z})
    np.testing.assert_allclose(p_x.log_prob(repeated), log_p_x, rtol=1e-5)

    vae.summary()
    printed = capsys.readouterr().out
    assert vae.encoder.name in printed
    assert re.search(r"Total params:.* \d+", printed)


@pytest.mark.slow
def test_terms_score_one_draw_under_all_densities():
    vae, x = mlp_vae(), binary_data(5)
    terms = vae.terms(x, 3, seed=7)
    assert terms.z.shape == (3, 5, 2)
    q_z = vae.encode(x)
    np.testing.assert_allclose(terms.log_q_z, q_z.log_prob(terms.z), rtol=1e-5, atol=1e-5)
    prior = vae.prior_distribution()
    np.testing.assert_allclose(terms.log_p_z, prior.log_prob(terms.z), rtol=1e-5, atol=1e-5)
    for s in range(3):
        log_p_x = vae.decoder(terms.z[s]).log_prob(x)
        np.testing.assert_allclose(terms.log_p_x[s], log_p_x, rtol=1e-5)
    np.testing.assert_array_equal(vae.terms(x, 3, seed=(7, 0)).z, terms.z)
    assert not np.array_equal(vae.terms(x, 3).z, vae.terms(x, 3).z)
    # Other posteriors and priors take the place of the model's own.
    other = tfvae.layers.MultivariateNormalDiag(2)(np.ones([5, 4], "float32"))
    given = vae.terms(
        x, 2, seed=7, posterior=other, prior=tfvae.priors.StandardNormal(2).distribution()
    )
    assert given.q_z is other
    np.testing.assert_allclose(given.log_q_z, other.log_prob(given.z), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_every_form_of_validation_data():
    vae, x = mlp_vae(), binary_data(8)
    vae.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    y, slices = np.zeros(8), tf.data.Dataset.from_tensor_slices
    forms = {
        "(x,)": {"validation_data": (x,)},
        "x": {"validation_data": x},
        "(x, y)": {"validation_data": (x, y)},
        "dataset": {"validation_data": slices(x).batch(4)},
        "PyDataset": {"validation_data": Batches(x, labels=True)},
        "split": {"validation_split": 0.5},
    }
    state, expected = vae.seed_generator.state.numpy(), None
    for name, arguments in forms.items():
        vae.seed_generator.state.assign(state)
        history = vae.fit(x, **arguments, batch_size=4, verbose=0).history
        assert set(history) == LOGS | {f"val_{name}" for name in LOGS}
        expected = history if expected is None else expected
        if name == "split":  # other points
            assert np.isfinite(history["val_elbo"][0])
        else:
            assert history["val_elbo"] == pytest.approx(expected["val_elbo"], rel=1e-5), name


@pytest.mark.slow
@pytest.mark.exhaustive
def test_tuples_are_unpacked_like_batches():
    vae, x = mlp_vae(), binary_data(8)
    vae.compile("adam", jit_compile=False)
    weight = np.arange(8.0)
    vae.fit(x, verbose=0)
    begin, results = snapshot(vae), []
    for arguments in (((x, None, weight),), ((x, np.zeros(8), weight),), (x, None, weight)):
        restore(vae, begin)
        kwargs = {"sample_weight": arguments[2]} if len(arguments) == 3 else {}
        vae.fit(arguments[0], **kwargs, shuffle=False, verbose=0)
        results.append(vae.evaluate(arguments[0], **kwargs, verbose=0))
    assert results[0] == results[1] == results[2]
    assert vae.predict((x,), verbose=0)["z_mean"].shape == (8, 2)


@pytest.mark.slow
def test_sample_weights_weigh_the_gradient_and_the_logs():
    vae, x = mlp_vae(), binary_data(8)
    vae.compile(keras.optimizers.SGD(0.5), jit_compile=False)
    weight = np.array([1, 0, 1, 1, 0, 0, 2, 0.5], "float32")
    state, before = vae.seed_generator.state.numpy(), vae.get_weights()
    history = vae.fit(
        x,
        sample_weight=weight,
        batch_size=8,
        shuffle=False,
        verbose=0,
        validation_data=(x, None, weight),
    ).history
    after = vae.get_weights()

    vae.set_weights(before)
    vae.seed_generator.state.assign(state)
    seed = next_seed(vae.seed_generator)
    with tf.GradientTape() as tape:
        elbo = vae.terms(x, seed=seed).elbo
        loss = -tf.reduce_sum(weight * elbo) / 8.0
    gradients = tape.gradient(loss, vae.trainable_weights)
    for old, new, gradient in zip(before, after, gradients, strict=True):
        np.testing.assert_allclose(new, old - 0.5 * gradient, rtol=1e-4, atol=1e-6)
    assert history["loss"][0] == pytest.approx(float(loss), rel=1e-5)
    assert history["elbo"][0] == pytest.approx(np.average(elbo, weights=weight), rel=1e-5)

    # Validation weighs in the same way, at the weights after the step and with its own noise.
    vae.set_weights(after)
    elbo = vae.terms(x, seed=fold_in(stateless_seed(vae.seed or 0), 0)).elbo
    assert history["val_loss"][0] == pytest.approx(-np.mean(weight * elbo), rel=1e-5)
    assert history["val_elbo"][0] == pytest.approx(np.average(elbo, weights=weight), rel=1e-5)
    vae.set_weights(before)

    # Points of weight zero might as well not be there: the same direction, shorter by 5 / 8.
    kept = np.flatnonzero(weight > 0)
    with tf.GradientTape() as tape:
        elbo = tf.gather(vae.terms(x, seed=seed).elbo, kept)
        loss = -tf.reduce_mean(weight[kept] * elbo)
    for one, other in zip(gradients, tape.gradient(loss, vae.trainable_weights), strict=True):
        np.testing.assert_allclose(one, other * 5.0 / 8.0, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_ways_of_running_steps_take_the_same_way():
    x, results = binary_data(10), []
    for arguments in ({}, {"steps_per_execution": 3}, {"run_eagerly": True}):
        keras.utils.set_random_seed(0)
        vae = mlp_vae()
        vae.compile("adam", jit_compile=False, **arguments)
        vae.fit(x, batch_size=4, epochs=2, shuffle=False, verbose=0)
        assert int(vae.optimizer.iterations) == 6
        results.append(vae.get_weights())
    for weights in results[1:]:
        assert_same(weights, results[0], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_callbacks_follow_the_elbo(tmp_path):
    vae, x = mlp_vae(), binary_data(12)
    vae.compile(keras.optimizers.SGD(0.0), jit_compile=False)  # nothing gets better but by chance
    path = tmp_path / "best.keras"
    follow = {"monitor": "val_elbo", "mode": "max"}
    history = vae.fit(
        x,
        epochs=30,
        validation_data=(x,),
        verbose=0,
        callbacks=[
            keras.callbacks.EarlyStopping(**follow, patience=2),
            keras.callbacks.ModelCheckpoint(path, **follow, save_best_only=True),
        ],
    ).history
    assert len(history["val_elbo"]) == np.argmax(history["val_elbo"]) + 3 < 30
    assert_same(keras.models.load_model(path).get_weights(), vae.get_weights())


@pytest.mark.slow
def test_mixed_precision_scales_the_loss(tmp_path):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        vae, x = mlp_vae(), binary_data(8)
        vae.compile("adam", jit_compile=False)
        history = vae.fit(x, epochs=2, validation_data=(x,), verbose=0).history
        vae.save(tmp_path / "vae.keras")
    finally:
        keras.config.set_dtype_policy(policy)
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    loaded.fit(x, verbose=0)
    for model in (vae, loaded):
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        assert isinstance(model.optimizer.inner_optimizer, keras.optimizers.Adam)
        assert model.encode(x).dtype == model.decode(np.zeros([3, 2], "float32")).dtype == "float32"
        assert all(weight.dtype == "float32" for weight in model.trainable_weights)
    assert np.all(np.isfinite(list(history.values())))
    # The scale is taken out again: the loss is minus the ELBO, in nats.
    np.testing.assert_allclose(history["loss"], np.negative(history["elbo"]), rtol=1e-5)


@keras.saving.register_keras_serializable("tests")
class Toll(keras.layers.Layer):
    """Adds a quarter to the loss of whatever passes."""

    def call(self, x):
        self.add_loss(tf.constant(0.25))
        return x

    def compute_output_shape(self, input_shape):
        return input_shape


@pytest.mark.slow
@pytest.mark.exhaustive
def test_losses_of_layers_enter_the_loss_but_not_the_elbo():
    encoder = keras.Sequential(
        [
            keras.Input((6,)),
            Toll(),
            keras.layers.Dense(4, kernel_regularizer=keras.regularizers.L2(0.1)),
            MultivariateNormalDiag(2),
        ]
    )
    vae, x = tfvae.VAE(encoder, mlp_decoder(), seed=1), binary_data(10)
    kernel = encoder.layers[1].kernel
    extra = 0.25 + 0.1 * np.sum(np.square(kernel))
    vae.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    history = vae.fit(x, batch_size=4, validation_data=(x,), epochs=2, verbose=0).history
    for prefix in ("", "val_"):
        loss, elbo = (np.array(history[prefix + name]) for name in ("loss", "elbo"))
        np.testing.assert_allclose(loss, extra - elbo, rtol=1e-5)
        total = np.array(history[prefix + "distortion"]) + history[prefix + "rate"]
        np.testing.assert_allclose(elbo, -total, rtol=1e-5)
    # Of the extra loss the regulariser alone has a gradient: 0.2 times the kernel.
    with tf.GradientTape() as tape:
        loss, terms = vae._step.scored({"x": tf.constant(x)}, None, training=True)
        rest = loss + tf.reduce_mean(terms.elbo)
    np.testing.assert_allclose(tape.gradient(rest, kernel.value), 0.2 * kernel, atol=1e-5)


@pytest.mark.slow
def test_weighted_objectives_leave_the_logged_elbo_alone():
    vae, x = mlp_vae(), binary_data(10)
    vae.compile(keras.optimizers.SGD(0.0), tfvae.objectives.ELBO(beta=4.0), jit_compile=False)
    log = vae.evaluate(x, verbose=0, return_dict=True)
    assert log["elbo"] == pytest.approx(-(log["distortion"] + log["rate"]), rel=1e-5)
    assert log["loss"] == pytest.approx(log["distortion"] + 4.0 * log["rate"], rel=1e-5)


@pytest.mark.slow
def test_dropout_acts_in_training_only():
    vae, x = subclassed_encoder(seed=1)
    vae.compile("adam", jit_compile=False)
    for _ in range(2):
        np.testing.assert_array_equal(vae.encode(x).mean(), vae.encode(x).mean())
        assert not np.array_equal(vae.encode(x, training=True).mean(), vae.encode(x).mean())
        vae.fit(x, verbose=0)
        outputs = [vae.predict(x, verbose=0)["z_mean"] for _ in range(2)]
        np.testing.assert_array_equal(*outputs)


@pytest.mark.slow
def test_models_without_known_input_say_so_or_build_themselves(tmp_path):
    def unknown():
        decoder = keras.Sequential([keras.layers.Dense(6), IndependentBernoulli(6)])
        return tfvae.VAE(SubclassedEncoder(), decoder, seed=1), binary_data(10)

    vae, x = unknown()
    assert not vae.built
    for use in (
        lambda: vae.sample(3),
        lambda: vae.decode(np.zeros([3, 2], "float32")),
        lambda: vae.encode(x),
        lambda: vae.terms(x),
        lambda: vae.export(tmp_path / "model"),
    ):
        with pytest.raises(ValueError, match=r"[Bb]uil.*`model.build\("):
            use()
    assert unknown()[0].reconstruct(x).shape == x.shape
    assert unknown()[0](x).event_shape == (6,)
    vae.build((None, 6))
    assert vae.terms(x, 2).log_p_x.shape == (2, 10)
    assert vae.sample(3).shape == (3, 6)
    # Where the decoder tells the shape of the data, nothing has to wait.
    assert subclassed_encoder(seed=1)[0].built


@pytest.mark.slow
def test_training_learns():
    """One bit in six copies: the ELBO must come close to -log 2, far from 6 log 2."""
    x = np.repeat(binary_data(64, (1,)), 6, axis=1)
    vae = mlp_vae(latents=1)
    vae.compile(keras.optimizers.Adam(0.05), jit_compile=False, steps_per_execution=50)
    vae.fit(tf.data.Dataset.from_tensors(x).repeat(300), verbose=0)
    log = vae.evaluate(x, batch_size=64, verbose=0, return_dict=True)
    assert -1.2 < log["elbo"] < -np.log(2.0) + 0.05
    assert log["mutual_information"] == pytest.approx(np.log(2.0), abs=0.2)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_compiled_model_is_stored_before_its_first_fit(tmp_path):
    vae = mlp_vae()
    vae.compile("adam")
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")  # warns where variables are missing
    assert len(loaded.optimizer.variables) == len(vae.optimizer.variables) > 2
    loaded.fit(binary_data(), verbose=0)
