"""What models are evaluated on, read in chunks, under a progress bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from tfvae._words import kind_of
from tfvae.data.chunks import Chunks
from tfvae.models import LatentVariableModel
from tfvae.training.guard import check_finite

__all__ = ["Stream", "check_model", "first_rows", "progress"]


class Stream(Chunks):
    """The chunks of data that a model is evaluated on.

    Args:
        model: The model, which checks the values of each chunk.
        data: As in `Chunks`.
        batch_size: As in `Chunks`.

    Raises:
        TypeError: `model` is no latent variable model, or `data` has none of these forms.
        ValueError: The data is not what `Chunks` takes, or a weight of the model is not finite.
    """

    def __init__(self, model: LatentVariableModel, data: Any, batch_size: int) -> None:
        check_model(model)
        super().__init__(model, data, batch_size)
        if model.built:
            check_finite(model, "Scores")


def check_model(model: Any) -> None:
    """Checks that a model is one that can be evaluated.

    Raises:
        TypeError: It is no latent variable model.
    """
    if not isinstance(model, LatentVariableModel):
        raise TypeError(
            f"`model` must be a model of `tfvae`, such as a `tfvae.VAE`. Received: {kind_of(model)}"
        )


def first_rows(model: LatentVariableModel, data: Any, number: int) -> dict[str, np.ndarray]:
    """Returns the first so many rows of data, or all there are, as parts by name.

    Args:
        model: Says what the parts are.
        data: In any form that `fit` takes, a single batch among them.
        number: The most rows.

    Raises:
        ValueError: There is none.

    Example:
        >>> from tfvae.demo import vae, x
        >>> from tfvae.evaluation.streaming import first_rows
        >>> first_rows(vae, x, 3)["x"].shape
        (3, 8, 8, 1)
    """
    if isinstance(data, tuple):
        data = keras.utils.unpack_x_y_sample_weight(data)[0]
    if isinstance(data, Mapping) or hasattr(data, "__array__"):
        rows = {name: np.asarray(part)[:number] for name, part in model.data.named(data).items()}
        if not all(len(part) for part in rows.values() if part.ndim):
            raise ValueError("`data` is empty. Expected at least one example. Received: no rows.")
        return rows
    chunks: list[dict[str, Any]] = []
    for batch, count in Stream(model, data, number):
        chunks.append({n: np.asarray(p)[:count] for n, p in model.data.as_parts(batch).items()})
        number -= count
        if number <= 0:
            break
    rows = len(next(iter(chunks[-1].values()))) + min(number, 0)
    chunks[-1] = {name: part[:rows] for name, part in chunks[-1].items()}
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def progress(total: int | None, description: str, verbose: bool, *, unit: str = "points") -> tqdm:
    """Returns a progress bar on standard error, with the time left, that appears after two seconds.

    Args:
        total: How much there is to do, None where nobody knows.
        description: What is done.
        verbose: False shows nothing.
        unit: What is counted.
    """
    return tqdm(
        total=total,
        desc=description,
        unit=f" {unit}",
        unit_scale=unit == "draws",
        delay=2.0,
        leave=False,
        disable=not verbose,
    )
