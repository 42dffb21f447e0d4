"""Rules about weights: which are numbers, which train, and what gradients say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae._typing import Tensor
from tfvae._words import some_of
from tfvae.checking.findings import Finding
from tfvae.checking.subject import Subject
from tfvae.training.weights import Weights

__all__ = ["of_gradients", "of_training"]


def of_training(subject: Subject) -> Iterator[Finding]:
    """Says which parts are frozen, and whether any weight is left that trains."""
    model, name = subject.model, "trained weights"
    frozen = [w.path for layer in _frozen(model) for w in layer.weights]
    if not model.trainable_weights:
        yield Finding(
            name,
            "fault",
            f"None of {len(model.weights)} weights trains: all parts are frozen, or have none.",
            "Set `trainable = True` on what is to learn, and call `compile` again.",
        )
    elif frozen:
        yield Finding(
            name,
            "note",
            f"Frozen: {some_of(frozen)}.",
            "If that is not meant: `trainable = True`, then `compile`.",
        )
    else:
        yield Finding(name, "ok", f"{len(model.trainable_weights)} weights train.")


def of_gradients(subject: Subject) -> Iterator[Finding]:
    """Says which weights get no gradient, or none that is a number."""
    name, weights = "gradients", subject.model.trainable_weights
    if not weights:
        return
    own, tape = subject.gradients(lambda: _loss(subject), subject.own)
    try:
        Weights(subject.model).check_read(tape)
    except ValueError as error:
        text, _, remedy = str(error).partition(". ")
        yield Finding(name, "fault", f"{text}.", remedy)
        return
    bad = [w.path for w, g in zip(weights, own, strict=True) if g is not None and not _finite(g)]
    if bad:
        yield Finding(
            name,
            "fault",
            f"Not finite: the gradients of {some_of(bad)}.",
            "Look for roots and logarithms of zero, and for scales without a floor.",
        )
        return
    # Nearby, where no zeros of a start hide what a weight does; also by the ELBO, which no weight
    # of a schedule hides.
    near, _ = subject.gradients(lambda: _loss(subject), subject.near)
    plain, _ = subject.gradients(lambda: -tf.reduce_mean(subject.scored(1).elbo), subject.near)
    idle = [w.path for w, g, h in zip(weights, near, plain, strict=True) if _no(g) and _no(h)]
    hidden = [w.path for w, g, h in zip(weights, near, plain, strict=True) if _no(g) and not _no(h)]
    if idle:
        yield Finding(
            name,
            "warning",
            f"No gradient comes to {some_of(idle)}: nothing that is scored depends on them.",
            "Freeze or remove them; look for roundings, `tf.stop_gradient`, dead activations.",
        )
    elif hidden:
        yield Finding(
            name,
            "note",
            f"The objective as it stands gives {some_of(hidden)} no gradient, the ELBO does.",
            "Expected of schedules that begin at zero, and of draws that carry none.",
        )
    else:
        yield Finding(name, "ok", f"All {len(weights)} weights get one, all finite.")


def _loss(subject: Subject) -> Tensor:
    loss = -tf.reduce_mean(subject.bound(subject.loss_terms()))
    for extra in subject.model.losses:
        loss += tf.cast(extra, loss.dtype)
    return loss


def _frozen(model: Any) -> list[Any]:
    """Returns frozen layers that hold weights themselves, and would train them."""
    layers = [layer for layer in model._flatten_layers() if not layer.trainable and layer.weights]
    return [layer for layer in layers if not any(part is not layer for part in _parts(layer))]


def _parts(layer: Any) -> list[Any]:
    return [part for part in layer._flatten_layers(include_self=False) if part.weights]


def _finite(gradient: Any) -> bool:
    return bool(np.all(np.isfinite(tf.convert_to_tensor(gradient))))


def _no(gradient: Any) -> bool:
    return gradient is None or not np.any(tf.convert_to_tensor(gradient))
