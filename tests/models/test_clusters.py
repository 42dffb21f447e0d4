"""Mixtures that start from clusters of their data."""

import numpy as np
import pytest

import tfvae
from tests.conftest import binary_data
from tests.models.test_finite_mixture import clusters
from tfvae import layers
from tfvae.models.clusters import k_means


def test_components_start_at_the_means_of_their_clusters():
    x, which = clusters()
    for layer in (layers.IndependentNormal(2), layers.MultivariateNormalTriL(2)):
        model = tfvae.FiniteMixture(layer, 3, seed=0).start_from(x, which)
        p_x = model.decode(np.eye(3, dtype="float32"))
        for k in range(3):
            np.testing.assert_allclose(p_x.mean()[k], x[which == k].mean(axis=0), rtol=1e-4)
            np.testing.assert_allclose(p_x.stddev()[k], x[which == k].std(axis=0), rtol=1e-3)
        shares = model.prior_distribution().probs_parameter()
        np.testing.assert_allclose(shares, np.bincount(which) / len(x), atol=2e-3)
        counts = model.expected_counts(x, batch_size=250)
        assert counts.sum() == pytest.approx(len(x), rel=1e-4)
        assert counts.min() > 80.0


def test_k_means_finds_clusters_that_are_apart():
    x, which = clusters()
    far = x.astype("float64") + 40.0 * np.eye(3)[which][:, :2]
    labels = k_means(far, 3, seed=1)
    assert len({(a, b) for a, b in zip(labels, which, strict=True)}) == 3
    np.testing.assert_array_equal(labels, k_means(far, 3, seed=1))
    missing = far.copy()
    missing[0, 0] = np.nan
    assert len(set(k_means(missing, 3, seed=1))) == 3
    assert set(k_means(np.zeros((5, 2)), 3, seed=0)) == {0}  # all the same


def test_no_component_of_digits_is_dead_from_the_start():
    data = tfvae.datasets.digits()
    layer = layers.IndependentBernoulli((8, 8, 1))
    at_random = tfvae.FiniteMixture(layer, 20, seed=0)
    from_data = tfvae.FiniteMixture(layer, 20, seed=0).start_from(data.x_train)
    assert np.sum(from_data.expected_counts(data.x_train) >= 1.0) == 20
    gain = np.mean(from_data.exact_log_p_x(data.x_valid)) - np.mean(
        at_random.exact_log_p_x(data.x_valid)
    )
    assert gain > 10.0


def test_bad_arguments():
    model = tfvae.FiniteMixture(layers.IndependentBernoulli(6), 3)
    x = binary_data(10)
    with pytest.raises(ValueError, match="2 points for 3 components"):
        model.start_from(x[:2])
    for labels in (np.zeros(10), np.full(10, 3), np.zeros(9, int)):
        with pytest.raises(ValueError, match="whole numbers from 0 to 2, one for each of 10"):
            model.start_from(x, labels)
    network = tfvae.networks.functional({"k": 3}, layers.OneHotCategorical(3))
    with pytest.raises(ValueError, match="no parameters of their own"):
        tfvae.FiniteMixture(network, 3).start_from(np.eye(3, dtype="float32"))
