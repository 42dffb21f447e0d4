"""Hierarchies against closed forms, and their life."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import tfvae
from tests.conftest import assert_trains_under_xla, binary_data, mlp_decoder, mlp_encoder, slow_but
from tfvae.distributions import pairwise_log_prob
from tfvae.layers import (
    IndependentBernoulli,
    IndependentNormal,
    MultivariateNormalDiag,
    MultivariateNormalTriL,
    OneHotCategorical,
)
from tfvae.objectives import (
    ELBO,
    DoublyReparameterised,
    ImportanceWeighted,
    LeaveOneOut,
    PathDerivative,
)

SIZES = {"x": 6, "z_1": 4, "z_2": 3, "z_3": 2, "context": 3}


def network(reads, layer, size, hidden=5):
    """A network that reads these, by name, and ends in a distribution over `size` numbers."""
    inputs = [keras.Input((SIZES[name],), name=name) for name in reads]
    h = keras.layers.Concatenate()(inputs) if len(inputs) > 1 else inputs[0]
    h = keras.layers.Dense(hidden, "tanh")(h)
    params = keras.layers.Dense(layer.params_size(size))(h)
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], layer(size)(params))


def normal(name, *reads):
    return network(reads, MultivariateNormalDiag, SIZES[name])


def bernoulli(*reads):
    return network(reads, IndependentBernoulli, SIZES["x"])


def chain(size, latents):
    """A posterior of what the features of its level are, without names."""
    return keras.Sequential(
        [
            keras.Input((size,)),
            keras.layers.Dense(MultivariateNormalDiag.params_size(latents)),
            MultivariateNormalDiag(latents),
        ]
    )


def features():
    x = keras.Input((6,))
    first = keras.layers.Dense(5, "tanh")(x)
    second = keras.layers.Dense(4, "tanh")(first)
    return keras.Model(x, [first, second, keras.layers.Dense(3, "tanh")(second)])


def decoders():
    return [bernoulli("z_1", "z_2"), normal("z_1", "z_2"), normal("z_2", "z_3")]


# Posteriors of three levels, and what else makes the model.
KINDS = {
    "top_down": (
        lambda: [normal("z_1", "x", "z_2"), normal("z_2", "x", "z_3"), normal("z_3", "x")],
        lambda: {"prior": tfvae.priors.VampPrior(4)},
    ),
    "bottom_up": (
        lambda: [normal("z_1", "x"), normal("z_2", "z_1"), normal("z_3", "x", "z_2")],
        dict,
    ),
    "each": (lambda: [normal("z_1", "x"), normal("z_2", "x"), normal("z_3", "x")], dict),
    "ladder": (
        lambda: [chain(5, 4), chain(4, 3), chain(3, 2)],
        lambda: {"features": features(), "precision_weighted": True},
    ),
}


def three_levels(kind):
    posteriors, more = KINDS[kind]
    return tfvae.HierarchicalVAE(posteriors(), decoders(), seed=0, **more())


def two_levels():
    return tfvae.HierarchicalVAE(
        [normal("z_1", "x", "z_2"), normal("z_2", "x")],
        [bernoulli("z_1"), normal("z_1", "z_2")],
        seed=0,
    )


class LinearGaussian:
    """z_2 ~ N(0, I), z_1 ~ N(A z_2 + a, S_1), x ~ N(W z_1 + b, S_0), and q(z|x) near p(z|x).

    All in float64. The joint of (z_1, z_2, x) is Gaussian, and so is each conditional, of which
    `conditional` gives the matrix, the offset and the covariance.
    """

    def __init__(self, seed=0):
        self.sizes = {"z_1": 3, "z_2": 2, "x": 4}
        rng = np.random.default_rng(seed)
        a, w = rng.normal(size=(3, 2)), rng.normal(size=(4, 3))
        s_1, s_0 = np.diag(rng.uniform(0.3, 1.0, 3)), np.diag(rng.uniform(0.3, 1.0, 4))
        self.p = {
            "x": (("z_1",), w, rng.normal(size=4), s_0),
            "z_1": (("z_2",), a, rng.normal(size=3), s_1),
        }
        mean_1 = self.p["z_1"][2]
        self.mean = np.concatenate([mean_1, np.zeros(2), w @ mean_1 + self.p["x"][2]])
        noise = np.zeros((9, 9))
        noise[:3, :3], noise[3:5, 3:5], noise[5:, 5:] = s_1, np.eye(2), s_0
        weights = np.zeros((9, 9))
        weights[:3, 3:5], weights[5:, :3] = a, w
        solve = np.linalg.inv(np.eye(9) - weights)
        self.covariance = solve @ noise @ solve.T
        self.rng = rng

    def part(self, names):
        starts = {"z_1": 0, "z_2": 3, "x": 5}
        parts = [np.arange(self.sizes[name]) + starts[name] for name in names]
        return np.concatenate([np.arange(0), *parts])

    def conditional(self, name, reads, error=0.0):
        """q(name|reads): the exact one, or one beside it."""
        i, j = self.part([name]), self.part(reads)
        c = self.covariance
        matrix = np.linalg.solve(c[np.ix_(j, j)], c[np.ix_(j, i)]).T
        covariance = c[np.ix_(i, i)] - matrix @ c[np.ix_(j, i)]
        matrix = matrix + error * self.rng.normal(size=matrix.shape)
        offset = self.mean[i] - matrix @ self.mean[j] + error * self.rng.normal(size=len(i))
        return tuple(reads), matrix, offset, covariance * (1.0 + error)

    def log_p_x(self, x):
        i = self.part(["x"])
        return stats.multivariate_normal(self.mean[i], self.covariance[np.ix_(i, i)]).logpdf(x)

    def draw(self, num):
        i = self.part(["x"])
        covariance = self.covariance[np.ix_(i, i)]
        x = np.random.default_rng(1).multivariate_normal(self.mean[i], covariance, num)
        return x.astype("float32")

    def network(self, name, conditional):
        """The conditional as a Keras model with these weights."""
        reads, matrix, offset, covariance = conditional
        inputs = [keras.Input((self.sizes[read],), name=read) for read in reads]
        joined = keras.layers.Concatenate()(inputs) if len(inputs) > 1 else inputs[0]
        layer = MultivariateNormalTriL(self.sizes[name], min_scale=0.0)
        dense = keras.layers.Dense(layer.params_size(self.sizes[name]))
        model = keras.Model(inputs, layer(dense(joined)))
        raw = np.linalg.cholesky(covariance)
        np.fill_diagonal(raw, np.log(np.expm1(np.diag(raw))))
        raw = tfp.math.fill_triangular_inverse(raw).numpy()
        kernel = np.hstack([matrix.T, np.zeros((matrix.shape[1], len(raw)))])
        dense.set_weights([kernel, np.concatenate([offset, raw])])
        return model

    def model(self, q):
        return tfvae.HierarchicalVAE(
            [self.network(name, q[name]) for name in ("z_1", "z_2")],
            [self.network(name, self.p[name]) for name in ("x", "z_1")],
            seed=0,
        )

    def expected(self, q, x):
        """The rates `[N, 2]` and the distortion `[N]` of q, by Gaussian integrals."""
        rates, distortions = [], []
        order = ["z_1", "z_2"] if "z_1" in q["z_2"][0] else ["z_2", "z_1"]
        for point in x.astype("float64"):
            mean, covariance = np.zeros(9), np.zeros((9, 9))
            mean[self.part(["x"])] = point
            for name in order:
                reads, matrix, offset, noise = q[name]
                i, j = self.part([name]), self.part(reads)
                mean[i] = matrix @ mean[j] + offset
                covariance[i] = matrix @ covariance[j]
                covariance[:, i] = covariance[i].T
                covariance[np.ix_(i, i)] = matrix @ covariance[np.ix_(j, j)] @ matrix.T + noise

            def score(name, reads, matrix, offset, noise, mean=mean, covariance=covariance):
                """E_q log N(name; matrix @ reads + offset, noise)."""
                residual = np.zeros((len(offset), 9))
                residual[:, self.part([name])] = np.eye(len(offset))
                residual[:, self.part(reads)] = -matrix
                r = residual @ mean - offset
                second = residual @ covariance @ residual.T + np.outer(r, r)
                trace = np.trace(np.linalg.solve(noise, second))
                return -0.5 * (np.linalg.slogdet(2 * np.pi * noise)[1] + trace)

            top = ((), np.zeros((2, 0)), np.zeros(2), np.eye(2))
            p = {**self.p, "z_2": top}
            rates.append([score(n, *q[n]) - score(n, *p[n]) for n in ("z_1", "z_2")])
            distortions.append(-score("x", *p["x"]))
        return np.array(rates), np.array(distortions)


TOP_DOWN = {"z_2": ("x",), "z_1": ("x", "z_2")}
BOTTOM_UP = {"z_1": ("x",), "z_2": ("z_1",)}
EACH = {"z_1": ("x",), "z_2": ("x",)}


@pytest.mark.parametrize("reads", [TOP_DOWN, BOTTOM_UP], ids=["top-down", "bottom-up"])
def test_every_draw_of_the_exact_posterior_weighs_log_p_x(reads):
    exact = LinearGaussian()
    x = exact.draw(5)
    q = {name: exact.conditional(name, parents) for name, parents in reads.items()}
    vae = exact.model(q)
    log_w = vae.terms(x, 3).log_w
    np.testing.assert_allclose(log_w, np.broadcast_to(exact.log_p_x(x), [3, 5]), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "reads", slow_but("up", of={"top-down": TOP_DOWN, "up": BOTTOM_UP, "each": EACH})
)
def test_rates_by_level_match_their_closed_forms(reads):
    exact = LinearGaussian()
    x = exact.draw(5)
    q = {name: exact.conditional(name, parents, 0.2) for name, parents in reads.items()}
    vae = exact.model(q)
    rates, distortion = exact.expected(q, x)

    @tf.function
    def passes(seed):
        terms = vae.terms(x, 500, seed)
        return terms.level_rates, terms.rate, terms.sampled_rate, terms.distortion

    found = [
        np.array(v) for v in zip(*(passes(tf.constant([0, s])) for s in range(20)), strict=True)
    ]
    for values, right in zip(
        found, (rates, rates.sum(axis=1), rates.sum(axis=1), distortion), strict=True
    ):
        # Five standard errors of a mean of 20 passes, and the rounding of float32.
        error = values.std(axis=0, ddof=1) / np.sqrt(20)
        assert np.all(np.abs(values.mean(axis=0) - right) < 5 * error + 1e-4)
    # What depends on no draw is known without error; and a closed form has less variance.
    assert (found[0][..., 1].std(axis=0) < 1e-5).all() == (reads is not BOTTOM_UP)
    if reads is TOP_DOWN:
        assert found[1].var(axis=0).sum() < found[2].var(axis=0).sum()
    # Between full covariances there is a closed form only where both depend on the same draws.
    assert (vae.terms(x).kl is None) == (reads is not TOP_DOWN)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_one_level_is_the_plain_vae():
    encoder, decoder, x = mlp_encoder(), mlp_decoder(), binary_data(20)
    start = [w.numpy() for w in encoder.weights + decoder.weights]
    logs, sampled = [], []
    for make in (
        lambda: tfvae.VAE(encoder, decoder, seed=3),
        lambda: tfvae.HierarchicalVAE([encoder], [decoder], seed=3),
    ):
        for weight, value in zip(encoder.weights + decoder.weights, start, strict=True):
            weight.assign(value)
        vae = make()
        terms = vae.terms(x, 3, 5)
        vae.compile("adam", jit_compile=False)
        history = vae.fit(x, validation_data=(x,), epochs=2, batch_size=7, verbose=0).history
        evidence = tfvae.log_likelihood(vae, x, num_samples=50, verbose=False)
        logs.append({**history, "log_p_x": evidence.per_point})
        sampled.append([*terms[:5], vae.sample(4, seed=1), vae.reconstruct(x)])
    plain, hierarchy = logs
    assert set(hierarchy) - set(plain) == {"rate_1", "val_rate_1"}
    np.testing.assert_array_equal(hierarchy["rate_1"], hierarchy["rate"])
    for name, values in plain.items():
        np.testing.assert_allclose(hierarchy[name], values, rtol=1e-5, atol=1e-6, err_msg=name)
    for one, other in zip(*sampled, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_joint_distributions(kind):
    vae, x = three_levels(kind), tf.constant(binary_data(8))
    assert vae.levels == ("z_1", "z_2", "z_3")
    with tf.GradientTape() as tape:
        terms = vae.terms(x, 3, 5)
        value = tf.reduce_mean(terms.elbo)
    gradients = tape.gradient(value, vae.trainable_weights)
    assert all(g is not None and np.any(g != 0.0) for g in gradients)
    assert len({id(w) for w in vae.weights}) == len(vae.weights)

    q_z, p_z = vae.encode(x), vae.prior_distribution()
    assert terms.z.shape == (3, 8, 9)
    np.testing.assert_allclose(terms.log_q_z, q_z.log_prob(terms.z), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(terms.log_p_z, p_z.log_prob(terms.z), rtol=1e-4, atol=1e-4)
    assert (terms.kl is None) == (kind in ("bottom_up", "top_down"))  # the latter by its VampPrior
    rate = tf.reduce_sum(terms.level_rates, axis=1)
    np.testing.assert_allclose(terms.rate, rate, rtol=1e-6)
    pairs = pairwise_log_prob(q_z, terms.z)
    for j in range(8):
        alone = vae.encode(tf.repeat(x[j : j + 1], 8, axis=0))
        np.testing.assert_allclose(pairs[:, :, j], alone.log_prob(terms.z), rtol=1e-4, atol=1e-4)
    # The levels, by hand, from the networks themselves.
    z = vae.split(terms.z[0])
    expected = vae.decoders[1](z["z_2"]).log_prob(z["z_1"])
    np.testing.assert_allclose(p_z.level_log_probs(terms.z)[0, :, 0], expected, rtol=1e-4)
    if kind == "top_down":
        expected = vae.posteriors[0]([x, z["z_2"]]).log_prob(z["z_1"])
        np.testing.assert_allclose(q_z.level_log_probs(terms.z)[0, :, 0], expected, rtol=1e-4)
    if kind == "ladder":
        own = vae.posteriors[0](vae.features(x)[0])
        above = vae.decoders[1](z["z_2"])
        precision = own.stddev() ** -2.0 + above.stddev() ** -2.0
        loc = (
            own.mean() * own.stddev() ** -2.0 + above.mean() * above.stddev() ** -2.0
        ) / precision
        expected = stats.norm.logpdf(z["z_1"], loc, precision**-0.5).sum(axis=1)
        np.testing.assert_allclose(q_z.level_log_probs(terms.z)[0, :, 0], expected, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
@pytest.mark.parametrize("kind", ["top_down", "ladder"])
def test_three_levels_train_under_xla(kind):
    assert_trains_under_xla(three_levels(kind), binary_data(16))


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["top_down", "ladder"])
def test_three_levels_train_and_are_stored(kind, tmp_path):
    vae, x = three_levels(kind), binary_data(16)
    start = [w.numpy() for w in vae.trainable_weights]
    vae.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    history = vae.fit(x, epochs=2, batch_size=8, verbose=0).history
    assert set(history) == {"loss", "elbo", "distortion", "rate", "rate_1", "rate_2", "rate_3"}
    total = sum(np.array(history[f"rate_{level}"]) for level in (1, 2, 3))
    np.testing.assert_allclose(history["rate"], total, rtol=1e-5)
    assert not any(np.array_equal(a, b) for a, b in zip(start, vae.trainable_weights, strict=True))

    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")  # safe mode is the default
    assert len(loaded.weights) == len(vae.weights)
    np.testing.assert_array_equal(loaded.terms(x, 3, 5).log_w, vae.terms(x, 3, 5).log_w)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_three_levels_are_served_by_tensorflow_alone(tmp_path):
    vae, x = three_levels("ladder"), binary_data(5)
    vae.export(tmp_path / "export", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "export")).signatures
    seed = tf.constant([1, 2])
    drawn = served["generate"](num_samples=tf.constant(4), seed=seed)
    assert drawn["z"].shape == (4, 9)
    np.testing.assert_array_equal(drawn["x"], vae.generate(4, seed)["x"])
    scores = served["elbo"](x=tf.constant(x), num_samples=tf.constant(3), seed=seed)
    np.testing.assert_allclose(scores["elbo"], vae.terms(x, 3, seed).elbo, rtol=1e-5)
    described = served["serving_default"](x=tf.constant(x))
    np.testing.assert_allclose(described["reconstruction"], vae.reconstruct(x), rtol=1e-5)
    assert set(described) == {"z_mean", "reconstruction"}


@pytest.mark.slow
@pytest.mark.exhaustive
def test_ledger_shows_the_rate_level_by_level():
    ledger = tfvae.decompose(
        two_levels(),
        binary_data(12),
        num_samples=100,
        evidence_samples=100,
        batch_size=8,
        verbose=False,
    )
    for identity, residual in ledger.residuals.items():
        assert abs(residual.mean) <= 5 * residual.standard_error + 1e-4, identity
    total = sum(rate.per_point for rate in ledger.level_rates.values())
    np.testing.assert_allclose(total, ledger.rate.per_point, rtol=1e-5)
    assert "rate_2" in str(ledger)
    assert ledger.to_dict()["rate_1"]["mean"] == ledger.level_rates["rate_1"].mean


@pytest.fixture(scope="module")
def gradient_of():
    """Gives mean and standard error of the gradient of an objective in the biases of posteriors."""
    keras.utils.set_random_seed(0)
    vae = two_levels()
    x = tf.repeat(tf.constant(binary_data(1)), 1000, axis=0)
    weights = [part.layers[-2].bias for part in vae.posteriors]

    @functools.cache
    def mean_and_error(objective):
        vae.compile(objective=objective)  # tries a draw

        @tf.function
        def gradients(seed):
            with tf.GradientTape() as tape:
                terms = vae.terms(x, objective.num_samples, seed, objective=objective)
                bound = tf.reduce_mean(objective(terms))
            return tape.gradient(bound, [weight.value for weight in weights])

        found = [np.concatenate(gradients(tf.constant([1, s]))) for s in range(16)]
        return np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / 4.0

    return mean_and_error


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "objective",
    [
        ELBO(analytic_kl=False),
        ELBO(analytic_kl=False, gradient=PathDerivative()),
        ELBO(num_samples=2, gradient=LeaveOneOut()),
        ImportanceWeighted(1, gradient=DoublyReparameterised()),
    ],
    ids=lambda objective: type(objective.gradient).__name__,
)
def test_estimators_have_the_same_mean_gradient_at_every_level(objective, gradient_of):
    mean, error = gradient_of(objective)
    expected, other = gradient_of(ELBO())
    assert mean.shape == (8 + 6,)
    # Student's t of 15 degrees of freedom: one of 14 beyond six errors in ten thousand cases.
    assert np.all(np.abs(mean - expected) < 6 * np.hypot(error, other) + 1e-6)
    assert np.all(np.abs(expected) > 0.0)


@pytest.mark.slow
def test_contexts_enter_where_networks_name_them():
    x, context = tf.constant(binary_data(9)), tf.tile(tf.eye(3), [3, 1])
    prior = tfvae.priors.Conditional(normal("z_2", "context"))
    vae = tfvae.HierarchicalVAE(
        [normal("z_1", "x", "z_2"), normal("z_2", "x", "context")],
        [bernoulli("z_1", "context"), normal("z_1", "z_2", "context")],
        prior,
        seed=0,
    )
    assert vae.data.context_shape == (3,)
    terms = vae.terms(x, 3, 5, context=context)
    q_z, p_z = vae.encode(x, context), vae.prior_distribution(context)
    assert p_z.batch_shape == (9,)
    np.testing.assert_allclose(terms.log_q_z, q_z.log_prob(terms.z), rtol=1e-4)
    np.testing.assert_allclose(terms.log_p_z, p_z.log_prob(terms.z), rtol=1e-4)
    z = vae.split(terms.z[0])
    middle = vae.decoders[1]([z["z_2"], context]).log_prob(z["z_1"])
    expected = middle + prior.distribution(context).log_prob(z["z_2"])
    np.testing.assert_allclose(terms.log_p_z[0], expected, rtol=1e-4)
    assert vae.sample(9, seed=1, context=context).shape == (9, 6)
    with pytest.raises(ValueError, match="needs a context beside `x`"):
        vae.terms(x)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_levels_may_be_discrete():
    """A mixture of Gaussian latents: p(y) p(z|y) p(x|z), q(y|x) q(z|x, y)."""
    vae = tfvae.HierarchicalVAE(
        [normal("z_1", "x", "z_2"), network(["x"], OneHotCategorical, 3)],
        [bernoulli("z_1"), normal("z_1", "z_2")],
        tfvae.priors.OneHot(),
        seed=0,
    )
    x = tf.constant(binary_data(6))
    q_z = vae.encode(x)
    assert q_z.reparameterization_type == tfp.distributions.NOT_REPARAMETERIZED
    terms = vae.terms(x, 4, 5)
    # An ELBO of closed forms would lack the gradient of the states.
    assert terms.kl is None
    logits = vae.posteriors[1](x).logits_parameter()
    r = tf.nn.softmax(logits)
    expected = tf.reduce_sum(r * (tf.nn.log_softmax(logits) + np.log(3.0)), axis=1)
    np.testing.assert_allclose(terms.level_rates[:, 1], expected, atol=1e-5)
    z = vae.split(terms.z[0])
    state = tf.argmax(z["z_2"], axis=1)
    np.testing.assert_array_equal(tf.one_hot(state, 3), z["z_2"])
    log_r = tf.gather(tf.nn.log_softmax(logits), state, batch_dims=1)
    log_q = vae.posteriors[0]([x, z["z_2"]]).log_prob(z["z_1"])
    np.testing.assert_allclose(terms.log_q_z[0], log_r + log_q, rtol=1e-5)
    log_p = vae.decoders[1](z["z_2"]).log_prob(z["z_1"]) - np.log(3.0)
    np.testing.assert_allclose(terms.log_p_z[0], log_p, rtol=1e-5)
    with pytest.raises(ValueError, match=r"needs draws that carry a gradient.*OneHotCategorical"):
        vae.compile()
    vae.compile(objective=ELBO(num_samples=2, gradient=LeaveOneOut()))
    assert np.isfinite(vae.fit(x, verbose=0).history["loss"][0])


@pytest.mark.slow
def test_missing_entries_have_to_be_filled_in_before_any_level():
    head = tfvae.layers.Masked(IndependentBernoulli(6))
    decoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6), head])
    fill = keras.Sequential([keras.Input((6,)), tfvae.networks.FillMissing()])
    size = fill.output_shape[-1]
    x = np.where(np.arange(30).reshape(5, 6) % 4 == 0, np.nan, binary_data(5))
    vae = tfvae.HierarchicalVAE(
        [chain(size, 4), chain(size, 3)],
        [decoder, chain(3, 4)],
        features=fill,
        precision_weighted=True,
    )
    assert np.all(np.isfinite(vae.terms(x.astype("float32")).log_w))
    with pytest.raises(ValueError, match="computes with the NaN of missing entries"):
        tfvae.HierarchicalVAE([chain(6, 4), chain(6, 3)], [decoder, chain(3, 4)])


@pytest.mark.slow
def test_networks_may_be_classes_and_read_in_order():
    class Posterior(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense, self.head = keras.layers.Dense(8), MultivariateNormalDiag(4)

        def call(self, x, z_2):
            return self.head(self.dense(keras.ops.concatenate([x, z_2], axis=-1)))

    x = binary_data(8)
    unnamed = [keras.Input((6,)), keras.Input((3,))]
    joined = keras.layers.Dense(8)(keras.layers.Concatenate()(unnamed))
    by_name = {name: keras.Input((SIZES[name],), name=name) for name in ("z_2", "x")}
    dense = keras.layers.Dense(8)(keras.layers.Concatenate()([by_name["x"], by_name["z_2"]]))
    for posterior in (
        Posterior(),
        keras.Model(unnamed, MultivariateNormalDiag(4)(joined)),
        keras.Model(by_name, MultivariateNormalDiag(4)(dense)),
    ):
        vae = tfvae.HierarchicalVAE(
            [posterior, chain(6, 3)], [mlp_decoder(latents=4), chain(3, 4)], seed=0
        )
        assert vae.built
        assert vae.terms(x).level_rates.shape == (8, 2)
        assert vae.graph.posterior.parts["z_1"].reads in (("x", "z_2"), ("z_2", "x"))


@pytest.mark.slow
def test_a_new_prior_of_the_top_is_fitted_alone():
    vae, x = two_levels(), binary_data(8)
    kept = {id(w): w.numpy() for part in vae.parts_beside_prior for w in part.weights}
    prior = tfvae.priors.Normal()
    gain = vae.fit_prior(prior, x, validation_data=x, epochs=1, num_samples=2)
    assert np.isfinite(gain.nats)
    assert vae.prior is prior
    assert prior.event_shape == (3,)
    assert len(vae.weights) == len(kept) + 2  # loc and scale of the new prior
    for weight in vae.weights:
        if id(weight) in kept:
            np.testing.assert_array_equal(weight, kept[id(weight)])
    assert np.any(prior.loc != 0.0)
    with pytest.raises(TypeError, match=r"`prior` must be an object of"):
        vae.replace_prior("normal")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: m([normal("z_1", "x")], []), r"Received: 1 posteriors and 0 decoders"),
        (lambda m: m([], []), r"takes L `posteriors`.*Received: 0 posteriors"),
        (
            lambda m: m([normal("z_1", "x"), chain(5, 3)], [bernoulli("z_1"), chain(3, 4)]),
            r"`posteriors\[1\]` does not take `x`. Expected: x of shape \(5,\).*Received: .*\(6,\)",
        ),
        (
            lambda m: m([normal("z_1", "x"), chain(6, 3)], [bernoulli("z_1"), chain(2, 4)]),
            r"`decoders\[1\]` does not take `z_2`. Expected: z_2 of shape \(2,\).*\(3,\)",
        ),
        (
            lambda m: m([normal("z_1", "x"), chain(6, 3)], [bernoulli("z_1"), chain(3, 2)]),
            r"over one latent `z_1`. Expected: event_shape=\(4,\).*event_shape=\(2,\)",
        ),
        (
            lambda m: m([normal("z_1", "x"), chain(6, 3)], [chain(4, 5), chain(3, 4)]),
            r"`decoders\[0\]` must return a distribution over one example of `x`.*\(6,\)",
        ),
        (
            lambda m: m(
                [normal("z_1", "x", "z_2"), normal("z_2", "z_1")], [bernoulli("z_1"), chain(3, 4)]
            ),
            r"depend on itself.*Received: z_1 reads z_2; z_2 reads z_1",
        ),
        (
            lambda m: m([normal("z_1", "x"), chain(6, 3)], [bernoulli("z_1"), normal("z_1", "x")]),
            r"`decoders\[1\]` reads x. Expected: inputs among z_2, context",
        ),
        (
            lambda m: m([normal("z_1", "x"), chain(6, 3)], [bernoulli("x"), chain(3, 4)]),
            r"`decoders\[0\]` reads x. Expected: inputs among z_1, z_2, context",
        ),
        (
            lambda m: m(
                [normal("z_1", "x"), normal("z_2", "x", "z_1")],
                [bernoulli("z_1"), chain(3, 4)],
                tfvae.priors.VampPrior(3),
            ),
            r"needs the top posterior as a function of x alone, but `posteriors\[1\]` reads z_1",
        ),
        (
            lambda m: m(
                [normal("z_1", "x", "z_2"), chain(6, 3)],
                [bernoulli("z_1"), chain(3, 4)],
                precision_weighted=True,
            ),
            r"With `precision_weighted` posteriors read no levels.*`posteriors\[0\]` reads z_2",
        ),
        (
            lambda m: m(
                [network(["x"], MultivariateNormalTriL, 4), chain(6, 3)],
                [bernoulli("z_1"), chain(3, 4)],
                precision_weighted=True,
            ),
            r"takes diagonal Gaussians.*Received: FullNormal",
        ),
        (
            lambda m: m(
                [chain(5, 4), chain(5, 3)],
                [bernoulli("z_1"), chain(3, 4)],
                features=features(),
            ),
            r"`features` must return one tensor.*Expected: 2 tensors. Received: 3",
        ),
    ],
)
def test_pieces_that_do_not_fit_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(tfvae.HierarchicalVAE)


def test_levels_may_have_any_shape():
    x, z_2 = keras.Input((6,), name="x"), keras.Input((3,), name="z_2")
    z_1 = keras.Input((2, 2), name="z_1")
    head, join = IndependentNormal((2, 2)), keras.layers.Concatenate()
    posterior = keras.Model([x, z_2], head(keras.layers.Dense(8)(join([x, z_2]))))
    decoder = keras.layers.Dense(6)(keras.layers.Flatten()(z_1))
    vae = tfvae.HierarchicalVAE(
        [posterior, normal("z_2", "x")],
        [
            keras.Model(z_1, IndependentBernoulli(6)(decoder)),
            keras.Model(z_2, head(keras.layers.Dense(8)(z_2))),
        ],
        seed=0,
    )
    terms = vae.terms(binary_data(5), 3)
    assert vae.latent_shape == (7,)
    levels = vae.split(terms.z)
    assert levels["z_1"].shape == (3, 5, 2, 2)
    assert terms.kl.shape == (5,)
    expected = vae.decoders[1](levels["z_2"][0]).log_prob(levels["z_1"][0])
    np.testing.assert_allclose(terms.p_z.level_log_probs(terms.z)[0, :, 0], expected, rtol=1e-5)


def test_too_many_inputs_without_names_are_refused():
    inputs = [keras.Input((n,)) for n in (6, 3, 2)]
    joined = keras.layers.Dense(8)(keras.layers.Concatenate()(inputs))
    posterior = keras.Model(inputs, MultivariateNormalDiag(4)(joined))
    with pytest.raises(ValueError, match=r"more inputs than there is to read: x, z_2. Rec.*: 3"):
        tfvae.HierarchicalVAE([posterior, chain(6, 3)], [bernoulli("z_1"), chain(3, 4)])


def test_parts_of_a_wrong_kind_are_refused():
    dense = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    for make, message in [
        (lambda m: m(chain(6, 3), [mlp_decoder()]), "`posteriors` must be a list of Keras models"),
        (lambda m: m([abs], [mlp_decoder()]), r"`posteriors\[0\]` must be a Keras model"),
        (lambda m: m([dense], [bernoulli("z_1")]), r"`posteriors\[0\]` must return a tfp distrib"),
        (lambda m: m([chain(6, 2)], [mlp_decoder()], 3), "`prior` must be an object of"),
    ]:
        with pytest.raises(TypeError, match=message):
            make(tfvae.HierarchicalVAE)
    with pytest.raises(TypeError, match=r"`decoders\[1\]` must return a tfp distribution"):
        tfvae.HierarchicalVAE(
            [normal("z_1", "x"), chain(6, 3)],
            [bernoulli("z_1"), keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])],
        )


def test_posteriors_that_know_no_levels_are_scored_as_any():
    vae, x = two_levels(), binary_data(4)
    size = vae.latent_shape[0]
    normal = tfp.distributions.MultivariateNormalDiag
    q_z = normal(tf.zeros([4, size]), tf.ones([4, size]))
    terms = vae.terms(x, 3, 0, posterior=q_z)
    np.testing.assert_allclose(terms.log_q_z, q_z.log_prob(terms.z), rtol=1e-5)
    np.testing.assert_allclose(terms.log_p_z, vae.prior_distribution().log_prob(terms.z), rtol=1e-5)
    np.testing.assert_allclose(
        terms.log_p_x, vae.graph.log_p_observed({"x": x}, vae.split(terms.z)), rtol=1e-5
    )
