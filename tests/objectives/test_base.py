"""The contract of `Objective` and `Schedule`: what a new one has to bring."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, mlp_vae
from tfvae._random import fold_in, stateless_seed
from tfvae.objectives import Objective, Schedule


@keras.saving.register_keras_serializable("tests")
@dataclasses.dataclass(frozen=True)
class Best(Objective):
    """The best draw counts: a new objective in one class."""

    weight: float = 2.0
    num_samples: int = 3

    def __call__(self, terms, step=0):
        return self.weight * tf.reduce_max(terms.log_w, axis=0)


def test_abstract_classes_say_so():
    with pytest.raises(NotImplementedError):
        Objective()(None)
    with pytest.raises(NotImplementedError):
        Schedule()(0)


def test_a_new_objective_trains_and_is_stored(tmp_path):
    x = binary_data(8)
    vae = mlp_vae()
    vae.compile("adam", Best(weight=0.5), jit_compile=False)
    vae.fit(x, verbose=0)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    assert loaded.objective == Best(weight=0.5)
    loss = loaded.evaluate(x, verbose=0, return_dict=True)["loss"]
    log_w = loaded.terms(x, 3, fold_in(stateless_seed(vae.seed or 0), 0)).log_w
    assert loss == pytest.approx(-0.5 * np.mean(np.max(log_w, axis=0)), rel=1e-5)
    assert isinstance(loaded, tfvae.VAE)
