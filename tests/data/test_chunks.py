"""Data in chunks of one size."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import analytic
from tfvae.data.chunks import Chunks


class Batches(keras.utils.PyDataset):
    """Batches of three, with labels."""

    def __init__(self, x):
        super().__init__()
        self.x = x

    def __len__(self):
        return -(-len(self.x) // 3)

    def __getitem__(self, index):
        return self.x[3 * index : 3 * index + 3], np.zeros(3)


FORMS = {
    "array": lambda x: x,
    "tuple": lambda x: (x, np.zeros(len(x))),
    "tensor": tf.constant,
    "dataset": lambda x: tf.data.Dataset.from_tensor_slices(x).batch(3),
    "dataset of pairs": lambda x: tf.data.Dataset.from_tensor_slices((x, x)).batch(3),
    "sequence": Batches,
}


@pytest.mark.parametrize("form", FORMS)
def test_chunks_are_of_one_size_and_hold_every_point_once_each_time(form):
    model = analytic.LinearGaussian.random()
    x = model.draw(8)
    stream = Chunks(model.vae(), FORMS[form](x), batch_size=3)
    for _ in range(2):
        chunks = list(stream)
        assert [chunk["x"].shape for chunk, _ in chunks] == [(3, 5)] * 3
        assert [count for _, count in chunks] == [3, 3, 2]
        read = np.concatenate([chunk["x"][:count] for chunk, count in chunks])
        np.testing.assert_array_equal(read, x)
        # What fills the last chunk is data of its own: no zeros that a likelihood may refuse.
        np.testing.assert_array_equal(chunks[-1][0]["x"][2], x[6])
        assert stream.num_points == 8


def test_short_data_is_not_filled_up():
    model = analytic.LinearGaussian.random()
    ((chunk, count),) = Chunks(model.vae(), model.draw(2), batch_size=100)
    assert chunk["x"].shape == (2, 5)
    assert count == 2


def test_bad_batches_of_a_dataset_are_named_when_they_come():
    model = analytic.LinearGaussian.random()
    x = model.draw(8)
    x[7] = np.inf
    stream = Chunks(model.vae(), FORMS["dataset"](x), batch_size=3)
    with pytest.raises(ValueError, match="`data` holds NaN or infinite values: 5 in 1 of 2"):
        list(stream)


def test_data_that_cannot_be_read_again_and_again_is_refused():
    model = analytic.LinearGaussian.random()
    vae, x = model.vae(), model.draw(8)
    for data in ((part for part in [x]), "data.csv", 3.0):
        with pytest.raises(
            TypeError, match=rf"PyDataset`.* Received: (the )?{type(data).__name__}"
        ):
            Chunks(vae, data, 3)
    with pytest.raises(ValueError, match=r"has no end.*dataset.take\(number\)"):
        Chunks(vae, FORMS["dataset"](x).repeat(), 3)
    for size in (0, 2.5, "3", None):
        with pytest.raises(ValueError, match=f"`batch_size` must be a whole.*batch_size={size!r}"):
            Chunks(vae, x, size)
    with pytest.raises(ValueError, match="`held_out` is empty"):
        list(Chunks(vae, FORMS["dataset"](x[:0]), 3, "held_out"))
    with pytest.raises(ValueError, match=r"`held_out` must be an array.*a list of 1"):
        Chunks(vae, [x], 3, "held_out")


def test_a_stream_that_changes_is_refused_and_one_in_another_order_is_not():
    model = analytic.LinearGaussian.random()
    vae, x = model.vae(), model.draw(11).astype("float32")

    def read_twice(data):
        chunks = Chunks(vae, data, 3)
        return [sum(count for _, count in chunks) for _ in range(2)]

    stream = tf.data.Dataset.from_tensor_slices(x)
    assert read_twice(stream.shuffle(11).batch(4)) == [11, 11]
    again = np.concatenate([x[:10], x[:1]])  # as many points, one of them twice
    turns = iter([x, x[:8], x, again])

    def given():
        yield from next(turns)

    data = tf.data.Dataset.from_generator(given, output_signature=tf.TensorSpec(x.shape[1:]))
    for received in ("11 points before, 8 points now", "11 points before, 11 points now"):
        with pytest.raises(ValueError, match=f"`data` must give the same points.*{received}"):
            read_twice(data.batch(4))
