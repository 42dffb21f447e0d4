import keras
import pytest

import tfvae
from tests.conftest import mlp_vae, slow_but
from tests.kinds import KINDS, kind
from tfvae.reporting.configuration import parts_of, versions


def test_parts_are_told_with_their_arguments():
    model = mlp_vae()
    model.compile(keras.optimizers.SGD(0.5), tfvae.objectives.ELBO(beta=0.25))
    found = parts_of(model)
    assert ("model", f"VAE, {6 * 5 + 5 + 5 * 4 + 4 + 2 * 6 + 6} trainable weights") in found
    assert ("encoder", "Dense(units=5, activation=tanh, use_bias=True)") in found
    texts = dict(found)
    assert "beta=0.25" in texts["objective"]
    assert texts["optimizer"].startswith("SGD(learning_rate=0.5")
    assert not [text for _, text in found if "InputLayer" in text or "initializer" in text]


@pytest.mark.parametrize("name", slow_but("tables", of=list(KINDS)))
def test_every_kind_of_model_is_told_in_short_lines(name):
    found = parts_of(kind(name)[0])
    assert len(found) > 4
    assert all(isinstance(text, str) and text for pair in found for text in pair)


def test_a_model_that_cannot_tell_is_told_so():
    class Silent(tfvae.VAE):
        def get_config(self):
            raise NotImplementedError

    model = Silent(*(getattr(mlp_vae(), name) for name in ("encoder", "decoder")))
    assert "no `get_config`" in dict(parts_of(model))["configuration"]


def test_versions_are_those_of_the_packages():
    assert dict(versions())["tfvae"] == tfvae.__version__
    assert dict(versions())["Keras"] == keras.__version__
