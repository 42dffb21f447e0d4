"""Scores on codes, and importances, of which each is known in closed form."""

import numpy as np
import pytest

from tfvae.latents import DCI, dci, separated_attribute_predictability

V = np.stack(np.meshgrid(np.arange(4), np.arange(3), indexing="ij"), axis=-1).reshape(-1, 2)
SIGNS = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])


def entropy(p):
    """Of a coin, in bits."""
    return -p * np.log2(p) - (1 - p) * np.log2(1 - p)


def test_perfect_codes_get_one():
    for z in (V * [2.0, -0.5], V[:, ::-1] + 1.0, np.hstack([np.zeros((12, 1)), V])):
        assert separated_attribute_predictability(z, V) == pytest.approx(1.0)


def test_codes_that_say_nothing_or_the_same_get_zero():
    assert separated_attribute_predictability(np.zeros((12, 3)), V) == 0.0
    assert separated_attribute_predictability(V[:, [0, 0, 1, 1]], V) == pytest.approx(0.0)


def test_half_of_the_variance_is_half_of_the_score():
    """z_1 = v_1 + v_2 of two signs: R**2 is 1/2 for each, and z_2 says nothing."""
    z = np.stack([SIGNS.sum(axis=1), np.zeros(4)], axis=1)
    assert separated_attribute_predictability(z, SIGNS) == pytest.approx(0.5)
    # Turned by 45 degrees, both codes say as much of both.
    turned = np.stack([SIGNS.sum(axis=1), SIGNS @ [1, -1]], axis=1)
    assert separated_attribute_predictability(turned, SIGNS) == pytest.approx(0.0)


def test_of_categories_the_most_is_one_minus_chance():
    z = np.stack([V[:, 0], np.zeros(12)], axis=1)
    found = separated_attribute_predictability(z, V[:, 0], categorical=[0])
    assert found == pytest.approx(1.0 - 1 / 4)
    # In any order: thresholds do not care.
    order = np.array([2, 0, 3, 1])[V[:, 0]]
    found = separated_attribute_predictability(z[:, :1], order, categorical=[0])
    assert found == pytest.approx(1.0 - 1 / 4)
    # The code cannot tell two of the four apart: balanced accuracy 3/4.
    merged = np.minimum(V[:, :1], 2)
    found = separated_attribute_predictability(merged, V[:, 0], categorical=[0])
    assert found == pytest.approx(3 / 4 - 1 / 4)


def test_importances_have_their_entropies():
    found = DCI.of([[3.0, 1.0], [0.0, 4.0]])
    assert found.disentanglement == pytest.approx(0.5 * (1 - entropy(1 / 4)) + 0.5)
    assert found.completeness == pytest.approx(0.5 + 0.5 * (1 - entropy(1 / 5)))
    assert np.isnan(found.informativeness)
    # Weights are the shares of the codes: a code that nobody reads does not count.
    lazy = DCI.of([[3.0, 1.0], [0.0, 4.0], [0.0, 0.0]])
    assert lazy.disentanglement == pytest.approx(found.disentanglement)
    # One factor in two codes: disentangled, and not complete.
    split = DCI.of([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    assert split.disentanglement == pytest.approx(1.0)
    assert split.completeness == pytest.approx(0.5 * (1 - np.log(2) / np.log(3)) + 0.5)
    for entangled in (np.ones((3, 2)), np.zeros((3, 2))):
        of = DCI.of(entangled)
        assert (of.disentanglement, of.completeness) == pytest.approx((0.0, 0.0), abs=1e-12)
    with pytest.raises(ValueError, match="numbers >= 0"):
        DCI.of([[-1.0]])


@pytest.mark.slow
def test_forests_find_who_tells_what():
    factors = np.tile(V, (10, 1))
    z = np.hstack([factors * [2.0, -1.0], np.zeros((120, 1))])
    found = dci(z, factors, categorical=[0], num_trees=5)
    np.testing.assert_allclose(found.importance, [[1, 0], [0, 1], [0, 0]], atol=1e-12)
    assert (found.disentanglement, found.completeness, found.informativeness) == (1.0, 1.0, 1.0)
    nothing = dci(np.zeros((120, 3)), factors, categorical=[0, 1], num_trees=5)
    assert (nothing.disentanglement, nothing.completeness) == (0.0, 0.0)
    assert nothing.informativeness < 0.5
    assert str(found).startswith("disentanglement 1.000, completeness 1.000")


def test_messages():
    with pytest.raises(ValueError, match="one value alone in columns"):
        separated_attribute_predictability(V, np.ones(12))
    with pytest.raises(ValueError, match="as many rows as codes, 11"):
        separated_attribute_predictability(V[1:], V)
    with pytest.raises(ValueError, match=r"ten points or more\. Received: 4"):
        dci(SIGNS, SIGNS)
    for use in (separated_attribute_predictability, dci):
        with pytest.raises(ValueError, match=r"columns of `factors`, from 0 to 1\. Received: \[2"):
            use(SIGNS, SIGNS, categorical=[2])
        with pytest.raises(ValueError, match=r"must be numbers.*return_inverse=True"):
            use(SIGNS, np.full(SIGNS.shape, "red"))


def test_units_do_not_matter():
    rng = np.random.default_rng(0)
    factors = np.stack([rng.integers(3, size=300), rng.normal(size=300)], axis=1)
    z = np.stack([factors.sum(axis=1), factors[:, 1], rng.normal(size=300)], axis=1)
    known = separated_attribute_predictability(z, factors, categorical=[0])
    forests = dci(z, factors, categorical=[0], num_trees=5)
    for scale, shift in ((1e-8, 0.0), (1e-3, 1e6), (1e200, 0.0)):
        codes, units = scale * z + shift, np.array([1.0, scale])
        score = separated_attribute_predictability(codes, factors * units, categorical=[0])
        assert score == pytest.approx(known, abs=1e-6)
        found = dci(codes, factors * units, categorical=[0], num_trees=5)
        assert found.disentanglement == pytest.approx(forests.disentanglement, abs=1e-3)
