"""What does a prior cost in a training step, in time and in memory?

The same VAE, 784-300-300-40 at batch 100, trains under each prior. Models take turns in short
blocks; a cost is the time of a step over that of a step under N(0, I), less one: the share of the
prior, in units of all the rest of the step. Memory is what steps hold at most beyond what is held
between them, in a process of its own. Beside it stand the largest array in the compiled step, and
the size of an array `[batch, K, latents]`, which a mixture does not need. Run it as

    python benchmarks/priors.py
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

from tfvae import priors

STANDARD = "StandardNormal"
COMPONENTS = (10, 100, 500, 1000, 5000)


def cases(components: Sequence[int]) -> dict[str, Callable[[], priors.Prior]]:
    """Returns by name what makes a prior."""
    found: dict[str, Callable[[], Any]] = {
        STANDARD: priors.StandardNormal,
        "Normal": priors.Normal,
    }
    for k in components:
        found[f"GaussianMixture {k}"] = lambda k=k: priors.GaussianMixture(k)
    for k in components:
        found[f"VampPrior {k}"] = lambda k=k: priors.VampPrior(k)
    found |= {
        "RealNVP": priors.RealNVP,
        "MaskedAutoregressive": priors.MaskedAutoregressive,
        "NeuralSpline": priors.NeuralSpline,
    }
    return found


def components_of(name: str) -> int:
    """Returns the K in the name of a mixture, 0 for other priors."""
    return int(name.split()[1]) if " " in name else 0


def step_under(prior: priors.Prior, settings: argparse.Namespace) -> Callable[[], float]:
    """Returns one update of the model under a prior."""
    vae = steps.make_vae(prior, settings.latents, settings.hidden)
    vae.compile("adam")
    return steps.make_step(vae, settings.batch)


def to_table(result: dict[str, Any]) -> Table:
    """Returns the table of the result."""
    size = result["settings"]
    title = "Cost of a prior: its time over the rest of the step, and memory"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("prior", no_wrap=True)
    for name in ("cost", "min - max", "step, ms", "MB", "largest", "[B, K, D]"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, row in result["priors"].items():
        whole = ""
        if components_of(name):
            count = size["batch"] * components_of(name) * size["latents"]
            whole = f"{4 * count / 2**20:.1f}"
        memory = "" if row["memory"] is None else f"{row['memory']:.0f}"
        low, middle, high = (row["time"][key] - 1.0 for key in ("min", "median", "max"))
        span = f"{low:.2f} - {high:.2f}"
        table.add_row(
            name,
            f"{middle:.2f}",
            span,
            f"{row['time']['ms']:.1f}",
            memory,
            f"{row['largest']:.1f}",
            whole,
        )
    return table


def main(arguments: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Measures, prints the table, and returns the result."""
    parser = paired.parser_of(__doc__)
    add = parser.add_argument
    add("--components", type=int, nargs="+", default=COMPONENTS, help="K of the mixtures")
    add("--batch", type=int, default=100)
    add("--latents", type=int, default=40)
    add("--hidden", type=int, default=300)
    add("--rounds", type=int, default=7, help="turns of each")
    add("--block", type=float, default=0.3, help="seconds of a turn")
    add("--only", nargs="*", help="names of priors, beside the standard normal")
    add("--no-memory", action="store_true", help="times alone")
    add("--peak", help="prints the peak memory under one prior, and nothing else")
    settings = parser.parse_args(arguments)
    if settings.peak:
        count = components_of(settings.peak)
        step = step_under(cases([count] if count else [])[settings.peak](), settings)
        print(json.dumps(steps.peak_megabytes(step)))
        return None
    chosen = {
        name: make
        for name, make in cases(settings.components).items()
        if name == STANDARD or not settings.only or name in settings.only
    }
    updates, largest = {}, {}
    for name, make in chosen.items():
        updates[name] = step_under(make(), settings)
        vae = steps.make_vae(make(), settings.latents, settings.hidden)
        vae.compile("adam")
        largest[name], _ = steps.largest_array(vae, settings.batch)
    times = steps.take_turns(updates, STANDARD, settings.rounds, settings.block)
    memory: dict[str, Any] = dict.fromkeys(chosen)
    if not settings.no_memory:
        sizes = paired.as_options(settings, ("batch", "latents", "hidden"))
        memory = steps.of_each_alone(__file__, list(chosen), sizes)
    result = {
        **paired.circumstances(settings),
        "priors": {
            name: {"time": times[name], "memory": memory[name], "largest": largest[name]}
            for name in chosen
        },
    }
    paired.print_table(to_table(result))
    return paired.written(result, settings)


if __name__ == "__main__":
    main()
