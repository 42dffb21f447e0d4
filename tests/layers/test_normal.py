"""What is particular to the Gaussian layers: the floor of the scale, and the arguments."""

import numpy as np
import pytest

from tfvae.layers import IndependentNormal, MultivariateNormalDiag


@pytest.mark.parametrize("layer_class", [IndependentNormal, MultivariateNormalDiag])
def test_scale_has_a_floor_and_no_ceiling(layer_class):
    params = np.array([[0.0, 0.0, -1e4, 0.0], [0.0, 0.0, 1e4, 3.0]], "float32")
    for min_scale in (1e-5, 0.25, 0.0):
        stddev = layer_class(2, min_scale=min_scale)(params).stddev()
        expected = min_scale + np.logaddexp(0.0, params[:, 2:].astype("float64"))
        np.testing.assert_allclose(stddev, expected, rtol=1e-6)
    assert layer_class(2)(params).stddev()[0, 0] == np.float32(1e-5)
    for bad in (-0.1, float("nan")):
        with pytest.raises(ValueError, match=f"`min_scale` must be >= 0. Received: .*={bad}"):
            layer_class(2, min_scale=bad)


def test_densities_of_both_classes_are_one():
    params = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
    x = np.random.default_rng(1).normal(size=(5, 3)).astype("float32")
    np.testing.assert_allclose(
        IndependentNormal(3)(params).log_prob(x),
        MultivariateNormalDiag(3)(params).log_prob(x),
        rtol=1e-6,
    )


@pytest.mark.parametrize("event_size", [(2, 3), ()])
def test_vector_layer_refuses_other_events(event_size):
    with pytest.raises(ValueError, match=r"one int.*Received: event_size=.*`IndependentNormal`"):
        MultivariateNormalDiag(event_size)
    layer = MultivariateNormalDiag(3)
    assert layer.get_config()["event_size"] == 3
    assert "event_shape" not in layer.get_config()
