"""What each signature of a SavedModel answers, as functions of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tfvae._protocols import Served
from tfvae._random import fold_in
from tfvae._tracing import outputs_of
from tfvae._typing import Distribution, Tensor
from tfvae.distributions.reparameterised import sample_and_log_prob
from tfvae.distributions.statistics import centre
from tfvae.export.paths import between
from tfvae.graph.description import describe, describe_posterior, parameters_of_nodes
from tfvae.graph.evidence import importance_evidence
from tfvae.graph.imputation import Imputer, completed

__all__ = ["Answer", "Answers"]

# Draws that a served request scores at once: bounds its memory for any `num_samples`.
_DRAWS_AT_ONCE = 16

Answer = Callable[..., dict[str, Tensor]]
Outputs = dict[str, Tensor]


class Answers:
    """The answers of one model, each a method by the name of its signature.

    A method takes the inputs of its signature by name and returns the outputs by name, `[B, ...]`
    each. `lacks` says why a model has none.

    Args:
        model: A built model.
    """

    def __init__(self, model: Served) -> None:
        self.model = model

    def serving_default(self, **batch: Tensor) -> Outputs:
        """Returns what `predict` says of each point."""
        return describe(self.model, batch)

    def encode(self, **batch: Tensor) -> Outputs:
        """Returns mean and standard deviation of q(z|x), and the parameters of its family."""
        q_z = self.model.encode(**batch)
        return {**parameters_of_nodes(q_z, self._latent), **describe_posterior(self.model, q_z)}

    def decode(self, z: Tensor, context: Tensor | None = None) -> Outputs:
        """Returns the mean of p(x|z), and the parameters of its family."""
        p_x = self.model.decode(z, context)
        parameters = parameters_of_nodes(p_x, self.model.data.observed[0])
        return {**parameters, **self._means(p_x)}

    def generate(
        self, seed: Tensor, num_samples: Tensor | None = None, context: Tensor | None = None
    ) -> Outputs:
        """Returns draws of all nodes, one for each row of a context where there is one."""
        if context is None:
            return self.model.generate(num_samples, seed)
        return self.model.generate(tf.shape(context)[0], seed, context)

    def elbo(self, num_samples: Tensor, seed: Tensor, **batch: Tensor) -> Outputs:
        """Returns the ELBO and its terms, nats."""
        terms = self.model.terms(num_samples=num_samples, seed=seed, **batch)
        return {"elbo": terms.elbo, "distortion": terms.distortion, "rate": terms.rate}

    def log_prob(self, num_samples: Tensor, seed: Tensor, **batch: Tensor) -> Outputs:
        """Returns log p(x) by importance sampling, nats, its standard error and sample size."""
        found = importance_evidence(self.model, batch, num_samples, seed, _DRAWS_AT_ONCE)
        return {
            "log_prob": found.log_p_x,
            "standard_error": found.standard_error,
            "ess": found.ess,
        }

    def anomaly_score(self, num_samples: Tensor, seed: Tensor, **batch: Tensor) -> Outputs:
        """Returns minus log p(x), nats: the larger, the stranger; and minus the ELBO, above it."""
        found = importance_evidence(self.model, batch, num_samples, seed, _DRAWS_AT_ONCE)
        return {
            "anomaly_score": -found.log_p_x,
            "standard_error": found.standard_error,
            "negative_elbo": -found.elbo,
        }

    def sample_posterior(self, num_samples: Tensor, seed: Tensor, **batch: Tensor) -> Outputs:
        """Returns draws of q(z|x), `[B, S, *E]`."""
        z, _ = sample_and_log_prob(self.model.encode(**batch), num_samples, seed)
        return self._latents(tf.experimental.numpy.moveaxis(z, 0, 1))

    def interpolate(
        self, num_steps: Tensor, x: Tensor, x_end: Tensor, **context: Tensor
    ) -> Outputs:
        """Returns what the decoder makes of the way between the centres of two posteriors."""
        model = self.model
        ends = [centre(model.encode(end, **context)) for end in (x, x_end)]
        parts = [model.graph.split(end) for end in ends]
        supports = model.graph.supports
        ways = {n: between(z, parts[1][n], num_steps, supports[n]) for n, z in parts[0].items()}
        shape = model.latent_shape
        folded = {n: tf.reshape(way, [-1, *model.graph.shapes[n]]) for n, way in ways.items()}
        each = {name: tf.repeat(value, num_steps, axis=0) for name, value in context.items()}
        p_x = model.decode(tf.reshape(model.graph.join(folded), [-1, *shape]), **each)
        means = {
            name: tf.reshape(mean, tf.concat([[-1, num_steps], tf.shape(mean)[1:]], axis=0))
            for name, mean in self._means(p_x).items()
        }
        return {**means, **(ways if self._told_apart else {"z": next(iter(ways.values()))})}

    def impute(self, num_samples: Tensor, seed: Tensor, **batch: Tensor) -> Outputs:
        """Returns x with NaN replaced by its mean, and by one draw, given what was observed."""
        imputer = Imputer(self.model, num_samples, 1, _DRAWS_AT_ONCE)
        mean, z, ess = imputer(batch, fold_in(seed, 0))
        drawn = completed(self.model, batch, z).sample(seed=fold_in(seed, 1))
        x, name = batch["x"], self.model.data.observed[0]
        missing = tf.math.is_nan(x)
        filled = [tf.where(missing, tf.cast(value, x.dtype), x) for value in (mean, drawn)]
        return {name: filled[0], f"{name}_draw": filled[1], "ess": ess}

    def responsibilities(self, **batch: Tensor) -> Outputs:
        """Returns p(z|x) of all states of z, `[B, N]`, and the states, `[B, N, *E]`."""
        terms = self.model.terms(num_samples=1, seed=tf.constant([0, 0]), **batch)
        weights = tf.nn.softmax(terms.log_p_x + terms.log_p_z, axis=0)
        states = tf.experimental.numpy.moveaxis(terms.z, 0, 1)
        return {"responsibilities": tf.transpose(weights), **self._latents(states)}

    def lacks(self, name: str) -> str | None:
        """Returns why the model has no such answer, None where it has one."""
        model, graph = self.model, self.model.graph
        if name in ("sample_posterior", "interpolate", "responsibilities") and not graph.latents:
            return "it has no latent nodes"
        if name == "interpolate":
            if model.data.is_packed:
                return "its data has several parts"
            if any(graph.supports[node].whole for node in graph.latents):
                return "there is nothing between the states of its latents"
        if name == "responsibilities" and not self._sums_over_all():
            return "not all of its latents have so few states that they are summed over"
        if name == "impute" and (model.data.is_packed or not model.data.support.missing):
            return "its likelihood takes no missing entries: see `tfvae.layers.Masked`"
        return None

    def _sums_over_all(self) -> bool:
        model, found = self.model, []
        if model.graph.partly_observed:
            return False

        def look(**batch: Tensor) -> None:
            found.append(model.graph.sums_over_all(model.encode(**batch)))

        outputs_of(look, **model.data.batch_specs())
        return found[0]

    def _means(self, p_x: Distribution) -> Outputs:
        means = self.model.data.observed_parts(centre(p_x))
        return {f"{name}_mean": mean for name, mean in means.items()}

    @property
    def _told_apart(self) -> bool:
        return bool(self.model.graph.tells_latents_apart and self.model.graph.latents)

    @property
    def _latent(self) -> str:
        return self.model.graph.latents[0] if self._told_apart else "z"

    def _latents(self, z: Tensor) -> Outputs:
        """Returns latents `[..., *E]` under the names that `encode` has for them."""
        found: Mapping[str, Any] = self.model.graph.split(z) if self._told_apart else {"z": z}
        return dict(found)
