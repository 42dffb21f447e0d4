"""The named signatures of a SavedModel.

Every signature takes named tensors and returns a dict of named tensors. The batch size is free, and
may be 0. Nothing is drawn but from an explicit `seed`, an int32 pair, so the same request gets the
same answer from every copy of the file.

| signature | inputs | outputs |
|---|---|---|
| `serving_default` | `x` | `z_mean`, `z_stddev`, `reconstruction` |
| `encode` | `x` | `z_mean`, `z_stddev`, parameters of q(z|x): `z_loc`, `z_scale_diag` |
| `decode` | `z` | `x_mean`, parameters of p(x|z): `x_logits` |
| `generate` | `num_samples`, `seed` | `x`, `x_mean`, `z` |
| `elbo` | `x`, `num_samples`, `seed` | `elbo`, `distortion`, `rate` |
| `log_prob` | `x`, `num_samples`, `seed` | `log_prob`, `standard_error`, `ess` |

Of categories `z_probs` stands in place of `z_stddev`. These are `STANDARD`, which an export has
unless others are asked for. Those of `FURTHER` are there for models that can do them (`offered`):

| signature | inputs | outputs |
|---|---|---|
| `sample_posterior` | `x`, `num_samples`, `seed` | `z` `[B, S, *E]` |
| `interpolate` | `x`, `x_end`, `num_steps` | `x_mean` `[B, T, ...]`, `z` `[B, T, *E]` |
| `anomaly_score` | as `log_prob` | `anomaly_score`, `standard_error`, `negative_elbo` |
| `impute` | `x`, `num_samples`, `seed` | `x`, `x_draw`, `ess` |
| `responsibilities` | `x` | `responsibilities` `[B, N]`, `z` `[B, N, *E]` |

- `sample_posterior` draws from q(z|x).
- `interpolate` decodes T points between the centres of two posteriors, both included: on a straight
  line, or of directions on a great circle.
- `anomaly_score` is minus the estimate of log p(x) that `log_prob` gives, in nats: the larger, the
  stranger. `negative_elbo`, from the same draws, lies above it on average.
- `impute` takes NaN for what is missing, and gives its mean given the rest, and one draw of it, in
  its place (`tfvae.impute`).
- `responsibilities` are p(z|x) itself, and the states that they belong to, of latents of which all
  N joint states are summed over.

Those of `tfvae.export.portable` take noise in place of a seed, for runtimes other than TensorFlow.

Parameters have TFP's names after that of the node, of a mixture `x_mixture_logits` and
`x_component_loc`. There are none of what a flow makes, nor numbers that are the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfvae._protocols import Served
from tfvae._typing import Tensor
from tfvae.data.spec import CONTEXT
from tfvae.export.answers import Answers
from tfvae.export.portable import PORTABLE, twin
from tfvae.export.preprocessing import Preprocessing
from tfvae.export.requests import checked_request, end_of, latent_inputs
from tfvae.export.rows import COUNTS, answered

__all__ = ["FURTHER", "STANDARD", "Endpoint", "checked_names", "offered", "signatures"]

STANDARD = ("serving_default", "encode", "decode", "generate", "elbo", "log_prob")
FURTHER = ("sample_posterior", "interpolate", "anomaly_score", "impute", "responsibilities")

Endpoint = tuple[Callable[..., dict[str, Tensor]], list[tf.TensorSpec]]


def offered(model: Served) -> tuple[str, ...]:
    """Returns the names of all signatures that a model can have, but those of `PORTABLE`.

    Args:
        model: A built model.

    Example:
        >>> from tfvae.demo import vae
        >>> from tfvae.export.signatures import offered
        >>> offered(vae)[6:]
        ('sample_posterior', 'interpolate', 'anomaly_score')
    """
    answers = Answers(model)
    return tuple(name for name in (*STANDARD, *FURTHER) if answers.lacks(name) is None)


def signatures(
    model: Served,
    names: Iterable[str] = STANDARD,
    compiled: Iterable[str] = (),
    preprocessing: Preprocessing | None = None,
) -> dict[str, Endpoint]:
    """Returns signature name → (function of tensors, specs of its inputs).

    Args:
        model: A built model.
        names: Which ones, in any order.
        compiled: Those of them whose answers XLA compiles; their checks stay outside of it.
        preprocessing: What comes before them.

    Raises:
        ValueError: There is no signature of a name, or the model lacks it; or one is to be compiled
            that is not among them, or is portable; or one is portable and something comes before.
        RuntimeError: A portable one says other things than the one that takes a seed.
    """
    answers, names = Answers(model), checked_names(names)
    before = preprocessing or Preprocessing(model)
    before.check_signatures(names)
    for name in [name for name in names if name not in PORTABLE]:
        reason = answers.lacks(name)
        if reason is not None:
            raise ValueError(
                f"This model has no signature `{name}`: {reason}. Expected any of: "
                f"{', '.join(offered(model))}."
            )
    compiled = checked_names(compiled, names) if compiled else []
    for name in compiled:
        if name in PORTABLE:
            raise ValueError(
                f"Other runtimes than TensorFlow read `{name}`, and know nothing of XLA: leave it "
                f"out of `jit_compile`. Received: jit_compile={compiled}"
            )
    return {name: _endpoint(answers, before, name, name in compiled) for name in names}


def checked_names(
    names: Iterable[str], known: Sequence[str] = (*STANDARD, *FURTHER, *PORTABLE)
) -> list[str]:
    """Returns names of signatures, each of which is among those that are known.

    Raises:
        TypeError: They are not several.
        ValueError: One is not known, or stands there twice, or there is none.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(f"`signatures` must be a list of names. Received: {names!r}")
    names = list(names)
    unknown = [name for name in names if name not in known]
    if unknown or not names or len(set(names)) < len(names):
        raise ValueError(
            f"`signatures` must name some of {', '.join(known)}, each once. Received: {names}"
        )
    return names


def _endpoint(answers: Answers, before: Preprocessing, name: str, jit_compile: bool) -> Endpoint:
    model = answers.model
    if name in PORTABLE:
        found = twin(model, name)
        found.check()
        return found.function, found.specs
    inputs = _inputs(model, before, name)
    place = f"Signature `{name}`: "
    made = f"Signature `{name}`, after preprocessing: " if before.networks else place
    kinds = [set(model.data.specs()), set(latent_inputs(model)) if name == "decode" else set()]

    def endpoint(*values: Tensor) -> dict[str, Tensor]:
        given = {str(spec.name): value for spec, value in zip(inputs, values, strict=True)}
        given = before.applied(given, place)
        parts, latents = ({n: v for n, v in given.items() if n in kind} for kind in kinds)
        if latents:
            parts = {n: v for n, v in parts.items() if n == CONTEXT}
        others = {n: v for n, v in given.items() if n not in {*parts, *latents}}
        request = checked_request(model, made, parts, latents, others)
        return answered(getattr(answers, name), request, jit_compile=jit_compile)

    return endpoint, inputs


def _inputs(model: Served, before: Preprocessing, name: str) -> list[tf.TensorSpec]:
    """Returns what a signature takes, in order."""
    specs: Mapping[str, Any] = before.specs(model.data.specs())
    context = [specs[CONTEXT]] if CONTEXT in specs else []
    parts = [*(spec for part, spec in specs.items() if part != CONTEXT), *context]
    # One for all rows, or one for each: of any number of axes.
    open_shape: Any = None
    counts = {count: tf.TensorSpec(open_shape, tf.int32, name=count) for count in COUNTS}
    seed = tf.TensorSpec(open_shape, tf.int32, name="seed")
    if name == "decode":
        return [*latent_inputs(model).values(), *context]
    if name == "generate":
        return [seed, *context] if context else [counts["num_samples"], seed]
    if name == "interpolate":
        x, *_ = parts
        end = before.end_spec() or tf.TensorSpec(x.shape, x.dtype, name=end_of(model))
        return [x, end, *context, counts["num_steps"]]
    if name in ("serving_default", "encode", "responsibilities"):
        return parts
    return [*parts, counts["num_samples"], seed]
