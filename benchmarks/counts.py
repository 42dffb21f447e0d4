"""Held-out log-likelihood of a cell's counts: scvi-tools' SCVI beside the VAE of `counts.py`.

The same synthetic cells (`examples/counts.py`) are split into the same three parts. Each model has
negative binomials, as many latents and hidden units, knows the total of each cell, and is trained
by its own recipe: SCVI with the defaults of `train(early_stopping=True)`, ours as the example does.
Each is scored by its own estimate of log p(x), by importance sampling with as many draws. Models
and seeds have processes of their own. Differences are paired over cells, errors cover cells and
seeds. Run it, with scvi-tools installed beside, as

    python benchmarks/counts.py
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paired
from rich import box
from rich.table import Table

EXAMPLE = Path(__file__).parents[1] / "examples" / "counts.py"


def example() -> Any:
    """Returns the example as a module."""
    sys.path.insert(0, str(EXAMPLE.parent))
    spec = importlib.util.spec_from_file_location("counts_example", EXAMPLE)
    module: Any = importlib.util.module_from_spec(spec)  # pyright: ignore
    spec.loader.exec_module(module)  # pyright: ignore
    return module


def write_cells(num: int, path: Path) -> None:
    """Writes counts and logarithms of totals of cells to train on, to stop by, and held out."""
    held_out = num // 4
    counts, totals, _ = example().draw_cells(num + 2 * held_out)
    np.savez(path, counts=counts, totals=totals, bounds=[num, num + held_out])


def read_cells(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns counts and logarithms of totals of the three parts."""
    cells = np.load(path)
    parts = (np.split(cells[name], cells["bounds"]) for name in ("counts", "totals"))
    return list(zip(*parts, strict=True))


def of_tfvae(seed: int, settings: argparse.Namespace) -> list[float]:
    """Returns log p(x) of each held-out cell by the VAE of the example."""
    import keras

    import tfvae

    cells = read_cells(settings.data)
    data = [{"x": x, "context": totals} for x, totals in cells]
    vae = example().build_vae("negative", *cells[0], settings.hidden, seed)
    vae.compile(keras.optimizers.Adam(3e-3), jit_compile=False)
    vae.fit(
        data[0],
        epochs=settings.epochs,
        batch_size=50,
        validation_data=(data[1],),
        callbacks=[tfvae.callbacks.EarlyStopping(patience=10)],
        verbose=0,
    )
    found = tfvae.log_likelihood(vae, data[2], settings.num_samples, verbose=False)
    return found.per_point.astype("float64").tolist()


def of_scvi(seed: int, settings: argparse.Namespace) -> list[float]:
    """Returns log p(x) of each held-out cell by SCVI."""
    import anndata
    import scvi

    # TensorFlow and PyTorch may bring a process down that imports both.
    counts = [x for x, _ in read_cells(settings.data)]
    scvi.settings.seed = seed
    known, held_out = (anndata.AnnData(x) for x in (np.concatenate(counts[:2]), counts[2]))
    scvi.model.SCVI.setup_anndata(known)
    model = scvi.model.SCVI(
        known,
        n_latent=settings.latents,
        n_hidden=settings.hidden,
        n_layers=1,
        gene_likelihood="nb",
    )
    model.train(
        max_epochs=settings.epochs_of_scvi,
        early_stopping=True,
        train_size=len(counts[0]) / len(known),
        validation_size=len(counts[1]) / len(known),
        shuffle_set_split=False,
        accelerator="cpu",
        enable_progress_bar=False,
    )
    scores = model.get_marginal_ll(held_out, n_mc_samples=settings.num_samples, return_mean=False)
    return np.asarray(scores, np.float64).tolist()


MODELS: dict[str, Callable[[int, argparse.Namespace], list[float]]] = {
    "tfvae": of_tfvae,
    "scvi": of_scvi,
}


def summary(scores: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Returns means over seeds and cells `[S, N]`, and differences from the first."""
    from tfvae.evaluation import Estimate

    first, *others = scores
    found = {first: {"log_p_x": float(np.mean(scores[first]))}}
    for name in others:
        gain = Estimate.of_seeds(scores[first] - scores[name])
        found[name] = {
            "log_p_x": float(np.mean(scores[name])),
            "less": gain.mean,
            "standard_error": gain.standard_error,
        }
    return found


def to_table(result: dict[str, Any]) -> Table:
    """Returns the table of the result."""
    table = Table(title="Held-out log p(x) of a cell, nats", box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("model", no_wrap=True)
    for name in ("log p(x)", "tfvae has more", "± s.e."):
        table.add_column(name, justify="right", no_wrap=True)
    for name, row in result["models"].items():
        more = [f"{row[key]:.2f}" if key in row else "" for key in ("less", "standard_error")]
        table.add_row(name, f"{row['log_p_x']:.2f}", *more)
    return table


def main(arguments: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Measures, prints the table, and returns the result."""
    parser = paired.parser_of(__doc__)
    add = parser.add_argument
    add("--cells", type=int, default=1000, help="to train on; a quarter more each to hold out")
    add("--epochs", type=int, default=100, help="most epochs of ours")
    add("--epochs-of-scvi", type=int, default=400, help="most epochs of SCVI")
    add("--hidden", type=int, default=64, help="units of the hidden layers")
    add("--num-samples", type=int, default=1000, help="draws per cell for log p(x)")
    add("--seeds", type=int, default=3, help="trainings of each")
    add("--only", nargs="*", choices=list(MODELS), help="models")
    add("--latents", type=int, default=4, help="of SCVI; those of ours are the example's, 4")
    add("--case", help="prints what one model says of each cell, as name:seed")
    add("--data", type=Path, help="file of the cells, for `--case`")
    settings = parser.parse_args(arguments)
    if settings.case:
        name, seed = settings.case.split(":")
        print("\n" + json.dumps(MODELS[name](int(seed), settings)))
        return None
    import steps  # which imports TensorFlow

    names = [name for name in MODELS if not settings.only or name in settings.only]
    names = [name for name in names if paired.installed(["scvi"]) or name != "scvi"]
    options = ("epochs", "epochs_of_scvi", "hidden", "num_samples", "latents")
    keys = [f"{name}:{seed}" for name in names for seed in range(settings.seeds)]
    with tempfile.TemporaryDirectory() as folder:
        settings.data = Path(folder) / "cells.npz"
        write_cells(settings.cells, settings.data)
        sizes = [*paired.as_options(settings, options), f"--data={settings.data}"]
        found = steps.of_each_alone(__file__, keys, sizes, option="--case")
    settings.data = None
    scores = {
        name: np.array([found[f"{name}:{seed}"] for seed in range(settings.seeds)])
        for name in names
    }
    result = {**paired.circumstances(settings), "models": summary(scores)}
    paired.print_table(to_table(result))
    return paired.written(result, settings)


if __name__ == "__main__":
    main()
