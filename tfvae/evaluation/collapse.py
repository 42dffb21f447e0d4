"""Whether a model uses its latents, and if not, why."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae._random import fold_in, stateless_seed
from tfvae._typing import Seed, Tensor
from tfvae._words import counted
from tfvae.distributions import NormalMixture
from tfvae.distributions.gaussian import as_diagonal_normal
from tfvae.distributions.statistics import centre
from tfvae.evaluation.activity import ACTIVE, Moments, posterior_means
from tfvae.evaluation.causes import Facts, likely_cause
from tfvae.evaluation.decomposition import decompose
from tfvae.evaluation.estimate import Shown, render_table
from tfvae.evaluation.ledger import Decomposition
from tfvae.evaluation.partners import Pool
from tfvae.evaluation.streaming import Stream
from tfvae.layers.base import DistributionLayer
from tfvae.models import LatentVariableModel

__all__ = ["CollapseReport", "draws_per_point", "measure_collapse"]

# Nats of mutual information, or of a rate, below which nothing is said.
_NOTHING = 0.05
# Nats that the mutual information must be able to reach to say that there is none: log 2 is what
# pairs of points can show.
_SHOWS_SOMETHING = 0.99 * math.log(2.0)
# Draws of all points together behind the mutual information: of few points one draw each would
# leave more noise than `_NOTHING`.
_LEAST_DRAWS = 1000
# Scales within this share of their floor lie on it.
_ON_FLOOR = 0.05
_REMEDY_OF_PARTS = "a warm-up of `beta`, or `FreeBits`"


@dataclass(frozen=True)
class CollapseReport(Shown):
    """What the latents of a model say of data, in nats per point.

    Attributes:
        mutual_information: I[x;z] under the given points, at most `information_ceiling`. Where the
            prior is p(z|c), it is I[x;z|c], of points with the same c; None where no two have it.
        rate: Mean KL(q(z|x) || p(z)).
        distortion: Mean of -E log p(x|z).
        shuffle_cost: By how much the distortion rises where each point is given the latents of
            another, of any other of the data: near zero where p(x|z) does not look at z. With a
            context c, the latents are those of another x under the point's own c.
        gap: log p(x) - ELBO, with log p(x) by a few draws: what q(z|x) is away from p(z|x).
        activity: Variance over the points of the mean of q(z|x), dimension by dimension `[K]`; of
            numbered categories, of their probabilities, summed.
        dimension_rates: Rate of each dimension `[K]`, None where posterior or prior do not
            factorise.
        level_rates: Rate of each level or latent node, by the names they are logged by.
        num_points: N.
        information_ceiling: The most that `mutual_information` can be, nats: log N, or of p(z|c)
            the mean of log N_c, of the number of points that have the same c.
        cause: Most likely cause of a collapse, None where there is none.
        remedy: What to try, None where there is nothing to mend.
    """

    mutual_information: float | None
    rate: float
    distortion: float
    shuffle_cost: float
    gap: float
    activity: np.ndarray
    dimension_rates: np.ndarray | None
    num_points: int
    information_ceiling: float
    level_rates: dict[str, float] = field(default_factory=dict)
    cause: str | None = None
    remedy: str | None = None

    @property
    def active(self) -> np.ndarray:
        """Which dimensions are active, bool `[K]`: activity above 0.01."""
        return self.activity > ACTIVE

    @property
    def active_units(self) -> int:
        """Number of active dimensions."""
        return int(np.sum(self.active))

    @property
    def collapsed(self) -> bool:
        """Whether the latents say nothing of the data, below 0.05 nats.

        They do not where the rate, which is the most that the mutual information can be, is as
        small; nor where the mutual information is. Where too few points have the same c to show
        it, `shuffle_cost` decides. Of scores that are not finite nothing can be said.
        """
        if not self._finite:
            return False
        if self.rate < _NOTHING:
            return True
        if self.mutual_information is None or self.information_ceiling < _SHOWS_SOMETHING:
            return self.shuffle_cost < _NOTHING
        return self.mutual_information < _NOTHING

    @property
    def idle_levels(self) -> list[str]:
        """Names of the rates of levels, or latent nodes, that are below 0.05 nats."""
        return [name for name, rate in self.level_rates.items() if rate < _NOTHING]

    @property
    def message(self) -> str | None:
        """One line on what has collapsed, with cause and remedy; None where nothing has."""
        if not self._finite:
            return (
                f"The scores of this model are not finite (distortion {self.distortion:.3g}, rate "
                f"{self.rate:.3g}): of its latents nothing can be said. Look at its weights, and "
                "at the scale of the data."
            )
        if self.collapsed:
            found = f"x is told as well with the z of others ({self.shuffle_cost:.2f} nats)"
            if self.mutual_information is not None:
                found = (
                    f"z says {max(0.0, self.mutual_information):.2f} nats of x, of at most "
                    f"{self.information_ceiling:.2f}"
                )
            return f"Posterior collapse: {found}. Most likely: {self.cause}. Try: {self.remedy}."
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

    @property
    def _finite(self) -> bool:
        return math.isfinite(self.rate) and math.isfinite(self.distortion)

    def to_dict(self) -> dict[str, float]:
        """Returns what is one number each and known, as plain numbers."""
        information = self.mutual_information
        return {
            **({} if information is None else {"mutual_information": information}),
            "information_ceiling": self.information_ceiling,
            "active_units": self.active_units,
            "rate": self.rate,
            "distortion": self.distortion,
            "shuffle_cost": self.shuffle_cost,
            "gap": self.gap,
            **self.level_rates,
        }

    def __str__(self) -> str:
        information, ceiling = "unknown", "no two points have the same context"
        if self.mutual_information is not None:
            information = f"{self.mutual_information:.3f}"
            ceiling = f"at most {self.information_ceiling:.3f}"
        rows = [
            ["mutual_information", information, ceiling],
            ["active_units", str(self.active_units), f"of {len(self.activity)} dimensions"],
            ["rate", f"{self.rate:.3f}", "KL(q(z|x) || p(z))"],
            ["distortion", f"{self.distortion:.3f}", "-E log p(x|z)"],
            ["shuffle_cost", f"{self.shuffle_cost:.3f}", "more distortion with z of others"],
            ["gap", f"{self.gap:.3f}", "log p(x) - ELBO"],
            *([name, f"{rate:.3f}", "part of rate"] for name, rate in self.level_rates.items()),
        ]
        title = f"Use of z on {counted(self.num_points, 'point')}, nats per point"
        table = render_table(title, ["entry", "mean", ""], rows)
        return f"{table}\n{self.message}" if self.message else table


def measure_collapse(
    model: LatentVariableModel,
    data: Any,
    *,
    evidence_samples: int = 50,
    ledger: Decomposition | None = None,
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
        ledger: What `tfvae.decompose` says of the same model and data, where that is at hand:
            rate, distortion, information and gap are read from it, and not measured again. Of few
            points it takes a thousand draws together to tell no information from little.
        batch_size: Points per batch, for arrays.
        seed: Int or pair of ints. The model's own seeds are not touched.
        verbose: Shows a progress bar where it takes more than two seconds.

    Returns:
        `CollapseReport`.

    Raises:
        ValueError: The data has fewer than two points, or is not what the model is for; the model
            has no latents; or `ledger` is of another number of points, or does not compare them.

    Example:
        >>> from tfvae.demo import vae, x
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
    pool = Pool(stream, fold_in(seed, -1))
    if ledger is not None:
        _check_ledger(ledger, pool.num_points)
    values, used, moments = _scored(model, stream, pool, seed)
    if ledger is None:
        ledger = decompose(
            model,
            data,
            num_samples=draws_per_point(pool.num_points),
            evidence_samples=evidence_samples,
            batch_size=batch_size,
            seed=fold_in(seed, 1),
            verbose=verbose,
        )
    report = _report(ledger, values, pool.num_points, moments)
    return _with_cause(report, model, values, used) if report.collapsed else report


def draws_per_point(num_points: int) -> int:
    """Returns how many draws of each of so many points tell no information from little.

    Example:
        >>> from tfvae.evaluation.collapse import draws_per_point
        >>> draws_per_point(20), draws_per_point(50_000)
        (50, 1)
    """
    return -(-_LEAST_DRAWS // num_points)


def _check_ledger(ledger: Decomposition, num_points: int) -> None:
    """Checks that a ledger may be of this data, and has the mutual information where there is one.

    Raises:
        ValueError: It is of another number of points, or was taken with `max_pairs=0`.
    """
    if ledger.num_points != num_points:
        raise ValueError(
            "`ledger` must be of the same data. "
            f"Expected: {num_points} points. Received: {ledger.num_points} points"
        )
    # With a prior p(z|c) there is none where no two points have the same c: the ceiling is zero.
    if ledger.mutual_information is None and ledger.information_ceiling != 0.0:
        raise ValueError(
            "`ledger` must compare the points with each other, for the mutual information. "
            "Received: one without, as `max_pairs=0` makes it. Leave that out of `tfvae.decompose`."
        )


def _scored(
    model: LatentVariableModel, stream: Stream, pool: Pool, seed: Tensor
) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, Moments]]:
    """Returns scores of all points by name `[N]`, what uses the prior's components, and moments."""
    function = model.functions("collapse", lambda: _scorer(model), 10.0 * pool.num_points)
    points: dict[str, list[np.ndarray]] = {}
    moments: dict[str, Moments] = {}
    used: Any = 0.0
    start = 0
    for index, (batch, count) in enumerate(stream):
        others = _under_own_condition(model, batch, pool.others(start, count, len(batch["x"])))
        scores, weights = function(batch, others, tf.constant(count), fold_in(seed, index))
        used = used + weights.numpy()
        start += count
        values = {name: value.numpy()[:count] for name, value in scores.items()}
        moments.setdefault("mean", Moments()).add(values.pop("mean"), values.pop("other_mean"))
        if "dimension_rates" in values:
            moments.setdefault("rates", Moments()).add(values.pop("dimension_rates"))
        for name, value in values.items():
            points.setdefault(name, []).append(value)
    values = {name: np.concatenate(parts).astype("float64") for name, parts in points.items()}
    return values, np.atleast_1d(used), moments


def _report(
    ledger: Decomposition,
    values: dict[str, np.ndarray],
    num_points: int,
    moments: dict[str, Moments],
) -> CollapseReport:
    """Returns what is measured, without a cause."""
    information = ledger.mutual_information
    with np.errstate(invalid="ignore"):  # infinite scores
        shuffle_cost = float(np.mean(values["shuffled_distortion"] - values["distortion"]))
    return CollapseReport(
        mutual_information=None if information is None else float(information),
        rate=float(ledger.rate),
        distortion=float(ledger.distortion),
        shuffle_cost=shuffle_cost,
        gap=float(ledger.gap) if ledger.gap else float("nan"),
        activity=moments["mean"].covariance.mean,
        dimension_rates=moments["rates"].mean.mean if "rates" in moments else None,
        num_points=num_points,
        information_ceiling=ledger.information_ceiling,
        level_rates={name: float(rate) for name, rate in ledger.level_rates.items()},
    )


def _with_cause(
    report: CollapseReport,
    model: LatentVariableModel,
    values: dict[str, np.ndarray],
    used: np.ndarray,
) -> CollapseReport:
    """Returns the report of a collapse with its likely cause, and what helps."""
    on_floor = float(np.mean(values["on_floor"])) if "on_floor" in values else 0.0
    spread = float(np.mean(values["spread"]))
    cause, remedy = likely_cause(Facts(model, report.gap, report.rate, on_floor, used, spread))
    return replace(report, cause=cause, remedy=remedy)


def _scale_floor(model: LatentVariableModel) -> float | None:
    """Returns the floor of the scale of the likelihood, None where it has none."""
    for layer in model._flatten_layers(include_self=False):
        has_floor = isinstance(layer, DistributionLayer) and "min_scale" in layer.floors
        if has_floor and layer.event_shape == model.data.event_shape != model.latent_shape:
            return layer.min_scale
    return None


def _scorer(model: LatentVariableModel) -> Callable[..., tuple[dict[str, Tensor], Tensor]]:
    """Makes the pass over one chunk."""
    floor = _scale_floor(model)

    def score(
        batch: dict[str, Tensor], others: dict[str, Tensor], count: Tensor, seed: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        size = tf.shape(batch["x"])[0]
        q_z = model.encode(**batch)
        terms = model.terms(seed=seed, posterior=q_z, **batch)
        shuffled = model.terms(seed=seed, posterior=model.encode(**others), **batch)
        several = model.terms(num_samples=8, seed=fold_in(seed, 1), posterior=q_z, **batch)
        mean, other_mean = posterior_means(q_z, fold_in(seed, 2))
        values = {
            "distortion": terms.distortion,
            "shuffled_distortion": shuffled.distortion,
            "mean": mean,
            "other_mean": other_mean,
            "spread": tf.math.reduce_std(several.log_p_x, axis=0),
        }
        with contextlib.suppress(ValueError):  # posterior or prior does not factorise
            values["dimension_rates"] = tf.reshape(terms.dimension_rates, [size, -1])
        if floor is not None:
            normal = as_diagonal_normal(model.decode(centre(q_z), batch.get("context")))
            if normal is not None:
                on_floor = tf.cast(normal.scale < (1.0 + _ON_FLOOR) * floor, tf.float32)
                values["on_floor"] = tf.reduce_mean(tf.reshape(on_floor, [size, -1]), axis=1)
        used = tf.zeros([1])
        if isinstance(terms.p_z, NormalMixture):
            responsibilities = tf.nn.softmax(terms.p_z.component_log_prob(terms.z[0]))  # [B, M]
            own = tf.cast(tf.range(size) < count, responsibilities.dtype)
            used = tf.reduce_sum(own[:, None] * responsibilities, axis=0)
        return values, used

    return score


def _under_own_condition(
    model: LatentVariableModel, batch: Mapping[str, Tensor], others: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Returns other points as they would be under what the points of a batch are given.

    That is a context, or what the prior reads: what z says of these is not what it is for.
    """
    own, parts = model.data.as_parts(batch), model.data.as_parts(others)
    given = {name: own[name] for name in own if name == "context" or name in model.graph.conditions}
    combined = model.data.as_batch({**parts, **given})
    return {name: tf.convert_to_tensor(part) for name, part in combined.items()}
