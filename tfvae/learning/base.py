"""The base of all learning schemes: which weights a batch updates, and by what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from tfvae._config import Configured
from tfvae._protocols import Stepped, Trained
from tfvae._typing import Distribution, Tensor, register
from tfvae.objectives import Objective

__all__ = ["Joint", "Scheme", "Update", "check_encoder"]


class Update(NamedTuple):
    """What is left of one update: tensors only, so that branches of a graph can return it.

    Attributes:
        loss: Minus the mean of the objective, plus the losses of layers; scalar.
        values: What is logged beside the loss, by name, each `[B]`.
        objective_state: The numbers of the objective after the update, by name.
    """

    loss: Tensor
    values: dict[str, Tensor]
    objective_state: dict[str, Tensor]


class Scheme(Configured):
    """Abstract rule by which a batch changes the weights of a model.

    A new scheme is one frozen dataclass with `update`. It says which weights a gradient goes to,
    `step.model.graph.posterior_weights`, `step.model.graph.generative_weights` or all, and calls
    what the step offers for it: `climb`, or `scored` and `concluded`. It runs inside the compiled
    step: what depends on numbers that change is a `tf.cond`.

    One that changes numbers from step to step names them in `initial_state`; the model holds them,
    in `model.scheme_state`, and stores them with itself.

    Attributes:
        names: What its `update` logs beside what every model logs, in training alone.
        climbs_alone: Whether its updates change weights by `climb` alone, at the posterior of the
            encoder: such go on several devices.
    """

    names: ClassVar[tuple[str, ...]] = ()
    climbs_alone: ClassVar[bool] = False

    def check(self, model: Trained, objective: Objective) -> None:
        """Checks that this scheme can train a model by an objective, once the model is built.

        The model still has the optimizer of before: see `check_optimizer`.

        Raises:
            ValueError: It cannot, and why.
        """
        del model, objective

    def check_optimizer(self, optimizer: Any) -> None:
        """Checks that a Keras optimizer can make the updates of this scheme; most take any.

        Raises:
            ValueError: It cannot, and why.
        """
        del optimizer

    def initial_state(self) -> dict[str, float]:
        """Returns the numbers that this scheme changes from step to step, as they begin.

        Those whose names begin with an underscore are not logged.
        """
        return {}

    def posterior(
        self,
        step: Stepped,
        batch: dict[str, Tensor],
        seed: Tensor | None = None,
        *,
        training: bool = False,
    ) -> Distribution | None:
        """Returns the q(z|x) that a batch is scored at, None for that of the encoder.

        Args:
            step: Scores passes of `step.model`, which is trained or evaluated.
            batch: `x` `[B, ...]`, and `context` for a model with one.
            seed: Int32 pair `[2]`; None advances the model's seed generator.
            training: Whether layers run in training mode.
        """
        del step, batch, seed, training
        return None

    def update(
        self,
        step: Stepped,
        batch: dict[str, Tensor],
        sample_weight: Tensor | None,
        state: dict[str, Tensor],
    ) -> tuple[Update, dict[str, Tensor]]:
        """Updates weights by one batch.

        Args:
            step: Makes updates of `step.model`.
            batch: `x` `[B, ...]`, and `context` for a model with one.
            sample_weight: `[B]`, or None.
            state: The numbers of `initial_state` as they are.

        Returns:
            What is logged, and the numbers of `initial_state` after the update.
        """
        raise NotImplementedError


@register
@dataclass(frozen=True)
class Joint(Scheme):
    """Updates all weights at once, by the gradient of the objective: the default.

    Example:
        >>> from tfvae.demo import vae
        >>> vae.compile("adam", scheme=tfvae.learning.Joint())

    Reference: Auto-Encoding Variational Bayes (Kingma and Welling, 2014),
    https://arxiv.org/abs/1312.6114
    """

    climbs_alone = True

    def update(
        self,
        step: Stepped,
        batch: dict[str, Tensor],
        sample_weight: Tensor | None,
        state: dict[str, Tensor],
    ) -> tuple[Update, dict[str, Tensor]]:
        """See `Scheme.update`."""
        return step.climb(step.model.trainable_weights, batch, sample_weight), state


def check_encoder(scheme: Scheme, model: Trained) -> None:
    """Checks that a model has an encoder that can be trained by itself.

    Raises:
        ValueError: It has not.
    """
    name = type(scheme).__name__
    if tuple(model.latent_shape) == (0,):
        raise ValueError(
            f"`{name}` trains q(z|x) apart from p(x|z), and this model has no latents. "
            f"Received: {type(model).__name__} '{model.name}'. Leave out `scheme`."
        )
    if not model.graph.posterior_weights:
        raise ValueError(
            f"`{name}` trains the weights of q(z|x) apart from others, and the posterior of this "
            "model has none of its own that can be trained. "
            f"Received: {type(model).__name__} '{model.name}'. Leave out `scheme`."
        )
