"""What every latent variable model inherits."""

import numpy as np
import pytest

from tests import analytic


@pytest.mark.slow
def test_evaluation_repeats_and_leaves_training_as_it_was():
    model = analytic.LinearGaussian.random()
    x = model.draw(50)
    settings = {"epochs": 3, "batch_size": 16, "shuffle": False, "verbose": 0}
    with_validation, without = model.vae(), model.vae()
    for vae in (with_validation, without):
        vae.compile("adam")
    with_validation.fit(x, validation_data=(x,), **settings)
    without.fit(x, **settings)
    for one, other in zip(with_validation.get_weights(), without.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)

    first = without.evaluate(x, batch_size=20, return_dict=True, verbose=0)
    second = without.evaluate(x, batch_size=20, return_dict=True, verbose=0)
    assert first == second
    # The batches of one pass do not share their noise: the same point three times differs.
    point = np.repeat(x[:1], 3, axis=0)
    alone = [
        without.evaluate(point[:size], batch_size=1, return_dict=True, verbose=0)["distortion"]
        for size in (1, 2, 3)
    ]
    draws = alone[0], 2 * alone[1] - alone[0], 3 * alone[2] - 2 * alone[1]
    assert len({round(draw, 2) for draw in draws}) == 3
