"""The named signatures of a SavedModel.

Every signature takes named tensors and returns a dict of named tensors. The batch size is free, and
may be 0. Nothing is drawn but from an explicit `seed`, an int32 pair, so the same request gets the
same answer from every copy of the file.

| signature | inputs | outputs |
|---|---|---|
| `serving_default` | `x` | `z_mean`, `z_stddev`, `reconstruction` |
| `encode` | `x` | `z_mean`, `z_stddev` |
| `decode` | `z` | `x_mean` |
| `generate` | `num_samples`, `seed` | `x`, `x_mean`, `z` |
| `elbo` | `x`, `num_samples`, `seed` | `elbo`, `distortion`, `rate` |
| `log_prob` | `x`, `num_samples`, `seed` | `log_prob`, `standard_error`, `ess` |

`decode` of a `DirectedModel` takes its latent nodes by name, as `encode` and `generate` give them.
Numbers are float32, or float64 where those of the model are. All signatures of a model of p(x|c)
also take `context`; `generate` then makes one draw per row of it and takes no `num_samples`.

No row of an answer depends on the others, so that a server may make one batch of several requests:
TensorFlow Serving (`--enable_batching`) joins those of which each input has a row for each row of
the answer. `seed` is one pair `[2]` for all rows, which are then drawn together, or a pair for each
row, `[B, 2]`: then each is answered as a request of its own, with a seed `[2]`, would be.
`num_samples` is one number, or the same number for each row, `[B]`; with seeds for rows `generate`
takes 1, and makes one draw for each. Rows with seeds of their own are worked out one after the
other, for any family: for a batch of 64 and a network of two layers of 512 units that took three to
six times as long as one seed for all, eight times with a flow for posterior (`tfvae.export.rows`).

What there is no answer to is refused, in one sentence that names signature and input: other shapes
than those of the model, NaN and infinite values, data beyond the support of the likelihood, another
number of rows of context or seeds than of x or z, and a `num_samples` that is not from 1 to 2**24.
These checks (`tfvae.export.requests`) are part of each graph, and so of the file. XLA drops them,
and so may whatever converts a SavedModel for other runtimes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfvae._protocols import Served
from tfvae._typing import Tensor
from tfvae.data.spec import CONTEXT
from tfvae.distributions.statistics import centre
from tfvae.export.requests import checked_request, latent_inputs
from tfvae.export.rows import answered
from tfvae.graph.description import describe, describe_posterior
from tfvae.graph.evidence import importance_evidence

__all__ = ["Endpoint", "signatures"]

# Draws that a served request scores at once: bounds its memory for any `num_samples`.
_DRAWS_AT_ONCE = 16

Endpoint = tuple[Callable[..., dict[str, Tensor]], list[tf.TensorSpec]]


def signatures(model: Served) -> dict[str, Endpoint]:
    """Returns signature name → (function of tensors, specs of its inputs)."""
    specs = model.data.specs()
    given = [specs[CONTEXT]] if CONTEXT in specs else []
    parts = [*(spec for name, spec in specs.items() if name != CONTEXT), *given]
    latents = list(latent_inputs(model).values())
    # One for all rows, or one for each: of any number of axes.
    open_shape: Any = None
    num_samples = tf.TensorSpec(open_shape, tf.int32, name="num_samples")
    seed = tf.TensorSpec(open_shape, tf.int32, name="seed")

    def serving_default(**batch: Tensor) -> dict[str, Tensor]:
        return describe(model, batch)

    def encode(**batch: Tensor) -> dict[str, Tensor]:
        return describe_posterior(model, model.encode(**batch))

    def decode(z: Tensor, context: Tensor | None = None) -> dict[str, Tensor]:
        means = model.data.observed_parts(centre(model.decode(z, context)))
        return {f"{name}_mean": mean for name, mean in means.items()}

    def generate(num_samples: Tensor, seed: Tensor) -> dict[str, Tensor]:
        return model.generate(num_samples, seed)

    def generate_for_context(seed: Tensor, context: Tensor) -> dict[str, Tensor]:
        return model.generate(tf.shape(context)[0], seed, context)

    def elbo(num_samples: Tensor, seed: Tensor, **batch: Tensor) -> dict[str, Tensor]:
        terms = model.terms(num_samples=num_samples, seed=seed, **batch)
        return {"elbo": terms.elbo, "distortion": terms.distortion, "rate": terms.rate}

    def log_prob(num_samples: Tensor, seed: Tensor, **batch: Tensor) -> dict[str, Tensor]:
        estimate = importance_evidence(model, batch, num_samples, seed, _DRAWS_AT_ONCE)
        return {
            "log_prob": estimate.log_p_x,
            "standard_error": estimate.standard_error,
            "ess": estimate.ess,
        }

    found: dict[str, Endpoint] = {}

    def add(
        name: str, answer: Callable[..., dict[str, Tensor]], inputs: list[tf.TensorSpec]
    ) -> None:
        def endpoint(*values: Tensor) -> dict[str, Tensor]:
            given = dict(zip(map(id, inputs), values, strict=True))
            kinds = [
                {str(spec.name): given[id(spec)] for spec in kind if id(spec) in given}
                for kind in (parts, latents, [num_samples, seed])
            ]
            return answered(answer, checked_request(model, name, *kinds))

        found[name] = endpoint, inputs

    add("serving_default", serving_default, parts)
    add("encode", encode, parts)
    add("decode", decode, [*latents, *given])
    if given:
        add("generate", generate_for_context, [seed, *given])
    else:
        add("generate", generate, [num_samples, seed])
    add("elbo", elbo, [*parts, num_samples, seed])
    add("log_prob", log_prob, [*parts, num_samples, seed])
    return found
