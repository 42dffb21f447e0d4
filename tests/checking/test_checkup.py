"""A whole model is all right, and each broken one is found by what names it."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.checking.broken import BITS, BROKEN, Through, decoder, encoder
from tests.conftest import mlp_decoder, mlp_vae, slow_but
from tests.kinds import KINDS
from tfvae.checking import checkup


@pytest.fixture(scope="module")
def whole():
    """A model that is compiled, and what is found of it."""
    model = mlp_vae()
    model.compile("adam", run_eagerly=True)
    return model, tfvae.check(model, BITS, save=True)


def test_a_whole_model_is_all_right(whole):
    _, found = whole
    assert [f for f in found if f.level != "ok"] == []
    assert found.level == "ok"
    assert found.problems == ()


@pytest.mark.parametrize("make", slow_but(of=KINDS))
def test_models_of_all_kinds_are_all_right(make):
    model, data = make()
    found = tfvae.check(model, data, num_points=12, save=True, verbose=False)
    assert [f for f in found if f.level != "ok"] == []


@pytest.mark.parametrize("make", slow_but("text", "nan_in_weights", of=list(BROKEN)))
def test_a_broken_model_is_found_by_what_names_it_and_by_nothing_else(make):
    model, data = make()
    found = tfvae.check(model, data, verbose=False)
    assert {f.tried for f in found.problems} == BROKEN[make], found
    assert all(f.remedy for f in found.problems if f.tried != "data"), found


@pytest.mark.slow
@pytest.mark.each_case
@pytest.mark.parametrize("make", BROKEN, ids=lambda make: make.__name__)
def test_a_broken_model_is_found(make, monkeypatch):
    """By the rules that name it alone, which takes a tenth of the time."""
    own = {name.partition(" ")[0] for name in BROKEN[make]} | {"z_1"}
    rules = [rule for rule in checkup._RULES if rule[0].partition(" ")[0] in own | {"decoder"}]
    monkeypatch.setattr(checkup, "_RULES", tuple(rules))
    model, data = make()
    found = tfvae.check(model, data, num_samples=48, verbose=False)
    assert BROKEN[make] <= {f.tried for f in found.problems}, found


def constant(layer, values):
    """An encoder that gives all points the parameters `values`."""
    dense = keras.layers.Dense(len(values), "linear", kernel_initializer="zeros")
    network = keras.Sequential([keras.Input((6,)), dense, layer])
    dense.bias.assign(values)
    return network


def test_a_kl_that_draws_cannot_tell_is_no_fault_of_its_closed_form(monkeypatch):
    monkeypatch.setattr(checkup, "_RULES", tuple(r for r in checkup._RULES if "KL" in r[0]))
    x = np.random.default_rng(0).normal(size=(30, 6)).astype("float32")

    def found(layer, values, prior):
        decoder = mlp_decoder(latents=1, likelihood=tfvae.layers.IndependentNormal)
        vae = tfvae.VAE(constant(layer, values), decoder, prior, seed=0)
        return tfvae.check(vae, x, verbose=False)["closed KL"]

    uniform = tfvae.priors.Parametric(tfvae.layers.IndependentBeta(1))
    at_ends = found(tfvae.layers.IndependentBeta(1), [-4.0, 0.5], uniform)
    assert at_ends.level == "warning"
    assert "at the ends of the values" in at_ends.found
    assert found(tfvae.layers.IndependentBeta(1), [1.0, 0.5], uniform).level == "ok"


def test_a_wrong_kl_of_wide_posteriors_and_of_states_is_found(monkeypatch):
    """A few draws make up much of their variance, and the mean is far off all the same."""
    monkeypatch.setattr(checkup, "_RULES", tuple(r for r in checkup._RULES if "KL" in r[0]))
    x = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
    wide = tfvae.layers.MultivariateNormalDiag(2, min_scale=10.0)
    states = tfvae.layers.IndependentBernoulli(10)
    uniform = tfvae.priors.Parametric(tfvae.layers.IndependentBernoulli(10))
    for layer, number, prior in ((wide, 2, None), (states, 10, uniform)):
        decoder = mlp_decoder(latents=number, likelihood=tfvae.layers.IndependentNormal)
        encoder = constant(layer, [0.5] * layer.num_params)
        vae = tfvae.VAE(encoder, decoder, prior, max_states=1, seed=0)
        assert tfvae.check(vae, x, verbose=False)["closed KL"].level == "ok"
        with monkeypatch.context() as patch:
            terms = type(vae).terms
            patch.setattr(type(vae), "terms", lambda *a, t=terms, **k: _wrong(t(*a, **k)))
            assert tfvae.check(vae, x, verbose=False)["closed KL"].level == "fault"


def _wrong(terms):
    return terms._replace(kl=None if terms.kl is None else terms.kl + 30.0)


@pytest.mark.slow
def test_nothing_changes_and_training_goes_on_as_without():
    weights = []
    for checked in (True, False):
        keras.utils.set_random_seed(3)
        model = mlp_vae()
        model.compile("adam")
        model.fit(BITS, batch_size=8, verbose=0)
        before = [np.array(v) for v in [*model.variables, *model.optimizer.variables]]
        state = random.getstate()
        if checked:
            found = [tfvae.check(model, BITS, save=True, num_samples=16) for _ in range(2)]
            assert found[0] == found[1]  # the same seed finds the same, to the digit
        after = [*model.variables, *model.optimizer.variables]
        assert all(map(np.array_equal, before, after))
        assert random.getstate() == state
        model.fit(BITS, batch_size=8, verbose=0)
        weights.append(model.get_weights())
    assert all(map(np.array_equal, *weights))


@pytest.mark.slow
@pytest.mark.exhaustive
def test_data_in_other_forms_is_read():
    model = mlp_vae()
    stream = tf.data.Dataset.from_tensor_slices(BITS).batch(5)
    for data in ((BITS, np.zeros(16)), stream, BITS[:1]):
        found = tfvae.check(model, data, num_points=4, num_samples=8)
        assert found["data"].level == "ok"
        assert found.level == "ok", found
    assert found.num_points == 1
    waiting = tfvae.VAE(
        keras.Sequential([keras.layers.Dense(4), tfvae.layers.MultivariateNormalDiag(2)]),
        keras.Sequential([keras.layers.Dense(6), tfvae.layers.IndependentBernoulli(6)]),
        seed=0,
    )
    assert tfvae.check(waiting, BITS).level == "ok"
    assert waiting.built


def test_what_is_no_model_or_number_is_refused():
    with pytest.raises(TypeError, match=r"must be a model of `tfvae`.*Received: Sequential"):
        tfvae.check(keras.Sequential(), BITS)
    with pytest.raises(ValueError, match="num_points"):
        tfvae.check(mlp_vae(), BITS, num_points=0)
    with pytest.raises(ValueError, match="num_samples"):
        tfvae.check(mlp_vae(), BITS, num_samples=0)


def test_data_that_cannot_be_read_is_a_finding():
    endless = tf.data.Dataset.from_tensor_slices(BITS).batch(4).repeat()
    cases = {"empty": BITS[:0], "no end": endless, "must be": "bits", "shape": BITS[:, :3]}
    cases["is missing"] = None
    for said, data in cases.items():
        found = tfvae.check(mlp_vae(), data)
        assert found.level == "fault"
        assert said in found["data"].found + found["data"].remedy
        assert found.num_points == 0


@pytest.mark.slow
def test_few_points_and_draws_find_no_fault_in_a_whole_model():
    model = mlp_vae()
    for seed in range(2):
        found = tfvae.check(model, BITS[:2], num_points=1, num_samples=3, seed=seed, verbose=False)
        assert found.level == "ok", found


def only(monkeypatch, *names):
    """Has some rules tried alone."""
    monkeypatch.setattr(checkup, "_RULES", tuple(r for r in checkup._RULES if r[0] in names))


def test_what_is_worth_knowing_is_a_note(monkeypatch):
    only(monkeypatch, "trained weights", "rows", "objective")
    batch_norm = tfvae.VAE(encoder(keras.layers.BatchNormalization()), mlp_decoder(), seed=0)
    found = tfvae.check(batch_norm, BITS, verbose=False)
    assert [f.tried for f in found if f.level == "note"] == ["rows"]
    assert "batch normalization" in found["rows"].found
    assert np.all(batch_norm.encoder.layers[0].moving_mean == 0.0)

    model = mlp_vae()
    model.decoder.trainable = False
    model.compile("adam", tfvae.objectives.MMD(), run_eagerly=True)
    found = tfvae.check(model, BITS, verbose=False)
    assert [f.tried for f in found if f.level == "note"] == ["trained weights", "objective"]
    assert "decoder" in found["trained weights"].found
    assert "`MMD` as it stands is no bound" in found["objective"].found


def test_an_objective_that_hides_weights_is_a_note(monkeypatch):
    only(monkeypatch, "gradients")
    model = mlp_vae(prior=tfvae.priors.Normal())
    warm_up = tfvae.objectives.Linear(0.0, 1.0, steps=10)
    model.compile("adam", tfvae.objectives.ELBO(warm_up), run_eagerly=True)
    found = tfvae.check(model, BITS, verbose=False)["gradients"]
    assert found.level == "note"
    assert "normal" in found.found


@keras.saving.register_keras_serializable("tests")
class Forgetful(keras.layers.Layer):
    """Has a weight that no file holds."""

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def call(self, x):
        return x * self.scale

    def save_own_variables(self, store):
        pass

    def load_own_variables(self, store):
        pass


def test_a_file_that_cannot_be_loaded_or_is_of_another_model_is_told(monkeypatch):
    only(monkeypatch)
    through = tfvae.VAE(encoder(Through(tf.identity)), mlp_decoder(), seed=0)
    found = tfvae.check(through, BITS, save=True, verbose=False)
    assert [f.tried for f in found.problems] == ["file"]
    assert "register_keras_serializable" in found["file"].remedy
    forgetful = tfvae.VAE(encoder(Forgetful()), mlp_decoder(), seed=0)
    forgetful.encoder.layers[0].scale.assign(2.0)
    found = tfvae.check(forgetful, BITS, save=True, verbose=False)
    assert found["file"].found == "After saving and loading the weights are others."
    with pytest.raises(KeyError):
        tfvae.check(forgetful, BITS, verbose=False)["file"]


def test_a_part_that_raises_is_a_finding(monkeypatch):
    def rule(subject):
        raise RuntimeError("\x1b[1mno\x1b[0m way")

    monkeypatch.setattr(checkup, "_RULES", (("rows", rule),))
    found = tfvae.check(mlp_vae(), BITS, verbose=False)["rows"]
    assert (found.level, found.found) == ("fault", "RuntimeError: no way")


def test_entries_that_are_always_missing_have_no_place(monkeypatch):
    only(monkeypatch, "scale of p(x|z)")
    likelihood = tfvae.layers.Masked(tfvae.layers.IndependentNormal(6))
    q = encoder(tfvae.networks.FillMissing())
    model = tfvae.VAE(q, decoder(head=likelihood), seed=0)
    data = np.where(np.arange(6) == 2, np.nan, np.random.default_rng(0).normal(size=(16, 6)))
    assert tfvae.check(model, data, verbose=False).level == "ok"
    far = tfvae.check(model, 1e3 * data, verbose=False)
    assert [f.tried for f in far.problems] == ["scale of p(x|z)"]
    assert tfvae.check(model, np.full([4, 6], np.nan), verbose=False).level != "fault"
