"""What the benchmark of the evidence reports, and that its contenders do the same work."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))
_spec = importlib.util.spec_from_file_location("evidence_benchmark", FOLDER / "evidence.py")
benchmark = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(benchmark)

X = (np.random.default_rng(0).random((6, 784)) < 0.13).astype(np.float32)


def settings(*options):
    return benchmark.make_parser().parse_args(list(options))


def test_summary_by_hand():
    turns = {
        "tfvae": [{"seconds": 2.0}, {"seconds": 20.0}],
        "products": [{"seconds": 1.0}, {"seconds": 16.0}],
    }
    found = benchmark.summary(turns, {"tfvae": -5.0, "products": math.nan}, rows=110)
    ratio = found["products"]["tfvae takes as long"]
    assert (ratio["min"], ratio["max"]) == (1.25, 2.0)  # within each round
    assert found["tfvae"]["draws_per_second"] == 10.0
    assert [row["log_p_x"] for row in found.values()] == [-5.0, None]
    assert "tfvae takes as long" not in found["tfvae"]


@pytest.mark.slow
@pytest.mark.parametrize("network", ["mlp", "gated"])
def test_contenders_estimate_the_same_number_from_the_same_weights(network, monkeypatch):
    monkeypatch.setattr(benchmark, "limit_tensorflow", lambda threads: None)  # too late, here
    given = settings("--network", network, "--threads", "1")
    names = ["tfvae", "torch"] if importlib.util.find_spec("torch") else ["tfvae"]
    scores = []
    for name in names:
        contender = benchmark.CONTENDERS[name][0](X, given)
        contender.work(200)
        scores.append(contender.score())
    weights = [w.astype(np.float64) for w in benchmark.weights_of(given)]
    assert scores == pytest.approx([evidence(X, weights, 200)] * len(scores), abs=2.0)


def evidence(x, weights, draws):
    """The same in NumPy."""

    def network(h, own):
        for kernel, bias in zip(own[:4:2], own[1:4:2], strict=True):
            h = h @ kernel + bias
            if kernel.shape[1] == 600:
                linear, gate = np.split(h, 2, axis=-1)
                h = linear / (1.0 + np.exp(-gate))
            else:
                h = np.maximum(h, 0.0)
        return h @ own[4] + own[5]

    loc, raw = np.split(network(x, weights[:6]), 2, axis=-1)
    scale = np.logaddexp(0.0, raw) + 1e-5
    noise = np.random.default_rng(1).normal(size=(draws, *loc.shape))
    z = loc + scale * noise
    logits = network(z, weights[6:])
    log_p_x = (x * logits - np.logaddexp(0.0, logits)).sum(axis=-1)
    log_w = log_p_x + (0.5 * (noise**2 - z**2) + np.log(scale)).sum(axis=-1)
    return float(np.mean(np.logaddexp.reduce(log_w, axis=0) - math.log(draws)))


@pytest.mark.slow
@pytest.mark.parametrize("network", ["mlp", "gated"])
def test_the_decoder_runs_once_for_each_draw(network, monkeypatch):
    monkeypatch.setattr(benchmark, "limit_tensorflow", lambda threads: None)
    products = benchmark.Products(X, settings("--network", network))
    calls, decode = [], products.decode
    products.decode = lambda z: calls.append(len(z)) or decode(z)
    products.work(100)
    assert sum(calls) == 6 * 100
    assert math.isnan(products.score())


class Worker:
    """What answers as a process would."""

    warm_up_s = 0.0

    def __init__(self, seconds, score):
        self.seconds, self.found = seconds, score

    def work(self, amount):
        return {"seconds": amount * self.seconds, "cpu_seconds": 1.0}

    def score(self):
        return self.found

    def close(self):
        pass


def test_shows_all_cases_and_keeps_figures_of_a_quiet_machine_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("TFVAE_DATA", raising=False)
    monkeypatch.setattr(
        benchmark,
        "start_workers",
        lambda given, network: {
            "tfvae": Worker(0.3, -5.0),
            "torch": Worker(0.4, -5.1),
            "products": Worker(0.2, math.nan),
        },
    )
    monkeypatch.setattr(benchmark.paired.time, "sleep", lambda seconds: None)
    output = tmp_path / "results" / "evidence.json"
    options = ["--points", "4", "--rounds", "1", "--draws", "5", "10", "--output", str(output)]
    monkeypatch.setattr(benchmark.paired, "BUSY", -1.0)
    benchmark.main(options)
    text = capsys.readouterr().out
    assert "Not written: the machine was busy" in text
    assert max(map(len, text.splitlines()[2:-1])) <= 80
    assert not output.exists()
    benchmark.main([*options, "--anyway"])
    found = json.loads(output.read_text())
    cases = [f"{network}, {draws} draws" for network in ("mlp", "gated") for draws in (5, 10)]
    assert list(found["cases"]) == cases
    row = found["cases"]["mlp, 10 draws"]["products"]
    assert row["tfvae takes as long"]["median"] == pytest.approx(1.5)
    assert row["draws_per_second"] == pytest.approx(4 * 10 / 2.0)
    assert found["settings"]["points"] == 4
