"""What does the ledger of the ELBO cost, in time and in memory, as the data grows?

`tfvae.decompose` without evidence, of an untrained VAE 784-300-300-40 on random bits, for more and
more points. Each number of points has a process of its own, which first takes the ledger of a few
points: what is compiled there is not counted. Memory is the most that was held beyond what was held
before, model and data included. The exponent is the slope of log time over log N from one line to
the next: above `max_pairs`, work grows with N. Run it as

    python benchmarks/decompose.py
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import paired
import steps
from rich import box
from rich.table import Table

import tfvae

POINTS = (1000, 2000, 5000, 10_000, 20_000, 50_000)


def ledger_of(num_points: int, settings: argparse.Namespace) -> dict[str, float]:
    """Returns what the ledger of so many points takes in this process, and how sure it is."""
    vae = steps.make_vae(None, settings.latents, settings.hidden)
    vae.compile("adam")
    x = np.random.default_rng(0).integers(0, 2, (num_points, steps.PIXELS), dtype=np.uint8)
    x = x.astype("float32")

    def decompose(x: np.ndarray) -> tfvae.evaluation.Decomposition:
        return tfvae.decompose(
            vae,
            x,
            num_samples=settings.samples,
            evidence_samples=0,
            max_pairs=settings.max_pairs,
            verbose=False,
        )

    # As many draws at once as there will be, and no more than that.
    decompose(x[: max(2, min(1000, num_points // 2))])
    before = steps.resident_megabytes(trim=True)
    steps.watch_anew()
    start, start_cpu = time.perf_counter(), time.process_time()
    found = decompose(x)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - start_cpu,
        "megabytes": steps.most_megabytes() - before,
        "num_compared": found.num_compared,
        "standard_error": found.mutual_information.standard_error,  # type: ignore[union-attr]
    }


def exponents(points: Sequence[int], seconds: Sequence[float]) -> list[float | None]:
    """Returns slopes of log time over log N, from each number of points to the next."""
    slopes: list[float | None] = [None]
    for i in range(1, len(points)):
        slopes.append(math.log(seconds[i] / seconds[i - 1]) / math.log(points[i] / points[i - 1]))
    return slopes


def to_table(result: dict[str, Any]) -> Table:
    """Returns the table of the result."""
    title = "Ledger without evidence, and the error of its mutual information"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("N", "s", "CPU s", "exponent", "MB", "compared", "± s.e., nats"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in result["points"]:
        slope = "" if row["exponent"] is None else f"{row['exponent']:.2f}"
        table.add_row(
            f"{row['num_points']:,}",
            f"{row['seconds']:.1f}",
            f"{row['cpu_seconds']:.1f}",
            slope,
            f"{row['megabytes']:.0f}",
            f"{row['num_compared']:,}",
            f"{row['standard_error']:.3f}",
        )
    return table


def main(arguments: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Measures, prints the table, and returns the result."""
    parser = paired.parser_of(__doc__)
    add = parser.add_argument
    add("--points", type=int, nargs="+", default=POINTS, help="numbers of points, ascending")
    add("--samples", type=int, default=10, help="draws of z per point")
    add("--max-pairs", type=int, default=250_000_000, help="see `tfvae.decompose`")
    add("--latents", type=int, default=40)
    add("--hidden", type=int, default=300)
    add("--case", type=int, help="prints what so many points take, and nothing else")
    settings = parser.parse_args(arguments)
    if settings.case:
        print(json.dumps(ledger_of(settings.case, settings)))
        return None
    sizes = paired.as_options(settings, ("samples", "max_pairs", "latents", "hidden"))
    names = [str(number) for number in settings.points]
    found = steps.of_each_alone(__file__, names, sizes, option="--case")
    slopes = exponents(settings.points, [found[name]["seconds"] for name in names])
    result = {
        **paired.circumstances(settings),
        "points": [
            {"num_points": number, **found[str(number)], "exponent": slope}
            for number, slope in zip(settings.points, slopes, strict=True)
        ],
    }
    paired.print_table(to_table(result))
    return paired.written(result, settings)


if __name__ == "__main__":
    main()
