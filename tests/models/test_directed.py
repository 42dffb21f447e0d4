"""Directed models against closed forms and against the models that they contain, and their life."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import tfvae
from tests.conftest import assert_trains_under_xla, binary_data, real_data
from tests.models.test_hierarchy import bernoulli, normal
from tfvae.layers import (
    IndependentBernoulli,
    IndependentCategorical,
    IndependentNormal,
    MultivariateNormalDiag,
    MultivariateNormalTriL,
    OneHotCategorical,
)
from tfvae.objectives import (
    ELBO,
    ImportanceWeighted,
    LeaveOneOut,
    PathDerivative,
    Supervised,
)
from tfvae.priors import Categorical, Conditional, OneHot, StandardNormal, VampPrior

K = 3


def network(layer, /, **shapes):
    """A linear network that reads these, by name, and ends in `layer`."""
    inputs = [keras.Input(shape, name=name) for name, shape in shapes.items()]
    h = keras.layers.Concatenate()(inputs) if len(inputs) > 1 else inputs[0]
    dense = keras.layers.Dense(layer.params_size(layer.event_shape))
    return keras.Model(inputs, layer(dense(h)))


def two_latents(*, tables=False, **settings):
    """p(y) p(z|y) p(x|y, z) with q(y|x) q(z|x, y) over six binary pixels."""
    y = {"y": (K,)}
    return tfvae.DirectedModel(
        generative={
            "y": OneHot(),
            "z": network(MultivariateNormalDiag(2), **y),
            "x": network(IndependentBernoulli(6), **y, z=(2,)),
        },
        posterior={
            "y": network(OneHotCategorical(K), x=(6,)),
            "z": network(MultivariateNormalDiag(2), x=(6,), **y),
        },
        seed=0,
        **settings,
    )


@keras.saving.register_keras_serializable("tests")
class Quadratics(keras.layers.Layer):
    """Log of weighted Gaussian densities of x `[B, D]`, up to a constant: `[B, K]`."""

    def __init__(self, weights, means, covariances, **kwargs):
        super().__init__(**kwargs)
        self.parts = list(zip(weights, means, covariances, strict=True))

    def call(self, x):
        logits = []
        for weight, mean, covariance in self.parts:
            d = x - tf.constant(mean)
            precision = tf.constant(np.linalg.inv(covariance), tf.float32)
            quadratic = tf.reduce_sum(tf.matmul(d, precision) * d, axis=-1)
            logits.append(np.log(weight) - 0.5 * (quadratic + np.linalg.slogdet(covariance)[1]))
        return tf.stack(logits, axis=-1)

    def compute_output_shape(self, shape):
        return (*shape[:-1], len(self.parts))


class Clusters:
    """y ~ Cat(pi), z|y ~ N(m_y, V_y), x|z ~ N(W z + b, S), with the exact posterior as networks.

    p(x) is a mixture of Gaussians. Everything in float64.
    """

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.pi = np.array([0.5, 0.3, 0.2])
        self.m = rng.normal(size=(K, 2))
        self.v = rng.uniform(0.3, 1.0, size=(K, 2))
        self.w, self.b = rng.normal(size=(4, 2)), rng.normal(size=4)
        self.s = rng.uniform(0.3, 1.0, size=4)

    def log_joint(self, x):
        """Log p(x, y) `[N, K]`."""
        parts = []
        for k in range(K):
            mean = self.w @ self.m[k] + self.b
            covariance = (self.w * self.v[k]) @ self.w.T + np.diag(self.s)
            density = stats.multivariate_normal(mean, covariance).logpdf(x.astype("float64"))
            parts.append(np.log(self.pi[k]) + density)
        return np.stack(parts, axis=-1)

    def draw(self, num, seed=1):
        rng = np.random.default_rng(seed)
        y = rng.choice(K, num, p=self.pi)
        z = self.m[y] + np.sqrt(self.v[y]) * rng.normal(size=(num, 2))
        x = z @ self.w.T + self.b + np.sqrt(self.s) * rng.normal(size=(num, 4))
        return x.astype("float32"), y

    def model(self, **settings):
        x, y = keras.Input((4,), name="x"), keras.Input((K,), name="y")
        covariances = [(self.w * v) @ self.w.T + np.diag(self.s) for v in self.v]
        means = [self.w @ m + self.b for m in self.m]
        logits = Quadratics(
            self.pi.tolist(), np.array(means).tolist(), np.array(covariances).tolist()
        )
        q_y = keras.Model(x, OneHotCategorical(K)(logits(x)))

        # q(z|x, y) is linear in y and x * y, by the rules of Gaussians.
        kernel = np.zeros((K + 4 * K, 5))
        for k in range(K):
            by_noise = (self.w / self.s[:, None]).T
            covariance = np.linalg.inv(np.diag(1 / self.v[k]) + by_noise @ self.w)
            raw = np.linalg.cholesky(covariance)
            np.fill_diagonal(raw, np.log(np.expm1(np.diag(raw))))
            offset = covariance @ (self.m[k] / self.v[k] - by_noise @ self.b)
            triangle = tfp.math.fill_triangular_inverse(raw).numpy()
            kernel[k] = np.concatenate([offset, triangle])
            kernel[K + k :: K, :2] = (covariance @ by_noise).T
        both = keras.layers.Multiply()(
            [keras.layers.Reshape((4, 1))(x), keras.layers.Reshape((1, K))(y)]
        )
        dense = keras.layers.Dense(5, use_bias=False)
        params = dense(keras.layers.Concatenate()([y, keras.layers.Flatten()(both)]))
        dense.set_weights([kernel])
        q_z = keras.Model([x, y], MultivariateNormalTriL(2, min_scale=0.0)(params))

        p_z = network(MultivariateNormalDiag(2, min_scale=0.0), y=(K,))
        raw = np.log(np.expm1(np.sqrt(self.v)))
        p_z.layers[-2].set_weights([np.hstack([self.m, raw]), np.zeros(4)])
        p_x = network(IndependentNormal(4, min_scale=0.0), z=(2,))
        raw = np.log(np.expm1(np.sqrt(self.s)))
        p_x.layers[-2].set_weights(
            [np.hstack([self.w.T, np.zeros((2, 4))]), np.concatenate([self.b, raw])]
        )
        prior = OneHot(K)
        prior.logits.assign(np.log(self.pi))
        return tfvae.DirectedModel(
            {"y": prior, "z": p_z, "x": p_x}, {"y": q_y, "z": q_z}, seed=0, **settings
        )


@pytest.mark.slow
def test_every_row_of_the_exact_posterior_weighs_the_evidence_of_what_is_given():
    exact = Clusters()
    x, y = exact.draw(8)
    log_joint = exact.log_joint(x)
    log_p_x = np.logaddexp.reduce(log_joint, axis=1)
    labels = np.where(np.arange(8) % 2 == 0, y, -1)
    model = exact.model(partly_observed=["y"])
    for given, expected in (
        (None, log_p_x),
        (labels, np.where(labels < 0, log_p_x, log_joint[np.arange(8), y])),
    ):
        batch = model.data.as_batch({"x": x} if given is None else {"x": x, "y": given})
        summed = model.terms(num_samples=2, seed=0, **batch)
        assert summed.log_weights.shape == (2 * K, 8)
        np.testing.assert_allclose(tf.exp(summed.log_weights).numpy().sum(axis=0), 1.0, rtol=1e-5)
        drawn = model.terms(
            num_samples=5, seed=0, objective=ELBO(gradient=LeaveOneOut(), num_samples=5), **batch
        )
        for terms in (summed, drawn):
            expected_rows = np.broadcast_to(expected, terms.log_w.shape)
            np.testing.assert_allclose(terms.log_w, expected_rows, atol=1e-4)
            sampled = terms.expect(terms.log_w)
            np.testing.assert_allclose(sampled, expected, atol=1e-4)
        evidence = tfvae.log_likelihood(
            model, {"x": x} if given is None else {"x": x, "y": given}, 7, verbose=False
        )
        np.testing.assert_allclose(evidence.per_point, expected, atol=1e-4)
    # What labels say of q(y|x): the responsibilities, which are p(y|x).
    expected = np.where(labels < 0, 0.0, (log_joint - log_p_x[:, None])[np.arange(8), y])
    batch = model.data.as_batch({"x": x, "y": labels})
    np.testing.assert_allclose(model.terms(seed=1, **batch).log_q_labels, expected, atol=1e-4)
    found = model.predict({"x": x}, verbose=0)
    np.testing.assert_allclose(found["y_mean"], np.exp(log_joint - log_p_x[:, None]), atol=1e-4)


@pytest.mark.slow
def test_sums_have_the_mean_of_draws_and_their_gradient():
    model, x = two_latents(), tf.constant(binary_data(5))

    def gradient(objective, num, seed):
        with tf.GradientTape() as tape:
            terms = model.terms(x, num, seed, objective=objective)
            value = tf.reduce_sum(objective(terms))
        weights = model.generative_networks[2].trainable_weights[0]
        encoder = model.posterior_networks[0].trainable_weights[0]
        return [value, *tape.gradient(value, [weights, encoder])]

    by_draws, by_sums = ELBO(gradient=LeaveOneOut(), num_samples=200), ELBO(num_samples=50)
    means = []
    for objective in (by_draws, by_sums):
        run = tf.function(lambda seed, o=objective: gradient(o, o.num_samples, seed))
        found = [run(tf.constant([0, seed])) for seed in range(30)]
        found = [np.stack([np.array(f[i]) for f in found]) for i in range(3)]
        means.append([(v.mean(axis=0), v.std(axis=0, ddof=1) / np.sqrt(30)) for v in found])
    for (one, error_1), (other, error_2) in zip(*means, strict=True):
        error = np.sqrt(error_1**2 + error_2**2)
        assert np.all(np.abs(one - other) < 5 * error + 1e-5)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_holds_the_plain_vae():
    """The same networks under both names give the same numbers, to the last bit."""
    encoder, decoder = normal("z_1", "x"), bernoulli("z_1")
    prior = VampPrior(4)
    plain = tfvae.VAE(encoder, decoder, prior, seed=3)
    directed = tfvae.DirectedModel({"z_1": prior, "x": decoder}, {"z_1": encoder}, seed=3)
    assert_alike(plain, directed, {"x": binary_data(12)})


@pytest.mark.slow
@pytest.mark.exhaustive
def test_holds_the_conditional_vae_and_the_density_of_its_context():
    """Given as a context or as an observed node, c does the same; as a node it has a density."""
    encoder, decoder = normal("z_1", "x", "context"), bernoulli("z_1", "context")
    prior = Conditional(normal("z_1", "context"))
    c = real_data(12, (3,), seed=1)
    data = {"x": binary_data(12), "context": c}
    plain = tfvae.VAE(encoder, decoder, prior, seed=3)
    given = tfvae.DirectedModel(
        {"z_1": normal("z_1", "context"), "x": decoder}, {"z_1": encoder}, seed=3
    )
    given.generative_networks[0].set_weights(prior.get_weights())
    assert_alike(plain, given, data)
    given.generative_networks[0].set_weights(prior.get_weights())

    # The same weights with inputs named after a node.
    def renamed(network, layer, size, **shapes):
        inputs = [keras.Input(shape, name=name) for name, shape in shapes.items()]
        h = keras.layers.Concatenate()(inputs) if len(inputs) > 1 else inputs[0]
        dense = [part for part in network.layers if isinstance(part, keras.layers.Dense)]
        for part in dense:
            h = part(h)
        return keras.Model(inputs, layer(size)(h))

    as_node = tfvae.DirectedModel(
        {
            "c": StandardNormal(3),
            "z": renamed(given.generative_networks[0], MultivariateNormalDiag, 4, c=(3,)),
            "x": renamed(decoder, IndependentBernoulli, 6, z=(4,), c=(3,)),
        },
        {"z": renamed(encoder, MultivariateNormalDiag, 4, x=(6,), c=(3,))},
        seed=3,
    )
    as_node.compile("adam", run_eagerly=True)  # as the other is: the same draws
    terms = as_node.terms(num_samples=2, seed=5, **as_node.data.as_batch({"x": data["x"], "c": c}))
    expected = plain.terms(num_samples=2, seed=5, **data)
    density = stats.norm.logpdf(c).sum(axis=1)
    np.testing.assert_allclose(terms.log_p_x, expected.log_p_x + density, rtol=1e-5)
    np.testing.assert_allclose(terms.log_p_z, expected.log_p_z, rtol=1e-5)
    np.testing.assert_allclose(terms.kl, expected.kl, rtol=1e-5)
    evidence = [
        tfvae.log_likelihood(plain, data, 100, verbose=False).per_point + density,
        tfvae.log_likelihood(as_node, {"x": data["x"], "c": c}, 100, verbose=False).per_point,
    ]
    np.testing.assert_allclose(*evidence, rtol=1e-4)
    with pytest.raises(ValueError, match="depend on observed ones, on c"):
        as_node.prior_distribution()


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("top_down", [True, False])
def test_holds_the_hierarchical_vae(top_down):
    posteriors = (
        [normal("z_1", "x", "z_2"), normal("z_2", "x")]
        if top_down
        else [normal("z_1", "x"), normal("z_2", "z_1")]
    )
    decoders = [bernoulli("z_1", "z_2"), normal("z_1", "z_2")]
    hierarchy = tfvae.HierarchicalVAE(posteriors, decoders, seed=3)
    directed = tfvae.DirectedModel(
        {"z_1": decoders[1], "z_2": StandardNormal(), "x": decoders[0]},
        {"z_1": posteriors[0], "z_2": posteriors[1]},
        seed=3,
    )
    assert_alike(hierarchy, directed, {"x": binary_data(12)})


def assert_alike(one, other, data):
    assert other.data.event_shape == one.data.event_shape
    assert other.latent_shape == one.latent_shape
    found = []
    for model in (one, other):
        terms = model.terms(num_samples=3, seed=5, **data)
        q_z = model.encode(**data)
        scores = [part for part in terms[:5] if part is not None]
        evidence = tfvae.log_likelihood(model, data, num_samples=20, verbose=False).per_point
        found.append([*scores, q_z.sample(seed=[0, 1]), q_z.log_prob(terms.z), evidence])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    start = [weight.numpy() for weight in one.trainable_weights]
    trained = []
    for model in (one, other):
        for weight, value in zip(one.trainable_weights, start, strict=True):
            weight.assign(value)
        model.compile("adam", run_eagerly=True)  # few steps cost less than a graph
        trained.append(model.fit(data, epochs=2, batch_size=5, verbose=0, shuffle=False).history)
    common = set(trained[0]) & set(trained[1])
    assert {"loss", "elbo", "rate"} <= common
    for name in common:
        np.testing.assert_allclose(trained[0][name], trained[1][name], rtol=1e-5, err_msg=name)


@pytest.mark.slow
def test_all_observed_nodes_reach_the_closed_form_of_the_maximum_likelihood():
    """Classes and a Gaussian for each: shares, means and deviations of the data."""
    rng = np.random.default_rng(0)
    y = rng.choice(K, 90, p=[0.5, 0.3, 0.2]).astype("float32")
    x = (rng.normal(size=(K, 2))[y.astype(int)] + rng.normal(size=(90, 2))).astype("float32")
    table = keras.Sequential(
        [keras.Input((), name="y"), keras.layers.Embedding(K, 4), IndependentNormal(2)]
    )
    model = tfvae.DirectedModel({"y": Categorical(K, ()), "x": table}, seed=0)
    model.compile(keras.optimizers.Adam(0.05))
    data = {"x": x, "y": y}
    steps = tf.data.Dataset.from_tensors(data).repeat()
    history = model.fit(steps, epochs=8, steps_per_epoch=50, verbose=0).history
    expected = np.zeros(90)
    for k in range(K):
        rows = x[y == k]
        density = stats.norm(rows.mean(axis=0), rows.std(axis=0)).logpdf(x).sum(axis=1)
        expected = np.where(y == k, np.log(len(rows) / 90) + density, expected)
    found = tfvae.log_likelihood(model, data, num_samples=1, verbose=False)
    np.testing.assert_allclose(found.per_point, expected, atol=2e-3)
    np.testing.assert_allclose(history["elbo"][-1], expected.mean(), atol=1e-3)
    assert history["rate"][-1] == 0.0
    drawn = model.sample(7, seed=0)
    assert {name: value.shape for name, value in drawn.items()} == {"x": (7, 2), "y": (7,)}
    # What is seen of a whole is the sum of its parts.
    p_x = table(y).log_prob(x)
    p_y = model.generative_networks[0].distribution().log_prob(y)
    np.testing.assert_allclose(found.per_point, p_x + p_y, rtol=1e-5)


def labelled_tables():
    """A categorical latent as a number, a table of two nodes, and a context for one of them."""
    y, z = {"y": ()}, {"z": (2,)}

    def head(layer, **shapes):
        inputs = {name: keras.Input(shape, name=name) for name, shape in shapes.items()}
        parts = [
            keras.layers.Embedding(K, 3)(value) if name == "y" else value
            for name, value in inputs.items()
        ]
        h = keras.layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
        params = keras.layers.Dense(layer.params_size(layer.event_shape))(h)
        return keras.Model(list(inputs.values()), layer(params))

    return tfvae.DirectedModel(
        generative={
            "y": Categorical(K, ()),
            "z": head(MultivariateNormalDiag(2), **y),
            "image": head(IndependentBernoulli((2, 3)), **y, **z),
            "size": head(IndependentNormal(()), **z, context=(2,)),
        },
        posterior={
            "y": _flat(IndependentCategorical((), levels=K)),
            "z": _flat(MultivariateNormalDiag(2), y=()),
        },
        partly_observed=["y"],
        seed=0,
    )


def _flat(layer, **shapes):
    image = keras.Input((2, 3), name="image")
    more = {name: keras.Input(shape, name=name) for name, shape in shapes.items()}
    parts = [keras.layers.Flatten()(image)]
    parts += [keras.layers.Embedding(K, 3)(value) for value in more.values()]
    h = keras.layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
    params = keras.layers.Dense(_params(layer))(h)
    return keras.Model([image, *more.values()], layer(params))


def _params(layer):
    if isinstance(layer, IndependentCategorical):
        return layer.params_size((), levels=K)
    return layer.params_size(layer.event_shape)


def table_data(num=20):
    rng = np.random.default_rng(1)
    return {
        "image": binary_data(num, (2, 3)),
        "size": rng.normal(size=num).astype("float32"),
        "y": rng.integers(-1, K, num),
        "context": rng.normal(size=(num, 2)).astype("float32"),
    }


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
def test_trains_under_xla():
    assert_trains_under_xla(labelled_tables(), table_data(), ELBO() + 5.0 * Supervised())


@pytest.mark.slow
@pytest.mark.exhaustive
def test_life_of_a_model_of_several_nodes(tmp_path):
    model, data = labelled_tables(), table_data()
    assert (model.data.event_shape, model.latent_shape, model.data.context_shape) == (
        (8,),
        (3,),
        (2,),
    )
    model.compile("adam", ELBO() + 5.0 * Supervised(), jit_compile=False)
    history = model.fit(data, validation_data=(data,), epochs=3, batch_size=8, verbose=0).history
    names = {"loss", "elbo", "distortion", "rate", "rate_y", "rate_z"}
    assert set(history) == names | {f"val_{name}" for name in names}
    batched = tf.data.Dataset.from_tensor_slices(data).batch(8)
    model.fit(batched, epochs=1, verbose=0)

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.latents == ("y", "z")
    assert loaded.partly_observed == ("y",)
    for one in (model, loaded):  # both go on alike
        one.after = one.fit(data, epochs=1, batch_size=8, verbose=0, shuffle=False).history
    for name in names:
        np.testing.assert_allclose(model.after[name], loaded.after[name], rtol=1e-5)

    unlabelled = {name: value for name, value in data.items() if name != "y"}
    for given in (data, unlabelled, {**data, "y": np.full(20, np.nan)}):
        found = model.predict(given, verbose=0)
        assert found["y_probs"].shape == (20, K)
        assert found["image_reconstruction"].shape == (20, 2, 3)
        assert found["size_reconstruction"].shape == (20,)
    known = data["y"] >= 0
    found = model.predict(data, verbose=0)
    np.testing.assert_array_equal(found["y_mean"][known], data["y"][known])
    evidence = tfvae.log_likelihood(model, data, 10, verbose=False)
    alone = tfvae.log_likelihood(model, unlabelled, 10, verbose=False)
    np.testing.assert_allclose(evidence.per_point[~known], alone.per_point[~known], rtol=1e-4)
    # log p(x, y) < log p(x): a label is one thing more to tell.
    assert (evidence.per_point < alone.per_point + 1e-3)[known].all()
    ledger = tfvae.decompose(model, data, evidence_samples=10, verbose=False)
    assert "rate_y" in str(ledger)

    context = data["context"][:5]
    drawn = model.sample(5, seed=0, context=context)
    assert {n: v.shape for n, v in drawn.items()} == {"image": (5, 2, 3), "size": (5,)}
    model.export(
        tmp_path / "export", verbose=False, signatures=["serving_default", "generate", "log_prob"]
    )
    served = tf.saved_model.load(tmp_path / "export").signatures
    request = {name: tf.constant(value, tf.float32) for name, value in data.items()}
    request["y"] = tf.where(request["y"] < 0, np.nan, request["y"])
    for name, value in served["serving_default"](**request).items():
        np.testing.assert_allclose(value, found[name], rtol=1e-4, atol=1e-5)
    seed = tf.constant([0, 1])
    generated = served["generate"](seed=seed, context=tf.constant(context))
    assert {"y", "z", "image", "image_mean", "size", "size_mean"} == set(generated)
    scores = served["log_prob"](**request, num_samples=tf.constant(10), seed=seed)
    assert np.isfinite(scores["log_prob"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": None}, "needs a context"),
        ({"context": np.zeros((20, 3))}, "`context` does not have the shape"),
        ({"image": np.zeros((20, 6))}, r'`x\["image"\]` does not have the shape'),
        ({"image": np.full((20, 2, 3), 7.0)}, r'`x\["image"\]` lies outside the support'),
        ({"image": np.full((20, 2, 3), np.nan)}, "holds NaN or infinite"),
        ({"y": np.full(20, K)}, r'`x\["y"\]` lies outside the support'),
        ({"y": np.zeros(19)}, "as many rows"),
        ({"size": None}, "is a dict of image, size, and where known context, y"),
        ({"other": np.zeros(20)}, "Received: a dict with the keys"),
    ],
)
def test_data_that_does_not_fit_is_told_by_its_node(change, message):
    model = _shared_tables()
    data = {**table_data(), **change}
    data = {name: value for name, value in data.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        model.fit(data, verbose=0)


_MADE = []


def _shared_tables():
    if not _MADE:
        model = labelled_tables()
        model.compile("adam")
        _MADE.append(model)
    return _MADE[0]


@pytest.mark.slow
@pytest.mark.exhaustive
def test_bad_batches_change_no_weight():
    model = labelled_tables()
    model.compile("adam")
    data = {**table_data(8), "y": np.full(8, 7)}
    before = [weight.numpy() for weight in model.weights]
    with pytest.raises(ValueError, match="`y` lies outside the support"):
        model.fit(tf.data.Dataset.from_tensor_slices(data).batch(4), verbose=0)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new)


def test_what_is_missing_of_a_graph_is_not_imputed():
    with pytest.raises(ValueError, match="`predict` tells what is missing"):
        tfvae.impute(two_latents(partly_observed=["y"]), {"x": binary_data(5)})


def test_whole_numbers_stand_for_one_hot_labels():
    model = two_latents(partly_observed=["y"])
    x, y = binary_data(5), np.array([0, -1, 2, 1, -1])
    rows = np.eye(K)[y]
    rows[y < 0] = np.nan
    one, other = (model.data.as_batch({"x": x, "y": labels})["x"] for labels in (y, rows))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g, q: ({**g, "z": network(MultivariateNormalDiag(2), x=(6,))}, q), "depend on"),
        (lambda g, q: ({**g, "x": network(IndependentBernoulli(6), w=(2,))}, q), "reads w"),
        (lambda g, q: (g, {**q, "w": q["z"]}), "Each latent node needs a network"),
        (
            lambda g, q: ({**g, "z": network(MultivariateNormalDiag(4), y=(K,))}, q),
            "one latent `z`",
        ),
        (lambda g, q: ({"y": g["y"], "z": g["z"]}, q), "needs an observed node"),
        *(
            (lambda g, q, name=name: ({**g, name: g["x"]}, q), f"names .*Received: .* of '{name}'")
            for name in ("context", "class", "_x", "größe", "seed", "num_samples", "a b", "2", "")
        ),
        *(
            (
                lambda g, q, name=name: ({**g, name: g["x"]}, q),
                f"outputs of `{name[0]}` have .*of '{name[0]}' and '{name}'",
            )
            for name in ("x_mean", "y_probs", "z_stddev", "x_reconstruction")
        ),
        (lambda g, q: ([g], q), "must be a dict of node"),
        (lambda g, q: ({**g, "y": VampPrior(5)}, _y_reads_z()), "made of posteriors"),
    ],
)
def test_graphs_that_do_not_fit_are_refused(change, message):
    made = _shared_graph()
    generative = dict(zip(("y", "z", "x"), made.generative_networks, strict=True))
    posterior = dict(zip(("y", "z"), made.posterior_networks, strict=True))
    with pytest.raises((ValueError, TypeError), match=message):
        tfvae.DirectedModel(*change(generative, posterior))


@functools.cache
def _shared_graph():
    return two_latents()


def _y_reads_z():
    return {
        "y": network(OneHotCategorical(K), x=(6,), z=(2,)),
        "z": network(MultivariateNormalDiag(2), x=(6,)),
    }


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="`partly_observed` is a list of latent nodes"):
        two_latents(partly_observed=["x"])
    model = two_latents(max_states=0)
    with pytest.raises(ValueError, match="needs draws that carry a gradient"):
        model.compile("adam")
    model.compile("adam", ELBO(gradient=LeaveOneOut(), num_samples=2))
    model = two_latents()
    with pytest.raises(ValueError, match="OneHotCategorical"):
        model.compile("adam", ELBO(gradient=PathDerivative(), analytic_kl=False))
    model.compile("adam", Supervised())
    with pytest.raises(ValueError, match="is given none"):
        model.fit(binary_data(8), verbose=0)
    model.compile("adam", ImportanceWeighted(5, gradient=LeaveOneOut()), jit_compile=True)
    assert np.isfinite(model.fit(binary_data(8), verbose=0).history["loss"]).all()


def test_whole_numbers_of_one_node_leave_others_as_they_are():
    inputs = {"w": keras.Input((1,), dtype="int32", name="w"), "x": keras.Input((2,), name="x")}
    h = keras.layers.Concatenate()([keras.ops.cast(inputs["w"], "float32"), inputs["x"]])
    q_z = keras.Model(inputs, MultivariateNormalDiag(2)(keras.layers.Dense(4)(h)))
    model = tfvae.DirectedModel(
        {
            "z": StandardNormal(),
            "w": network(tfvae.layers.IndependentPoisson(1), z=(2,)),
            "x": network(MultivariateNormalDiag(2), z=(2,)),
        },
        {"z": q_z},
        seed=0,
    )
    x = np.float32([[0.7, -0.2], [1.4, 0.1]])
    parts = model.data.as_parts(model.data.as_batch({"w": np.array([[1], [3]]), "x": x}))
    np.testing.assert_array_equal(parts["x"], x)
