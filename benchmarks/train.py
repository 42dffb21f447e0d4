"""How fast does `tfvae.VAE.fit` train, next to PyTorch, pythae and bare XLA?

    python benchmarks/train.py --data FOLDER

where FOLDER holds `binarized_mnist.npz`; without it the data are random bits of the same shape. The
contenders and their networks are those of `contenders.py`, the cases those of `CASES`. Figures of a
busy machine are printed, and not written.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paired
from contenders import CONTENDERS, NETWORKS, PIXELS
from tqdm import tqdm

SUBJECT = "tfvae"


@dataclasses.dataclass(frozen=True)
class Case:
    """What is trained, and for how long in a call.

    Attributes:
        network: One of `contenders.NETWORKS`.
        epochs: Epochs of a call: one of `fit`, or the loop of another contender.
        points: Images, where fewer than are asked for will do.
    """

    network: str
    epochs: int
    points: int | None = None


CASES = {
    "2 epochs": Case("mlp", 2),
    "20 epochs": Case("mlp", 20),
    "gated, VampPrior": Case("gated-vamp", 2),
    "convolutions": Case("conv", 2, 5_000),
}


def load_data(folder: str | None, points: int, split: str = "train") -> tuple[np.ndarray, str]:
    """Returns binary images `[N, 784]`, float32, and the words that say where they come from.

    Args:
        folder: Folder with `binarized_mnist.npz`, or None for random bits.
        points: N, at most the number of images in the file.
        split: Which of its arrays, `train`, `valid` or `test`.
    """
    if folder is None:
        rng = np.random.default_rng(0)
        return (rng.random((points, PIXELS)) < 0.13).astype(np.float32), "random bits"
    path = Path(folder) / "binarized_mnist.npz"
    if not path.exists():
        raise FileNotFoundError(
            f"`--data` must be a folder that holds {path.name}. Received: {folder}. Leave it out, "
            "and the environment variable TFVAE_DATA too, to train on random bits."
        )
    packed = np.load(path)[split][:points]
    return np.unpackbits(packed, axis=1)[:, :PIXELS].astype(np.float32), path.name


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description="Throughput of training, contenders paired.")
    add = parser.add_argument
    parser.add_argument(
        "--data",
        default=os.environ.get("TFVAE_DATA"),
        help="folder with binarized_mnist.npz (default: $TFVAE_DATA, else random bits)",
    )
    add("--points", type=paired.positive, default=20_000, help="images (default: 20000)")
    add("--batch", type=paired.positive, default=100, help="batch size (default: 100)")
    add("--rounds", type=paired.positive, default=5, help="turns of each (default: 5)")
    parser.add_argument(
        "--cases", nargs="+", choices=list(CASES), default=list(CASES), help="(default: all)"
    )
    parser.add_argument(
        "--threads",
        type=paired.positive,
        default=paired.describe_machine()["cpu_count"],
        help="threads of each contender (default: all processors)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all contenders (default: 0)")
    parser.add_argument(
        "--contenders",
        nargs="+",
        choices=list(CONTENDERS),
        default=list(CONTENDERS),
        help="who takes part (default: all)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).parent / "results" / "train.json",
        help="JSON file to write (default: benchmarks/results/train.json)",
    )
    parser.add_argument("--anyway", action="store_true", help="write figures of a busy machine too")
    parser.add_argument("--network", choices=NETWORKS, default="mlp", help=argparse.SUPPRESS)
    parser.add_argument("--worker", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    return parser


def start_workers(
    settings: argparse.Namespace, case: Case, points: int
) -> tuple[dict[str, paired.Worker], dict[str, str]]:
    """Starts and warms up the contenders one by one; returns them, and who is left out and why."""
    workers: dict[str, paired.Worker] = {}
    left_out: dict[str, str] = {}
    command = [sys.executable, __file__, "--threads", str(settings.threads)]
    command += ["--network", case.network, "--points", str(points)]
    for option in ("data", "batch", "seed"):
        if getattr(settings, option) is not None:
            command += [f"--{option}", str(getattr(settings, option))]
    for name in settings.contenders:
        _, packages, networks = CONTENDERS[name]
        missing = [p for p in packages if p not in paired.installed(packages)]
        if case.network not in networks:
            continue
        if missing:
            left_out[name] = f"{' and '.join(missing)} not installed"
        else:
            try:
                workers[name] = paired.Worker([*command, "--worker", name], settings.threads)
            except paired.WorkerError as error:
                left_out[name] = f"it failed: {str(error).strip().splitlines()[-1]}"
        if name in left_out:
            print(f"Left out {name}: {left_out[name]}", flush=True)
        else:
            print(f"Warmed up {name} in {workers[name].warm_up_s:.1f} s", flush=True)
    return workers, left_out


def measure_case(
    settings: argparse.Namespace, title: str, case: Case, points: int
) -> dict[str, Any]:
    """Runs all rounds of one case and returns the result, ready for JSON."""
    workers, left_out = start_workers(settings, case, points)
    try:
        with tqdm(total=settings.rounds * len(workers), unit="turn", disable=None) as bar:
            turns = paired.take_turns(workers, settings.rounds, case.epochs, after_turn=bar.update)
        scores = {name: worker.score() for name, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.close()

    images = points * case.epochs
    contenders = {
        name: {
            "what": " ".join(CONTENDERS[name][0].__doc__.split()),
            "rounds": turns[name],
            "images_per_second": paired.summarise([images / t["seconds"] for t in turns[name]]),
            "images_per_cpu_second": paired.summarise(
                [images / t["cpu_seconds"] for t in turns[name]]
            ),
            "warm_up_s": worker.warm_up_s,
            "negative_elbo": scores[name],
        }
        for name, worker in workers.items()
    }
    seconds = {name: [t["seconds"] for t in turns[name]] for name in turns}
    return {
        "title": f"Training, {title}",
        "settings": {
            **dataclasses.asdict(case),
            "points": points,
            "epochs_in_all": 1 + settings.rounds * case.epochs,
        },
        "left_out": left_out,
        "contenders": contenders,
        "ratios": {
            name: paired.ratios(seconds, of=name) for name in seconds if name.startswith(SUBJECT)
        },
    }


def measure(settings: argparse.Namespace) -> dict[str, Any]:
    """Runs all cases and returns the result, ready for JSON."""
    x, data = load_data(settings.data, settings.points)
    points_of = {title: min(len(x), CASES[title].points or len(x)) for title in settings.cases}
    for points in points_of.values():
        if points % settings.batch:
            raise ValueError(
                "The batch size must divide the number of images, so that all batches are alike. "
                f"Received: batch={settings.batch}, points={points}."
            )
    machine = paired.describe_machine()
    print(f"{len(x)} images from: {data}. {settings.threads} threads, {machine['cpu']}.")
    print(f"Load average before the first turn: {machine['load_average']}.")
    packages = (
        "tfvae",
        "tensorflow",
        "keras",
        "tensorflow_probability",
        "torch",
        "pythae",
        "numpy",
    )
    return {
        "machine": machine,
        "versions": paired.installed(packages),
        "settings": {
            "data": data,
            "batch": settings.batch,
            "rounds": settings.rounds,
            "threads": settings.threads,
            "seed": settings.seed,
        },
        "cases": {
            title: measure_case(settings, title, CASES[title], points)
            for title, points in points_of.items()
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints the table and writes the JSON file; or serves as one worker."""
    settings = make_parser().parse_args(arguments)
    if settings.worker is not None:
        x, _ = load_data(settings.data, settings.points)
        paired.serve(lambda: CONTENDERS[settings.worker][0](x, settings))
        return
    result = measure(settings)
    for case in result["cases"].values():
        for subject in case["ratios"]:
            paired.print_table(paired.to_table(case, subject))
    paired.keep(result, settings.output, anyway=settings.anyway)


if __name__ == "__main__":
    main()
