"""What a SavedModel has no answer to, it refuses in one sentence: signature, input, fault."""

import json
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.kinds import kind
from tfvae.export.signatures import signatures
from tfvae.layers import IndependentBernoulli, MultivariateNormalDiag

CLIENT = """
    import json, sys
    import numpy as np
    import tensorflow as tf

    signatures = tf.saved_model.load(sys.argv[1]).signatures
    zeros = {"x": [7, 8, 8, 1], "context": [7, 3], "z": [7, 2]}
    valid = {name: np.zeros(shape, "float32") for name, shape in zeros.items()}
    valid |= {"num_samples": np.int32(2), "seed": np.array([0, 1], "int32")}

    def ask(name, **changes):
        inputs = signatures[name].structured_input_signature[1]
        request = {key: tf.constant(changes.get(key, valid[key])) for key in inputs}
        try:
            return {k: v.shape.as_list() for k, v in signatures[name](**request).items()}
        except tf.errors.InvalidArgumentError as error:
            return error.message

    def broken(name, value):
        found = valid[name].copy()
        found.reshape(-1)[3] = value
        return {name: found}

    asked = {name: ask(name) for name in signatures}
    cases = {
        "NaN": ("encode", broken("x", np.nan)),
        "infinite": ("serving_default", broken("x", -np.inf)),
        "beyond": ("log_prob", broken("x", 7.5)),
        "flat": ("elbo", {"x": valid["x"].reshape(7, 64)}),
        "one axis less": ("encode", {"x": valid["x"][..., 0]}),
        "one row": ("encode", {"context": valid["context"][:1]}),
        "context": ("generate", broken("context", np.nan)),
        "short context": ("encode", {"context": valid["context"][:, :2]}),
        "none": ("log_prob", {"num_samples": np.int32(0)}),
        "fewer": ("elbo", {"num_samples": np.int32(-5)}),
        "many": ("log_prob", {"num_samples": np.int32(2**24 + 1)}),
        "two counts": ("elbo", {"num_samples": np.array([2, 2, 2, 3, 2, 2, 2], "int32")}),
        "short seed": ("elbo", {"seed": np.array([1], "int32")}),
        "fewer seeds": ("log_prob", {"seed": np.zeros([6, 2], "int32")}),
        "z": ("decode", broken("z", np.nan)),
        "short z": ("decode", {"z": valid["z"][:, :1]}),
        "one row for z": ("decode", {"context": valid["context"][:1]}),
    }
    refused = {case: ask(name, **changes) for case, (name, changes) in cases.items()}
    print(json.dumps({"asked": asked, "refused": refused, "alone": "tfvae" not in sys.modules}))
"""

EXPECTED = {
    "NaN": "`encode`: `x` holds NaN or infinite values",
    "infinite": "`serving_default`: `x` holds NaN or infinite values",
    "beyond": "`log_prob`: `x` lies outside the support of the Bernoulli likelihood",
    "flat": "`elbo`: `x` does not have the shape that this model is for. "
    "Expected: [batch, 8, 8, 1]. Received: [7 64].",
    "one axis less": "`encode`: `x` does not have the shape that this model is for. "
    "Expected: [batch, 8, 8, 1]. Received: [7 8 8].",
    "one row": "`encode`: `context` must have one row per row of `x`. Received: 1 rows for 7.",
    "context": "`generate`: `context` holds NaN or infinite values",
    "short context": "`encode`: `context` does not have the shape that this model is for. "
    "Expected: [batch, 3]. Received: [7 2].",
    "none": "`log_prob`: `num_samples` must be a whole number from 1 to 16777216. Received: 0.",
    "fewer": "`elbo`: `num_samples` must be a whole number from 1 to 16777216. Received: -5.",
    "many": "`log_prob`: `num_samples` must be a whole number from 1 to 16777216. "
    "Received: 16777217.",
    "two counts": "`elbo`: `num_samples` must be the same for all rows of a batch. "
    "Received: from 2 to 3.",
    "short seed": "`elbo`: `seed` must be a pair [2], or one for each row [batch, 2]. "
    "Received: shape [1].",
    "fewer seeds": "`log_prob`: `seed` must be a pair [2], or one for each row [batch, 2]. "
    "Received: shape [6 2].",
    "z": "`decode`: `z` holds NaN or infinite values",
    "short z": "`decode`: `z` does not have the shape that this model is for. "
    "Expected: [batch, 2]. Received: [7 1].",
    "one row for z": "`decode`: `context` must have one row per row of `z`. "
    "Received: 1 rows for 7.",
}


def images():
    """A p(x|c) of images whose networks take anything: they flatten, and ReLU drops NaN."""
    x, z, c = keras.Input((8, 8, 1)), keras.Input((2,)), keras.Input((3,))
    both = keras.layers.Concatenate()([keras.layers.Flatten()(x), c])
    hidden = keras.layers.Dense(8, "relu")(both)
    encoder = keras.Model([x, c], MultivariateNormalDiag(2)(keras.layers.Dense(4)(hidden)))
    hidden = keras.layers.Dense(8, "relu")(keras.layers.Concatenate()([z, c]))
    pixels = IndependentBernoulli((8, 8, 1))(keras.layers.Dense(64)(hidden))
    return tfvae.VAE(encoder, keras.Model([z, c], pixels), seed=0)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_client_without_this_package_is_refused(tmp_path):
    images().export(tmp_path / "1", verbose=False)
    program = [sys.executable, "-c", textwrap.dedent(CLIENT), str(tmp_path / "1")]
    done = subprocess.run(program, capture_output=True, text=True, check=True, cwd=tmp_path)
    found = json.loads(done.stdout)
    assert found["alone"]
    for name, answer in found["asked"].items():
        assert isinstance(answer, dict), answer
        assert all(shape[0] == 7 for shape in answer.values()), name
    assert set(found["refused"]) == set(EXPECTED)
    for case, message in found["refused"].items():
        assert f"<tfvae>Signature {EXPECTED[case]}" in message, (case, message)


def test_the_last_counts_that_are_taken():
    """A model that knows log p(x) draws nothing for it."""
    model, data = kind("density")
    function, specs = signatures(model)["log_prob"]
    assert [spec.name for spec in specs] == ["x", "num_samples", "seed"]
    for count in (1, 2**24):
        answer = function(tf.constant(data), tf.constant(count), tf.constant([0, 1]))
        np.testing.assert_array_equal(answer["ess"], np.full(len(data), count, "float32"))
    for count in (0, 2**24 + 1):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"`num_samples` .*: {count}"):
            function(tf.constant(data), tf.constant(count), tf.constant([0, 1]))


def test_draws_of_rows_with_seeds_are_one_each():
    model, _ = kind("density")
    function, _ = signatures(model)["generate"]
    seeds = tf.constant([[0, 1], [0, 2]])
    assert function(tf.constant(1), seeds)["x"].shape == (2, 6)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"must be 1 where .*: 2"):
        function(tf.constant(2), seeds)
