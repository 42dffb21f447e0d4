"""Paired measurements: contenders in processes of their own take turns on one machine.

Each contender is a class with the methods of `Contender`. It runs in a subprocess that is started
once, warms up once, and then works only when told to, while all others wait. A round is one turn of
each; ratios are taken within a round, so that what slows the machine for a while slows both sides.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata, util
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

__all__ = [
    "BUSY",
    "Contender",
    "Worker",
    "as_options",
    "circumstances",
    "describe_machine",
    "installed",
    "keep",
    "negative_elbo",
    "parser_of",
    "positive",
    "print_table",
    "ratios",
    "refusal",
    "serve",
    "summarise",
    "take_turns",
    "to_table",
    "written",
]

# What an idle contender's threads may still be doing when another one starts.
SETTLE_SECONDS = 0.2
# Settings that say where a result goes, or that one case alone is to be taken.
_OF_NO_RESULT = ("output", "case", "peak", "figure", "here")
# Load average above which figures say more of others than of the contenders.
BUSY = 0.3


class Contender(Protocol):
    """What runs in a worker: made from the settings, which builds the model."""

    def work(self, amount: int) -> None:
        """Does as much as is asked for, epochs or draws, and returns when the last is done."""
        ...

    def score(self) -> float:
        """Returns a number that is the same for all who do the same work, but for their noise."""
        ...


def installed(packages: Sequence[str]) -> dict[str, str]:
    """Returns the versions of those packages that can be imported."""
    versions = {}
    for package in packages:
        if util.find_spec(package) is not None:
            try:
                versions[package] = metadata.version(package)
            except metadata.PackageNotFoundError:
                versions[package] = "not installed by pip"
    return versions


def serve(make: Callable[[], Contender], warm_up: int = 1) -> None:
    """Runs a contender in a worker: reads one JSON request per line, answers each with one.

    Requests are `{"amount": k}`, answered by `{"seconds": ..., "cpu_seconds": ...}`, and
    `{"score": true}`, answered by `{"score": ...}`. The end of the input ends it.

    Args:
        make: Makes the contender.
        warm_up: Amount of work before the first request.
    """
    # What libraries print must not mix with the answers: they get stderr as their stdout.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: float) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    start = time.perf_counter()
    contender = make()
    contender.work(warm_up)
    answer(warm_up_s=time.perf_counter() - start)
    for line in sys.stdin:
        request = json.loads(line)
        if "amount" in request:
            start, cpu_start = time.perf_counter(), time.process_time()
            contender.work(request["amount"])
            answer(seconds=time.perf_counter() - start, cpu_seconds=time.process_time() - cpu_start)
        else:
            answer(score=contender.score())


class WorkerError(RuntimeError):
    """A contender ended early; the message holds the last lines that it printed."""


class Worker:
    """A contender in a process of its own.

    Args:
        command: Command that calls `serve`.
        threads: Threads that the numerical libraries may use.

    Attributes:
        warm_up_s: Seconds to build, compile and do the first work, imports included.
    """

    def __init__(self, command: Sequence[str], threads: int) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  lives as long as the worker
        limits = dict.fromkeys(
            ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)
        )
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **quiet, **limits},
        )
        start = time.perf_counter()
        try:
            self._read()
        except WorkerError:
            self.close()
            raise
        self.warm_up_s = time.perf_counter() - start

    def work(self, amount: int) -> dict[str, float]:
        """Has it work; returns `seconds` and `cpu_seconds`."""
        return self._ask({"amount": amount})

    def score(self) -> float:
        """Returns what its work came to."""
        return self._ask({"score": True})["score"]

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]
        self._log.close()

    def _ask(self, request: Mapping[str, Any]) -> dict[str, float]:
        try:
            self._process.stdin.write(json.dumps(request) + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        except BrokenPipeError:
            pass  # The answer will be missing, and say why.
        return self._read()

    def _read(self) -> dict[str, float]:
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            self._process.wait()
            self._log.seek(0)
            raise WorkerError("".join(self._log.readlines()[-20:]) or "it printed nothing")
        return json.loads(line)


def take_turns(
    workers: Mapping[str, Worker],
    rounds: int,
    amount: int,
    settle: float = SETTLE_SECONDS,
    after_turn: Callable[[], None] = lambda: None,
) -> dict[str, list[dict[str, float]]]:
    """Lets the workers work one after the other, round by round.

    Each round begins one worker later than the one before, so that none always follows the same.

    Args:
        workers: Contenders by name.
        rounds: Turns of each.
        amount: Work of a turn.
        settle: Seconds of rest before each turn.
        after_turn: Called after each turn, for a progress bar.

    Returns:
        By contender, the list of its turns.
    """
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    names = list(workers)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(settle)
            turns[name].append(workers[name].work(amount))
            after_turn()
    return turns


def summarise(values: Sequence[float]) -> dict[str, float]:
    """Returns `min`, `median`, `max`, and their `spread` (max - min) / median."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return {"min": low, "median": middle, "max": high, "spread": (high - low) / middle}


def ratios(seconds: Mapping[str, Sequence[float]], of: str) -> dict[str, dict[str, Any]]:
    """Returns how many times faster `of` was than each other contender, round by round.

    Args:
        seconds: By contender, the seconds of each round for the same work.
        of: The contender to compare.

    Returns:
        By the other contender: `rounds`, the list of ratios, and what `summarise` makes of it.
    """
    result = {}
    for name, other in seconds.items():
        if name != of:
            rounds = [theirs / ours for ours, theirs in zip(seconds[of], other, strict=True)]
            result[name] = {"rounds": rounds, **summarise(rounds)}
    return result


def describe_machine() -> dict[str, Any]:
    """Returns the processor's name, its number, and how busy it was."""
    return {
        "cpu": _cpu_name(),
        "cpu_count": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def refusal(machine: Mapping[str, Any]) -> str | None:
    """Returns why figures of a machine are not to be kept, None where it was quiet.

    Args:
        machine: What `describe_machine` said before the first turn.
    """
    load = machine["load_average"]
    if load is None or load <= BUSY:
        return None
    return (
        f"Not written: the machine was busy (load average {load}, at most {BUSY} counts). "
        "Wait for a quiet hour, or pass `--anyway`."
    )


def keep(result: Mapping[str, Any], output: Path, *, anyway: bool) -> None:
    """Writes a result as JSON, or says why not: the machine was busy before the first turn.

    Args:
        result: With what `describe_machine` said as `machine`.
        output: File to write; its folder is made.
        anyway: Writes figures of a busy machine too.
    """
    reason = refusal(result["machine"])
    if reason and not anyway:
        print(reason)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(f"Wrote {output}")


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """Returns a parser that says what a program is for, with the file for its result."""
    parser = argparse.ArgumentParser(
        description=(doc or "").splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--output", type=Path, help="file for the result as JSON")
    return parser


def as_options(settings: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """Returns some settings as they are given to another process of the same program."""
    return [f"--{name.replace('_', '-')}={getattr(settings, name)}" for name in names]


def circumstances(settings: argparse.Namespace) -> dict[str, Any]:
    """Returns by what settings, and on which machine, a result was found."""
    own = {name: value for name, value in vars(settings).items() if name not in _OF_NO_RESULT}
    return {"settings": own, "machine": describe_machine()}


def written(result: dict[str, Any], settings: argparse.Namespace) -> dict[str, Any]:
    """Returns a result, which is in the file that was asked for."""
    if settings.output:
        settings.output.write_text(json.dumps(result, indent=2) + "\n")
    return result


def positive(text: str) -> int:
    """Returns an argument of the command line that is a whole number of at least one."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1. Received: {text}")
    return value


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def to_table(result: Mapping[str, Any], subject: str) -> Table:
    """Returns the table of a result: one row per contender, ratios of `subject` over it."""
    title = f"{result['title']}: how many times faster is {subject}?"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("contender", no_wrap=True)
    for column in ("images/s", "spread", "faster", "min - max", "warm-up", "-ELBO"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, row in result["contenders"].items():
        ratio = result["ratios"][subject].get(name)
        table.add_row(
            name,
            f"{row['images_per_second']['median']:,.0f}",
            f"{100 * row['images_per_second']['spread']:.0f}%",
            f"{ratio['median']:.2f}x" if ratio else "",
            f"{ratio['min']:.2f} - {ratio['max']:.2f}" if ratio else "",
            f"{row['warm_up_s']:.1f} s",
            f"{row['negative_elbo']:.2f}",
        )
    return table


def negative_elbo(
    encode: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    decode: Callable[[np.ndarray], np.ndarray],
    x: np.ndarray,
    log_prior: Callable[[np.ndarray], np.ndarray] | None = None,
    *,
    batch: int = 1000,
) -> float:
    """Returns the negative ELBO of binary data, in NumPy and with the same noise for everyone.

        -ELBO = mean_i [ -log p(x_i|z_i) + KL(q(z|x_i) || N(0, I)) ],   z_i ~ q(z|x_i)

    Args:
        encode: From `x` `[B, D]` to loc and scale of q(z|x), each `[B, K]`.
        decode: From `z` `[B, K]` to the logits of p(x|z) `[B, D]`.
        x: `[N, D]`, values 0 and 1.
        log_prior: From `z` `[B, K]` to log p(z) `[B]`, for other priors than N(0, I): the KL is
            then log q(z|x) - log p(z) at the draw.
        batch: Rows per call, B.

    Returns:
        Mean over the data, nats.
    """
    rng = np.random.default_rng(0)
    total = 0.0
    for start in range(0, len(x), batch):
        rows = x[start : start + batch]
        loc, scale = (np.asarray(part, np.float64) for part in encode(rows))
        noise = rng.standard_normal(loc.shape)
        z = loc + scale * noise
        logits = np.asarray(decode(z.astype(np.float32)), np.float64)
        distortion = np.sum(np.logaddexp(0.0, logits) - rows * logits)
        if log_prior is None:
            rate = np.sum(0.5 * (loc**2 + scale**2 - 1.0) - np.log(scale))
        else:
            log_q = -0.5 * (noise**2 + np.log(2.0 * np.pi)) - np.log(scale)
            rate = np.sum(log_q) - np.sum(log_prior(z.astype(np.float32)))
        total += distortion + rate
    return float(total / len(x))


def print_table(table: Table) -> None:
    """Prints a table; where the output is no terminal, at a width of 80."""
    console = Console()
    Console(width=max(console.width, 80)).print(table)
