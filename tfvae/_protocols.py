"""What rooms that never see a model's class ask of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from tfvae._typing import Distribution, Seed, Tensor

__all__ = ["Described", "Mixed", "Scored", "Served", "Stepped", "Trained"]


class Scored(Protocol):
    """A model that scores batches: what evidence is estimated from."""

    def encode(self, x: Any, context: Any = None, *, training: bool = False) -> Distribution:
        """See `LatentVariableModel.encode`."""
        ...

    def prior_of(self, batch: Mapping[str, Tensor]) -> Distribution:
        """See `LatentVariableModel.prior_of`."""
        ...

    def terms(self, x: Any, num_samples: Any = 1, seed: Seed = None, **settings: Any) -> Any:
        """See `LatentVariableModel.terms`."""
        ...

    def exact_log_p_x(self, x: Any, context: Any = None) -> Tensor | None:
        """See `LatentVariableModel.exact_log_p_x`."""
        ...


class Described(Protocol):
    """A model of which `predict` says what it makes of each point.

    Attributes:
        data: The `DataSpec`.
        graph: The factors of p and q.
    """

    data: Any
    graph: Any

    def encode(self, x: Any, context: Any = None, *, training: bool = False) -> Distribution:
        """See `LatentVariableModel.encode`."""
        ...

    def decode(self, z: Any, context: Any = None, *, training: bool = False) -> Distribution:
        """See `LatentVariableModel.decode`."""
        ...


class Served(Scored, Described, Protocol):
    """A model that answers requests: what a SavedModel is written from."""

    built: bool

    @property
    def weights(self) -> list[Any]:
        """All weights."""
        ...

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """See `LatentVariableModel.latent_shape`."""
        ...

    def generate(self, num_samples: Any, seed: Tensor, context: Any = None) -> dict[str, Tensor]:
        """See `LatentVariableModel.generate`."""
        ...


class Trained(Scored, Protocol):
    """A model whose weights a learning scheme changes.

    Attributes:
        name: Of the model, for messages.
        seed: Of its draws, None for one of Python's.
        objective: What is maximised.
        optimizer: Keras optimizer.
        data: The `DataSpec`.
        graph: The factors of p and q.
        losses: Those of layers.
        metrics: The trackers of what is logged.
        weights: All weights.
    """

    name: str
    seed: int | None
    objective: Any
    optimizer: Any
    data: Any
    graph: Any

    @property
    def losses(self) -> list[Any]:
        """See `keras.Model`."""
        ...

    @property
    def metrics(self) -> list[Any]:
        """See `keras.Model`."""
        ...

    @property
    def weights(self) -> list[Any]:
        """See `keras.Model`."""
        ...

    @property
    def trainable_weights(self) -> list[Any]:
        """All weights that can be trained."""
        ...

    @property
    def non_trainable_weights(self) -> list[Any]:
        """See `keras.Model`."""
        ...

    @property
    def trainable_variables(self) -> list[Any]:
        """See `keras.Model`."""
        ...

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """See `LatentVariableModel.latent_shape`."""
        ...

    def make_seed(self, seed: Seed = None) -> Tensor:
        """See `LatentVariableModel.make_seed`."""
        ...


class Mixed(Protocol):
    """The parts of p(x) = sum_k p(k) p(x|k), which expectation maximisation fits."""

    @property
    def component(self) -> Any:
        """See `tfvae.models.components.Mixture`."""
        ...

    @property
    def decoder(self) -> Any:
        """See `tfvae.models.components.Mixture`."""
        ...

    @property
    def prior(self) -> Any:
        """See `tfvae.models.components.Mixture`."""
        ...

    @property
    def table(self) -> Any:
        """See `tfvae.models.components.Mixture.table`."""
        ...

    def log_p_x(self, x: Tensor) -> Tensor:
        """See `tfvae.models.components.Mixture.log_p_x`."""
        ...

    def log_p_k(self) -> Tensor:
        """See `tfvae.models.components.Mixture.log_p_k`."""
        ...

    def log_joint(self, x: Tensor) -> Tensor:
        """See `tfvae.models.components.Mixture.log_joint`."""
        ...


class Stepped(Protocol):
    """What a learning scheme makes an update of.

    Attributes:
        model: The model that is trained.
    """

    model: Trained

    def climb(self, weights: list[Any], batch: Any, sample_weight: Any = None) -> Any:
        """See `tfvae.training.step.Step.climb`."""
        ...

    def scored(
        self, batch: Any, sample_weight: Any = None, *, seed: Any = None, training: bool = False
    ) -> tuple[Tensor, Any]:
        """See `tfvae.training.step.Step.scored`."""
        ...

    def bound(self, terms: Any) -> Tensor:
        """See `tfvae.training.step.Step.bound`."""
        ...

    def concluded(
        self, loss: Tensor, terms: Any, gradients: list[Any], weights: list[Any], **values: Tensor
    ) -> Any:
        """See `tfvae.training.step.Step.concluded`."""
        ...
