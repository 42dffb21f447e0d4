"""One check, on import, that the stack below is one that this package works on."""

from __future__ import annotations

import importlib.metadata
import os
import re

__all__: list[str] = []

_MINIMUM = {"tensorflow": (2, 20), "keras": (3, 11), "tensorflow-probability": (0, 25)}


def _check_versions() -> None:
    for package, minimum in _MINIMUM.items():
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # A build under another name: the import says whether it is there.
        # Release candidates and development builds spell the second part in many ways.
        found = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
        if found < minimum:
            expected = ".".join(map(str, minimum))
            raise ImportError(
                f"tfvae needs {package} {expected} or newer. Received: {package} {version}. "
                f'Run `pip install --upgrade "{package}>={expected}"`.'
            )


def _check_backend() -> None:
    remedy = (
        "Set the environment variable KERAS_BACKEND=tensorflow before Keras is imported, or "
        '"backend" in ~/.keras/keras.json.'
    )
    try:
        import keras
    except ImportError as error:
        backend = os.environ.get("KERAS_BACKEND", "tensorflow")
        if backend == "tensorflow":
            raise
        raise ImportError(
            f"tfvae needs Keras on TensorFlow. Received: KERAS_BACKEND={backend}, "
            f"which cannot be imported. {remedy}"
        ) from error
    if keras.backend.backend() != "tensorflow":
        raise ImportError(
            f"tfvae needs Keras on TensorFlow. Received: Keras on {keras.backend.backend()}. "
            f"{remedy}"
        )


_check_versions()
_check_backend()
