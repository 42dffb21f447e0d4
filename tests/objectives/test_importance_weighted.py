"""Importance-weighted and Renyi bounds: identities, limits, and the known rate of the gap."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp

from tests import analytic
from tests.evaluation.test_likelihood import chi_square
from tests.objectives.passes import Gaussian
from tests.objectives.test_elbo import make_terms
from tfvae.objectives import (
    ELBO,
    DoublyReparameterised,
    ImportanceWeighted,
    PathDerivative,
    Renyi,
    Reparameterised,
)


def test_formulas():
    terms = make_terms(6)
    log_w = terms.log_w.numpy().astype("float64")
    tight = logsumexp(log_w, axis=0) - np.log(6)
    elbo = log_w.mean(axis=0)
    groups = np.mean([logsumexp(part, axis=0) - np.log(2) for part in np.split(log_w, 3)], axis=0)
    power = 2.0 * (logsumexp(0.5 * log_w, axis=0) - np.log(6))
    for objective, expected in (
        (ImportanceWeighted(6), tight),
        (ImportanceWeighted(6, groups=3), groups),
        (ImportanceWeighted(6, groups=6), elbo),
        (ImportanceWeighted(6, elbo_weight=0.25), 0.25 * elbo + 0.75 * tight),
        (ImportanceWeighted(6, groups=3, elbo_weight=1.0), elbo),
        (Renyi(0.0, 6), tight),
        (Renyi(1.0, 6), elbo),
        (Renyi(0.5, 6), power),
    ):
        assert objective(terms).shape == (5,)
        np.testing.assert_allclose(objective(terms), expected, rtol=2e-6, err_msg=str(objective))


def test_one_draw_makes_the_sampled_elbo():
    terms = make_terms(1)
    expected = ELBO(analytic_kl=False)(terms)
    for objective in (ImportanceWeighted(1), Renyi(0.3, 1), Renyi(-2.0, 1)):
        np.testing.assert_allclose(objective(terms), expected, rtol=1e-6)


def test_renyi_bounds_join_the_elbo_and_fall_with_alpha():
    terms = make_terms(8)
    np.testing.assert_allclose(Renyi(1.0 + 1e-6, 8)(terms), Renyi(1.0, 8)(terms), rtol=1e-5)
    orders = [-50.0, -1.0, 0.0, 0.5, 0.995, 1.0, 1.004, 2.0, 50.0]
    bounds = np.array([Renyi(alpha, 8)(terms) for alpha in orders])
    assert np.all(np.diff(bounds, axis=0) < 0)
    np.testing.assert_allclose(bounds[0], np.max(terms.log_w, axis=0), atol=np.log(8) / 50)


def test_bounds_rise_with_draws_at_their_known_rate():
    model = analytic.LinearGaussian.random(seed=4)
    # Wide enough that the weights have the variance that the closed form speaks of.
    model = dataclasses.replace(model, s=1.2 * np.diag(model.posterior_covariance))
    x = np.repeat(model.draw(1), 5000, axis=0)
    vae, exact, chi2 = model.vae(), model.log_p_x(x[:2])[0], chi_square(model, x[:1])[0]
    gaps, errors = {}, {}
    for num_samples in (1, 4, 16, 64):
        objective = ImportanceWeighted(num_samples)
        terms = vae.terms(x, num_samples, seed=num_samples, objective=objective)
        gap = exact - objective(terms).numpy()
        gaps[num_samples], errors[num_samples] = gap.mean(), gap.std() / np.sqrt(len(x))
        renyi = exact - Renyi(0.5, num_samples)(terms).numpy().mean()
        assert renyi > gap.mean() or num_samples == 1
    assert abs(gaps[1] - model.gap(x[:1])[0]) < 5 * errors[1]
    assert gaps[1] > gaps[4] > gaps[16] > gaps[64] > 0
    # log p(x) - E L_S -> chi^2 / 2 S, and the next order falls as 1 / S^2.
    assert gaps[64] == pytest.approx(chi2 / 128, abs=5 * errors[64] + 0.1 * chi2 / 128)


@pytest.mark.slow
def test_every_bound_is_tight_at_the_exact_posterior():
    model = analytic.LinearGaussian.with_exact_posterior()
    x = model.draw(7)
    for objective in (ImportanceWeighted(4), ImportanceWeighted(4, groups=2), Renyi(0.5, 4)):
        bound = objective(model.vae().terms(x, 4, objective=objective))
        np.testing.assert_allclose(bound, model.log_p_x(x), atol=2e-5)


@pytest.mark.parametrize(
    "gradient", [Reparameterised(), PathDerivative(), DoublyReparameterised()], ids=str
)
def test_groups_of_the_encoder_change_its_gradient_alone(gradient):
    model = Gaussian(20, loc=[0.3, -0.2], log_scale=[0.2, -0.1])
    mixed = model.gradients(ImportanceWeighted(8, encoder_groups=4, gradient=gradient))
    groups = model.gradients(ImportanceWeighted(8, groups=4, gradient=gradient))
    whole = model.gradients(ImportanceWeighted(8))
    np.testing.assert_allclose(mixed[0], whole[0], rtol=1e-9)
    np.testing.assert_allclose(mixed[1], groups[1], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(mixed[2], whole[2], rtol=1e-6, atol=1e-9)
    assert np.abs(mixed[1] - whole[1]).max() > 0.01


@pytest.mark.parametrize(
    "objective",
    [
        ImportanceWeighted(8),
        ImportanceWeighted(8, groups=2, encoder_groups=4, gradient=PathDerivative()),
        ImportanceWeighted(8, elbo_weight=0.5, gradient=DoublyReparameterised()),
        Renyi(0.5, 8, gradient=DoublyReparameterised()),
    ],
    ids=str,
)
def test_config_round_trip(objective):
    stored = keras.saving.serialize_keras_object(objective)
    copy = keras.saving.deserialize_keras_object(stored)
    assert copy == objective
    assert copy.num_samples == 8


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ImportanceWeighted(0), "`num_samples` must be a whole number >= 1.*num_samples=0"),
        (lambda: ImportanceWeighted(6, groups=4), "must divide.*groups=4, num_samples=6"),
        (lambda: ImportanceWeighted(6, groups=None), "Received: groups=None"),
        (lambda: ImportanceWeighted(6, encoder_groups=4), "encoder_groups=4, num_samples=6"),
        (lambda: ImportanceWeighted(6, encoder_groups=0), "Received: encoder_groups=0"),
        (lambda: ImportanceWeighted(6, elbo_weight=1.5), r"lie in \[0, 1\].*elbo_weight=1.5"),
        (lambda: ImportanceWeighted(6, elbo_weight="much"), "elbo_weight='much'"),
        (lambda: Renyi(float("inf"), 3), "finite number. Received: alpha=inf"),
        (lambda: Renyi("one", 3), "Received: alpha='one'"),
        (lambda: Renyi(0.5, 0), "Received: num_samples=0"),
        (
            lambda: ImportanceWeighted(6, groups=3)(make_terms(4)),
            "4 draws do not fall into 3 groups",
        ),
        (
            lambda: ImportanceWeighted(4, gradient=DoublyReparameterised())(make_terms(4)),
            r"for the objective: `model.terms\(x, num_samples, objective=objective\)`",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_other_numbers_of_draws_can_be_scored():
    terms = make_terms(12)
    assert ImportanceWeighted(6, groups=3)(terms).shape == (5,)
    assert not tf.reduce_any(tf.math.is_nan(Renyi(0.5, 6)(terms)))
