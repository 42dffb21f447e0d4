"""What does an objective cost in a training step, in time and in memory?

The same VAE, 784-300-300-40 at batch 100, trains by each objective. Models take turns in short
blocks; times are relative to the ELBO. Memory is what steps hold at most beyond what is held
between them, in a process of its own. Apart from that the importance-weighted bound of 50 draws at
batch 100 is timed against the ELBO at batch 5,000, as many passes through the decoder in all. Run
it as

    python benchmarks/objectives.py
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

import paired
import steps
from rich import box
from rich.table import Table

from tfvae import objectives as o

ELBO = "ELBO"
# By name, as they stand in the table; the number of draws is in it where there are several.
OBJECTIVES: dict[str, o.Objective] = {
    ELBO: o.ELBO(),
    "ELBO, sampled KL": o.ELBO(analytic_kl=False),
    "ELBO, path derivative": o.ELBO(analytic_kl=False, gradient=o.PathDerivative()),
    "ELBO, 10 draws": o.ELBO(num_samples=10),
    "ImportanceWeighted 10": o.ImportanceWeighted(10),
    "ImportanceWeighted 10, DReG": o.ImportanceWeighted(10, gradient=o.DoublyReparameterised()),
    "ImportanceWeighted 10, VIMCO": o.ImportanceWeighted(10, gradient=o.LeaveOneOut()),
    "ImportanceWeighted 10, PIWAE": o.ImportanceWeighted(10, encoder_groups=5),
    "ImportanceWeighted 50": o.ImportanceWeighted(50),
    "Renyi 10": o.Renyi(0.5, 10),
    "ForwardKL 10": o.ForwardKL(10),
    "ReweightedWakeSleep 10": o.ReweightedWakeSleep(10),
    "Capacity": o.Capacity(20.0, weight=10.0),
    "FreeBits": o.FreeBits(0.1),
    "TargetRate": o.TargetRate(20.0),
    "TargetDistortion": o.TargetDistortion(80.0),
    "BetaTC": o.BetaTC(dataset_size=50_000),
    "InfoVAE": o.InfoVAE(),
    "ELBO + MMD": o.ELBO() + o.MMD(),
    "ELBO + SlicedWasserstein": o.ELBO() + o.SlicedWasserstein(),
    "DIPVAE": o.DIPVAE(),
}
MANY = "ELBO at batch {}"
WEIGHTED = "ImportanceWeighted {} at batch {}"


def step_by(objective: o.Objective, settings: argparse.Namespace, batch: int) -> Any:
    """Returns one update of the model by an objective."""
    vae = steps.make_vae(None, settings.latents, settings.hidden)
    vae.compile("adam", objective)
    return steps.make_step(vae, batch)


def weighted_against_many(settings: argparse.Namespace) -> dict[str, Any]:
    """Returns the time of S draws at a batch over that of one draw at S times the batch."""
    many = settings.batch * settings.draws
    updates: dict[str, Callable[[], float]] = {
        MANY.format(many): step_by(o.ELBO(), settings, many),
        WEIGHTED.format(settings.draws, settings.batch): step_by(
            o.ImportanceWeighted(settings.draws), settings, settings.batch
        ),
    }
    return steps.take_turns(updates, MANY.format(many), settings.rounds, settings.block)


def to_table(title: str, rows: dict[str, Any]) -> Table:
    """Returns a table of ratios, with the memory where it was measured."""
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("objective", no_wrap=True)
    for name in ("time", "min - max", "step, ms", "MB"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, row in rows.items():
        time, memory = row["time"], row.get("memory")
        span = f"{time['min']:.2f} - {time['max']:.2f}"
        more = "" if memory is None else f"{memory:.0f}"
        table.add_row(name, f"{time['median']:.2f}", span, f"{time['ms']:.1f}", more)
    return table


def main(arguments: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Measures, prints the tables, and returns the result."""
    parser = paired.parser_of(__doc__)
    add = parser.add_argument
    add("--batch", type=int, default=100)
    add("--draws", type=int, default=50, help="draws that are timed against a larger batch")
    add("--latents", type=int, default=40)
    add("--hidden", type=int, default=300)
    add("--rounds", type=int, default=7, help="turns of each")
    add("--block", type=float, default=0.3, help="seconds of a turn")
    add("--only", nargs="*", help="names of objectives, beside the ELBO")
    add("--no-memory", action="store_true", help="times alone")
    add("--peak", help="prints the peak memory by one objective, and nothing else")
    settings = parser.parse_args(arguments)
    if settings.peak:
        step = step_by(OBJECTIVES[settings.peak], settings, settings.batch)
        print(json.dumps(steps.peak_megabytes(step)))
        return None
    chosen = [name for name in OBJECTIVES if name == ELBO or name in (settings.only or OBJECTIVES)]
    updates = {name: step_by(OBJECTIVES[name], settings, settings.batch) for name in chosen}
    times = steps.take_turns(updates, ELBO, settings.rounds, settings.block)
    memory: dict[str, Any] = dict.fromkeys(chosen)
    if not settings.no_memory:
        sizes = paired.as_options(settings, ("batch", "latents", "hidden"))
        memory = steps.of_each_alone(__file__, chosen, sizes)
    result = {
        **paired.circumstances(settings),
        "objectives": {n: {"time": times[n], "memory": memory[n]} for n in chosen},
        "draws_or_batch": {n: {"time": t} for n, t in weighted_against_many(settings).items()},
    }
    paired.print_table(to_table("Step by an objective over that by the ELBO", result["objectives"]))
    paired.print_table(to_table("As many passes of the decoder", result["draws_or_batch"]))
    return paired.written(result, settings)


if __name__ == "__main__":
    main()
