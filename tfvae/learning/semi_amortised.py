"""Refinement of q(z|x) point by point, from where the encoder puts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from tfvae._config import check_amount, keep_counts
from tfvae._protocols import Stepped, Trained
from tfvae._random import fold_in
from tfvae._tracing import outputs_of
from tfvae._typing import Distribution, Tensor, register
from tfvae.layers.origin import Origin, origin_of
from tfvae.learning.base import Scheme, Update, check_encoder
from tfvae.objectives import Objective
from tfvae.objectives.base import call_objective, initial_state_of
from tfvae.objectives.gradients import Reparameterised

__all__ = ["SemiAmortised", "checked_origin", "refinable"]


@register
@dataclass(frozen=True)
class SemiAmortised(Scheme):
    """Refines the posterior of each point by gradient ascent, and trains all weights at that.

        eta_0 = encoder(x),   eta_k+1 = eta_k + learning_rate * d bound(eta_k) / d eta,   k < steps
        theta, lambda, phi  up  the objective at q(z; eta_steps)

    `eta` are the unconstrained parameters that go into the encoder's last layer, of any family.
    Decoder and prior so learn at a posterior that is closer to the true one than what the encoder
    can tell, and the encoder learns where to begin. Its gradient goes through all the steps, second
    derivatives included; with `backpropagate=False` it is the gradient at the refined parameters,
    as if the steps were a constant shift, which takes less time and works for any gradient
    estimator. Each step takes new draws of z, and about the time of an update.

    What `fit` and `evaluate` log is at the refined posterior. `encode`, and evaluations that begin
    there, give that of the encoder; `tfvae.evaluation.refine` refines any model's.

    Args:
        steps: Number of steps for each point.
        learning_rate: Their size, > 0.
        backpropagate: Whether the gradient goes through the steps.

    Raises:
        ValueError: `steps` is smaller than 1, or `learning_rate` not positive. At `compile`, the
            encoder does not end in a layer of parameters, or there are no second derivatives: of
            the objective's gradient estimator, of draws whose gradients are scaled, or of draws by
            TensorFlow's gamma sampler, as of Student-t and beta posteriors.

    Example:
        >>> from tfvae.demo import vae, x
        >>> vae.compile("adam", scheme=tfvae.learning.SemiAmortised(3, learning_rate=0.1))
        >>> vae.fit(x, verbose=0).history["elbo"][0] < 0.0
        True

    Reference: Semi-Amortized Variational Autoencoders (Kim et al., 2018),
    https://arxiv.org/abs/1802.02550
    """

    steps: int
    learning_rate: float
    backpropagate: bool = True

    def __post_init__(self) -> None:
        keep_counts(self, "steps")
        check_amount("learning_rate", self.learning_rate, positive=True)

    def check(self, model: Trained, objective: Objective) -> None:
        """See `Scheme.check`."""
        check_encoder(self, model)
        gradient = objective.gradient
        if self.backpropagate and not (gradient is None or isinstance(gradient, Reparameterised)):
            raise ValueError(
                "The gradient through the steps takes second derivatives of the objective, which "
                f"`{type(gradient).__name__}` does not estimate. Pass `backpropagate=False`, or "
                "an objective without `gradient`."
            )
        if self.backpropagate and objective.scales_draws:
            raise ValueError(
                "The gradient through the steps takes second derivatives of the objective, and one "
                "that scales the gradients of its draws, as with `encoder_groups`, has no more "
                f"than first ones. Received: {objective}. Pass `backpropagate=False`, or leave "
                "`encoder_groups` out."
            )
        refinable(model)
        if self.backpropagate:
            _check_second_derivatives(model, objective)

    def posterior(
        self,
        step: Stepped,
        batch: dict[str, Tensor],
        seed: Tensor | None = None,
        *,
        training: bool = False,
    ) -> Distribution:
        """See `Scheme.posterior`."""
        model = step.model
        seed = model.make_seed() if seed is None else seed
        origin = checked_origin(model, model.encode(**batch, training=training))
        params = origin.params
        for index in range(int(self.steps)):
            with tf.GradientTape() as tape:
                tape.watch(params)
                terms = model.terms(
                    num_samples=model.objective.num_samples,
                    seed=fold_in(seed, index + 1),
                    posterior=origin.make(params),
                    objective=model.objective,
                    training=training,
                    **batch,
                )
                total = tf.reduce_sum(step.bound(terms))
            ascent = tape.gradient(total, params)
            if not self.backpropagate:
                ascent = tf.stop_gradient(ascent)
            params += self.learning_rate * ascent
        return origin.make(params)

    def update(
        self,
        step: Stepped,
        batch: dict[str, Tensor],
        sample_weight: Tensor | None,
        state: dict[str, Tensor],
    ) -> tuple[Update, dict[str, Tensor]]:
        """See `Scheme.update`."""
        return step.climb(step.model.trainable_weights, batch, sample_weight), state


def refinable(model: Trained) -> None:
    """Checks that the posterior of each point has parameters of its own, by tracing the encoder.

    Raises:
        ValueError: It has not.
    """

    def look(**batch: Tensor) -> Tensor:
        return checked_origin(model, model.encode(**batch)).params

    _trace(model, look)


def _trace(model: Trained, function: Callable[..., Tensor]) -> None:
    outputs_of(function, **model.data.batch_specs())


def _check_second_derivatives(model: Trained, objective: Objective) -> None:
    """Checks that TensorFlow knows the second derivatives of an objective, by tracing them.

    Raises:
        ValueError: It does not.
    """
    state = {name: tf.constant(value) for name, value in initial_state_of(objective).items()}
    families = []

    def look(**batch: Tensor) -> Tensor:
        q_z = model.encode(**batch)
        families.append(type(q_z).__name__)
        origin = checked_origin(model, q_z)
        params = origin.params
        with tf.GradientTape() as outer:
            outer.watch(params)
            with tf.GradientTape() as inner:
                inner.watch(params)
                terms = model.terms(
                    num_samples=objective.num_samples,
                    seed=(0, 0),
                    posterior=origin.make(params),
                    objective=objective,
                    **batch,
                )
                total = tf.reduce_sum(call_objective(objective, terms, 0, state))
            slope = inner.gradient(total, params)
        return outer.gradient(slope, params)

    try:
        _trace(model, look)
    except LookupError as error:  # of TensorFlow's table of gradients
        raise ValueError(
            "The gradient through the steps takes second derivatives of draws of the posterior, "
            f"and TensorFlow has none of an operation that makes them or scores them: {error}. "
            f"Received: a posterior {families[-1]}. Pass `backpropagate=False`, or end the encoder "
            "with another family, such as `MultivariateNormalDiag`."
        ) from error


def checked_origin(model: Trained, q_z: Distribution) -> Origin:
    """Returns what a posterior was made of.

    Raises:
        ValueError: It is not made by one layer of parameters.
    """
    origin = origin_of(q_z)
    if origin is None:
        raise ValueError(
            "Refining a posterior takes the parameters that one layer of `tfvae.layers` makes all "
            "of it from, as at the end of an encoder. Received: a posterior of "
            f"{type(model).__name__} '{model.name}' that is made otherwise, "
            f"{type(q_z).__name__}."
        )
    return origin
