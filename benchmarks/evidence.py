"""What does log p(x) of data cost, next to PyTorch and to the bare products of the decoder?

    python benchmarks/evidence.py --data FOLDER

where FOLDER holds `binarized_mnist.npz`, whose test images are taken; without it the data are
random bits of the same shape. `tfvae.log_likelihood` of a model of 40 latents that is not trained,
since the work does not depend on what it has learned, beside a PyTorch loop that encodes each point
once, and beside the decoder alone, as often as there are draws. All have the same weights. Figures
of a busy machine are printed, and not written.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paired
from contenders import initial_weights, limit_tensorflow, make_vae, torch_networks
from rich import box
from rich.table import Table
from tqdm import tqdm
from train import load_data

SUBJECT = "tfvae"
NETWORKS = ("mlp", "gated")
# Points of a batch, and draws of all of them that are scored together, as `tfvae` does by default.
BATCH, ROWS = 100, 5000


class Tfvae:
    """`tfvae.log_likelihood` with its defaults: effective sizes, k-hat and the curve included."""

    def __init__(self, x: np.ndarray, settings: argparse.Namespace) -> None:
        limit_tensorflow(settings.threads)
        import tfvae

        self.x, self.evaluate, self.found = x, tfvae.log_likelihood, math.nan
        self.vae = make_vae(settings.network)
        weights = weights_of(settings)
        for part, own in ((self.vae.encoder, weights[:6]), (self.vae.decoder, weights[6:])):
            part.set_weights(own)

    def work(self, draws: int) -> None:
        self.found = self.evaluate(self.vae, self.x, draws, verbose=False).mean

    def score(self) -> float:
        return float(self.found)


class Torch:
    """A PyTorch loop: the encoder once per point, draws in blocks, a running log-sum-exp."""

    def __init__(self, x: np.ndarray, settings: argparse.Namespace) -> None:
        import torch

        torch.set_num_threads(settings.threads)
        torch.set_flush_denormal(True)
        torch.manual_seed(settings.seed)
        self.torch, self.images, self.found = torch, torch.from_numpy(x), math.nan
        self.encoder, self.decoder = torch_networks(settings.network)
        given = iter(weights_of(settings))
        for part in (self.encoder, self.decoder):
            for parameter in part.parameters():
                # Kernels are stored the other way round; of vectors that is no change.
                parameter.data = torch.from_numpy(next(given).T.copy())

    def work(self, draws: int) -> None:
        with self.torch.inference_mode():
            parts = [self._estimate(rows, draws) for rows in self.images.split(BATCH)]
            self.found = float(self.torch.cat(parts).mean())

    def score(self) -> float:
        return self.found

    def _estimate(self, x: Any, draws: int) -> Any:
        """Returns log p(x) `[B]`."""
        torch = self.torch
        loc, raw = self.encoder(x).chunk(2, dim=1)
        scale = torch.nn.functional.softplus(raw) + 1e-5
        log_det = scale.log().sum(dim=1)
        total = torch.full([len(x)], -math.inf)
        at_once = max(1, ROWS // len(x))
        for first in range(0, draws, at_once):
            noise = torch.randn(min(at_once, draws - first), *loc.shape)
            z = torch.addcmul(loc, scale, noise)
            logits = self.decoder(z.flatten(0, 1)).unflatten(0, noise.shape[:2])
            log_p_x = -torch.nn.functional.binary_cross_entropy_with_logits(
                logits, x.expand_as(logits), reduction="none"
            ).sum(dim=2)
            log_ratio = 0.5 * (noise.square() - z.square()).sum(dim=2) + log_det
            total = torch.logaddexp(total, torch.logsumexp(log_p_x + log_ratio, dim=0))
        return total - math.log(draws)


class Products:
    """The decoder alone in TensorFlow, on the same latents again and again: nothing is scored."""

    def __init__(self, x: np.ndarray, settings: argparse.Namespace) -> None:
        limit_tensorflow(settings.threads)
        import tensorflow as tf

        weights = [tf.constant(weight) for weight in weights_of(settings)[6:]]
        self.num_points, self.z = len(x), tf.zeros([min(ROWS, len(x) * 50), 40])

        @tf.function(autograph=False)
        def decode(z: Any) -> Any:
            for kernel, bias in zip(weights[:4:2], weights[1:4:2], strict=True):
                z = z @ kernel + bias
                if settings.network == "mlp":
                    z = tf.nn.relu(z)
                else:
                    linear, gate = tf.split(z, 2, axis=1)
                    z = linear * tf.sigmoid(gate)
            return tf.reduce_max(z @ weights[4] + weights[5])  # all of it has to be there

        self.decode: Callable[[Any], Any] = decode

    def work(self, draws: int) -> None:
        for _ in range(-(-self.num_points * draws // len(self.z))):
            found = self.decode(self.z)
        float(found)

    def score(self) -> float:
        return math.nan


CONTENDERS: dict[str, tuple[type, tuple[str, ...]]] = {
    "tfvae": (Tfvae, ("tfvae", "tensorflow", "keras")),
    "torch": (Torch, ("torch",)),
    "products": (Products, ("tensorflow",)),
}


def weights_of(settings: argparse.Namespace) -> list[np.ndarray]:
    """Returns the weights that all contenders have: encoder first, then decoder, six each."""
    rng = np.random.default_rng(settings.seed)
    return initial_weights(rng, gated=settings.network == "gated")


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Time of log p(x), contenders paired.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add, number = parser.add_argument, paired.positive
    folder, output = os.environ.get("TFVAE_DATA"), Path(__file__).parent / "results"
    add("--data", default=folder, help="folder with binarized_mnist.npz, else random bits")
    add("--points", type=number, default=1000, help="images; 10000 are all there are")
    add("--draws", type=number, nargs="+", default=[1000, 5000], help="draws of z per point")
    add("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    add("--rounds", type=number, default=5, help="turns of each contender")
    cpus = paired.describe_machine()["cpu_count"]
    add("--threads", type=number, default=cpus, help="threads of each contender")
    add("--seed", type=int, default=0, help="of the weights")
    add("--contenders", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    add("--output", type=Path, default=output / "evidence.json", help="JSON file to write")
    add("--anyway", action="store_true", help="write figures of a busy machine too")
    add("--network", choices=NETWORKS, default="mlp", help=argparse.SUPPRESS)
    add("--worker", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    return parser


def start_workers(settings: argparse.Namespace, network: str) -> dict[str, paired.Worker]:
    """Starts and warms up the contenders whose packages are there, one by one."""
    workers: dict[str, paired.Worker] = {}
    command = [sys.executable, __file__, "--network", network]
    for option in ("data", "points", "threads", "seed"):
        if getattr(settings, option) is not None:
            command += [f"--{option}", str(getattr(settings, option))]
    for name in settings.contenders:
        packages = CONTENDERS[name][1]
        missing = [p for p in packages if p not in paired.installed(packages)]
        if missing:
            print(f"Left out {name}: {' and '.join(missing)} not installed", flush=True)
        else:
            workers[name] = paired.Worker([*command, "--worker", name], settings.threads)
            print(f"Warmed up {name} in {workers[name].warm_up_s:.1f} s", flush=True)
    return workers


def measure_network(
    settings: argparse.Namespace, network: str, points: int
) -> dict[str, dict[str, Any]]:
    """Runs all rounds of one network; returns the results by number of draws, ready for JSON."""
    workers, cases = start_workers(settings, network), {}
    try:
        for draws in settings.draws:
            with tqdm(total=settings.rounds * len(workers), unit="turn", disable=None) as bar:
                turns = paired.take_turns(workers, settings.rounds, draws, after_turn=bar.update)
            scores = {name: worker.score() for name, worker in workers.items()}
            cases[f"{network}, {draws:,} draws"] = summary(turns, scores, points * draws)
    finally:
        for worker in workers.values():
            worker.close()
    return cases


def summary(
    turns: Mapping[str, Sequence[Mapping[str, float]]], scores: Mapping[str, float], rows: int
) -> dict[str, Any]:
    """Returns what one case came to.

    Args:
        turns: By contender, the seconds of each turn.
        scores: By contender, mean log p(x) in nats, NaN where it says nothing of it.
        rows: Draws of all points together.
    """
    seconds = {name: [turn["seconds"] for turn in own] for name, own in turns.items()}
    found = {
        name: {
            "what": " ".join((CONTENDERS[name][0].__doc__ or "").split()),
            "rounds": list(turns[name]),
            "seconds": paired.summarise(own),
            "draws_per_second": rows / paired.summarise(own)["median"],
            "log_p_x": None if math.isnan(scores[name]) else scores[name],
        }
        for name, own in seconds.items()
    }
    if SUBJECT in seconds:
        for name, row in found.items():
            if name != SUBJECT:
                row[f"{SUBJECT} takes as long"] = paired.ratios(seconds, of=name)[SUBJECT]
    return found


def measure(settings: argparse.Namespace) -> dict[str, Any]:
    """Runs all cases and returns the result, ready for JSON."""
    x, data = load_data(settings.data, settings.points, "test")
    machine = paired.describe_machine()
    print(f"{len(x)} images from: {data}. {settings.threads} threads, {machine['cpu']}.")
    print(f"Load average before the first turn: {machine['load_average']}.")
    cases: dict[str, Any] = {}
    for network in settings.networks:
        cases |= measure_network(settings, network, len(x))
    options = ("draws", "rounds", "threads", "seed")
    return {
        "machine": machine,
        "versions": paired.installed(["tfvae", "tensorflow", "keras", "torch", "numpy"]),
        "settings": {"data": data, "points": len(x), **{k: getattr(settings, k) for k in options}},
        "cases": cases,
    }


def to_table(name: str, case: Mapping[str, Any]) -> Table:
    """Returns the table of one case."""
    table = Table(title=name, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("contender", no_wrap=True)
    for column in ("s", "spread", "draws/s", f"{SUBJECT} takes", "min - max", "log p(x)"):
        table.add_column(column, justify="right", no_wrap=True)
    for contender, row in case.items():
        ratio = row.get(f"{SUBJECT} takes as long")
        table.add_row(
            contender,
            f"{row['seconds']['median']:.2f}",
            f"{100 * row['seconds']['spread']:.0f}%",
            f"{row['draws_per_second']:,.0f}",
            f"{ratio['median']:.2f}x" if ratio else "",
            f"{ratio['min']:.2f} - {ratio['max']:.2f}" if ratio else "",
            "" if row["log_p_x"] is None else f"{row['log_p_x']:.2f}",
        )
    return table


def main(arguments: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Measures, prints the tables and writes the JSON file; or serves as one worker."""
    settings = make_parser().parse_args(arguments)
    if settings.worker is not None:
        x, _ = load_data(settings.data, settings.points, "test")
        make = CONTENDERS[settings.worker][0]
        paired.serve(lambda: make(x, settings), warm_up=50)
        return None
    result = measure(settings)
    for name, case in result["cases"].items():
        paired.print_table(to_table(name, case))
    paired.keep(result, settings.output, anyway=settings.anyway)
    return result


if __name__ == "__main__":
    main()
