"""A trained model gets another prior."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests import analytic
from tests.conftest import binary_data, mlp_vae
from tfvae import priors


@pytest.mark.slow
def test_gain_is_the_closed_form_of_the_best_gaussian():
    """N(0, I) becomes the Gaussian with the moments of the aggregated posterior."""
    model = analytic.LinearGaussian.random()
    vae, x = model.vae(), 1.5 * model.draw(2000)
    loc = model.loc(x)
    variance = model.s + loc.var(axis=0)
    # E log p_new - E log p_old, per dimension, of Gaussians under the aggregated posterior.
    mean, square = loc.mean(axis=0), model.s + (loc**2).mean(axis=0)
    exact = np.sum(-0.5 * np.log(variance) - 0.5 + 0.5 * square)
    before = [w.numpy() for w in (*vae.encoder.weights, *vae.decoder.weights)]
    prior = priors.Normal()
    gain = vae.fit_prior(
        prior,
        x,
        validation_data=x,
        epochs=60,
        batch_size=500,
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.05, 240)),
        num_samples=50,
    )
    np.testing.assert_allclose(prior.loc, mean, atol=0.02)
    np.testing.assert_allclose(prior.distribution().stddev(), np.sqrt(variance), rtol=0.02)
    assert gain.nats == pytest.approx(exact, abs=5 * gain.standard_error)
    assert 0 < gain.standard_error < 0.1 * exact
    assert vae.prior is prior
    after = [*vae.encoder.weights, *vae.decoder.weights]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    # The rate falls by the gain.
    old = model.vae().terms(x, 200, seed=1).rate.numpy().mean()
    new = vae.terms(x, 200, seed=1).rate.numpy().mean()
    assert old - new == pytest.approx(exact, abs=0.02)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The new prior is worse")  # after two epochs
@pytest.mark.parametrize("make", [lambda: priors.VampPrior(5), lambda: priors.GaussianMixture(3)])
def test_model_lives_on_with_its_new_prior(make, tmp_path):
    vae, x, prior = mlp_vae(), binary_data(), make()
    vae.compile(keras.optimizers.Adam(0.01))
    vae.fit(x, verbose=0)
    trainable = [layer.trainable for layer in vae.encoder.layers]
    gain = vae.fit_prior(prior, {"x": x}, validation_data=(x,), epochs=2)
    assert np.isfinite(gain.nats)
    assert [layer.trainable for layer in vae.encoder.layers] == trainable
    kernel = vae.encoder.layers[0].kernel.numpy()
    vae.fit(x, epochs=2, verbose=0)  # all parts train again
    assert not np.array_equal(kernel, vae.encoder.layers[0].kernel)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    assert type(loaded.prior) is type(prior)
    np.testing.assert_array_equal(loaded.terms(x, 2, 3).log_w, vae.terms(x, 2, 3).log_w)


@pytest.mark.slow
def test_held_out_data_has_any_form(monkeypatch):
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return (x[10 * index : 10 * index + 10],)

    def gain(self, new, batch, num_samples, seed):
        scored.append(batch["x"].numpy())
        return tf.zeros(len(batch["x"]))

    monkeypatch.setattr(tfvae.VAE, "gain_of_prior", gain)
    vae, x = mlp_vae(), binary_data(24)
    stream = tf.data.Dataset.from_tensor_slices(x).batch(10)
    quick = {"epochs": 1, "batch_size": 10}
    for held_out in (x, {"x": x}, stream, stream.map(lambda rows: (rows, rows)), Batches()):
        scored = []
        vae.fit_prior(priors.Normal(), x, validation_data=held_out, **quick)
        assert [len(batch) for batch in scored] == [10, 10, 4]
        np.testing.assert_array_equal(np.concatenate(scored), x)
    bad = tf.data.Dataset.from_tensor_slices(x * np.nan).batch(10)
    old = vae.prior
    with pytest.raises(ValueError, match=r"^`validation_data` holds NaN"):
        vae.fit_prior(priors.Normal(), x, validation_data=bad, **quick)
    assert vae.prior is old


def test_bad_priors_leave_the_old_one():
    vae, x = mlp_vae(), binary_data()
    old = vae.prior
    with pytest.raises(TypeError, match=r"`prior` must be an object of `tfvae\.priors`"):
        vae.fit_prior("vamp", x, validation_data=x)
    with pytest.raises(ValueError, match=r"over latents of shape \(7,\)"):
        vae.fit_prior(priors.Normal(7), x, validation_data=x)
    with pytest.raises(TypeError, match=r"^`validation_data` must be an array.*Received: the str"):
        vae.fit_prior(priors.Normal(), x, validation_data="x")
    with pytest.raises(ValueError, match=r"`validation_data` does not have the shape|`x` does not"):
        vae.fit_prior(priors.Normal(), x, validation_data=x[:, :3])
    assert vae.prior is old


@pytest.mark.slow
def test_a_worse_prior_is_told_and_updates_are_enough_by_default():
    model = analytic.LinearGaussian.random()
    x = model.draw(200).astype("float32")
    far = priors.Normal()
    far.build(3)
    far.loc.assign(far.loc + 3.0)
    with pytest.warns(UserWarning, match=r"worse than the old one by .* per held-out point\. Fit"):
        short = model.vae().fit_prior(far, x, validation_data=x, epochs=1)
    assert short.nats < -5.0
    vae = model.vae()
    gain = vae.fit_prior(priors.Normal(), x, validation_data=x)
    assert len(gain.history["elbo"]) == 500  # 1,000 updates
    assert gain.nats > 0.0
