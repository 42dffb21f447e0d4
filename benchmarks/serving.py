"""How fast does an export answer: one row at a time, and many at once?

The decoder of a VAE of 784 binary pixels is asked for means of p(x|z), in one process and in turns:

- `served`: signature `decode` of the SavedModel, with all checks;
- `bare`: a `tf.function` of the same products, which checks nothing;
- `predict`: `keras.Model.predict` of the same layers;
- `torch`: the same layers in PyTorch under `torch.inference_mode`, where it is installed;

and `generate` with one seed for all rows beside a seed for each. Latencies are those of single
requests, by their median and their 99th percentile; ratios are taken within a round. Last come the
seconds from nothing to the first answer, in a process of its own, and the size of the files.

    python benchmarks/serving.py --output benchmarks/results/serving.json
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import paired
import steps
import tensorflow as tf
from rich import box
from rich.table import Table
from tqdm import tqdm

Ask = Callable[[], Any]

COLD = """
import sys, time
start = time.perf_counter()
import tensorflow as tf
imported = time.perf_counter()
decode = tf.saved_model.load(sys.argv[1]).signatures["decode"]
loaded = time.perf_counter()
decode(z=tf.zeros([1, int(sys.argv[2])]))["x_mean"].numpy()
answered = time.perf_counter()
print(imported - start, loaded - imported, answered - loaded)
"""


def weights_of(vae: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns kernels and biases of the decoder, in order."""
    arrays = vae.decoder.get_weights()
    return list(zip(arrays[::2], arrays[1::2], strict=True))


def bare(vae: Any) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the products of the decoder, and nothing else."""
    layers = [(tf.Variable(kernel), tf.Variable(bias)) for kernel, bias in weights_of(vae)]

    @tf.function(input_signature=[tf.TensorSpec([None, layers[0][0].shape[0]])], autograph=False)
    def decode(z: tf.Tensor) -> tf.Tensor:
        for kernel, bias in layers[:-1]:
            z = tf.nn.relu(tf.matmul(z, kernel) + bias)
        return tf.sigmoid(tf.matmul(z, layers[-1][0]) + layers[-1][1])

    return decode


def stock(vae: Any) -> keras.Model:
    """Returns the decoder as a stock Keras model."""
    found = weights_of(vae)
    dense = [keras.layers.Dense(len(bias), "relu") for _, bias in found[:-1]]
    dense.append(keras.layers.Dense(len(found[-1][1]), "sigmoid"))
    model = keras.Sequential([keras.Input((len(found[0][0]),)), *dense])
    model.set_weights([array for layer in found for array in layer])
    return model


def in_torch(vae: Any) -> Callable[[np.ndarray], np.ndarray] | None:
    """Returns the decoder in PyTorch, None where that is not installed."""
    try:
        import torch
    except ImportError:
        return None
    layers: list[Any] = []
    for kernel, bias in weights_of(vae):
        linear = torch.nn.Linear(*kernel.shape)
        linear.weight.data = torch.from_numpy(kernel.T.copy())
        linear.bias.data = torch.from_numpy(bias)
        layers += [linear, torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers[:-1], torch.nn.Sigmoid()).eval()

    def decode(z: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(z)).numpy()

    return decode


def contenders(vae: Any, folder: Path, batch: int) -> dict[str, Ask]:
    """Returns by name what asks for the means of one batch, as arrays, and waits for them."""
    z = np.random.default_rng(0).normal(size=(batch, vae.latent_shape[0])).astype("float32")
    served, plain = tf.saved_model.load(str(folder)).signatures["decode"], bare(vae)
    model, torch = stock(vae), in_torch(vae)
    found: dict[str, Ask] = {
        "served": lambda: served(z=tf.constant(z))["x_mean"].numpy(),
        "bare": lambda: plain(tf.constant(z)).numpy(),
        "predict": lambda: model.predict(z, batch_size=batch, verbose=0),
    }
    if torch is not None:
        found["torch"] = lambda: torch(z)
    expected = found["bare"]()
    for name, ask in found.items():
        np.testing.assert_allclose(ask(), expected, atol=1e-5, err_msg=name)
    return found


def draws(folder: Path, batch: int) -> dict[str, Ask]:
    """Returns the same for draws of new data, with a seed for all rows and one for each."""
    generate = tf.saved_model.load(str(folder)).signatures["generate"]
    seeds = tf.reshape(tf.range(2 * batch), [batch, 2])
    one, all_rows = tf.constant(1), tf.constant(batch)
    return {
        "one seed": lambda: generate(num_samples=all_rows, seed=seeds[0])["x"].numpy(),
        "a seed each": lambda: generate(num_samples=one, seed=seeds)["x"].numpy(),
    }


def latencies(asks: Mapping[str, Ask], rounds: int, calls: int, of: str) -> dict[str, Any]:
    """Returns by name the seconds of single requests, and the ratio of `of` to each.

    Args:
        asks: By name, one request.
        rounds: Turns of each.
        calls: Requests of a turn.
        of: Whose speed is compared with that of the others, within each round.
    """
    seconds: dict[str, list[list[float]]] = {name: [] for name in asks}
    for ask in asks.values():
        ask()
    names = list(asks)
    for index in tqdm(range(rounds), desc="taking turns", unit=" rounds"):
        # None always comes after the same one.
        for name in names[index % len(names) :] + names[: index % len(names)]:
            turn = []
            for _ in range(calls):
                start = time.perf_counter()
                asks[name]()
                turn.append(time.perf_counter() - start)
            seconds[name].append(turn)
    result = {}
    medians = {name: [float(np.median(turn)) for turn in turns] for name, turns in seconds.items()}
    ratios = paired.ratios(medians, of)
    for name, turns in seconds.items():
        p50, p99 = np.quantile(np.concatenate(turns), [0.5, 0.99])
        result[name] = {"p50_ms": 1e3 * float(p50), "p99_ms": 1e3 * float(p99)}
        if name in ratios:
            result[name][f"{of} is faster by"] = ratios[name]
    return result


def cold_start(folder: Path, latents: int) -> dict[str, float]:
    """Returns the seconds of a new process: to import TensorFlow, to load, to the first answer."""
    command = [sys.executable, "-c", COLD, str(folder), str(latents)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    names = ("import_s", "load_s", "first_answer_s")
    return dict(zip(names, map(float, done.stdout.split()), strict=True))


def size_of(folder: Path) -> dict[str, int]:
    """Returns the bytes of graph and weights."""
    graph = (folder / "saved_model.pb").stat().st_size
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {"graph_bytes": graph, "all_bytes": total}


def measure(settings: argparse.Namespace) -> dict[str, Any]:
    """Returns all figures; the machine is looked at before the first turn."""
    machine = paired.describe_machine()
    vae = steps.make_vae(latents=settings.latents, hidden=settings.hidden)
    vae.build((None, steps.PIXELS))
    cases: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "1"
        vae.export(folder, verbose=False)
        for batch in settings.batches:
            asks = contenders(vae, folder, batch)
            found = latencies(asks, settings.rounds, settings.calls, "served")
            cases[f"decode, {batch} rows"] = {"batch": batch, "contenders": found}
        batch = max(settings.batches)
        found = latencies(draws(folder, batch), settings.rounds, settings.calls, "one seed")
        cases[f"generate, {batch} rows"] = {"batch": batch, "contenders": found}
        return {
            "machine": machine,
            "versions": paired.installed(["tfvae", "tensorflow", "keras", "torch", "numpy"]),
            "settings": {k: v for k, v in vars(settings).items() if k not in ("output", "anyway")},
            "cases": cases,
            "cold start": cold_start(folder, settings.latents),
            "size": size_of(folder),
        }


def to_table(name: str, case: Mapping[str, Any]) -> Table:
    """Returns the table of one case."""
    table = Table(title=name, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("contender", no_wrap=True)
    for column in ("p50 ms", "p99 ms", "rows/s", "takes as long", "min - max"):
        table.add_column(column, justify="right", no_wrap=True)
    for contender, row in case["contenders"].items():
        ratio = next((value for key, value in row.items() if key.endswith("faster by")), None)
        table.add_row(
            contender,
            f"{row['p50_ms']:.3f}",
            f"{row['p99_ms']:.3f}",
            f"{1e3 * case['batch'] / row['p50_ms']:,.0f}",
            f"{ratio['median']:.2f}x" if ratio else "",
            f"{ratio['min']:.2f} - {ratio['max']:.2f}" if ratio else "",
        )
    return table


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measures, prints the tables, and returns the result."""
    parser = paired.parser_of(__doc__)
    add = parser.add_argument
    add("--batches", type=int, nargs="+", default=[1, 64, 1024], help="rows of a request")
    add("--rounds", type=int, default=10, help="turns of each contender")
    add("--calls", type=int, default=100, help="requests of a turn")
    add("--latents", type=int, default=40)
    add("--hidden", type=int, default=300)
    add("--anyway", action="store_true", help="write figures of a busy machine too")
    settings = parser.parse_args(arguments)
    result = measure(settings)
    for name, case in result["cases"].items():
        paired.print_table(to_table(name, case))
    cold, size = result["cold start"], result["size"]
    print(
        f"From nothing: import {cold['import_s']:.1f} s, load {cold['load_s']:.2f} s, first answer "
        f"{1e3 * cold['first_answer_s']:.0f} ms. Graph {size['graph_bytes'] / 1e6:.2f} MB of "
        f"{size['all_bytes'] / 1e6:.2f} MB."
    )
    if settings.output:
        paired.keep(result, settings.output, anyway=settings.anyway)
    return result


if __name__ == "__main__":
    main()
