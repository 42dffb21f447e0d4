"""The contract of `Prior`, over all priors."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, mlp_decoder, mlp_encoder
from tfvae.priors import Prior, StandardNormal

# One entry per prior: how to make it over latents of a given shape; None leaves that to the model.
PRIORS = {StandardNormal: StandardNormal}

over_all_priors = pytest.mark.parametrize("cls", PRIORS, ids=lambda cls: cls.__name__)


def test_battery_is_complete():
    exported = {getattr(tfvae.priors, name) for name in tfvae.priors.__all__}
    priors = {cls for cls in exported if inspect.isclass(cls) and issubclass(cls, Prior)}
    assert priors - {Prior} == set(PRIORS)


@over_all_priors
def test_shape_is_given_or_set_once(cls):
    prior = PRIORS[cls](3)
    assert prior.built
    p_z = prior.distribution()
    assert p_z.event_shape == (3,)
    assert p_z.batch_shape == ()
    z = p_z.sample(5, seed=[1, 2])
    assert z.shape == (5, 3)
    assert p_z.log_prob(tf.zeros([4, 5, 3])).shape == (4, 5)
    prior.build((3,))  # as before: nothing to say
    with pytest.raises(ValueError, match=r"of shape \(3,\), the posterior over .*\(2,\)"):
        prior.build((2,))

    late = PRIORS[cls](None)
    assert late.event_shape is None
    with pytest.raises(ValueError, match="does not know the shape of its latents yet"):
        late.distribution()
    late.build((2, 3))
    assert late.distribution().event_shape == (2, 3)


@over_all_priors
def test_config_and_file_round_trips(cls, tmp_path):
    for shape in (None, 3, (2, 3)):
        prior = PRIORS[cls](shape)
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(prior))
        assert type(copy) is cls
        assert copy.get_config() == prior.get_config()
    for prior in (PRIORS[cls](None), PRIORS[cls](2)):
        vae = tfvae.VAE(mlp_encoder(), mlp_decoder(), prior, seed=0)
        assert prior.event_shape == (2,)
        vae.save(tmp_path / "vae.keras")
        loaded = keras.models.load_model(tmp_path / "vae.keras")
        assert type(loaded.prior) is cls
        z = np.random.default_rng(0).normal(size=(7, 2)).astype("float32")
        np.testing.assert_array_equal(
            loaded.prior_distribution().log_prob(z), vae.prior_distribution().log_prob(z)
        )
        x = binary_data()
        np.testing.assert_array_equal(loaded.terms(x, 2, 3).log_w, vae.terms(x, 2, 3).log_w)


@over_all_priors
def test_all_weights_get_a_gradient(cls):
    prior = PRIORS[cls](3)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(prior.distribution().log_prob(tf.ones([2, 3])))
    gradients = tape.gradient(value, prior.trainable_weights)
    assert all(g is not None and np.all(np.isfinite(g)) for g in gradients)


def test_abstract_class_says_so():
    with pytest.raises(NotImplementedError):
        Prior(2).distribution()
