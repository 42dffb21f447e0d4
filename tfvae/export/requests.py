"""What a served signature is asked, refused in one sentence where there is no answer to it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfvae._protocols import Served
from tfvae._typing import Tensor
from tfvae.data.checks import (
    assertion,
    checked_part,
    marked,
    not_finite_text,
    shaped_part,
)
from tfvae.data.row_checks import same_rows
from tfvae.data.spec import CONTEXT, wide_as
from tfvae.export.rows import COUNTS

__all__ = ["checked_raw", "checked_request", "end_of", "latent_inputs"]

_MOST_SAMPLES = 2**24  # Counts beyond it are not whole numbers in float32.


def latent_inputs(model: Served) -> dict[str, tf.TensorSpec]:
    """Returns the latents as `decode` takes them, `[B, *E]`: by node, or as one `z`."""
    graph = model.graph
    apart = graph.tells_latents_apart and graph.latents
    shapes = graph.latent_shapes if apart else {"z": model.latent_shape}
    dtypes = {wide_as(graph.dtype_of(name, model.data.dtype)) for name in graph.latents}
    dtype = tf.float64 if dtypes == {tf.float64} else tf.float32
    return {name: tf.TensorSpec([None, *e], dtype, name=name) for name, e in shapes.items()}


def checked_request(
    model: Served,
    place: str,
    data: Mapping[str, Tensor],
    latents: Mapping[str, Tensor],
    others: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Returns the inputs of a signature, none of which is there before all of them are checked.

    The checks are operations of the graph, and so go with it into a SavedModel: it fails on what it
    cannot answer, and names signature and input.

    Args:
        model: A built model.
        place: What messages begin with.
        data: Parts of data by name, or the context alone.
        latents: Those of `latent_inputs`, or none.
        others: Any of `COUNTS` `[]` or `[B]`, `seed` `[2]` or `[B, 2]`, and what `end_of` names.

    Returns:
        The batch, `x` and `context`, or `z` `[B, *E]`, and the others, with counts `[]`, and the
        end of a way as `x_end`.
    """
    data = {name: _as_it_comes(value) for name, value in data.items()}
    inputs, checks = dict(others), []
    if set(data) - {CONTEXT}:
        batch, checks = model.data.checked_batch(data, place)
        inputs |= batch
    elif data:
        shape = model.data.context_shape
        inputs[CONTEXT], checks = checked_part(data[CONTEXT], shape, CONTEXT, None, place)
    if latents:
        z, found = _checked_latents(model, latents, place)
        given = {CONTEXT: inputs[CONTEXT]} if CONTEXT in inputs else {}
        checks += [*found, *same_rows({**z, **given}, place)]
        with tf.control_dependencies(checks):  # Before nodes of other rows are put side by side.
            inputs["z"] = model.graph.join(z) if len(z) > 1 else next(iter(z.values()))
    for name in [name for name in COUNTS if name in others]:
        inputs[name], found = _checked_count(others[name], name, place)
        checks += found
    end = end_of(model)
    if end in others:
        first, inputs = model.data.observed[0], {n: v for n, v in inputs.items() if n != end}
        shape, support = model.data.shapes[first], model.data.supports[first]
        x_end, found = checked_part(_as_it_comes(others[end]), shape, end, support, place)
        inputs["x_end"] = x_end
        checks += [*found, *same_rows({first: inputs["x"], end: x_end}, place)]
    if "seed" in others:
        checks += _seed_checks(inputs, place)
    with tf.control_dependencies(checks):
        return {name: tf.identity(value) for name, value in inputs.items()}


def checked_raw(
    value: Tensor, shape: tuple[int, ...], name: str, place: str, *, may_lack: bool
) -> tuple[Tensor, list[Any]]:
    """Returns what is not data of the model yet, with assertions on its shape and values.

    Args:
        value: `[B, *shape]`.
        shape: That of one example.
        name: Of the input, for messages.
        place: What they begin with.
        may_lack: Whether NaN stands for what is missing.
    """
    check = shaped_part if may_lack else checked_part
    return check(_as_it_comes(value), shape, name, place=place)


def _checked_latents(
    model: Served, latents: Mapping[str, Tensor], place: str
) -> tuple[dict[str, Tensor], list[Any]]:
    found, checks = {}, []
    for name, spec in latent_inputs(model).items():
        shape: Any = tuple(spec.shape[1:])
        z = latents[name]
        if math.prod(shape):  # Of no numbers there is nothing to check.
            z, more = shaped_part(_as_it_comes(z), shape, name, place)
            # One operation: for the few numbers of one z `checked_part`'s branch takes longer.
            z = tf.debugging.check_numerics(z, marked(place + not_finite_text(name)))
            checks += more
        found[name] = z
    return found, checks


def end_of(model: Served) -> str:
    """Returns the name of the data at the other end of an interpolation."""
    return f"{model.data.observed[0]}_end"


def _checked_count(count: Tensor, name: str, place: str) -> tuple[Tensor, list[Any]]:
    each = tf.reshape(count, [-1])
    fits = tf.reduce_all((each >= 1) & (each <= _MOST_SAMPLES))
    text = f"`{name}` must be a whole number from 1 to {_MOST_SAMPLES}. Received: {{}}."
    same = tf.reduce_all(each == each[:1])
    ends = tf.reduce_min(each), tf.reduce_max(each)
    one = f"`{name}` must be the same for all rows of a batch. Received: from {{}} to {{}}."
    checks = [assertion(fits, place + text, count), assertion(same, place + one, *ends)]
    return tf.reduce_max(tf.concat([each, [1]], axis=0)), checks  # There may be no row.


def _seed_checks(inputs: Mapping[str, Tensor], place: str) -> list[Any]:
    """Returns the assertions that there is one pair for all rows, or one for each."""
    seed = inputs["seed"]
    shape, rank = tf.shape(seed), tf.rank(seed)
    first = next((inputs[name] for name in ("x", CONTEXT) if name in inputs), None)
    rows = shape[:1] if first is None else tf.shape(first)[:1]
    for_each = tf.equal(rank, 2)
    fits = for_each & tf.reduce_all(shape[:1] == rows) | tf.equal(rank, 1)
    text = "`seed` must be a pair [2], or one for each row [batch, 2]. Received: shape {}."
    checks = [assertion(fits & tf.reduce_all(shape[-1:] == 2), place + text, shape)]
    if first is None:
        count = inputs["num_samples"]
        text = "`num_samples` must be 1 where each row has a seed, and is one draw. Received: {}."
        checks.append(assertion(~for_each | tf.equal(count, 1), place + text, count))
    return checks


def _as_it_comes(value: Tensor) -> Tensor:
    """Returns a tensor of which TensorFlow believes nothing.

    Whoever calls a signature may pass any shape: nothing compares it with that of the signature,
    which the rewriting of graphs takes for granted, and drops a check of it as true.
    """
    if tf.executing_eagerly():
        return tf.convert_to_tensor(value)
    return tf.raw_ops.PlaceholderWithDefault(input=value, shape=None)
