"""The contract of `DistributionLayer`, as one battery over all layers that fulfil it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from hypothesis import given, settings
from hypothesis import strategies as st

import tfvae
from tests.layers.cases import ALL_CASES, CASES
from tfvae.layers import IndependentBernoulli, IndependentNormal, MultivariateNormalDiag

tfd = tfp.distributions

over_all_layers = pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.label)


@keras.saving.register_keras_serializable("tests")
def five_stddevs(q_z):
    """A conversion that is no method of tfp, for the tests of storing functions."""
    return 5.0 * q_z.stddev()


def test_battery_is_complete():
    exported = {getattr(tfvae.layers, name) for name in tfvae.layers.__all__}
    families = {
        cls
        for cls in exported
        if issubclass(cls, tfvae.layers.DistributionLayer)
        and cls is not tfvae.layers.DistributionLayer
    }
    assert families == set(CASES)


@over_all_layers
@pytest.mark.parametrize("leading", [(), (4,), (2, 3)], ids=["P", "BP", "SBP"])
def test_density_is_that_of_scipy(case, leading):
    params, x = case.params(*leading), case.values(*leading)
    p = case.make()(params)
    assert isinstance(p, case.tfp_class)
    assert p.batch_shape == leading
    assert p.event_shape == case.event_shape
    log_prob = p.log_prob(tf.cast(x, p.dtype))
    expected = case.oracle(params).log_prob(x)
    assert log_prob.dtype == tf.float32
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5, atol=1e-5)
    # A draw has the shape and type that the symbolic graph of Keras was told.
    symbolic = case.make()(keras.KerasTensor((None, *leading, case.params_size)))
    draw = tf.convert_to_tensor(p)
    assert symbolic.shape == (None, *draw.shape)
    assert symbolic.dtype == draw.dtype.name


@over_all_layers
def test_samples_follow_the_density(case):
    params, num = case.params(2), 4000
    oracle = case.oracle(params)
    samples = np.asarray(case.make()(params).sample(num, seed=3), "float64")  # [N, 2, *E]
    assert samples.shape == (num, 2, *case.event_shape)
    error = samples.std(axis=0) / np.sqrt(num)
    assert np.all(np.abs(samples.mean(axis=0) - oracle.mean) <= 5 * error)
    squares = (samples - oracle.mean) ** 2
    error = squares.std(axis=0) / np.sqrt(num)
    assert np.all(np.abs(squares.mean(axis=0) - oracle.variance) <= 5 * error)


@over_all_layers
def test_static_methods_agree_with_the_layer(case):
    assert case.layer.params_size(*case.args) == case.params_size
    params, x = case.params(3), case.values(3)
    p = case.make()(params)
    plain = case.layer.new(tf.constant(params), *case.args, **case.new_kwargs)
    assert type(plain) is case.tfp_class
    x = tf.cast(x, p.dtype)
    assert plain.dtype == p.dtype
    np.testing.assert_array_equal(plain.log_prob(x), p.log_prob(x))
    with pytest.raises(
        ValueError, match=r"reads \d+ parameters .* Received an input of shape"
    ) as e:
        case.make()(np.zeros([3, case.params_size + 1], "float32"))
    assert f"{case.params_size} units" in str(e.value)
    assert str((3, case.params_size + 1)) in str(e.value)


@over_all_layers
def test_precision_policies(case):
    x, params = case.values(3), case.params(3)
    expected = case.oracle(params).log_prob(x)
    # The policies round the parameters to 24, 53, 11 and 8 bits before the layer sees them.
    for policy, dtype, tolerance in [
        ("float32", "float32", 1e-5),
        ("float64", "float64", 1e-5),
        ("mixed_float16", "float32", 0.02),
        ("mixed_bfloat16", "float32", 0.2),
    ]:
        layer = case.make(dtype=policy)
        p = layer(params)
        value = p.log_prob(tf.cast(x, p.dtype))
        assert value.dtype == dtype, policy
        np.testing.assert_allclose(value, expected, rtol=tolerance, atol=tolerance, err_msg=policy)
        symbolic = layer(keras.KerasTensor((None, case.params_size), dtype="float32"))
        assert symbolic.dtype == tf.convert_to_tensor(p).dtype.name, policy


@over_all_layers
def test_any_parameters_give_finite_values_and_gradients(case):
    layer = case.make()

    @settings(derandomize=True, deadline=None, max_examples=20, database=None)
    @given(
        st.lists(
            st.sampled_from([-1e4, -100.0, -12.0, 0.0, 1e4]) | st.floats(-1e4, 1e4, width=32),
            min_size=case.params_size,
            max_size=case.params_size,
        )
    )
    def check(values):
        params = tf.constant([values], tf.float32)
        x = tf.constant(case.values(1))
        with tf.GradientTape() as tape:
            tape.watch(params)
            p = layer(params)
            log_prob = p.log_prob(tf.cast(x, p.dtype))
        assert np.all(np.isfinite(log_prob))
        assert np.all(np.isfinite(tape.gradient(log_prob, params)))
        assert np.all(np.isfinite(tf.convert_to_tensor(p)))

    check()


def test_eager_graph_and_xla_agree():
    layers = [case.make() for case in ALL_CASES]
    inputs = [(tf.constant(c.params(2, 3)), tf.constant(c.values(2, 3))) for c in ALL_CASES]

    def log_probs(pairs):
        found = []
        for layer, (params, x) in zip(layers, pairs, strict=True):
            p = layer(params)
            found.append(p.log_prob(tf.cast(x, p.dtype)))
        return found

    eager = log_probs(inputs)
    graph = tf.function(log_probs, autograph=False)(inputs)
    compiled = tf.function(log_probs, autograph=False, jit_compile=True)(inputs)
    for case, *values in zip(ALL_CASES, eager, graph, compiled, strict=True):
        np.testing.assert_allclose(values[1], values[0], rtol=1e-6, err_msg=case.label)
        np.testing.assert_allclose(values[2], values[0], rtol=1e-5, err_msg=case.label)


@over_all_layers
def test_config_and_file_round_trips(case, tmp_path):
    layer = case.make(convert_to_tensor_fn="mean", seed=7, validate_args=True, name="head")
    config = layer.get_config()
    copy = case.layer.from_config(config)
    assert copy.get_config() == config
    assert (copy.convert_to_tensor_fn, copy.seed, copy.validate_args) == ("mean", 7, True)
    assert copy.event_shape == case.event_shape

    inputs = keras.Input((2,))
    dense = keras.layers.Dense(case.params_size)
    head = case.make(name="head")
    x, values = np.ones([3, 2], "float32"), case.values(3)
    for model in (
        keras.Sequential([inputs, dense, head]),
        keras.Model(inputs, head(dense(inputs))),
    ):
        path = tmp_path / "model.keras"
        model.save(path)
        loaded = keras.models.load_model(path)  # in safe mode
        assert type(loaded) is type(model)
        p, again = model(x), loaded(x)
        assert isinstance(again, case.tfp_class)
        assert again.event_shape == case.event_shape
        np.testing.assert_array_equal(
            again.log_prob(tf.cast(values, p.dtype)), p.log_prob(tf.cast(values, p.dtype))
        )


@over_all_layers
def test_output_is_a_whole_tfp_distribution(case):
    layer, params = case.make(), tf.Variable(case.params(3))
    x = tf.cast(case.values(3), layer(params).dtype)
    plain = case.layer.new(tf.constant(case.params(3)), *case.args, **case.new_kwargs)
    expected = plain.log_prob(x)

    # Registered divergences see the class behind the subclass, in either place.
    p = layer(params)
    for pair in ((p, plain), (plain, p), (p, p)):
        np.testing.assert_allclose(tfd.kl_divergence(*pair), tf.zeros([3]), atol=1e-6)

    # The parameters of a composite can be detached: no gradient is left.
    with tf.GradientTape() as tape:
        p = layer(params)
        detached = tf.nest.map_structure(tf.stop_gradient, p, expand_composites=True)
        log_prob = detached.log_prob(x)
    assert isinstance(detached, case.tfp_class)
    np.testing.assert_array_equal(log_prob, expected)
    assert tape.gradient(log_prob, params) is None

    # A compiled function returns it whole, takes it as an argument, and traces once for all.
    traces = []

    @tf.function
    def through(q):
        traces.append(q)
        return q, q.log_prob(x)

    outside, inside = through(tf.function(layer)(params))
    through(layer(params))
    assert len(traces) == 1
    assert isinstance(outside, case.tfp_class)
    np.testing.assert_allclose(outside.log_prob(x), expected, rtol=1e-6)
    np.testing.assert_allclose(inside, expected, rtol=1e-6)
    assert tf.convert_to_tensor(outside).shape == (3, *case.event_shape)

    # Slices and copies keep working.
    np.testing.assert_allclose(layer(params)[1:].log_prob(x[1:]), expected[1:], rtol=1e-6)
    np.testing.assert_allclose(layer(params).copy().log_prob(x), expected, rtol=1e-6)


def test_encoder_chains_into_decoder():
    encoder = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(MultivariateNormalDiag.params_size(2)),
            MultivariateNormalDiag(2, "mean"),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(IndependentBernoulli.params_size((4, 4, 1))),
            IndependentBernoulli((4, 4, 1)),
        ]
    )

    class Chain(keras.Model):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = encoder, decoder

        def call(self, x):
            return self.decoder(self.encoder(x))

    x = np.random.default_rng(0).integers(0, 2, (5, 4, 4, 1)).astype("float32")
    expected = decoder(encoder(x).mean()).log_prob(x)  # [B]
    functional = keras.Model(encoder.inputs[0], decoder(encoder.outputs[0]))
    nested = keras.Sequential([encoder, decoder])
    for chain in (functional, nested, Chain()):
        for call in (chain, tf.function(chain), tf.function(chain, jit_compile=True)):
            p_x = call(x)
            assert p_x.batch_shape == (5,)
            assert p_x.event_shape == (4, 4, 1)
            np.testing.assert_allclose(p_x.log_prob(x), expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["mean", "mode", "stddev", "variance"])
def test_named_conversions(name):
    params = np.array([[1.0, -2.0, 0.5, 3.0]], "float32")
    scale = 1e-5 + np.logaddexp(0.0, params[:, 2:])
    expected = {"mean": params[:, :2], "mode": params[:, :2], "stddev": scale, "variance": scale**2}
    by_name = MultivariateNormalDiag(2, name)
    by_method = MultivariateNormalDiag(2, getattr(tfd.Distribution, name))
    assert by_method.get_config()["convert_to_tensor_fn"] == name
    for layer in (by_name, by_method):
        np.testing.assert_allclose(layer(params), expected[name], rtol=1e-6)


def test_sample_is_the_default_conversion():
    params = np.zeros([2, 4], "float32")
    default = MultivariateNormalDiag(2, seed=3)
    by_method = MultivariateNormalDiag(2, tfd.Distribution.sample, seed=3)
    first = np.asarray(default(params))
    np.testing.assert_array_equal(first, np.asarray(by_method(params)))
    assert not np.array_equal(first, np.asarray(default(params)))  # the next call draws anew


def test_callable_conversions():
    params = np.zeros([5, 4], "float32")
    layer = MultivariateNormalDiag(2, lambda d: d.sample(3))
    assert tf.convert_to_tensor(layer(params)).shape == (3, 5, 2)
    assert layer(keras.KerasTensor((None, 4))).shape == (3, None, 2)
    # Samples stand in front of the batch of the next layer.
    inputs = keras.Input((4,))
    decoder = keras.layers.Dense(6)
    model = keras.Model(inputs, IndependentNormal(3)(decoder(layer(inputs))))
    assert model(params).batch_shape == (3, 5)


def test_unnamed_functions_are_refused_by_name_of_the_layer():
    layer = MultivariateNormalDiag(2, lambda d: d.mean() + 1.0, name="head")
    with pytest.raises(ValueError, match=r"layer 'head' cannot be stored.*lambda.*'sample'") as e:
        layer.get_config()
    assert "keras.saving.register_keras_serializable()" in str(e.value)


def test_registered_functions_are_stored(tmp_path):
    model = keras.Sequential([keras.Input((4,)), MultivariateNormalDiag(2, five_stddevs)])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")  # in safe mode
    assert loaded.layers[-1].convert_to_tensor_fn is five_stddevs
    params = np.ones([1, 4], "float32")
    np.testing.assert_array_equal(np.asarray(loaded(params)), np.asarray(model(params)))


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"must be a callable or one of 'sample'.*'median'"):
        IndependentNormal(2, "median")
    with pytest.raises(ValueError, match=r"known, positive sizes.*event_shape=\(2, 0\)"):
        IndependentNormal((2, 0))
    with pytest.raises(ValueError, match=r"known, positive sizes.*event_shape=\(None, 2\)"):
        IndependentBernoulli((None, 2))


def test_validate_args_reaches_the_distribution():
    params = np.zeros([1, 2], "float32")
    with pytest.raises(tf.errors.InvalidArgumentError):
        IndependentBernoulli(2, validate_args=True)(params).log_prob([[0.5, 3.0]])
    assert np.isfinite(IndependentBernoulli(2)(params).log_prob([[0.5, 3.0]]))
