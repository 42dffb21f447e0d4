"""Densities of what is observed alone: exact for every family, or refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.layers.cases import CASES
from tfvae import distributions, layers
from tfvae.layers import IndependentNormal, Masked

tfd = tfp.distributions

# Elements of one draw of these depend on each other, given the parameters.
DEPENDENT = {
    layers.CategoricalMixtureOfOneHotCategorical,
    layers.MultivariateNormalLowRank,
    layers.MultivariateNormalTriL,
    layers.OneHotCategorical,
    layers.PowerSpherical,
    layers.RelaxedOneHotCategorical,
    layers.VonMisesFisher,
}
INDEPENDENT = [
    case
    for family in CASES.values()
    for case in family
    if issubclass(case.layer, layers.IndependentLayer)
    and case.event_shape
    and case.kwargs.get("sample_dtype") is None
]


def test_every_other_family_is_refused_with_the_reason():
    for layer, family in CASES.items():
        case = family[0]
        if not case.event_shape:
            continue
        # The mixture of the cases is one of full Gaussians.
        if layer in DEPENDENT | {layers.MixtureSameFamily}:
            with pytest.raises(ValueError, match=r"depend on each other.*IndependentNormal"):
                Masked(case.make())
        else:
            assert Masked(case.make()).event_shape == case.event_shape
    with pytest.raises(ValueError, match="known for FullNormal"):
        Masked(layers.Heterogeneous({"both": layers.MultivariateNormalTriL(2)}))
    with pytest.raises(ValueError, match="known for OneHotCategorical"):
        distributions.Masked(tfd.Independent(tfd.OneHotCategorical(tf.zeros([2, 3])), 1))


@pytest.mark.parametrize("case", INDEPENDENT, ids=lambda case: case.label)
def test_missing_elements_leave_the_density_of_the_others_and_its_gradient(case):
    inner, layer = case.make(), Masked(case.make())
    params, x = tf.constant(case.params(2)), case.values(2)
    missing = np.random.default_rng(0).uniform(size=x.shape) < 0.5
    missing.reshape(-1)[0] = True
    gappy = np.where(missing, np.nan, x).astype("float32")
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(params)
        log_prob = layer(params).log_prob(gappy)
        each = inner(params).distribution.log_prob(x)
        expected = tf.reduce_sum(tf.where(missing, 0.0, each), axis=list(range(1, x.ndim)))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-6, atol=1e-6)
    gradients = tape.gradient(log_prob, params), tape.gradient(expected, params)
    np.testing.assert_allclose(*gradients, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("value", [-1e4, -30.0, 30.0, 1e4])
def test_extreme_parameters_of_missing_elements_have_zero_gradients(value):
    for case in INDEPENDENT:
        layer, params = Masked(case.make()), tf.fill([1, case.params_size], value)
        with tf.GradientTape() as tape:
            tape.watch(params)
            log_prob = layer(params).log_prob(np.full([1, *case.event_shape], np.nan, "float32"))
        np.testing.assert_array_equal(log_prob, [0.0], err_msg=case.label)
        gradient = tape.gradient(log_prob, params)
        np.testing.assert_array_equal(gradient, np.zeros(params.shape), err_msg=case.label)


def test_families_that_tfp_brings_are_masked_too():
    """What stands in for NaN has to lie in the support of each."""
    for inner in (
        tfd.Gamma(2.0, 3.0),
        tfd.Uniform(3.0, 5.0),
        tfd.Pareto(2.0, 4.0),
        tfd.Geometric(0.3),
    ):
        concentration = tf.constant([1.5, 2.5])
        with tf.GradientTape() as tape:
            tape.watch(concentration)
            p = inner.copy(**{next(iter(inner.parameters)): concentration * 0.3})
            x = tf.constant([np.nan, 4.0])
            log_prob = distributions.Masked(tfd.Independent(p, 1)).log_prob(x)
        assert float(log_prob) == pytest.approx(float(p.log_prob(4.0)[1]), rel=1e-6), inner.name
        gradient = tape.gradient(log_prob, concentration)
        assert np.isfinite(gradient).all(), inner.name
        assert gradient[0] == 0.0, inner.name


@pytest.mark.slow
@pytest.mark.xla
def test_whole_rows_and_whole_columns_may_be_missing():
    for layer in (
        IndependentNormal(3),
        layers.MixtureNormal(2, 3),
        layers.MultivariateNormalDiag(3),
    ):
        masked = Masked(layer)
        p = masked(np.random.default_rng(0).normal(size=[4, layer._params_size()]))
        x = np.ones([4, 3], "float32")
        x[0], x[:, 1] = np.nan, np.nan
        for call in (
            p.log_prob,
            tf.function(p.log_prob),
            tf.function(p.log_prob, jit_compile=True),
        ):
            log_prob = call(x).numpy()
            assert log_prob[0] == pytest.approx(0.0, abs=1e-6)
            assert np.all(log_prob[1:] != 0.0)
            assert np.all(np.isfinite(log_prob))


@pytest.mark.slow
@pytest.mark.exhaustive
def test_complete_data_has_the_density_of_the_layer_itself():
    for family in CASES.values():
        case = family[0]
        if case.layer in DEPENDENT | {layers.MixtureSameFamily}:
            continue
        params, x = case.params(3), np.nan_to_num(case.values(3))
        masked, plain = Masked(case.make())(params), case.make()(params)
        np.testing.assert_allclose(
            masked.log_prob(x), plain.log_prob(x), rtol=1e-6, atol=1e-6, err_msg=case.label
        )
        # And the draws, means and the like, which are never missing.
        np.testing.assert_array_equal(masked.sample(2, seed=(1, 2)), plain.sample(2, seed=(1, 2)))
        for name in ("mean", "mode", "variance", "stddev", "entropy"):
            try:
                expected = getattr(plain, name)()
            except NotImplementedError:
                with pytest.raises(NotImplementedError):
                    getattr(masked, name)()
            else:
                np.testing.assert_array_equal(getattr(masked, name)(), expected)


def test_impute_fills_from_the_centre_or_a_draw():
    layer = Masked(
        layers.Heterogeneous(
            {"real": IndependentNormal(2), "category": layers.IndependentCategorical((), 3)}
        )
    )
    p = layer(np.array([[1.0, 2.0, 0.0, 0.0, 0.0, 5.0, 0.0]], "float32"))
    x = np.array([[7.0, np.nan, np.nan]], "float32")
    np.testing.assert_array_equal(p.impute(x), [[7.0, 2.0, 1.0]])
    drawn = p.impute(x, seed=3)
    np.testing.assert_array_equal(drawn, [[7.0, *p.sample(seed=(3, 0))[0, 1:]]])
    assert drawn[0, 1] != 2.0


@pytest.mark.slow
def test_stock_keras_trains_on_missing_targets():
    y = np.random.default_rng(0).normal([3.0, -1.0], size=[200, 2]).astype("float32")
    y[::2, 0], y[1::3, 1], y[6] = np.nan, np.nan, np.nan
    head = Masked(IndependentNormal(2))
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(4), head])
    model.compile(keras.optimizers.Adam(0.1), tfvae.NegativeLogLikelihood(), jit_compile=False)
    zeros = np.zeros([200, 1])
    model.fit(tf.data.Dataset.from_tensors((zeros, y)).repeat(200), shuffle=False, verbose=0)
    # Of independent columns the fit is that of the observed entries of each.
    p = model(zeros[:1])
    np.testing.assert_allclose(p.mean()[0], np.nanmean(y, axis=0), atol=0.01)
    np.testing.assert_allclose(p.stddev()[0], np.nanstd(y, axis=0), atol=0.01)


def test_bad_layers():
    with pytest.raises(TypeError, match=r"^`layer` of `Masked` must be a .*Received: 3$"):
        Masked(3)
    function = layers.DistributionLambda(lambda t: tfd.Normal(t, 1.0))
    with pytest.raises(TypeError, match="that counts its parameters"):
        Masked(function)
    for layer in (
        layers.IndependentBernoulli(3, sample_dtype="int32"),
        layers.IndependentCategorical(2, 3, sample_dtype="int64"),
    ):
        with pytest.raises(ValueError, match=r"only floats can be.*over int.*`sample_dtype`"):
            Masked(layer)


def test_masks_within_tables_and_masks():
    params, x = np.zeros([1, 4], "float32"), np.array([[np.nan, 1.0]], "float32")
    column = layers.Heterogeneous({"a": Masked(IndependentNormal()), "b": IndependentNormal()})
    expected = IndependentNormal()(params[:, :2]).log_prob(1.0)
    for layer in (column, Masked(column), Masked(Masked(IndependentNormal(2)))):
        np.testing.assert_allclose(layer(params).log_prob(x), expected, rtol=1e-6)
