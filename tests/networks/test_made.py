"""Masked dense networks: which output sees which input, and elements made one after the other."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.conftest import slow_but
from tfvae.networks import MADE

ORDERS = ["left-to-right", "right-to-left", "random", [3, 1, 5, 2, 4]]


def dependence(function, x):
    """Returns which output `[I]` of `[B, I, P]` depends on which input `[J]`, from Jacobians."""
    x = tf.constant(x)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = function(x)
    jacobian = tape.batch_jacobian(y, x, experimental_use_pfor=False).numpy()  # [B, I, P, J]
    return np.any(jacobian != 0.0, axis=(0, 2))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.slow
@pytest.mark.parametrize("hidden_degrees", slow_but("equal", of=["equal", "random"]))
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_outputs_depend_on_exactly_the_elements_before(order, hidden_degrees):
    for context_size in (0, 2):
        made = MADE(
            3,
            5,
            hidden_units=[40, 40],
            context_size=context_size,
            input_order=order,
            hidden_degrees=hidden_degrees,
            activation="tanh",
            seed=4,
        )
        x, context = normal(4, 5), normal(4, context_size, seed=1)
        found = dependence(lambda x, c=context, made=made: made(x, context=c), x)
        places = made.order
        np.testing.assert_array_equal(found, places[None, :] < places[:, None])
        np.testing.assert_array_equal(np.sort(places), np.arange(1, 6))
        first = made(x, context=context[:1])[:, np.argmin(places)]
        np.testing.assert_array_equal(first, np.broadcast_to(first[:1], first.shape))
        if context_size:
            reached = dependence(lambda c, x=x, made=made: made(x, context=c), context)
            assert np.all(reached)


def test_orders_are_the_declared_ones():
    assert MADE(1, 4).order.tolist() == [1, 2, 3, 4]
    assert MADE(1, 4, input_order="right-to-left").order.tolist() == [4, 3, 2, 1]
    assert MADE(1, 4, input_order=(2, 1, 4, 3)).order.tolist() == [2, 1, 4, 3]
    shuffled = [MADE(1, 40, input_order="random", seed=seed).order.tolist() for seed in (1, 1, 2)]
    assert shuffled[0] == shuffled[1] != shuffled[2]


def test_hidden_units_see_a_context_before_all_elements():
    """Without them the first element would be linear in the context."""
    made = MADE(1, 3, hidden_units=[12], context_size=1, activation="tanh")
    contexts = np.linspace(-1.0, 1.0, 3, dtype="float32")[:, None]
    first = made(np.zeros([3, 3], "float32"), context=contexts)[:, 0, 0]
    made.masked_layers[0].bias.assign(normal(12))
    bent = made(np.zeros([3, 3], "float32"), context=contexts)[:, 0, 0]
    assert abs(bent[0] + bent[2] - 2 * bent[1]) > 1e-3
    assert first.shape == (3,)
    one = MADE(2, 1, hidden_units=[8], context_size=1, activation="tanh")
    assert np.all(dependence(lambda c: one(np.zeros([3, 1], "float32"), context=c), contexts))


@pytest.mark.parametrize("order", ORDERS[:2] + ORDERS[3:], ids=str)
def test_is_the_network_of_tfp(order):
    """The same weights in TFP's network, of the legacy Keras, give the same parameters."""
    arguments = {"hidden_units": [7, 9], "input_order": order, "activation": "tanh"}
    theirs = tfp.bijectors.AutoregressiveNetwork(params=2, event_shape=5, **arguments)
    ours = MADE(params=2, event_shape=5, **arguments)
    x = normal(3, 2, 5)
    ours.build(x.shape)
    theirs.build((None, 5))
    values = [normal(*weight.shape, seed=i) for i, weight in enumerate(ours.weights)]
    ours.set_weights(values)
    # Theirs masks a kernel when it is assigned by an optimizer, so it gets masked ones.
    masks = [layer.mask for layer in ours.masked_layers]
    for i, variable in enumerate(theirs.trainable_variables):
        variable.assign(values[i] * masks[i // 2] if i % 2 == 0 else values[i])
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    for layer, kernel in zip(MADE(2, 5, **arguments).masked_layers, values[::2], strict=False):
        assert tuple(layer.kernel.shape) == kernel.shape


def test_a_range_is_seen_from_minus_one_to_one():
    options = {"hidden_units": [6], "activation": "tanh"}
    made = MADE(2, 3, **options, input_range=(0, 255))
    plain = MADE(2, 3, **options)
    x = np.array([[0, 255, 127.5], [51, 0, 255]], "float32")
    made.build(x.shape)
    plain.build(x.shape)
    plain.set_weights(made.get_weights())
    expected = plain(np.array([[-1, 1, 0], [-0.6, -1, 1]], "float32"))
    np.testing.assert_allclose(made(x), expected, rtol=1e-5, atol=1e-6)


def test_any_leading_axes():
    made = MADE(2, hidden_units=[6], activation="relu", context_size=2)
    x, context = normal(4, 3, 5), normal(3, 2, seed=1)
    whole = made(x, context=context)
    assert whole.shape == (4, 3, 5, 2)
    one = made(x[1, 2], context=context[2])
    assert one.shape == (5, 2)
    np.testing.assert_allclose(whole[1, 2], one, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        made(x[1, 2], context=context)[2], one, rtol=1e-5, atol=1e-6
    )  # a context alone has axes
    assert made(keras.KerasTensor((None, 5)), keras.KerasTensor((None, 2))).shape == (None, 5, 2)
    assert made(x.astype("int32"), context=context).dtype == tf.float32


@pytest.mark.parametrize(
    "compiled",
    [False, pytest.param(True, marks=[pytest.mark.xla, pytest.mark.slow])],
    ids=["eager", "XLA"],
)
@pytest.mark.parametrize(
    ("size", "options"),
    [
        (5, {"hidden_units": [8, 7], "input_order": "random", "hidden_degrees": "random"}),
        (
            5,
            {
                "hidden_units": [3],
                "context_size": 2,
                "input_order": [3, 1, 5, 2, 4],
                "input_range": (-1.0, 3.0),
            },
        ),
        (6, {"hidden_units": [4, 30, 9], "context_size": 3, "input_order": "right-to-left"}),
        (4, {"context_size": 1, "use_bias": False}),
        (1, {"hidden_units": [3], "context_size": 2}),
        (1, {"hidden_units": [3]}),
    ],
)
def test_generated_elements_are_those_of_whole_passes(size, options, compiled):
    """Of x[i] = f(i, made(x)[i]) there is one solution, found step by step."""
    made = MADE(2, size, activation="tanh", bias_initializer="normal", seed=3, **options)
    num, context = 3, normal(2, options.get("context_size", 0))
    made.build((None, size), context.shape)
    noise = tf.constant(normal(size, num, 2, seed=2))

    def draw(step, params):
        return params[..., 0] + tf.exp(params[..., 1]) * noise[step]

    def generate(context):
        return made.generate(draw, num, context)

    x = tf.function(generate, jit_compile=True)(context) if compiled else generate(context)
    assert x.shape == (num, 2, size)
    params = made(x, context=context)
    expected = np.empty([num, 2, size], "float32")
    for i, place in enumerate(made.order):
        expected[..., i] = draw(place - 1, params[..., i, :])
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-5)


def test_generation_has_gradients():
    made = MADE(1, 4, hidden_units=[9], context_size=2, activation="tanh")
    context = tf.constant(normal(2, 2))
    with tf.GradientTape() as tape:
        made.build((None, 4), (None, 2))
        tape.watch(context)
        x = made.generate(lambda step, p: p[..., 0] + 0.1, 2, context)
    gradients = tape.gradient(x, [context, *(w.value for w in made.trainable_weights)])
    assert all(np.any(g != 0.0) for g in gradients)
    # Against differences, in one direction of the context.
    shift, up = normal(2, 2, seed=5), []
    for epsilon in (1e-2, -1e-2):
        moved = made.generate(lambda step, p: p[..., 0] + 0.1, 2, context + epsilon * shift)
        up.append(float(tf.reduce_sum(moved)))
    slope = float(tf.reduce_sum(gradients[0] * shift))
    assert slope == pytest.approx((up[0] - up[1]) / 2e-2, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("context_size", [None, 2])
def test_files(context_size, tmp_path):
    x, context = normal(3, 5), normal(3, 2)
    made = MADE(
        2,
        hidden_units=[6],
        input_order="random",
        hidden_degrees="random",
        activation="relu",
        kernel_initializer=keras.initializers.HeNormal(),
        kernel_regularizer=keras.regularizers.L2(0.1),
    )
    inputs = [keras.Input((5,)), keras.Input((2,))]
    given = inputs if context_size else inputs[:1]
    model = keras.Model(given, made(*given))
    values = [x, context] if context_size else [x]
    model.save(tmp_path / "made.keras")
    loaded = keras.models.load_model(tmp_path / "made.keras")  # in safe mode
    np.testing.assert_array_equal(loaded(values), model(values))
    assert len(made.losses) == (4 if context_size else 2)
    copy = MADE.from_config(made.get_config())
    assert copy.get_config() == made.get_config()
    np.testing.assert_array_equal(copy.order, made.order)
    layer = made.masked_layers[0]
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


def test_kernels_start_with_values_of_their_own():
    made = MADE(1, 6, hidden_units=[6, 6], context_size=6, kernel_initializer=seeded())
    made.build((None, 6), (None, 6))
    kernels = [w.numpy() for w in made.weights if "kernel" in w.path]
    drawn = [kernel[-1, -1] for kernel in kernels if kernel[-1, -1] != 0.0]
    assert len(set(drawn)) == len(drawn) >= 5


def seeded():
    return keras.initializers.RandomNormal(seed=7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MADE(0), "`params` must be a whole number >= 1. Received: params=0"),
        (lambda: MADE(1, (2, 3)), r"one int, the number of elements.*event_shape=\(2, 3\)"),
        (lambda: MADE(1, 3, hidden_units=[4, 0]), "Received: hidden_units=0"),
        (lambda: MADE(1, 3, context_size=-1), "Received: context_size=-1"),
        (lambda: MADE(1, 3, input_range=(1, 1)), r"Received: input_range=\(1, 1\)"),
        (lambda: MADE(1, 3, input_order="zigzag"), "from 1 to 3. Received: input_order='zigzag'"),
        (lambda: MADE(1, 3, input_order=[0, 1, 2]), r"Received: input_order=\[0, 1, 2\]"),
        (lambda: MADE(1, input_order=[1, 1])(np.zeros([2, 2])), r"input_order=\[1, 1\]"),
        (lambda: MADE(1, 3, hidden_degrees="some"), "Received: hidden_degrees='some'"),
        (lambda: MADE(1).order, "does not know its number of elements"),
        (lambda: MADE(1, 3)(np.zeros([2, 4])), r"\[..., 3\]. Received: x of shape \(2, 4\)"),
        (
            lambda: MADE(1, 3, context_size=2)(np.zeros([2, 3])),
            "must hold 2 values in its last axis. Received: none",
        ),
        (
            lambda: MADE(1, 3, context_size=0)(np.zeros([2, 3]), context=np.zeros([2, 1])),
            r"built without a context. Received: context of shape \(2, 1\)",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_outputs_may_start_near_zero():
    near_zero = keras.initializers.RandomNormal(stddev=1e-3)
    made = MADE(2, 3, hidden_units=[32], context_size=2, output_initializer=near_zero)
    x, context = np.ones([5, 3], "float32"), np.ones([5, 2], "float32")
    assert 0.0 < np.max(np.abs(made(x, context))) < 0.05
    copy = MADE.from_config(made.get_config())
    assert copy.get_config() == made.get_config()
    assert copy.output_initializer.stddev == 1e-3


def test_categories_are_seen_as_one_hot_vectors():
    made = MADE(3, 4, hidden_units=[8], levels=3, input_order=[2, 1, 4, 3], seed=0)
    made.build((4,))
    x = np.random.default_rng(0).integers(0, 3, (5, 4))
    first, last = made.masked_layers
    one_hot = np.eye(3, dtype="float32")[x].reshape(5, 12)
    hidden = one_hot @ first.masked_kernel() + first.bias
    expected = (hidden @ last.masked_kernel() + last.bias).numpy().reshape(5, 4, 3)
    np.testing.assert_allclose(made(x), expected, atol=1e-6)
    np.testing.assert_allclose(made.from_features(one_hot), expected, atol=1e-6)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert copy.get_config() == made.get_config()

    def best(step, params):  # the most probable category, which is then seen by the next
        return tf.cast(tf.argmax(params, axis=-1), tf.float32)

    drawn = made.generate(best, 1, tf.zeros([1, 0]))[0]
    np.testing.assert_array_equal(tf.argmax(made(drawn), axis=-1), drawn)
