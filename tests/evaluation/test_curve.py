"""The curve of the evidence over numbers of draws, averaged over batches."""

import numpy as np

from tfvae.evaluation import Curve


def batches():
    rng = np.random.default_rng(0)
    return [{s: rng.normal(size=size) for s in (50, 100, 130)} for size in (4, 4, 3)]


def test_is_the_mean_over_all_points_with_its_error():
    parts = batches()
    curve = Curve.of(parts)
    assert curve.num_draws.tolist() == [50, 100, 130]
    for index, s in enumerate(curve.num_draws):
        every = np.concatenate([part[s] for part in parts])
        np.testing.assert_allclose(curve.mean[index], every.mean())
        np.testing.assert_allclose(curve.standard_error[index], every.std(ddof=1) / np.sqrt(11))
    assert curve.to_dict()["mean"] == curve.mean.tolist()


def test_neither_the_order_of_batches_nor_that_of_numbers_matters():
    parts = batches()
    turned = [dict(reversed(part.items())) for part in reversed(parts)]
    for one, other in zip(*(vars(Curve.of(p)).values() for p in (parts, turned)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_leaves_out_what_a_batch_lacks():
    parts = batches()
    del parts[1][100]
    curve = Curve.of(parts)
    assert curve.num_draws.tolist() == [50, 130]
    np.testing.assert_array_equal(curve.mean, Curve.of(batches()).mean[[0, 2]])
