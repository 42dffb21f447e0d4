"""A likelihood, a prior and a posterior from outside go wherever those of the package go."""

import ast
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import tfvae
from tests.extending.piecewise_constant import IndependentPiecewise, PiecewiseConstant
from tests.extending.student_t import StudentT
from tests.extending.weibull import IndependentWeibull
from tfvae.distributions import (
    as_diagonal_normal,
    as_factors,
    element_states,
    known_centre,
    marginals_of,
    pairwise_log_prob,
    pairwise_log_prob_fast,
    probabilities,
    support_of,
)

tfd = tfp.distributions
HERE = pathlib.Path(__file__).parent
QUESTIONS = [
    as_diagonal_normal,
    as_factors,
    element_states,
    known_centre,
    marginals_of,
    pairwise_log_prob,
    pairwise_log_prob_fast,
    probabilities,
    support_of,
]


@pytest.fixture(scope="module")
def model():
    """Returns a model of all three and its data, trained a little."""
    keras.utils.set_random_seed(3)
    x = np.random.default_rng(0).weibull(1.5, size=(20, 3)).astype("float32")
    vae = tfvae.VAE(
        keras.Sequential(
            [
                keras.Input((3,)),
                keras.layers.Dense(IndependentPiecewise.params_size(2)),
                IndependentPiecewise(2),
            ]
        ),
        keras.Sequential(
            [
                keras.Input((2,)),
                keras.layers.Dense(IndependentWeibull.params_size(3)),
                IndependentWeibull(3),
            ]
        ),
        StudentT(df=5.0),
        seed=0,
    )
    vae.compile(keras.optimizers.Adam(0.02), jit_compile=False)
    before = vae.evaluate(x, verbose=0, return_dict=True)
    return vae, x, (vae.fit(x, epochs=30, batch_size=20, verbose=0).history, before)


@pytest.mark.parametrize("name", ["weibull", "student_t", "piecewise_constant"])
def test_each_takes_under_forty_lines_of_public_names(name):
    source = (HERE / f"{name}.py").read_text()
    assert len(source.splitlines()) < 40
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            roots = {alias.name for alias in node.names}
            assert roots <= {"keras", "tensorflow", "tensorflow_probability", "tfvae"}
        assert not isinstance(node, ast.ImportFrom) or node.module == "typing"
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            owner = node.value
            own = isinstance(owner, ast.Name) and owner.id in ("self", "cls")
            own = own or ast.unparse(owner) == "super()"
            assert own, node.attr


def test_densities_are_those_of_scipy():
    params = np.random.default_rng(1).normal(size=(4, 6)).astype("float32")
    p, x = IndependentWeibull(3, min_scale=0.0)(params), np.array([0.1, 1.0, 2.5], "float32")
    concentration, scale = 0.5 + np.log1p(np.exp(params[:, :3])), np.log1p(np.exp(params[:, 3:]))
    expected = stats.weibull_min.logpdf(x, concentration, scale=scale).sum(axis=1)
    np.testing.assert_allclose(p.log_prob(x), expected, rtol=1e-5)

    prior, z = StudentT(2, df=5.0), np.array([[0.5, -4.0]], "float32")
    expected = stats.t.logpdf(z, 5.0, 0.0, 1e-3 + np.log(2.0)).sum(axis=1)
    np.testing.assert_allclose(prior.distribution().log_prob(z), expected, rtol=1e-5)

    masses = np.array([1, 2, 3, 4, 4, 3, 2, 1], "float32") / 20
    q, edges = PiecewiseConstant(tf.constant(masses)), np.linspace(-3.0, 3.0, 9)
    found = stats.kstest(
        q.sample(2000, seed=[0, 1]).numpy(),
        lambda z: np.interp(z, edges, np.append(0.0, np.cumsum(masses))),
    )
    assert found.pvalue > 1e-4
    np.testing.assert_allclose(q.prob((edges[1:] + edges[:-1]) / 2), masses / 0.75, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_data_outside_the_support_is_refused_in_the_words_of_the_family(model):
    vae, x, _ = model
    message = "support of the Weibull likelihood.* at least 0.0, ends excluded.*Add a small const"
    with pytest.raises(ValueError, match=message):
        vae.fit(np.zeros_like(x))
    with pytest.raises(ValueError, match=message):
        vae.fit(tf.data.Dataset.from_tensor_slices(np.zeros_like(x)).batch(4), verbose=0)
    with pytest.raises(ValueError, match=r"prior 'student_t.* is over latents of shape"):
        tfvae.VAE(vae.encoder, vae.decoder, StudentT(3))


def test_columns_of_tables_and_missing_entries(model):
    columns = {"time": IndependentWeibull(2), "age": tfvae.layers.IndependentNormal()}
    encoder = tfvae.layers.DataEncoder(columns)
    assert [kind for _, kind, _ in encoder.columns] == ["log", "real"]
    layer = tfvae.layers.Masked(tfvae.layers.Heterogeneous(columns))
    p = layer(np.random.default_rng(2).normal(size=(1, 6)).astype("float32"))
    assert [own.likelihood for *_, own in support_of(p).columns] == ["Weibull", "Normal"]
    x = tf.constant([[0.5, 2.0, -1.0]])
    each = [p.log_prob(tf.where(tf.one_hot(k, 3) > 0.0, x, np.nan)) for k in range(3)]
    np.testing.assert_allclose(p.log_prob(x), sum(each), rtol=1e-5)
    assert np.all(p.log_prob(tf.fill([1, 3], np.nan)) == 0.0)


def test_training_and_evaluation_log_the_bound(model):
    vae, x, (history, before) = model
    assert set(history) == {*before}
    assert -history["loss"][-1] > before["elbo"] + 1.0
    after = vae.evaluate(x, verbose=0, return_dict=True)
    assert after["elbo"] == pytest.approx(-after["distortion"] - after["rate"], rel=1e-5)


@pytest.mark.slow
def test_evidence_is_the_integral(model):
    """Where the posterior is over a box, importance sampling finds the integral over that box."""
    vae, x, _ = model
    middles = -3.0 + 6.0 * (np.arange(300) + 0.5) / 300
    z = np.stack(np.meshgrid(middles, middles), axis=-1).reshape(-1, 2).astype("float32")
    log_joint = vae.decode(z).log_prob(x[:5, None]) + vae.prior_distribution().log_prob(z)
    exact = tf.reduce_logsumexp(log_joint, axis=1) + np.log((6.0 / 300) ** 2)
    found = tfvae.log_likelihood(vae, x[:5], num_samples=4000, verbose=False)
    error = np.abs(found.per_point - exact)
    assert np.all(error < 5 * found.per_point_standard_error + 1e-3)


@pytest.mark.slow
def test_the_ledger_balances(model):
    vae, x, _ = model
    ledger = tfvae.decompose(vae, x, num_samples=4, evidence_samples=50, verbose=False)
    for name, residual in ledger.residuals.items():
        assert abs(residual.mean) <= 6 * residual.standard_error + 1e-5, name
    assert 0.0 < ledger.mutual_information.mean < np.log(len(x))
    # The posterior factorises as far as `as_factors` knows: so do the entries made of it.
    parts = ledger.total_correlation.mean + ledger.dimension_wise_kl.mean
    assert parts == pytest.approx(ledger.marginal_kl.mean, rel=1e-5)


@pytest.mark.slow
def test_files_hold_the_families(model, tmp_path):
    vae, x, _ = model
    vae.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    terms, again = (m.terms(x, num_samples=2, seed=[0, 1]) for m in (vae, loaded))
    np.testing.assert_array_equal(terms.log_w, again.log_w)
    assert (loaded.prior.df, type(loaded.prior)) == (5.0, StudentT)

    vae.export(tmp_path / "served", verbose=False, signatures=["elbo"])
    serve = tf.saved_model.load(tmp_path / "served").signatures["elbo"]
    found = serve(x=tf.constant(x), num_samples=tf.constant(2), seed=tf.constant([0, 1]))
    np.testing.assert_allclose(found["elbo"], terms.elbo, rtol=1e-5)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_what_is_registered_answers_for_what_layers_make_and_for_subclasses(question):
    class Own(tfd.Gumbel):
        @classmethod
        def _parameter_properties(cls, dtype, num_classes=None):
            return tfd.Gumbel._parameter_properties(dtype, num_classes)

    class Layer(tfvae.layers.DistributionLayer):
        @classmethod
        def params_size(cls, event_shape=()):
            return 1

        @classmethod
        def new(cls, params, event_shape=(), validate_args=False):
            return Own(params[..., 0], 1.0, validate_args)

    arguments = [tf.zeros([1, 1])] if question.__name__.startswith("pairwise") else []
    question.register(Own, lambda distribution, *_: f"answer of {type(distribution).__name__}")
    assert question(Layer()(tf.zeros([5, 1])), *arguments) == "answer of Own"
