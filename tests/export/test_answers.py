"""What signatures answer against closed forms, and which models have them."""

import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests import analytic
from tests.kinds import BITS, kind
from tfvae._random import fold_in
from tfvae.export.signatures import FURTHER, STANDARD, offered, signatures
from tfvae.graph.imputation import Imputer

SEED = tf.constant([3, 4])


def ask(model, name, **inputs):
    function, specs = signatures(model, [name])[name]
    return function(*(tf.convert_to_tensor(inputs[spec.name]) for spec in specs))


@pytest.mark.slow
def test_draws_of_the_posterior_have_its_moments_and_densities_are_exact():
    model = analytic.LinearGaussian.random()
    vae, x = model.vae(), model.draw(3)
    z = ask(vae, "sample_posterior", x=x, num_samples=20_000, seed=SEED)["z"].numpy()
    assert z.shape == (3, 20_000, 3)
    error = np.sqrt(model.s / 20_000)
    assert np.all(np.abs(z.mean(axis=1) - model.loc(x)) < 5 * error)
    np.testing.assert_allclose(z.var(axis=1), np.tile(model.s, [3, 1]), rtol=0.06)
    encoded = ask(vae, "encode", x=x)
    np.testing.assert_array_equal(encoded["z_loc"], encoded["z_mean"])
    np.testing.assert_array_equal(encoded["z_scale_diag"], encoded["z_stddev"])


@pytest.mark.slow
def test_strange_points_have_high_scores():
    model = analytic.LinearGaussian.random()
    vae, x = model.vae(), model.draw(4)
    found = ask(vae, "anomaly_score", x=x, num_samples=300, seed=SEED)
    log_p = ask(vae, "log_prob", x=x, num_samples=300, seed=SEED)["log_prob"]
    np.testing.assert_array_equal(found["anomaly_score"], -log_p)
    error = 5 * found["standard_error"]
    assert np.all(np.abs(found["anomaly_score"] + model.log_p_x(x)) < error)
    assert np.all(found["negative_elbo"] >= found["anomaly_score"])
    strange = ask(vae, "anomaly_score", x=x + 20.0, num_samples=300, seed=SEED)
    assert np.all(strange["anomaly_score"] > found["anomaly_score"])


@pytest.mark.slow
def test_the_way_between_two_points_is_decoded():
    model = analytic.LinearGaussian.random()
    vae, x = model.vae(), model.draw(4)
    found = ask(vae, "interpolate", x=x, x_end=x[::-1].copy(), num_steps=5)
    share = np.linspace(0.0, 1.0, 5)[:, None]
    start, end = model.loc(x)[:, None], model.loc(x)[::-1][:, None]
    way = (1.0 - share) * start + share * end  # [B, T, K]
    np.testing.assert_allclose(found["z"], way, atol=1e-5)
    np.testing.assert_allclose(found["x_mean"], way @ model.w.T + model.b, atol=1e-4)


@pytest.mark.slow
def test_responsibilities_are_the_posterior_itself():
    mixture, x = kind("mixture")
    found = ask(mixture, "responsibilities", x=x)
    np.testing.assert_allclose(
        found["responsibilities"], mixture.encode(tf.constant(x)).probs_parameter(), atol=1e-5
    )
    np.testing.assert_array_equal(found["z"][0], np.eye(3))
    # Of two variables of three states an encoder says something else than Bayes' rule.
    codes, x = kind("codes")
    found = ask(codes, "responsibilities", x=x)
    z = tf.transpose(found["z"], [1, 0, 2])  # [9, B, 2]
    log_p = codes.decode(z).log_prob(np.tile(x, [9, 1, 1]))
    log_p += codes.prior_distribution().log_prob(z)
    np.testing.assert_allclose(
        found["responsibilities"], tf.transpose(tf.nn.softmax(log_p, axis=0)), atol=1e-5
    )
    np.testing.assert_allclose(
        tf.reduce_logsumexp(log_p, axis=0), codes.exact_log_p_x(x), rtol=1e-5
    )


@pytest.mark.slow
def test_gaps_are_filled_as_in_python():
    model, x = kind("with_gaps")
    found = ask(model, "impute", x=x, num_samples=20, seed=SEED)
    mean, _, ess = Imputer(model, 20, 1, 16)({"x": tf.constant(x)}, fold_in(SEED, 0))
    gaps = np.isnan(x)
    np.testing.assert_allclose(found["x"], np.where(gaps, mean, x), rtol=1e-5)
    np.testing.assert_allclose(found["ess"], ess, rtol=1e-5)
    np.testing.assert_array_equal(found["x_draw"].numpy()[~gaps], x[~gaps])
    assert set(np.unique(found["x_draw"])) == {0.0, 1.0}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        ("plain", {"impute", "responsibilities"}),
        ("mixture", {"impute", "interpolate"}),
        ("with_gaps", {"responsibilities"}),
        ("density", {*FURTHER} - {"anomaly_score"}),
        ("semi_supervised", {"impute", "interpolate", "responsibilities"}),
    ],
)
def test_models_have_what_they_can_do(name, lacking):
    model, _ = kind(name)
    assert set(offered(model)) == {*STANDARD, *FURTHER} - lacking
    for missing in lacking:
        with pytest.raises(ValueError, match=f"no signature `{missing}`: (it|its|there|not) "):
            signatures(model, [missing])


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["encode", "enocde"], r"Received: \['encode', 'enocde'\]"),
        ([], r"Received: \[\]"),
        (["decode", "decode"], r"each once\. Received"),
    ],
)
def test_other_names_are_refused(names, found):
    with pytest.raises(ValueError, match="`signatures` must name some of .*" + found):
        signatures(kind("plain")[0], names)
    with pytest.raises(TypeError, match=r"must be a list of names\. Received: 'encode'"):
        signatures(kind("plain")[0], "encode")


def test_parameters_make_the_likelihood_again():
    model, _ = kind("plain")
    z = tf.random.stateless_normal([4, 2], SEED)
    found = ask(model, "decode", z=z)
    np.testing.assert_allclose(found["x_mean"], tf.sigmoid(found["x_logits"]), rtol=1e-6)
    assert isinstance(model, tfvae.VAE)
    assert found["x_logits"].shape == (4, len(BITS[0]))


def test_the_other_end_of_a_way_is_checked_too():
    model, x = kind("plain")
    valid = {"x": x, "x_end": x, "num_steps": 3}
    broken = x.copy()
    broken[1, 2] = np.nan
    for name, value in (("x_end", broken), ("x_end", x[:5]), ("num_steps", 0)):
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            ask(model, "interpolate", **{**valid, name: value})
        assert f"<tfvae>Signature `interpolate`: `{name}` " in caught.value.message
