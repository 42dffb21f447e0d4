"""Whether a model uses its latents, and if not, why."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae._random import fold_in, stateless_seed
from tfvae._typing import Distribution, Seed, Tensor
from tfvae.distributions import Autoregressive, NormalMixture
from tfvae.distributions.gaussian import as_diagonal_normal
from tfvae.distributions.statistics import centre, known_centre, probabilities
from tfvae.evaluation.decomposition import decompose
from tfvae.evaluation.estimate import render_table
from tfvae.evaluation.streaming import Stream
from tfvae.layers.base import DistributionLayer
from tfvae.models import LatentVariableModel
from tfvae.objectives.schedules import value_at

__all__ = ["CollapseReport", "measure_collapse"]

# A latent dimension is active where the mean of its posterior varies by more (Burda et al., 2016).
_ACTIVE = 0.01
# Nats of mutual information, or of a rate, below which nothing is said.
_NOTHING = 0.05
# Nats by which log p(x|z) changes with z, below which p(x|z) does not look at z.
_IGNORED = 0.2
# Draws of each half by which the variance of means is estimated where means are not known.
_DRAWS = 32
# Scales within this share of their floor lie on it.
_ON_FLOOR = 0.05


@dataclass(frozen=True)
class CollapseReport:
    """What the latents of a model say of data, in nats per point.

    Attributes:
        mutual_information: I[x;z] under the given points, at most `information_ceiling`.
        rate: Mean KL(q(z|x) || p(z)).
        distortion: Mean of -E log p(x|z).
        shuffle_cost: By how much the distortion rises where each point is given the latents of
            another: near zero where p(x|z) does not look at z.
        gap: log p(x) - ELBO, with log p(x) by a few draws: what q(z|x) is away from p(z|x).
        activity: Variance over the points of the mean of q(z|x), dimension by dimension `[K]`; of
            numbered categories, of their probabilities, summed.
        dimension_rates: Rate of each dimension `[K]`, None where posterior or prior do not
            factorise.
        level_rates: Rate of each level or latent node, by the names they are logged by.
        num_points: N.
        cause: Most likely cause of a collapse, None where there is none.
        remedy: What to try, None where there is nothing to mend.
    """

    mutual_information: float
    rate: float
    distortion: float
    shuffle_cost: float
    gap: float
    activity: np.ndarray
    dimension_rates: np.ndarray | None
    num_points: int
    level_rates: dict[str, float] = field(default_factory=dict)
    cause: str | None = None
    remedy: str | None = None

    @property
    def information_ceiling(self) -> float:
        """The most that `mutual_information` can be for N points: log N, nats."""
        return math.log(self.num_points)

    @property
    def active(self) -> np.ndarray:
        """Which dimensions are active, bool `[K]`: activity above 0.01."""
        return self.activity > _ACTIVE

    @property
    def active_units(self) -> int:
        """Number of active dimensions."""
        return int(np.sum(self.active))

    @property
    def collapsed(self) -> bool:
        """Whether the latents say nothing of the data, below 0.05 nats."""
        return self.mutual_information < _NOTHING

    @property
    def idle_levels(self) -> list[str]:
        """Names of the rates of levels, or latent nodes, that are below 0.05 nats."""
        return [name for name, rate in self.level_rates.items() if rate < _NOTHING]

    @property
    def message(self) -> str | None:
        """One line on what has collapsed, with cause and remedy; None where nothing has."""
        if self.collapsed:
            return (
                f"Posterior collapse: z says {max(0.0, self.mutual_information):.2f} nats of x, of "
                f"at most {self.information_ceiling:.2f}. Most likely: {self.cause}. "
                f"Try: {self.remedy}."
            )
        if self.idle_levels:
            names = ", ".join(name.removeprefix("rate_") for name in self.idle_levels)
            return (
                f"Partial collapse: of {len(self.level_rates)} latents nothing is said by {names} "
                f"(rate below {_NOTHING} nats). Try: {_REMEDY_OF_PARTS}."
            )
        idle = len(self.activity) - self.active_units
        if idle > len(self.activity) / 2:
            return (
                f"Partial collapse: {idle} of {len(self.activity)} dimensions of z say nothing. "
                f"Where more should be said, try: {_REMEDY_OF_PARTS}; else a smaller z will do."
            )
        return None

    def to_dict(self) -> dict[str, float]:
        """Returns what is one number each, as plain numbers."""
        return {
            "mutual_information": self.mutual_information,
            "information_ceiling": self.information_ceiling,
            "active_units": self.active_units,
            "rate": self.rate,
            "distortion": self.distortion,
            "shuffle_cost": self.shuffle_cost,
            "gap": self.gap,
            **self.level_rates,
        }

    def __str__(self) -> str:
        ceiling = f"at most log N = {self.information_ceiling:.3f}"
        rows = [
            ["mutual_information", f"{self.mutual_information:.3f}", ceiling],
            ["active_units", str(self.active_units), f"of {len(self.activity)} dimensions"],
            ["rate", f"{self.rate:.3f}", "KL(q(z|x) || p(z))"],
            ["distortion", f"{self.distortion:.3f}", "-E log p(x|z)"],
            ["shuffle_cost", f"{self.shuffle_cost:.3f}", "more distortion with z of others"],
            ["gap", f"{self.gap:.3f}", "log p(x) - ELBO"],
            *([name, f"{rate:.3f}", "part of rate"] for name, rate in self.level_rates.items()),
        ]
        title = f"Use of z on {self.num_points} points, nats per point"
        table = render_table(title, ["entry", "mean", ""], rows)
        return f"{table}\n{self.message}" if self.message else table


def measure_collapse(
    model: LatentVariableModel,
    data: Any,
    *,
    evidence_samples: int = 50,
    batch_size: int = 250,
    seed: Seed = 0,
    verbose: bool = False,
) -> CollapseReport:
    """Measures whether a model uses its latents on data, and names the likely cause if not.

    The causes are told apart by what can be measured: the weight of the rate in the objective, a
    decoder that sees x itself, likelihood scales on their floor, components of the prior that no
    point uses, and an ELBO far below log p(x).

    Args:
        model: Any model with latents.
        data: At least two points, as for `tfvae.decompose`; the work grows with N**2.
        evidence_samples: Draws per point for the gap.
        batch_size: Points per batch, for arrays.
        seed: Int or pair of ints. The model's own seeds are not touched.
        verbose: Shows a progress bar where it takes more than two seconds.

    Returns:
        `CollapseReport`.

    Raises:
        ValueError: The data has fewer than two points, or is not what the model is for; or the
            model has no latents.

    Example:
        >>> report = tfvae.evaluation.measure_collapse(vae, x)
        >>> report.active_units <= len(report.activity)
        True

    References:
        Importance Weighted Autoencoders (Burda et al., 2016), section 5.1: active units
        Lagging Inference Networks and Posterior Collapse (He et al., 2019),
        https://arxiv.org/abs/1901.05534
    """
    seed = stateless_seed(0 if seed is None else seed)
    stream = Stream(model, data, batch_size)
    if 0 in model.latent_shape:
        raise ValueError(
            f"This model has no latents that could collapse: {type(model).__name__} describes x "
            "without any."
        )
    function = model.compiled_function("collapse", lambda: _scorer(model))
    points: dict[str, list[np.ndarray]] = {}
    used: Any = 0.0
    for index, (batch, count) in enumerate(stream):
        values, weights = function(batch, tf.constant(count), fold_in(seed, index))
        used = used + weights.numpy()
        for name, value in values.items():
            points.setdefault(name, []).append(value.numpy()[:count])
    values = {name: np.concatenate(parts).astype("float64") for name, parts in points.items()}
    num_points = len(values["distortion"])
    if num_points < 2:
        raise ValueError("At least two points are needed to compare. Received: one.")
    ledger = decompose(
        model,
        data,
        num_samples=1,
        evidence_samples=evidence_samples,
        batch_size=batch_size,
        seed=fold_in(seed, 1),
        verbose=verbose,
    )
    own, shuffled = values["distortion"], values["shuffled_distortion"]
    there = np.isfinite(shuffled)  # a last batch of one point has no other
    if not there.any():
        raise ValueError(
            "Points are compared with others of their batch. Received: batches of one point."
        )
    rates = values.get("dimension_rates")
    report = CollapseReport(
        mutual_information=float(ledger.mutual_information),
        rate=float(ledger.rate),
        distortion=float(ledger.distortion),
        shuffle_cost=float(np.mean((shuffled - own)[there])),
        gap=float(ledger.gap),
        activity=_activity(values["mean"], values["other_mean"]),
        dimension_rates=None if rates is None else rates.mean(axis=0),
        num_points=num_points,
        level_rates={name: float(rate) for name, rate in ledger.level_rates.items()},
    )
    if not report.collapsed:
        return report
    on_floor = float(np.mean(values["on_floor"])) if "on_floor" in values else 0.0
    spread = float(np.mean(values["spread"]))
    facts = _Facts(model, report, on_floor, np.atleast_1d(used), spread)
    cause, remedy = next(found for check in _CAUSES if (found := check(facts)) is not None)
    return CollapseReport(**{**vars(report), "cause": cause, "remedy": remedy})


@dataclass(frozen=True)
class _Facts:
    """What the causes are told apart by.

    Attributes:
        model: The model.
        report: What was measured of its latents.
        on_floor: Share of the entries of x whose likelihood has its scale on the floor.
        used: Points that each component of the prior takes, `[M]`; one zero for other priors.
        spread: Standard deviation of log p(x|z) over draws of z, nats: zero where p(x|z) does not
            look at z, whatever q(z|x) does.
    """

    model: LatentVariableModel
    report: CollapseReport
    on_floor: float
    used: np.ndarray
    spread: float


Cause = tuple[str, str]


def _weight(facts: _Facts) -> Cause | None:
    beta = _beta(facts.model)
    if beta is None or beta <= 1.0:
        return None
    return (
        f"the rate has a weight of {beta:g}, which makes what z could say cost more than it saves",
        "a smaller `beta`, or `TargetRate(nats)` for a rate that is held",
    )


def _young(facts: _Facts) -> Cause | None:
    beta = _beta(facts.model)
    if beta is None or beta >= 1.0:
        return None
    return (
        f"z has not begun to say anything, with a weight of {beta:g} on its rate",
        "more epochs, or a larger learning rate",
    )


def _decoder(facts: _Facts) -> Cause | None:
    if facts.spread > _IGNORED or not _sees_x(facts.model):
        return None
    return (
        "the decoder is autoregressive, and predicts x from x without z: another z changes "
        f"log p(x|z) by {facts.spread:.2f} nats",
        "`FreeBits`, `TargetRate(nats)`, or a decoder that sees less of x",
    )


def _floor(facts: _Facts) -> Cause | None:
    if facts.on_floor < 0.5:
        return None
    return (
        f"{facts.on_floor:.0%} of the scales of p(x|z) lie on their floor `min_scale`, so that a "
        "better mean than the constant one is not worth its rate",
        "a smaller `min_scale`, or data scaled up to it",
    )


def _components(facts: _Facts) -> Cause | None:
    if len(facts.used) < 2:
        return None
    shares = facts.used / np.sum(facts.used)
    entropy = -np.sum(shares[shares > 0.0] * np.log(shares[shares > 0.0]))
    if math.exp(entropy) > 1.5:
        return None
    return (
        f"of {len(shares)} components of the prior all points use one, the others are dead",
        "pseudo-inputs, or means, that start from data: `VampPrior(k, pseudo_inputs=x[:k])`",
    )


def _posterior(facts: _Facts) -> Cause | None:
    gap = facts.report.gap
    if gap < max(0.5, facts.report.rate) or facts.spread < _IGNORED:
        return None
    return (
        f"the ELBO lies {gap:.1f} nats below log p(x): p(x|z) uses z, and q(z|x) does not follow, "
        "because it lags behind or because its family is too weak",
        "more updates of the encoder, `scheme=Alternating(5)`, or a richer posterior such as "
        "`MultivariateNormalTriL`",
    )


def _early(facts: _Facts) -> Cause | None:
    del facts  # what is left where nothing else is seen
    return (
        "the rate has had its whole weight before p(x|z) learned to use z",
        "a warm-up, `ELBO(beta=Linear(0.0, 1.0, steps=...))`, or `FreeBits`",
    )


# In order: what is known for sure comes before what is inferred.
_CAUSES: list[Callable[[_Facts], Cause | None]] = [
    _weight,
    _young,
    _decoder,
    _floor,
    _components,
    _posterior,
    _early,
]
_REMEDY_OF_PARTS = "a warm-up of `beta`, or `FreeBits`"


def _beta(model: LatentVariableModel) -> float | None:
    """Returns the weight of the rate in the model's objective as it stands, None without one."""
    objective: Any = getattr(model, "objective", None)
    for index, part in enumerate(getattr(objective, "objectives", [objective])):
        beta = getattr(part, "beta", None)
        if beta is None:
            continue
        prefix = "" if part is objective else f"{index}_"
        level = model.objective_state.get(f"{prefix}beta_level")  # of a schedule that learns
        return float(value_at(beta, model.optimizer.iterations) if level is None else level)
    return None


def _sees_x(model: LatentVariableModel) -> bool:
    z = tf.zeros([1, *model.latent_shape])
    context = model.context_shape
    p_x: Any = model.decode(z, None if context is None else tf.zeros([1, *context]))
    while not isinstance(p_x, Autoregressive):
        p_x = getattr(p_x, "distribution", None)
        if p_x is None:
            return False
    return True


def _scale_floor(model: LatentVariableModel) -> float | None:
    """Returns the floor of the scale of the likelihood, None where it has none."""
    for layer in model._flatten_layers(include_self=False):
        has_floor = isinstance(layer, DistributionLayer) and "min_scale" in layer.floors
        if has_floor and layer.event_shape == model.event_shape != model.latent_shape:
            return layer.min_scale
    return None


def _scorer(model: LatentVariableModel) -> Callable[..., tuple[dict[str, Tensor], Tensor]]:
    """Makes the pass over one chunk."""
    floor = _scale_floor(model)

    def score(
        batch: dict[str, Tensor], count: Tensor, seed: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        size = tf.shape(batch["x"])[0]
        rows = tf.range(size)
        # Each point has the latents of the one after it, and its own context.
        after = tf.where(rows + 1 < count, rows + 1, 0)
        others = {name: tf.gather(part, after) for name, part in batch.items()}
        q_z = model.encode(**batch)
        terms = model.terms(seed=seed, posterior=q_z, **batch)
        shuffled = model.terms(seed=seed, posterior=model.encode(**others), **batch)
        several = model.terms(num_samples=8, seed=fold_in(seed, 1), posterior=q_z, **batch)
        mean, other_mean = _means(q_z, fold_in(seed, 2))
        nan = tf.cast(float("nan"), terms.distortion.dtype)
        values = {
            "distortion": terms.distortion,
            "shuffled_distortion": tf.where(count > 1, shuffled.distortion, nan),
            "mean": mean,
            "other_mean": other_mean,
            "spread": tf.math.reduce_std(several.log_p_x, axis=0),
        }
        with contextlib.suppress(ValueError):  # posterior or prior does not factorise
            values["dimension_rates"] = tf.reshape(terms.dimension_rates, [size, -1])
        if floor is not None:
            scale = _scale_of(model.decode(centre(q_z), batch.get("context")))
            if scale is not None:
                on_floor = tf.cast(scale < (1.0 + _ON_FLOOR) * floor, tf.float32)
                values["on_floor"] = tf.reduce_mean(tf.reshape(on_floor, [size, -1]), axis=1)
        used = tf.zeros([1])
        if isinstance(terms.p_z, NormalMixture):
            responsibilities = tf.nn.softmax(terms.p_z.component_log_prob(terms.z[0]))  # [B, M]
            own = tf.cast(rows < count, responsibilities.dtype)
            used = tf.reduce_sum(own[:, None] * responsibilities, axis=0)
        return values, used

    return score


def _means(q_z: Distribution, seed: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the means of posteriors twice, `[B, K]`, of numbered categories `[B, K, L]`.

    Means that are not known are estimated by draws, those of each half their own: the covariance
    over points of two estimates is the variance of the means without the noise of the draws.
    """
    batch: Any = q_z.batch_shape_tensor()
    size = batch[0]
    categories = probabilities(q_z)
    if categories is not None:
        found = tf.reshape(categories, [size, -1, categories.shape[-1]])
        return found, found
    known = known_centre(q_z)
    if known is not None:
        found = tf.reshape(known, [size, -1])
        return found, found
    draws = q_z.sample(2 * _DRAWS, seed=seed)
    halves = tf.split(tf.reshape(draws, [2 * _DRAWS, size, -1]), 2)
    one, other = (tf.reduce_mean(half, axis=0) for half in halves)
    return one, other


def _activity(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    product = np.mean((one - one.mean(axis=0)) * (other - other.mean(axis=0)), axis=0)
    return product.sum(axis=-1) if product.ndim == 2 else product


def _scale_of(p_x: Distribution) -> Tensor | None:
    normal = as_diagonal_normal(p_x)
    return None if normal is None else normal.scale
