"""What labels say: its value, its refusal, and that it goes into sums."""

import numpy as np
import pytest

from tests.conftest import binary_data, mlp_vae
from tests.models.test_directed import K, two_latents
from tfvae.objectives import ELBO, Supervised


@pytest.mark.slow
def test_is_the_log_likelihood_of_labels_under_the_posterior():
    model, x = two_latents(partly_observed=["y"]), binary_data(6)
    y = np.array([0, -1, 2, 1, -1, 0])
    terms = model.terms(seed=0, **model.data.as_batch({"x": x, "y": y}))
    probs = model.posterior_networks[0]([x]).probs_parameter().numpy()
    assert probs.shape == (6, K)
    expected = np.where(y < 0, 0.0, np.log(probs[np.arange(6), y]))
    np.testing.assert_allclose(Supervised()(terms), expected, rtol=1e-5)
    weighed = ELBO() + 3.0 * Supervised()
    assert weighed.takes_all_states
    np.testing.assert_allclose(weighed(terms), terms.elbo + 3.0 * expected, rtol=1e-5)


def test_needs_labels():
    with pytest.raises(ValueError, match="`partly_observed="):
        Supervised()(mlp_vae().terms(binary_data(3)))
