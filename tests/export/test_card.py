"""The card of a model says what it takes and how it was made."""

import json

import pytest

import tfvae
from tests.kinds import kind
from tfvae import layers
from tfvae.export.card import EXTRA, card_of, own_files


@pytest.mark.slow
def test_the_card_of_an_export(tmp_path):
    model, x = kind("plain")
    target = tmp_path / "1"
    model.export(target, signatures=["encode", "generate"], verbose=False)
    card = json.loads((target / EXTRA / "model_card.json").read_text())
    assert card["model"] == "VAE"
    assert card["data"]["x"]["shape"] == list(x.shape[1:])
    assert card["data"]["x"]["likelihood"] == "Bernoulli"
    assert (card["data"]["x"]["support"]["lower"], card["data"]["x"]["support"]["upper"]) == (0, 1)
    assert card["latents"]["z"]["shape"] == [2]
    assert card["latents"]["z"]["prior"] == "StandardNormal"
    assert set(card["versions"]) >= {"tfvae", "tensorflow", "keras"}
    encode, generate = (card["signatures"][name] for name in ("encode", "generate"))
    assert encode["inputs"] == [{"name": "x", "dtype": "float32", "shape": [None, 6]}]
    assert encode["outputs"]["z_mean"] == {"dtype": "float32", "shape": [None, 2]}
    assert generate["inputs"][1] == {"name": "seed", "dtype": "int32", "shape": None}
    assert card["files"] == {}
    assert own_files(target) == {"model_card.json"}
    (target / EXTRA / "tf_serving_warmup_requests").write_text("mine")
    assert own_files(target) == {"model_card.json"}
    with pytest.raises(ValueError, match=r"a folder with assets\.extra/tf_serving_warmup_requests"):
        model.export(target, signatures=["encode"], verbose=False)
    assert own_files(tmp_path) == set()


def test_columns_levels_and_contexts_are_told():
    table = layers.Heterogeneous(
        {"age": layers.IndependentNormal(), "visits": layers.IndependentPoisson()}
    )
    model = tfvae.DensityModel(tfvae.priors.Parametric(table), seed=0)
    model.build((None, 2))
    card = card_of(model, {})
    columns = card["data"]["x"]["support"]["columns"]
    assert [(name, size, each["lower"]) for name, size, each in columns] == [
        ("age", 1, None),
        ("visits", 1, 0.0),
    ]
    json.dumps(card, allow_nan=False)
    levels, _ = kind("levels_apart")
    card = card_of(levels, {})
    assert list(card["latents"]) == ["z_1", "z_2"]
    assert card["latents"]["z_1"]["prior reads"] == ["z_2", "context"]
    assert card["context"] == {"shape": [3]}
    assert card_of(kind("density")[0], {})["latents"] == {}


@pytest.mark.slow
def test_training_is_told():
    model, x = kind("one_latent")
    assert card_of(model, {})["training"]["epochs"] == 0
    model.compile("sgd")
    model.fit(x, epochs=2, verbose=0)
    training = card_of(model, {})["training"]
    assert training["optimizer"] == "SGD"
    assert training["objective"].startswith("ELBO(")
    assert training["epochs"] == 2
    assert training["last epoch"]["elbo"] == pytest.approx(model.history.history["elbo"][-1])
