"""Exports whose weights take half of their bytes."""

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import binary_data, mlp_decoder, mlp_encoder, mlp_vae
from tfvae import VAE
from tfvae.export.small import in_small


def size(folder):
    return sum(path.stat().st_size for path in (folder / "variables").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_files_are_half_as_large_and_answer_what_the_rounded_weights_say(tmp_path, dtype):
    vae = VAE(mlp_encoder(hidden=600), mlp_decoder(), seed=0)
    x, z = tf.constant(binary_data(4)), tf.constant([[0.3, -1.2]])
    signatures = ["encode", "decode"]
    vae.export(tmp_path / "1", signatures=signatures, verbose=False)
    vae.export(tmp_path / "2", signatures=signatures, weights_dtype=dtype, verbose=False)
    assert size(tmp_path / "2") < 0.6 * size(tmp_path / "1")
    served = tf.saved_model.load(str(tmp_path / "2")).signatures
    mean, p = served["encode"](x=x)["z_mean"], served["decode"](z=z)["x_mean"]
    exact = vae.encode(x).mean(), vae.decode(z).mean()
    for weight in vae.weights:
        if len(weight.shape) == 2:
            weight.assign(tf.cast(tf.cast(weight.value, dtype), "float32"))
    np.testing.assert_allclose(mean, vae.encode(x).mean(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(p, vae.decode(z).mean(), rtol=1e-5)
    for found, expected in zip((mean, p), exact, strict=True):
        assert 0.0 < np.abs(found - expected).max() < 0.02


def test_the_model_keeps_its_weights_and_vectors_their_type():
    vae = mlp_vae()
    before = [np.array(weight) for weight in vae.weights]
    half = in_small(vae, "bfloat16")
    assert [copy.dtype for _, copy in half._pairs] == [tf.bfloat16] * 3
    kernel = vae.decoder.weights[0]
    assert half.reading(lambda: tf.convert_to_tensor(kernel))().dtype == tf.float32
    for weight, old in zip(vae.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)
    assert in_small(vae, None)._pairs == []


def test_types_and_ranges_that_will_not_do_are_refused():
    vae = mlp_vae()
    with pytest.raises(ValueError, match=r"one of bfloat16, float16, .*weights_dtype='int8'"):
        vae.export("never", weights_dtype="int8")
    vae.decoder.weights[0].assign(tf.fill([2, 6], 1e5))
    with pytest.raises(ValueError, match=r"kernel has values beyond 6\.55e\+04, .* bfloat16"):
        in_small(vae, "float16")
    assert in_small(vae, "bfloat16")._pairs
