"""Masked convolutions: which pixel sees which, and images made pixel by pixel."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.networks.test_made import normal
from tfvae.networks import GatedPixelCNN


def network(params=2, shape=None, **options):
    options = {"filters": 4, "num_blocks": 2, "first_kernel_size": 3, **options}
    return GatedPixelCNN(params, shape, bias_initializer="normal", **options)


def dependence(net, x, context=None):
    """Returns which value depends on which, `[H, W, C, H, W, C]`, and on which context."""
    event = x.shape[1:]
    size = np.prod(event)
    # A copy of the inputs for each value, which alone is differentiated there.
    given = [x] if context is None else [x, context]
    inputs = [tf.repeat(tf.constant(value)[None], size, axis=0) for value in given]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        values = tf.reduce_sum(net(*inputs), axis=[1, -1])  # [H * W * C, H, W, C]
        own = tf.linalg.trace(tf.reshape(values, [size, size]))
    jacobians = [np.reshape(j, [*event, *j.shape[1:]]) for j in tape.gradient(own, inputs)]
    return [np.any(np.abs(j) > 0.0, axis=3) for j in jacobians]


def reached(height, width, channels, first, reach, num_blocks):
    """Returns the same from the definition, one convolution after the other, on pixels alone."""
    rows, columns = np.mgrid[:height, :width]
    i, j = rows.reshape(-1, 1), columns.reshape(-1, 1)
    up, across = i - i.T, j - j.T  # [pixel, pixel seen]
    above = (up >= 1) & (up <= first) & (abs(across) <= first)
    left = (up == 0) & (across >= 1) & (across <= first)
    around = ((up >= 0) & (up <= reach) & (abs(across) <= reach)).astype(int)
    before = ((up == 0) & (across >= 0) & (across <= reach)).astype(int)
    for _ in range(num_blocks):
        above = (around @ above) > 0
        left = ((before @ left) > 0) | above | left
    left = left.reshape(height, width, 1, height, width, 1)
    same = np.eye(height * width, dtype=bool).reshape(left.shape)
    channel = np.tril(np.ones([channels, channels], bool), -1)[:, None, None]
    return left | (same & channel)  # [H, W, C, H, W, C]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "first", "num_blocks", "kernel"),
    [((5, 6, 1), 3, 2, 3), ((4, 5, 3), 5, 1, 3), ((3, 7, 1), 3, 1, 5)],
)
def test_values_depend_on_exactly_the_values_before_within_reach(shape, first, num_blocks, kernel):
    # Of few units some pixel sees none at work.
    net = network(first_kernel_size=first, num_blocks=num_blocks, kernel_size=kernel, filters=16)
    (found,) = dependence(net, normal(4, *shape))
    expected = reached(*shape, first // 2, kernel // 2, num_blocks)
    np.testing.assert_array_equal(found, np.broadcast_to(expected, found.shape))
    # In raster order nothing but zeros on the diagonal and after it.
    flat = found.reshape(np.prod(shape), -1)
    assert not np.any(np.triu(flat))
    assert np.any(flat)


@pytest.mark.slow
def test_all_earlier_pixels_within_reach_there_is_no_blind_spot():
    """The first PixelCNN missed a wedge of pixels above and to the right."""
    shape = (4, 4, 2)
    net = network(num_blocks=3, filters=16)
    found, by_context = dependence(net, normal(4, *shape), normal(4, 3, seed=1))
    assert np.array_equal(found.reshape(32, 32), np.tril(np.ones([32, 32], bool), -1))
    assert by_context.shape == (*shape, 3)
    assert np.all(by_context)


def test_any_leading_axes():
    net = network(3, (4, 5, 2), context_size=2)
    x, context = normal(3, 2, 4, 5, 2), normal(2, 2, seed=1)
    whole = net(x, context=context)
    assert whole.shape == (3, 2, 4, 5, 2, 3)
    one = net(x[1, 1], context=context[1])
    assert one.shape == (4, 5, 2, 3)
    np.testing.assert_allclose(whole[1, 1], one, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(net(x[1, 1], context=context)[1], one, rtol=1e-5, atol=1e-5)
    symbolic = net(keras.KerasTensor((None, 4, 5, 2)), keras.KerasTensor((None, 2)))
    assert symbolic.shape == (None, 4, 5, 2, 3)
    assert net((x > 0).astype("int32"), context=context).dtype == tf.float32


@pytest.mark.slow
@pytest.mark.parametrize(
    "compiled", [False, pytest.param(True, marks=pytest.mark.xla)], ids=["eager", "XLA"]
)
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((4, 5, 1), {"context_size": 2, "first_kernel_size": 5, "input_range": (0.0, 3.0)}),
        ((3, 2, 3), {"kernel_size": 5}),
    ],
)
def test_generated_images_are_those_of_whole_passes(shape, options, compiled):
    """Of x[i] = f(i, net(x)[i]) there is one solution, found step by step."""
    net, num = network(2, shape, **options), 3
    context = normal(2, options.get("context_size", 0))
    net.build((None, *shape), context.shape)
    noise = tf.constant(normal(int(np.prod(shape)), num, 2, seed=2))

    def draw(step, params):
        return params[..., 0] + tf.exp(params[..., 1]) * noise[step]

    def generate(context):
        return net.generate(draw, num, context)

    x = tf.function(generate, jit_compile=True)(context) if compiled else generate(context)
    assert x.shape == (num, 2, *shape)
    params = tf.reshape(net(x, context=context), [num, 2, -1, 2])
    expected = [draw(step, params[:, :, step]) for step in range(params.shape[2])]
    expected = tf.reshape(tf.stack(expected, axis=-1), x.shape)
    np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_generation_has_gradients():
    net, context = network(1, (2, 3, 2), context_size=2, filters=6), tf.constant(normal(2, 2))
    net.build((None, 2, 3, 2), (None, 2))
    values = [w.value for w in net.trainable_weights]

    @tf.function
    def total(context):
        with tf.GradientTape() as tape:
            tape.watch(context)
            x = net.generate(lambda step, p: p[..., 0] + 0.1, 2, context)
            total = tf.reduce_sum(x)
        return total, tape.gradient(total, [context, *values])

    _, gradients = total(context)
    assert all(np.any(g != 0.0) for g in gradients)
    shift = normal(2, 2, seed=5)
    up, down = (float(total(context + e * shift)[0]) for e in (1e-2, -1e-2))
    slope = float(tf.reduce_sum(gradients[0] * shift))
    assert slope == pytest.approx((up - down) / 2e-2, rel=1e-2, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("context_size", [None, 2])
def test_files(context_size, tmp_path):
    x, context = normal(3, 4, 4, 1), normal(3, 2)
    net = network(kernel_initializer=keras.initializers.HeNormal(3), kernel_regularizer="l2")
    inputs = [keras.Input((4, 4, 1)), keras.Input((2,))]
    given = inputs if context_size else inputs[:1]
    model = keras.Model(given, net(*given))
    values = [x, context] if context_size else [x]
    expected = model(values)
    model.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")  # in safe mode
    np.testing.assert_array_equal(loaded(values), expected)
    copy = GatedPixelCNN.from_config(net.get_config())
    assert copy.get_config() == net.get_config()
    # All weights are found by Keras, and trained; kernels start with values of their own.
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(model(values)))
    weights = net.trainable_weights
    gradients = tape.gradient(loss, [w.value for w in weights])
    assert all(np.any(g != 0.0) for g in gradients)
    kernels = [w for w in weights if "bias" not in w.path]
    assert len(net.losses) == len(kernels) == 2 + 2 * (6 if context_size else 4) + 3
    assert len({float(tf.reshape(w, [-1])[-1]) for w in kernels}) == len(kernels)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GatedPixelCNN(0), "Received: params=0"),
        (lambda: GatedPixelCNN(1, (4, 4)), r"\(height, width, channels\).*event_shape=\(4, 4\)"),
        (lambda: GatedPixelCNN(1, filters=0), "Received: filters=0"),
        (lambda: GatedPixelCNN(1, num_blocks=0), "Received: num_blocks=0"),
        (lambda: GatedPixelCNN(1, kernel_size=4), "odd number >= 3. Received: kernel_size=4"),
        (lambda: GatedPixelCNN(1, first_kernel_size=1), "Received: first_kernel_size=1"),
        (lambda: GatedPixelCNN(1, context_size=-1), "Received: context_size=-1"),
        (
            lambda: GatedPixelCNN(1, (4, 4, 1))(np.zeros([2, 4, 5, 1])),
            r"Expected: \[..., 4, 4, 1\]. Received: x of shape \(2, 4, 5, 1\)",
        ),
        (lambda: GatedPixelCNN(1)(np.zeros([2, 4])), r"H, W, C\]. Received: x of shape \(2, 4\)"),
        (
            lambda: network(1, (4, 4, 1), context_size=2)(np.zeros([2, 4, 4, 1])),
            "must hold 2 values in its last axis. Received: none",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
