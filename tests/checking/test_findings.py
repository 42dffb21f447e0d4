"""What was found can be printed, asked for by name, and taken as data."""

import json

import keras
import numpy as np
import pytest

import tfvae
from tfvae.checking import Checkup, Finding

FOUND = Checkup(
    "VAE 'vae'",
    7,
    (
        Finding("data", "ok", "Can be read: 7 looked at."),
        Finding("rate", "warning", "q(z|x) lies 1e+03 nats per dimension away. " * 4, "Scale it."),
        Finding("objective", "note", "`MMD` is no bound [of any kind]."),
        Finding("closed KL", "fault", "It differs.", "Mend it."),
    ),
)


def test_the_gravest_level_is_that_of_all():
    assert FOUND.level == "fault"
    assert [f.tried for f in FOUND.problems] == ["closed KL", "rate"]
    assert Checkup("VAE 'vae'", 7, FOUND.findings[:1]).level == "ok"
    assert Checkup("VAE 'vae'", 7, ()).level == "ok"


def test_a_finding_is_had_by_name():
    assert FOUND["rate"].remedy == "Scale it."
    with pytest.raises(KeyError, match=r"'Rate' was not tried\. Tried were: data, rate"):
        FOUND["Rate"]


def test_it_prints_as_a_table_of_80_columns():
    text = str(FOUND)
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith("VAE 'vae' on 7 points: 1 fault, 1 warning, 1 note, 1 ok")
    for part in ("To do: Mend it.", "[of any kind]", "closed KL", "warning"):
        assert part in text
    assert "on 1 point:" in str(Checkup("VAE 'vae'", 1, FOUND.findings))
    assert FOUND._repr_html_().startswith("<pre>")


def test_it_is_plain_data():
    found = json.loads(json.dumps(FOUND.to_dict()))
    assert found["level"] == "fault"
    assert found["num_points"] == 7
    assert found["findings"][3] == {
        "tried": "closed KL",
        "level": "fault",
        "found": "It differs.",
        "remedy": "Mend it.",
    }


def test_targets_that_no_network_reads_may_be_of_any_size():
    inputs = np.random.default_rng(0).normal(size=(40, 2)).astype("float32")
    targets = 1000.0 + 100.0 * inputs.sum(axis=1, keepdims=True)
    likelihood = tfvae.layers.Adapted(tfvae.layers.IndependentNormal(1), targets)
    network = [keras.layers.Dense(likelihood.num_params), likelihood]
    model = tfvae.ConditionalModel(tfvae.networks.functional({"inputs": 2}, *network))
    data = {"x": targets, "context": inputs}
    found = {each.tried: each.level for each in tfvae.check(model, data).findings}
    assert found["scale of data"] == "ok"
