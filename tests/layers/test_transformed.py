"""Distributions made by flows: the contract of `DistributionLayer`, and models with them."""

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.conftest import binary_data, mlp_decoder
from tests.flows.cases import FLOWS, over_all_flows, perturb
from tfvae import flows
from tfvae.divergences import closed_form_kl, kl_divergence
from tfvae.layers import (
    DistributionLambda,
    IndependentNormal,
    MultivariateNormalDiag,
    TransformedDistribution,
)

tfd = tfp.distributions


def made(cls=flows.RealNVP, *, context_size=3, scale=0.5, dtype=None, **kwargs):
    """Returns a built layer over two dimensions, with weights far from the start."""
    base = MultivariateNormalDiag(2, dtype=dtype)
    flow = FLOWS[cls](dtype=dtype)
    layer = TransformedDistribution(base, flow, context_size, dtype=dtype, **kwargs)
    layer.build((None, 4 + context_size))
    perturb(layer.flow, scale)
    return layer


def parameters(*leading, context_size=3, seed=0):
    shape = (*leading, 4 + context_size)
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.slow
@over_all_flows
@pytest.mark.parametrize("context_size", [0, 3])
def test_density_is_that_of_the_change_of_variables(cls, context_size):
    layer, params = made(cls, context_size=context_size), parameters(6, context_size=context_size)
    q = layer(params)
    assert isinstance(q, tfd.TransformedDistribution)
    assert (q.batch_shape, q.event_shape, q.dtype) == ((6,), (2,), tf.float32)
    z, log_prob = q.experimental_sample_and_log_prob(4, seed=[1, 2])
    assert z.shape == (4, 6, 2)
    assert log_prob.shape == (4, 6)
    # The base by SciPy; the Jacobian of the inverse by automatic differentiation.
    with tf.GradientTape(persistent=True) as tape:
        y = tf.reshape(z, [24, 2])
        tape.watch(y)
        context = np.tile(params[:, 4:], (4, 1)) if context_size else None
        x = layer.flow.bijector(context).inverse(y)
    jacobian = tape.batch_jacobian(x, y, experimental_use_pfor=False)
    scale = 1e-5 + np.logaddexp(0.0, params[:, 2:4])
    x = np.reshape(x, [4, 6, 2])
    expected = scipy.stats.norm(params[:, :2], scale).logpdf(x).sum(axis=-1)
    expected += np.reshape(np.linalg.slogdet(jacobian)[1], [4, 6])
    np.testing.assert_allclose(log_prob, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(layer(params).log_prob(z), expected, rtol=1e-3, atol=1e-3)
    # Every draw under every distribution of the batch, as the mutual information asks for.
    pairs = tfvae.distributions.pairwise_log_prob(layer(params), z)
    assert pairs.shape == (4, 6, 6)
    np.testing.assert_allclose(tf.linalg.diag_part(pairs), expected, rtol=1e-3, atol=1e-3)
    other = layer(params[3:4]).log_prob(z[:, 1:2])[:, 0]
    np.testing.assert_allclose(pairs[:, 1, 3], other, rtol=1e-3, atol=1e-3)


@over_all_flows
def test_draws_carry_gradients_to_everything(cls):
    layer, params = made(cls), tf.constant(parameters(6))
    assert layer(params).reparameterization_type == tfd.FULLY_REPARAMETERIZED
    with tf.GradientTape() as tape:
        tape.watch(params)
        z, log_prob = layer(params).experimental_sample_and_log_prob(4, seed=[1, 2])
        value = tf.reduce_sum(tf.sin(z)) + tf.reduce_sum(log_prob)
    weights = layer.trainable_weights
    assert len(weights) == len(layer.flow.weights) > 0
    for gradient in tape.gradient(value, [params, *weights]):
        assert np.all(np.isfinite(gradient))
        assert np.any(gradient != 0.0)
    assert np.all(np.any(tape_gradient_of_draws(layer, params) != 0.0, axis=0))


def tape_gradient_of_draws(layer, params):
    with tf.GradientTape() as tape:
        tape.watch(params)
        value = tf.reduce_sum(tf.sin(layer(params).sample(4, seed=[1, 2])))
    return tape.gradient(value, params).numpy()


@over_all_flows
def test_a_detached_copy_has_no_gradients(cls):
    """Of base, context and weights: what path-derivative estimators need."""
    layer, params = made(cls), tf.constant(parameters(6))
    z = layer(params).sample(seed=[1, 2])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([params, z])
        q = layer(params)
        detached = tf.nest.map_structure(tf.stop_gradient, q, expand_composites=True)
        log_prob = detached.log_prob(z)
    assert isinstance(detached, tfd.TransformedDistribution)
    np.testing.assert_allclose(log_prob, q.log_prob(z), rtol=1e-6)
    assert all(g is None for g in tape.gradient(log_prob, [params, *layer.trainable_weights]))
    assert np.all(tape.gradient(log_prob, z) != 0.0)


@pytest.mark.slow
@over_all_flows
def test_output_is_a_whole_tfp_distribution(cls):
    layer, params, x = made(cls), parameters(5), tf.zeros([5, 2])
    expected = layer(params).log_prob(x)
    plain = TransformedDistribution.new(params, layer.base, layer.flow, 3)
    assert type(plain) is tfd.TransformedDistribution
    np.testing.assert_array_equal(plain.log_prob(x), expected)
    assert type(layer(params).tensor_distribution) is tfd.TransformedDistribution

    traces = []

    @tf.function
    def through(q):
        traces.append(q)
        return q, q.log_prob(x)

    outside, inside = through(tf.function(layer)(params))
    through(layer(params))
    assert len(traces) == 1
    assert isinstance(outside, tfd.TransformedDistribution)
    for found in (outside.log_prob(x), inside):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    # What a function returned is no longer tied to the weights, as any tensor is not.
    draw = tf.convert_to_tensor(outside)
    assert draw.shape == (5, 2)
    np.testing.assert_array_equal(draw, np.asarray(outside))
    sliced = layer(params)[1:]
    assert sliced.batch_shape == (4,)
    np.testing.assert_allclose(sliced.log_prob(x[1:]), expected[1:], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(layer(params).copy().log_prob(x), expected)


def test_no_closed_form_is_made_up():
    layer, params = made(), parameters(5)
    q, p = layer(params), tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))
    assert closed_form_kl(q, p) is None
    assert closed_form_kl(p, q) is None
    assert closed_form_kl(q, layer(parameters(5, seed=1))) is None
    # The same map of two bases: the divergence of the bases, which TFP knows.
    other = params.copy()
    other[:, :4] = parameters(5, seed=1)[:, :4]
    found = kl_divergence(layer(params), layer(other))
    bases = [MultivariateNormalDiag.new(tf.constant(p[:, :4]), 2) for p in (params, other)]
    assert found.is_exact
    np.testing.assert_allclose(found.value, tfd.kl_divergence(*bases), rtol=1e-5)
    estimate = kl_divergence(q, p, num_samples=50, seed=0)
    assert not estimate.is_exact
    assert np.all(estimate.value > -5 * estimate.standard_error)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
def test_eager_graph_and_xla_agree():
    classes = (flows.RealNVP, flows.InverseAutoregressive)  # all are compiled in tests/flows
    layers, params = [made(cls) for cls in classes], parameters(5)
    x = np.random.default_rng(1).normal(size=(5, 2)).astype("float32")

    def run(params):
        draws = [layer(params).experimental_sample_and_log_prob(3, [1, 2]) for layer in layers]
        return [layer(params).log_prob(x) for layer in layers], draws

    spec = [tf.TensorSpec([None, 7])]
    eager, _ = run(params)
    for compiled in (False, True):
        signature = None if compiled else spec
        function = tf.function(run, signature, autograph=False, jit_compile=compiled)
        log_probs, draws = function(tf.constant(params))
        for found, expected in zip(log_probs, eager, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        for layer, (z, log_prob) in zip(layers, draws, strict=True):
            np.testing.assert_allclose(layer(params).log_prob(z), log_prob, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("policy", "dtype", "tolerance"),
    [
        ("float64", "float64", 1e-5),
        ("mixed_float16", "float32", 0.05),
        ("mixed_bfloat16", "float32", 0.5),
    ],
)
def test_precision_policies(policy, dtype, tolerance):
    exact, params, x = made(), parameters(5), np.zeros([5, 2])
    layer = made(dtype=policy)
    layer.set_weights(exact.get_weights())
    q = layer(params)
    log_prob = q.log_prob(tf.cast(x, q.dtype))
    assert log_prob.dtype == dtype
    assert all(w.dtype == dtype for w in layer.flow.weights)
    # The policies round the parameters before the layer sees them.
    expected = exact(params).log_prob(tf.cast(x, "float32"))
    np.testing.assert_allclose(log_prob, expected, rtol=tolerance, atol=tolerance)
    symbolic = layer(keras.KerasTensor((None, 7), dtype="float32"))
    assert symbolic.dtype == tf.convert_to_tensor(q).dtype.name


@pytest.mark.slow
@over_all_flows
def test_config_and_file_round_trips(cls, tmp_path):
    layer = made(cls, seed=7, validate_args=True, name="head")
    copy = TransformedDistribution.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert (copy.seed, copy.context_size, copy.event_shape) == (7, 3, (2,))
    inputs, dense = keras.Input((2,)), keras.layers.Dense(7)
    x, z = np.ones([3, 2], "float32"), tf.zeros([3, 2])
    for head in (made(cls), TransformedDistribution(MultivariateNormalDiag(2), FLOWS[cls](), 3)):
        model = keras.Model(inputs, head(dense(inputs)))
        assert model.output_shape == (None, 2)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")  # in safe mode
        assert isinstance(loaded(x), tfd.TransformedDistribution)
        np.testing.assert_array_equal(loaded(x).log_prob(z), model(x).log_prob(z))


@pytest.mark.parametrize("bound", [12.0, 100.0, 1e4])
@over_all_flows
def test_any_parameters_give_finite_values_and_gradients(cls, bound):
    layer = made(cls)
    generator = np.random.default_rng(0)
    params = tf.constant(generator.choice([-bound, 0.0, bound], (50, 7)), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(params)
        draw, own = layer(params).experimental_sample_and_log_prob(seed=[1, 2])
    gradients = tape.gradient([draw, own], [params, *layer.trainable_weights])
    for found in (draw, own, *gradients):
        assert np.all(np.isfinite(found))


@pytest.mark.slow
def test_bases_of_other_families_and_events():
    base = tfvae.layers.IndependentStudentT((2, 3))
    layer = TransformedDistribution(base, flows.RealNVP(2, [8]), 4)
    params = np.random.default_rng(0).normal(size=(5, 3 * 6 + 4)).astype("float32")
    q = layer(params)
    perturb(layer.flow, 0.3)
    z, log_prob = layer(params).experimental_sample_and_log_prob(3, seed=[1, 2])
    assert q.event_shape == (2, 3)
    assert z.shape == (3, 5, 2, 3)
    np.testing.assert_allclose(layer(params).log_prob(z), log_prob, rtol=1e-3, atol=1e-3)
    # A flow of its own layers on top of another.
    outer = TransformedDistribution(layer, flows.NeuralSpline(2, [8]), 2)
    q = outer(np.concatenate([params, params[:, :2]], axis=-1))
    assert q.sample(seed=[1, 2]).shape == (5, 2, 3)
    assert len(outer.trainable_weights) == len(layer.flow.weights) + len(outer.flow.weights)


def test_wrong_use_is_explained():
    base, flow = MultivariateNormalDiag(2), flows.RealNVP(2, [4])
    assert TransformedDistribution.params_size(base.params_size(2), 3) == 7
    with pytest.raises(TypeError, match=r"`base` must be a distribution layer.*Received: Dense"):
        TransformedDistribution(keras.layers.Dense(2), flow)
    with pytest.raises(TypeError, match=r"`flow` must be an object of `tfvae.flows`.*Received: i"):
        TransformedDistribution(base, 3)
    for name in ("mean", "mode", "stddev", "variance"):
        with pytest.raises(ValueError, match=rf"The {name} of a flow has no closed form"):
            TransformedDistribution(base, flow, 0, name)
    with pytest.raises(ValueError, match=r"must know the shape of its draws.*DistributionLambda"):
        TransformedDistribution(DistributionLambda(lambda t: tfd.Normal(t, 1.0)), flow)
    with pytest.raises(ValueError, match=r"reads 7 parameters .* shape \(5, 6\)"):
        TransformedDistribution(base, flow, 3)(np.zeros([5, 6], "float32"))
    with pytest.raises(ValueError, match=r"at least 2 dimensions. Received: 1"):
        TransformedDistribution(IndependentNormal(1), flows.RealNVP())(np.zeros([5, 2], "float32"))
    used = made()
    with pytest.raises(ValueError, match=r"Make one flow for each use"):
        TransformedDistribution(MultivariateNormalDiag(3), used.flow, 3)(
            np.zeros([5, 9], "float32")
        )


def posterior_vae(cls, seed=1):
    encoder = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(5, "tanh"),
            keras.layers.Dense(8),
            TransformedDistribution(MultivariateNormalDiag(2), FLOWS[cls](), 4),
        ]
    )
    return tfvae.VAE(encoder, mlp_decoder(), seed=seed)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_life_of_a_vae_with_a_flow_as_posterior(tmp_path):
    x = binary_data(32)
    vae = posterior_vae(flows.InverseAutoregressive)
    assert len(vae.encoder.layers[-1].trainable_weights) == len(vae.encoder.layers[-1].flow.weights)
    vae.compile(keras.optimizers.Adam(0.01), jit_compile=False)  # which takes half of the time
    before = [w.numpy() for w in vae.trainable_weights]
    history = vae.fit(x, batch_size=16, epochs=4, verbose=0).history
    assert np.all(np.isfinite([history[name] for name in history]))
    for old, weight in zip(before, vae.trainable_weights, strict=True):
        assert np.any(weight.numpy() != old), weight.path
    terms = vae.terms(x, 5, 3)
    assert terms.kl is None
    np.testing.assert_allclose(terms.rate, terms.sampled_rate)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(loaded.terms(x, 5, 3).log_w, terms.log_w)
    ledger = tfvae.decompose(vae, x, num_samples=8, evidence_samples=200, verbose=False)
    for name, residual in ledger.residuals.items():
        assert abs(residual.mean) < 5 * residual.standard_error + 1e-4, name
    assert 0.0 <= ledger.mutual_information.mean <= ledger.information_ceiling
    vae.export(tmp_path / "export", verbose=False, signatures=["elbo"])
    served = tf.saved_model.load(str(tmp_path / "export")).signatures["elbo"]
    seed = [0, 1]
    elbo = served(x=x, num_samples=tf.constant(5), seed=tf.constant(seed))["elbo"]
    np.testing.assert_allclose(elbo, vae.terms(x, 5, seed).elbo, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_flow_reaches_posteriors_that_a_gaussian_does_not():
    """The posterior of x = z_1**2 + z_2 + noise is bent; a grid gives log p(x)."""
    x, noise = np.array([[0.5], [2.0], [4.0]], "float32"), 0.3
    axis = np.linspace(-6.0, 6.0, 1201)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    log_p_z = scipy.stats.norm.logpdf(grid).sum(axis=-1)

    def log_joint(z):
        p_z = tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))
        p_x = tfd.Normal(z[..., :1] ** 2 + z[..., 1:], noise)
        return p_z.log_prob(z) + p_x.log_prob(x)[..., 0]

    mean = grid[..., 0] ** 2 + grid[..., 1]
    evidence = [
        scipy.special.logsumexp(log_p_z + scipy.stats.norm(mean, noise).logpdf(value))
        + 2 * np.log(axis[1] - axis[0])
        for value in x[:, 0]
    ]
    base = MultivariateNormalDiag(2)
    heads = {
        "Gaussian": MultivariateNormalDiag(2),
        "flow": TransformedDistribution(base, flows.InverseAutoregressive(4, [32]), 4),
    }
    params = [keras.Variable(np.zeros([3, n], "float32")) for n in (4, 8)]
    for layer, start in zip(heads.values(), params, strict=True):
        layer(start)
    weights = [*params, *heads["flow"].trainable_weights]
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.02, 500))
    optimizer.build(weights)

    def elbo(layer, start, num, seed):
        z, log_q = layer(start).experimental_sample_and_log_prob(num, seed=seed)
        return log_joint(z) - log_q  # [S, 3]

    @tf.function(autograph=False)
    def step(seed):
        with tf.GradientTape() as tape:
            loss = 0.0
            for layer, start in zip(heads.values(), params, strict=True):
                loss -= tf.reduce_mean(elbo(layer, start, 64, seed))
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))

    for index in range(500):
        step(tf.constant([0, index]))
    gaps = {}
    for (name, layer), start in zip(heads.items(), params, strict=True):
        log_w = elbo(layer, start, 20_000, [1, 1]).numpy()
        gaps[name] = evidence - log_w.mean(axis=0)
        assert np.all(gaps[name] > -5 * log_w.std(axis=0) / np.sqrt(len(log_w)))
    assert np.mean(gaps["flow"]) < 0.5 * np.mean(gaps["Gaussian"])
