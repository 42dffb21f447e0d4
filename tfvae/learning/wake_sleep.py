"""Wake and sleep: the encoder learns from what the model dreams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfvae._protocols import Stepped, Trained
from tfvae._tracing import outputs_of
from tfvae._typing import Tensor, register
from tfvae.distributions.support import Support, support_of
from tfvae.learning.base import Scheme, Update, check_encoder
from tfvae.objectives import Objective

__all__ = ["WakeSleep"]


@register
@dataclass(frozen=True)
class WakeSleep(Scheme):
    """Decoder and prior learn from data, the encoder from dreams of the model.

        wake:   theta, lambda  up  the objective on the batch
        sleep:  phi            up  log q(z|x),  z ~ p(z), x ~ p(x|z): as many as the batch has rows

    Both gradients are taken at the same weights and make one update. Dreams come with their z, so
    that the encoder fits KL(p(z|x) || q(z|x)) over the model's own data, exactly and without
    gradients through draws: any posterior will do. It is not the objective that trains the encoder;
    `loss`, minus the objective on the data, still shows how far the two get together. Logged beside
    it in training is `sleep`, -log q(z|x) of the dreams in nats. In a model of p(x|c), dreams are
    made for the contexts of the batch.

    Decoder and prior may be frozen: the encoder then learns to invert a given simulator.

    Raises:
        ValueError: At `compile`, the model has no weights of q(z|x), p(z) or p(x|z) cannot be drawn
            from, or p(z) has values that q(z|x) never has.

    Example:
        >>> from tfvae.demo import vae, x
        >>> vae.compile("adam", scheme=tfvae.learning.WakeSleep())
        >>> "sleep" in vae.fit(x, verbose=0).history
        True

    Reference: The wake-sleep algorithm for unsupervised neural networks (Hinton et al., 1995),
    https://doi.org/10.1126/science.7761831
    """

    names = ("sleep",)

    def check(self, model: Trained, objective: Objective) -> None:
        """See `Scheme.check`."""
        del objective
        check_encoder(self, model)
        specs = {name: x for name, x in model.data.batch_specs().items() if name == "context"}

        supports: list[tuple[Support, Support]] = []

        def score(**context: Tensor) -> Tensor:
            batch, z = dream(model, 2, tf.constant([0, 0]), **context)
            asked: Any = model
            q_z = asked.encode(**batch)
            supports.append((support_of(q_z), support_of(asked.prior_of(batch))))
            return q_z.log_prob(z)

        try:
            outputs_of(score, **specs)
        except NotImplementedError as error:
            raise ValueError(
                "`WakeSleep` trains the encoder on z ~ p(z) and x ~ p(x|z), which takes draws of "
                f"prior and likelihood, and log q(z|x) at them. Received: {error}"
            ) from error
        for own, of_prior in supports:
            if _leaves(of_prior, own):
                raise ValueError(
                    "`WakeSleep` scores draws of the prior by the posterior, and this prior draws "
                    f"values that the posterior never has. Received: a posterior over values of "
                    f"{own.likelihood}, and a prior over those of {of_prior.likelihood}. Pass a "
                    "prior of the same family, such as `priors.Parametric`, or another posterior."
                )

    def update(
        self,
        step: Stepped,
        batch: dict[str, Tensor],
        sample_weight: Tensor | None,
        state: dict[str, Tensor],
    ) -> tuple[Update, dict[str, Tensor]]:
        """See `Scheme.update`."""
        model = step.model
        with tf.GradientTape() as tape:
            loss, terms = step.scored(batch, sample_weight, training=True)
            scaled_loss = model.optimizer.scale_loss(loss)
        wake = _gradients(tape, scaled_loss, model.graph.generative_weights)

        seed = model.make_seed()
        dreams, z = dream(model, tf.shape(batch["x"])[0], seed, batch.get("context"))
        dreams, z = tf.nest.map_structure(tf.stop_gradient, (dreams, z))
        with tf.GradientTape() as tape:
            q_z = model.encode(**dreams, training=True)
            sleep = -q_z.log_prob(z)  # [B]
            sleep_loss = tf.reduce_mean(sleep)
            for extra in model.losses:
                sleep_loss += tf.cast(extra, sleep_loss.dtype)
            scaled_loss = model.optimizer.scale_loss(sleep_loss)
        gradients = _gradients(tape, scaled_loss, model.graph.posterior_weights)

        for key, (gradient, weight) in wake.items():
            # A weight that both have follows both.
            if key in gradients:
                gradient += gradients[key][0]
            gradients[key] = (gradient, weight)
        found, weights = zip(*gradients.values(), strict=True)
        return step.concluded(loss, terms, list(found), list(weights), sleep=sleep), state


def dream(
    model: Trained, num_samples: int | Tensor, seed: Tensor, context: Tensor | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    """Returns draws of a model, as a batch that `encode` takes, and the z behind each.

    Args:
        model: What draws.
        num_samples: Number of draws, N.
        seed: Int32 pair `[2]`.
        context: `[N, ...]`, for a model of p(x|c).
    """
    given = {} if context is None else {"context": context}
    draws, _ = model.graph.generate(num_samples, seed, given)
    batch = model.data.as_batch({**{name: draws[name] for name in model.graph.observed}, **given})
    batch["x"] = tf.cast(batch["x"], model.data.dtype)
    return batch, model.graph.join(draws)


def _gradients(tape: tf.GradientTape, loss: Tensor, weights: list) -> dict:
    """Returns gradient and weight by a key of the weight, where there is a gradient."""
    pairs = zip(tape.gradient(loss, weights), weights, strict=True)
    return {id(weight): (found, weight) for found, weight in pairs if found is not None}


def _leaves(draws: Support, support: Support) -> bool:
    """Whether values of one support may lie outside of another."""
    below = support.lower is not None and (draws.lower is None or draws.lower < support.lower)
    above = support.upper is not None and (draws.upper is None or draws.upper > support.upper)
    return below or above or (support.norm is not None and draws.norm != support.norm)
