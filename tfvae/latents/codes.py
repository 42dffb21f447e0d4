"""One vector of numbers for each point: the centre of its posterior."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tfvae._config import NUMBERS
from tfvae._words import kind_of
from tfvae.distributions.statistics import centre
from tfvae.evaluation.streaming import Stream
from tfvae.models import LatentVariableModel

__all__ = ["check_latents", "checked_codes", "checked_labels", "codes", "latent_names"]


def codes(
    model: LatentVariableModel, data: Any, *, node: str | None = None, batch_size: int = 1000
) -> np.ndarray:
    """Returns the centre of q(z|x) of each point, flat, `[N, K]`: what scores of z are taken of.

    That is the mean, of unordered categories the most probable one, and else a fixed draw.

    Args:
        model: Any model with latents.
        data: In any form that `fit` takes; a dict of `x` and `context` for a model with one.
        node: Of a model of several latent nodes, or levels, which; by default all, as one vector.
        batch_size: Points per batch, for arrays.

    Raises:
        TypeError: `model` is no latent variable model.
        ValueError: There is no such node, the model has no latents, or the data is not what it is
            for.

    Example:
        >>> from tfvae.demo import vae, x
        >>> tfvae.latents.codes(vae, x).shape
        (20, 2)
    """
    check_latents(model)
    chunks = []
    for batch, count in Stream(model, data, batch_size):
        z = centre(model.encode(**batch))[:count]
        if node is not None:
            parts = model.split(z) if len(model.graph.latents) > 1 else {}
            if node not in parts:
                raise ValueError(
                    "`node` must be a latent node, or level, of the model. Expected: "
                    f"{', '.join(parts) or 'none, for this model has but one'}. "
                    f"Received: node={node!r}"
                )
            z = parts[node]
        chunks.append(np.asarray(z, np.float64).reshape(count, -1))
    return np.concatenate(chunks)


def check_latents(model: LatentVariableModel) -> None:
    """Checks that a model has latents.

    Raises:
        TypeError: It is no latent variable model.
        ValueError: It has none.
    """
    if not isinstance(model, LatentVariableModel):
        raise TypeError(
            f"`model` must be a model of `tfvae`, such as a `tfvae.VAE`. Received: {kind_of(model)}"
        )
    if not model.graph.latents:
        raise ValueError(
            f"This model has no latents to look at: {type(model).__name__} describes x without any."
        )


def latent_names(model: LatentVariableModel) -> list[str]:
    """Returns a name for each dimension of z, flat: its number, with its node where it has several.

    Example:
        >>> from tfvae.demo import vae
        >>> from tfvae.latents.codes import latent_names
        >>> latent_names(vae)
        ['0', '1']
    """
    shapes = model.graph.latent_shapes
    numbered = {name: range(math.prod(shape)) for name, shape in shapes.items()}
    if len(shapes) == 1:
        return [str(index) for index in next(iter(numbered.values()))]
    return [f"{name}[{index}]" for name, indices in numbered.items() for index in indices]


def checked_codes(z: Any) -> np.ndarray:
    """Returns codes as finite float64 `[N, K]`.

    Raises:
        ValueError: They are not.
    """
    z = np.asarray(z, np.float64)
    if z.ndim != 2 or not z.size or not np.all(np.isfinite(z)):
        problem = f"shape {z.shape}" + (
            "" if z.ndim != 2 or not z.size else " with NaN or infinity"
        )
        raise ValueError(
            "`z` must be finite codes [N, K], such as `tfvae.latents.codes(model, x)`. "
            f"Received: {problem}"
        )
    return z


def checked_labels(labels: Any, size: int) -> np.ndarray:
    """Returns one label per point `[N]`: classes, or finite floats.

    Raises:
        ValueError: They are of another number, of several kinds, or not finite.
    """
    labels = np.asarray(labels)
    if labels.shape != (size,):
        raise ValueError(
            f"`labels` must hold one label per data point. Expected shape ({size},). "
            f"Received: {labels.shape}."
        )
    kinds = sorted({_kind_of_label(label) for label in labels.tolist()})
    if labels.dtype == object and kinds in (["number"], ["text"]):
        labels = np.array(labels.tolist())
    if len(kinds) > 1:
        raise ValueError(
            "`labels` must be of one kind, all text or all numbers. Received: "
            f"{', '.join(kinds)}. Name those that are missing: 'none', for one."
        )
    is_real = np.issubdtype(labels.dtype, np.floating)
    lost = int(np.sum(~np.isfinite(labels))) if is_real else 0
    if lost:
        raise ValueError(
            f"`labels` that are real numbers must be finite. Received: {lost} of {size} that are "
            "not. Leave these points out."
        )
    return labels


def _kind_of_label(label: Any) -> str:
    if isinstance(label, (str, bytes)):
        return "text"
    return "number" if isinstance(label, (bool, *NUMBERS)) else type(label).__name__
