"""The named signatures of a SavedModel.

Every signature takes named tensors and returns a dict of named tensors. The batch size is free.
Nothing is drawn but from an explicit `seed`, an int32 pair, so the same request gets the same
answer from every copy of the file.

| signature | inputs | outputs |
|---|---|---|
| `serving_default` | `x` | `z_mean`, `z_stddev`, `reconstruction` |
| `encode` | `x` | `z_mean`, `z_stddev` |
| `decode` | `z` | `x_mean` |
| `generate` | `num_samples`, `seed` | `x`, `x_mean`, `z` |
| `elbo` | `x`, `num_samples`, `seed` | `elbo`, `distortion`, `rate` |
| `log_prob` | `x`, `num_samples`, `seed` | `log_prob`, `standard_error`, `ess` |

All signatures of a model of p(x|c) also take `context`; `generate` then makes one draw per row of
it and takes no `num_samples`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfvae._protocols import Served
from tfvae._typing import Tensor
from tfvae.distributions.statistics import centre
from tfvae.graph.evidence import importance_evidence

__all__ = ["Endpoint", "signatures"]

# Draws that a served request scores at once: bounds its memory for any `num_samples`.
_DRAWS_AT_ONCE = 16

Endpoint = tuple[Callable[..., dict[str, Tensor]], list[tf.TensorSpec]]


def signatures(model: Served) -> dict[str, Endpoint]:
    """Returns signature name → (function of tensors, specs of its inputs)."""
    specs = model.data.specs()
    given = [specs["context"]] if "context" in specs else []
    parts = [*(spec for name, spec in specs.items() if name != "context"), *given]
    z_spec = tf.TensorSpec([None, *model.latent_shape], tf.float32, name="z")
    count_spec = tf.TensorSpec([], tf.int32, name="num_samples")
    seed_spec = tf.TensorSpec([2], tf.int32, name="seed")

    def batch_of(values: Sequence[Tensor]) -> dict[str, Tensor]:
        named = {str(spec.name): value for spec, value in zip(parts, values, strict=True)}
        return model.data.as_batch(named)

    def serving_default(*values: Tensor) -> dict[str, Tensor]:
        return model.describe(**batch_of(values))

    def encode(*values: Tensor) -> dict[str, Tensor]:
        return model.describe_posterior(model.encode(**batch_of(values)))

    def decode(z: Tensor, *context: Tensor) -> dict[str, Tensor]:
        means = model.data.observed_parts(centre(model.decode(z, *context)))
        return {f"{name}_mean": mean for name, mean in means.items()}

    def generate(num_samples: Tensor, seed: Tensor) -> dict[str, Tensor]:
        return model.generate(num_samples, seed)

    def generate_for_context(seed: Tensor, context: Tensor) -> dict[str, Tensor]:
        return model.generate(tf.shape(context)[0], seed, context)

    def elbo(*arguments: Tensor) -> dict[str, Tensor]:
        *values, num_samples, seed = arguments
        terms = model.terms(num_samples=num_samples, seed=seed, **batch_of(values))
        return {"elbo": terms.elbo, "distortion": terms.distortion, "rate": terms.rate}

    def log_prob(*arguments: Tensor) -> dict[str, Tensor]:
        *values, num_samples, seed = arguments
        batch = batch_of(values)
        estimate = importance_evidence(model, batch, num_samples, seed, _DRAWS_AT_ONCE)
        return {
            "log_prob": estimate.log_p_x,
            "standard_error": estimate.standard_error,
            "ess": estimate.ess,
        }

    drawn: Endpoint = (generate, [count_spec, seed_spec])
    if given:
        drawn = (generate_for_context, [seed_spec, *given])
    scored = [*parts, count_spec, seed_spec]
    return {
        "serving_default": (serving_default, parts),
        "encode": (encode, parts),
        "decode": (decode, [z_spec, *given]),
        "generate": drawn,
        "elbo": (elbo, scored),
        "log_prob": (log_prob, scored),
    }
