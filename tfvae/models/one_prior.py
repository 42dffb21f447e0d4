"""Models with one prior that can take the place of another."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from tfvae._random import fold_in, stateless_seed
from tfvae._typing import Tensor
from tfvae._words import kind_of
from tfvae.data.chunks import Chunks
from tfvae.data.source import Source
from tfvae.graph.parts import Root, takes_context
from tfvae.models.base import LatentVariableModel
from tfvae.priors import Prior

__all__ = ["OnePriorModel", "PriorGain", "checked_prior"]


# As many as let a mixture move from where it begins.
_UPDATES = 1000


class PriorGain(NamedTuple):
    """What a new prior gained on held-out data.

    Attributes:
        nats: Mean over points of E_q[log p_new(z) - log p_old(z)]: by as much the rate falls and
            the ELBO rises. Of a finite mixture, the posterior of which is made of its prior, that
            of log p_new(x) - log p_old(x).
        standard_error: Of `nats`, over points and draws.
        history: What `fit` logged, by name.
    """

    nats: float
    standard_error: float
    history: dict[str, list[float]]


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

    def fit_prior(
        self,
        prior: Prior,
        x: Any,
        *,
        validation_data: Any,
        epochs: int | None = None,
        batch_size: int = 100,
        optimizer: Any = "adam",
        num_samples: int = 10,
        seed: int = 0,
        verbose: Any = 0,
    ) -> PriorGain:
        """Replaces the prior by another one, fitted to the aggregated posterior of `x`.

            max_lambda E_x E_q(z|x) log p_lambda(z)

        Encoder and decoder stay as they are: the distortion does too, and the rate falls by as
        much as the new prior lies closer to the aggregated posterior. A compiled model is
        compiled anew, with an optimizer in its first state. A new prior that is worse on held-out
        data stays too, with a warning.

        Args:
            prior: A new prior; its weights are trained.
            x: Data, as for `fit`.
            validation_data: Data on which the gain is measured, in any form that `fit` takes.
            epochs: As for `fit`; None takes 10, and more where these are not 1,000 updates.
            batch_size: As for `fit`, and for the measurement.
            optimizer: Keras optimizer, by name or as an object.
            num_samples: Draws per point that measure the gain.
            seed: Of these draws.
            verbose: As for `fit`.

        Returns:
            `PriorGain`: nats gained per held-out point, with standard error, and the history.

        Raises:
            TypeError: `prior` is no prior.
            ValueError: The prior is not over latents of this model, or the data is not what the
                model is for. The old prior then stays.

        Example:
            >>> from tfvae.demo import vae, x
            >>> gain = vae.fit_prior(tfvae.priors.Normal(), x, validation_data=x, epochs=1)
            >>> bool(np.isfinite(gain.nats))
            True

        Reference: Diagnosing and Enhancing VAE Models (Dai and Wipf, 2019),
        https://arxiv.org/abs/1903.05789
        """
        # The networks themselves, and not copies: only the prior is new.
        new, source = self.with_prior(prior), Source.of(x)
        rows = max(1, source.num_rows) if source.is_in_memory else math.inf
        epochs = max(10, math.ceil(_UPDATES * batch_size / rows)) if epochs is None else epochs
        if not new.built:
            new.build({"x": (None, *self.data.event_shape)})
        held_out = Chunks(self, validation_data, batch_size, "validation_data")
        with _frozen(*self.parts_beside_prior):
            new.compile(optimizer)
            history = new.fit(x, epochs=epochs, batch_size=batch_size, verbose=verbose).history

        gains, start = [], 0
        for filled, count in held_out:
            batch = {name: part[:count] for name, part in filled.items()}
            draw = fold_in(stateless_seed(seed), start)
            gains.append(self.gain_of_prior(new, batch, num_samples, draw).numpy())
            start += len(gains[-1])
        gain = np.concatenate(gains).astype("float64")
        self.replace_prior(prior)
        deviation = gain.std(ddof=1) if len(gain) > 1 else float("nan")
        found = PriorGain(float(gain.mean()), float(deviation / np.sqrt(len(gain))), history)
        if found.nats < -2.0 * found.standard_error:
            warnings.warn(
                f"The new prior is worse than the old one by {-found.nats:.2f} ± "
                f"{found.standard_error:.2f} nats per held-out point. Fit it for more `epochs`, or "
                "have the old one back by `replace_prior`.",
                UserWarning,
                stacklevel=2,
            )
        return found

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
        if takes_context(prior) and not graph.reads_context:
            raise ValueError(
                "This model reads no context, and has none for a prior that does. Make a model of "
                f"the same networks and this prior instead. Received: {kind_of(prior)}"
            )
        replaced = graph.with_root(node, Root(prior, "prior"))
        self._set_prior(prior)
        self.graph = replaced
        if not self.compiled:
            self.functions.forget()
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
            f"Received: {kind_of(prior)}"
        )
    return prior


@contextlib.contextmanager
def _frozen(*networks: keras.layers.Layer) -> Iterator[None]:
    """Sets all layers untrainable, and back to what each was."""
    parts = [part for network in networks for part in network._flatten_layers()]
    before = [part.trainable for part in parts]
    try:
        for network in networks:
            network.trainable = False
        yield
    finally:
        for part, trainable in zip(parts, before, strict=True):
            part.trainable = trainable
