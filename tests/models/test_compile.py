"""`compile` that fails changes nothing, and what is compiled never outlives what it was made of."""

from dataclasses import dataclass

import keras
import numpy as np
import pytest

import tfvae
from tests.conftest import binary_data, mlp_decoder, mlp_encoder, mlp_vae, slow_but
from tfvae import objectives, priors
from tfvae.learning import Alternating, Joint, Scheme, SemiAmortised, WakeSleep

X = binary_data(8)


class Unbuildable(keras.optimizers.SGD):
    """Fails when it is told the weights."""

    def build(self, variables):
        raise ValueError("cannot be built")


@keras.saving.register_keras_serializable("tests")
@dataclass(frozen=True)
class Picky(Scheme):
    """Takes no prior with weights."""

    def check(self, model, objective):
        if model.prior.weights:
            raise ValueError("too many weights")

    def update(self, model, batch, sample_weight, state):
        return Joint().update(model, batch, sample_weight, state)


class OfOnePrior(objectives.ELBO):
    """Scores no prior."""

    def check_prior(self, p_z):
        raise ValueError("not of a family")


class Refusing(objectives.ELBO):
    """Scores no posterior."""

    def check_family(self, q_z):
        raise ValueError("not of a family")


FAILING = {
    "optimizer": ({"optimizer": "no such"}, ValueError),
    "optimizer type": ({"optimizer": 3}, ValueError),
    "optimizer build": ({"optimizer": Unbuildable()}, ValueError),
    "objective": ({"objective": "elbo"}, TypeError),
    "objective's family": ({"objective": Refusing()}, ValueError),
    "objective's prior": ({"objective": objectives.ELBO() + OfOnePrior()}, ValueError),
    "scheme": ({"scheme": "joint"}, TypeError),
    "scheme's optimizer": (
        {
            "scheme": Alternating(1),
            "optimizer": keras.optimizers.SGD(gradient_accumulation_steps=2),
        },
        ValueError,
    ),
    "scheme's objective": (
        {
            "scheme": SemiAmortised(1, 0.1),
            "objective": objectives.ELBO(gradient=objectives.ScoreFunction()),
        },
        ValueError,
    ),
    "steps": ({"steps_per_execution": 0}, ValueError),
    "steps type": ({"steps_per_execution": "many"}, ValueError),
    "jit_compile": ({"jit_compile": "maybe"}, ValueError),
    "loss": ({"loss": "mse"}, TypeError),
}
over_failing = pytest.mark.parametrize(
    "name", slow_but("optimizer build", "objective", "scheme's optimizer", of=list(FAILING))
)


@pytest.fixture(scope="module")
def trained():
    vae = mlp_vae(prior=priors.StandardNormal())
    vae.compile(keras.optimizers.SGD(0.01), objectives.TargetRate(1.0), jit_compile=False)
    vae.fit(X, batch_size=8, verbose=0)
    return vae


@pytest.mark.slow
@over_failing
def test_a_model_lives_on_after_a_compile_that_fails(name, trained):
    arguments, error = FAILING[name]
    before = trained.get_compile_config()
    optimizer, state = trained.optimizer, trained.objective_state
    iterations, scores = int(optimizer.iterations), trained.evaluate(X, batch_size=8, verbose=0)
    with pytest.raises(error):
        trained.compile(**arguments)
    assert trained.optimizer is optimizer
    assert trained.get_compile_config() == before
    assert trained.objective_state == state
    assert trained.evaluate(X, batch_size=8, verbose=0) == scores
    trained.fit(X, batch_size=8, verbose=0)
    assert int(optimizer.iterations) == iterations + 1


@over_failing
def test_a_compile_that_fails_compiles_nothing(name):
    vae = mlp_vae()
    arguments, error = FAILING[name]
    with pytest.raises(error):
        vae.compile(**arguments)
    assert not vae.compiled
    assert vae.get_compile_config() == {}


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True])
def test_evaluations_see_a_replaced_prior(compiled):
    vae, prior = mlp_vae(), priors.Normal(2)
    fresh = vae.with_prior(prior)
    for model in (vae, fresh) if compiled else ():
        model.compile("sgd", jit_compile=False)
    tfvae.log_likelihood(vae, X, num_samples=4, verbose=False)
    assert vae.functions._made
    prior.loc.assign([3.0, -3.0])
    vae.replace_prior(prior)
    found = tfvae.log_likelihood(vae, X, num_samples=4, verbose=False)
    expected = tfvae.log_likelihood(fresh, X, num_samples=4, verbose=False)
    np.testing.assert_allclose(found.per_point, expected.per_point, rtol=1e-5)


def test_the_old_prior_stays_where_the_new_one_does_not_compile():
    vae = mlp_vae(prior=priors.StandardNormal())
    vae.compile("sgd", scheme=Picky(), run_eagerly=True)
    old, weights = vae.prior, [id(w) for w in vae.weights]
    with pytest.raises(ValueError, match="too many weights"):
        vae.replace_prior(priors.Normal())
    assert vae.prior is old
    assert [id(w) for w in vae.weights] == weights
    vae.fit(X, batch_size=8, verbose=0)


def test_the_weights_of_a_replaced_prior_are_gone():
    vae = mlp_vae(prior=priors.Normal(2))
    num = len(vae.weights)
    vae.replace_prior(priors.Normal(2))
    assert len(vae.weights) == len(vae.trainable_weights) == num


@pytest.mark.parametrize("part", ["encoder", "decoder", "prior"])
def test_parts_are_not_replaced_behind_what_is_compiled(part):
    """By assignment they would stay in compiled functions: Keras refuses it."""
    vae = mlp_vae()
    new = {"encoder": mlp_encoder, "decoder": mlp_decoder, "prior": priors.Normal}[part]()
    with pytest.raises(ValueError, match="already built"):
        setattr(vae, part, new)


SCHEMES = [Joint(), Alternating(1), WakeSleep(), SemiAmortised(1, learning_rate=0.1)]
over_schemes = pytest.mark.parametrize(
    "scheme", slow_but("Joint", of={type(scheme).__name__: scheme for scheme in SCHEMES})
)


@over_schemes
def test_a_frozen_model_says_that_it_has_nothing_to_train(scheme):
    vae = mlp_vae()
    vae.trainable = False

    def train():
        vae.compile("adam", scheme=scheme, jit_compile=False)
        vae.fit(X, verbose=0)

    with pytest.raises(ValueError, match=r"that can be trained.*Received: VAE"):
        train()


@over_schemes
def test_a_model_frozen_after_compiling_says_so(scheme):
    vae = mlp_vae()
    vae.compile("adam", scheme=scheme, jit_compile=False)
    vae.trainable = False
    with pytest.raises(ValueError, match="no weights that can be trained"):
        vae.fit(X, verbose=0)


def test_a_frozen_model_is_evaluated():
    vae = mlp_vae()
    vae.trainable = False
    vae.compile("adam", run_eagerly=True)
    assert np.isfinite(vae.evaluate(X, verbose=0)).all()


def test_a_frozen_model_built_by_its_data_says_so():
    encoder = keras.Sequential([tfvae.layers.MultivariateNormalDiag(3)])
    vae = tfvae.VAE(encoder, mlp_decoder(6, 3))
    vae.compile("adam", jit_compile=False)
    vae.trainable = False
    with pytest.raises(ValueError, match="no weights that can be trained"):
        vae.fit(X, verbose=0)
