"""Scores on codes of which each is known in closed form."""

import numpy as np
import pytest

from tfvae.latents import factor_vae_score, mutual_information_gap
from tfvae.latents.information import checked_factors

# All pairs of values of two factors, with four and three values.
V = np.stack(np.meshgrid(np.arange(4), np.arange(3), indexing="ij"), axis=-1).reshape(-1, 2)
PERFECT = V * [2.0, -0.5]


def test_perfect_codes_get_one_in_any_order_and_scale():
    for z in (PERFECT, PERFECT[:, ::-1], np.hstack([np.zeros((12, 1)), PERFECT])):
        assert mutual_information_gap(z, V) == pytest.approx(1.0)
        assert factor_vae_score(z, V) == 1.0


def test_codes_that_say_nothing_get_zero():
    assert mutual_information_gap(np.zeros((12, 3)), V) == 0.0
    assert factor_vae_score(np.zeros((12, 3)), V) == 0.0


def test_two_codes_of_one_factor_lead_nobody():
    assert mutual_information_gap(V[:, [0, 0, 1, 1]], V) == 0.0
    # The first factor has two codes, the second has one to itself.
    assert mutual_information_gap(V[:, [0, 1, 0]], V) == pytest.approx(0.5)
    # One code alone has no second.
    assert mutual_information_gap(V[:, :1], V) == pytest.approx(0.5)


def test_the_gap_of_a_noisy_channel():
    """z is v, but for one time in four: I = log 2 - H(1/4)."""
    v = np.repeat([0, 1], 4)
    z = np.array([0, 0, 0, 1, 1, 1, 1, 0])
    information = np.log(2) + 0.25 * np.log(0.25) + 0.75 * np.log(0.75)
    found = mutual_information_gap(np.stack([z, np.zeros(8)], axis=1), v)
    assert found == pytest.approx(information / np.log(2))
    # Beside a code that is v itself, the gap is what the noise has cost.
    found = mutual_information_gap(np.stack([z, v], axis=1), v)
    assert found == pytest.approx(1.0 - information / np.log(2))


def test_real_codes_are_binned_by_width():
    v = np.repeat([0, 1], 500)
    z = np.where(v == 0, np.linspace(0, 1, 1000), np.linspace(9, 10, 1000))[:, None]
    assert mutual_information_gap(z, v, num_bins=2) == pytest.approx(1.0)
    # With the border within one of the two, half of that one lies on each side.
    wide = np.append(z, [[40.0]], axis=0)
    assert mutual_information_gap(wide, np.append(v, 1), num_bins=2) < 0.01


def test_votes_on_one_code_alone_are_right_as_often_as_its_factor_is_asked():
    found = factor_vae_score(V[:, :1], V, num_votes=4000)
    assert abs(found - 0.5) < 4 * np.sqrt(0.25 / 2000)
    assert found == factor_vae_score(V[:, :1], V, num_votes=4000)


def test_rotated_codes_score_less():
    turned = (V - V.mean(axis=0)) @ np.array([[1.0, -1.0], [1.0, 1.0]])
    assert factor_vae_score(turned, V) < 1.0
    assert mutual_information_gap(turned, V) < 0.3


def test_numbers_without_a_fraction_count_as_whole_ones():
    numbers = {"num_votes": 20, "batch_size": 4}
    floats = {name: float(number) for name, number in numbers.items()}
    assert factor_vae_score(PERFECT, V, **floats) == factor_vae_score(PERFECT, V, **numbers)


def test_messages():
    with pytest.raises(ValueError, match=r"one value alone in columns \[1\]"):
        mutual_information_gap(V, np.stack([V[:, 0], np.ones(12)], axis=1))
    with pytest.raises(ValueError, match=r"whole numbers \[N, F\]"):
        checked_factors(V + 0.5)
    with pytest.raises(ValueError, match=r"as many rows\. Received: 11 and 12"):
        factor_vae_score(PERFECT[1:], V)
    with pytest.raises(ValueError, match="num_votes=1"):
        factor_vae_score(PERFECT, V, num_votes=1)
