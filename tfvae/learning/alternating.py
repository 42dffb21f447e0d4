"""Encoder and decoder in turns: the E and M steps, and the remedy for an encoder that lags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfvae._config import keep_counts
from tfvae._protocols import Stepped, Trained
from tfvae._typing import Tensor, register
from tfvae.learning.base import Scheme, Update, check_encoder
from tfvae.objectives import Objective

__all__ = ["Alternating"]


@register
@dataclass(frozen=True)
class Alternating(Scheme):
    """Several updates of the encoder for each update of decoder and prior.

        encoder_steps batches: phi            <- phi + step along d bound / d phi
        then one batch:        theta, lambda  <- likewise, at the q(z|x) that was found

    Raising the bound in phi alone lowers the gap KL(q(z|x) || p(z|x)), raising it in theta and
    lambda lifts the likelihood: the E and M steps of EM, by gradient. Every update takes a batch
    of its own, so that decoder and prior see one batch in `encoder_steps + 1`. The `iterations` of
    the optimizer, which schedules and learning rates go by, count the updates of both.

    With `until_information_stops=N` it cures an encoder that lags behind its decoder: after each
    N updates the mean of the mutual information within their batches is compared with the best so
    far, and where it has not risen `patience` times in a row, all later updates are joint. Logged
    are `aggressive`, 1 until then and 0 after, and `best_information` in nats.

    Args:
        encoder_steps: Updates of the encoder for each of decoder and prior.
        until_information_stops: Number of updates, N, after which to look; at least one whole
            turn, `encoder_steps + 1`. None alternates for ever.
        patience: How many times in a row the information has not to rise.

    Raises:
        ValueError: An argument is no whole number >= 1, or N smaller than a turn. At `compile`,
            the model has no weights of q(z|x) or none of p(x, z), or does not log its mutual
            information.

    Example:
        >>> from tfvae.demo import vae, x
        >>> scheme = tfvae.learning.Alternating(5, until_information_stops=200)
        >>> vae.compile("adam", scheme=scheme)
        >>> history = vae.fit(x, verbose=0).history
        >>> float(history["aggressive"][-1])
        1.0

    Reference: Lagging Inference Networks and Posterior Collapse in Variational Autoencoders
    (He et al., 2019), https://arxiv.org/abs/1901.05534
    """

    climbs_alone = True

    encoder_steps: int
    until_information_stops: int | None = None
    patience: int = 1

    def __post_init__(self) -> None:
        keep_counts(self, "encoder_steps", "patience")
        if self.until_information_stops is None:
            return
        keep_counts(self, "until_information_stops")
        if self.until_information_stops <= self.encoder_steps:
            raise ValueError(
                "`until_information_stops` is a number of updates of at least one whole turn. "
                f"Expected: at least encoder_steps + 1 = {self.encoder_steps + 1}. "
                f"Received: until_information_stops={self.until_information_stops}"
            )

    def check(self, model: Trained, objective: Objective) -> None:
        """See `Scheme.check`."""
        del objective
        check_encoder(self, model)
        if not model.graph.generative_weights:
            raise ValueError(
                "`Alternating` takes turns between q(z|x) and p(x, z), and this model has no "
                f"weights of p(x, z) that can be trained. Received: {type(model).__name__} "
                f"'{model.name}'. Leave out `scheme`: every update is then one of the encoder."
            )
        if self.until_information_stops is not None and not model.graph.compares_pairs:
            reason = "levels of its posterior depend on each other, or latents are given in part"
            if model.graph.conditions:
                reason = f"its prior depends on {', '.join(model.graph.conditions)}"
            raise ValueError(
                "`until_information_stops` watches the mutual information that the model logs, "
                f"which this one does not: {reason}. Leave it out to alternate for ever."
            )

    def check_optimizer(self, optimizer: Any) -> None:
        """See `Scheme.check_optimizer`."""
        if optimizer.gradient_accumulation_steps:
            raise ValueError(
                "`Alternating` gives weights their gradients at different updates, over which an "
                "optimizer cannot accumulate them. Received: gradient_accumulation_steps="
                f"{optimizer.gradient_accumulation_steps}. Leave it out, and take larger batches."
            )

    def initial_state(self) -> dict[str, float]:
        """Returns the flag, the best information, and what is summed up since it was looked at."""
        if self.until_information_stops is None:
            return {}
        hidden = ("_information", "_updates", "_looks", "_waited")
        return {"aggressive": 1.0, "best_information": 0.0, **dict.fromkeys(hidden, 0.0)}

    def update(
        self,
        step: Stepped,
        batch: dict[str, Tensor],
        sample_weight: Tensor | None,
        state: dict[str, Tensor],
    ) -> tuple[Update, dict[str, Tensor]]:
        """See `Scheme.update`."""
        model = step.model
        turn = tf.math.floormod(tf.cast(model.optimizer.iterations, tf.int64), self._turn)
        for_encoder = turn < self._turn - 1

        def climb(weights: list) -> Update:
            return step.climb(weights, batch, sample_weight)

        def alternate() -> Update:
            return tf.cond(
                for_encoder,
                lambda: climb(model.graph.posterior_weights),
                lambda: climb(model.graph.generative_weights),
            )

        if not state:
            return alternate(), state
        update = tf.cond(
            state["aggressive"] > 0.0, alternate, lambda: climb(model.trainable_weights)
        )
        return update, self._next_state(state, update.values["mutual_information"])

    @property
    def _turn(self) -> int:
        return int(self.encoder_steps) + 1

    def _next_state(self, state: dict[str, Tensor], information: Tensor) -> dict[str, Tensor]:
        total = state["_information"] + tf.cast(tf.reduce_mean(information), tf.float32)
        count = state["_updates"] + 1.0
        looks = count >= float(self.until_information_stops or 1)
        mean, best = total / count, state["best_information"]
        rises = looks & ((mean > best) | (state["_looks"] < 1.0))
        waited = tf.where(looks, tf.where(rises, 0.0, state["_waited"] + 1.0), state["_waited"])
        stops = waited >= float(self.patience)
        return {
            # Once joint, for good: what is watched after that changes nothing.
            "aggressive": tf.where(stops, 0.0, state["aggressive"]),
            "best_information": tf.where(rises, mean, best),
            "_information": tf.where(looks, 0.0, total),
            "_updates": tf.where(looks, 0.0, count),
            "_looks": state["_looks"] + tf.cast(looks, tf.float32),
            "_waited": waited,
        }
