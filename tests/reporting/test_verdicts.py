"""Each rule at both sides of its number."""

import dataclasses

import numpy as np
import pytest

from tests.kinds import kind
from tfvae.evaluation.estimate import Estimate
from tfvae.reporting.findings import gather
from tfvae.reporting.verdicts import verdicts

# The first of them makes the numbers that all of them change.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found():
    settings = {"num_samples": 50, "refine_steps": 2, "max_points": 12, "seed": 0, "verbose": False}
    return gather(*kind("plain"), None, **settings)


def sure(mean):
    return Estimate(np.full(4, mean), mean, 0.01)


def with_ledger(found, **entries):
    return dataclasses.replace(found, ledger=dataclasses.replace(found.ledger, **entries))


def said(found, word):
    return [verdict for verdict in verdicts(found) if word in verdict.text]


def test_what_is_bad_comes_first(found):
    kinds = [verdict.kind for verdict in verdicts(with_ledger(found, amortisation_gap=sure(3.0)))]
    assert kinds == sorted(kinds, key=("bad", "note", "good").index)
    assert kinds[0] == "bad"


def test_a_few_points_judge_nothing():
    settings = {"num_samples": 20, "refine_steps": 2, "seed": 0, "verbose": False}
    for number in (1, 3, 9):
        found = gather(*kind("plain"), None, max_points=number, **settings)
        words = {verdict.text.split()[1] for verdict in verdicts(found)}
        assert words <= {"latents,", "estimate", "effective"}, words
        assert said(found, "are not judged by")[0].remedy == "10 points or more"


@pytest.mark.parametrize(
    ("entry", "word", "remedy"),
    [
        ("amortisation_gap", "encoder leaves", "SemiAmortised"),
        ("approximation_gap", "best posterior", "flow"),
    ],
)
def test_gaps_are_judged_at_one_nat(found, entry, word, remedy):
    small = dict.fromkeys(("gap", "amortisation_gap", "approximation_gap"), sure(0.9))
    assert said(with_ledger(found, **small), "The posterior follows")[0].kind == "good"
    (verdict,) = said(with_ledger(found, **{**small, entry: sure(1.1)}), word)
    assert verdict.kind == "bad"
    assert remedy in verdict.remedy
    noisy = Estimate(np.ones(4), 1.1, 0.2)  # may well be below
    assert not said(with_ledger(found, **{**small, entry: noisy}), word)


def test_an_unsplit_gap_is_worth_knowing(found):
    alone = {"amortisation_gap": None, "approximation_gap": None, "gap": sure(2.0)}
    assert said(with_ledger(found, **alone), "The ELBO lies")[0].kind == "note"
    assert not said(with_ledger(found, **{**alone, "gap": sure(0.5)}), "The ELBO lies")


def test_the_prior_is_judged_at_one_nat_where_the_data_can_show_it(found):
    entries = {"mutual_information": sure(0.5), "information_ceiling": 2.5}
    near, far = (
        with_ledger(found, **entries, marginal_kl=sure(kl), total_correlation=None)
        for kl in (0.9, 1.1)
    )
    assert said(near, "The prior is where")[0].kind == "good"
    (verdict,) = said(far, "The prior is not where")
    assert "VampPrior" in verdict.remedy
    limited = with_ledger(found, mutual_information=sure(2.4), information_ceiling=2.5)
    assert said(limited, "at its ceiling")[0].kind == "note"
    assert not said(limited, "The prior is")


def test_an_identity_that_does_not_hold_is_named(found):
    assert said(found, "The ledger balances")[0].kind == "good"
    name = "rate = mutual_information + marginal_kl"
    off = with_ledger(found, residuals={name: Estimate(np.ones(4), 1.0, 0.2)})
    (verdict,) = said(off, "does not balance")
    assert name in verdict.text
    held = with_ledger(found, residuals={name: Estimate(np.ones(4), 1.0, 0.3)})
    assert not said(held, "does not balance")
    lost = with_ledger(found, residuals={name: Estimate(np.ones(4), float("nan"), 0.3)})
    assert said(lost, "does not balance")


def test_latents_and_evidence_are_judged_by_their_owners(found):
    collapse = dataclasses.replace(found.collapse, rate=0.01, cause="why", remedy="do")
    (verdict,) = said(dataclasses.replace(found, collapse=collapse), "Posterior collapse")
    assert (verdict.kind, verdict.remedy) == ("bad", "do.")
    activity = np.array([0.0, 0.0, 1.0])
    used = {"rate": 1.0, "mutual_information": 1.0, "cause": None, "remedy": None}
    collapse = dataclasses.replace(found.collapse, activity=activity, **used)
    idle = dataclasses.replace(found, collapse=collapse)
    assert said(idle, "2 of 3 dimensions of z say nothing")[0].kind == "note"
    assert said(idle, "The latents are used")[0].text.endswith("by 1 of 3 dimensions.")
    still = dataclasses.replace(collapse, activity=np.zeros(3))
    (verdict,) = said(dataclasses.replace(found, collapse=still), "The latents are used")
    assert "dimension" not in verdict.text
    ess = np.full(12, 50.0)
    sure_of = dataclasses.replace(found.likelihood, ess=ess, k_hat=np.full(12, 0.1))
    good = dataclasses.replace(found, likelihood=sure_of)
    assert "50 of 50 effective draws" in said(good, "can be trusted")[0].text
    few = dataclasses.replace(sure_of, ess=np.full(12, 2.0))
    (verdict,) = said(dataclasses.replace(found, likelihood=few), "likely too low")
    assert verdict.kind == "bad"
    assert "Defensive" in verdict.remedy


def test_training_is_judged_at_one_nat(found):
    def trained(**history):
        return dataclasses.replace(found, history=history)

    assert said(trained(elbo=[-5.0], val_elbo=[-5.0]), "validation") == []
    over = trained(elbo=[-5.0] * 3, val_elbo=[-6.0, -4.0, -5.1])
    assert "best in epoch 2 of 3, and 1.1 nats lower" in said(over, "validation")[0].text
    rising = trained(elbo=list(np.linspace(-60.0, 0.0, 40)))
    assert said(rising, "Training has not ended")[0].remedy == "more epochs"
    assert not said(trained(elbo=[-5.0] * 40), "Training has not ended")
    assert not said(trained(elbo=[float("nan")] * 40), "Training")


def test_of_exact_evidence_nothing_had_to_be_drawn(found):
    zeros = np.zeros(12)
    exact = dataclasses.replace(
        found.likelihood,
        per_point_standard_error=zeros,
        ess=zeros + 1,
        k_hat=zeros - np.inf,
        is_known=True,
    )
    (verdict,) = said(dataclasses.replace(found, likelihood=exact), "is known")
    assert verdict.kind == "good"
