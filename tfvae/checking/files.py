"""A rule about files: a model that is saved and loaded gives the same numbers."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfvae.checking.findings import Finding
from tfvae.checking.subject import Subject

__all__ = ["of_file"]


def of_file(subject: Subject) -> Iterator[Finding]:
    """Saves the model to a temporary file, loads it, and compares scores."""
    state = random.getstate()  # a model that is made draws seeds for weights that are then loaded
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.keras")
            subject.model.save(path)
            loaded: Any = keras.saving.load_model(path)
    except Exception as error:  # whatever it is: that the file is of no use is what is found
        yield Finding(
            "file",
            "fault",
            f"It cannot be saved and loaded: {str(error).splitlines()[0]:.200}",
            "Register classes and functions of your own: "
            "`keras.saving.register_keras_serializable()`, with `get_config`.",
        )
        return
    finally:
        random.setstate(state)
    own, again = subject.model.get_weights(), loaded.get_weights()
    same = len(own) == len(again) and all(map(np.array_equal, own, again))
    settings = {"num_samples": 2, "seed": subject.seed("file"), **subject.batch}
    scores = [model.terms(**settings).log_w for model in (subject.model, loaded)]
    if not same or not np.array_equal(*scores, equal_nan=True):
        what = "scores" if same else "weights"
        yield Finding(
            "file",
            "fault",
            f"After saving and loading the {what} are others.",
            "Make weights by `add_weight` in `build`, and store all arguments in `get_config`.",
        )
        return
    yield Finding("file", "ok", "Saved and loaded it gives the same numbers.")
