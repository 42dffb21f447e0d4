"""What does a model leave behind in a process that is done with it?

Models of one shape are made, fitted for an epoch, evaluated and dropped, one after the other, as a
search over settings does. After each, Keras's session is cleared, garbage is collected and the
allocator gives back what is free; what the process has grown by since is what TensorFlow keeps for
good. Beside it stands the same without the last: what the process looks like from outside. Each
case has a process of its own. Run it as

    python benchmarks/memory.py
"""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import paired
import steps
from rich import box
from rich.table import Table

# Models before the first that counts: what they leave is made once for all.
_FIRST = 2


def fit_and_evaluate(model: Any, x: np.ndarray, *arguments: Any) -> None:
    """Takes an epoch of two batches, and scores them."""
    model.fit(x, *arguments, batch_size=len(x) // 2, verbose=0)
    model.evaluate(x, *arguments, batch_size=len(x) // 2, verbose=0)


def try_vae(settings: argparse.Namespace, x: np.ndarray, **compile_arguments: Any) -> None:
    """Makes a VAE, uses it and lets go of it."""
    vae = steps.make_vae(None, settings.latents, settings.hidden)
    vae.compile("adam", steps_per_execution=1, **compile_arguments)
    fit_and_evaluate(vae, x)


def try_keras(settings: argparse.Namespace, x: np.ndarray, **compile_arguments: Any) -> None:
    """Does the same with an autoencoder of stock Keras of the same sizes."""
    sizes = [settings.hidden] * 2
    model = keras.Sequential(
        [
            keras.Input((steps.PIXELS,)),
            *(keras.layers.Dense(size, "relu") for size in sizes),
            keras.layers.Dense(settings.latents),
            *(keras.layers.Dense(size, "relu") for size in sizes),
            keras.layers.Dense(steps.PIXELS, "sigmoid"),
        ]
    )
    model.compile("adam", loss="binary_crossentropy", **compile_arguments)
    fit_and_evaluate(model, x, x)


CASES: dict[str, Callable[[argparse.Namespace, np.ndarray], None]] = {
    "tfvae, XLA": lambda settings, x: try_vae(settings, x, jit_compile=True),
    "tfvae, jit_compile=False": lambda settings, x: try_vae(settings, x, jit_compile=False),
    "Keras, XLA": lambda settings, x: try_keras(settings, x, jit_compile=True),
    "Keras, jit_compile=False": lambda settings, x: try_keras(settings, x, jit_compile=False),
}


def left_behind(name: str, settings: argparse.Namespace) -> dict[str, float]:
    """Returns the megabytes that a model adds to this process: kept, and as seen from outside."""
    x = np.random.default_rng(0).integers(0, 2, (2 * settings.batch, steps.PIXELS))
    x = x.astype("float32")

    def dispose() -> None:
        keras.backend.clear_session()
        gc.collect()

    for _ in range(_FIRST):
        CASES[name](settings, x)
        dispose()
    start = steps.resident_megabytes()
    start_kept = steps.resident_megabytes(trim=True)
    for _ in range(settings.models):
        CASES[name](settings, x)
        dispose()
    seen = steps.resident_megabytes() - start
    kept = steps.resident_megabytes(trim=True) - start_kept
    return {"kept": kept / settings.models, "seen": seen / settings.models}


def to_table(result: dict[str, Any]) -> Table:
    """Returns the table of the result."""
    table = Table(
        title="What each model leaves in its process, MB", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("model fitted and evaluated", no_wrap=True)
    for name in ("kept", "seen", "kept by 300"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, row in result["cases"].items():
        table.add_row(name, f"{row['kept']:.1f}", f"{row['seen']:.1f}", f"{300 * row['kept']:,.0f}")
    return table


def main(arguments: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Measures, prints the table, and returns the result."""
    parser = paired.parser_of(__doc__)
    add = parser.add_argument
    add("--models", type=int, default=10, help="models of each case")
    add("--batch", type=int, default=100)
    add("--latents", type=int, default=40)
    add("--hidden", type=int, default=300)
    add("--only", nargs="*", help="names of cases")
    add("--case", help="prints what models of one case leave, and nothing else")
    settings = parser.parse_args(arguments)
    if settings.case:
        print(json.dumps(left_behind(settings.case, settings)))
        return None
    names = [name for name in CASES if not settings.only or name in settings.only]
    sizes = paired.as_options(settings, ("models", "batch", "latents", "hidden"))
    result = {
        **paired.circumstances(settings),
        "cases": steps.of_each_alone(__file__, names, sizes, option="--case"),
    }
    paired.print_table(to_table(result))
    return paired.written(result, settings)


if __name__ == "__main__":
    main()
