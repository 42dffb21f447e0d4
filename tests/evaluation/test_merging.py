"""The whole of parts equals what one process finds, to the bit."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests import analytic
from tests.kinds import kind
from tfvae.evaluation import Defensive, Part, Refined, Shard, Widened, merged, refine
from tfvae.evaluation.gaps import Gaps

QUIET = {"verbose": False}


def parts_of(evaluate, count, **settings):
    return [evaluate(shard=Shard(index, count), **settings, **QUIET) for index in range(count)]


def assert_same(found, expected):
    """Every number, NaN where it is NaN."""
    assert type(found) is type(expected)
    for field in dataclasses.fields(expected):
        one, other = (getattr(result, field.name) for result in (found, expected))
        if isinstance(other, np.ndarray):
            np.testing.assert_array_equal(one, other, err_msg=field.name)
    np.testing.assert_equal(found.to_dict(), expected.to_dict())
    assert str(found) == str(expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["plain", "mixture", "with_gaps", "hierarchical", "semi_supervised"]
)
def test_evidence_of_all_parts_is_that_of_one_process(name):
    """Of three batches, the last one short; of two shares, of as many as batches, and of more."""
    model, data = kind(name)

    def evaluate(**settings):
        return tfvae.log_likelihood(model, data, 30, batch_size=5, **settings)

    expected = evaluate(**QUIET)
    for count in (1, 2, 3, 5):
        parts = parts_of(evaluate, count)
        assert sum(part.num_points for part in parts) == 12
        assert_same(merged(parts[::-1]), expected)


@pytest.mark.slow
def test_streams_are_shared_out_whatever_their_batches():
    """Whose batches of two sizes have curves of other numbers of draws; one share has both."""
    model = analytic.LinearGaussian.random()
    x, vae = model.draw(27), model.vae()
    stream = tf.data.Dataset.from_generator(
        lambda: (x[:2], x[2:12], x[12:22], x[22:]), output_signature=tf.TensorSpec([None, 5])
    )

    def evaluate(**settings):
        return tfvae.log_likelihood(vae, stream, 6000, **settings)

    expected = evaluate(**QUIET)
    for count in (2, 4):
        whole = merged(parts_of(evaluate, count))
        assert_same(whole, expected)
        np.testing.assert_array_equal(whole.curve.num_draws, expected.curve.num_draws)


@pytest.mark.slow
def test_what_a_proposal_knows_of_points_stays_with_them():
    model, data = kind("plain")
    proposal = Defensive(0.2, of=Refined(refine(model, data, steps=2, batch_size=12, **QUIET)))

    def evaluate(**settings):
        return tfvae.log_likelihood(model, data, 9, batch_size=5, proposal=proposal, **settings)

    assert_same(merged(parts_of(evaluate, 2)), evaluate(**QUIET))


@pytest.mark.slow
def test_batches_are_shared_out_in_pieces_where_memory_holds_no_more():
    model = analytic.LinearGaussian.random()
    x, vae = model.draw(12), model.vae()

    def evaluate(**settings):
        return tfvae.log_likelihood(vae, x, 8, memory_gib=1e-6, **settings)

    expected, parts = evaluate(**QUIET), parts_of(evaluate, 2)
    assert len(parts[0].sizes) > 1
    assert_same(merged(parts), expected)


@pytest.mark.slow
def test_annealed_evidence_of_all_parts_is_that_of_one_process():
    model = analytic.LinearGaussian.random()
    x, vae = model.draw(7), model.vae()

    def evaluate(**settings):
        return tfvae.annealed_log_likelihood(vae, x, 3, num_chains=2, batch_size=3, **settings)

    expected = evaluate(**QUIET)
    for count in (2, 4):
        assert_same(merged(parts_of(evaluate, count)), expected)


# Entries that compare points with each other: of other points at once, and so to rounding.
COMPARED = (
    "mutual_information",
    "marginal_kl",
    "total_correlation",
    "dimension_wise_kl",
    "entropy_z",
    "dimensions",
    "residuals",
)


def numbers_of(result, name):
    """Returns what is known of an entry as arrays by name."""
    if isinstance(result, dict):
        return {
            f"{name}.{n}{k}": v for n, r in result.items() for k, v in numbers_of(r, "").items()
        }
    if dataclasses.is_dataclass(result):
        return numbers_of({f.name: getattr(result, f.name) for f in dataclasses.fields(result)}, "")
    return {name: result}


def assert_same_ledger(found, expected):
    for field in dataclasses.fields(expected):
        one, other = (numbers_of(getattr(r, field.name), field.name) for r in (found, expected))
        assert one.keys() == other.keys(), field.name
        for name, value in other.items():
            alone = any(part in name for part in (".names", ".nodes", ".rate.", ".variance."))
            if field.name in COMPARED and not alone:
                if value is None:
                    assert one[name] is None
                else:
                    np.testing.assert_allclose(one[name], value, rtol=0, atol=5e-6, err_msg=name)
            else:
                np.testing.assert_equal(one[name], value, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["plain", "hierarchical", "given_node", "mixture", "with_gaps", "observed_graph"]
)
def test_the_ledger_of_all_parts_is_that_of_one_process(name):
    """Entries point by point to the bit, those that compare points to rounding."""
    model, data = kind(name)

    def evaluate(**settings):
        return tfvae.decompose(
            model, data, num_samples=3, evidence_samples=9, batch_size=5, **settings
        )

    expected = evaluate(**QUIET)
    for count in (2, 5):
        assert_same_ledger(merged(parts_of(evaluate, count)[::-1]), expected)


@pytest.mark.slow
def test_pairs_are_shared_out_too():
    """No worker scores a draw of another's points, nor has one where no point of it was chosen."""
    model, data = kind("plain")

    def evaluate(**settings):
        return tfvae.decompose(
            model, data, num_samples=3, evidence_samples=0, batch_size=2, max_pairs=36, **settings
        )

    expected, parts = evaluate(**QUIET), parts_of(evaluate, 6)
    assert expected.num_compared == 3
    compared = [list(part.extras.get("points", [])) for part in parts]
    assert [] in compared
    for part, points in zip(parts, compared, strict=True):
        assert set(points) <= set(part.rows)
    assert_same_ledger(merged(parts), expected)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"refine_steps": 2}, {"proposal": Widened(1.2)}], ids=str)
def test_gaps_of_all_parts_are_those_of_one_process(settings):
    model, data = kind("plain")

    def evaluate(**own):
        return tfvae.decompose(
            model, data, num_samples=2, evidence_samples=5, batch_size=5, **settings, **own
        )

    assert_same_ledger(merged(parts_of(evaluate, 2)), evaluate(**QUIET))


@pytest.mark.slow
def test_the_ledger_of_a_share_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    """And the evidence that was found is not drawn again."""
    model, data = kind("plain")
    paths = [tmp_path / f"part-{index}" for index in range(2)]
    monkeypatch.setattr("tfvae.evaluation.record._SECONDS", 0.0)
    left, find, stops = [], Gaps.of, [True]

    def interrupted(self, batch, rows, *given):
        if rows.start == 10 and stops.pop():
            raise KeyboardInterrupt
        left.append(rows.start)
        return find(self, batch, rows, *given)

    def evaluate(index, **settings):
        return tfvae.decompose(
            model,
            data,
            num_samples=2,
            evidence_samples=5,
            batch_size=5,
            **settings,
            **QUIET,
            resume=paths[index],
            shard=Shard(index, 2),
        )

    monkeypatch.setattr(Gaps, "of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(0)
    with pytest.raises(ValueError, match="complete once its evaluation has ended"):
        Part.load(paths[0])
    stops.append(False)
    for index in range(2):
        evaluate(index)
    assert left == [0, 10, 5]
    monkeypatch.setattr(Gaps, "of", find)
    expected = tfvae.decompose(
        model,
        data,
        num_samples=2,
        evidence_samples=5,
        batch_size=5,
        resume=tmp_path / "all",
        **QUIET,
    )
    assert_same_ledger(merged(map(Part.load, paths)), expected)
    stored = merged([Part.load(tmp_path / "all")])
    np.testing.assert_equal(dataclasses.asdict(stored), dataclasses.asdict(expected))


def exact(seed=0, batch_size=5, data=None, num_samples=20, name="mixture", **settings):
    model, known = kind(name)
    data = known if data is None else data
    settings = {"seed": seed, "batch_size": batch_size, **settings, **QUIET}
    return tfvae.log_likelihood(model, data, num_samples, **settings)


def test_files_are_parts(tmp_path):
    """And the file of an evaluation of all data is one of one."""
    paths = [tmp_path / f"part-{index}" for index in range(2)]
    for index, path in enumerate(paths):
        exact(shard=Shard(index, 2), resume=path)
    assert_same(merged(map(Part.load, paths)), exact())
    exact(resume=tmp_path / "all")
    assert_same(merged([Part.load(tmp_path / "all")]), exact())


def test_parts_that_do_not_belong_together_are_refused():
    _, data = kind("mixture")
    one, last = exact(shard=Shard(0, 2)), data.copy()
    last[0, 0] = 1.0 - last[0, 0]  # of the other share
    for settings, reason in [
        ({"seed": 1}, r"for shard 0, seed is \[0, 0\], for shard 1 it is \[1, 0\]"),
        ({"num_samples": 21}, "num_samples is 20, for shard 1 it is 21"),
        ({"shard": Shard(1, 3)}, "number of shards is 2, for shard 1 it is 3"),
        ({"data": data[:11]}, "number of points of the data is 12, for shard 1 it is 11"),
        ({"data": last}, "fingerprint of the data, batch by batch, is"),
        ({"batch_size": 4}, "fingerprint of the data, batch by batch, is"),
        ({"name": "density"}, "model is FiniteMixture, weights"),
    ]:
        other = exact(**{"shard": Shard(1, 2), **settings})
        with pytest.raises(ValueError, match=f"`parts` must be of one evaluation.*{reason}"):
            merged([one, other])


def test_all_parts_are_asked_for_and_each_once():
    parts = parts_of(exact, 3)
    for some, reason in [
        (parts[:2], r"part of each of 3 shards once\. Received: \[0, 1\], of which 2 are missing"),
        (parts[1:2], "of which 0, 2 are missing"),
        ([*parts, parts[1]], r"Received: \[0, 1, 1, 2\], of which 1 come twice"),
        ([], "those of all shards. Received: none"),
    ]:
        with pytest.raises(ValueError, match=f"`parts` must .*{reason}"):
            merged(some)
    for wrong in (parts[0], "part-0.npz", ["part-0.npz"], [exact()]):
        with pytest.raises(TypeError, match=r"or `Part\.load` for files\. Received"):
            merged(wrong)


def test_of_many_missing_parts_some_are_named():
    with pytest.raises(ValueError, match=r"which 1, 2, .*, 10, \.\.\. \(29 of them\) are missing"):
        merged([exact(shard=Shard(0, 30))])
