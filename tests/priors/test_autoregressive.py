"""The prior over codes: its probabilities, its gradients, and models with it."""

import itertools

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.conftest import assert_trains_under_xla, binary_data, mlp_decoder
from tfvae import distributions, layers, priors
from tfvae.objectives import ELBO, ImportanceWeighted, LeaveOneOut, Relaxed, StraightThrough

tfd = tfp.distributions

LEVELS, VARIABLES = 3, 3
NUMBERS = np.array(list(itertools.product(range(LEVELS), repeat=VARIABLES)), "float32")  # [27, 3]
ONE_HOT = np.eye(LEVELS, dtype="float32")[NUMBERS.astype(int)]  # [27, 3, 3]


def codes(one_hot):
    return ONE_HOT if one_hot else NUMBERS


def make(one_hot=False, context_size=None, **kwargs):
    """A prior whose weights are large: its variables hang together."""
    event = (VARIABLES, LEVELS) if one_hot else (VARIABLES,)
    settings = {"hidden_units": [9, 8], "activation": "tanh", **kwargs}
    prior = priors.Autoregressive(
        LEVELS, event, one_hot=one_hot, context_size=context_size, **settings
    )
    generator = np.random.default_rng(0)
    for weight in prior.weights:
        weight.assign(generator.normal(size=weight.shape))
    return prior


both_forms = pytest.mark.parametrize("one_hot", [False, True], ids=["numbers", "one-hot"])


@keras.saving.register_keras_serializable(package="tests")
def one_hots(params):
    """Several independent one-hot variables."""
    logits = tf.reshape(params, [-1, VARIABLES, LEVELS])
    return tfd.Independent(tfd.OneHotCategorical(logits, dtype=logits.dtype), 1)


def encoder(one_hot):
    size = VARIABLES * LEVELS
    head = (
        layers.DistributionLambda(one_hots)
        if one_hot
        else layers.IndependentCategorical(VARIABLES, LEVELS)
    )
    return keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(size), head]
    )


def decoder(one_hot):
    if not one_hot:
        return mlp_decoder(latents=VARIABLES)
    return keras.Sequential(
        [
            keras.Input((VARIABLES, LEVELS)),
            keras.layers.Flatten(),
            keras.layers.Dense(6),
            layers.IndependentBernoulli(6),
        ]
    )


def vae_of(one_hot, **kwargs):
    return tfvae.VAE(encoder(one_hot), decoder(one_hot), make(one_hot), seed=0, **kwargs)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
@both_forms
@pytest.mark.parametrize("context_size", [None, 2])
def test_probabilities_sum_to_one_and_are_those_of_the_draws(one_hot, context_size):
    prior = make(one_hot, context_size)
    batch = () if context_size is None else (4,)
    context = np.random.default_rng(1).normal(size=(4, 2)).astype("float32")
    p_z = prior.distribution(None if context_size is None else context)
    assert isinstance(p_z, distributions.Autoregressive)
    event = (VARIABLES, LEVELS) if one_hot else (VARIABLES,)
    assert (p_z.batch_shape, p_z.event_shape) == (batch, event)
    states = codes(one_hot).reshape(-1, *[1] * len(batch), *event)
    log_p = p_z.log_prob(states).numpy()
    np.testing.assert_allclose(scipy.special.logsumexp(log_p, axis=0), 0.0, atol=1e-6)
    num = 5000
    draws = p_z.sample(num, seed=[1, 2])
    assert (draws.dtype, draws.shape) == (tf.float32, (num, *batch, *event))
    numbers = np.argmax(draws, axis=-1) if one_hot else draws.numpy().astype(int)
    index = numbers.reshape(num, -1, VARIABLES) @ LEVELS ** np.arange(VARIABLES)[::-1]
    p = np.exp(log_p).reshape(len(NUMBERS), -1)
    for column, found in zip(p.T, index.T, strict=True):
        share = np.bincount(found, minlength=len(NUMBERS)) / num
        assert np.all(np.abs(share - column) <= 5 * np.sqrt(column * (1 - column) / num) + 1e-3)
    # Compiled, at a given point; the draws, of other noise, are codes again.
    compiled = tf.function(lambda: prior.distribution(context if batch else None), jit_compile=True)
    np.testing.assert_allclose(compiled().log_prob(states), log_p, atol=1e-5)
    drawn = tf.function(lambda: compiled().sample(50, seed=[1, 2]), jit_compile=True)().numpy()
    rows = drawn.reshape(-1, *event)
    assert np.all(np.any(np.all(rows[:, None] == codes(one_hot), (2, 3)[: len(event)]), axis=1))


def test_both_forms_are_one_distribution():
    np.testing.assert_allclose(
        make(True).distribution().log_prob(ONE_HOT),
        make(False).distribution().log_prob(NUMBERS),
        atol=1e-6,
    )


def test_categories_have_no_order():
    """Another numbering of the categories, in the weights too, gives the same probabilities."""
    prior, other = make(), make()
    move = np.array([2, 0, 1])  # category k becomes move[k]
    first, last = other.layer.network.masked_layers[0], other.layer.network.masked_layers[-1]
    rows = (np.arange(VARIABLES)[:, None] * LEVELS + move).ravel()
    kernel = first.kernel.numpy()
    moved = np.empty_like(kernel)
    moved[rows] = kernel
    first.kernel.assign(moved)
    for weight, axis in ((last.kernel, 1), (last.bias, 0)):
        moved = np.empty_like(weight.numpy())
        moved[(slice(None),) * axis + (rows,)] = weight.numpy()
        weight.assign(moved)
    np.testing.assert_allclose(
        other.distribution().log_prob(move[NUMBERS.astype(int)].astype("float32")),
        prior.distribution().log_prob(NUMBERS),
        atol=1e-5,
    )


@both_forms
def test_variables_depend_on_those_before_them(one_hot):
    prior = make(one_hot, input_order=[2, 3, 1])  # the third comes first, then the first
    conditionals = prior.distribution().conditionals(codes(one_hot))
    inner = conditionals if one_hot else conditionals.distribution
    logits = inner.logits_parameter().numpy()
    for i, before in enumerate([[2], [0, 2], []]):
        for number in range(len(NUMBERS)):
            same = np.all(NUMBERS[:, before] == NUMBERS[number, before], axis=1)
            spread = np.abs(logits[:, i] - logits[number, i]).max(axis=-1)
            assert np.all(spread[same] < 1e-5)
            assert np.all(spread[~same] > 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "mixed_float16"])
def test_precision_is_that_of_the_weights(dtype):
    expected = "float64" if dtype == "float64" else "float32"
    for one_hot in (False, True):
        p_z = make(one_hot, dtype=dtype).distribution()
        assert p_z.dtype == p_z.sample(seed=[1, 2]).dtype == expected
        assert p_z.log_prob(codes(one_hot)).dtype == expected


@pytest.mark.slow
@both_forms
def test_few_states_are_summed_over(one_hot):
    vae, x = vae_of(one_hot), binary_data(12)
    states = tf.constant(codes(one_hot))
    each = vae.decode(states).log_prob(x[:, None]).numpy().astype("float64").T  # [27, B]
    log_p_z = vae.prior_distribution().log_prob(states).numpy().astype("float64")
    log_joint = each + log_p_z[:, None]
    log_q = vae.encode(x).log_prob(states[:, None]).numpy().astype("float64")
    elbo = np.sum(np.exp(log_q) * (log_joint - log_q), axis=0)
    np.testing.assert_allclose(vae.terms(x).elbo, elbo, rtol=1e-5)
    np.testing.assert_allclose(vae.exact_log_p_x(x), np.logaddexp.reduce(log_joint), rtol=1e-5)
    drawing = vae_of(one_hot, max_states=0)
    drawing.set_weights(vae.get_weights())
    log_w = drawing.terms(x, 3000, seed=1).log_w.numpy()
    error = log_w.std(axis=0) / np.sqrt(len(log_w))
    assert np.all(np.abs(log_w.mean(axis=0) - elbo) <= 5 * error + 1e-5)


def gradients(vae, x, objective, num, seed):
    """The gradients in the logits of the posterior of `num` estimates, `[num, B, 9]`."""
    logits = tf.Variable(vae.encoder.layers[-2](vae.encoder.layers[-3](x)))

    @tf.function(autograph=False)
    def one(seed):
        with tf.GradientTape() as tape:
            posterior = one_hots(logits)
            terms = vae.terms(x, objective.num_samples, seed, posterior=posterior,
                              objective=objective)  # fmt: skip
            bound = tf.reduce_sum(objective(terms, 0))
        return tape.gradient(bound, logits)

    return np.array([one(tf.constant([seed, k])) for k in range(num)])


@pytest.mark.slow
@pytest.mark.exhaustive
def test_gradients_of_draws():
    """Against that of the exact sum: leave-one-out has its mean, and so has the straight-through
    rate where log p(z) is linear in each draw, as it is for independent variables."""
    x = tf.constant(binary_data(3))
    exact, vae = vae_of(True), vae_of(True, max_states=0)
    vae.set_weights(exact.get_weights())
    (true,) = gradients(exact, x, ELBO(), 1, 0)
    found = gradients(vae, x, ELBO(num_samples=8, gradient=LeaveOneOut()), 400, 1)
    error = found.std(axis=0) / np.sqrt(len(found))
    assert np.all(np.abs(found.mean(axis=0) - true) <= 5 * error + 1e-5)
    for gradient in (StraightThrough(), Relaxed()):
        biased = gradients(vae, x, ELBO(num_samples=8, gradient=gradient), 100, 2)
        assert np.corrcoef(biased.mean(axis=0).ravel(), true.ravel())[0, 1] > 0.7

    independent = [vae_of(True, max_states=0), vae_of(True)]
    for each in independent:
        each.set_weights(exact.get_weights())
        for weight in each.decoder.weights:  # x tells nothing: only the rate is left
            weight.assign(tf.zeros_like(weight))
        for layer in each.prior.layer.network.masked_layers:
            if layer.kernel is not None:
                layer.kernel.assign(tf.zeros_like(layer.kernel))
    (found,) = gradients(independent[0], x, ELBO(gradient=StraightThrough()), 1, 3)
    (true,) = gradients(independent[1], x, ELBO(), 1, 0)
    np.testing.assert_allclose(found, true, atol=1e-5)


# Only one-hot vectors have a straight way through.
BY_DRAWS = {
    False: [ELBO(num_samples=4, gradient=LeaveOneOut())],
    True: [ELBO(num_samples=4, gradient=LeaveOneOut()), ELBO(gradient=StraightThrough())],
}


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
@both_forms
def test_trains_under_xla(one_hot):
    for objective in BY_DRAWS[one_hot]:
        assert_trains_under_xla(vae_of(one_hot, max_states=0), binary_data(12), objective)


@pytest.mark.slow
@pytest.mark.exhaustive
@both_forms
def test_trains_by_draws_too(one_hot, tmp_path):
    x = binary_data(32)
    for objective in BY_DRAWS[one_hot]:
        vae = vae_of(one_hot, max_states=0)
        start = [w.numpy() for w in vae.trainable_weights]
        vae.compile(keras.optimizers.Adam(0.02), objective, jit_compile=False)
        history = vae.fit(x, epochs=15, batch_size=16, verbose=0).history
        assert np.mean(history["elbo"][-3:]) > history["elbo"][0]
        changed = [
            not np.array_equal(a, b) for a, b in zip(start, vae.trainable_weights, strict=True)
        ]
        assert all(changed)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(loaded.terms(x, 3, 5).log_w, vae.terms(x, 3, 5).log_w)
    vae.export(tmp_path / "export", verbose=False, signatures=["generate", "elbo"])
    served = tf.saved_model.load(str(tmp_path / "export")).signatures
    drawn = served["generate"](num_samples=tf.constant(4), seed=tf.constant([1, 2]))["z"]
    assert drawn.shape == (4, *vae.latent_shape)
    scored = served["elbo"](x=tf.constant(x), num_samples=tf.constant(5), seed=tf.constant([3, 4]))[
        "elbo"
    ]
    np.testing.assert_allclose(scored, vae.terms(x, 5, [3, 4]).elbo, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
def test_trains_under_xla_given_a_context():
    vae = tfvae.VAE(encoder(False), decoder(False), make(context_size=2), seed=0)
    context = np.eye(2, dtype="float32")[np.arange(12) % 2]
    assert_trains_under_xla(vae, {"x": binary_data(12), "context": context})


@pytest.mark.slow
@pytest.mark.exhaustive
def test_life_with_a_context(tmp_path):
    prior = make(context_size=2)
    vae = tfvae.VAE(encoder(False), decoder(False), prior, seed=0)
    assert vae.data.context_shape == (2,)
    context = np.eye(2, dtype="float32")[np.arange(20) % 2]
    data = {"x": binary_data(20), "context": context}
    vae.compile(keras.optimizers.Adam(0.02), jit_compile=False)
    vae.fit(data, epochs=2, verbose=0)
    exact = vae.exact_log_p_x(**data)
    assert not np.allclose(exact, vae.exact_log_p_x(data["x"], context[::-1]))
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(loaded.exact_log_p_x(**data), exact)
    assert vae.sample(6, seed=0, context=context[:6]).shape == (6, 6)
    with pytest.raises(ValueError, match="needs a context beside `x`"):
        vae.fit(data["x"], verbose=0)
    with pytest.raises(ValueError, match=r"needs a context\. Received: none"):
        prior.distribution()
    with pytest.raises(ValueError, match=r"context_size=2\. Received: a context of shape \(4, 3\)"):
        prior.distribution(np.zeros([4, 3]))


@pytest.mark.slow
@pytest.mark.exhaustive
def test_codes_may_have_any_shape_and_be_the_data():
    grid = priors.Autoregressive(4, (2, 3), hidden_units=[8]).distribution()
    assert grid.log_prob(grid.sample(5, seed=[1, 2])).shape == (5,)
    blocks = priors.Autoregressive(4, (2, 3, 4), one_hot=True, hidden_units=[8]).distribution()
    assert blocks.log_prob(blocks.sample(5, seed=[1, 2])).shape == (5,)
    one = priors.Autoregressive(3, (), hidden_units=[4]).distribution()
    np.testing.assert_allclose(tf.reduce_sum(one.prob([0.0, 1.0, 2.0])), 1.0, rtol=1e-6)
    # The second variable is the first plus one, of three: known, the entropy is log 3.
    first = np.random.default_rng(0).integers(0, 3, 300)
    data = np.stack([first, (first + 1) % 3], axis=1).astype("float32")
    model = tfvae.DensityModel(priors.Autoregressive(3, 2, hidden_units=[16]))
    model.compile(keras.optimizers.Adam(0.05))
    model.fit(data, epochs=30, batch_size=100, verbose=0)
    log_p = np.mean(model.log_p_x(data))
    empirical = np.bincount(first) / len(first)
    entropy = -np.sum(empirical * np.log(empirical))
    assert -0.05 < log_p + entropy <= 1e-5  # at most the mean log of the data's own shares
    assert tfvae.log_likelihood(model, data, 1, verbose=False).mean == pytest.approx(log_p)


@pytest.mark.slow
def test_wrong_parts_are_explained():
    with pytest.raises(ValueError, match=r"`levels` must be .*levels=0"):
        priors.Autoregressive(0)
    with pytest.raises(ValueError, match=r"`context_size` must be .*context_size=0"):
        priors.Autoregressive(3, context_size=0)
    with pytest.raises(ValueError, match=r"must have shape \(\.\.\., 3\).*event_shape=\(2, 4\)"):
        priors.Autoregressive(3, (2, 4), one_hot=True)
    with pytest.raises(ValueError, match="Categories have no `input_range`"):
        tfvae.networks.MADE(3, levels=3, input_range=(0, 2))
    vae = vae_of(False, max_states=0)
    with pytest.raises(ValueError, match="for posteriors over zeros and ones"):
        vae.compile("adam", ELBO(gradient=StraightThrough()))
    vae.compile("adam", ImportanceWeighted(3, gradient=LeaveOneOut()))
    # A relaxed posterior has a density, where the prior has probabilities.
    relaxed = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(3), layers.RelaxedOneHotCategorical(3)]
    )
    for prior in (priors.OneHot(), priors.Autoregressive(3, one_hot=True)):
        with pytest.raises(ValueError, match=r"draws from a continuum.*OpenRelaxedOneHot"):
            tfvae.VAE(relaxed, mlp_decoder(latents=3), prior)
