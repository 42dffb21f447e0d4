import numpy as np
import pytest

import tfvae
from tests.kinds import kind
from tfvae.latents import codes
from tfvae.latents.codes import check_latents


def test_are_the_posterior_means_in_order_whatever_the_batches():
    model, x = kind("plain")
    found = codes(model, x, batch_size=5)
    np.testing.assert_allclose(found, model.encode(x).mean(), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_contexts_and_nodes_are_taken_apart():
    model, data = kind("levels_apart")
    whole = codes(model, data)
    assert whole.shape == (12, 4)
    np.testing.assert_array_equal(whole[:, 2:], codes(model, data, node="z_2"))
    with pytest.raises(ValueError, match=r"Expected: z_1, z_2. Received: node='y'"):
        codes(model, data, node="y")


def test_models_without_latents_are_told():
    model, data = kind("density")
    for use in (check_latents, lambda model: codes(model, data)):
        with pytest.raises(ValueError, match="DensityModel describes x without any"):
            use(model)
    with pytest.raises(TypeError, match="must be a model of `tfvae`"):
        check_latents(tfvae)
