"""Does the memory of an evaluation depend on the length of a stream?

`tfvae.log_likelihood`, and `tfvae.decompose` without evidence, of an untrained VAE of 16 bits and a
`tf.data` stream of random ones that are made as they are read: nothing of the data is in memory.
Each evaluation and each number of points has its own process, which first takes a short stream. The
memory of the process is noted ten times in a second. Beside the most of it stands what was held
a tenth of the time after the start, and how many bytes of each point are in the result, which is to
be returned. Run it as

    python benchmarks/stream.py
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import paired
import steps
import tensorflow as tf
from rich import box
from rich.table import Table

import tfvae

POINTS = (100_000, 1_000_000)
BATCH, PIXELS = 1000, 16
# Between two notes of the memory.
SECONDS = 0.1


def log_likelihood(vae: tfvae.VAE, data: Any, settings: argparse.Namespace) -> Any:
    """Takes log p(x) by few draws."""
    return tfvae.log_likelihood(vae, data, settings.draws, verbose=False)


def decompose(vae: tfvae.VAE, data: Any, settings: argparse.Namespace) -> Any:
    """Takes the ledger, in which a sample of the points is compared with all."""
    return tfvae.decompose(
        vae,
        data,
        num_samples=settings.draws,
        evidence_samples=0,
        max_pairs=settings.max_pairs,
        verbose=False,
    )


CASES: dict[str, Callable[[tfvae.VAE, Any, argparse.Namespace], Any]] = {
    "log_likelihood": log_likelihood,
    "decompose": decompose,
}


def make_vae(latents: int, hidden: int) -> tfvae.VAE:
    """Returns a VAE of few pixels, which leaves most of the work to what surrounds it."""
    layers, networks = tfvae.layers, tfvae.networks
    normal, bernoulli = layers.MultivariateNormalDiag, layers.IndependentBernoulli
    keras.utils.set_random_seed(0)
    encoder = networks.functional(
        {"x": PIXELS},
        keras.layers.Dense(hidden, "relu"),
        keras.layers.Dense(normal.params_size(latents)),
        normal(latents),
    )
    decoder = networks.functional(
        {"z": latents},
        keras.layers.Dense(hidden, "relu"),
        keras.layers.Dense(bernoulli.params_size(PIXELS)),
        bernoulli(PIXELS),
    )
    return tfvae.VAE(encoder, decoder, seed=0)


def stream_of(num_points: int) -> tf.data.Dataset:
    """Returns a stream of so many points, the same each time it is read."""

    def batch(index: Any) -> Any:
        bits = tf.random.stateless_uniform([BATCH, PIXELS], [0, index], 0, 2, tf.int32)
        return tf.cast(bits[: num_points - tf.cast(index, tf.int32) * BATCH], tf.float32)

    return tf.data.Dataset.range(-(-num_points // BATCH)).map(batch)


def bytes_of(found: Any) -> int:
    """Returns the bytes of all arrays of a result, each once."""
    arrays: dict[int, int] = {}

    def look(value: Any) -> None:
        if isinstance(value, np.ndarray):
            arrays[id(value)] = value.nbytes
        elif dataclasses.is_dataclass(value):
            look(vars(value))
        elif isinstance(value, dict):
            for part in value.values():
                look(part)

    look(found)
    return sum(arrays.values())


@contextlib.contextmanager
def noting_memory() -> Iterator[list[float]]:
    """Yields a list of the megabytes of this process, to which a thread adds until the end."""
    noted, ended = [steps.resident_megabytes()], threading.Event()

    def note() -> None:
        while not ended.wait(SECONDS):
            noted.append(steps.resident_megabytes())

    thread = threading.Thread(target=note, daemon=True)
    thread.start()
    try:
        yield noted
    finally:
        ended.set()
        thread.join()


def measured(name: str, num_points: int, settings: argparse.Namespace) -> dict[str, float]:
    """Returns what a stream of so many points takes in this process, in megabytes."""
    vae = make_vae(settings.latents, settings.hidden)
    vae.compile("adam", jit_compile=False)
    CASES[name](vae, stream_of(10 * BATCH), settings)
    before = steps.resident_megabytes(trim=True)
    with noting_memory() as noted:
        found = CASES[name](vae, stream_of(num_points), settings)
    results = bytes_of(found)
    return {
        "most": max(noted) - before,
        "after_a_tenth": noted[len(noted) // 10] - before,
        "at_last": noted[-1] - before,
        "results": results / 2**20,
        "bytes_per_point": results / num_points,
    }


def to_table(result: dict[str, Any]) -> Table:
    """Returns the table of the result."""
    table = Table(title="Memory beyond that of the start, MB", box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("evaluation", no_wrap=True)
    for name in ("N", "most", "1/10", "last", "results", "B/point"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in result["cases"]:
        table.add_row(
            row["name"],
            f"{row['num_points']:,}",
            *(f"{row[key]:.0f}" for key in ("most", "after_a_tenth", "at_last", "results")),
            f"{row['bytes_per_point']:.0f}",
        )
    return table


def main(arguments: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Measures, prints the table, and returns the result."""
    parser = paired.parser_of(__doc__)
    add = parser.add_argument
    add("--points", type=int, nargs="+", default=POINTS, help="lengths of streams")
    add("--draws", type=int, default=10, help="draws of z per point")
    add("--max-pairs", type=int, default=250_000_000, help="see `tfvae.decompose`")
    add("--latents", type=int, default=2)
    add("--hidden", type=int, default=16)
    add("--only", nargs="*", choices=list(CASES), help="evaluations")
    add("--case", help="prints what one evaluation of so many points takes, as name:points")
    settings = parser.parse_args(arguments)
    if settings.case:
        name, number = settings.case.split(":")
        print(json.dumps(measured(name, int(number), settings)))
        return None
    cases = [(name, n) for name in settings.only or CASES for n in settings.points]
    sizes = paired.as_options(settings, ("draws", "max_pairs", "latents", "hidden"))
    keys = [f"{name}:{number}" for name, number in cases]
    found = steps.of_each_alone(__file__, keys, sizes, option="--case")
    result = {
        **paired.circumstances(settings),
        "cases": [
            {"name": name, "num_points": number, **found[key]}
            for key, (name, number) in zip(keys, cases, strict=True)
        ],
    }
    paired.print_table(to_table(result))
    return paired.written(result, settings)


if __name__ == "__main__":
    main()
