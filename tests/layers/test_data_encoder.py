"""Features of rows, worked out by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfvae import layers
from tfvae.layers import DataEncoder

NAN = np.nan


def columns():
    return {
        "height": layers.IndependentNormal(),
        "share": layers.IndependentBeta(),
        "income": layers.IndependentLogNormal(),
        "visits": layers.IndependentPoisson(2),
        "colour": layers.IndependentCategorical((), levels=3),
        "grade": layers.DiscretizedLogistic(levels=6, low=1.0, high=6.0),
    }


def table(num=500):
    rng = np.random.default_rng(0)
    x = np.stack(
        [
            rng.normal(170.0, 10.0, num),
            rng.beta(2.0, 3.0, num),
            rng.lognormal(11.0, 1.0, num),
            rng.poisson(3.0, num),
            rng.poisson(50.0, num),
            rng.integers(0, 3, num),
            rng.integers(1, 7, num),
        ],
        axis=1,
    )
    return np.where(rng.uniform(size=x.shape) < 0.2, NAN, x)


def by_hand(x, data):
    def transformed(x):
        return np.concatenate([x[:, :2], np.log(x[:, 2:3]), np.log1p(x[:, 3:5]), x[:, 6:]], axis=1)

    known = transformed(data)
    real = (transformed(x) - np.nanmean(known, axis=0)) / np.nanstd(known, axis=0)
    one_hot = (x[:, 5:6] == np.arange(3)).astype(float)
    parts = [real[:, :5], one_hot, real[:, 5:], np.isnan(x).astype(float)]
    return np.nan_to_num(np.concatenate(parts, axis=1))


@pytest.mark.xla
def test_each_column_becomes_what_its_family_asks_for():
    x = table()
    encoder = DataEncoder(columns())
    kinds = ["real", "real", "log", "log1p", 3, "real"]
    assert [kind for _, kind, _ in encoder.columns] == kinds
    encoder.adapt(x)
    features = encoder(x)
    assert features.shape == (500, 5 + 3 + 1 + 7) == encoder.compute_output_shape(x.shape)
    np.testing.assert_allclose(features, by_hand(x, x), rtol=1e-4, atol=1e-4)
    without = DataEncoder(columns(), indicators=False)
    without.adapt(x)
    np.testing.assert_array_equal(without(x), features[:, :9])
    for call in (tf.function(encoder), tf.function(encoder, jit_compile=True)):
        np.testing.assert_allclose(call(x.astype("float32")), features, rtol=1e-4, atol=1e-4)


def test_batches_and_the_whole_adapt_alike():
    x = table()
    x[:60, 0] = NAN  # the first batch knows nothing of this column
    x[:, 0] += 1e6  # sums of squares would lose this spread in single precision
    slices = tf.data.Dataset.from_tensor_slices
    forms = [
        (x, {}),
        (x, {"batch_size": 50}),
        (slices(x).batch(60), {}),
        (slices((x, np.zeros(500))).batch(70), {}),
    ]
    for data, arguments in forms:
        encoder = DataEncoder(columns())
        encoder.adapt(data, **arguments)
        np.testing.assert_allclose(encoder.mean[0], np.nanmean(x[:, 0]), rtol=1e-6)
        np.testing.assert_allclose(encoder.scale[0], np.nanstd(x[:, 0]), rtol=1e-5)
        np.testing.assert_allclose(encoder.scale[3], np.nanstd(np.log1p(x[:, 3])), rtol=1e-5)


def test_columns_without_entries_or_spread_keep_their_numbers():
    encoder = DataEncoder({"none": "real", "same": "real", "count": "log1p"})
    encoder.adapt(np.array([[NAN, 4.0, 0.0], [NAN, 4.0, np.e - 1]]))
    np.testing.assert_allclose(encoder.mean, [0.0, 4.0, 0.5])
    np.testing.assert_allclose(encoder.scale, [1.0, 1.0, 0.5])
    features = encoder(tf.constant([[3.0, 5.0, 0.0], [NAN, NAN, NAN]]))
    np.testing.assert_allclose(features[0], [3.0, 1.0, -1.0, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(features[1], [0, 0, 0, 1, 1, 1])


def test_before_adapt_numbers_pass_and_any_type_is_read():
    encoder = DataEncoder({"a": "real", "b": 2, "c": (3, 2), "d": ("real", 2)})
    x = np.array([[7, 1, 0, 2, 5, 6]])
    expected = [[7, 0, 1, 1, 0, 0, 0, 0, 1, 5, 6, *[0] * 6]]
    for dtype in ("int64", "uint8", "float16", "float64", "float32"):
        np.testing.assert_array_equal(encoder(tf.constant(x, dtype)), expected)
    # Leading axes are kept, and numbers that are no category are none of them.
    wide = encoder(tf.constant(np.tile(x, (2, 3, 1)), "float32"))
    assert wide.shape == (2, 3, 17)
    assert DataEncoder({"b": 2})(tf.constant([[5.0]])).numpy().tolist() == [[0.0, 0.0, 0.0]]


def test_half_precision_holds_large_numbers():
    encoder = DataEncoder({"income": "real"}, dtype="mixed_float16")
    encoder.adapt(np.array([[100_000.0], [300_000.0]]))
    inputs = keras.Input((1,))
    model = keras.Model(inputs, encoder(inputs))
    features = model(np.array([[400_000.0]], "float32"))
    assert features.dtype == tf.float16
    np.testing.assert_allclose(features, [[2.0, 0.0]])


def test_statistics_and_description_are_stored(tmp_path):
    x = table().astype("float32")
    encoder = DataEncoder(columns(), name="rows")
    encoder.adapt(x)
    copy = DataEncoder.from_config(encoder.get_config())
    assert copy.get_config() == encoder.get_config()
    model = keras.Sequential([keras.Input((7,)), encoder, keras.layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))
    assert [weight.name for weight in encoder.non_trainable_weights] == ["mean", "scale"]


def test_no_gradient_is_nan():
    encoder = DataEncoder(columns())
    encoder.adapt(table())
    x = tf.constant(np.concatenate([table(20), np.full([1, 7], NAN)]), tf.float32)
    values = [encoder.mean.value, encoder.scale.value]
    with tf.GradientTape() as tape:
        tape.watch(values)
        features = encoder(x)
    for gradient in tape.gradient(features, values):
        assert np.all(np.isfinite(gradient))


BAD = {
    "empty": ({}, r"must be a dict from name to layer"),
    "word": ({"a": "ordinal"}, r"^Column 'a' must be given as .*'real', 'log', 'log1p'.*'ordinal'"),
    "no levels": ({"a": 0}, r"^Column 'a' must be given as .*Received: 0"),
    "no columns": ({"a": ("real", 0)}, r"^Column 'a' must be given as .*Received: \('real', 0\)"),
    "twice": ([("a", "real"), ("a", 2)], "must differ"),
}


@pytest.mark.parametrize(("given", "message"), BAD.values(), ids=BAD)
def test_bad_columns(given, message):
    with pytest.raises(ValueError, match=message):
        DataEncoder(given)


def test_bad_data():
    encoder = DataEncoder({"a": "real", "b": "log"}, name="rows")
    message = r"Layer 'rows' reads rows of 2 columns. Received: shape=\({}"
    with pytest.raises(ValueError, match=message.format("4, 3")):
        encoder(np.zeros([4, 3]))
    with pytest.raises(ValueError, match=message.format("4, 3")):
        encoder.adapt(np.zeros([4, 3]))
    with pytest.raises(ValueError, match=message.format(r"2,\)")):
        encoder.adapt([np.ones(2)])
    with pytest.raises(ValueError, match="reads rows of 2 columns"):
        keras.Sequential([keras.Input((5,)), encoder])
    for bad in ([[np.inf, 1.0]], [[0.0, 0.0]], [[0.0, -1.0]]):
        with pytest.raises(ValueError, match="infinite values, or values of a column that are too"):
            encoder.adapt(np.array(bad))
    for empty in (np.zeros([0, 2]), []):
        with pytest.raises(ValueError, match="`data` is empty"):
            encoder.adapt(empty)
