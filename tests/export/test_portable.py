"""Noise in place of a seed: the same answers, from few operations that other runtimes know."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from tests import analytic
from tests.conftest import slow_but
from tests.export.kinds import SERVED, served
from tests.kinds import kind
from tfvae.export.portable import PORTABLE, NotPortable, twin
from tfvae.export.signatures import signatures

# All that the signatures of a plain VAE are made of, whatever is added to the package. Reshape and
# Pack join open sizes; nothing else of shapes is left.
SHAPES = {"Const", "Placeholder", "Pack", "Reshape"}
NETWORKS = {"MatMul", "BiasAdd", "Tanh", "Split", "Softplus", "AddV2", "Abs"}
DENSITIES = {"Log", "Sub", "Mul", "RealDiv", "SquaredDifference", "Sum", "BroadcastTo", "Neg"}
DENSITIES |= {"Greater", "SelectV2", "Square"}
WEIGHTS = {"Max", "Maximum", "Minimum", "IsFinite", "ZerosLike"}
WEIGHTS |= {"DivNoNan", "Sqrt", "Exp", "Cast", "Fill", "Equal"}
OPS = {
    "portable_encode": SHAPES | NETWORKS,
    "portable_decode": {"Placeholder", "MatMul", "BiasAdd", "Sigmoid"},
    "portable_generate": {*SHAPES, "Mul", "AddV2", "MatMul", "BiasAdd", "Sigmoid", "Less", "Cast"},
    "portable_sample_posterior": {*SHAPES, *NETWORKS, "Mul", "Transpose"},
    "portable_elbo": {*SHAPES, *NETWORKS, *DENSITIES, "Exp", "Mean"},
    "portable_log_prob": {*SHAPES, *NETWORKS, *DENSITIES, *WEIGHTS},
    "portable_anomaly_score": {*SHAPES, *NETWORKS, *DENSITIES, *WEIGHTS, "Mean"},
}
MOST = {"portable_encode": 16, "portable_decode": 6, "portable_generate": 22, "portable_elbo": 98}


def twins_of(model):
    """Returns by name the portable signatures that a model has."""
    found = {}
    for name in PORTABLE:
        with contextlib.suppress(NotPortable):
            found[name] = twin(model, name)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", PORTABLE)
def test_operations_are_few_and_plain(name):
    found = twin(kind("plain")[0], name)
    found.check()
    assert set(found.ops) <= OPS[name]
    assert sum(found.ops.values()) <= MOST.get(name, 157)


@pytest.mark.slow
def test_noise_is_what_draws_are_made_of():
    model = analytic.LinearGaussian.random()
    vae, x = model.vae(), model.draw(4).astype("float32")
    found = twin(vae, "portable_sample_posterior")
    assert [noise.base for noise in found.noise] == ["normal"]
    noise = np.random.default_rng(0).normal(size=(4, 6, 3)).astype("float32")
    ask = tf.function(found.function, autograph=False)
    z = ask(tf.constant(x), tf.constant(noise))["z"]
    np.testing.assert_allclose(z, model.loc(x)[:, None] + np.sqrt(model.s) * noise, atol=1e-4)
    one = ask(tf.constant(x[2:3]), tf.constant(noise[2:3, :1]))["z"]
    np.testing.assert_allclose(one, z[2:3, :1], atol=1e-6)

    found = twin(vae, "portable_generate")
    z, x = (np.random.default_rng(k).normal(size=(5, d)) for k, d in enumerate((3, model.b.size)))
    drawn = tf.function(found.function)(*(tf.constant(n.astype("float32")) for n in (z, x)))
    np.testing.assert_allclose(drawn["x_mean"], z @ model.w.T + model.b, atol=1e-4)
    np.testing.assert_allclose(drawn["z"], z, atol=1e-6)
    scale = (drawn["x"] - drawn["x_mean"]).numpy() / x
    np.testing.assert_allclose(scale, np.tile(scale[:1], [5, 1]), rtol=1e-3)


# Those that are drawn by trial and error, one after the other, or as categories.
REFUSED = {
    "mixture": {"generate", "sample_posterior"},
    "codes": {"generate", "sample_posterior"},
    "flow": {"generate"},
    "directions": {"sample_posterior", "elbo", "log_prob", "anomaly_score"},
}


@pytest.mark.parametrize("name", slow_but(of=list(SERVED)))
def test_every_kind_of_model_says_the_same_without_a_seed(name):
    twins = twins_of(served(name)[0])
    for found in twins.values():
        found.check()
    refused = {each.removeprefix("portable_") for each in PORTABLE if each not in twins}
    assert refused == REFUSED.get(name, refused)
    assert twins


@pytest.mark.slow
def test_what_a_layer_does_for_some_sizes_alone_is_found_out():
    model, _ = kind("one_latent")
    found = twin(model, "portable_decode")
    wrong = found._replace(function=lambda z: {"x_mean": found.function(z)["x_mean"] + 0.01})
    with pytest.raises(RuntimeError, match="Without a seed `x_mean` is another number"):
        wrong.check()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "full_covariance" else pytest.mark.exhaustive)
        for name in SERVED
    ],
)
def test_all_that_a_model_offers_is_written(name, tmp_path):
    model, _ = served(name)
    names = list(twins_of(model))
    model.export(tmp_path / "1", signatures=names, verbose=False)
    assert set(tf.saved_model.load(str(tmp_path / "1")).signatures) == {*names}


@pytest.mark.slow
@pytest.mark.exhaustive
def test_portable_signatures_are_served_beside_others(tmp_path):
    model, x = kind("plain")
    names = ["encode", "portable_encode", "portable_generate"]
    model.export(tmp_path / "1", signatures=names, verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "1")).signatures
    x = tf.constant(x)
    for name, value in loaded["encode"](x=x).items():
        np.testing.assert_allclose(loaded["portable_encode"](x=x)[name], value, rtol=1e-6)
    drawn = loaded["portable_generate"](noise_1=tf.zeros([3, 2]), noise_2=tf.zeros([3, 6]))
    np.testing.assert_array_equal(drawn["x"], np.ones([3, 6]))
    directions, _ = kind("directions")
    with pytest.raises(NotPortable, match="`portable_elbo`: it draws by trial and error"):
        signatures(directions, ["portable_elbo"])
