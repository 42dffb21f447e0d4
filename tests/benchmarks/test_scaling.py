"""What a step costs on n devices: closed forms, laws, and what the package exchanges."""

import dataclasses
import importlib.util
import itertools
import json
import math
import re
import sys
from pathlib import Path

import pytest
import tensorflow as tf

import tfvae
from tfvae.training.replicas import Shard

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))
import costs  # noqa: E402
import steps  # noqa: E402

_spec = importlib.util.spec_from_file_location("scaling_benchmark", FOLDER / "scaling.py")
benchmark = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(benchmark)

MODELS = [costs.MLP, costs.CONV, costs.HIERARCHY]
DESIGNS = [costs.AS_IT_IS, costs.SHARDED]
# Messages cost nothing and steps start at once: what is left are bytes and operations.
IDEAL = dataclasses.replace(costs.H100, hop=(0.0, 0.0), launch=0.0)


@pytest.mark.parametrize("n", [1, 2, 8, 64, 1000])
def test_a_device_sends_what_it_sends_in_a_ring(n):
    same = dataclasses.replace(IDEAL, link=1e9, network=1e9)
    assert costs.ring_bytes(4e6, n) == pytest.approx(8e6 * (n - 1) / n)
    seconds = costs.all_reduce_seconds(4e6, n, same)
    assert seconds == pytest.approx(costs.ring_bytes(4e6, n) / 1e9)


def test_sums_within_a_machine_do_not_leave_it_and_hops_grow_with_the_logarithm():
    assert costs.all_reduce_seconds(9e8, 8, IDEAL) == pytest.approx(2 * 7 / 8 * 9e8 / 450e9)
    inside, outside = costs.H100.hop
    empty = costs.all_reduce_seconds(0.0, 64 * 8, costs.H100)
    assert empty == pytest.approx(2 * 3 * inside + 2 * 6 * outside)


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.name)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_one_device_exchanges_nothing_and_has_no_loss(model, design):
    found = costs.step_costs(model, 1, costs.H100, design)
    assert found.gather == found.gradients == found.all_reduced == 0.0
    assert found.step == sum(found[1:]) or found.step == found.read
    assert costs.weak_efficiency(model, 1, costs.H100, design) == 1.0
    assert costs.strong_efficiency(model, 1, costs.H100, design) == 1.0


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.name)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_more_devices_never_take_less_time_each(model, design):
    found = [costs.step_costs(model, n, costs.H100, design) for n in (1, 8, 64, 512, 4096)]
    for few, many in itertools.pairwise(found):
        assert all(after >= before for before, after in zip(few, many, strict=True))
    weak = [costs.weak_efficiency(model, n, costs.H100, design) for n in (1, 8, 64, 512, 4096)]
    assert weak == sorted(weak, reverse=True)
    assert all(0.0 < each <= 1.0 for each in weak)


def test_own_rows_alone_are_bounded_where_whole_batches_grow():
    for part in ("read", "copy", "whole"):
        for design, factor in ((costs.AS_IT_IS, 10.0), (costs.SHARDED, 1.0)):
            model = dataclasses.replace(costs.HIERARCHY, draws=3)
            few, many = (costs.step_costs(model, n, costs.H100, design) for n in (80, 800))
            assert getattr(many, part) == pytest.approx(factor * getattr(few, part))


def test_networks_share_their_work_where_the_batch_stays():
    one, many = (
        costs.step_costs(costs.CONV, n, IDEAL, costs.SHARDED, costs.CONV.batch / n).compute
        for n in (1, 64)
    )
    assert one == pytest.approx(64 * many)


@pytest.mark.slow
def test_weights_are_those_of_the_network_that_others_measure():
    assert steps.make_vae().count_params() == costs.MLP.weights
    assert math.isclose(costs.CONV.weights, 10e6, rel_tol=0.05)
    assert costs.MLP.encoder_flops + costs.MLP.decoder_flops == 2 * costs.MLP.weights


@pytest.mark.slow
def test_devices_exchange_as_many_numbers_of_a_row_as_is_said():
    vae, rows, draws = steps.make_vae(hidden=2), 10, 3
    objective = tfvae.objectives.ELBO(num_samples=draws)
    vae.compile("adam", objective=objective, jit_compile=False)
    sums = []

    def noted(values):
        sums.append(sum(tf.size(value).numpy() for value in values))
        return values

    shard = Shard(rows, 0, 2, noted)
    x = shard.own(tf.zeros([rows, steps.PIXELS]))
    drawing = shard.drawing(objective)
    shard.gathered(vae.terms(x=x, num_samples=draws, seed=(0, 0), objective=drawing))
    model = dataclasses.replace(costs.MLP, draws=draws)
    assert sums == [rows * model.exchanged, rows * model.parameters]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_the_plan_says_what_the_program_says(model):
    lines = (FOLDER.parent / "docs" / "scaling_plan.md").read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(f"| {model.name} | 1 |"))
    for line, n in zip(lines[first:], benchmark.NUMBERS, strict=False):
        expected = [f"{n:,}"]
        for design in DESIGNS:
            found = costs.step_costs(model, n, costs.H100, design)
            efficiencies = (
                found.all_reduced,
                costs.weak_efficiency(model, n, costs.H100, design),
                costs.strong_efficiency(model, n, costs.H100, design),
            )
            expected += [f"{1e3 * found.step:.1f}", *(f"{each:.0%}" for each in efficiencies)]
        assert [cell.strip() for cell in line.split("|")[2:-1]] == expected


def test_tables_fit_and_say_what_is_simulated(tmp_path, capsys):
    output, figure = tmp_path / "scaling.json", tmp_path / "scaling.png"
    result = benchmark.main(["--output", str(output), "--figure", str(figure)])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert out.count("simulated") == len(MODELS)
    assert "…" not in out
    assert len(result["simulated"]) == len(MODELS) * len(DESIGNS) * len(benchmark.NUMBERS)
    assert json.loads(output.read_text())["simulated"] == result["simulated"]
    assert figure.stat().st_size > 10_000


@pytest.mark.slow
def test_measures_each_case_beside_one_thread(monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    names = ("one thread", "two devices")
    monkeypatch.setattr(benchmark, "CASES", {name: benchmark.CASES[name] for name in names})
    # Neither starts a server.
    sizes = ["--batch", "4", "--steps", "2", "--rounds", "1"]
    found = benchmark.main(["--measure", "--here", *sizes])["measured"]
    assert all(each[key] > 0.0 for each in found.values() for key in ("seconds", "cpu_seconds"))
    assert re.search(r"one thread .* 1\.00", capsys.readouterr().out)
