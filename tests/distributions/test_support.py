"""What data a likelihood can have produced."""

import re
import warnings

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.layers.cases import ALL_CASES
from tfvae.data.checks import check_array, checked_part
from tfvae.distributions import support_of
from tfvae.layers import IndependentBernoulli, IndependentNormal

tfd = tfp.distributions


def test_binary_likelihoods():
    bernoulli = tfd.Independent(tfd.Bernoulli(logits=tf.zeros([5, 2, 3])), 2)
    for distribution in (
        bernoulli,
        tfd.BatchReshape(bernoulli, [5, 1]),
        IndependentBernoulli((2, 3))(np.zeros([5, 6], "float32")),
        tfd.Bernoulli(probs=0.5),
    ):
        support = support_of(distribution)
        assert support.likelihood == "Bernoulli"
        assert (support.lower, support.upper, support.whole) == (0.0, 1.0, True)
        assert "binarise" in support.remedy
        assert "IndependentNormal" in support.remedy
        assert "ContinuousBernoulli" in support.remedy


def test_real_likelihoods_take_everything():
    support = support_of(IndependentNormal((2, 3))(np.zeros([5, 12], "float32")))
    assert support.likelihood == "Normal"
    assert (support.lower, support.upper, support.whole) == (None, None, False)


def test_counts_and_categories():
    for distribution, name, upper in [
        (tfd.Independent(tfd.Poisson(log_rate=tf.zeros([5, 2])), 1), "Poisson", None),
        (tfd.OneHotCategorical(tf.zeros([5, 2])), "OneHotCategorical", 1.0),
    ]:
        support = support_of(distribution)
        assert support.likelihood == name
        assert (support.lower, support.upper, support.whole) == (0.0, upper, True)
        assert support.remedy
    # A mixture takes what its components take.
    mixture = tfd.MixtureSameFamily(tfd.Categorical(tf.zeros(2)), tfd.Poisson(log_rate=tf.zeros(2)))
    assert support_of(mixture) == support_of(mixture.components_distribution)


@pytest.mark.slow
def test_every_layer_over_less_than_the_real_line_says_so():
    """What a family cannot draw it names, with the name of a layer that can."""
    for case in ALL_CASES:
        p = case.make()(case.params(3))
        support = support_of(p)
        x = np.asarray(case.values(200), "float64")
        assert support.missing == np.isnan(x).any(), case.label
        x = x[~np.isnan(x)] if support.missing else x
        if support.lower is not None:
            assert np.min(x) >= support.lower, case.label
            assert support.remedy, case.label
        if support.upper is not None:
            assert np.max(x) <= support.upper + 1e-6, case.label
        if support.whole:
            steps = (x - support.lower) / support.spacing
            np.testing.assert_allclose(steps, np.round(steps), atol=1e-4, err_msg=case.label)
        named = re.findall("`([A-Z][A-Za-z]+)`", support.remedy)
        assert all(hasattr(tfvae.layers, name) for name in named), case.label
    open_interval = support_of(tfd.Beta(1.0, 1.0))
    assert (open_interval.lower, open_interval.upper, open_interval.exclusive) == (0.0, 1.0, True)


def test_checks_of_data_know_bounds_that_are_excluded_and_levels():
    beta = support_of(tfd.Beta(1.0, 1.0))

    @tf.function(autograph=False)
    def checked(x):
        part, checks = checked_part(x, (2,), "x", beta)
        with tf.control_dependencies(checks):
            return tf.identity(part)

    for x in (np.array([[0.0, 0.5]]), np.array([[0.5, 1.0]])):
        with pytest.raises(ValueError, match=r"from 0.0 to 1.0, ends excluded.*ContinuousBern"):
            check_array(x, "x", (2,), beta)
        with pytest.raises(tf.errors.InvalidArgumentError, match="ends excluded"):
            checked(tf.constant(x))
    inside = np.array([[0.2, 0.5]])
    np.testing.assert_array_equal(checked(tf.constant(inside)), inside)
    check_array(np.array([[0.2, 0.5]]), "x", (2,), beta)
    levels = support_of(tfvae.distributions.DiscretizedLogistic(0.0, 1.0, levels=256))
    pixels = np.arange(256, dtype="float32")[:, None] / 255.0
    check_array(pixels, "x", (1,), levels)
    with pytest.warns(UserWarning, match=r"such as 0.5, but the Disc.* to steps of 0.0039"):
        check_array(np.full([2, 1], 0.5), "x", (1,), levels)


def test_rows_of_a_table_have_a_support_in_each_column():
    layer = tfvae.layers.Heterogeneous(
        {
            "age": IndependentNormal(),
            "visits": tfvae.layers.IndependentPoisson(2),
            "größe": tfvae.layers.IndependentCategorical((), levels=4),
        }
    )
    params = np.zeros([5, 8], "float32")
    support, masked = support_of(layer(params)), tfvae.layers.Masked(layer)(params)
    assert (support.lower, support.upper, support.missing) == (None, None, False)
    assert [column[:2] for column in support.columns] == [("age", 1), ("visits", 2), ("größe", 1)]
    bounds = [(own.likelihood, own.lower, own.upper) for *_, own in support.columns]
    assert bounds == [("Normal", None, None), ("Poisson", 0, None), ("Categorical", 0, 3)]
    # Wherever the mask is put: as a whole, on elements, or in a batch of another shape.
    for outer in (masked, tfd.BatchReshape(masked, [5, 1])):
        assert support_of(outer).missing
        assert support_of(outer).columns == support.columns
    inner = tfd.Independent(tfvae.distributions.Masked(tfd.Poisson(tf.ones(3))), 1)
    assert (support_of(inner).missing, support_of(inner).lower) == (True, 0.0)


OFF_NORM = {
    tfvae.layers.VonMisesFisher: ([0.6, 0.8, 0.0], [0.6, 0.9, 0.0], "lengths are 1.*length"),
    tfvae.layers.PowerSpherical: ([0.0, 0.0, -1.0], [0.0, 0.0, -1.1], "lengths are 1.*length"),
    tfvae.layers.RelaxedOneHotCategorical: ([0.2, 0.3, 0.5], [0.2, 0.3, 0.6], "sums are 1.*sum"),
    tfvae.layers.OneHotCategorical: ([0.0, 1.0, 0.0], [0.0, 1.0, 1.0], "sums are 1.*one-hot"),
}


@pytest.mark.parametrize("family", OFF_NORM, ids=lambda family: family.__name__)
def test_vectors_off_the_sphere_and_off_the_simplex(family):
    """In arrays, in batches of a graph, and in eager code; rounding to half precision is none."""
    on, off, message = OFF_NORM[family]
    layer = family(3)
    p = layer(np.zeros([1, layer._params_size()], "float32"))
    support = support_of(p)
    on, off = np.array([on], "float32"), np.array([off], "float32")

    @tf.function(autograph=False)
    def checked(x):
        part, checks = checked_part(x, (3,), "x", support)
        with tf.control_dependencies(checks):
            return tf.identity(part)

    for x in (on, on.astype("float16").astype("float32")):
        check_array(x, "x", (3,), support)
        np.testing.assert_array_equal(checked(tf.constant(x)), x)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.all(np.isfinite(p.log_prob(x)))
    with pytest.raises(ValueError, match=message):
        check_array(np.concatenate([on, off]), "x", (3,), support)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        checked(tf.constant(off))
    with pytest.warns(UserWarning, match=f"a {support.likelihood} likelihood cannot have produced"):
        p.log_prob(off)
    tables = tfvae.layers.Heterogeneous({"age": IndependentNormal(), "kind": layer})
    rows = support_of(tables(np.zeros([1, 2 + layer._params_size()], "float32")))
    with pytest.raises(ValueError, match=f"of column `kind`.*{message}"):
        check_array(np.concatenate([off[:, :1], off], axis=1), "x", (4,), rows)
    assert support_of(tfd.SphericalUniform(3)).norm == 2


def test_binomials_end_where_they_are_known_to():
    nine = tfd.Binomial(9.0, logits=tf.zeros([3, 2]))
    assert (support_of(nine).lower, support_of(nine).upper) == (0.0, 9.0)
    assert support_of(tfd.BetaBinomial([3.0, 9.0], 1.0, 1.0)).upper == 9.0
    drawn = tf.function(lambda n: support_of(tfd.Binomial(n, logits=0.0)).upper or n)
    assert float(drawn(tf.constant(4.0))) == 4.0  # Nobody knows while the graph is made.


def test_what_stands_around_plain_distributions_has_their_support():
    class Plain(tfd.Distribution):
        """No composite tensor, so that TFP wraps it in other classes than others."""

        def __init__(self):
            kind = tfd.NOT_REPARAMETERIZED
            super().__init__(tf.float32, kind, validate_args=False, allow_nan_stats=True)

        def _event_shape(self):
            return tf.TensorShape([])

        def _batch_shape(self):
            return tf.TensorShape([])

        def _parameter_properties(self, dtype, num_classes=None):
            return {}

    support_of.register(Plain, lambda _: tfvae.distributions.Support("Plain", lower=0.0))
    for around in (
        tfd.Sample(Plain(), 3),
        tfd.Mixture(tfd.Categorical([0.0, 0.0]), [Plain(), Plain()]),
    ):
        assert support_of(around).likelihood == "Plain", around
