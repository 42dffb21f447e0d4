"""Likelihoods whose elements follow each other: probabilities, draws, gradients, and models."""

import itertools

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.conftest import binary_data
from tfvae import distributions
from tfvae.distributions import support_of
from tfvae.layers import (
    Autoregressive,
    AutoregressiveTransform,
    DiscretizedLogistic,
    DistributionLambda,
    IndependentBernoulli,
    IndependentCategorical,
    IndependentNormal,
    MixtureSameFamily,
    MultivariateNormalDiag,
    PixelCNN,
)
from tfvae.networks import MADE

tfd, tfb = tfp.distributions, tfp.bijectors

ORDERS = ["left-to-right", "right-to-left", "random", [2, 4, 1, 3]]


def dense(event_shape=4, element=None, context_size=2, **options):
    options = {"hidden_units": [12], "activation": "tanh", **options}
    return Autoregressive(event_shape, element or IndependentBernoulli(), context_size, **options)


def pixels(event_shape=(2, 2, 1), element=None, context_size=2, **options):
    options = {"filters": 6, "num_blocks": 2, "first_kernel_size": 3, **options}
    return PixelCNN(event_shape, element or IndependentBernoulli(), context_size, **options)


def scattered(layer, seed=0, scale=0.7):
    """Gives all weights, biases too, values far from those of a network that knows nothing."""
    generator = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        weight.assign(scale * generator.normal(size=weight.shape))
    return layer


def contexts(num=2, size=2, seed=3):
    return np.random.default_rng(seed).normal(size=(num, size)).astype("float32")


def states(event_shape, levels):
    """Returns all events `[N, *E]` of so many levels."""
    size = int(np.prod(event_shape))
    listed = np.array(list(itertools.product(range(levels), repeat=size)), "float32")
    return listed.reshape(-1, *event_shape)


def categories(levels):
    return IndependentCategorical((), levels)


@pytest.mark.parametrize(
    ("layer", "levels"),
    [
        *[(lambda o=o: dense((2, 2), input_order=o), 2) for o in ORDERS],
        (lambda: dense(10, hidden_units=[20, 20], hidden_degrees="random", order_seed=1), 2),
        (lambda: dense(4, DiscretizedLogistic(levels=4, high=3.0)), 4),
        (lambda: dense(1, categories(3)), 3),
        (lambda: pixels((2, 3, 1), categories(3)), 3),
        (lambda: pixels((2, 2, 2)), 2),
    ],
)
def test_probabilities_sum_to_one(layer, levels):
    layer = scattered(layer())
    x = states(layer.event_shape, levels)
    p = layer(contexts())
    assert p.batch_shape == (2,)
    assert p.event_shape == layer.event_shape
    probabilities = np.exp(p.log_prob(x[:, None]))  # [N, B]
    np.testing.assert_allclose(probabilities.sum(axis=0), 1.0, rtol=2e-5)
    assert np.max(np.abs(probabilities[:, 0] - probabilities[:, 1])) > 1e-3


@pytest.mark.parametrize("make", [dense, pixels], ids=["dense", "pixels"])
def test_densities_are_those_of_the_networks_parameters(make):
    event = (2, 2, 1)
    layer = scattered(make(event, IndependentNormal()))
    x = np.random.default_rng(1).normal(size=(3, 2, *event)).astype("float32")
    given = x.reshape(3, 2, -1) if make is dense else x
    params = np.asarray(layer.network(given, context=contexts()), "float64").reshape(3, 2, 4, 2)
    scale = 1e-5 + np.logaddexp(0.0, params[..., 1])
    expected = scipy.stats.norm(params[..., 0], scale).logpdf(x.reshape(3, 2, 4)).sum(axis=-1)
    p = layer(contexts())
    np.testing.assert_allclose(p.log_prob(x), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(p.log_prob(x[0, 0]), layer(contexts()).log_prob([x[0, 0]] * 2))
    assert isinstance(p, distributions.Autoregressive)
    assert p.conditionals(x).batch_shape == (3, 2, *event)


def chi_squared(draws, p, levels, event_shape):
    """Returns the p-values `[B]` of draws `[S, B, *E]` under the probabilities of all states."""
    x = states(event_shape, levels)
    probabilities = np.exp(np.asarray(p.log_prob(x[:, None]), "float64"))  # [N, B]
    places = levels ** np.arange(np.prod(event_shape))[::-1]
    index = (np.asarray(draws).reshape(*draws.shape[:2], -1) @ places).astype(int)  # [S, B]
    found = []
    for b in range(index.shape[1]):
        expected = probabilities[:, b] / probabilities[:, b].sum() * len(index)
        counts = np.bincount(index[:, b], minlength=len(x)).astype("float64")
        rare = expected < 5  # together: the statistic needs some of each
        counts, expected = (np.append(v[~rare], v[rare].sum()) for v in (counts, expected))
        kept = expected > 0
        found.append(scipy.stats.chisquare(counts[kept], expected[kept]).pvalue)
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "levels"),
    [
        *[(lambda o=o: dense((2, 2), input_order=o), 2) for o in ORDERS[1:]],
        (lambda: dense(3, DiscretizedLogistic(levels=3, high=2.0)), 3),
        (lambda: pixels((2, 2, 1), categories(3)), 3),
        (lambda: pixels((1, 2, 2)), 2),
    ],
)
def test_draws_have_their_probabilities(make, levels):
    layer = scattered(make())
    p = layer(contexts())
    draws = p.sample(20_000, seed=[1, 2])
    assert draws.shape == (20_000, 2, *layer.event_shape)
    assert np.all(chi_squared(draws, p, levels, layer.event_shape) > 1e-6)


def test_draws_by_whole_passes_have_their_probabilities():
    layer = scattered(dense((2, 2), input_order="random"))
    p = layer(contexts())
    params_fn, element_fn, _ = layer._functions
    naive = distributions.Autoregressive(
        params_fn, element_fn, (2, 2), 1, p.context, layer.network.trainable_weights
    )
    assert np.all(chi_squared(naive.sample(20_000, seed=5), p, 2, (2, 2)) > 1e-6)


@pytest.mark.slow
@pytest.mark.xla
@pytest.mark.parametrize("make", [dense, pixels], ids=["dense", "pixels"])
def test_eager_graph_and_xla_agree(make):
    few = {"num_blocks": 1} if make is pixels else {}
    layer = scattered(make((2, 2, 1), categories(3), **few))
    context, x = contexts(6).reshape(3, 2, 2), states((2, 2, 1), 3)[:12].reshape(2, 3, 2, 2, 2, 1)

    def run(context):
        p = layer(context)
        return p.log_prob(x), p.sample((4, 5), seed=[1, 2])

    eager = run(context)
    graph = tf.function(run, autograph=False)(context)
    compiled = tf.function(run, autograph=False, jit_compile=True)
    log_prob, draws = compiled(context)
    np.testing.assert_allclose(graph[0], eager[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(log_prob, eager[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(graph[1], eager[1])
    assert draws.shape == eager[1].shape == (4, 5, 3, 2, 2, 2, 1)
    np.testing.assert_array_equal(compiled(context)[1], draws)
    assert set(np.unique(draws)) <= {0.0, 1.0, 2.0}
    np.testing.assert_array_equal(layer(context).sample((4, 5), seed=[1, 2]), eager[1])
    assert not np.array_equal(layer(context).sample((4, 5), seed=[1, 3]), eager[1])
    assert layer(context[0, 0]).sample(seed=1).shape == (2, 2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("make", [dense, pixels], ids=["dense", "pixels"])
def test_gradients(make):
    few = {"num_blocks": 1} if make is pixels else {}
    layer = scattered(make((2, 2, 2), IndependentNormal(), **few), scale=0.4)
    context = tf.constant(contexts())
    x = tf.constant(np.random.default_rng(1).normal(size=(2, 2, 2, 2)), tf.float32)
    weights = [weight.value for weight in layer.trainable_weights]

    @tf.function(autograph=False)
    def run(context, x):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch((context, x))
            p = layer(context)
            score, draws = tf.reduce_sum(p.log_prob(x)), tf.reduce_sum(p.sample(2, seed=[3, 4]))
        return (
            (score, draws),
            tape.gradient(score, [context, x, *weights]),
            tape.gradient(draws, [context, *weights]),
        )

    _, of_score, of_draws = run(context, x)
    assert all(np.any(g != 0.0) for g in [*of_score, *of_draws])
    assert layer(context).reparameterization_type == tfd.FULLY_REPARAMETERIZED
    # Against differences, in one direction each.
    way, way_of_x = contexts(seed=8), np.random.default_rng(2).normal(size=x.shape)
    way_of_x = way_of_x.astype("float32")
    up, down = (run(context + e * way, x + e * way_of_x)[0] for e in (2e-3, -2e-3))
    slopes = [np.sum(of_score[0] * way) + np.sum(of_score[1] * way_of_x), np.sum(of_draws[0] * way)]
    np.testing.assert_allclose(slopes, (np.array(up) - np.array(down)) / 4e-3, rtol=2e-2, atol=2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("make", [dense, pixels], ids=["dense", "pixels"])
def test_fit_recovers_any_distribution_given_its_context(make):
    """Its divergence from two tables of random probabilities, one for each context."""
    layer = make((2, 2, 1), context_size=1, **({"filters": 16} if make is pixels else {}))
    x, context = states((2, 2, 1), 2), np.array([[-1.0], [1.0]], "float32")
    table = np.random.default_rng(0).dirichlet(np.ones(16), size=2).astype("float32").T  # [N, B]
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.03, 600))
    optimizer.build(layer.trainable_weights)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_sum(table * layer(context).log_prob(x[:, None]))
        gradients = tape.gradient(loss, [w.value for w in layer.trainable_weights])
        optimizer.apply(gradients)
        return loss

    for _ in range(600):
        loss = step()
    entropy = np.sum(scipy.stats.entropy(table))
    assert -1e-4 <= float(loss) - entropy < 0.02


@pytest.mark.slow
@pytest.mark.exhaustive
def test_without_a_context_in_stock_keras(tmp_path):
    """A model of x alone: the input holds nothing but the batch."""
    layer = dense((3,), context_size=None)
    p = layer.distribution()
    assert (p.batch_shape, p.event_shape) == ((), (3,))
    assert p.sample(7, seed=1).shape == (7, 3)
    model = keras.Sequential([keras.Input((0,)), layer])
    model.compile(keras.optimizers.Adam(0.05), loss=tfvae.NegativeLogLikelihood())
    x = np.array([[0, 0, 0], [1, 1, 1]], "float32")[np.arange(64) % 2]
    model.fit(np.zeros([64, 0]), x, epochs=60, verbose=0)
    assert -model(np.zeros([2, 0])).log_prob(x[:2]).numpy().mean() == pytest.approx(
        np.log(2.0), abs=0.05
    )
    np.testing.assert_allclose(layer.distribution().log_prob(x[0]), np.log(0.5), atol=0.1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.layers[-1].distribution().log_prob(x), layer.distribution().log_prob(x)
    )


@pytest.mark.slow
@pytest.mark.parametrize("make", [dense, pixels], ids=["dense", "pixels"])
def test_as_the_density_of_a_model(make, tmp_path):
    x = binary_data(1, (2, 2, 1))[[0] * 40]
    few = {"num_blocks": 1} if make is pixels else {}
    model = tfvae.DensityModel(make((2, 2, 1), context_size=None, **few), seed=1)
    model.compile(keras.optimizers.Adam(0.1))
    model.fit(x, epochs=20, verbose=0)
    assert np.mean(tfvae.log_likelihood(model, x, num_samples=1).per_point) > -0.2
    drawn = model.sample(20, seed=0)
    assert drawn.shape == (20, 2, 2, 1)
    assert np.mean(drawn == x[0]) > 0.9
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.p_x().log_prob(x), model.p_x().log_prob(x))
    with pytest.raises(TypeError, match="must not depend on a context"):
        tfvae.DensityModel(make((2, 2, 1)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda: dense((2, 2), input_order="random", hidden_degrees="random", seed=5),
        lambda: dense(3, MixtureSameFamily(2, IndependentNormal()), input_order=[3, 1, 2]),
        lambda: pixels((2, 2, 3), DiscretizedLogistic(levels=7, low=-1.0), validate_args=True),
        lambda: pixels((3, 2, 1), IndependentCategorical((), 3, sample_dtype="int32")),
    ],
)
def test_files(make, tmp_path):
    layer = make()
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(layer.params_size(2)), layer])
    inputs = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")
    p = model(inputs)
    x = p.sample(seed=1)
    spec = model.compute_output_spec(keras.KerasTensor((None, 5)))
    assert (spec.shape[1:], spec.dtype) == (tuple(x.shape[1:]), x.dtype.name)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")  # in safe mode
    np.testing.assert_array_equal(loaded(inputs).log_prob(x), p.log_prob(x))
    names = [weight.path for weight in loaded.trainable_weights]
    assert len(names) == len(set(names)) == len(model.trainable_weights)
    support, family = support_of(p), support_of(layer.element(np.zeros([1, layer._element_size])))
    assert support == family
    assert np.all(np.isfinite(p.log_prob(x)))


@pytest.mark.slow
def test_the_distribution_is_a_composite_of_context_and_weights():
    layer = scattered(dense(4))
    x, context = states((4,), 2)[:, None], tf.Variable(contexts())
    p = layer(context)
    expected = p.log_prob(x)

    traces = []

    @tf.function
    def through(q):
        traces.append(q)
        return q, q.log_prob(x)

    outside, inside = through(tf.function(layer)(context))
    through(layer(context))
    assert len(traces) == 1
    assert isinstance(outside, distributions.Autoregressive)
    for found in (outside.log_prob(x), inside, layer(context).copy().log_prob(x)):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer(context)[1:].log_prob(x), expected[:, 1:], rtol=1e-5)
    assert type(p.tensor_distribution) is distributions.Autoregressive
    assert tf.convert_to_tensor(outside).shape == (2, 4)

    # Detached, nothing of it is trained; and it stays what it was when weights change.
    weights = layer.trainable_weights
    with tf.GradientTape() as tape:
        detached = tf.nest.map_structure(tf.stop_gradient, layer(context), expand_composites=True)
        log_prob = detached.log_prob(x)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5, atol=1e-6)
    assert set(tape.gradient(log_prob, [context, *(w.value for w in weights)])) == {None}
    weights[0].assign_add(tf.ones_like(weights[0]))
    np.testing.assert_array_equal(p.log_prob(x), expected)
    assert np.max(np.abs(layer(context).log_prob(x) - expected)) > 1e-3


@pytest.mark.slow
def test_precision_policies():
    x = states((4,), 2)
    expected = scattered(dense(4)).distribution(contexts()[:1]).log_prob(x)
    for policy, dtype, tolerance in [
        ("float64", "float64", 1e-5),
        ("mixed_float16", "float32", 0.02),
        ("mixed_bfloat16", "float32", 0.1),
    ]:
        layer = scattered(dense(4, dtype=policy))
        p = layer(contexts()[:1])
        value = p.log_prob(tf.cast(x, p.dtype))
        assert value.dtype == dtype
        np.testing.assert_allclose(value, expected, rtol=tolerance, atol=tolerance, err_msg=policy)
        assert layer(keras.KerasTensor((None, 2))).dtype == tf.convert_to_tensor(p).dtype.name


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_vae_with_a_pixelcnn(tmp_path):
    """From fit to the exported file: where a mean is asked for, a draw stands in."""
    shape, x = (4, 4, 1), binary_data(16, (4, 4, 1))
    encoder = keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Flatten(),
            keras.layers.Dense(4),
            MultivariateNormalDiag(2),
        ]
    )
    head = pixels(shape, context_size=5, num_blocks=1)
    decoder = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(head.params_size(5), "tanh"), head]
    )
    vae = tfvae.VAE(encoder, decoder, seed=1)
    vae.compile(keras.optimizers.Adam(0.01))
    before = [weight.numpy() for weight in vae.trainable_weights]
    history = vae.fit(x, epochs=4, verbose=0).history["elbo"]
    assert history[-1] > history[0]
    after = vae.trainable_weights
    assert all(np.any(w != b) for w, b in zip(after, before, strict=True))
    assert set(np.unique(vae.sample(5, seed=0))) <= {0.0, 1.0}
    prediction = vae.predict(x, verbose=0)
    assert set(np.unique(prediction["reconstruction"])) <= {0.0, 1.0}
    estimate = tfvae.log_likelihood(vae, x[:4], num_samples=5, seed=0)
    assert np.all(np.isfinite(estimate.per_point))
    with pytest.raises(ValueError, match="outside the support of the Bernoulli likelihood"):
        vae.fit(x + 2.0, verbose=0)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    terms = vae.terms(x, 2, seed=1)
    np.testing.assert_allclose(loaded.terms(x, 2, seed=1).log_p_x, terms.log_p_x, rtol=1e-5)
    vae.export(tmp_path / "1", verbose=False, signatures=["generate", "elbo"])
    served = tf.saved_model.load(tmp_path / "1").signatures
    seed = tf.constant([1, 2])
    drawn = served["generate"](num_samples=tf.constant(3), seed=seed)["x"]
    np.testing.assert_array_equal(drawn, vae.generate(3, seed)["x"])
    elbo = served["elbo"](x=x, num_samples=tf.constant(2), seed=seed)["elbo"]
    np.testing.assert_allclose(elbo, vae.terms(x, 2, seed=[1, 2]).elbo, rtol=1e-4)


def standard_normal(t):
    loc = tf.zeros(tf.concat([tf.shape(t)[:-1], [2]], axis=0))
    return tfd.MultivariateNormalDiag(loc=loc, scale_diag=[1.0, 1.0])


@pytest.mark.slow
@pytest.mark.exhaustive
def test_documented_transform():
    """TFP's example of `AutoregressiveTransform`."""
    n, generator = 2000, np.random.default_rng(0)
    x2 = generator.normal(size=n) * 2
    x1 = generator.normal(size=n) + (x2 * x2 / 4)
    data = np.stack([x1, x2], axis=-1).astype("float32")
    model = keras.Sequential(
        [
            keras.layers.InputLayer(shape=(0,), dtype=tf.float32),
            DistributionLambda(standard_normal),
            AutoregressiveTransform(MADE(params=2, hidden_units=[10], activation="relu")),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(), loss=lambda y, rv_y: -rv_y.log_prob(y))
    before = [weight.numpy() for weight in model.trainable_weights]
    history = model.fit(
        x=np.zeros((n, 0)), y=data, batch_size=25, epochs=10, steps_per_epoch=n // 25, verbose=0
    )
    losses = history.history["loss"]
    assert losses[-1] < losses[0]
    # Better than the normal distribution of the same moments.
    normal = -scipy.stats.multivariate_normal(data.mean(axis=0), np.cov(data.T)).logpdf(data).mean()
    distribution = model(np.zeros((1, 0)))  # Keras 3 wants the axes it was told
    assert -distribution.log_prob(data).numpy().mean() < normal
    assert len(before) == 4
    for weight, value in zip(model.trainable_weights, before, strict=True):
        assert np.any(weight.numpy() != value), weight.path
    assert distribution.sample(4).shape == (4, 1, 2)
    assert distribution.log_prob(np.zeros((5, 3, 2))).shape == (5, 3)
    assert distribution.log_prob(np.zeros((5, 1, 2))).shape == (5, 1)


@pytest.mark.slow
@pytest.mark.xla
def test_transform_is_a_change_of_variables(tmp_path):
    made = MADE(2, 3, hidden_units=[8], activation="tanh", input_order=[2, 3, 1])
    layer = scattered(AutoregressiveTransform(made), scale=0.5)
    model = keras.Sequential([keras.Input((6,)), MultivariateNormalDiag(3), layer])
    params = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    scattered(layer, scale=0.5)
    p, base = model(params), MultivariateNormalDiag(3)(params)
    assert isinstance(p, tfd.TransformedDistribution)
    assert isinstance(p.bijector, tfb.MaskedAutoregressiveFlow)
    assert (p.batch_shape, p.event_shape) == ((4,), (3,))
    x = tf.constant(np.random.default_rng(1).normal(size=(4, 3)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        shift, log_scale = tf.unstack(made(x), axis=-1)
        u = (x - shift) * tf.exp(-log_scale)
    jacobian = np.linalg.slogdet(tape.batch_jacobian(u, x))[1]
    np.testing.assert_allclose(p.log_prob(x), base.log_prob(u) + jacobian, rtol=1e-4, atol=1e-5)
    for number, call in enumerate(
        (model, tf.function(model), tf.function(model, jit_compile=True))
    ):
        q = call(params)
        assert isinstance(q, tfd.TransformedDistribution)
        np.testing.assert_allclose(q.log_prob(x), p.log_prob(x), rtol=1e-4, atol=1e-5)
        y = tf.identity(q.sample(5, seed=number))
        u = q.bijector.inverse(tf.identity(y))
        np.testing.assert_allclose(q.bijector.forward(tf.identity(u)), y, rtol=1e-4, atol=1e-4)
    draws = p.sample(2000, seed=1)
    whitened = (p.bijector.inverse(tf.identity(draws)) - base.mean()) / base.stddev()
    assert scipy.stats.kstest(np.ravel(whitened), "norm").pvalue > 1e-6
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(params).log_prob(x), p.log_prob(x))


@pytest.mark.slow
@pytest.mark.parametrize("make", [dense, pixels], ids=["dense", "pixels"])
def test_what_has_no_closed_form_says_so(make):
    p = make((2, 2, 1))(contexts())
    for name in ("mean", "mode", "variance", "entropy"):
        with pytest.raises(NotImplementedError):
            getattr(p, name)()
    with pytest.raises(ValueError, match="has no mean in closed form"):
        make((2, 2, 1), convert_to_tensor_fn="mean")
    averaged = make((2, 2, 1), convert_to_tensor_fn=lambda d: tf.reduce_mean(d.sample(9), axis=0))
    assert tf.convert_to_tensor(averaged(contexts())).shape == (2, 2, 2, 1)
    with pytest.raises(NotImplementedError, match="has weights"):
        type(averaged).new(contexts())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: dense(4)(np.zeros([3, 5], "float32")),
            ValueError,
            r"context_size=2 reads 2 parameters .* Received an input of shape \(3, 5\)",
        ),
        (
            lambda: dense(4).distribution(),
            ValueError,
            r"made with context_size=2. Received: a context of shape \(0,\)",
        ),
        (
            lambda: dense(4, context_size=None).distribution(np.zeros([3, 1])),
            ValueError,
            r"context_size=None. Received: a context of shape \(3, 1\)",
        ),
        (lambda: dense(4, "bernoulli"), TypeError, r"event shape \(\).* Received: str"),
        (
            lambda: pixels((2, 2, 1), IndependentBernoulli(3)),
            TypeError,
            r"Received: IndependentBernoulli of event shape \(3,\)",
        ),
        (
            lambda: dense(4, DistributionLambda(tfd.Poisson)),
            TypeError,
            "Received: DistributionLambda",
        ),
        (lambda: pixels((4, 4)), ValueError, r"\(height, width, channels\)"),
        (lambda: AutoregressiveTransform(tf.identity), TypeError, "Received: function"),
        (lambda: AutoregressiveTransform(MADE(3)), ValueError, "Received: params=3"),
        (lambda: AutoregressiveTransform(MADE(2, context_size=1)), ValueError, "context_size=1"),
        (
            lambda: AutoregressiveTransform(MADE(2))(np.zeros([3, 2])),
            TypeError,
            "needs the output of a distribution layer",
        ),
        (lambda: AutoregressiveTransform.params_size(), NotImplementedError, "no parameters"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("make", [dense, pytest.param(pixels, marks=pytest.mark.slow)])
def test_no_rows(make):
    layer = make()

    @tf.function(input_signature=[tf.TensorSpec([None, 2])], autograph=False)
    def draw_and_score(context):
        p = layer(context)
        x = p.sample(3, seed=[0, 1])
        return x, p.log_prob(x[0])

    for rows in (0, 2):
        x, log_prob = draw_and_score(contexts(rows))
        assert x.shape == (3, rows, *layer.event_shape)
        assert log_prob.shape == (rows,)
    x, log_prob = draw_and_score(contexts(2))
    np.testing.assert_allclose(log_prob, layer(contexts(2)).log_prob(x[0]), rtol=1e-5)
