"""How much memory does training on two million rows take, and what does a cut run lose?

Rows of 32 numbers, drawn from a Gaussian with a low-rank covariance whose log p(x) is known, are
written to a temporary folder in chunks. The same VAE then trains on all of them once, in batches of
1,000, by each of three ways to read them:

    records   20 files of TFRecord, in an order that is drawn, four open at a time, then a
              `shuffle` among 20,000 rows: `tfvae.data.keyed_passes`
    mapped    one `.npy` file, memory-mapped; each batch is of rows from anywhere in it, by
              `tfvae.data.shuffled_rows`, which holds no order
    memory    the same array, read into memory: what the others are compared with

The memory is what the process holds for itself, beyond what it held before, after a tenth of the
pass and at most; pages of a mapped file belong to the system, which takes them back for others. Of
the ELBO of held-out rows it says how far it is below their log p(x). The picture shows the memory
over the pass.

Then a run on the mapped file is cut, and gone on with by a model that is made anew, from what
`tfvae.callbacks.Checkpoint` kept: with the place in the stream, so that nothing is read again.
Its weights are compared with those of the run that was not cut, bit by bit.

    python examples/larger_than_memory.py
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import _quiet  # noqa: F401  # before all that imports TensorFlow

# isort: split
import keras
import numpy as np
import tensorflow as tf

import tfvae
from tfvae import layers, networks
from tfvae.data import keyed_passes, shuffled_rows
from tfvae.evaluation import render_table

SIZE, FACTORS, NOISE = 32, 4, 0.5
FILES, CHUNK, HELD = 20, 50_000, 20_000


def drawn(num_rows: int, seed: int) -> Iterator[np.ndarray]:
    """Yields rows `[..., 32]` of x = A z + noise, a chunk at a time."""
    rng, factors = np.random.default_rng(seed), loadings()
    for start in range(0, num_rows, CHUNK):
        size = min(CHUNK, num_rows - start)
        z = rng.standard_normal((size, FACTORS), "float32")
        yield z @ factors + NOISE * rng.standard_normal((size, SIZE), "float32")


def loadings() -> np.ndarray:
    """Returns A `[4, 32]`."""
    return np.random.default_rng(0).standard_normal((FACTORS, SIZE), "float32")


def log_p(x: np.ndarray) -> float:
    """Returns the mean of log p(x) under what the rows were drawn from, nats."""
    factors = loadings().astype("float64")
    covariance = factors.T @ factors + NOISE**2 * np.eye(SIZE)
    squares = np.sum(x * np.linalg.solve(covariance, x.T).T, axis=-1)
    log_volume = np.linalg.slogdet(2.0 * np.pi * covariance)[1]
    return float(-0.5 * (np.mean(squares) + log_volume))


def write(folder: Path, num_rows: int) -> None:
    """Writes the rows twice, as one `.npy` file and as records, and holds a chunk of them."""
    shape = (num_rows, SIZE)
    whole = np.lib.format.open_memmap(folder / "rows.npy", "w+", "float32", shape)
    per_file, row = -(-num_rows // FILES), 0
    file = None
    for chunk in drawn(num_rows, seed=1):
        whole[row : row + len(chunk)] = chunk
        for record in chunk:
            if row % per_file == 0:
                if file is not None:
                    file.close()
                file = tf.io.TFRecordWriter(str(folder / f"{row // per_file:02d}.tfrecord"))
            file.write(record.tobytes())
            row += 1
    file.close()
    whole.flush()


def records(folder: Path, batch: int, num_rows: int) -> tf.data.Dataset:
    """Returns batches from the files of records, which come in a new order in each pass."""
    paths = tf.constant(sorted(map(str, folder.glob("*.tfrecord"))))

    def one_pass(key: Any) -> tf.data.Dataset:
        files = tf.random.experimental.stateless_shuffle(paths, key)
        files = tf.data.Dataset.from_tensor_slices(files)
        return files.interleave(tf.data.TFRecordDataset, cycle_length=4).shuffle(HELD, seed=key[0])

    batches = keyed_passes(one_pass, seed=0).batch(batch).map(of_records).prefetch(4)
    return batches.apply(tf.data.experimental.assert_cardinality(-(-num_rows // batch)))


def of_records(records: Any) -> Any:
    """Returns rows `[B, 32]` of the bytes of each."""
    return tf.reshape(tf.io.decode_raw(records, tf.float32), [-1, SIZE])


def mapped(folder: Path, batch: int, num_rows: int) -> tf.data.Dataset:
    """Returns batches from the one file, of rows from anywhere in it."""
    rows = np.load(folder / "rows.npy", mmap_mode="r")

    def read(numbers: Any) -> Any:
        found = tf.numpy_function(lambda wanted: rows[wanted], [numbers], tf.float32)
        return tf.ensure_shape(found, [None, SIZE])

    return shuffled_rows(num_rows, batch, seed=0).map(read).prefetch(4)


def memory(folder: Path, batch: int, num_rows: int) -> np.ndarray:
    """Returns the whole array."""
    return np.load(folder / "rows.npy")


WAYS: dict[str, Callable[[Path, int, int], Any]] = {
    "records": records,
    "mapped": mapped,
    "memory": memory,
}


def held() -> float:
    """Returns the megabytes that this process holds for itself, where Linux says so, or NaN."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    found = [int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")]
    return found[0] if found else float("nan")


def settle() -> float:
    """Has what is free given back, and returns what is held."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    return held()


class Cut(Exception):
    """Stands for what ends a process."""


class Noting(keras.callbacks.Callback):
    """Notes what is held, and may cut a run."""

    hears_calls = True  # Of several steps, too.

    def __init__(self, before: float, end: int | None = None) -> None:
        super().__init__()
        self.before, self.end = before, end
        self.steps: list[int] = []
        self.grown: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Is told of each call."""
        self.steps.append(batch + 1)
        self.grown.append(held() - self.before)
        if self.end is not None and batch >= self.end:
            raise Cut


def make() -> tfvae.VAE:
    """Returns the model."""
    keras.utils.set_random_seed(0)
    posterior, likelihood = layers.MultivariateNormalDiag(FACTORS), layers.IndependentNormal(SIZE)
    encoder = networks.functional(
        {"x": SIZE}, keras.layers.Dense(64, "relu"), keras.layers.Dense(2 * FACTORS), posterior
    )
    decoder = networks.functional(
        {"z": FACTORS}, keras.layers.Dense(64, "relu"), keras.layers.Dense(2 * SIZE), likelihood
    )
    vae = tfvae.VAE(encoder, decoder, seed=0)
    vae.compile(keras.optimizers.Adam(3e-3), jit_compile=False)
    return vae


def train(data: Any, before: float, options: Any, kept: Any = (), end: Any = None) -> Any:
    """Returns a model after a pass over data, perhaps cut, and what was noted meanwhile."""
    vae, noting = make(), Noting(before, end)
    sizes = {} if isinstance(data, tf.data.Dataset) else {"batch_size": options.batch}
    with contextlib.suppress(Cut):
        vae.fit(data, **sizes, verbose=0, callbacks=[*kept, noting])
    return vae, noting


def differing(one: tfvae.VAE, other: tfvae.VAE) -> int:
    """Returns how many numbers in the weights of two models are not the same."""
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return sum(int(np.sum(a != b)) for a, b in pairs)


def draw(notes: dict[str, Noting], megabytes: float, batch: int, path: Path) -> None:
    """Writes the picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 3.0), layout="constrained")
    axes = figure.subplots()
    for (way, noting), colour in zip(notes.items(), ("#1f4e79", "#b03a10", "#777777"), strict=True):
        rows = np.array(noting.steps) * batch / 1e6
        axes.plot(rows, noting.grown, color=colour, linewidth=1.2, label=way)
    axes.axhline(megabytes, color="black", linewidth=0.8, linestyle=":", label="the file")
    axes.set_xlabel("rows read, millions")
    axes.set_ylabel("memory beyond that of before, MB")
    axes.legend(frameon=False, fontsize=8, loc="upper right", bbox_to_anchor=(1.0, 0.9))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description="Train on rows that stay in their files.")
    add = parser.add_argument
    add("--rows", type=int, default=2_000_000, help="rows to write, and to train on")
    add("--batch", type=int, default=1000, help="rows of a batch")
    add("--output", type=Path, default=Path("outputs/larger_than_memory"), help="of the picture")
    return parser.parse_args(arguments)


def compare(folder: Path, options: Any) -> tfvae.VAE:
    """Trains in all ways, prints and draws what each takes; returns the model of "mapped"."""
    held_out = next(drawn(10_000, seed=2))
    exact, megabytes = log_p(held_out), (folder / "rows.npy").stat().st_size / 2**20
    # What TensorFlow makes once for all is no part of what reading takes.
    train(next(drawn(2 * options.batch, seed=3)), 0.0, options)
    rows, notes, vaes = [], {}, {}
    for way, read in WAYS.items():
        before, start = settle(), time.perf_counter()
        data = read(folder, options.batch, options.rows)
        vaes[way], notes[way] = train(data, before, options)
        seconds = time.perf_counter() - start
        del data
        elbo = float(np.mean(vaes[way].terms(held_out, 10, seed=0).elbo))
        grown = notes[way].grown
        cells = [f"{value:+.0f}" for value in (grown[len(grown) // 10], max(grown))]
        rows.append([way, *cells, f"{options.rows / seconds:,.0f}", f"{exact - elbo:.2f}"])
    title = f"{options.rows:,} rows of {SIZE} numbers, {megabytes:.0f} MB, read once"
    heads = ["read from", "MB after 10 %", "most MB", "rows/s", "log p(x) - ELBO"]
    print(render_table(title, heads, rows))
    draw(notes, megabytes, options.batch, options.output / "memory.png")
    return vaes["mapped"]


def cut_and_go_on(folder: Path, options: Any) -> tuple[tfvae.VAE, int, int]:
    """Returns the model of two runs, after which batch one was cut, and the other went on."""
    steps = -(-options.rows // options.batch)

    def run(end: int | None = None) -> tuple[tfvae.VAE, Noting]:
        kept = tfvae.callbacks.Checkpoint(
            folder / "run.tfvae", updates=max(steps // 5, 1), keep_stream=True
        )
        data = mapped(folder, options.batch, options.rows)
        return train(data, held(), options, [kept], end)

    _, first = run(end=int(0.7 * steps))
    vae, second = run()
    return vae, first.steps[-1], second.steps[0]


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the example."""
    options = parse(sys.argv[1:] if argv is None else list(argv))
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder, before = Path(name), settle()
        write(folder, options.rows)
        print(f"writing: {settle() - before:+.0f} MB of memory", file=sys.stderr)
        whole = compare(folder, options)
        vae, last, first = cut_and_go_on(folder, options)
    numbers = sum(weight.size for weight in whole.get_weights())
    print(f"a run that was cut after batch {last:,} went on, and told of batch {first:,} next:")
    print(f"{differing(whole, vae)} of {numbers:,} weights differ from those of the whole run")
    print(f"Memory over the pass: {options.output / 'memory.png'}")


if __name__ == "__main__":
    main()
