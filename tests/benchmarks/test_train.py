"""What the benchmark of training reports, on data and contenders small enough for a test."""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))

import contenders  # noqa: E402
import paired  # noqa: E402
import train  # noqa: E402

COUNTER = """
import paired

class Counter:
    def __init__(self):
        self.epochs = 0
        print("a library prints to stdout")

    def work(self, epochs):
        if epochs > 2:
            raise ValueError("too many epochs")
        self.epochs += epochs

    def score(self):
        return float(self.epochs)

paired.serve(Counter)
"""


@pytest.fixture
def make_counter(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(FOLDER))
    workers = []

    def make():
        workers.append(paired.Worker([sys.executable, "-c", COUNTER], threads=1))
        return workers[-1]

    yield make
    for worker in workers:
        worker.close()


def test_summary_and_ratios_by_hand():
    seconds = {"a": [1.0, 2.0, 4.0], "b": [3.0, 4.0, 4.0]}
    assert paired.ratios(seconds, of="a") == {
        "b": {"rounds": [3.0, 2.0, 1.0], "min": 1.0, "median": 2.0, "max": 3.0, "spread": 1.0}
    }


def test_ratios_are_taken_within_a_round():
    # The machine is ten times slower in the second round: the ratio does not see it.
    seconds = {"a": [1.0, 10.0], "b": [2.0, 20.0]}
    assert paired.ratios(seconds, of="a")["b"]["spread"] == 0.0


def test_negative_elbo_in_closed_form():
    x = np.ones([7, 5], np.float32)
    loc, scale, logit = 1.0, 2.0, -0.3
    value = paired.negative_elbo(
        lambda rows: (np.full([len(rows), 3], loc), np.full([len(rows), 3], scale)),
        lambda z: np.full([len(z), 5], logit),
        x,
        batch=2,
    )
    rate = 3 * (0.5 * (loc**2 + scale**2 - 1) - math.log(scale))
    distortion = 5 * math.log1p(math.exp(-logit))
    assert value == pytest.approx(rate + distortion, rel=1e-12)


def test_workers_take_turns_and_stdout_stays_theirs(make_counter):
    workers = {"a": make_counter(), "b": make_counter()}
    turns = paired.take_turns(workers, rounds=3, amount=2, settle=0.0)
    assert {name: len(rounds) for name, rounds in turns.items()} == {"a": 3, "b": 3}
    assert all(turn["seconds"] >= 0.0 for rounds in turns.values() for turn in rounds)
    assert workers["b"].score() == 1 + 3 * 2


def test_worker_that_fails_says_why(make_counter):
    with pytest.raises(paired.WorkerError, match="ValueError: too many epochs"):
        make_counter().work(3)


def test_options(monkeypatch):
    monkeypatch.setenv("TFVAE_DATA", "somewhere")
    settings = train.make_parser().parse_args(["--rounds", "3", "--contenders", "xla", "tfvae"])
    assert (settings.data, settings.rounds, settings.batch) == ("somewhere", 3, 100)
    assert settings.contenders == ["xla", "tfvae"]
    assert settings.output == FOLDER / "results" / "train.json"


def test_options_out_of_range(capsys):
    with pytest.raises(SystemExit):
        train.make_parser().parse_args(["--rounds", "0"])
    assert "must be at least 1. Received: 0" in capsys.readouterr().err


def test_data_is_unpacked(tmp_path):
    bits = np.random.default_rng(0).integers(0, 2, [6, 784], np.uint8)
    np.savez(tmp_path / "binarized_mnist.npz", train=np.packbits(bits, axis=1))
    x, source = train.load_data(str(tmp_path), points=4)
    np.testing.assert_array_equal(x, bits[:4])
    assert (x.dtype, source) == (np.float32, "binarized_mnist.npz")


@pytest.mark.slow
@pytest.mark.xla
@pytest.mark.parametrize("network", ["gated-vamp", "conv"])
def test_every_network_trains(network, monkeypatch):
    monkeypatch.setattr(contenders, "limit_tensorflow", lambda threads: None)  # too late, here
    settings = argparse.Namespace(threads=1, seed=0, batch=20, network=network)
    x = (np.random.default_rng(0).random((40, 784)) < 0.13).astype(np.float32)
    contender = train.CONTENDERS["tfvae"][0](x, settings)
    before = contender.score()
    contender.work(3)
    assert contender.score() < before


def test_missing_data(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"Received: {tmp_path}"):
        train.load_data(str(tmp_path), points=4)


def test_batch_must_divide(monkeypatch):
    monkeypatch.delenv("TFVAE_DATA", raising=False)
    with pytest.raises(ValueError, match="Received: batch=30, points=100"):
        train.main(["--points", "100", "--batch", "30"])


@pytest.mark.slow
def test_small_run_end_to_end(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("TFVAE_DATA", raising=False)
    pythae = train.CONTENDERS["pythae"][0]
    monkeypatch.setitem(train.CONTENDERS, "pythae", (pythae, ("package_of_nobody",), ("mlp",)))
    monkeypatch.setitem(train.CASES, "2 epochs", train.Case("mlp", 1))
    output = tmp_path / "results" / "train.json"
    size = ["--points", "200", "--batch", "20", "--rounds", "2", "--threads", "1"]
    options = [*size, "--cases", "2 epochs", "--output", str(output)]
    # Figures of a busy machine are shown, and not kept.
    monkeypatch.setattr(train.paired, "BUSY", -1.0)
    train.main([*options, "--contenders", "xla"])
    assert "Not written: the machine was busy" in capsys.readouterr().out
    assert not output.exists()
    train.main([*options, "--contenders", "tfvae", "xla", "pythae", "--anyway"])

    whole = json.loads(output.read_text())
    assert whole["settings"]["data"] == "random bits"
    result = whole["cases"]["2 epochs"]
    assert result["settings"]["epochs_in_all"] == 3
    assert result["left_out"] == {"pythae": "package_of_nobody not installed"}
    assert list(result["contenders"]) == ["tfvae", "xla"]
    assert list(result["ratios"]) == ["tfvae"]
    for row in result["contenders"].values():
        assert len(row["rounds"]) == 2
        assert row["warm_up_s"] > 0.0
        fastest = 200 / min(turn["seconds"] for turn in row["rounds"])
        assert row["images_per_second"]["max"] == pytest.approx(fastest)
    # The same model: after 30 updates from other draws, well within the loss of 200 nats or so.
    scores = [row["negative_elbo"] for row in result["contenders"].values()]
    assert abs(scores[0] - scores[1]) < 5.0 < min(scores) < 400.0

    lines = capsys.readouterr().out.splitlines()
    assert "Left out pythae: package_of_nobody not installed" in lines
    assert max(map(len, lines[2:-1])) <= 80
