"""Models with one prior that can take the place of another."""

from __future__ import annotations

from typing import Any

import keras

from tfvae._typing import Tensor
from tfvae.graph.parts import Root
from tfvae.models.base import LatentVariableModel
from tfvae.models.prior_fit import PriorGain, fit_prior
from tfvae.priors import Prior

__all__ = ["OnePriorModel", "checked_prior"]


class OnePriorModel(LatentVariableModel):
    """Abstract model with a `prior` of z, or of the top of its levels.

    Attributes:
        prior: The prior p(z), a `tfvae.priors.Prior`.
    """

    prior: Prior

    def with_prior(self, prior: Prior) -> OnePriorModel:
        """Returns a new model of the same networks, not copies, with another prior."""
        raise NotImplementedError

    @property
    def parts_beside_prior(self) -> tuple[keras.layers.Layer, ...]:
        """All networks but the prior."""
        raise NotImplementedError

    def fit_prior(self, prior: Prior, x: Any, **settings: Any) -> PriorGain:
        """Replaces the prior by another one, fitted to the aggregated posterior of `x`.

            max_lambda E_x E_q(z|x) log p_lambda(z)

        Encoder and decoder stay as they are: the distortion does too, and the rate falls by as
        much as the new prior lies closer to the aggregated posterior. A compiled model is
        compiled anew, with an optimizer in its first state.

        Args:
            prior: A new prior; its weights are trained.
            x: Data, as for `fit`.
            **settings: `validation_data` (required: the data on which the gain is measured),
                `epochs`, `batch_size`, `optimizer`, `num_samples` and `seed` of the draws that
                measure it, `verbose`.

        Returns:
            `PriorGain`: nats gained per held-out point, with standard error, and the history.

        Raises:
            TypeError: `prior` is no prior.
            ValueError: The prior is not over latents of this model, or the data is not what the
                model is for. The old prior then stays.

        Example:
            >>> gain = vae.fit_prior(tfvae.priors.Normal(), x, validation_data=x, epochs=1)
            >>> bool(np.isfinite(gain.nats))
            True

        Reference: Diagnosing and Enhancing VAE Models (Dai and Wipf, 2019),
        https://arxiv.org/abs/1903.05789
        """
        return fit_prior(self, prior, x, **settings)

    def gain_of_prior(
        self, new: OnePriorModel, batch: dict[str, Tensor], num_samples: int, seed: Tensor
    ) -> Tensor:
        """Returns E_q[log p_new(z) - log p(z)] `[B]`, nats: how much the ELBO of `new` is higher.

        Args:
            new: Made by `with_prior`.
            batch: `x` `[B, ...]`, and `context` for a model with one.
            num_samples: Draws per point, S.
            seed: Int32 pair `[2]`.
        """
        q_z = self.encode(**batch)
        terms = [
            model.terms(num_samples=num_samples, seed=seed, posterior=q_z, **batch)
            for model in (new, self)
        ]
        return terms[0].expect(terms[0].log_p_z - terms[1].log_p_z)

    def replace_prior(self, prior: Prior) -> None:
        """Sets another prior, over the same latents, as it is."""
        prior, old, graph = checked_prior(prior), self.prior, self.graph
        node = graph.latents[-1]
        self._check_built()
        replaced = graph.with_root(node, Root(prior, "prior"))
        self._set_prior(prior)
        self.graph = replaced
        if not self.compiled:
            self.forget_functions()
            return
        try:
            self.compile_from_config(self.get_compile_config())
        except Exception:
            self._set_prior(old)
            self.graph = graph
            raise

    def _set_prior(self, prior: Prior) -> None:
        # Keras locks the parts of a built model, and keeps all that it was ever given; this one is
        # meant to change.
        self._tracker.unlock()
        self._tracker.untrack(self.prior)
        self.prior = prior
        self._tracker.lock()


def checked_prior(prior: Any) -> Prior:
    """Returns `prior` where it is one.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(prior, Prior):
        raise TypeError(
            "`prior` must be an object of `tfvae.priors`, such as `StandardNormal()`. "
            f"Received: {type(prior).__name__}"
        )
    return prior
