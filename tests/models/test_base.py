"""What every latent variable model inherits."""

import inspect

import keras
import numpy as np
import pytest

import tfvae
from tests import analytic
from tests.conftest import mlp_vae


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


def test_help_shows_the_arguments_of_keras():
    for name in ("fit", "evaluate", "predict"):
        own = inspect.signature(getattr(tfvae.VAE, name))
        assert own == inspect.signature(getattr(keras.Model, name))


def test_files_of_other_kinds_are_answered_in_words(tmp_path):
    vae = mlp_vae()
    with pytest.raises(ValueError, match=r"saved to `.keras` files.*model\.h5"):
        vae.save(tmp_path / "model.h5")
    with pytest.raises(ValueError, match=r"`export_onnx` writes ONNX files\. Received: 'onnx'"):
        vae.export(tmp_path / "model", format="onnx")
    assert list(tmp_path.iterdir()) == []
