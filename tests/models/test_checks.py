"""Bad data and parts: each is refused with its own message, and before any weight changes."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.conftest import (
    binary_data,
    mlp_decoder,
    mlp_encoder,
    mlp_vae,
    real_data,
    slow_but,
)
from tfvae.graph.checks import check_same_kind
from tfvae.layers import IndependentBernoulli, IndependentNormal, MultivariateNormalDiag

tfd = tfp.distributions


@pytest.fixture(scope="module")
def binary_vae():
    vae = mlp_vae()
    # Weight decay changes weights without reading the data.
    vae.compile(keras.optimizers.AdamW(weight_decay=0.1), jit_compile=False)
    return vae


@pytest.fixture(scope="module")
def image_vae():
    inputs = [keras.Input((2, 3)), keras.layers.Flatten(), keras.layers.Dense(4)]
    encoder = keras.Sequential([*inputs, MultivariateNormalDiag(2)])
    head = [keras.layers.Dense(12), IndependentNormal((2, 3))]
    vae = tfvae.VAE(encoder, keras.Sequential([keras.Input((2,)), *head]), seed=0)
    vae.compile("adam", jit_compile=False)
    return vae


def with_value(value, dtype="float32"):
    x = binary_data(20).astype(dtype)
    x[13, 2] = value
    return x


ARRAYS = {
    "wrong shape": (binary_data(20, (7,)), r"Expected: \[batch, 6\]. Received: \[20, 7\]\.$"),
    "no batch axis": (
        binary_data(1)[0],
        r"Received: \[6\]. Add a batch axis: `\w+\[None\]`, or `.batch",
    ),
    "images": (binary_data(20, (2, 3)), r"Received: \[20, 2, 3\]. Reshape it: .*reshape\(-1, 6\)"),
    "NaN": (with_value(np.nan), r"NaN or infinite values: 1 in 1 of 20 examples.*row 13. Remove"),
    "inf": (with_value(np.inf), r"NaN or infinite values: 1 in 1 of 20 examples.*in row 13"),
    "minus inf": (with_value(-np.inf), r"NaN or infinite values"),
    "bytes": (
        with_value(255, "uint8"),
        r"outside the support of the Bernoulli.*0.0 to 1.0.*from 0 to 255, dtype=uint8. Scale",
    ),
    "standardised": (real_data(20), r"outside the support.*values from -\d.*IndependentNormal"),
    "strings": (np.full([20, 6], "a"), r"must hold numbers. Received: dtype=<U1"),
    "objects": (np.full([20, 6], None), r"must hold numbers. Received: dtype=object"),
    "empty": (binary_data(0), r"is empty.*Received: \(0, 6\)"),
}


@pytest.mark.parametrize(("x", "message"), ARRAYS.values(), ids=ARRAYS)
def test_bad_arrays(binary_vae, x, message):
    before = [w.numpy() for w in binary_vae.variables]
    good = binary_data(20)
    for use in (
        lambda: binary_vae.fit(x, verbose=0),
        lambda: binary_vae.fit(x, np.zeros(len(x)), verbose=0),
        lambda: binary_vae.fit(good, validation_data=(x,), verbose=0),
        lambda: binary_vae.evaluate(x, verbose=0),
        lambda: binary_vae.predict(x, verbose=0),
    ):
        with pytest.raises(ValueError, match=message):
            use()
    with pytest.raises(ValueError, match=r"^`validation_data`"):
        binary_vae.fit(good, validation_data=(x,), verbose=0)
    for old, new in zip(before, binary_vae.variables, strict=True):
        np.testing.assert_array_equal(old, new)


BATCHES = {
    "NaN": (with_value(np.nan), r"^`x` holds NaN or infinite values in a batch. Remove or impute"),
    "inf": (with_value(np.inf), r"^`x` holds NaN or infinite values in a batch"),
    "both infinities": (
        np.where(np.arange(6) < 3, np.inf, with_value(-np.inf)).astype("float32"),
        r"^`x` holds NaN or infinite values in a batch",
    ),
    "float16": (with_value(np.nan, "float16"), r"^`x` holds NaN or infinite values in a batch"),
    "bytes": (with_value(255, "uint8"), r"^`x` lies outside the support of the Bernoulli.*Scale"),
    "negative": (with_value(-0.5), r"^`x` lies outside the support of the Bernoulli.*0.0 to 1.0"),
    "wrong shape": (binary_data(20, (7,)), r"Expected: \[batch, 6\]. Received: \[\w+,? 7\]"),
    "images": (
        binary_data(20, (2, 3)),
        r"Expected: \[batch, 6\]. Received: \[\w+,? 2,? 3\]",
    ),
    "strings": (np.full([20, 6], "a"), r"`x` must hold numbers. Received: dtype=string"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("x", "message"), slow_but("NaN", "wrong shape", of=BATCHES))
def test_bad_batches(binary_vae, x, message):
    """The fourth of five batches is bad: it changes nothing, whatever came before it."""
    batches = tf.data.Dataset.from_tensor_slices(x).batch(4)
    bad = batches.skip(3).take(1)
    weights = binary_vae.trainable_variables + binary_vae.optimizer.variables
    before = [w.numpy() for w in weights]
    for use in (binary_vae.fit, binary_vae.evaluate, binary_vae.predict):
        with pytest.raises(ValueError, match=message):
            use(bad, verbose=0)
    for old, new in zip(before, weights, strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.raises(ValueError, match=message):
        binary_vae.fit(batches, verbose=0)
    assert all(np.all(np.isfinite(w)) for w in weights)


@pytest.mark.slow
@pytest.mark.xla
def test_checks_of_batches_hold_under_xla_and_for_many_steps_per_execution():
    vae = mlp_vae()
    vae.compile("adam", jit_compile=True, steps_per_execution=5)
    batches = tf.data.Dataset.from_tensor_slices(with_value(np.nan)).batch(4)
    with pytest.raises(ValueError, match=r"^`x` holds NaN or infinite values in a batch"):
        vae.fit(batches, verbose=0)
    # The three good batches before it have been trained on, and no more.
    assert int(vae.optimizer.iterations) == 3
    assert all(np.all(np.isfinite(w)) for w in vae.weights)


def test_large_batches_of_half_precision_are_finite(binary_vae):
    """Their sum is not: 65,504 is the largest number of float16."""
    x = np.ones([20_000, 6], "float16")
    outputs = binary_vae.predict(tf.data.Dataset.from_tensors(x), verbose=0)
    assert np.all(np.isfinite(outputs["z_mean"]))


@pytest.mark.slow
@pytest.mark.exhaustive
def test_all_numbers_train_like_floats_to_the_bit():
    x = binary_data(12)
    vae = mlp_vae()
    vae.compile("sgd", run_eagerly=True)
    start, state = vae.get_weights(), vae.seed_generator.state.numpy()

    def trained(data):
        vae.set_weights(start)
        vae.seed_generator.state.assign(state)
        vae.fit(
            data, batch_size=4 if isinstance(data, np.ndarray) else None, shuffle=False, verbose=0
        )
        return vae.get_weights()

    expected = trained(x)
    assert not np.array_equal(expected[0], start[0])
    for dtype in ["float32", "bool", "uint8", "int32", "int64", "float16", "float64"]:
        data = x.astype(dtype)
        for form in (data, tf.data.Dataset.from_tensor_slices(data).batch(4)):
            for old, new in zip(expected, trained(form), strict=True):
                np.testing.assert_array_equal(new, old, err_msg=dtype)


@pytest.mark.slow
def test_real_likelihoods_take_any_finite_number(image_vae):
    x = 1000.0 * real_data(8, (2, 3))
    assert np.isfinite(image_vae.evaluate(x, verbose=0)[0])
    assert np.isfinite(image_vae.evaluate(x.astype("int32"), verbose=0)[0])
    with pytest.raises(ValueError, match=r"Received: \[2, 3\]. Add a batch axis: `x\[None\]`"):
        image_vae.fit(x[0], verbose=0)
    with pytest.raises(
        ValueError, match=r"Received: \[8, 6\]. Reshape it: `x.reshape\(-1, 2, 3\)`"
    ):
        image_vae.fit(x.reshape(8, 6), verbose=0)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_fractions_are_warned_of_once_per_fit(binary_vae):
    fractions = np.random.default_rng(0).uniform(size=(12, 6)).astype("float32")
    for arguments in (
        {},
        {"epochs": 3, "validation_split": 0.5},
        {"epochs": 3, "validation_data": (fractions,)},
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            binary_vae.fit(fractions, verbose=0, **arguments)
        names = ["`x`", "`validation_data`"] if "validation_data" in arguments else ["`x`"]
        assert len(caught) == len(names), arguments
        for name, warning in zip(names, caught, strict=True):
            text = str(warning.message)
            assert f"{name} holds fractions, such as 0." in text
            assert "Bernoulli likelihood gives a log-likelihood to whole numbers only" in text
            assert "binarise" in text
            assert warning.filename == __file__
    with pytest.warns(UserWarning, match="`validation_data` holds fractions"):
        binary_vae.fit(binary_data(12), validation_data=(fractions,), verbose=0)
    binary_vae.fit(binary_data(12), verbose=0)  # nothing to warn of


def test_missing_data_is_named(binary_vae):
    with pytest.raises(ValueError, match=r"`x` is missing. Expected an array or a dataset"):
        binary_vae.fit()


def reshaped_head(*shape):
    """A decoder that ends with a distribution over one number, in a batch of pixels."""
    return keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(12),
            keras.layers.Reshape(shape),
            IndependentNormal(),
        ]
    )


PARTS = {
    "encoder returns a tensor": (
        lambda: tfvae.VAE(
            keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)]), mlp_decoder()
        ),
        TypeError,
        r"^`encoder` must return a tfp distribution over one latent `z`. Received: a tensor of "
        r"shape \[batch, 4\].*`MultivariateNormalDiag`",
    ),
    "decoder returns a tensor": (
        lambda: tfvae.VAE(
            mlp_encoder(), keras.Sequential([keras.Input((2,)), keras.layers.Dense(6)])
        ),
        TypeError,
        r"^`decoder` must return a tfp distribution over one example of `x`. Received: a tensor",
    ),
    "decoder of another event": (
        lambda: tfvae.VAE(mlp_encoder(6), mlp_decoder(7)),
        ValueError,
        r"^`decoder` must return .*Expected: event_shape=\(6,\), that of the data. Received: "
        r"event_shape=\(7,\)",
    ),
    "forgotten event_shape": (
        lambda: tfvae.VAE(mlp_encoder(), reshaped_head(6, 2)),
        ValueError,
        r"^`decoder` must return one distribution over one example of `x` per example.*"
        r"batch_shape=\[batch, 6\], event_shape=\(\). Set `event_shape`",
    ),
    "latents do not fit": (
        lambda: tfvae.VAE(mlp_encoder(latents=3), mlp_decoder(latents=2)),
        ValueError,
        r"^`decoder` does not take .* Expected: z of shape \(2,\).*Received: .*\(3,\)",
    ),
    "encoder is no layer": (
        lambda: tfvae.VAE(lambda x: x, mlp_decoder()),
        TypeError,
        r"^`encoder` must be a Keras model or layer. Received: function",
    ),
    "decoder is no layer": (
        lambda: tfvae.VAE(mlp_encoder(), None),
        TypeError,
        r"^`decoder` must be a Keras model or layer. Received: NoneType",
    ),
    "prior is no prior": (
        lambda: mlp_vae(prior=tfd.Normal(0.0, 1.0)),
        TypeError,
        r"^`prior` must be an object of `tfvae.priors`.*Received: Normal",
    ),
    "prior of another shape": (
        lambda: mlp_vae(prior=tfvae.priors.StandardNormal(3)),
        ValueError,
        r"is over latents of shape \(3,\), the posterior over latents of shape \(2,\). Leave out",
    ),
    "seed is no int": (lambda: mlp_vae(seed=1.5), ValueError, r"`seed` must be an int.*seed=1.5"),
}


@pytest.mark.parametrize(("make", "kind", "message"), PARTS.values(), ids=PARTS)
def test_parts_that_do_not_fit(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


CALLS = {
    "loss": (
        lambda vae: vae.compile("adam", loss="mse"),
        TypeError,
        r"does not take loss. The loss is minus the objective: pass `objective=.*ELBO\(\)`",
    ),
    "metrics": (lambda vae: vae.compile(metrics=["mae"]), TypeError, "does not take metrics"),
    "objective": (
        lambda vae: vae.compile("adam", "elbo"),
        TypeError,
        r"`objective` must be an object of `tfvae.objectives`.*Received: objective='elbo'",
    ),
    "objective class": (
        lambda vae: vae.compile("adam", tfvae.objectives.ELBO),
        TypeError,
        r"such as `ELBO\(beta=4.0\)`. Received: objective=the class ELBO, and no object of it",
    ),
    "jit_compile": (
        lambda vae: vae.compile("adam", jit_compile="yes"),
        ValueError,
        r"`jit_compile` must be True, False or \"auto\". Received: 'yes'",
    ),
    "fit first": (lambda vae: vae.fit(binary_data(4)), ValueError, r"call `compile\(\)` before"),
    "evaluate first": (
        lambda vae: vae.evaluate(binary_data(4)),
        ValueError,
        r"call `compile\(\)` before",
    ),
    "sample of none": (lambda vae: vae.sample(0), ValueError, r">= 1. Received: num_samples=0"),
    "generate none": (
        lambda vae: vae.generate(0, 1),
        ValueError,
        r">= 1. Received: num_samples=0",
    ),
    "seed of a draw": (
        lambda vae: vae.sample(2, seed=0.5),
        ValueError,
        r"`seed` must be an int or a pair of ints. Received: seed=0.5",
    ),
    "no terms": (
        lambda vae: vae.terms(binary_data(4), 0),
        ValueError,
        r"`num_samples` must be a whole number >= 1. Received: num_samples=0",
    ),
    "seed of terms": (
        lambda vae: vae.terms(binary_data(4), seed=[1, 2, 3]),
        ValueError,
        r"Received: seed=\[1, 2, 3\]",
    ),
}


@pytest.mark.parametrize(("call", "kind", "message"), CALLS.values(), ids=CALLS)
def test_calls_that_cannot_be_met(call, kind, message):
    with pytest.raises(kind, match=message):
        call(mlp_vae())


@pytest.mark.slow
def test_images_of_bernoulli_need_their_event_shape():
    """The usual slip: parameters of all pixels, and a likelihood over one of them."""
    with pytest.raises(ValueError, match=r"`IndependentBernoulli` with event_shape=\(\) reads 1"):
        keras.Sequential([keras.Input((2,)), keras.layers.Dense(16), IndependentBernoulli()])


@pytest.mark.parametrize(
    "prior",
    [
        None,
        tfvae.priors.Normal(),
        tfvae.priors.GaussianMixture(2),
        tfvae.priors.FlowPrior(tfvae.flows.RealNVP(2, [4]), tfvae.priors.GaussianMixture(2)),
        tfvae.priors.Parametric(tfvae.layers.MixtureNormal(2, 2)),
        tfvae.priors.Parametric(tfvae.layers.VonMisesFisher(2)),
    ],
)
def test_states_are_not_compared_with_a_density(prior):
    encoder = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(2), tfvae.layers.IndependentBernoulli(2)]
    )
    said = r"`encoder` draws states, and `prior` has a density.* of Bernoulli and a prior"
    with pytest.raises(ValueError, match=said):
        tfvae.VAE(encoder, mlp_decoder(), prior)


@pytest.mark.parametrize(
    ("posterior", "prior"),
    [
        (MultivariateNormalDiag(3), tfvae.priors.Hyperspherical()),
        (tfvae.layers.PowerSpherical(3), None),
        (tfvae.layers.RelaxedOneHotCategorical(3), tfvae.priors.GaussianMixture(2)),
    ],
    ids=["off the sphere", "on the sphere", "in the simplex"],
)
def test_densities_of_surfaces_are_not_compared_with_those_of_volumes(posterior, prior):
    encoder = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(posterior.num_params), posterior]
    )
    with pytest.raises(ValueError, match=r"densities of different kinds.* over vectors of norm"):
        tfvae.VAE(encoder, mlp_decoder(latents=3), prior)


def positive(t):
    return tfd.Independent(tfd.Gamma(tf.nn.softplus(t) + 0.1, 1.0), 1)


def normal_and_count():
    columns = {"real": tfvae.layers.IndependentNormal(), "count": tfvae.layers.IndependentPoisson()}
    return tfvae.layers.Heterogeneous(columns)


APART = {
    "too many categories": (
        lambda: tfvae.layers.IndependentCategorical(2, 3),
        lambda: tfvae.priors.Autoregressive(2),
        "Categorical, 0 to 2 and a prior over Categorical, 0 to 1",
    ),
    "counts and categories": (
        lambda: tfvae.layers.IndependentPoisson(2),
        lambda: tfvae.priors.Categorical(3),
        "Poisson, 0 to inf and a prior over Categorical, 0 to 2",
    ),
    "counts and bits": (
        lambda: tfvae.layers.IndependentPoisson(2),
        lambda: tfvae.priors.Parametric(tfvae.layers.IndependentBernoulli(2)),
        "Poisson, 0 to inf and a prior over Bernoulli, 0 to 1",
    ),
    "bits and one-hot": (
        lambda: tfvae.layers.IndependentBernoulli(2),
        tfvae.priors.OneHot,
        r"Bernoulli, 0 to 1 and a prior over OneHotCategorical, 0 to 1 \(one-hot\)",
    ),
    "levels and categories": (
        lambda: tfvae.layers.DiscretizedLogistic(2, levels=4),
        lambda: tfvae.priors.Categorical(3),
        "0 to 1 in steps of 0.333333 and a prior over Categorical, 0 to 2",
    ),
    "numbers and shares": (
        lambda: MultivariateNormalDiag(2),
        lambda: tfvae.priors.Parametric(tfvae.layers.IndependentBeta(2)),
        "-inf to inf and a prior over Beta, 0 to 1",
    ),
    "a mixture and shares": (
        lambda: tfvae.layers.MixtureNormal(2, 2),
        lambda: tfvae.priors.Parametric(tfvae.layers.IndependentBeta(2)),
        "-inf to inf and a prior over Beta, 0 to 1",
    ),
    "a flow and shares": (
        lambda: tfvae.layers.TransformedDistribution(
            MultivariateNormalDiag(2), tfvae.flows.NeuralSpline(1, [4])
        ),
        lambda: tfvae.priors.Parametric(tfvae.layers.IndependentBeta(2)),
        "-inf to inf and a prior over Beta, 0 to 1",
    ),
    "a family of TFP and shares": (
        lambda: tfvae.layers.MixtureSameFamily(2, positive),
        lambda: tfvae.priors.Parametric(tfvae.layers.IndependentBeta(2)),
        "0 to inf and a prior over Beta, 0 to 1",
    ),
    "positive numbers and shares": (
        lambda: tfvae.layers.IndependentLogNormal(2),
        lambda: tfvae.priors.Parametric(tfvae.layers.RelaxedBernoulli(2)),
        "LogNormal, 0 to inf and a prior over RelaxedBernoulli, 0 to 1",
    ),
    "columns and shares": (
        lambda: tfvae.layers.Heterogeneous({"real": IndependentNormal(2)}),
        lambda: tfvae.priors.Parametric(tfvae.layers.IndependentBeta(2)),
        "-inf to inf and a prior over Beta, 0 to 1",
    ),
    "a column of counts": (normal_and_count, lambda: None, "posterior over states of Poisson"),
    "directions and states": (
        lambda: tfvae.layers.VonMisesFisher(2),
        lambda: tfvae.priors.Categorical(3),
        "draws from a continuum.* SmoothVonMisesFisher and a prior over states",
    ),
}


@pytest.mark.parametrize(("posterior", "prior", "message"), APART.values(), ids=APART)
def test_a_posterior_that_draws_what_the_prior_never_does(posterior, prior, message):
    head = posterior()
    size = 6 if isinstance(head, tfvae.layers.MixtureSameFamily) else head.num_params
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(size), head])
    with pytest.raises(ValueError, match=message):
        tfvae.VAE(encoder, mlp_decoder(), prior())


def vectors(part):
    return tfd.Independent(part, 1)


ONES = tf.ones([3, 2])
NORMALS = vectors(tfd.Normal(ONES, 1.0))
MIXED = tfd.Mixture(tfd.Categorical(tf.zeros([3, 2])), [NORMALS, vectors(tfd.Normal(ONES, 2.0))])
COUNTED = vectors(tfd.Poisson(ONES))
OF_TFP = {
    "only positive": (NORMALS, vectors(tfd.Exponential(ONES)), "-inf to inf and a prior over Exp"),
    "geometric": (NORMALS, vectors(tfd.Geometric(0.5 * ONES)), "draws from a continuum.*Geometric"),
    "binomial": (NORMALS, vectors(tfd.Binomial(3.0, ONES)), "draws from a continuum.*Binomial"),
    "zipf": (NORMALS, vectors(tfd.Zipf(2.0 * ONES)), "draws from a continuum.*Zipf"),
    "skellam": (vectors(tfd.Skellam(ONES, ONES)), COUNTED, "Skellam, -inf to inf and a prior over"),
    "counts without end": (COUNTED, vectors(tfd.Binomial(3.0, ONES)), "0 to inf and .*, 0 to 3"),
    "another grid": (
        tfd.Independent(tfvae.distributions.DiscretizedLogistic(0.5 * ONES, 0.1, levels=256), 1),
        vectors(tfd.Skellam(ONES, ONES)),
        "in steps of 0.003",
    ),
    "more than zero": (COUNTED, vectors(tfd.Zipf(2.0 * ONES)), "0 to inf and .* Zipf, 1 to inf"),
    "repeated": (tfd.Sample(tfd.Bernoulli(ONES[:, 0]), 2), NORMALS, "draws states"),
    "a mixture": (MIXED, COUNTED, "draws from a continuum, .* posterior Mixture"),
    "a mixture of counts": (
        tfd.Mixture(tfd.Categorical(tf.zeros([3, 2])), [COUNTED, vectors(tfd.Poisson(2.0 * ONES))]),
        NORMALS,
        "a posterior over states of Poisson",
    ),
}


@pytest.mark.parametrize(("posterior", "prior", "message"), OF_TFP.values(), ids=OF_TFP)
def test_families_of_tfp_that_are_not_over_the_same(posterior, prior, message):
    with pytest.raises(ValueError, match=message):
        check_same_kind(posterior, prior)


@pytest.mark.parametrize(
    ("posterior", "prior"),
    [
        (vectors(tfd.Exponential(ONES)), NORMALS),
        (vectors(tfd.Exponential(ONES)), vectors(tfd.Gamma(ONES, 1.0))),
        (COUNTED, vectors(tfd.Skellam(ONES, ONES))),
        (vectors(tfd.Binomial(3.0, ONES)), COUNTED),
        (vectors(tfd.Binomial(3.0, ONES)), vectors(tfd.Categorical(tf.zeros([3, 2, 4])))),
        (vectors(tfd.Binomial(1.0, ONES)), vectors(tfd.Bernoulli(ONES))),
        (MIXED, NORMALS),
        (tfd.Sample(tfd.Normal(ONES[:, 0], 1.0), 2), MIXED),
    ],
)
def test_families_of_tfp_that_are(posterior, prior):
    check_same_kind(posterior, prior)


@pytest.mark.parametrize(
    ("posterior", "prior"),
    [
        (tfvae.layers.IndependentBernoulli, lambda _: tfvae.priors.Categorical(3)),
        (tfvae.layers.OneHotCategorical, tfvae.layers.IndependentBernoulli),
        (tfvae.layers.IndependentBernoulli, tfvae.layers.IndependentPoisson),
        (tfvae.layers.IndependentBeta, tfvae.layers.IndependentLogNormal),
        (tfvae.layers.IndependentBeta, tfvae.layers.ContinuousBernoulli),
        (tfvae.layers.IndependentLogNormal, MultivariateNormalDiag),
        (lambda _: normal_and_count(), lambda _: normal_and_count()),
    ],
)
def test_a_posterior_within_what_the_prior_draws(posterior, prior):
    head, p_z = posterior(2), prior(2)
    if isinstance(p_z, tfvae.layers.DistributionLayer):
        p_z = tfvae.priors.Parametric(p_z)
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(head.num_params), head])
    assert np.all(
        np.isfinite(tfvae.VAE(encoder, mlp_decoder(), p_z).terms(binary_data(4), 2, 1).rate)
    )
