"""Bits per dimension: of what was observed, and in the unit of the data as it was measured."""

import keras
import numpy as np
import pytest
from scipy import stats

import tfvae
from tests import analytic
from tests.conftest import binary_data, mlp_vae
from tests.kinds import kind
from tfvae.evaluation.units import Unit


@pytest.mark.slow
def test_bits_are_those_of_the_density_in_the_other_unit():
    """Of x = unit * levels, levels have a Gaussian density of their own."""
    model = analytic.LinearGaussian.with_exact_posterior()
    x, vae = model.draw(4), model.vae()
    unit = np.array([0.5, 1.0, 2.0, 0.1, 0.25])
    levels = x.astype("float64") / unit
    scaled = model.covariance / np.outer(unit, unit)
    expected = stats.multivariate_normal(model.b / unit, scaled).logpdf(levels)
    found = tfvae.log_likelihood(vae, x, 3, unit=unit, verbose=False)
    assert found.bits_per_dimension == pytest.approx(-expected.mean() / (5 * np.log(2)), rel=1e-5)
    np.testing.assert_allclose(found.per_point, model.log_p_x(x), atol=2e-5)  # as the data is given
    assert found.log_unit == pytest.approx(np.log(unit).sum())
    annealed = tfvae.annealed_log_likelihood(vae, x, 1, num_chains=2, unit=0.5, verbose=False)
    nats = -annealed.bits_per_dimension * 5 * np.log(2)
    assert nats == pytest.approx(annealed.mean + 5 * np.log(0.5))
    assert "of units of 0.5" in str(annealed)
    assert "of units" not in str(tfvae.log_likelihood(vae, x, 3, verbose=False))


def test_uniform_data_of_eight_bits_has_eight():
    """Of (levels + noise) / 256 with a density of one."""
    model = analytic.LinearGaussian.random()
    found = Unit(model.vae(), 1 / 256).of_first({"x": np.zeros([3, 5], "float32")}, 2)
    np.testing.assert_allclose(found["log_unit"] / (5 * np.log(2)), [-8.0, -8.0])


@pytest.mark.slow
def test_missing_entries_are_no_dimensions():
    layer = tfvae.layers.Masked(tfvae.layers.IndependentNormal(3))
    encoder = keras.Sequential(
        [
            keras.Input((3,)),
            tfvae.networks.FillMissing(),
            keras.layers.Dense(2),
            tfvae.layers.MultivariateNormalDiag(1),
        ]
    )
    decoder = keras.Sequential([keras.Input((1,)), keras.layers.Dense(6), layer])
    vae = tfvae.VAE(encoder, decoder, seed=0)
    x = np.array([[1.0, np.nan, 0.5], [np.nan, np.nan, 2.0], [0.1, 0.2, 0.3]], "float32")
    unit = [0.5, 1.0, 0.25]
    found = tfvae.log_likelihood(vae, x, 50, unit=unit, batch_size=2, verbose=False)
    assert found.num_dimensions == 2.0  # (2 + 1 + 3) / 3
    log_unit = 2 * np.log(0.5) + 3 * np.log(0.25)
    bits = -(found.per_point.astype("float64").sum() + log_unit) / (6 * np.log(2))
    assert found.bits_per_dimension == pytest.approx(bits, rel=1e-6)
    none = tfvae.log_likelihood(vae, np.full([2, 3], np.nan, "float32"), 50, verbose=False)
    assert np.isnan(none.bits_per_dimension)


def test_units_that_mean_nothing_are_refused():
    vae = analytic.LinearGaussian.random().vae()
    for unit in (0.0, -1.0, np.nan, np.inf, "metre"):
        with pytest.raises(ValueError, match=r"`unit` must be a number > 0.*Received: unit="):
            Unit(vae, unit)
    with pytest.raises(ValueError, match=r"Expected: shape \[5\]. Received: shape \[4\]"):
        Unit(vae, np.ones(4))
    with pytest.raises(ValueError, match=r"`unit` must be 1 where .*Bernoulli"):
        tfvae.log_likelihood(mlp_vae(), binary_data(4), 3, unit=1 / 255)
    Unit(mlp_vae(), 1.0)  # which is none


def test_columns_of_whole_numbers_have_no_unit():
    """Labels and counts among real numbers."""
    model, data = kind("tables")
    shape = model.data.event_shape
    with pytest.raises(ValueError, match="which have no unit"):
        Unit(model, 0.5)
    for name in KINDS_WITHOUT_UNIT:
        other, _ = kind(name)
        with pytest.raises(ValueError, match="which have no unit"):
            Unit(other, 2.0)
    batch = model.data.as_batch(model.data.named(data))
    found = Unit(model).of_first(batch, 12)
    assert found["num_observed"].shape == (12,)
    assert np.all(found["num_observed"] <= shape[0])


KINDS_WITHOUT_UNIT = ["plain", "given_node", "mixture"]
