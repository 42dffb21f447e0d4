"""The curve of rate and distortion that a model traces as the weight of the rate moves."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tfvae._config import check_amount
from tfvae._typing import Seed
from tfvae._words import counted, kind_of
from tfvae.evaluation.decomposition import decompose
from tfvae.evaluation.estimate import Estimate, Shown, data_frame, render_table
from tfvae.evaluation.ledger import Decomposition
from tfvae.evaluation.streaming import Stream, progress
from tfvae.evaluation.units import discrete_elements
from tfvae.models import LatentVariableModel
from tfvae.objectives import ELBO

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RateDistortion", "rate_distortion"]

_ELBO = ELBO()
# Points that are checked together before a model is trained.
_BATCH_SIZE = 250
_COLUMNS = ("rate", "distortion", "elbo", "mutual_information", "log_p_x")


@dataclasses.dataclass(frozen=True)
class RateDistortion(Shown):
    """Rate and distortion of models trained at several weights of the rate, on held-out data.

    Between them lies what z says of x: with H the entropy of x,

        H - distortion <= I[x;z] <= rate

    H is not known, and at most -E log p(x) of any model: `entropy` is the least of these, and no
    model of the sweep lies below the line `rate = entropy - distortion`.

    Attributes:
        betas: Weights of the rate, in the order of all else.
        ledgers: What `tfvae.decompose` says of each model, in nats per held-out point.
        models: The models, trained.
        discrete: Whether p(x|z) gives probabilities and not densities: distortion is then never
            below zero.
    """

    betas: tuple[float, ...]
    ledgers: tuple[Decomposition, ...]
    models: tuple[LatentVariableModel, ...] = dataclasses.field(repr=False)
    discrete: bool

    @property
    def rate(self) -> list[Estimate]:
        """KL(q(z|x) || p(z)) at each weight."""
        return [ledger.rate for ledger in self.ledgers]

    @property
    def distortion(self) -> list[Estimate]:
        """-E log p(x|z) at each weight."""
        return [ledger.distortion for ledger in self.ledgers]

    @property
    def elbo(self) -> list[Estimate]:
        """-(distortion + rate) at each weight: that of weight one, whatever was trained on."""
        return [ledger.elbo for ledger in self.ledgers]

    @property
    def mutual_information(self) -> list[Estimate | None]:
        """I[x;z] at each weight, see `Decomposition`: it cannot show more than log N."""
        return [ledger.mutual_information for ledger in self.ledgers]

    @property
    def best(self) -> int:
        """Place of the model with the highest log p(x), by its ELBO where that was left out."""
        means = [_evidence(ledger).mean for ledger in self.ledgers]
        return int(np.argmax([mean if math.isfinite(mean) else -math.inf for mean in means]))

    @property
    def entropy(self) -> Estimate:
        """The most that H can be: -E log p(x) of the best model, nats."""
        found = _evidence(self.ledgers[self.best])
        return Estimate(-np.asarray(found.per_point), -found.mean, found.standard_error)

    def to_dict(self) -> dict[str, Any]:
        """Returns means and standard errors as plain numbers."""
        return {
            "betas": list(self.betas),
            "ledgers": [ledger.to_dict() for ledger in self.ledgers],
            "entropy": self.entropy.to_dict(),
            "best": self.best,
        }

    def to_frame(self) -> Any:
        """Returns a `pandas.DataFrame`: a row for each weight, two columns for each entry.

        Raises:
            ImportError: pandas is not installed.
        """
        rows = []
        for beta, ledger in zip(self.betas, self.ledgers, strict=True):
            row = {"beta": beta}
            for name in _COLUMNS:
                entry = getattr(ledger, name)
                if entry is not None:
                    row[name], row[f"{name}_standard_error"] = entry.mean, entry.standard_error
            rows.append(row)
        return data_frame(rows, "beta")

    def plot(self) -> Figure:
        """Returns a picture of all points and the bounds, see `tfvae.plots.rate_distortion`."""
        from tfvae import plots

        return plots.rate_distortion(self)

    def __str__(self) -> str:
        names = ("rate", "distortion", "elbo", "mutual_information")
        rows = [
            [f"{beta:g}", *(_cell(getattr(ledger, name)) for name in names)]
            for beta, ledger in zip(self.betas, self.ledgers, strict=True)
        ]
        num_points = self.ledgers[0].num_points
        title = f"Rate and distortion on {counted(num_points, 'point')}, nats per point"
        table = render_table(title, ["beta", "rate", "distortion", "ELBO", "I[x;z]"], rows)
        found = self.ledgers[self.best].log_p_x
        by = "ELBO" if found is None else "log p(x)"
        note = (
            f"H - distortion <= I[x;z] <= rate, with an entropy H of at most {self.entropy}, by "
            f"the {by} of beta {self.betas[self.best]:g}. I[x;z] of these points is at most "
            f"{self.ledgers[0].information_ceiling:.2f}."
        )
        notes = [note, *([found.message] if found is not None and found.message else [])]
        return "\n".join([table, *(textwrap.fill(note, 80) for note in notes)])


def _evidence(ledger: Decomposition) -> Estimate:
    return ledger.elbo if ledger.log_p_x is None else ledger.log_p_x


def _cell(entry: Estimate | None) -> str:
    return "" if entry is None else f"{entry.mean:.2f} ± {entry.standard_error:.2f}"


def rate_distortion(
    build: Callable[[], LatentVariableModel],
    betas: Iterable[float] | float,
    data: Any,
    held_out: Any,
    *,
    objective: ELBO = _ELBO,
    optimizer: Any = "adam",
    num_samples: int = 10,
    evidence_samples: int = 100,
    seed: Seed = 0,
    verbose: bool = True,
    **fit: Any,
) -> RateDistortion:
    """Trains a model at each of several weights of the rate, and measures all on held-out data.

        max E_x [ -distortion - beta * rate ],   one new model for each beta

    Of one ELBO there are many ways to share it between rate and distortion. The weight chooses one:
    large ones end at rate 0, a model that ignores z, small ones at an autoencoder.

    Args:
        build: Makes a new model, not compiled, at each call. For models that differ in their weight
            alone it sets the seed of their first weights.
        betas: Weights of the rate, >= 0, several or one.
        data: To train on, in any form that `fit` takes.
        held_out: To measure on, in any form that `tfvae.decompose` takes.
        objective: What is trained on, with its `beta` replaced by each of `betas`.
        optimizer: Keras optimizer, by name or as an object, of which each model gets a new one.
        num_samples: Draws of z per held-out point.
        evidence_samples: Draws of z per held-out point for log p(x), which tells how small the
            entropy is; 0 leaves it out, and takes the best ELBO.
        seed: Int or pair of ints, of these draws.
        verbose: Shows a progress bar where it takes more than two seconds.
        **fit: Of `fit`, such as `epochs`, `batch_size` and `callbacks`.

    Returns:
        `RateDistortion`.

    Raises:
        TypeError: `build` is no function that makes a model of `tfvae`, or `objective` no `ELBO`.
        ValueError: There is no weight, or one that is negative or not finite; `build` makes models
            that are compiled, have no latents, or share weights; the data is not what they are for.

    Example:
        >>> from tfvae.demo import decoder, encoder, x
        >>> def build():
        ...     return tfvae.VAE(*map(keras.models.clone_model, (encoder, decoder)), seed=0)
        >>> curve = tfvae.rate_distortion(build, [1.0, 100.0], x, x, epochs=2, verbose=False)
        >>> [rate.mean > 0.0 for rate in curve.rate]
        [True, True]

    Reference: Fixing a Broken ELBO (Alemi et al., 2018), https://arxiv.org/abs/1711.00464
    """
    weights = _checked(betas)
    if not callable(build) or isinstance(build, keras.Model):
        raise TypeError(
            "`build` must be a function that makes a new model at each call. "
            f"Received: {kind_of(build)}"
        )
    if not isinstance(objective, ELBO):
        raise TypeError(
            "`objective` must be a `tfvae.objectives.ELBO`, whose `beta` is replaced. "
            f"Received: {kind_of(objective)}"
        )
    models: list[LatentVariableModel] = []
    ledgers: list[Decomposition] = []
    with progress(len(weights), "rate and distortion", verbose, unit="models") as bar:
        for beta in weights:
            model = _new(build, models)
            Stream(model, held_out, _BATCH_SIZE)  # Refuses data before a model is trained.
            model.compile(_anew(optimizer), dataclasses.replace(objective, beta=beta))
            model.fit(data, **{"verbose": 0, **fit})
            ledger = decompose(
                model,
                held_out,
                num_samples=num_samples,
                evidence_samples=evidence_samples,
                seed=seed,
                verbose=verbose,
            )
            models.append(model)
            ledgers.append(ledger)
            bar.update(1)
    discrete = bool(np.all(discrete_elements(models[0])))
    return RateDistortion(weights, tuple(ledgers), tuple(models), discrete)


def _checked(betas: Iterable[float] | float) -> tuple[float, ...]:
    weights = tuple(betas) if isinstance(betas, Iterable) else (betas,)
    if not weights:
        raise ValueError("`betas` must be weights of the rate, at least one. Received: none")
    for beta in weights:
        check_amount("betas", beta)
    return tuple(map(float, weights))


def _new(
    build: Callable[[], LatentVariableModel], others: list[LatentVariableModel]
) -> LatentVariableModel:
    """Returns a model that is not trained yet.

    Raises:
        TypeError: It is no model.
        ValueError: It is compiled, has no latents, or weights of another.
    """
    model = build()
    if not isinstance(model, LatentVariableModel):
        raise TypeError(
            "`build` must return a model of `tfvae`, such as a `tfvae.VAE`. "
            f"Received: {kind_of(model)}"
        )
    if not model.graph.latents:
        raise ValueError(
            f"This model has no latents, and so no rate: {type(model).__name__} describes x "
            "without any."
        )
    if model.compiled:
        raise ValueError(
            "`build` must return a model that is not compiled: it is compiled here, with each of "
            "`betas`. Received: one that is. Leave `compile` out of `build`."
        )
    known = {id(weight) for other in others for weight in other.trainable_weights}
    if any(id(weight) in known for weight in model.trainable_weights):
        raise ValueError(
            "`build` must make its networks anew at each call, or each model would go on where the "
            "one before has ended. Received: a model with weights of another. Make the networks "
            "within `build`."
        )
    return model


def _anew(optimizer: Any) -> Any:
    """Returns an optimizer in its first state; a name stays one."""
    if isinstance(optimizer, keras.optimizers.Optimizer):
        return type(optimizer).from_config(optimizer.get_config())
    return optimizer
