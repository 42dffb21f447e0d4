"""What is exported, a built model, and where it goes, to folders of this machine."""

from __future__ import annotations

import os
from pathlib import Path

from tfvae._protocols import Served

__all__ = ["check_built", "local_target"]


def check_built(model: Served) -> None:
    """Checks that a model has weights.

    Raises:
        ValueError: It has none yet.
    """
    if not model.built:
        raise ValueError(
            "Only a built model can be exported. Build it, `model.build((None, *x.shape[1:]))`, "
            "or fit it."
        )


def local_target(filepath: str | Path) -> Path:
    """Returns the folder to write, with all links followed: it is renamed where it really is.

    Args:
        filepath: As the user gave it. `~` is the home folder.

    Raises:
        ValueError: It is empty, or elsewhere.
    """
    given = os.fspath(filepath)
    if not given:
        raise ValueError(
            "`filepath` must name the folder to write, such as 'saved_models/digits/1'. "
            f"Received: {filepath!r}"
        )
    if "://" in given:
        raise ValueError(
            "`filepath` must be a folder of a local file system: nothing can be renamed at once "
            f"elsewhere. Write to one, and copy it with `tf.io.gfile`. Received: {given}"
        )
    return Path(given).expanduser().resolve()
