"""The contract of `Flow`, as one battery over all flows."""

import inspect
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.flows.cases import FLOWS, made, normal, over_all_flows
from tfvae.flows import Flow, MaskedAutoregressive, NeuralSpline, RealNVP

tfd = tfp.distributions


def test_battery_is_complete():
    exported = {getattr(tfvae.flows, name) for name in tfvae.flows.__all__}
    flows = {cls for cls in exported if inspect.isclass(cls) and issubclass(cls, Flow)}
    assert flows - {Flow} == set(FLOWS)
    for cls in FLOWS:
        assert keras.saving.get_registered_name(cls) == f"tfvae.flows>{cls.__name__}"


@pytest.mark.slow
@over_all_flows
@pytest.mark.parametrize("context_size", [0, 3])
def test_inverse_and_log_determinant(cls, context_size):
    """Against the Jacobian that automatic differentiation gives, in float64."""
    flow = made(cls, 3, context_size)
    context = normal(4, 3, seed=2) if context_size else None
    f, x = flow.bijector(context), normal(4, 3)
    for map_, back, log_det in (
        (f.forward, f.inverse, f.forward_log_det_jacobian),
        (f.inverse, f.forward, f.inverse_log_det_jacobian),
    ):
        # Copies, which TFP's cache does not know.
        with tf.GradientTape(persistent=True) as tape:
            value = tf.identity(x)
            tape.watch(value)
            image = map_(value)
        jacobian = tape.batch_jacobian(image, value, experimental_use_pfor=False)
        assert np.max(np.abs(image - x)) > 0.5, "close to the identity, anything passes"
        np.testing.assert_allclose(back(tf.identity(image)), x, atol=1e-8)
        sign, expected = np.linalg.slogdet(jacobian)
        np.testing.assert_allclose(log_det(tf.identity(x), 1), expected, atol=1e-8)
        assert np.all(sign == 1.0)
    # In single precision, as models use it.
    flow = made(cls, 3, context_size, scale=0.5, dtype="float32")
    context = None if context is None else tf.cast(context, "float32")
    f, x = flow.bijector(context), normal(50, 4, 3, dtype="float32")
    assert np.max(np.abs(f.forward(x) - x)) > 0.5
    np.testing.assert_allclose(f.inverse(tf.identity(f.forward(x))), x, atol=1e-4)
    np.testing.assert_allclose(f.forward(tf.identity(f.inverse(x))), x, atol=1e-4)


@pytest.mark.slow
@over_all_flows
def test_total_probability_is_one(cls):
    flow = made(cls, 2, 1, scale=0.3)
    axis = np.linspace(-12.0, 12.0, 601)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    base = tfd.MultivariateNormalDiag(tf.zeros(2, tf.float64), tf.ones(2, tf.float64))
    for context in ([-1.0], [2.0]):
        p = tfd.TransformedDistribution(base, flow.bijector(tf.constant(context, tf.float64)))
        parts = [np.sum(np.exp(p.log_prob(some))) for some in np.array_split(points, 20)]
        total = np.sum(parts) * (axis[1] - axis[0]) ** 2
        assert total == pytest.approx(1.0, abs=1e-4)


@over_all_flows
def test_a_new_flow_is_close_to_the_identity(cls):
    flow = made(cls, 4, 3, scale=0, dtype="float32")
    x, context = normal(100, 4, dtype="float32"), normal(100, 3, seed=2, dtype="float32")
    f = flow.bijector(context)
    assert 0.0 < np.max(np.abs(f.forward(x) - x)) < 0.1
    assert np.max(np.abs(f.forward_log_det_jacobian(x, 1))) < 0.1


@pytest.mark.slow
@over_all_flows
def test_contexts_make_maps_of_their_own(cls):
    flow = made(cls, 2, 3)
    x, context = normal(5, 4, 1, 2), normal(7, 3, seed=2)
    f = flow.bijector(context)
    assert f.experimental_batch_shape(1) == (7,)
    y, log_det = f.forward(x), f.forward_log_det_jacobian(x, 1)
    assert y.shape == (5, 4, 7, 2)
    assert log_det.shape == (5, 4, 7)
    for j in range(7):
        one, alone = flow.bijector(context[j]), x[:, :, 0]
        np.testing.assert_allclose(one.forward(alone), y[:, :, j], atol=1e-10)
        np.testing.assert_allclose(
            one.forward_log_det_jacobian(alone, 1), log_det[:, :, j], atol=1e-10
        )
        np.testing.assert_allclose(one.forward(x[0, 0, 0]), y[0, 0, j], atol=1e-10)
    assert np.min(np.max(np.ptp(y, axis=2), axis=-1)) > 1e-3
    inverse = f.inverse(tf.identity(y))
    np.testing.assert_allclose(inverse, np.broadcast_to(x, y.shape), atol=1e-8)
    with tf.GradientTape() as tape:
        tape.watch(context)
        value = tf.reduce_sum(flow.bijector(context).forward_log_det_jacobian(x, 1))
    assert np.all(tape.gradient(value, context) != 0.0)


@over_all_flows
def test_all_weights_get_a_gradient(cls):
    """Of a new flow too, which would else start as one that cannot leave the identity."""
    flow = made(cls, 3, 2, scale=0, dtype="float32")
    x, context = normal(20, 3, dtype="float32"), normal(20, 2, seed=2, dtype="float32")
    for direction in ("forward", "inverse"):
        with tf.GradientTape() as tape:
            f = flow.bijector(context)
            image = getattr(f, direction)(x)
            log_det = getattr(f, f"{direction}_log_det_jacobian")(x, 1)
            value = tf.reduce_sum(tf.sin(image)) + tf.reduce_sum(log_det)
        gradients = tape.gradient(value, flow.trainable_variables)
        for variable, gradient in zip(flow.trainable_variables, gradients, strict=True):
            assert gradient is not None, variable.path
            assert np.all(np.isfinite(gradient)), variable.path
            assert np.any(gradient != 0.0), variable.path
    assert flow.weights == flow.trainable_weights


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
def test_eager_graph_and_xla_agree():
    flows = [made(cls, 3, 2, scale=0.5, dtype="float32") for cls in FLOWS]
    x, context = normal(5, 3, dtype="float32"), normal(5, 2, seed=2, dtype="float32")

    def run(x):
        results = []
        for flow in flows:
            f = flow.bijector(context)
            results += [f.forward(x), f.forward_log_det_jacobian(x, 1)]
            results += [f.inverse(x), f.inverse_log_det_jacobian(x, 1)]
        return results

    graph = tf.function(run, autograph=False, input_signature=[tf.TensorSpec([None, 3])])
    compiled = tf.function(run, autograph=False, jit_compile=True)
    for one, other, third in zip(run(x), graph(x), compiled(x), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(third, one, rtol=1e-4, atol=1e-5)


@over_all_flows
def test_no_input_or_context_overflows(cls):
    flow = made(cls, 3, 2, dtype="float32")
    ends = [-1e4, -5.0, 0.0, 5.0, 1e4]
    x = tf.constant(np.stack(np.meshgrid(ends, ends, ends), -1).reshape(-1, 1, 3), tf.float32)
    context = tf.constant(np.stack(np.meshgrid(ends, ends), -1).reshape(-1, 2), tf.float32)
    base = tfd.MultivariateNormalDiag(tf.zeros(3), tf.ones(3))
    for direction in ("forward", "inverse"):
        with tf.GradientTape() as tape:
            tape.watch([x, context])
            f = flow.bijector(context)
            image = getattr(f, direction)(x)  # [125, 25, 3]
            log_det = getattr(f, f"{direction}_log_det_jacobian")(x, 1)
            value = base.log_prob(image) + log_det
        gradients = tape.gradient(value, [x, context, *flow.trainable_variables])
        for found in (image, log_det, value, *gradients):
            assert np.all(np.isfinite(found))


@over_all_flows
def test_events_of_any_shape_are_vectors(cls):
    flow = made(cls, (2, 3))
    vector = made(cls, 6)
    vector.set_weights(flow.get_weights())
    x, f, g = normal(5, 2, 3), flow.bijector(), vector.bijector()
    y, flat = f.forward(x), tf.reshape(x, [5, 6])
    assert y.shape == (5, 2, 3)
    np.testing.assert_array_equal(tf.reshape(y, [5, 6]), g.forward(flat))
    np.testing.assert_array_equal(
        f.forward_log_det_jacobian(x, 2), g.forward_log_det_jacobian(flat, 1)
    )
    np.testing.assert_array_equal(
        tf.reshape(f.inverse(tf.identity(x)), [5, 6]), g.inverse(tf.identity(flat))
    )


@over_all_flows
def test_config_and_weights_round_trip(cls):
    flow = made(cls, 3, 2)
    x, context = normal(5, 3), normal(5, 2, seed=2)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(flow))
    assert type(copy) is cls
    assert copy.get_config() == flow.get_config()
    assert (copy.event_shape, copy.context_size) == ((3,), 2)
    copy.set_weights(flow.get_weights())
    np.testing.assert_array_equal(
        copy.bijector(context).forward(x), flow.bijector(context).forward(x)
    )
    unbuilt = FLOWS[cls]()
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(unbuilt))
    assert copy.event_shape is None
    assert copy.weights == []


@over_all_flows
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_flows_compute_in_no_half_precision(cls, policy):
    flow, x = made(cls, 2, scale=0.5, dtype=policy), normal(5, 2, dtype="float32")
    assert all(w.dtype == "float32" for w in flow.weights)
    expected = flow.bijector().forward(x)

    class Around(keras.layers.Layer):
        def call(self, inputs):
            return flow.bijector().forward(x)

    result = Around(dtype="mixed_float16")(tf.zeros([1]))
    assert result.dtype == tf.float32
    np.testing.assert_array_equal(result, expected)


@over_all_flows
def test_double_precision_is_not_rounded(cls):
    flow, x = made(cls, 2), normal(5, 2)
    y = flow.bijector().forward(x), flow.bijector().inverse(x)
    flow.set_weights([w + 1e-11 for w in flow.get_weights()])
    for before, after in zip(
        y, (flow.bijector().forward(x), flow.bijector().inverse(x)), strict=True
    ):
        assert 1e-13 < np.max(np.abs(after - before)) < 1e-8


def test_a_map_is_a_snapshot():
    flow, x = made(RealNVP, 2), normal(5, 2)
    f = flow.bijector()
    before = f.forward(tf.identity(x))
    flow.set_weights([2.0 * w for w in flow.get_weights()])
    np.testing.assert_array_equal(f.forward(tf.identity(x)), before)
    assert np.max(np.abs(flow.bijector().forward(x) - before)) > 1e-2


def test_results_have_the_precision_of_the_input():
    flow, x = made(RealNVP, 2, dtype="float32", scale=0.5), normal(5, 2)
    y = flow.bijector().forward(x)
    assert y.dtype == tf.float64
    np.testing.assert_allclose(flow.bijector().inverse(tf.identity(y)), x, atol=1e-6)


def test_wrong_use_is_explained():
    flow = RealNVP(2, [4], name="nvp")
    with pytest.raises(ValueError, match=r"'nvp' does not know the shape of its latents yet"):
        flow.bijector()
    flow.build(3, 2)
    flow.build((3,), 2)  # as before: nothing to say
    with pytest.raises(ValueError, match=r"context \[..., 2\]. Received: no context"):
        flow.bijector()
    with pytest.raises(ValueError, match=r"context \[..., 2\]. Received: .*shape \(5, 3\)"):
        flow.bijector(tf.zeros([5, 3]))
    with pytest.raises(ValueError, match=r"context \[..., 2\]. Received: .*shape \(\)"):
        flow.bijector(tf.zeros([]))
    with pytest.raises(ValueError, match=r"built for .*\(3,\).*size 2. Received: .*\(4,\)"):
        flow.build(4, 2)
    with pytest.raises(ValueError, match=r"Received: .*context_size=0"):
        flow.build(3)
    plain = RealNVP(2, [4])
    plain.build(3)
    with pytest.raises(ValueError, match=r"no context. Received: .*shape \(5, 3\)"):
        plain.bijector(tf.zeros([5, 3]))
    with pytest.raises(ValueError, match=r"no context. Received: .*shape \(5, 0\)"):
        plain.bijector(tf.zeros([5, 0]))
    for size in (-1, 1.5):
        with pytest.raises(ValueError, match=rf"`context_size` must be .*context_size={size}"):
            RealNVP().build(3, size)
    with pytest.raises(ValueError, match=r"`num_transforms` must be.*num_transforms=0"):
        MaskedAutoregressive(0)
    with pytest.raises(ValueError, match=r"`hidden_units` must be.*hidden_units=-3"):
        RealNVP(hidden_units=[8, -3])
    with pytest.raises(NotImplementedError):
        Flow().build(3)


def wave(num: int, seed: int) -> np.ndarray:
    """Returns draws `[N, 2]`: a wave with normal noise around it."""
    generator = np.random.default_rng(seed)
    first = generator.normal(size=num)
    second = 1.5 * np.sin(2.0 * first) + 0.3 * generator.normal(size=num)
    return np.stack([first, second], axis=-1).astype("float32")


@pytest.mark.slow
def test_flows_fit_a_known_density():
    """Nats of held-out points, against the entropy log(2 pi e) + log 0.3."""
    entropy = math.log(2 * math.pi * math.e) + math.log(0.3)
    train, held_out = wave(20_000, seed=0), wave(20_000, seed=1)
    # Those that are for densities.
    flows = [cls(2, [32, 32]) for cls in (RealNVP, NeuralSpline, MaskedAutoregressive)]
    for flow in flows:
        flow.build(2)
    base = tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-3, 400))
    weights = [w for flow in flows for w in flow.trainable_weights]
    optimizer.build(weights)

    def nats(x):
        return [-tfd.TransformedDistribution(base, flow.bijector()).log_prob(x) for flow in flows]

    @tf.function(autograph=False)
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.add_n([tf.reduce_mean(each) for each in nats(x)])
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))

    before = [w.numpy() for w in weights]
    for batch in np.random.default_rng(2).integers(0, len(train), (400, 256)):
        step(tf.constant(train[batch]))
    assert all(np.any(w.numpy() != old) for w, old in zip(weights, before, strict=True))
    for flow, found in zip(flows, nats(held_out), strict=True):
        error = np.std(found) / np.sqrt(len(found))
        excess = np.mean(found) - entropy  # KL(p || flow), plus noise
        # Where they start, at a standard normal, it is more than a nat.
        assert -5 * error < excess < 0.1, type(flow).__name__
