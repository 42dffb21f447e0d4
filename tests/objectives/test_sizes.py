"""No size of a batch, and no number of draws, turns an objective or its gradient into NaN."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.models.test_directed import two_latents
from tests.objectives.test_life_cycle import (
    FINITE,
    GAUSSIAN,
    HIERARCHICAL,
    X,
    conditional_vae,
    data_of,
    finite_vae,
    mlp_vae,
    two_levels,
)
from tfvae.objectives import ELBO, MMD, ImportanceWeighted, InfoVAE, LeaveOneOut, Supervised

CASES = {
    "VAE": (mlp_vae, GAUSSIAN),
    "finite": (finite_vae, FINITE),
    "levels": (two_levels, HIERARCHICAL),
    "conditional": (conditional_vae, GAUSSIAN),
    "graph": (
        two_latents,
        [ELBO(), ELBO(num_samples=2, gradient=LeaveOneOut()), ELBO() + 5.0 * Supervised()],
    ),
}
PASSES = [
    pytest.param(
        name,
        size,
        num_samples,
        marks=[] if size == num_samples == 1 and name in ("VAE", "finite") else [pytest.mark.slow],
    )
    for name in CASES
    for size in (1, 2, 3)
    for num_samples in (1, 2)
]
MODELS = {}


def model_and_data(name):
    """Returns a model, which tests only read, and its data."""
    make = CASES[name][0]
    if name not in MODELS:
        MODELS[name] = make(partly_observed=["y"]) if name == "graph" else make()
    if name != "graph":
        data = data_of(make)
        return MODELS[name], data if isinstance(data, dict) else {"x": data}
    parts = {"x": X[:3], "y": np.array([-1, 2, 0])}
    return MODELS[name], MODELS[name].data.as_batch(parts)


def divides(objective, num_samples):
    """Whether the groups of an objective can be made of so many draws: else refused, in words."""
    groups = [getattr(objective, field, None) or 1 for field in ("groups", "encoder_groups")]
    return num_samples % max(groups) == 0


def by_draws(objectives):
    """Returns what says how to draw, and the objectives that read those draws, as pairs."""
    found = []
    for objective in objectives:
        for index, (drawing, others) in enumerate(found):
            with contextlib.suppress(ValueError):
                found[index] = drawing + objective, [*others, objective]
                break
        else:
            found.append((objective, [objective]))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size", "num_samples"), PASSES)
def test_values_and_gradients_are_finite(name, size, num_samples):
    model, data = model_and_data(name)
    batch = {key: tf.constant(part[:size]) for key, part in data.items()}
    objectives = [objective for objective in CASES[name][1] if divides(objective, num_samples)]
    for drawing, sharing in by_draws(objectives):
        with tf.GradientTape() as tape:
            terms = model.terms(num_samples=num_samples, seed=1, objective=drawing, **batch)
            bounds = [objective(terms) for objective in sharing]
        for objective, bound in zip(sharing, bounds, strict=True):
            assert bound.shape == (size,)
            assert np.all(np.isfinite(bound)), objective
        # Of their sum: what is not finite in one stays so in it.
        slopes = tape.gradient(bounds, model.trainable_weights)
        assert any(slope is not None for slope in slopes)
        for slope in slopes:
            assert slope is None or np.all(np.isfinite(slope)), sharing


@pytest.mark.parametrize("objective", [MMD(), InfoVAE(), InfoVAE(0.5, 10.0, num_samples=2)])
def test_one_point_pays_for_no_distance(objective):
    """It has no pairs: neither value nor gradient, and the mean of nothing else is moved."""
    vae = mlp_vae()
    with tf.GradientTape() as tape:
        terms = vae.terms(X[:1], objective.num_samples, 1)
        alpha = getattr(objective, "alpha", None)
        rest = 0.0 if alpha is None else -terms.distortion - (1.0 - alpha) * terms.rate
        distance = objective(terms) - rest
    np.testing.assert_allclose(distance, 0.0, atol=1e-6)
    for slope in tape.gradient(distance, vae.encoder.trainable_weights):
        np.testing.assert_allclose(slope, 0.0, atol=1e-6)


def test_a_draw_alone_is_scored_without_a_baseline():
    """By the score function: REINFORCE with what the other draws say, of which there are none."""
    vae = finite_vae()
    found = []
    for objective in (
        ELBO(num_samples=2, gradient=LeaveOneOut()),
        ELBO(gradient=tfvae.objectives.ScoreFunction()),
    ):
        with tf.GradientTape() as tape:
            bound = objective(vae.terms(X[:3], 1, 4, objective=objective))
        found.append([bound, *tape.gradient(bound, vae.encoder.trainable_weights)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective",
    [
        InfoVAE(),
        *(pytest.param(o, marks=pytest.mark.slow) for o in (ELBO() + MMD(), ImportanceWeighted(4))),
    ],
    ids=type,
)
def test_weights_survive_a_last_batch_of_one_point(objective):
    vae = mlp_vae()
    vae.compile("adam", objective, jit_compile=False)
    history = vae.fit(X[:5], batch_size=2, verbose=0).history
    assert all(np.all(np.isfinite(weight)) for weight in vae.get_weights())
    assert np.all(np.isfinite(list(history.values())))
    vae.fit(X[:1], verbose=0)
    assert all(np.all(np.isfinite(weight)) for weight in vae.get_weights())
