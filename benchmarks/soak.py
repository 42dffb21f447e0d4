"""What is lost or left behind where a process goes on for long, or is killed again and again?

`--cycles` has one tiny model fitted, evaluated, exported and its export loaded again, over and
over, while threads ask an export that was loaded before the first cycle. After each cycle garbage
is collected and free memory given back; what the process holds then, its open files and its
threads are noted. An answer that is not that of the first time, to the bit, is wrong.

`--kills` has a run of training killed so often at drawn moments, each time in the midst of a call,
or of what it does with files, and started again; see `tests/callbacks/runs.py`. What it ends with
has to be equal to the bit to what a run that was never killed ends with. Run it as

    python benchmarks/soak.py --cycles 1000 --kills 200
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paired
import steps
import stream
import tensorflow as tf
from rich import box
from rich.table import Table
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
ROWS, BATCH = 256, 64
# Between two calls of a thread, so that cycles have most of the machine.
PAUSE = 0.05
# Cycles that are printed, and kinds of data that a killed run is trained on.
SHOWN, KINDS = 10, ("rows", "stream", "kept stream")


def held() -> dict[str, float]:
    """Returns what this process holds: megabytes, open files and threads."""
    gc.collect()
    return {
        "megabytes": steps.resident_megabytes(trim=True),
        "files": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
    }


class Answers:
    """Counts what threads are answered, and how often not as at first."""

    def __init__(self, ask: Callable[[], np.ndarray]) -> None:
        self._ask, self._expected = ask, ask()
        self._lock, self._ended = threading.Lock(), threading.Event()
        self.right = self.wrong = 0

    @contextlib.contextmanager
    def asked_by(self, threads: int) -> Iterator[None]:
        """Has so many threads ask, within."""
        asking = [threading.Thread(target=self._go_on, daemon=True) for _ in range(threads)]
        for thread in asking:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in asking:
                thread.join()

    def _go_on(self) -> None:
        while not self._ended.wait(PAUSE):
            try:
                is_right = np.array_equal(self._ask(), self._expected)
            except Exception:
                is_right = False
            with self._lock:
                self.right += is_right
                self.wrong += not is_right


def means_by(path: Path, x: np.ndarray) -> Callable[[], np.ndarray]:
    """Returns a function that asks an export, loaded here, for the means of q(z|x)."""
    encode = tf.saved_model.load(str(path)).signatures["encode"]
    (name,) = encode.structured_input_signature[1]
    request = {name: tf.constant(x)}
    return lambda: encode(**request)["z_mean"].numpy()


def soak(settings: argparse.Namespace) -> dict[str, Any]:
    """Returns what this process holds after each cycle, and how its threads were answered."""
    signatures, threads = settings.signatures, settings.threads
    x = np.random.default_rng(0).integers(0, 2, (ROWS, stream.PIXELS)).astype("float32")
    batches = tf.data.Dataset.from_tensor_slices(x).batch(BATCH)
    vae = stream.make_vae(latents=2, hidden=16)
    vae.compile("adam", jit_compile=False)
    chosen = {} if signatures is None else {"signatures": signatures}
    notes, wrong = [], 0
    with tempfile.TemporaryDirectory() as folder:
        first, again = Path(folder, "first"), Path(folder, "again")
        vae.fit(x, batch_size=BATCH, verbose=0)
        vae.export(first, verbose=False, **chosen)
        answers = Answers(means_by(first, x[:8]))
        with answers.asked_by(threads):
            start = time.perf_counter()
            for _ in tqdm(range(settings.cycles), desc="soaking", unit=" cycles"):
                vae.fit(x, batch_size=BATCH, verbose=0)
                vae.evaluate(batches, verbose=0)
                vae.export(again, verbose=False, **chosen)
                difference = means_by(again, x[:8])() - vae.encode(x[:8]).mean().numpy()
                wrong += not np.max(np.abs(difference)) < 1e-5
                notes.append({**held(), "seconds": time.perf_counter() - start})
                notes[-1]["answers"] = answers.right
                if settings.minutes and notes[-1]["seconds"] >= 60 * settings.minutes:
                    break
    return {
        "cycles": notes,
        "threads": threads,
        "wrong_exports": wrong,
        "wrong_answers": answers.wrong,
        "kilobytes_per_cycle": growth([note["megabytes"] for note in notes]),
    }


def growth(megabytes: Sequence[float]) -> float:
    """Returns the kilobytes that each cycle of the second half adds, the slope of a line."""
    half = megabytes[len(megabytes) // 2 :]
    return 1024 * float(np.polyfit(range(len(half)), half, 1)[0]) if len(half) > 1 else 0.0


def survive(kills: int, kinds: Sequence[str]) -> list[dict[str, Any]]:
    """Returns what runs came to that were killed so often, for each kind of data."""
    found = []
    for kind in tqdm(kinds, desc="killing", unit=" runs"):
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "tests.callbacks.runs", folder, str(kills), kind]
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
            run = subprocess.run(
                command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False
            )
        if run.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{run.stderr[-2000:]}")
        told = json.loads(run.stdout.splitlines()[-1])
        unbroken, killed = told["found"]
        found.append(
            {
                "kind": kind,
                "kills": told["kills"],
                "is_equal": unbroken == killed,
                "seconds": time.perf_counter() - start,
            }
        )
    return found


def shown(num_cycles: int) -> list[int]:
    """Returns the cycles to print, from 1: the first, the last, and some between."""
    return sorted({round(cycle) for cycle in np.linspace(1, num_cycles, SHOWN)})


def table_of_cycles(result: dict[str, Any]) -> Table:
    """Returns the table of what a process holds."""
    table = Table(title="Fit, evaluate, export, load", box=box.SIMPLE_HEAD, padding=(0, 1))
    for name in ("cycle", "MB", "open files", "threads", "answers", "minutes"):
        table.add_column(name, justify="right", no_wrap=True)
    for cycle in shown(len(result["cycles"])):
        note = result["cycles"][cycle - 1]
        table.add_row(
            f"{cycle:,}",
            f"{note['megabytes']:.1f}",
            *(f"{note[name]:,}" for name in ("files", "threads", "answers")),
            f"{note['seconds'] / 60:.1f}",
        )
    return table


def table_of_kills(runs: Sequence[dict[str, Any]]) -> Table:
    """Returns the table of runs that were killed."""
    table = Table(title="Killed and started again", box=box.SIMPLE_HEAD, padding=(0, 1))
    for name in ("trained on", "kills", "at the end", "minutes"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in runs:
        end = "equal to the bit" if run["is_equal"] else "DIFFERS"
        table.add_row(run["kind"], f"{run['kills']:,}", end, f"{run['seconds'] / 60:.1f}")
    return table


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Soaks, kills, prints the tables, and returns the result."""
    parser = paired.parser_of(__doc__)
    add = parser.add_argument
    add("--cycles", type=paired.positive, help="of fit, evaluate, export and load")
    add("--minutes", type=float, help="after which no cycle begins")
    add("--kills", type=paired.positive, help="of a run of training, for each kind of data")
    add("--kinds", nargs="+", choices=KINDS, default=KINDS, help="of data, where a run is killed")
    add("--threads", type=paired.positive, default=4, help="that ask an export meanwhile")
    add("--signatures", nargs="+", help="of the exports, encode among them; the standard ones")
    settings = parser.parse_args(arguments)
    if not (settings.cycles or settings.kills):
        parser.error("ask for `--cycles`, `--kills` or both")
    result: dict[str, Any] = {"machine": paired.describe_machine()}
    if settings.cycles:
        result["soak"] = found = soak(settings)
        paired.print_table(table_of_cycles(found))
        print(f"each cycle of the second half adds {found['kilobytes_per_cycle']:+.1f} KB")
        print(f"wrong: {found['wrong_answers']} answers, {found['wrong_exports']} exports")
    if settings.kills:
        result["kills"] = survive(settings.kills, settings.kinds)
        paired.print_table(table_of_kills(result["kills"]))
    if settings.output:
        settings.output.write_text(json.dumps(result, indent=2) + "\n")
    return result


if __name__ == "__main__":
    main()
