"""The curve of rate and distortion: against reverse water-filling, and what it refuses."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, mlp_vae, slow_but
from tests.kinds import KINDS
from tests.objectives.linear import LinearModel
from tfvae.evaluation.rate_distortion import _new
from tfvae.objectives import ELBO, LeaveOneOut

LINEAR = LinearModel()
BETAS = (4.0, 1.0, 0.5)
X = binary_data(12)
QUICK = {"num_samples": 2, "evidence_samples": 3, "verbose": False, "steps_per_epoch": 1}


@pytest.fixture(scope="module")
def linear():
    return tfvae.rate_distortion(
        LINEAR.vae,
        BETAS,
        tf.data.Dataset.from_tensors(LINEAR.x).repeat(400),
        LINEAR.x,
        objective=ELBO(num_samples=LINEAR.num_draws),
        optimizer=keras.optimizers.Adam(0.05),
        num_samples=LINEAR.num_draws,
        evidence_samples=LINEAR.num_draws,
        verbose=False,
    )


OPTIMIZER = keras.optimizers.SGD(0.125)


@pytest.fixture(scope="module")
def quick():
    """A sweep, and the models that were made for it."""
    made = []

    def build():
        made.append(mlp_vae())
        return made[-1]

    held_out, objective = tf.data.Dataset.from_tensors(X), ELBO(beta=9.0, num_samples=3)
    settings = {**QUICK, "optimizer": OPTIMIZER, "objective": objective, "epochs": 2}
    return tfvae.rate_distortion(build, [1, 0.0], X, held_out, **settings), made


@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_curve_is_that_of_reverse_water_filling(linear):
    """Unit i is active where its eigenvalue is above beta s2 (E1)."""
    active = []
    for index, beta in enumerate(BETAS):
        rate, distortion = LINEAR.curve(beta)
        assert linear.rate[index].mean == pytest.approx(rate, rel=0.02), beta
        assert linear.distortion[index].mean == pytest.approx(distortion, rel=0.02), beta
        assert linear.elbo[index].mean == pytest.approx(-rate - distortion, rel=0.01), beta
        rates = linear.models[index].terms(LINEAR.x, LINEAR.num_draws).dimension_rates
        active.append(int(np.sum(np.mean(rates, axis=0) > 0.01)))
    assert active == [np.sum(LINEAR.values > beta * LINEAR.s2) for beta in BETAS] == [1, 3, 3]


@pytest.mark.slow
def test_the_entropy_is_that_of_the_best_model_and_bounds_all(linear):
    """At weight one the posterior is exact: log p(x) is the ELBO, and no model comes below."""
    assert BETAS[linear.best] == 1.0
    assert linear.entropy.mean == pytest.approx(sum(LINEAR.curve(1.0)), rel=5e-3)
    for rate, distortion in zip(linear.rate, linear.distortion, strict=True):
        assert rate.mean >= linear.entropy.mean - distortion.mean - 1e-3
    assert not linear.discrete


@pytest.mark.slow
@pytest.mark.exhaustive
def test_is_told_in_eighty_columns_in_numbers_and_as_a_frame(quick):
    quick, _ = quick
    text = str(quick)
    assert max(map(len, text.splitlines())) <= 80
    assert f"H of at most {quick.entropy}, by the log p(x) of beta" in " ".join(text.split())
    assert json.loads(json.dumps(quick.to_dict()))["betas"] == [1.0, 0.0]
    frame = quick.to_frame()
    assert list(frame.index) == [1.0, 0.0]
    for name in ("rate", "distortion", "elbo", "mutual_information"):
        entries = getattr(quick, name)
        assert list(frame[name]) == [entry.mean for entry in entries]
        assert list(frame[f"{name}_standard_error"]) == [e.standard_error for e in entries]
        assert all(len(entry.per_point) == len(X) for entry in entries)


@pytest.mark.slow
def test_each_model_and_its_optimizer_are_new_and_trained_as_asked(quick):
    found, made = quick
    assert list(found.models) == made
    for beta, model in zip((1.0, 0.0), made, strict=True):
        assert model.objective == ELBO(beta=beta, num_samples=3)
        assert model.optimizer is not OPTIMIZER
        assert float(model.optimizer.learning_rate) == 0.125
        assert int(model.optimizer.iterations) == 2
    assert not OPTIMIZER.built


@pytest.mark.slow
def test_without_evidence_the_best_elbo_stands_in_and_what_is_not_finite_never(quick):
    ledgers = [dataclasses.replace(ledger, log_p_x=None) for ledger in quick[0].ledgers]
    found = dataclasses.replace(quick[0], ledgers=tuple(ledgers))
    assert found.entropy.mean == -max(entry.mean for entry in found.elbo)
    assert "by the ELBO of beta" in " ".join(str(found).split())
    assert "log_p_x" not in found.to_frame()
    bad = tfvae.evaluation.Estimate.of(np.full(12, np.nan))
    found = dataclasses.replace(
        found, ledgers=(dataclasses.replace(ledgers[0], elbo=bad), ledgers[1])
    )
    assert found.best == 1
    assert found.entropy.mean == -ledgers[1].elbo.mean
    assert "nan" in str(found)


WITHOUT_LATENTS = ("observed_graph", "density", "regression")
CASES = {n: n for n in ("conditional", *KINDS) if n not in WITHOUT_LATENTS}


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(of=CASES))
def test_every_kind_of_model_with_latents_has_a_curve(name):
    objective = ELBO()
    if name == "drawn_bits":
        objective = ELBO(num_samples=2, gradient=LeaveOneOut())
    data = KINDS[name]()[1]
    found = tfvae.rate_distortion(
        lambda: KINDS[name]()[0], [2.0], data, data, objective=objective, **QUICK
    )
    assert np.isfinite(found.rate[0].mean + found.distortion[0].mean + found.entropy.mean)
    assert max(map(len, str(found).splitlines())) <= 80


def test_what_gives_no_curve_is_refused():
    def refused(match, build=mlp_vae, betas=(1.0,), held_out=X, error=ValueError, **settings):
        with pytest.raises(error, match=match):
            tfvae.rate_distortion(build, betas, X, held_out, **QUICK, **settings)

    refused("at least one. Received: none", betas=[])
    refused("`betas` must be a number >= 0. Received: betas=-1", betas=[1.0, -1.0])
    refused("Received: betas=nan", betas=[np.nan])
    refused(
        "must be a `tfvae.objectives.ELBO`.*: Renyi",
        error=TypeError,
        objective=tfvae.objectives.Renyi(0.5),
    )
    refused("must be a function that makes .*Received: VAE", build=mlp_vae(), error=TypeError)
    refused("Received: betas=None", betas=None)
    refused("must return a model of `tfvae`.*Received: int", build=lambda: 3, error=TypeError)
    refused("no latents, and so no rate: DensityModel", build=lambda: KINDS["density"]()[0])
    compiled = mlp_vae()
    compiled.compile("adam")
    refused("Received: one that is. Leave `compile` out", build=lambda: compiled)
    refused("`data` is empty|at least one", held_out=X[:0])


def test_models_that_share_weights_are_refused():
    first = mlp_vae()
    with pytest.raises(ValueError, match=r"weights of another\. Make the networks within `build`"):
        _new(lambda: tfvae.VAE(first.encoder, mlp_vae().decoder), [first])
