"""A mean over data points, and how sure it is."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["Estimate", "OfDraws", "render_table"]


@dataclass(frozen=True)
class Estimate:
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

    def __float__(self) -> float:
        return self.mean

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.standard_error:.3f}"

    def to_dict(self) -> dict[str, float]:
        """Returns mean and standard error."""
        return {"mean": self.mean, "standard_error": self.standard_error}


class OfDraws:
    """Mixin of estimates of log p(x) from draws, each with an error of its own.

    Attributes:
        mean: Mean over the points, nats.
        per_point_standard_error: Of each estimate over its draws `[N]`, nats.
        num_dimensions: Size of one example, D.
    """

    mean: float
    per_point_standard_error: np.ndarray
    num_dimensions: int

    @property
    def monte_carlo_error(self) -> float:
        """Standard error of the mean over the draws alone, for these very points, nats."""
        errors = self.per_point_standard_error
        return float(np.sqrt(np.sum(errors**2)) / len(errors))

    @property
    def bits_per_dimension(self) -> float:
        """-mean / (D log 2)."""
        return -self.mean / (self.num_dimensions * math.log(2.0))


def render_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table as text of at most 80 columns; the second and third hold numbers."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index in (1, 2) else "left")
    for row in rows:
        table.add_row(*map(Text, row))  # as it stands: no markup in square brackets
    console = Console(file=io.StringIO(), width=80, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())
