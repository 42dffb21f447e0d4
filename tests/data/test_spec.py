"""Data in every form is named, checked and packed by one description."""

import numpy as np
import pytest
import tensorflow as tf

from tfvae.data.spec import DataSpec
from tfvae.distributions.support import Support

ONE = DataSpec(("x",), shapes={"x": (6,)}, supports={"x": Support("Bernoulli", 0.0, 1.0)})
SEVERAL = DataSpec(
    ("image", "size"),
    ("y",),
    takes_context=True,
    shapes={"image": (2, 3), "size": (), "y": (3,)},
    supports={
        "image": Support("Bernoulli", 0.0, 1.0),
        "size": Support("Normal"),
        "y": Support("OneHot", 0.0, 1.0, one_hot=True, missing=True),
    },
    context_shape=(2,),
)
PARTS = {
    "image": np.arange(24.0, dtype="float32").reshape(4, 2, 3) % 2,
    "size": np.array([0.5, -1.0, 2.0, 0.0], "float32"),
    "y": np.array([2, -1, 0, -1]),
    "context": np.ones([4, 2], "float32"),
}


def test_what_is_packed_is_unpacked():
    batch = SEVERAL.as_batch(PARTS)
    assert batch["x"].shape == (4, 6 + 1 + 3)
    parts = SEVERAL.as_parts(batch)
    for name in ("image", "size", "context"):
        np.testing.assert_array_equal(parts[name], PARTS[name])
    nan = [np.nan] * 3
    np.testing.assert_array_equal(parts["y"], [[0, 0, 1], nan, [1, 0, 0], nan])
    again = SEVERAL.as_batch(parts)
    np.testing.assert_array_equal(again["x"], batch["x"])
    found = SEVERAL.observed_parts(batch["x"][:, :7])
    np.testing.assert_array_equal(found["size"], PARTS["size"])


def test_numbers_that_tensorflow_does_not_have_are_taken_in_64_bits():
    wide = {name: part.astype(np.longdouble) for name, part in PARTS.items()}
    batch, expected = SEVERAL.as_batch(SEVERAL.named(wide)), SEVERAL.as_batch(PARTS)
    for name, part in expected.items():
        np.testing.assert_array_equal(batch[name], part)


def test_labels_may_be_left_out():
    without = {name: part for name, part in PARTS.items() if name != "y"}
    assert np.all(np.isnan(SEVERAL.as_batch(without)["x"][:, 7:]))


def test_one_part_stays_as_it_is():
    x = np.zeros([3, 6], "int64")
    assert ONE.named(x) == {"x": x} or ONE.named(x)["x"] is x
    assert ONE.as_batch({"x": x})["x"] is x
    assert (ONE.event_shape, ONE.support.likelihood) == ((6,), "Bernoulli")
    assert ONE.specs()["x"].shape.as_list() == [None, 6]
    assert ONE.batch_specs()["x"].shape.as_list() == [2, 6]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": None}, r"dict of image, size, and where known context, y. Received.*'size'"),
        ({"other": np.ones(4)}, r"dict of image, size.*Received: .*'other'"),
    ],
)
def test_other_names_are_refused(change, message):
    parts = {name: part for name, part in {**PARTS, **change}.items() if part is not None}
    with pytest.raises(ValueError, match=message):
        SEVERAL.named(parts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": np.ones(3, "float32")}, "as many rows of each part"),
        ({"image": np.full([4, 2, 3], 2.0)}, r'`data\["image"\]` lies outside'),
        ({"y": np.array([3, 0, 0, 0])}, r'`data\["y"\]` lies outside'),
        ({"context": np.ones([4, 3])}, "`context` does not have the shape"),
    ],
)
def test_arrays_are_checked_by_part(change, message):
    with pytest.raises(ValueError, match=message):
        SEVERAL.check_arrays({**PARTS, **change}, "data")


def test_batches_are_checked_when_they_come():
    parts = {name: tf.constant(part) for name, part in PARTS.items()}
    batch, _ = SEVERAL.checked_batch(parts)
    np.testing.assert_array_equal(batch["x"], SEVERAL.as_batch(PARTS)["x"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="`size` holds NaN"):
        SEVERAL.checked_batch({**parts, "size": tf.fill([4], float("nan"))})
    short = {**parts, "size": parts["size"][:3]}
    message = "^.*<tfvae>Here: `size` must have one row per row of `image`. Received: 3 rows for 4"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        SEVERAL.checked_batch(short, "Here: ")
