import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.analytic import LinearGaussian
from tests.kinds import kind
from tfvae.latents import Roc, anomaly_roc, likelihood_ratio


def test_the_area_is_the_share_of_pairs_with_ties_half():
    generator = np.random.default_rng(0)
    data, anomalies = generator.integers(0, 5, 30), generator.integers(2, 7, 20)
    roc = Roc.of(data, anomalies)
    wins = (anomalies[:, None] > data) + 0.5 * (anomalies[:, None] == data)
    assert roc.area == pytest.approx(wins.mean())
    # DeLong's variance, by its pairs.
    variance = wins.mean(axis=1).var(ddof=1) / 20 + wins.mean(axis=0).var(ddof=1) / 30
    assert roc.standard_error == pytest.approx(np.sqrt(variance))
    # It is the area under the curve that is returned, by the rule of trapezia.
    steps = np.diff(roc.false_alarms) * 0.5 * (roc.found[1:] + roc.found[:-1])
    assert steps.sum() == pytest.approx(roc.area)
    for part in (roc.false_alarms, roc.found):
        assert (part[0], part[-1]) == (0.0, 1.0)
        assert np.all(np.diff(part) >= 0.0)


def test_two_gaussians_have_their_known_area():
    generator = np.random.default_rng(0)
    roc = Roc.of(generator.normal(size=2000), generator.normal(1.0, size=1500))
    assert abs(roc.area - stats.norm.cdf(1 / np.sqrt(2))) < 4 * roc.standard_error
    assert 0.005 < roc.standard_error < 0.01


def test_limits():
    assert Roc.of([0.0, 1.0], [2.0, np.inf]).area == 1.0
    assert Roc.of([0.0, 0.0], [0.0]).area == 0.5
    assert np.isnan(Roc.of([0.0, 0.0], [0.0]).standard_error)
    with pytest.raises(ValueError, match="with NaN"):
        Roc.of([0.0], [np.nan])
    with pytest.raises(ValueError, match=r"shapes \(0,\) and \(1,\)"):
        Roc.of([], [1.0])


@pytest.mark.slow
def test_anomalies_of_a_known_density():
    linear = LinearGaussian.with_exact_posterior()  # whose weights are all the same
    data, anomalies = linear.draw(80), linear.draw(60, seed=1) + 1.0
    roc = anomaly_roc(linear.vae(), data, anomalies, num_samples=5)
    expected = Roc.of(-linear.log_p_x(data), -linear.log_p_x(anomalies))
    assert roc.area == pytest.approx(expected.area, abs=2e-3)  # neighbours may change places
    assert roc.area > 0.6
    # A background that is the model itself takes everything out.
    vae = linear.vae()
    assert anomaly_roc(vae, data, anomalies, background=vae, num_samples=5).area == 0.5


@pytest.mark.slow
def test_ratios_are_differences():
    model, x = kind("density")
    other = kind("mixture")[0]
    found = likelihood_ratio(model, other, x)
    expected = np.asarray(model.exact_log_p_x(x)) - np.asarray(other.exact_log_p_x(x))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_ratios_of_rows_that_change_their_places_are_refused():
    vae = LinearGaussian.random().vae()
    rows = tf.data.Dataset.from_tensor_slices(np.random.default_rng(0).normal(size=(20, 5)))
    rows = rows.map(lambda x: tf.cast(x, tf.float32))
    settings = {"num_samples": 2, "verbose": False}
    kept = rows.shuffle(20, seed=1, reshuffle_each_iteration=False).batch(20)
    assert np.all(likelihood_ratio(vae, vae, kept, **settings) == 0.0)
    for size in (5, 20):
        with pytest.raises(ValueError, match="`data` must give the same batches each time it is"):
            likelihood_ratio(vae, vae, rows.shuffle(20, seed=1).batch(size), **settings)
