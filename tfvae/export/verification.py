"""What a file answers, compared with the model that it was written from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae._protocols import Served
from tfvae._typing import Tensor
from tfvae.data.spec import CONTEXT
from tfvae.export.requests import end_of, latent_inputs
from tfvae.export.rows import COUNTS

__all__ = ["check_answers", "example_inputs", "request_of"]

_ROWS = 2
_SEED = (0, 1)

# Of the largest number of an output. One program runs twice on one device: what a file holds, it
# holds to the bit, and no sum is long enough for its order to tell in the fifth digit.
_TOLERANCE = 1e-5


def example_inputs(model: Served, rows: int = _ROWS) -> dict[str, Tensor]:
    """Returns valid inputs of all signatures by name, two rows of data where they take data.

    Data is drawn from the model itself, with a fixed seed. A context is a row of zeros and one of
    ones in turn, which are numbers, categories and places in a table alike.
    """
    seed = tf.constant(_SEED)
    specs = model.data.specs(batch_size=rows)
    context = None
    if CONTEXT in specs:
        spec = specs[CONTEXT]
        zeros_and_ones = [tf.fill(spec.shape[1:], float(row % 2)) for row in range(rows)]
        context = tf.cast(tf.stack(zeros_and_ones), spec.dtype)
    drawn = model.generate(rows, seed, context)
    parts = {n: tf.cast(drawn[n], spec.dtype) for n, spec in specs.items() if n != CONTEXT}
    if context is not None:
        parts[CONTEXT] = context
    batch = model.data.as_batch(parts)
    z = model.terms(num_samples=1, seed=seed, **batch).z[0, :rows]
    expected = latent_inputs(model)
    nodes = {"z": z} if "z" in expected and len(expected) == 1 else model.graph.split(z)
    latents = {name: tf.cast(nodes[name], spec.dtype) for name, spec in expected.items()}
    end = {end_of(model): tf.reverse(parts[model.data.observed[0]], axis=[0])}
    return {
        **latents,
        **parts,
        **end,
        **dict.fromkeys(COUNTS, tf.constant(rows)),
        "seed": seed,
    }


def check_answers(
    live: Mapping[str, Callable[..., Any]], folder: Path, inputs: Mapping[str, Tensor]
) -> None:
    """Loads a SavedModel and asks it what `live` is asked.

    Args:
        live: Signature name → graph, of this process.
        folder: The SavedModel that was written from them.
        inputs: Those of all signatures, by name.

    Raises:
        RuntimeError: The two answer differently.
    """
    loaded = tf.saved_model.load(str(folder)).signatures
    for name, function in live.items():
        request = request_of(function, inputs)
        expected = _answer(function, *request.values())
        found = _answer(loaded[name], **request)
        difference = _difference(expected, found)
        if difference is not None:
            raise RuntimeError(
                "The SavedModel was not kept, because it does not answer what the model does: "
                f"signature `{name}`, {difference}. A layer may draw without the seed, or read "
                "what is no weight of the model; `verify=False` leaves this comparison out."
            )


def request_of(function: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns what one signature takes, by name, in its order.

    Args:
        function: Its graph.
        inputs: Those of all signatures, by name; noise is made.
    """
    arguments = function.structured_input_signature[0]
    return {str(spec.name): _input(spec, inputs) for spec in arguments}


def _input(spec: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """Returns an input by name: numbers from 0 to 1 where it is noise."""
    if str(spec.name) in inputs:
        return inputs[str(spec.name)]
    shape = [size or _ROWS for size in spec.shape]
    return tf.random.stateless_uniform(shape, _SEED, 0.01, 0.99, spec.dtype)


def _answer(function: Callable[..., Any], *args: Tensor, **kwargs: Tensor) -> dict[str, Any] | str:
    """Returns outputs by name, or what stands in their way: the inputs are made up."""
    try:
        return {name: value.numpy() for name, value in function(*args, **kwargs).items()}
    except tf.errors.InvalidArgumentError as error:
        return f"an {type(error).__name__}"


def _difference(expected: dict[str, Any] | str, found: dict[str, Any] | str) -> str | None:
    """Returns in words how two answers differ, None where they are the same."""
    if isinstance(expected, str) or isinstance(found, str):
        told = [answer if isinstance(answer, str) else "an answer" for answer in (expected, found)]
        return None if told[0] == told[1] else f"{told[1]} in place of {told[0]}"
    if set(expected) != set(found):
        return f"outputs {sorted(found)} in place of {sorted(expected)}"
    for name, value in expected.items():
        other = found[name]
        if value.shape != other.shape or value.dtype != other.dtype:
            return f"output `{name}` of shape {other.shape} in place of {value.shape}"
        finite = np.isfinite(value)
        if not np.array_equal(value[~finite], other[~finite], equal_nan=True):
            return f"output `{name}` finite in other places"
        off = np.abs(value[finite].astype("float64") - other[finite])
        scale = np.max(np.abs(value[finite]), initial=0.0)
        if not np.max(off, initial=0.0) <= _TOLERANCE * scale:  # NaN is no number that is less.
            return f"output `{name}` off by {off.max():.3g}, of numbers up to {scale:.3g}"
    return None
