"""The contract of `DistributionLayer`, as one battery over all layers that fulfil it."""

from pathlib import Path

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from hypothesis import given, settings
from hypothesis import strategies as st

import tfvae
from tests.layers.cases import ALL_CASES, CASES, mostly_slow
from tfvae.distributions import closed_form_kl
from tfvae.distributions.statistics import centre
from tfvae.layers import IndependentBernoulli, IndependentNormal, MultivariateNormalDiag

tfd = tfp.distributions

over_all_families = pytest.mark.parametrize(
    "case", mostly_slow([family[0] for family in CASES.values()]), ids=lambda case: case.label
)
over_all_layers = pytest.mark.parametrize(
    "case", mostly_slow(ALL_CASES), ids=lambda case: case.label
)


@keras.saving.register_keras_serializable("tests")
def five_stddevs(q_z):
    """A conversion that is no method of tfp, for the tests of storing functions."""
    return 5.0 * q_z.stddev()


def test_battery_is_complete():
    exported = {getattr(tfvae.layers, name) for name in tfvae.layers.__all__ if name[0].isupper()}
    families = {
        cls
        for cls in exported
        if issubclass(cls, tfvae.layers.DistributionLayer)
        and cls not in (tfvae.layers.DistributionLayer, tfvae.layers.IndependentLayer)
    }
    # A function has no parameters to count, and tests of its own; so have layers without draws.
    elsewhere = {
        tfvae.layers.DistributionLambda: "test_distribution_lambda.py",
        # What takes a context or a distribution has no parameters to make it of.
        tfvae.layers.Autoregressive: "test_autoregressive.py",
        tfvae.layers.PixelCNN: "test_autoregressive.py",
        tfvae.layers.AutoregressiveTransform: "test_autoregressive.py",
        tfvae.layers.DataEncoder: "test_data_encoder.py",
        tfvae.layers.ImageParameters: "test_image_parameters.py",
        tfvae.layers.VariableLayer: "test_variable.py",
        tfvae.layers.KLDivergenceAddLoss: "test_kl.py",
        tfvae.layers.KLDivergenceRegularizer: "test_kl.py",
        # The battery would need a flow with known weights as its oracle.
        tfvae.layers.TransformedDistribution: "test_transformed.py",
    }
    abstract = {tfvae.layers.DistributionLayer, tfvae.layers.IndependentLayer}
    assert families - set(elsewhere) == set(CASES)
    assert exported - abstract == set(CASES) | set(elsewhere)
    assert all(Path(__file__).with_name(name).exists() for name in elsewhere.values())


@pytest.mark.parametrize(
    "case", [case for case in ALL_CASES if case.grid], ids=lambda case: case.label
)
def test_total_probability_is_one(case):
    points, weights = case.grid()
    p = case.make(dtype="float64")(case.params(seed=5))
    total = np.sum(weights * np.exp(p.log_prob(tf.cast(points, p.dtype))))
    assert total == pytest.approx(1.0, abs=1e-6)


def test_every_family_has_a_total_probability():
    assert {case.layer for case in ALL_CASES if case.grid} == set(CASES)


@over_all_layers
@pytest.mark.parametrize("leading", [(), (4,), (2, 3)], ids=["P", "BP", "SBP"])
def test_density_is_that_of_scipy(case, leading):
    params, x = case.params(*leading), case.values(*leading)
    layer = case.make()
    p = layer(params)
    assert isinstance(p, case.tfp_class)
    assert p.batch_shape == leading
    assert p.event_shape == case.event_shape
    log_prob = p.log_prob(tf.cast(x, p.dtype))
    expected = case.oracle(params).log_prob(x)
    assert log_prob.dtype == tf.float32
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5, atol=1e-5)
    # A draw has the shape and type that the symbolic graph of Keras was told.
    symbolic = layer(keras.KerasTensor((None, *leading, case.params_size)))
    draw = tf.convert_to_tensor(p)
    assert symbolic.shape == (None, *draw.shape)
    assert symbolic.dtype == draw.dtype.name


@over_all_layers
def test_samples_follow_the_density(case):
    params, num = case.params(2), 4000
    oracle = case.oracle(params)
    samples = np.asarray(case.make()(params).sample(num, seed=3), "float64")  # [N, 2, *E]
    assert samples.shape == (num, 2, *case.event_shape)
    if oracle.cdf is not None:
        # Kolmogorov and Smirnov: of 4000 draws of a right density one in a million is farther off.
        ranks = np.sort(oracle.cdf(samples), axis=0)
        steps = np.arange(1, num + 1).reshape([-1] + [1] * (ranks.ndim - 1)) / num
        assert np.max(np.abs(ranks - steps)) <= scipy.stats.kstwo(num).isf(1e-6)
    if not case.moments:
        return
    error = samples.std(axis=0) / np.sqrt(num)
    assert np.all(np.abs(samples.mean(axis=0) - oracle.mean) <= 5 * error)
    squares = (samples - oracle.mean) ** 2
    error = squares.std(axis=0) / np.sqrt(num)
    assert np.all(np.abs(squares.mean(axis=0) - oracle.variance) <= 5 * error)


@over_all_layers
def test_static_methods_agree_with_the_layer(case):
    size_args = case.args if case.size_args is None else case.size_args
    assert case.layer.params_size(*size_args) == case.params_size
    params, x = case.params(3), case.values(3)
    p = case.make()(params)
    plain = case.layer.new(tf.constant(params), *case.args, **case.new_kwargs)
    assert isinstance(plain, case.tfp_class)
    x = tf.cast(x, p.dtype)
    assert plain.dtype == p.dtype
    np.testing.assert_array_equal(plain.log_prob(x), p.log_prob(x))
    with pytest.raises(
        ValueError, match=r"reads \d+ parameters .* Received an input of shape"
    ) as e:
        case.make()(np.zeros([3, case.params_size + 1], "float32"))
    assert f"{case.params_size} units" in str(e.value)
    assert str((3, case.params_size + 1)) in str(e.value)


@over_all_families
def test_precision_policies(case):
    x, params = case.values(3), case.params(3)
    expected = case.oracle(params).log_prob(x)
    # The policies round the parameters to 24, 53, 11 and 8 bits before the layer sees them.
    for policy, dtype, tolerance in [
        ("float32", "float32", 1e-5),
        ("float64", "float64", 1e-5),
        ("mixed_float16", "float32", 0.02),
        ("mixed_bfloat16", "float32", 0.2),
        ("float16", "float32", 0.02),
        ("bfloat16", "float32", 0.2),
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
    rows = []

    @settings(derandomize=True, deadline=None, max_examples=20, database=None)
    @given(
        st.lists(
            st.sampled_from([-case.bound, -100.0, -12.0, 0.0, case.bound])
            | st.floats(-case.bound, case.bound, width=32),
            min_size=case.params_size,
            max_size=case.params_size,
        )
    )
    def collect(values):
        rows.append(values)

    collect()
    assert len(rows) >= 20
    # One pass for all: the density of a row depends on no other row, nor does its gradient.
    params = tf.constant(rows, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(params)
        p = case.make()(params)
        log_prob = p.log_prob(tf.cast(np.repeat(case.values(1), len(rows), axis=0), p.dtype))
    gradient = tape.gradient(log_prob, params)
    draw = tf.convert_to_tensor(p).numpy().reshape(len(rows), -1)
    np.testing.assert_array_equal(np.isfinite(log_prob), True)
    np.testing.assert_array_equal(np.isfinite(gradient), True)
    np.testing.assert_array_equal(np.isfinite(draw) if case.draws_fit else ~np.isnan(draw), True)


@over_all_layers
def test_gradients_reach_parameters_through_the_tensor_that_is_kept(case):
    """As through a draw of the bare distribution, where that has any."""

    def draw(p):
        return p.sample(seed=[1, 2])

    def gradient(of):
        params = tf.constant(case.params(3))
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = tf.reduce_sum(tf.square(of(params)))
        return tape.gradient(loss, params)

    plain = case.layer.new(tf.constant(case.params(3)), *case.args, **case.new_kwargs)
    if plain.reparameterization_type != tfd.FULLY_REPARAMETERIZED:
        # No draw, or none of its parts that are counts, tells parameters anything.
        return
    kept = gradient(lambda x: tf.convert_to_tensor(case.make(convert_to_tensor_fn=draw)(x)))
    bare = gradient(lambda x: draw(case.layer.new(x, *case.args, **case.new_kwargs)))
    assert np.any(kept)
    np.testing.assert_allclose(kept, bare, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.xla
def test_eager_graph_and_xla_agree():
    cases = [family[0] for family in CASES.values()]
    layers = [case.make() for case in cases]
    inputs = [(tf.constant(c.params(2, 3)), tf.constant(c.values(2, 3))) for c in cases]

    def log_probs(pairs):
        found = []
        for layer, (params, x) in zip(layers, pairs, strict=True):
            p = layer(params)
            found.append(p.log_prob(tf.cast(x, p.dtype)))
        return found

    eager = log_probs(inputs)
    graph = tf.function(log_probs, autograph=False)(inputs)
    compiled = tf.function(log_probs, autograph=False, jit_compile=True)(inputs)
    for case, *values in zip(cases, eager, graph, compiled, strict=True):
        np.testing.assert_allclose(values[1], values[0], rtol=1e-6, atol=1e-6, err_msg=case.label)
        np.testing.assert_allclose(values[2], values[0], rtol=1e-5, atol=1e-5, err_msg=case.label)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
def test_draws_compile_where_the_table_of_layers_says_so():
    rows = (Path(__file__).parents[2] / "docs" / "layers.md").read_text().splitlines()
    without = {row.split("`")[1] for row in rows if "draws no" in row}
    cases = [family[0] for layer, family in CASES.items() if layer.__name__ not in without]
    assert len(cases) == len(CASES) - 2
    layers = [case.make() for case in cases]

    @tf.function(autograph=False, jit_compile=True)
    def draw(params):
        return [layer(p).sample(seed=[1, 2]) for layer, p in zip(layers, params, strict=True)]

    for case, x in zip(cases, draw([case.params(2) for case in cases]), strict=True):
        assert x.shape == (2, *case.event_shape), case.label
        assert np.all(np.isfinite(x)), case.label
    for name in without:
        case = CASES[getattr(tfvae.layers, name)][0]
        layer = case.make()
        compiled = tf.function(
            lambda p, layer=layer: layer(p).sample(seed=[1, 2]), jit_compile=True
        )
        with pytest.raises(tf.errors.InvalidArgumentError):
            compiled(case.params(2))


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
    known = closed_form_kl(plain, plain) is not None
    for pair in ((p, plain), (plain, p), (p, p)):
        kl = closed_form_kl(*pair)
        assert (kl is not None) == known
        if kl is not None:
            np.testing.assert_allclose(kl, tf.zeros([3]), atol=1e-6)
    assert type(p.tensor_distribution) is type(plain)
    np.testing.assert_array_equal(p.tensor_distribution.log_prob(x), expected)

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
    np.testing.assert_allclose(outside.log_prob(x), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(inside, expected, rtol=1e-6, atol=1e-6)
    assert tf.convert_to_tensor(outside).shape == (3, *case.event_shape)

    # Slices and copies keep working.
    np.testing.assert_allclose(
        layer(params)[1:].log_prob(x[1:]), expected[1:], rtol=1e-6, atol=1e-6
    )
    np.testing.assert_allclose(layer(params).copy().log_prob(x), expected, rtol=1e-6, atol=1e-6)


class AllFamilies(keras.Model):
    """One weight and one distribution per case, scored on data of their own."""

    def __init__(self, cases, starts, data):
        super().__init__()
        self.heads = [case.make() for case in cases]
        self.starts = [
            tfvae.layers.VariableLayer(start.shape, initializer=keras.initializers.Constant(start))
            for start in starts
        ]
        self.data = data

    def call(self, inputs):
        for start, head, x in zip(self.starts, self.heads, self.data, strict=True):
            log_prob = head(start(inputs)).log_prob(x)
            self.add_loss(-tf.reduce_sum(log_prob))
        return inputs


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
def test_fit_reaches_the_likelihood_of_known_parameters():
    """By Wilks' theorem twice the surplus over the true parameters is chi-squared, and positive."""
    # One compilation for all, and of each family the first case, which is small.
    cases = [family[0] for family in CASES.values()]
    truth = [case.params(seed=2) for case in cases]
    data = [
        case.make()(params).sample(400, seed=7) for case, params in zip(cases, truth, strict=True)
    ]
    generator = np.random.default_rng(0)
    starts = [params + 0.3 * generator.normal(size=params.shape) for params in truth]
    model = AllFamilies(cases, [start.astype("float32") for start in starts], data)
    rate = keras.optimizers.schedules.CosineDecay(0.05, 2000)
    model.compile(keras.optimizers.Adam(rate), steps_per_execution=100, jit_compile=True)
    model.fit(tf.data.Dataset.from_tensors(tf.zeros([1, 1])).repeat(2000), verbose=0, shuffle=False)
    surpluses = {}
    for case, start, params, x in zip(cases, model.starts, truth, data, strict=True):
        layer = case.make()
        fitted, true = layer(start(np.zeros([1]))), layer(params)
        surplus = np.sum(fitted.log_prob(x)) - np.sum(true.log_prob(x))
        surpluses[case.label] = (float(surplus), scipy.stats.chi2(case.params_size).isf(1e-6) / 2)
    bad = {name: both for name, both in surpluses.items() if not -0.1 <= both[0] <= both[1]}
    assert not bad


@pytest.mark.slow
@pytest.mark.xla
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


@over_all_families
def test_no_rows(case):
    layer = case.make()

    def ask(params, x):
        p = layer(params)
        return p.sample(2, seed=(0, 1)), p.log_prob(tf.cast(x, p.dtype)), centre(p)

    specs = [tf.TensorSpec([None, case.params_size]), tf.TensorSpec([None, *case.event_shape])]
    for way in (ask, tf.function(ask, input_signature=specs, autograph=False)):
        x, log_prob, middle = way(tf.constant(case.params(0)), tf.constant(case.values(0)))
        assert x.shape == (2, 0, *case.event_shape)
        assert log_prob.shape == (0,)
        assert middle.shape == (0, *case.event_shape)


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
    with pytest.warns(UserWarning, match="cannot have produced"):
        assert np.isfinite(IndependentBernoulli(2)(params).log_prob([[0.5, 3.0]]))
