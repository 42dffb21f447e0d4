"""What evaluations are given, and the progress bar that they show."""

import numpy as np
import pytest

import tfvae
from tests import analytic
from tests.conftest import slow_but
from tfvae.evaluation.streaming import Stream, progress


def test_only_models_with_finite_weights_are_evaluated():
    model = analytic.LinearGaussian.random()
    vae, x = model.vae(), model.draw(8)
    with pytest.raises(TypeError, match=r"`model` must be a model of `tfvae`.*Received: str"):
        Stream("vae", x, 3)
    vae.decoder.weights[0].assign(vae.decoder.weights[0] * np.nan)
    with pytest.raises(ValueError, match=r"^Scores of this model would mean nothing"):
        Stream(vae, x, 3)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "number", slow_but("float32", of={"float": 4.0, "int64": np.int64(4), "float32": np.float32(4)})
)
def test_whole_numbers_of_any_type_are_counts(number):
    """Also after one another: functions are compiled for a number once."""
    model = analytic.LinearGaussian.random()
    vae, x = model.vae(), model.draw(6)
    vae.compile("adam", run_eagerly=True)
    quiet = {"batch_size": number, "verbose": False}
    for count in (number, 4):
        assert tfvae.log_likelihood(vae, x, count, **quiet).num_samples == 4
        ledger = tfvae.decompose(vae, x, num_samples=count, evidence_samples=count, **quiet)
        assert (ledger.num_samples, ledger.evidence_samples) == (4, 4)
        found = tfvae.evaluation.refine(vae, x, steps=count, num_samples=count, **quiet)
        assert np.isfinite(found.elbo.mean)


def test_progress_stays_out_of_sight_for_short_work(capsys):
    for verbose in (True, False):
        with progress(10, "work", verbose) as bar:
            bar.update(10)
    assert capsys.readouterr() == ("", "")
