"""Shares of the data, and files that hold what was found on them."""

import pickle

import numpy as np
import pytest

import tfvae
from tests.kinds import kind
from tfvae.evaluation import Part, Shard
from tfvae.evaluation.record import Record
from tfvae.evaluation.sharding import joined


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_each_batch_is_in_one_share(count):
    shards = [Shard(index, count) for index in range(count)]
    for batch in range(7):
        assert sum(shard.has(batch) for shard in shards) == 1
    assert max(sum(shard.has(b) for b in range(7)) for shard in shards) == -(-7 // count)


def test_numbers_that_are_no_share_are_refused():
    for index, count in [(2, 2), (-1, 2), (0, 0), (0, -1)]:
        with pytest.raises(ValueError, match=rf"one of 0, \.\.\..*index={index}, count={count}"):
            Shard(index, count)
    for index, count, name in [(0.0, 2, "index"), (True, 2, "index"), (0, "2", "count")]:
        with pytest.raises(TypeError, match=f"`{name}` must be an int"):
            Shard(index, count)
    assert Shard(np.int64(1), np.int32(3)) == Shard(1, 3)
    model, data = kind("mixture")
    for wrong in ("0 of 2", (0, 2), 1):
        with pytest.raises(TypeError, match=r"must be a `tfvae\.evaluation\.Shard`"):
            tfvae.log_likelihood(model, data, shard=wrong)


def part_of(index, count, sizes=(3, 3, 2)):
    return Part(Shard(index, count), {"task": "none"}, "", np.array(sizes), {})


def test_rows_are_those_of_every_countth_batch():
    for index, count, expected in [
        (0, 1, range(8)),
        (0, 2, [0, 1, 2, 6, 7]),
        (1, 2, [3, 4, 5]),
        (2, 3, [6, 7]),
        (3, 4, []),
    ]:
        part = part_of(index, count)
        np.testing.assert_array_equal(part.rows, expected)
        assert part.num_points == len(expected)
    assert str(part_of(1, 2)) == "part 1 of 2 of none: 3 points"


def test_rows_are_joined_in_their_order():
    order = np.random.default_rng(0).permutation(10)
    values = np.arange(20.0).reshape(10, 2)
    rows = np.split(order, [3, 3, 9])
    np.testing.assert_array_equal(joined([values[some] for some in rows], rows), values)


def test_parts_are_sent_and_read_as_they_are(tmp_path):
    model, data = kind("mixture")
    path = tmp_path / "part"
    settings = {"batch_size": 5, "shard": Shard(1, 2), "verbose": False}
    part = tfvae.log_likelihood(model, data, 10, resume=path, **settings)
    for found in (pickle.loads(pickle.dumps(part)), Part.load(path)):
        assert (found.shard, found.settings) == (part.shard, part.settings)
        assert found.digest == part.digest
        np.testing.assert_array_equal(found.sizes, [5, 5, 2])
        np.testing.assert_equal(found.values, part.values)
        np.testing.assert_equal(found.extras, part.extras)


def test_files_that_are_no_parts_are_told_in_a_sentence(tmp_path):
    model, _ = kind("mixture")
    path = tmp_path / "part"
    with pytest.raises(FileNotFoundError):
        Part.load(path)
    record = Record(path, model, {"task": "none"})
    assert not record.needs_nothing({"x": np.ones([3, 2])}, 3)
    with pytest.raises(ValueError, match=r"complete once its evaluation has ended.*with 0 poi"):
        Part.load(path)
    record.add({"found": np.ones(3)})
    record.close()
    whole = path.read_bytes()
    np.testing.assert_array_equal(Part.load(path).values["found"], np.ones(3))
    for content in (b"", b"nothing", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"`filepath` must name a file .*torn"):
            Part.load(path)
