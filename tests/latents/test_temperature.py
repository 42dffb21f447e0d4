import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.conftest import slow_but
from tests.kinds import KINDS, kind
from tfvae.latents import sample_at, tempered

tfd = tfp.distributions
FACTOR = np.array([[1.0, 0.0], [2.0, 3.0]], "float32")


@pytest.mark.parametrize(
    "family",
    [
        tfd.Normal([1.0, 2.0], [3.0, 4.0]),
        tfd.MultivariateNormalDiag([1.0, 2.0], [3.0, 4.0]),
        tfd.MultivariateNormalTriL([1.0, 2.0], FACTOR),
        tfvae.distributions.FullNormal([1.0, 2.0], FACTOR),
        tfd.Independent(tfd.Normal([1.0, 2.0], [3.0, 4.0]), 1),
        tfd.MultivariateNormalDiagPlusLowRankCovariance([1.0, 2.0], [3.0, 4.0], [[1.0], [2.0]]),
        tfd.MultivariateNormalDiagPlusLowRank(
            [1.0, 2.0], [1.0, 1.0], scale_perturb_factor=[[1.0], [2.0]]
        ),
        tfd.MultivariateNormalLinearOperator(
            [1.0, 2.0], tf.linalg.LinearOperatorFullMatrix([[1.0, 2.0], [0.0, 1.0]])
        ),
    ],
    ids=lambda each: type(each).__name__,
)
def test_scales_of_gaussians_are_multiplied(family):
    narrow = tempered(family, 0.5)
    np.testing.assert_allclose(narrow.mean(), family.mean(), rtol=1e-6)
    np.testing.assert_allclose(narrow.variance(), 0.25 * family.variance(), rtol=1e-5)
    if family.event_shape.rank and not isinstance(family, tfd.Independent):
        np.testing.assert_allclose(
            narrow.covariance(), 0.25 * family.covariance(), rtol=1e-5, atol=1e-6
        )
    x = family.sample(3, seed=[0, 1])
    moved = family.mean() + 0.5 * (x - family.mean())
    size = 2 if family.event_shape.rank else 1
    # A density of half the width is 2**K times as high at the same place.
    expected = family.log_prob(x) + size * np.log(2.0)
    np.testing.assert_allclose(narrow.log_prob(moved), expected, rtol=1e-4)


def test_logits_of_categories_are_divided():
    logits = np.array([0.0, 1.0, -2.0], "float32")
    for family in (tfd.Categorical, tfd.OneHotCategorical):
        for made in (family(logits=logits), family(probs=tf.nn.softmax(logits))):
            found = tf.nn.softmax(tempered(made, 0.5).logits_parameter())
            np.testing.assert_allclose(found, tf.nn.softmax(2 * logits), rtol=1e-5)
    found = tempered(tfd.Independent(tfd.Bernoulli(logits), 1), 0.5)
    np.testing.assert_allclose(found.mean(), tf.sigmoid(2 * logits), rtol=1e-5)


def test_mixtures_keep_their_weights_and_flows_their_map():
    loc, scale = tf.constant([[-5.0], [5.0]]), tf.constant([[1.0], [2.0]])
    mixture = tfvae.distributions.NormalMixture([0.0, 1.0], loc, scale)
    narrow = tempered(mixture, 0.1)
    np.testing.assert_allclose(narrow.scale, 0.1 * scale, rtol=1e-6)
    np.testing.assert_allclose((narrow.loc, narrow.logits[:, None]), (loc, [[0.0], [1.0]]))
    components = tfd.MultivariateNormalDiag(loc, scale)
    same = tempered(tfd.MixtureSameFamily(tfd.Categorical([0.0, 1.0]), components), 0.1)
    np.testing.assert_allclose(same.log_prob([[4.9]]), narrow.log_prob([[4.9]]), rtol=1e-5)
    flow = tfd.TransformedDistribution(tfd.Normal(0.0, 1.0), tfp.bijectors.Exp())
    assert float(tempered(flow, 0.5).quantile(0.9)) == pytest.approx(np.exp(0.5 * 1.2815516))


def test_an_unknown_family_is_told_what_to_do():
    with pytest.raises(TypeError, match=r"a Gamma is at a temperature. Say so by"):
        tempered(tfd.Gamma(1.0, 1.0), 0.5)


@pytest.mark.slow
def test_samples_of_each_level_have_the_scale_of_the_temperature():
    model, _ = kind("hierarchical")
    number = 4000
    found = sample_at(model, number, 0.5, seed=0)
    levels = model.split(found.z)
    below = model.prior_distribution().conditionals(levels)["z_1"].distribution
    away = (levels["z_1"] - below.mean()) / below.stddev()
    for part in (levels["z_2"], away):  # the top level is N(0, I)
        spread, error = np.std(part, axis=0), 0.5 / np.sqrt(2 * number)
        np.testing.assert_allclose(spread, 0.5, atol=4 * error)
    expected = model.decode(found.z).mean()
    np.testing.assert_allclose(found.means["x"], expected, rtol=1e-5)


@pytest.mark.parametrize("name", slow_but("plain", of=list(KINDS)))
def test_every_kind_of_model_with_latents(name):
    model, data = kind(name)
    context = data.get("context") if isinstance(data, dict) else None
    if not model.graph.latents:
        with pytest.raises(ValueError, match="without any"):
            sample_at(model, 3, 0.7, context=context)
        return
    found = sample_at(model, 12, 0.7, seed=0, context=context)
    assert found.z.shape == (12, *model.latent_shape)
    for node, part in found.means.items():
        assert part.shape == (12, *model.graph.shapes[node])
        assert np.all(np.isfinite(part))


def test_messages():
    model, data = kind("conditional")
    with pytest.raises(ValueError, match="temperature"):
        sample_at(model, 3, 0.0)
    with pytest.raises(ValueError, match=r"num_samples=3, context of shape \[2, 3\]"):
        sample_at(model, 3, 1.0, context=data["context"][:2])
