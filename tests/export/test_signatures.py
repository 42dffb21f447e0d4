"""The SavedModel: what it gives in a process that knows TensorFlow alone."""

import json
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import analytic
from tests.conftest import binary_data, mlp_vae
from tests.kinds import kind
from tfvae.export.signatures import signatures

CLIENT = """
    import json, sys
    import numpy as np
    import tensorflow as tf

    folder, data = sys.argv[1:]
    x = tf.constant(np.load(data))
    signatures = tf.saved_model.load(folder).signatures
    seed, few = tf.constant([3, 4]), tf.constant(5)
    z = signatures["encode"](x=x)["z_mean"]
    answers = {
        "serving_default": signatures["serving_default"](x=x),
        "encode": signatures["encode"](x=x),
        "decode": signatures["decode"](z=z),
        "generate": signatures["generate"](num_samples=few, seed=seed),
        "elbo": signatures["elbo"](x=x, num_samples=few, seed=seed),
        "log_prob": signatures["log_prob"](x=x, num_samples=tf.constant(1000), seed=seed),
    }
    one = {k: v.shape[0] for k, v in signatures["serving_default"](x=x[:1]).items()}
    loaded = [n for n in ("tfvae", "tensorflow_probability", "tf_keras") if n in sys.modules]
    numbers = {n: {k: v.numpy().tolist() for k, v in a.items()} for n, a in answers.items()}
    print(json.dumps({"answers": numbers, "one": one, "loaded": loaded}))
"""


@pytest.mark.slow
def test_serves_the_same_numbers_with_tensorflow_alone(tmp_path, capsys):
    model = analytic.LinearGaussian.random()
    vae, x = model.vae(), model.draw(6)
    folder = tmp_path / "model" / "1"
    vae.export(folder)
    assert "log_prob(x, num_samples, seed)" in capsys.readouterr().out
    np.save(tmp_path / "x.npy", x)
    client = [sys.executable, "-c", textwrap.dedent(CLIENT), str(folder), str(tmp_path / "x.npy")]
    done = subprocess.run(client, capture_output=True, text=True, check=True, cwd=tmp_path)
    served = json.loads(done.stdout)
    assert served["loaded"] == []
    assert served["one"] == {"z_mean": 1, "z_stddev": 1, "reconstruction": 1}
    answers = {
        name: {key: np.array(value) for key, value in answer.items()}
        for name, answer in served["answers"].items()
    }

    np.testing.assert_allclose(answers["encode"]["z_mean"], model.loc(x), atol=1e-5)
    expected = np.broadcast_to(np.sqrt(model.s), [6, 3])
    np.testing.assert_allclose(answers["encode"]["z_stddev"], expected, atol=1e-5)
    mean = model.loc(x) @ model.w.T + model.b
    np.testing.assert_allclose(answers["decode"]["x_mean"], mean, atol=1e-4)
    np.testing.assert_allclose(answers["serving_default"]["reconstruction"], mean, atol=1e-4)

    terms = vae.terms(x, 5, seed=[3, 4])
    np.testing.assert_allclose(answers["elbo"]["elbo"], terms.elbo, rtol=1e-5)
    np.testing.assert_allclose(answers["elbo"]["rate"], model.rate(x), atol=1e-4)
    np.testing.assert_allclose(answers["elbo"]["distortion"], terms.distortion, rtol=1e-5)
    deviation = answers["log_prob"]["log_prob"] - model.log_p_x(x)
    assert np.all(np.abs(deviation) < 5 * answers["log_prob"]["standard_error"])
    assert np.all(answers["log_prob"]["ess"] <= 1000.001)

    generated = vae.generate(5, tf.constant([3, 4]))
    for name, value in generated.items():
        np.testing.assert_allclose(answers["generate"][name], value, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_seed_decides_all_draws(tmp_path):
    model = analytic.LinearGaussian.random()
    model.vae().export(tmp_path / "1", verbose=False)
    generate = tf.saved_model.load(tmp_path / "1").signatures["generate"]
    first, second, other = (
        generate(num_samples=tf.constant(4), seed=tf.constant(seed))["x"].numpy()
        for seed in ([0, 1], [0, 1], [0, 2])
    )
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).min() > 0


def test_generated_data_has_the_moments_of_the_model():
    model = analytic.LinearGaussian.random()
    draws = model.vae().sample(100_000, seed=0).numpy().astype("float64")
    error = np.sqrt(np.diag(model.covariance) / len(draws))
    assert np.all(np.abs(draws.mean(axis=0) - model.b) < 5 * error)
    np.testing.assert_allclose(np.cov(draws.T), model.covariance, atol=0.15)
    with pytest.raises(
        ValueError, match=r"`num_samples` must be a whole number >= 1. Received: num_samples=0"
    ):
        model.vae().sample(0)


@pytest.mark.parametrize("name", ["directed", "semi_supervised"])
def test_nodes_go_back_into_decode_by_the_names_that_they_came_with(name):
    model, _ = kind(name)
    found = {n: function for n, (function, _) in signatures(model).items()}
    specs = signatures(model)["decode"][1]
    assert [spec.name for spec in specs] == list(model.latents)
    drawn = found["generate"](tf.constant(5), tf.constant([0, 1]))
    observed = model.observed[0]
    mean = found["decode"](*(drawn[node] for node in model.latents))[f"{observed}_mean"]
    np.testing.assert_allclose(mean, drawn[f"{observed}_mean"], rtol=1e-5)


def test_float64_stays():
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    try:
        model = mlp_vae()
        found = signatures(model)
        for _, specs in found.values():
            types = {spec.name: spec.dtype for spec in specs}
            assert (
                types.items()
                <= {
                    "x": tf.float64,
                    "z": tf.float64,
                    "num_samples": tf.int32,
                    "seed": tf.int32,
                }.items()
            )
        z = tf.constant([[1.0 / 3.0, -2.0 / 3.0]], tf.float64)
        mean = found["decode"][0](z)["x_mean"]
        np.testing.assert_allclose(mean, model.decode(z).mean(), rtol=1e-14)
    finally:
        keras.config.set_floatx(before)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
def test_xla_compiles_answers_and_no_checks(tmp_path):
    vae, x = mlp_vae(), tf.constant(binary_data(3))
    names = ["decode", "log_prob"]
    vae.export(tmp_path / "1", signatures=[*names, "encode"], jit_compile=names, verbose=False)
    served = tf.saved_model.load(str(tmp_path / "1")).signatures
    z = tf.constant([[0.3, -1.2], [0.0, 2.0]])
    for rows in (2, 1, 0):
        found = served["decode"](z=z[:rows])["x_mean"]
        np.testing.assert_allclose(found, vae.decode(z[:rows]).mean(), rtol=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Signature `decode`"):
        served["decode"](z=z * np.nan)
    seeds = tf.constant([[0, 1], [0, 2], [0, 1]])
    count = tf.constant(500)
    scores = [
        served["log_prob"](x=x, num_samples=count, seed=s)["log_prob"] for s in (seeds, [3, 4])
    ]
    np.testing.assert_allclose(*scores, atol=0.3)
    compiled = {
        name: any(
            f.attr["_XlaMustCompile"].b for f in function.graph.as_graph_def().library.function
        )
        for name, function in served.items()
    }
    assert compiled == {"decode": True, "log_prob": True, "encode": False}


def test_only_signatures_that_there_are_can_be_compiled():
    vae = mlp_vae()
    vae.build([None, 6])
    with pytest.raises(ValueError, match="must name some of decode, each once"):
        signatures(vae, ["decode"], ["encode"])
    with pytest.raises(ValueError, match="know nothing of XLA"):
        signatures(vae, ["portable_decode"], ["portable_decode"])
