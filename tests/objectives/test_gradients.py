"""Gradient estimators where the gradient is known: values stay, means agree, noise differs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.conftest import binary_data, mlp_vae
from tests.distributions.test_detached import hiding_weights
from tests.objectives.passes import Finite, Gaussian, assert_mean, one_pass, standard_normal
from tfvae.objectives import (
    ELBO,
    MMD,
    BetaTC,
    Capacity,
    DoublyReparameterised,
    GradientEstimator,
    ImportanceWeighted,
    LeaveOneOut,
    PathDerivative,
    Relaxed,
    Renyi,
    Reparameterised,
    ScoreFunction,
    StraightThrough,
)
from tfvae.objectives.draws import zeros_with_gradient
from tfvae.objectives.power_means import PowerMeans

tfd = tfp.distributions

BOUNDS = {
    "ELBO": lambda gradient: ELBO(analytic_kl=False, num_samples=4, gradient=gradient),
    "beta": lambda gradient: ELBO(2.5, analytic_kl=False, num_samples=4, gradient=gradient),
    "IWAE": lambda gradient: ImportanceWeighted(4, gradient=gradient),
    "MIWAE": lambda gradient: ImportanceWeighted(4, groups=2, gradient=gradient),
    "CIWAE": lambda gradient: ImportanceWeighted(4, elbo_weight=0.3, gradient=gradient),
    "Renyi": lambda gradient: Renyi(0.6, 4, gradient=gradient),
    "Renyi < 0": lambda gradient: Renyi(-1.0, 4, gradient=gradient),
    "Renyi > 1": lambda gradient: Renyi(1.5, 4, gradient=gradient),
}
over_all_bounds = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n == "MIWAE" else [pytest.mark.slow]) for n in BOUNDS]
)


@pytest.fixture(scope="module")
def model():
    return Gaussian(20_000, loc=[0.3, -0.2], log_scale=[0.2, -0.1])


@pytest.mark.slow
@over_all_bounds
def test_values_stay_and_means_of_gradients_agree(model, name):
    make = BOUNDS[name]
    value, plain, decoder = model.gradients(make(Reparameterised()))
    error = plain.std(axis=0) / np.sqrt(len(plain))
    others = [DoublyReparameterised(), LeaveOneOut(), ScoreFunction()]
    others += [PathDerivative()] if name in ("ELBO", "beta") else []
    for gradient in others:
        # The draws of the score function come from another generator.
        same_draws = not isinstance(gradient, ScoreFunction)
        found, encoder, weights = model.gradients(make(gradient), seed=(1, 2))
        assert_mean(encoder, plain.mean(axis=0), error)
        if same_draws:
            np.testing.assert_allclose(found, value, rtol=1e-9)
            np.testing.assert_allclose(weights, decoder, rtol=1e-6)
            assert np.abs(encoder - plain).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("beta", [1.0, 2.5])
@pytest.mark.parametrize("analytic", [True, False])
def test_gradients_of_the_elbo_have_the_mean_of_the_closed_form(model, beta, analytic):
    """E log p(x|z) of a linear model is a polynomial in the posterior's parameters."""
    params = model.params[0]
    with tf.GradientTape() as tape:
        tape.watch(params)
        loc, log_scale = tf.split(params, 2)
        residual = model.x - tf.linalg.matvec(model.w, loc)
        noise = tf.reduce_sum(tf.square(model.w) * tf.exp(2.0 * log_scale))
        square = tf.reduce_sum(tf.square(residual)) + noise
        rate = tfd.kl_divergence(model.q_z(params), model.p_z)
        elbo = -0.5 * square / model.s2 - beta * rate
    expected = tape.gradient(elbo, params).numpy()
    estimators = [Reparameterised(), LeaveOneOut(), ScoreFunction()]
    estimators += [] if analytic else [PathDerivative(), DoublyReparameterised()]
    for gradient in estimators:
        objective = ELBO(beta, analytic_kl=analytic, num_samples=2, gradient=gradient)
        _, found, _ = model.gradients(objective)
        assert_mean(found, expected)


@over_all_bounds
def test_gradients_vanish_for_each_draw_of_the_exact_posterior(name):
    make, exact = BOUNDS[name], Gaussian(50)
    gradients = {DoublyReparameterised(), LeaveOneOut()}
    gradients |= {PathDerivative()} if name == "ELBO" else set()
    for gradient in gradients if name != "beta" else ():
        value, found, _ = exact.gradients(make(gradient))
        np.testing.assert_allclose(value, np.full(50, exact.log_evidence), rtol=1e-9)
        assert np.abs(found).max() < 1e-9, gradient
    _, plain, _ = exact.gradients(make(Reparameterised()))
    assert np.abs(plain).max() > 0.1


@pytest.mark.slow
def test_signal_to_noise_falls_with_draws_unless_doubly_reparameterised():
    # Wider than the true posterior, so that weights are bounded.
    model = Gaussian(2000, loc=[0.3, -0.2], log_scale=[0.2, 0.3])

    def signal_to_noise(gradient, num_samples):
        _, found, _ = model.gradients(ImportanceWeighted(num_samples, gradient=gradient))
        return np.abs(found.mean(axis=0)) / found.std(axis=0)

    # Rainforth et al.: of order 1 / sqrt(S); Tucker et al.: of order sqrt(S).
    plain = signal_to_noise(Reparameterised(), 64) / signal_to_noise(Reparameterised(), 4)
    doubly = [signal_to_noise(DoublyReparameterised(), num_samples) for num_samples in (4, 64)]
    assert np.all(plain < 0.5)
    assert np.all(doubly[1] / doubly[0] > 2.0)


def test_more_draws_leave_less_noise_than_no_baseline(model):
    noise = {}
    for gradient in (LeaveOneOut(), ScoreFunction()):
        _, found, _ = model.gradients(ImportanceWeighted(4, gradient=gradient))
        noise[gradient] = found.std(axis=0)
    assert np.all(noise[LeaveOneOut()] < 0.5 * noise[ScoreFunction()])


@pytest.mark.slow
@pytest.mark.parametrize("coins", [True, False], ids=["coins", "one-hot"])
@pytest.mark.parametrize("gradient", [LeaveOneOut(), ScoreFunction()], ids=str)
def test_score_functions_have_the_mean_of_the_enumerated_gradient(gradient, coins):
    model = Finite(40_000, coins=coins, size=2 if coins else 3)
    bounds = {
        ELBO(analytic_kl=False, num_samples=3, gradient=gradient): lambda w: tf.reduce_mean(w, 0),
        ImportanceWeighted(3, gradient=gradient): lambda w: tf.reduce_logsumexp(w, 0) - np.log(3),
    }
    seen = []
    for objective, bound in bounds.items():
        value, logits, w = model.exact(bound, 3)
        found = model.gradients(objective)
        seen.append(((value, logits, w), found))
        assert_mean(found[0], value)
        assert_mean(found[1], logits)
        # A draw's gradient in w is at most 3 in size.
        assert np.abs(found[2] / 40_000 - w).max() < 5 * 3.0 / np.sqrt(40_000)
    closed = ELBO(num_samples=3, gradient=gradient)
    (value, logits, _), sampled = seen[0]
    found = model.gradients(closed)
    assert_mean(found[0], value)
    assert_mean(found[1], logits)
    # What the closed form takes out is noise.
    assert not np.array_equal(found[1], sampled[1])


@pytest.mark.parametrize("coins", [True, False], ids=["coins", "one-hot"])
@pytest.mark.parametrize("gradient", [StraightThrough(), Relaxed(), Relaxed(0.2)], ids=str)
def test_straight_through_draws_are_draws_of_the_posterior(gradient, coins):
    model = Finite(20_000, coins=coins)
    objective = ELBO(num_samples=2, gradient=gradient)
    q_z = model.q_z(model.logits)
    z = objective.draw(q_z, 2, tf.constant([3, 4])).z.numpy()
    assert set(np.unique(z)) == {0.0, 1.0}
    assert z.shape == (2, 20_000, 3)
    assert_mean(z.reshape(-1, 3), q_z.mean()[0].numpy())
    terms = one_pass(objective, q_z, model.p_z, model.log_p_x)
    np.testing.assert_allclose(terms.log_q_z, q_z.log_prob(terms.z), rtol=1e-9)
    assert np.array_equal(objective(terms), tf.reduce_mean(terms.log_p_x, 0) - terms.kl)


@pytest.mark.parametrize("coins", [True, False], ids=["coins", "one-hot"])
def test_straight_through_is_exact_where_the_decoder_is_linear(coins):
    model = Finite(3, coins=coins)
    model.log_p_x = lambda z: tf.einsum("k,...k->...", model.w, z)
    _, logits, _ = model.exact(lambda log_w: tf.reduce_mean(log_w, 0), 1)
    _, found, _ = model.gradients(ELBO(gradient=StraightThrough()))
    np.testing.assert_allclose(found, np.tile(logits, (3, 1)), rtol=1e-6)
    # The gradient of a relaxed draw is that of other probabilities.
    _, relaxed, _ = model.gradients(ELBO(gradient=Relaxed()))
    assert np.abs(relaxed - found).max() > 0.01


def test_relaxed_gradients_are_those_of_the_relaxed_draw():
    logits = tf.constant([[0.3, -0.2, 0.5]], tf.float64)
    for coins, squash, noise in (
        (False, tf.nn.softmax, tfd.Gumbel),
        (True, tf.sigmoid, tfd.Logistic),
    ):
        make = Finite(1, coins=coins).q_z
        drawn = noise(tf.zeros([1, 3], tf.float64), 1.0).sample(5, seed=[7, 8])
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(logits)
            z = Relaxed(0.7).draw(make(logits), 5, tf.constant([7, 8])).z
            soft = squash((logits + drawn) / 0.7)
            one, other = tf.reduce_sum(tf.sin(z)), tf.reduce_sum(tf.cos(tf.stop_gradient(z)) * soft)
        found, expected = tape.gradient(one, logits), tape.gradient(other, logits)
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        assert np.abs(expected).max() > 1e-3


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
def test_xla_computes_the_same_gradients():
    model = Gaussian(7, loc=[0.3, -0.2], log_scale=[0.2, -0.1])
    for objective in (
        ImportanceWeighted(6, gradient=DoublyReparameterised()),
        ImportanceWeighted(6, groups=2, encoder_groups=3),
    ):
        plain, compiled = model.gradients(objective), model.gradients(objective, compiled=True)
        for one, other in zip(plain, compiled, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


def test_draws_of_weight_nothing_leave_no_trace_of_themselves():
    """Weights a hundred nats apart, whose shares float32 cannot hold."""
    params = tf.zeros([3, 1])
    objective = ImportanceWeighted(4, encoder_groups=4)
    with tf.GradientTape() as tape:
        tape.watch(params)
        q_z = tfd.MultivariateNormalDiag(params, tf.ones_like(params))
        log_p_x = lambda z: 200.0 * z[..., 0]  # noqa: E731
        terms = one_pass(objective, q_z, standard_normal(1), log_p_x)
        bound = objective(terms) * tf.constant([1.0, 0.0, 2.0])  # the second has no weight
    found = tape.gradient(bound, params).numpy()[:, 0]
    # Four groups of one draw: the mean over draws of 200 - z, whatever their weights.
    expected = np.array([1.0, 0.0, 2.0]) * (200.0 - np.mean(terms.z[..., 0], axis=0))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_zeros_with_gradient():
    x = tf.constant([1.0, np.inf, -np.inf])
    with tf.GradientTape() as tape:
        tape.watch(x)
        zeros = zeros_with_gradient(tf.constant([2.0, 3.0, 4.0]), x)
    np.testing.assert_array_equal(zeros, [0.0, 0.0, 0.0])
    np.testing.assert_array_equal(tape.gradient(zeros, x), [2.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ELBO(gradient=PathDerivative()), ValueError, "pass `analytic_kl=False`"),
        (lambda: ELBO(gradient=DoublyReparameterised()), ValueError, "pass `analytic_kl=False`"),
        (
            lambda: ELBO(analytic_kl=False, gradient=StraightThrough()),
            ValueError,
            "needs the closed form of the rate: leave out `analytic_kl=False`",
        ),
        (lambda: ELBO(gradient=LeaveOneOut()), ValueError, "at least two. Received: num_samples=1"),
        (lambda: ELBO(gradient="stl"), TypeError, "such as `PathDerivative.*Received: gradient='s"),
        (lambda: ImportanceWeighted(1, gradient=LeaveOneOut()), ValueError, "num_samples=1"),
        (lambda: ImportanceWeighted(4, gradient=Relaxed()), ValueError, "Choose `LeaveOneOut"),
        (lambda: Renyi(0.5, 4, gradient=None), TypeError, "Received: gradient=None"),
        (
            lambda: ImportanceWeighted(4, encoder_groups=2, gradient=LeaveOneOut()),
            ValueError,
            r"through the draws.*Received: LeaveOneOut\(\)",
        ),
        (lambda: Capacity(1.0, gradient=LeaveOneOut()), ValueError, r"Received: gradient=LeaveOne"),
        (
            lambda: MMD(gradient=PathDerivative()),
            ValueError,
            r"by `Reparameterised\(\)`, `Straight",
        ),
        (
            lambda: BetaTC(gradient="relaxed"),
            TypeError,
            "Received: gradient='relaxed'",
        ),
        (lambda: Relaxed(0.0), ValueError, "`temperature` must be > 0. Received: temperature=0.0"),
        (lambda: Relaxed("low"), ValueError, "temperature=low"),
    ],
)
def test_pairs_that_cannot_be_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def discrete_vae(**kwargs):
    """Returns a VAE whose latent is one of three states."""
    head = tfvae.layers.OneHotCategorical(3)
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3), head])
    decoder = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(6), tfvae.layers.IndependentBernoulli(6)]
    )
    return tfvae.VAE(encoder, decoder, tfvae.priors.OneHot(), seed=0, **kwargs)


@pytest.mark.slow
def test_posteriors_that_cannot_be_are_refused_at_compile():
    discrete, gaussian = discrete_vae(max_states=0), mlp_vae()
    with pytest.raises(
        ValueError,
        match=r"`gradient=Reparameterised\(\)` needs draws that carry a gradient.*"
        r"Received: OneHotCategorical, whose draws carry none.*LeaveOneOut",
    ):
        discrete.compile("adam", ELBO())
    assert not discrete.compiled or not hasattr(discrete, "objective")
    with pytest.raises(ValueError, match="Received: OneHotCategorical"):
        discrete.compile("adam", ImportanceWeighted(4, gradient=DoublyReparameterised()))
    with pytest.raises(ValueError, match=r"zeros and ones.*Received: MultivariateNormalDiag"):
        gaussian.compile("adam", ELBO(gradient=StraightThrough()))
    for objective in (
        ELBO(num_samples=2, gradient=LeaveOneOut()),
        ELBO(gradient=StraightThrough()),
        ELBO(gradient=ScoreFunction()),
    ):
        discrete.compile("adam", objective)
        assert discrete.objective is objective
    # A sum speaks for its addends.
    with pytest.raises(ValueError, match="Received: OneHotCategorical"):
        discrete.compile("adam", 2.0 * ELBO())
    # Few states are summed over by objectives of expectations, which then need no draws.
    few = discrete_vae()
    few.compile("adam", 2.0 * ELBO() + ELBO(beta=0.5))
    with pytest.raises(ValueError, match="Received: OneHotCategorical"):
        few.compile("adam", ImportanceWeighted(4))
    # Evaluation takes no gradient, and any posterior.
    assert np.all(np.isfinite(discrete.terms(binary_data(4), 2).log_w))


def test_posteriors_that_hide_their_parameters_are_refused():
    objective = ImportanceWeighted(4, gradient=DoublyReparameterised())
    with pytest.raises(TypeError, match=r"Received: TransformedDistribution, which reads .*kernel"):
        objective.check_posterior(hiding_weights())
    ImportanceWeighted(4).check_posterior(hiding_weights())


def test_posteriors_of_models_that_wait_for_data_are_refused_by_the_first_step():
    x = binary_data(4)
    head = tfvae.layers.OneHotCategorical(3)
    encoder = keras.Sequential([keras.layers.Dense(3), head])
    decoder = keras.Sequential([keras.layers.Dense(6), tfvae.layers.IndependentBernoulli(6)])
    decoder.layers[0].build((None, 3))
    vae = tfvae.VAE(encoder, decoder, tfvae.priors.OneHot(), max_states=0, seed=0)
    vae.compile("adam", ELBO(), jit_compile=False)
    before = decoder.layers[0].get_weights()
    with pytest.raises(ValueError, match="Received: OneHotCategorical, whose draws carry none"):
        vae.fit(x, verbose=0)
    assert int(vae.optimizer.iterations) == 0
    for one, other in zip(before, decoder.layers[0].get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_joint_posteriors_are_checked_part_by_part():
    normal = tfd.MultivariateNormalDiag([0.0], [1.0])
    coin = tfd.Independent(tfd.Bernoulli([0.0]), 1)
    Reparameterised().check(tfd.JointDistributionSequential([normal, normal]))
    with pytest.raises(ValueError, match="Received: JointDistributionSequential"):
        Reparameterised().check(tfd.JointDistributionSequential([normal, coin]))


def test_draws_of_a_level_are_scaled_too():
    """Below the first level of a hierarchy posteriors come in batches of `[S, B]`."""
    loc = tf.zeros([4, 3, 2])
    with tf.GradientTape() as tape:
        tape.watch(loc)
        q_z = tfd.MultivariateNormalDiag(loc, tf.ones([2]))
        z, _, scale = DoublyReparameterised().draw(q_z, 1, tf.constant([1, 2]))
        factors = tf.reshape(tf.range(12.0), [1, 4, 3])
        scaled, unscaled = tf.unstack(scale)
        loss = tf.reduce_sum(z) + tf.reduce_sum(scaled * factors + unscaled)
    found = tape.gradient(loss, loc)
    np.testing.assert_allclose(found, np.repeat(factors[0, ..., None], 2, axis=-1))


def test_straight_through_without_a_closed_form_is_refused():
    q_z = tfd.OneHotCategorical(tf.zeros([2, 3]), dtype=tf.float32)
    mixture = tfvae.layers.CategoricalMixtureOfOneHotCategorical(3, 2)
    p_z = mixture.new(tf.zeros([8]), 3, 2)
    for objective in (ELBO(gradient=StraightThrough()), Capacity(1.0, gradient=Relaxed())):
        terms = one_pass(objective, q_z, p_z, lambda z: tf.reduce_sum(z, axis=-1))
        with pytest.raises(ValueError, match=r"posterior OneHotCategorical and a prior OneHotMix"):
            objective(terms)


def test_the_base_takes_any_reparameterised_posterior():
    gradient = GradientEstimator()
    assert gradient.follows_draws
    gradient.check(tfd.MultivariateNormalDiag([0.0], [1.0]))
    nested = tfd.Independent(tfd.Bernoulli([0.0]), 1)
    with pytest.raises(ValueError, match=r"Received: Independent\(Bernoulli\)"):
        gradient.check(nested)


def test_few_states_are_summed_over_or_drawn_as_the_objective_wants():
    vae, x = discrete_vae(), binary_data(4)
    for objective, num in (
        (ELBO(num_samples=2), 3),
        (ELBO() + 2.0 * ELBO(analytic_kl=False), 3),
        (ELBO(num_samples=2, gradient=LeaveOneOut()), 2),
        (ELBO(num_samples=2, gradient=StraightThrough()), 2),
        (ImportanceWeighted(5, gradient=LeaveOneOut()), 5),
    ):
        terms = vae.terms(x, objective.num_samples, seed=1, objective=objective)
        assert terms.log_p_x.shape == (num, 4)
        assert (terms.log_weights is None) == (num != 3)
        assert np.all(np.isfinite(objective(terms)))
    states = vae.terms(x)
    exact = ELBO(beta=2.0)(states)
    np.testing.assert_allclose(exact, -states.distortion - 2.0 * states.rate, rtol=1e-6)
    np.testing.assert_allclose(ELBO(2.0, analytic_kl=False)(states), exact, rtol=1e-4)
    for objective in (ImportanceWeighted(3), Renyi(0.5, 3)):
        with pytest.raises(ValueError, match=r"compares draws.*all states of z"):
            objective(states)


@pytest.mark.slow
def test_gradients_of_a_model_are_those_of_the_estimator():
    """In a model with a network, the encoder alone sees a difference."""
    x, found = binary_data(6), {}
    for gradient in (Reparameterised(), DoublyReparameterised()):
        vae = mlp_vae()
        vae.set_weights([0.5 * np.ones_like(weight) for weight in vae.get_weights()])
        vae.compile("sgd", ImportanceWeighted(5, gradient=gradient), jit_compile=False)
        with tf.GradientTape(persistent=True) as tape:
            loss, _ = vae._step.scored({"x": tf.constant(x)}, None, training=True)
        parts = (vae.encoder, vae.decoder)
        grads = [tape.gradient(loss, part.trainable_weights) for part in parts]
        found[gradient] = [float(loss), *grads]
    plain, doubly = found.values()
    assert plain[0] == pytest.approx(doubly[0], rel=1e-6)
    for one, other in zip(plain[2], doubly[2], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)
    for one, other in zip(plain[1], doubly[1], strict=True):
        assert np.abs(one - other).max() > 1e-3


def test_a_draw_of_weight_zero_leaves_the_baselines_of_all_finite():
    """As of an x that is impossible at one z: by hand, from the others of each."""
    log_w = np.array([-np.inf, 0.0, 1.0])
    w = np.exp(log_w)
    without = [
        np.log(np.mean(np.append(np.delete(w, s), v))) for s, v in enumerate([np.e**0.5, 0.0, 0.0])
    ]
    signal = LeaveOneOut()._signal(tf.constant(log_w[:, None]), PowerMeans.of(order=1.0))
    np.testing.assert_allclose(signal[:, 0], np.log(np.mean(w)) - without, rtol=1e-6)
