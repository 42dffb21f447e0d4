"""A mean over data points, and how sure it is."""

from __future__ import annotations

import html
import io
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tfvae._words import counted

__all__ = ["Estimate", "OfDraws", "Shown", "data_frame", "render_table"]


class Shown:
    """Mixin of results whose text is for reading: notebooks show it as it is printed."""

    def _repr_html_(self) -> str:
        """Returns the text in type of one width."""
        return f"<pre>{html.escape(str(self))}</pre>"


@dataclass(frozen=True)
class Estimate(Shown):
    """A quantity that is a mean over N data points.

    Attributes:
        per_point: `[N]`, nats.
        mean: Mean over the points, nats.
        standard_error: Of the mean, nats: the standard deviation over points / sqrt(N). It covers
            the choice of the points and the draws made for each.
    """

    per_point: np.ndarray
    mean: float
    standard_error: float

    @classmethod
    def of(cls, per_point: np.ndarray) -> Estimate:
        """Summarises values `[N]`, in float64."""
        values = np.asarray(per_point, np.float64)
        # The mean of values that are not all finite is none either, and has no error.
        with np.errstate(invalid="ignore"):
            deviation = values.std(ddof=1) if len(values) > 1 else float("nan")
            return cls(per_point, float(values.mean()), float(deviation / np.sqrt(len(values))))

    @classmethod
    def of_seeds(cls, values: np.ndarray) -> Estimate:
        """Summarises values `[seeds, N]` of the same points under models of several seeds.

        The points are the same for all seeds, so that the variances of the mean over points and
        of that over seeds add up. Of one seed there is the noise of the points alone.
        """
        values = np.asarray(values, np.float64)
        points = cls.of(values.mean(axis=0))
        seeds = cls.of(values.mean(axis=1)).standard_error if len(values) > 1 else 0.0
        return cls(points.per_point, points.mean, float(np.hypot(points.standard_error, seeds)))

    @classmethod
    def of_splits(cls, values: np.ndarray, held_out: float) -> Estimate:
        """Summarises values `[splits]` of random splits of the same rows.

        Splits share rows, so that their values are closer to each other than those of new rows:
        the variance of the mean over J splits is taken as (1 / J + held_out / (1 - held_out)) times
        that of the values, and does not vanish however many splits there are.

        Args:
            values: One number of each split, such as the difference of two methods.
            held_out: Share of the rows on which a split is measured.

        Example:
            >>> gains = [0.1, 0.2, 0.3, 0.2]
            >>> print(tfvae.evaluation.Estimate.of_splits(gains, held_out=0.2))
            0.200 ± 0.058

        References:
            Inference for the Generalization Error (Nadeau and Bengio, 2003), Machine Learning 52.
        """
        if not 0.0 < held_out < 1.0:
            raise ValueError(
                "`held_out` is the share of the rows on which a split is measured, between 0 and "
                f"1. Received: {held_out}."
            )
        plain = cls.of(np.asarray(values, np.float64))
        shared = np.sqrt(1.0 + len(plain.per_point) * held_out / (1.0 - held_out))
        return cls(plain.per_point, plain.mean, float(plain.standard_error * shared))

    def minus(self, other: Estimate) -> Estimate:
        """Returns the difference to an estimate over the same points, each compared with itself.

        Its standard error is that of the differences: what makes a point hard for both models is
        no noise of the comparison.

        Raises:
            ValueError: The estimates are over different numbers of points.

        Example:
            >>> first = tfvae.evaluation.Estimate.of(np.array([1.0, 5.0, 9.0]))
            >>> second = tfvae.evaluation.Estimate.of(np.array([0.0, 4.0, 8.0]))
            >>> print(first.minus(second))
            1.000 ± 0.000
        """
        own, others = np.asarray(self.per_point), np.asarray(other.per_point)
        if own.shape != others.shape:
            raise ValueError(
                "Paired differences are over the same points. "
                f"Received: {own.shape[0]} and {others.shape[0]} points."
            )
        return Estimate.of(own.astype(np.float64) - others.astype(np.float64))

    def __float__(self) -> float:
        return self.mean

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.standard_error:.3f}"

    def __format__(self, spec: str) -> str:
        """Returns mean and error, both as the format of a number says: `f"{gain:+.2f}"`."""
        if not spec:
            return str(self)
        error = format(self.standard_error, spec.replace("+", ""))
        return f"{format(self.mean, spec)} ± {error}"

    def to_dict(self) -> dict[str, float]:
        """Returns mean and standard error."""
        return {"mean": self.mean, "standard_error": self.standard_error}


class OfDraws(Estimate):
    """Base of estimates of log p(x) from draws, each with an error of its own.

    Subclasses are frozen dataclasses that have the attributes as fields, say in `_DRAWS` what they
    draw and in `_FEW` how many of these are too few, and add `_doubts`, `_remedy`, `_title`, and
    what else they know, `_own_numbers` and `_own_rows`.

    Attributes:
        per_point_standard_error: Of each estimate over its draws `[N]`, nats; zero where log p(x)
            is known.
        ess: Effective number of draws `[N]`.
        num_dimensions: Entries of one example that were observed, D, as a mean over the points.
        log_unit: Logarithm of the volume of a unit of the data as it was measured, nats.
        is_known: Whether log p(x) is a sum over all states, or has a closed form: nothing of it is
            an estimate.
    """

    per_point_standard_error: np.ndarray
    ess: np.ndarray
    num_dimensions: float
    log_unit: float
    is_known: bool

    _DRAWS: ClassVar[str] = "draws"
    _FEW: ClassVar[float] = 10.0

    @property
    def monte_carlo_error(self) -> float:
        """Standard error of the mean over the draws alone, for these very points, nats."""
        errors = self.per_point_standard_error
        return float(np.sqrt(np.sum(errors**2)) / len(errors))

    @property
    def likely_bias(self) -> float:
        """By how much the mean is too low for the noise of the draws alone, nats, if not by more.

        The logarithm of a mean weight with relative standard error r lies r**2 / 2 below that of
        what it estimates, to second order. More points make no less of it. Draws that miss what
        weighs most make it more, and do not tell.
        """
        relative = 1.0 - np.exp(-np.float64(self.per_point_standard_error))
        return float(np.mean(0.5 * np.square(relative)))

    @property
    def bits_per_dimension(self) -> float:
        """-(mean + log_unit) / (D log 2): of p(levels) = unit**D p(x), x = unit * levels."""
        if not self.num_dimensions:
            return float("nan")
        return -(self.mean + self.log_unit) / (self.num_dimensions * math.log(2.0))

    @property
    def message(self) -> str | None:
        """What is to be said of an estimate that cannot be trusted, and what to do; or None."""
        lost = np.flatnonzero(~np.isfinite(self.per_point))
        if len(lost):
            return (
                f"The log p(x) of {len(lost)} of {len(self.per_point)} points is no finite number, "
                f"the first in row {lost[0]}: p(x|z), p(z) or q(z|x) has no density in 32 bits "
                "there, as of values or contexts that are too large."
            )
        for said, found in (
            (
                "Of these log p(x) some are likely too low, and errors larger than they say",
                self._biases(),
            ),
            ("The errors of these log p(x) are likely larger than they say", self._unsure()),
        ):
            if found:
                return f"{said}: {', and '.join(found)}. {self._remedy()}"
        return None

    @property
    def likely_too_low(self) -> bool:
        """Whether `message` says so of the estimate, and not of its error alone."""
        return bool(self._biases()) or not np.all(np.isfinite(self.per_point))

    def _biases(self) -> list[str]:
        ess = math.inf if self.is_known else float(np.median(self.ess))
        few = f"half of the points rest on {ess:.1f} effective {self._DRAWS} or fewer"
        found = [*([few] if ess < self._FEW else []), *self._doubts()]
        if not found and self.likely_bias > self.standard_error:
            error = f"more than its error of {self.standard_error:.2g}"
            found = [f"their mean by {self.likely_bias:.2g} nats at least, {error}"]
        return found

    def to_dict(self) -> dict[str, float]:
        """Returns the summary as plain numbers."""
        return {
            **super().to_dict(),
            "monte_carlo_error": self.monte_carlo_error,
            "bits_per_dimension": self.bits_per_dimension,
            "median_ess": float(np.median(self.ess)),
            "least_ess": float(np.min(self.ess)),
            **self._own_numbers(),
            "num_points": len(self.ess),
        }

    def __str__(self) -> str:
        unit = ""
        if self.log_unit:
            unit = f"of units of {math.exp(self.log_unit / self.num_dimensions):.4g}"
        title = f"Log-likelihood of {counted(len(self.ess), 'point')}, exact"
        rows = [
            ["log p(x)", f"{self.mean:.3f}", f"{self.standard_error:.3f}", "nats per point"],
            ["bits per dimension", f"{self.bits_per_dimension:.4f}", "", unit],
        ]
        if not self.is_known:
            title = self._title()
            of_draws = f"{self.monte_carlo_error:.3f}", f"of it from the {self._DRAWS} alone"
            rows.insert(1, ["", "", *of_draws])
            median, least = f"{np.median(self.ess):.1f}", f"{np.min(self.ess):.1f}"
            rows.append([f"effective {self._DRAWS}", median, "", "median over points"])
            rows += [["", least, "", "least"], *self._own_rows()]
        table = render_table(title, ["quantity", "mean", "± s.e.", ""], rows)
        return table if self.message is None else f"{table}\n{textwrap.fill(self.message, 80)}"

    @staticmethod
    def _fields_of(values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Returns what all subclasses are made with, from values of points `[N]` by name."""
        summary = Estimate.of(values["log_p_x"])
        return {
            "per_point": summary.per_point,
            "mean": summary.mean,
            "standard_error": summary.standard_error,
            "per_point_standard_error": values["standard_error"],
            "ess": values["ess"],
            "num_dimensions": float(np.mean(values["num_observed"])),
            "log_unit": float(np.mean(values["log_unit"])),
            "is_known": bool(np.all(values["is_known"])),
        }

    def _doubts(self) -> list[str]:
        """Returns why else the estimate cannot be trusted, in words."""
        raise NotImplementedError

    def _unsure(self) -> list[str]:
        """Returns why its error cannot, where the estimate can."""
        return []

    def _remedy(self) -> str:
        """Returns what to do about it."""
        raise NotImplementedError

    def _title(self) -> str:
        raise NotImplementedError

    def _own_numbers(self) -> dict[str, float]:
        raise NotImplementedError

    def _own_rows(self) -> list[list[str]]:
        raise NotImplementedError


def render_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table as text of at most 80 columns, numbers on the right of theirs.

    Args:
        title: Stands above it.
        columns: Headings.
        rows: Cells, row by row. Columns after the first are aligned on the right where each of
            their cells is empty or begins with a number.

    Example:
        >>> from tfvae.evaluation import render_table
        >>> print(render_table("Gains", ["model", "nats"], [["VAE", "1.5"], ["IWAE", "12.5"]]))
        Gains
        ┏━━━━━━━┳━━━━━━┓
        ┃ model ┃ nats ┃
        ┡━━━━━━━╇━━━━━━┩
        │ VAE   │  1.5 │
        │ IWAE  │ 12.5 │
        └───────┴──────┘
    """
    # Text as it stands: no markup in square brackets.
    table = Table()
    for index, column in enumerate(columns):
        cells = [row[index] for row in rows if index < len(row)]
        numbers = index > 0 and any(cells) and all(map(_is_number, cells))
        table.add_column(Text(column), justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(file=io.StringIO(), width=80, color_system=None)
    with console.capture() as capture:
        console.print(table)
    lines = [line.rstrip() for line in capture.get().rstrip().splitlines()]
    return "\n".join([*textwrap.wrap(title, 80), *lines])


def data_frame(rows: Sequence[Mapping[str, Any]], index: str) -> Any:
    """Returns rows as a `pandas.DataFrame`, with the values of one column as names of the rows.

    Raises:
        ImportError: pandas is not installed.

    Example:
        >>> from tfvae.evaluation.estimate import data_frame
        >>> data_frame([{"model": "VAE", "nats": 1.5}, {"model": "IWAE", "nats": 12.5}], "model")
               nats
        model
        VAE     1.5
        IWAE   12.5
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            "Frames are made by pandas, which cannot be imported. "
            'Run `pip install "tfvae[tables]"`.'
        ) from error
    return pd.DataFrame(list(rows)).set_index(index)


def _is_number(cell: str) -> bool:
    """Whether a cell holds a number, perhaps with an error or a unit behind it, or nothing."""
    return re.match(r"\s*($|[-+]?(\d|\.\d|nan|inf)|-\s*$)", cell) is not None
