"""Each cause of a collapse is planted, and named."""

import pytest

from tests.evaluation.test_collapse import collapsed
from tfvae.evaluation import measure_collapse

CAUSES = {
    "weight": ("a weight of 10", "smaller `beta`"),
    "young": ("has not begun", "more epochs"),
    "plateau": ("a weight of 0.5", "more epochs"),
    "decoder": ("autoregressive", "FreeBits"),
    "floor": ("100% of the scales", "smaller `min_scale`"),
    "components": ("of 5 components", "pseudo_inputs=x"),
    "posterior": ("nats below log p", "richer posterior"),
    "early": ("whole weight before", "warm-up"),
}


@pytest.mark.slow
@pytest.mark.parametrize("cause", CAUSES)
def test_a_planted_cause_is_named(cause):
    report = measure_collapse(*collapsed(cause))
    words, remedy = CAUSES[cause]
    assert report.collapsed
    assert report.active_units == 0
    assert words in report.cause
    assert remedy in report.remedy
    assert "\n" not in report.message
    assert report.message in str(report)
    if cause != "posterior":
        assert abs(report.shuffle_cost) < 1e-5
