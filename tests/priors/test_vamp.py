"""The mixture of the encoder's own posteriors."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import tfvae
from tests import analytic
from tests.conftest import binary_data, mlp_decoder, mlp_encoder, mlp_vae
from tests.layers.cases import ALL_CASES
from tfvae.data.checks import check_array
from tfvae.distributions import support_of
from tfvae.priors import VampPrior


@pytest.mark.slow
def test_evidence_is_that_of_a_mixture_of_gaussians():
    """With a linear encoder and decoder p(x) is a mixture of Gaussians: the exact evidence (E3)."""
    model = analytic.LinearGaussian.random(dims=3, latents=2)
    u, x = model.draw(4, seed=5), model.draw(50, seed=6)
    linear = model.vae()
    prior = VampPrior(4, pseudo_inputs=u, learn_weights=True)
    vae = tfvae.VAE(linear.encoder, linear.decoder, prior, seed=0)
    prior.logits.assign([0.0, 1.0, -1.0, 0.5])
    weights = np.exp([0.0, 1.0, -1.0, 0.5]) / np.sum(np.exp([0.0, 1.0, -1.0, 0.5]))
    means = model.loc(u) @ model.w.T + model.b
    covariance = (model.w * model.s) @ model.w.T + model.s2 * np.eye(3)
    exact = np.log(
        sum(
            weight * stats.multivariate_normal(mean, covariance).pdf(x)
            for weight, mean in zip(weights, means, strict=True)
        )
    )
    result = tfvae.log_likelihood(vae, x, num_samples=20_000, verbose=False)
    # Six standard errors of the worst of fifty points, and the rounding of float32.
    error = np.abs(result.per_point - exact)
    assert np.all(error <= 6 * result.per_point_standard_error + 1e-4)
    assert np.median(result.per_point_standard_error) < 0.05


@pytest.mark.slow
def test_shares_the_encoder_and_starts_where_it_is_told():
    x = binary_data(24)
    prior = VampPrior(5, pseudo_inputs=x[:5])
    vae = tfvae.VAE(mlp_encoder(), mlp_decoder(), prior, seed=0)
    np.testing.assert_array_equal(prior.pseudo_inputs, x[:5])
    q_u, p_z = vae.encode(x[:5]), vae.prior_distribution()
    z = q_u.sample(seed=[1, 2])  # [5, K]
    expected = tf.reduce_logsumexp(q_u.log_prob(z[:, None]), axis=1) - np.log(5.0)
    np.testing.assert_allclose(p_z.log_prob(z), expected, rtol=1e-5)
    # The weights of the encoder are there once, and get gradients by way of the prior too.
    assert len({id(w) for w in vae.weights}) == len(vae.weights)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(vae.prior_distribution().log_prob(tf.ones([3, 2])))
    assert all(g is not None for g in tape.gradient(value, vae.encoder.trainable_weights))


@pytest.mark.slow
def test_pseudo_inputs_stay_within_the_bounds_of_the_data():
    vae = tfvae.VAE(mlp_encoder(), mlp_decoder(), VampPrior(5), seed=0)
    vae.compile(keras.optimizers.Adam(0.5))
    vae.fit(binary_data(), epochs=3, verbose=0)
    u = vae.prior.pseudo_inputs.numpy()
    assert u.min() == 0.0
    assert u.max() == 1.0
    decoder = mlp_decoder(likelihood=tfvae.layers.IndependentNormal)
    real = tfvae.VAE(mlp_encoder(), decoder, VampPrior(200), seed=0).prior.pseudo_inputs.numpy()
    assert real.min() < -1.0
    assert real.max() > 1.0


# Fractions of counts are as good to an encoder.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*holds fractions")
def test_pseudo_inputs_are_data_of_every_likelihood_at_the_start_and_after_any_step():
    """Ends of open intervals are never reached, nor numbers beyond the last category."""
    seen = set()
    for case in ALL_CASES:
        support = support_of(case.make()(case.params(1)))
        if support in seen:
            continue
        seen.add(support)
        prior = VampPrior(200)
        prior.connect(lambda x: None, case.event_shape, support)
        prior.build((2,))
        u = prior.pseudo_inputs
        check_array(u.numpy(), case.label, case.event_shape, support)
        assert u.numpy().std() > 0.1, case.label
        for sign in (1.0, -1.0):
            keras.optimizers.SGD(1e6).apply_gradients([(tf.fill(u.shape, sign), u)])
            check_array(u.numpy(), case.label, case.event_shape, support)
    assert len(seen) > 12


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_prior_of_the_rows_of_a_table_trains_by_the_data_encoder():
    columns = {
        "real": tfvae.layers.IndependentNormal(2),
        "count": tfvae.layers.IndependentPoisson(),
        "positive": tfvae.layers.IndependentLogNormal(),
        "share": tfvae.layers.IndependentBeta(),
        "category": tfvae.layers.IndependentCategorical((), levels=3),
    }
    head = tfvae.layers.Heterogeneous(columns)
    encode = tfvae.layers.DataEncoder(columns)
    encoder = keras.Sequential(
        [keras.Input((6,)), encode, keras.layers.Dense(4), tfvae.layers.MultivariateNormalDiag(2)]
    )
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(head._params_size()), head])
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [
            rng.normal(size=(30, 2)),
            rng.poisson(2.0, (30, 1)),
            rng.lognormal(size=(30, 1)),
            rng.beta(2.0, 2.0, (30, 1)),
            rng.integers(0, 3, (30, 1)),
        ],
        axis=1,
    ).astype("float32")
    encode.adapt(x)
    vae = tfvae.VAE(encoder, decoder, VampPrior(30), seed=0)
    # At the start every category is among the pseudo-inputs, and no logarithm of what has none.
    assert set(vae.prior.pseudo_inputs.numpy()[:, 5]) == {0.0, 1.0, 2.0}
    assert np.all(np.isfinite(encode(vae.prior.pseudo_inputs)))
    # So large a step takes pseudo-inputs to their bounds.
    vae.compile(keras.optimizers.Adam(3.0), jit_compile=False)
    losses = vae.fit(x, epochs=3, batch_size=15, verbose=0).history["loss"]
    assert np.all(np.isfinite(losses))
    assert np.all(np.isfinite(encode(vae.prior.pseudo_inputs)))


@pytest.mark.slow
@pytest.mark.rewriting  # which broke these steps
def test_posteriors_of_any_family():
    encoder = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(tfvae.layers.MultivariateNormalTriL.params_size(2)),
            tfvae.layers.MultivariateNormalTriL(2),
        ]
    )
    vae = tfvae.VAE(encoder, mlp_decoder(), VampPrior(5), seed=0)
    q_u = encoder(vae.prior.pseudo_inputs)
    z = np.random.default_rng(0).normal(size=(7, 2)).astype("float32")
    expected = tf.reduce_logsumexp(q_u.log_prob(z[:, None]), axis=1) - np.log(5.0)
    np.testing.assert_allclose(vae.prior_distribution().log_prob(z), expected, rtol=1e-5)
    # Steps in a loop, the last on one row, and steps on batches of unknown size.
    x, start, found = binary_data(20), vae.get_weights(), []
    for data, eagerly in (
        ({"x": x, "batch_size": 19}, True),
        ({"x": x, "batch_size": 19}, False),
        ({"x": tf.data.Dataset.from_tensor_slices(x).batch(19)}, False),
    ):
        vae.set_weights(start)
        vae.seed_generator.state.assign([0, 1])
        vae.compile("sgd", run_eagerly=eagerly)
        found.append(vae.fit(**data, shuffle=False, epochs=2, verbose=0).history["loss"])
    assert np.all(np.isfinite(found[0]))
    np.testing.assert_allclose(found[1:], [found[0]] * 2, rtol=1e-5)


def test_another_encoder_needs_another_prior():
    """Else the first model would score by the posteriors of the second, and say nothing."""
    encoder, prior = mlp_encoder(), VampPrior(3)
    vae = tfvae.VAE(encoder, mlp_decoder(), prior, seed=0)
    z = np.zeros((1, 2), "float32")
    before = vae.prior_distribution().log_prob(z)
    tfvae.VAE(encoder, mlp_decoder(), prior, seed=0)  # The same posteriors.
    with pytest.raises(ValueError, match="Give each model a prior of its own"):
        tfvae.VAE(mlp_encoder(), mlp_decoder(), prior, seed=0)
    np.testing.assert_array_equal(vae.prior_distribution().log_prob(z), before)


@pytest.mark.slow
def test_bad_arguments():
    with pytest.raises(ValueError, match="`num_components` must be"):
        VampPrior(0)
    with pytest.raises(ValueError, match=r"one row per component\. Received: 3 rows, num_comp.*=2"):
        VampPrior(2, pseudo_inputs=np.zeros([3, 6]))
    with pytest.raises(ValueError, match=r"Expected: \[5, 6\]. Received: \[5, 7\]"):
        tfvae.VAE(mlp_encoder(), mlp_decoder(), VampPrior(5, pseudo_inputs=np.zeros([5, 7])))
    start = np.linspace(0.0, 2.0, 30).reshape(5, 6)
    with pytest.raises(ValueError, match=r"within the support.*from 0 to 2 for Bernoulli\. Scale"):
        tfvae.VAE(mlp_encoder(), mlp_decoder(), VampPrior(5, pseudo_inputs=start))
    decoder = mlp_decoder(likelihood=tfvae.layers.IndependentLogNormal)
    with pytest.raises(ValueError, match=r"within the support.*from 0 to 0 for LogNormal"):
        tfvae.VAE(mlp_encoder(), decoder, VampPrior(5, pseudo_inputs=np.zeros([5, 6])))
    with pytest.raises(ValueError, match="is made of posteriors: pass it to a model"):
        VampPrior(5, 2).distribution()


def test_pseudo_inputs_start_from_the_rows_that_there_are():
    rows = binary_data(3)
    assert VampPrior(pseudo_inputs=rows).num_components == 3
    prior = VampPrior(5, pseudo_inputs=rows)
    mlp_vae(prior=prior)
    start = prior.pseudo_inputs.numpy()
    np.testing.assert_array_equal(start[:3], rows)
    assert len(np.unique(start, axis=0)) == 5
    assert start.min() >= 0.0
    assert start.max() <= 1.0


def test_pseudo_inputs_that_are_no_data_are_refused():
    for value, what in ((np.nan, "NaN or infinite"), (np.inf, "NaN or infinite")):
        prior = VampPrior(pseudo_inputs=np.full((2, 6), value))
        with pytest.raises(ValueError, match=f"^`pseudo_inputs` hold {what} values"):
            tfvae.VAE(mlp_encoder(), mlp_decoder(), prior)
