"""What the draws behind log p(x) come from."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow_probability as tfp

from tfvae._config import check_amount
from tfvae._typing import Distribution, Tensor
from tfvae._words import kind_of
from tfvae.data.chunks import Chunks
from tfvae.distributions.defensive import DefensiveMixture
from tfvae.distributions.gaussian import as_diagonal_normal
from tfvae.evaluation.refinement import Refinement
from tfvae.learning.semi_amortised import checked_origin
from tfvae.models import LatentVariableModel

__all__ = ["Defensive", "Encoder", "OfParameters", "Proposal", "Refined", "Widened"]

tfd = tfp.distributions

Batch = Mapping[str, Tensor]


class Proposal(abc.ABC):
    """Abstract proposal: the distribution from which z is drawn to estimate log p(x).

        p(x) = E_q[p(x, z) / q(z)],   for any q above zero wherever p(x, z) is

    so that the mean weight is unbiased, and its logarithm a lower bound in expectation, whatever
    the proposal; the closer q is to p(z|x), and never narrower, the tighter.

    A subclass is a frozen dataclass: two that are equal share a compiled program, in which all but
    what `of_points` returns is fixed.
    """

    @abc.abstractmethod
    def distribution(self, model: LatentVariableModel, batch: Batch, own: Batch) -> Distribution:
        """Returns q, batch shape `[B]`, event shape `E`.

        Args:
            model: The model that is evaluated.
            batch: `x` `[B, ...]`, and `context` for a model with one.
            own: What `of_points` says of these points, by name `[B, ...]`.
        """

    def of_points(self, rows: slice) -> dict[str, np.ndarray]:
        """Returns what is known of some points beside the data, by name `[B, ...]`."""
        del rows
        return {}

    def check_points(self, num_points: int) -> None:
        """Checks that it is for data of so many points.

        Raises:
            ValueError: It is not.
        """
        del num_points

    def check_data(self, data: Chunks) -> None:
        """Checks that it is for this data, as far as can be told before draws are scored.

        Raises:
            ValueError: It is not.
        """
        if data.num_points is not None:
            self.check_points(data.num_points)


def check_proposal(name: str, proposal: Any) -> None:
    """Checks that an argument is a proposal.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(proposal, Proposal):
        raise TypeError(
            f"`{name}` must be a `tfvae.evaluation.Proposal`, such as "
            f"`tfvae.evaluation.Defensive()`. Received: {kind_of(proposal)}"
        )
    try:
        hash(proposal)
    except TypeError as error:
        raise TypeError(
            f"`{name}` must be hashable, since programs are kept for each: a frozen dataclass of "
            f"numbers, tuples, layers and other proposals. Received: {kind_of(proposal)}, and "
            f"{error}. Hold arrays as tuples."
        ) from None


@dataclass(frozen=True)
class Encoder(Proposal):
    """The posterior of the encoder, q(z|x), as it is.

    Example:
        >>> from tfvae.demo import vae, x
        >>> result = tfvae.log_likelihood(vae, x, 100, proposal=tfvae.evaluation.Encoder())
        >>> bool(np.all(result.per_point == tfvae.log_likelihood(vae, x, 100).per_point))
        True

    Reference: Importance Weighted Autoencoders (Burda et al., 2016),
    https://arxiv.org/abs/1509.00519
    """

    def distribution(self, model: LatentVariableModel, batch: Batch, own: Batch) -> Distribution:
        """See `Proposal.distribution`."""
        return model.encode(**batch)


class _Changed(Proposal):
    """Abstract proposal that changes another, `of`, which knows the points."""

    of: Proposal

    def of_points(self, rows: slice) -> dict[str, np.ndarray]:
        """See `Proposal.of_points`."""
        return self.of.of_points(rows)

    def check_points(self, num_points: int) -> None:
        """See `Proposal.check_points`."""
        self.of.check_points(num_points)

    def check_data(self, data: Chunks) -> None:
        """See `Proposal.check_data`."""
        self.of.check_data(data)


@dataclass(frozen=True)
class Widened(_Changed):
    """A diagonal Gaussian proposal with its standard deviations times `scale`.

    The ELBO fits posteriors narrower than the true one, and weights have no variance where q is
    narrower than 0.71 of it. Too wide costs little: where q was right, in K dimensions, a share of
    the draws is effective that is above scale**-K,

        ess / S = (sqrt(2 scale**2 - 1) / scale**2)**K

    Args:
        scale: Factor of the standard deviations, > 0.
        of: The proposal that is widened.

    Raises:
        TypeError: `of` is no proposal.
        ValueError: `scale` is not positive; in use, the proposal is no diagonal Gaussian.

    Example:
        >>> from tfvae.demo import vae, x
        >>> proposal = tfvae.evaluation.Widened(1.2)
        >>> tfvae.log_likelihood(vae, x, 100, proposal=proposal).mean < 0.0
        True

    Reference: Monte Carlo theory, methods and examples (Owen, 2013), chapter 9,
    https://artowen.su.domains/mc/
    """

    scale: float = 1.1
    of: Proposal = Encoder()

    def __post_init__(self) -> None:
        check_amount("scale", self.scale, positive=True)
        check_proposal("of", self.of)

    def distribution(self, model: LatentVariableModel, batch: Batch, own: Batch) -> Distribution:
        """See `Proposal.distribution`."""
        q = self.of.distribution(model, batch, own)
        normal = as_diagonal_normal(q)
        if normal is None:
            raise ValueError(
                "`Widened` takes proposals that are diagonal Gaussians, such as posteriors by "
                f"`tfvae.layers.MultivariateNormalDiag`. Received: {kind_of(q)} of "
                f"{type(model).__name__} '{model.name}'. `Defensive` takes any."
            )
        widened = tfd.Normal(normal.loc, self.scale * normal.scale)
        return tfd.Independent(widened, q.event_shape.rank)


@dataclass(frozen=True)
class Defensive(_Changed):
    """A proposal mixed with the prior, which reaches all that the proposal may have missed.

        m(z|x) = (1 - share) q(z|x) + share p(z),   w = p(x, z) / m(z|x) <= p(x|z) / share

    Weights are bounded where the likelihood is: they have a variance, and the standard error can be
    trusted. None is more than 1 / (1 - share) times what it is without the prior, so that little is
    lost where q was good. Each draw takes the densities of both.

    Args:
        share: That of the draws from the prior, between 0 and 1.
        of: The other proposal.

    Raises:
        TypeError: `of` is no proposal.
        ValueError: `share` is not between 0 and 1; in use, the data gives values of latent nodes.

    Example:
        >>> from tfvae.demo import vae, x
        >>> proposal = tfvae.evaluation.Defensive(0.2, of=tfvae.evaluation.Widened())
        >>> tfvae.log_likelihood(vae, x, 100, proposal=proposal).mean < 0.0
        True

    Reference: Weighted Average Importance Sampling and Defensive Mixture Distributions (Hesterberg,
    1995), https://doi.org/10.1080/00401706.1995.10484303
    """

    share: float = 0.1
    of: Proposal = Encoder()

    def __post_init__(self) -> None:
        check_amount("share", self.share, positive=True)
        if self.share >= 1.0:
            raise ValueError(
                f"`share` must be a number between 0 and 1. Received: share={self.share!r}"
            )
        check_proposal("of", self.of)

    def distribution(self, model: LatentVariableModel, batch: Batch, own: Batch) -> Distribution:
        """See `Proposal.distribution`."""
        if model.graph.partly_observed:
            raise ValueError(
                "`Defensive` draws latent nodes from the prior, which knows nothing of values that "
                f"the data gives of {', '.join(model.graph.partly_observed)}. Use another "
                "proposal for models with `partly_observed` nodes, such as `Encoder()`."
            )
        q = self.of.distribution(model, batch, own)
        return DefensiveMixture(q, model.prior_of(batch), self.share)


@dataclass(frozen=True)
class OfParameters(Proposal):
    """Posteriors whose parameters come with the points, as `params` `[B, P]`."""

    def distribution(self, model: LatentVariableModel, batch: Batch, own: Batch) -> Distribution:
        """See `Proposal.distribution`."""
        origin = checked_origin(model, model.encode(**batch))
        if not origin.params.shape.is_compatible_with(own["params"].shape):
            raise ValueError(
                "The refinement must be one of this model's posteriors. Expected parameters: "
                f"{origin.params.shape[1:]} per point. Received: {own['params'].shape[1:]}"
            )
        return origin.make(own["params"])


@dataclass(frozen=True)
class Refined(OfParameters):
    """The posteriors that `tfvae.evaluation.refine` has found, point by point.

    Args:
        refinement: Of the same data, in the same order.

    Raises:
        TypeError: `refinement` is none.
        ValueError: In use, it is of another number of points, of a posterior of another model, or
            the data has another order each time it is read.

    Example:
        >>> from tfvae.demo import vae, x
        >>> refinement = tfvae.evaluation.refine(vae, x, steps=50)
        >>> proposal = tfvae.evaluation.Refined(refinement)
        >>> tfvae.log_likelihood(vae, x, 100, proposal=proposal).mean < 0.0
        True

    Reference: Inference Suboptimality in Variational Autoencoders (Cremer et al., 2018),
    https://arxiv.org/abs/1801.03558
    """

    # A program takes the parameters as it takes the data.
    refinement: Refinement = field(compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.refinement, Refinement):
            raise TypeError(
                "`refinement` must be what `tfvae.evaluation.refine` returns. "
                f"Received: {type(self.refinement).__name__}"
            )

    def of_points(self, rows: slice) -> dict[str, np.ndarray]:
        """See `Proposal.of_points`."""
        self.check_points(max(rows.stop, len(self.refinement.params)))
        return {"params": self.refinement.params[rows]}

    def check_points(self, num_points: int) -> None:
        """See `Proposal.check_points`."""
        if num_points != len(self.refinement.params):
            raise ValueError(
                "The refinement must be of the data that is evaluated. Expected: "
                f"{num_points} points. Received: {len(self.refinement.params)}"
            )

    def check_data(self, data: Chunks) -> None:
        """See `Proposal.check_data`."""
        super().check_data(data)
        data.check_order("since each of its points has a posterior of its own")
