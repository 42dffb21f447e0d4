"""Where exports go: folders of this machine."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["local_target"]


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
