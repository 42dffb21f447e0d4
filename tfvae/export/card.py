"""The card of an exported model: what it is, what it takes, and how it was made, as JSON.

It lies in `assets.extra/model_card.json` of a SavedModel, where servers leave it alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._protocols import Served
from tfvae._version import __version__
from tfvae.export.portable import PORTABLE
from tfvae.graph.parts import CONTEXT

__all__ = ["EXTRA", "card_of", "own_files", "write_card"]

EXTRA = "assets.extra"
_CARD = "model_card.json"


def card_of(model: Served, traced: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is to be known of a model, in plain data.

    Args:
        model: A built model.
        traced: Its signatures, as graphs.

    Example:
        >>> from tfvae.demo import vae
        >>> from tfvae.export.card import card_of
        >>> card = card_of(vae, {})
        >>> card["data"]["x"]["likelihood"], card["latents"]["z"]["prior"]
        ('Bernoulli', 'StandardNormal')
    """
    return _plain(
        {
            "format": 1,
            "model": type(model).__name__,
            "name": getattr(model, "name", None),
            "versions": {
                "tfvae": __version__,
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
                "tensorflow-probability": tfp.__version__,
                "python": platform.python_version(),
            },
            "signatures": {name: _signature(name, each) for name, each in traced.items()},
            "data": {name: _data(model, name) for name in model.data.names},
            "context": model.data.context_shape and {"shape": model.data.context_shape},
            "latents": {name: _latent(model, name) for name in model.graph.latents},
            "training": _training(model),
        }
    )


def write_card(
    model: Served,
    traced: Mapping[str, Any],
    folder: Path,
    preprocessing: Mapping[str, Any] | None = None,
) -> None:
    """Writes the card of a model into its SavedModel, with what else lies in `assets.extra`.

    Args:
        model: A built model.
        traced: Its signatures, as graphs.
        folder: The SavedModel, which nobody reads yet.
        preprocessing: What is known of what comes before parts of the data, by name.
    """
    extra = folder / EXTRA
    extra.mkdir(exist_ok=True)
    files = {path.name: _digest(path) for path in sorted(extra.iterdir())}
    card = {**card_of(model, traced), "preprocessing": dict(preprocessing or {}), "files": files}
    (extra / _CARD).write_text(json.dumps(card, indent=2, allow_nan=False) + "\n")


def own_files(folder: Path) -> set[str]:
    """Returns the names of the files in `assets.extra` of a SavedModel that `write_card` knew.

    Files that somebody put there, or changed, are not among them.
    """
    try:
        files = json.loads((folder / EXTRA / _CARD).read_text())["files"]
        return {_CARD, *(n for n, digest in files.items() if _digest(folder / EXTRA / n) == digest)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _signature(name: str, traced: Any) -> dict[str, Any]:
    inputs = [
        {"name": spec.name, "dtype": spec.dtype.name, "shape": _shape(spec)}
        for spec in traced.structured_input_signature[0]
    ]
    outputs = {
        output: {"dtype": value.dtype.name, "shape": _shape(value)}
        for output, value in traced.structured_outputs.items()
    }
    return {"inputs": inputs, "outputs": outputs, "portable": name in PORTABLE}


def _shape(tensor: Any) -> list[int | None] | None:
    return None if tensor.shape.rank is None else tensor.shape.as_list()


def _data(model: Served, name: str) -> dict[str, Any]:
    support = dataclasses.asdict(model.data.supports[name])
    support.pop("remedy", None)
    found = {
        "shape": model.data.shapes[name],
        "likelihood": support.pop("likelihood"),
        "support": support,
        "always given": name in model.data.observed,
    }
    if name in model.graph.generative:
        found["reads"] = model.graph.generative[name].reads
    return found


def _latent(model: Served, name: str) -> dict[str, Any]:
    graph = model.graph
    return {
        "shape": graph.shapes[name],
        "prior": type(graph.generative[name].network).__name__,
        "prior family": graph.supports[name].likelihood,
        "prior reads": graph.generative[name].reads,
        "posterior reads": sorted({*graph.posterior.reads} & {*model.data.names, CONTEXT}),
    }


def _training(model: Any) -> dict[str, Any]:
    """Returns how a model was trained in this process, as far as it knows."""
    found: dict[str, Any] = {"compiled": bool(getattr(model, "compiled", False))}
    if not found["compiled"]:
        return found
    optimizer = getattr(model, "optimizer", None)
    history = getattr(getattr(model, "history", None), "history", {})
    return {
        **found,
        "objective": repr(getattr(model, "objective", None)),
        "scheme": repr(getattr(model, "scheme", None)),
        "optimizer": optimizer and type(optimizer).__name__,
        "steps": optimizer and int(np.asarray(optimizer.iterations)),
        "epochs": len(next(iter(history.values()), [])),
        "last epoch": {name: values[-1] for name, values in history.items() if values},
    }


def _plain(value: Any) -> Any:
    """Returns plain data that JSON holds: what is not finite as a word."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, (bool, str)):
        return value
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (int, float)) else str(value)
