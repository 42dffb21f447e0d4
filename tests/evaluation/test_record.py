"""Results that outlive an interruption, and files that are refused."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests import analytic
from tests.conftest import binary_data, mlp_decoder, mlp_encoder, mlp_vae
from tfvae.evaluation import record as records
from tfvae.evaluation.record import Record
from tfvae.evaluation.sampling import Sampler
from tfvae.evaluation.sharding import Part, Shard

tfd = tfp.distributions
QUIET = {"verbose": False}
NAMES = ("per_point", "per_point_standard_error", "ess", "k_hat")


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Files are written at each occasion."""
    monkeypatch.setattr(records, "_SECONDS", 0.0)
    monkeypatch.setattr(Sampler, "_pace", lambda *args: None)  # and calls are of eight blocks


class InterruptionError(BaseException):
    """Comes where nobody expects it."""


def interrupted_after(num_writes, monkeypatch, evaluate):
    """Runs an evaluation until a file was written so many times."""
    write, count = Record._write, []

    def counted(self, *args, **kwargs):
        write(self, *args, **kwargs)
        count.append(1)
        if len(count) == num_writes:
            raise InterruptionError

    with monkeypatch.context() as patched:
        patched.setattr(Record, "_write", counted)
        with pytest.raises(InterruptionError):
            evaluate()


def assert_same(found, expected):
    for name in NAMES:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    np.testing.assert_equal(found.to_dict(), expected.to_dict())
    np.testing.assert_equal(found.curve.to_dict(), expected.curve.to_dict())


@pytest.mark.slow
def test_goes_on_where_it_was_interrupted(monkeypatch, tmp_path):
    """Between batches, and amid the draws of one."""
    vae, x = mlp_vae(), binary_data(8)
    path = tmp_path / "evidence.npz"
    data = tf.data.Dataset.from_tensor_slices(x).batch(3)

    def evaluate(**settings):
        return tfvae.log_likelihood(vae, data, 30_000, **QUIET, **settings)

    expected = evaluate()
    # 19 blocks of 1,666 draws in three calls, and the end: four occasions in each of three batches.
    for num_writes in (1, 2, 4, 5, 8, 13, 14):
        path.unlink(missing_ok=True)
        interrupted_after(num_writes, monkeypatch, lambda: evaluate(resume=path))
        assert_same(evaluate(resume=path), expected)
    # What is finished is read, and not computed again.
    monkeypatch.setattr(Sampler, "evidence", None)
    assert_same(evaluate(resume=path), expected)


_KILLED = """
import os, signal, sys
import keras
import tfvae
from tests.conftest import binary_data, mlp_vae
from tfvae.evaluation import record, sampling
record._SECONDS = 0.0
sampling.Sampler._pace = lambda *args: None
replace, count = os.replace, []
def killed(*args):
    count.append(1)
    if len(count) == 7:  # the new file is written, and not yet in its place
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*args)
os.replace = killed
keras.utils.set_random_seed(7)
vae = mlp_vae()
vae.compile("adam", jit_compile=False)
tfvae.log_likelihood(vae, binary_data(8), 30_000, batch_size=3, resume=sys.argv[1], verbose=False)
"""


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_killed_process_leaves_what_the_next_one_goes_on_from(tmp_path):
    path = tmp_path / "evidence.npz"
    command = [sys.executable, "-c", _KILLED, str(path)]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=False)
    assert ended.returncode == -9, ended.stderr.decode()[-2000:]
    with np.load(path) as file:
        about, drawn = json.loads(str(file["about"])), int(file["partial blocks"])
    assert about["points"] == 3
    assert drawn == 8
    keras.utils.set_random_seed(7)
    vae, x = mlp_vae(), binary_data(8)
    settings = {"num_samples": 30_000, "batch_size": 3, **QUIET}
    found = tfvae.log_likelihood(vae, x, resume=path, **settings)
    expected = tfvae.log_likelihood(vae, x, **settings)
    for name in NAMES:  # to rounding: the other process has other threads
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evidence.npz"]


@pytest.mark.slow
@pytest.mark.exhaustive
def test_annealing_goes_on_too(monkeypatch, tmp_path):
    model = analytic.LinearGaussian.random()
    vae, x, path = model.vae(), model.draw(5), tmp_path / "annealed"

    def evaluate(**settings):
        return tfvae.annealed_log_likelihood(
            vae, x, 3, num_chains=2, batch_size=2, **QUIET, **settings
        )

    expected = evaluate()
    interrupted_after(3, monkeypatch, lambda: evaluate(resume=path))
    found = evaluate(resume=path)
    np.testing.assert_array_equal(found.per_point, expected.per_point)
    np.testing.assert_array_equal(found.acceptance, expected.acceptance)
    with pytest.raises(ValueError, match="there, task is annealed_log_likelihood, here log_like"):
        tfvae.log_likelihood(vae, x, 3, resume=path, **QUIET)


@pytest.mark.slow
def test_files_of_another_evaluation_are_refused(tmp_path):
    vae, x, path = mlp_vae(), binary_data(8), tmp_path / "evidence.npz"

    def evaluate(model=vae, data=x, num_samples=9, batch_size=4, **settings):
        return tfvae.log_likelihood(
            model, data, num_samples, batch_size=batch_size, resume=path, **QUIET, **settings
        )

    evaluate()
    proposal = tfvae.evaluation.Widened(1.5)
    for settings, reason in [
        ({"num_samples": 10}, "there, num_samples is 9, here 10"),
        ({"seed": 1}, r"there, seed is \[0, 0\], here \[1, 0\]"),
        ({"memory_gib": 2.0}, "there, memory_gib is 1.0, here 2.0"),
        ({"proposal": proposal}, r"there, proposal is Encoder\(\), here Widened\(scale=1.5"),
        ({"model": mlp_vae()}, "there, model is VAE, weights"),
        ({"data": 1.0 - x}, "the first 8 points of its data are others"),
        ({"data": x[:4]}, "it is of 8 points, here there are 4"),
        ({"data": x[:7]}, "the first 8|it is of 8 points, here there are 7"),
        ({"batch_size": 3}, "it ends after 8 points, within a batch|are others"),
    ]:
        with pytest.raises(ValueError, match=f"`resume` names a file of another.*{reason}"):
            evaluate(**settings)
    same = mlp_vae()  # whose layers have other names
    same.set_weights(vae.get_weights())
    evaluate(same)
    other = tfvae.VAE(mlp_encoder(activity_regularizer="l2"), mlp_decoder(), seed=1)
    other.set_weights(vae.get_weights())
    with pytest.raises(ValueError, match=r"there, model is VAE, weights (.*), configuration"):
        evaluate(other)
    # Further points of the same data are further work.
    assert evaluate(data=binary_data(12)[:8]).per_point.shape == (8,)


def test_a_share_goes_on_too(tmp_path):
    """Batches of other shares lie before, between and behind those of the file."""
    model, path = analytic.LinearGaussian.random().vae(), tmp_path / "record"
    shard, batches = Shard(1, 3), [np.full([2, 3], k) for k in range(6)]

    def evaluated(until, batches=batches):
        record, own = Record(path, model, {"task": "none"}, shard), []
        for k, batch in enumerate(batches[:until]):
            if not record.needs_nothing({"x": batch}, 2):
                record.add({"found": np.full(2, k)})
                own.append(k)
        return record, own

    assert evaluated(4)[1] == [1]
    record, own = evaluated(6)
    assert own == [4]
    record.close({"more": np.ones(3)})
    assert evaluated(6)[1] == []
    part = Part.load(path)
    assert part.shard == shard
    np.testing.assert_array_equal(part.values["found"], [1, 1, 4, 4])
    np.testing.assert_array_equal(part.extras["more"], np.ones(3))
    np.testing.assert_array_equal(part.rows, [2, 3, 8, 9])
    for other in range(6):  # of every batch it is known which it was
        others = [batch + (k == other) for k, batch in enumerate(batches)]
        with pytest.raises(ValueError, match="the first 12 points of its data are others"):
            evaluated(6, others)
    with pytest.raises(ValueError, match="there, shard is 1 of 3, here 0 of 1"):
        Record(path, model, {"task": "none"})


def test_records_of_further_points_go_on(tmp_path):
    vae, path = mlp_vae(), tmp_path / "record"
    for num in (2, 4):
        record = Record(path, vae, {"a": 1})
        for start in range(0, num, 2):
            if not record.needs_nothing({"x": np.full([2, 3], start)}, 2):
                record.add({"found": np.full(2, start), f"some {start}": np.zeros(2)})
        record.close()
    values = Record(path, vae, {"a": 1}).values
    np.testing.assert_array_equal(values["found"], [0, 0, 2, 2])
    assert list(values) == ["found"]  # and nothing that only some points have


def test_what_is_no_record_is_refused_in_a_sentence(tmp_path):
    vae, path = mlp_vae(), tmp_path / "record"
    Record(path, vae, {}).close()
    whole = path.read_bytes()
    np.savez(tmp_path / "other.npz", a=np.ones(2))
    other = (tmp_path / "other.npz").read_bytes()
    for content in (b"", b"nothing", whole[: len(whole) // 2], whole[:-10], other):
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"`resume` must name a file .*torn or of another kind"
        ):
            Record(path, vae, {})
        assert path.read_bytes() == content  # and left as it is
    with pytest.raises(OSError, match="Cannot write a file beside"):
        Record(tmp_path / "nowhere" / "record", vae, {})


def test_without_a_file_nothing_is_read_or_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = Record(None, mlp_vae(), {})
    assert not record.needs_nothing({"x": np.zeros([2, 3])}, 2)
    record.note(lambda: pytest.fail("was not asked for"))
    record.add({"found": np.arange(2)})
    record.close()
    np.testing.assert_array_equal(record.values["found"], [0, 1])
    assert not list(tmp_path.iterdir())


def test_results_are_held_once():
    record = Record(None, analytic.LinearGaussian.random().vae(), {})
    for part in (np.zeros(2), np.ones(3)):
        record.add({"found": part})
    whole = record.values["found"]
    np.testing.assert_array_equal(whole, [0.0, 0.0, 1.0, 1.0, 1.0])
    record.add({"found": np.full(1, 2.0), "of some": np.ones(1)})
    assert list(record.values) == ["found"]
    np.testing.assert_array_equal(record.values["found"], [*whole, 2.0])


@dataclasses.dataclass(frozen=True)
class Scaled(tfvae.evaluation.Proposal):
    """A proposal with a weight, or an array."""

    scale: object

    def distribution(self, model, batch, own):
        q = model.encode(**batch)
        return tfd.MultivariateNormalDiag(q.mean(), self.scale(q.stddev()))


@pytest.mark.slow
def test_weights_of_a_proposal_are_part_of_an_evaluation(tmp_path):
    vae, x, path = mlp_vae(), binary_data(8), tmp_path / "evidence.npz"
    layer = keras.layers.EinsumDense("...k,k->...k", (2,), kernel_initializer="ones")
    layer(np.ones([1, 2], "float32"))
    proposal = Scaled(layer)
    known = tfvae.log_likelihood(vae, x, 9, proposal=proposal, resume=path, **QUIET)
    again = tfvae.log_likelihood(vae, x, 9, proposal=proposal, resume=path, **QUIET)
    np.testing.assert_array_equal(again.per_point, known.per_point)
    layer.kernel.assign([30.0, 1.0])
    with pytest.raises(ValueError, match=r"another evaluation, .*there, proposal is Scaled"):
        tfvae.log_likelihood(vae, x, 9, proposal=proposal, resume=path, **QUIET)
    with pytest.raises(TypeError, match=r"must be hashable.*unhashable type: .numpy"):
        tfvae.log_likelihood(vae, x, 9, proposal=Scaled(np.array([1.2, 1.3])), **QUIET)
    with pytest.raises(ValueError, match=r"`resume` must be the name of a file.*the folder"):
        tfvae.log_likelihood(vae, x, 9, resume=tmp_path, **QUIET)
