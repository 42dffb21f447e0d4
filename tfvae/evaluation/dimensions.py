"""The ledger of each dimension of z: what it says, what it costs, and whether it says anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfvae._typing import Shape
from tfvae.evaluation.activity import ACTIVE, Means, Moments
from tfvae.evaluation.aggregation import Aggregated
from tfvae.evaluation.estimate import Shown, data_frame, render_table
from tfvae.evaluation.sharding import Part

__all__ = ["Dimensions", "OfDimensions", "names_of_dimensions"]

# Rows that a ledger prints.
_MOST_ROWS = 5
_ENTRIES = ("rate", "mutual_information", "dimension_wise_kl", "variance")


@dataclass(frozen=True)
class Dimensions(Shown):
    """What each of the K dimensions of z has in the ledger, in nats per point.

        rate_k = mutual_information_k + dimension_wise_kl_k
        rate = sum_k rate_k,   sum_k mutual_information_k = mutual_information + total_correlation

    where posterior and prior factorise; entries that there are not are None.

    Attributes:
        names: Of each dimension: that of its latent node, with the place in it in brackets.
        nodes: Which latent node, or level, each belongs to.
        variance: Of the mean of q(z_k|x) over the points: what makes a dimension active. Of
            numbered categories, of their probabilities, summed, without an error.
        rate: E KL(q(z_k|x) || p(z_k)).
        mutual_information: I[x;z_k], given c where the prior is; from the points that are compared.
        dimension_wise_kl: KL(q(z_k) || p(z_k)), from the same.

    Example:
        >>> from tfvae.demo import vae, x
        >>> found = tfvae.decompose(vae, x, evidence_samples=0).dimensions
        >>> found.names[:2], found.rate.mean.shape == found.active.shape
        (('z[0]', 'z[1]'), True)

    References:
        Isolating Sources of Disentanglement in VAEs (Chen et al., 2018),
        https://arxiv.org/abs/1802.04942
        Importance Weighted Autoencoders (Burda et al., 2016), section 5.1: active units
    """

    names: tuple[str, ...]
    nodes: tuple[str, ...]
    variance: Means
    rate: Means | None = None
    mutual_information: Means | None = None
    dimension_wise_kl: Means | None = None

    @property
    def active(self) -> np.ndarray:
        """Which dimensions are active, bool `[K]`: a variance above 0.01."""
        return self.variance.mean > ACTIVE

    @property
    def entries(self) -> dict[str, Means]:
        """What is known, by name."""
        found = {name: getattr(self, name) for name in _ENTRIES}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def order(self) -> np.ndarray:
        """Which dimension says most, which then, and so on `[K]`.

        By the mutual information, or by the rate, or by the variance of the mean: what is known.
        """
        known = self.mutual_information or self.rate or self.variance
        return np.argsort(-known.mean, kind="stable")

    @property
    def levels(self) -> dict[str, dict[str, int]]:
        """How many dimensions each latent node has, and how many of them are active."""
        nodes = np.asarray(self.nodes)
        return {
            node: {
                "num_dimensions": int(np.sum(nodes == node)),
                "num_active": int(np.sum(self.active[nodes == node])),
            }
            for node in dict.fromkeys(self.nodes)
        }

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Returns the entries of each dimension as plain numbers, by its name."""
        return {
            name: {
                "level": self.nodes[k],
                **{entry: means.to_dict(k) for entry, means in self.entries.items()},
                "active": bool(self.active[k]),
            }
            for k, name in enumerate(self.names)
        }

    def to_frame(self) -> Any:
        """Returns a `pandas.DataFrame`: a row for each dimension, errors beside the entries.

        Raises:
            ImportError: pandas is not installed.
        """
        rows: list[dict[str, Any]] = []
        for k, name in enumerate(self.names):
            row: dict[str, Any] = {"dimension": name, "level": self.nodes[k]}
            for entry, means in self.entries.items():
                row[entry] = float(means.mean[k])
                row[f"{entry}_error"] = float(means.standard_error[k])
            rows.append({**row, "active": bool(self.active[k])})
        return data_frame(rows, "dimension")

    def to_text(self, most: int = _MOST_ROWS) -> str:
        """Returns a table of at most 80 columns.

        Args:
            most: The most rows, of the dimensions that say most.
        """
        headings = {
            "rate": "rate",
            "mutual_information": "I[x;z_k]",
            "dimension_wise_kl": "KL(q(z_k)||p)",
            "variance": "var. of mean",
        }
        rows = [
            [self.names[k], *(means.to_text(k) for means in self.entries.values())]
            for k in self.order[:most]
        ]
        title = f"Dimensions of z: {int(np.sum(self.active))} of {len(self.names)} active"
        if len(rows) < len(self.names):
            title += f", the {len(rows)} that say most"
        columns = ["dimension", *(headings[entry] for entry in self.entries)]
        return render_table(title, columns, rows)

    def __str__(self) -> str:
        return self.to_text(len(self.names))

    @classmethod
    def of(
        cls,
        shapes: Mapping[str, Shape],
        variance: Means,
        rate: Means | None,
        of_all: Aggregated | None,
    ) -> Dimensions:
        """Puts together what is known.

        Args:
            shapes: Of the latent nodes, in their order within z.
            variance: Of the posterior means.
            rate: Where posterior and prior factorise.
            of_all: What is known of the aggregated posterior, None where nothing is.
        """
        compared = {} if of_all is None else _compared(of_all, len(variance.mean))
        names, nodes = names_of_dimensions(shapes)
        found = {name: Means.of(values) for name, values in compared.items()}
        return cls(names, nodes, variance, rate, **found)


def names_of_dimensions(shapes: Mapping[str, Shape]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the name of each dimension of z, and that of the node that it is of.

    Example:
        >>> from tfvae.evaluation.dimensions import names_of_dimensions
        >>> names_of_dimensions({"z": (2,), "y": ()})
        (('z[0]', 'z[1]', 'y'), ('z', 'z', 'y'))
    """
    names, nodes = [], []
    for node, shape in shapes.items():
        for place in np.ndindex(*shape):
            names.append(f"{node}[{','.join(map(str, place))}]" if shape else node)
            nodes.append(node)
    return tuple(names), tuple(nodes)


def _compared(of_all: Aggregated, num_dimensions: int) -> dict[str, np.ndarray]:
    """Returns what compares points with each other, dimension by dimension, `[n, K]` by name."""
    draws, each = of_all.draws, of_all.log_q_z_each
    own, prior = draws.get("log_q_z_each"), draws.get("log_p_z_each")
    if num_dimensions == 1:  # which is all of z, whether it factorises or not
        each, own, prior = (
            value[..., None] for value in (of_all.log_q_z, draws["log_q_z"], draws["log_p_z"])
        )
    if each is None or own is None:
        return {}
    with np.errstate(invalid="ignore"):  # infinite scores
        found = {"mutual_information": of_all.expect(own - each)}
        if prior is not None:
            found["dimension_wise_kl"] = of_all.expect(each - prior)
    return found


class OfDimensions:
    """Rates and posterior means, dimension by dimension: sums over the points alone are held.

    Args:
        shapes: Of the latent nodes, in their order within z.
        is_shared: Keeps the sums of each chunk, for those who merge what several workers have.
    """

    def __init__(self, shapes: Mapping[str, Shape], is_shared: bool = False) -> None:
        self._shapes, self._is_shared = shapes, is_shared
        self._moments = {name: Moments() for name in ("mean", "rates")}
        self._sums: dict[str, list[np.ndarray]] = {}

    def begin(self, scores: Mapping[str, Any], count: int) -> None:
        """Takes distances to the values of the first chunk, whoever's it is.

        Args:
            scores: Of the points of a chunk: `mean`, `other_mean` and `rates` where there are.
            count: How many are data.
        """
        for name, pair in self._given(scores, count):
            self._moments[name].begin(*pair)

    def add(self, scores: dict[str, Any], count: int) -> None:
        """Takes the scores of dimensions out of those of a chunk, of which `count` are data."""
        for name, pair in self._given(scores, count):
            number, sums = self._moments[name].sums_of(*pair)
            self._moments[name].add_sums(number, sums)
            if self._is_shared:
                self._sums.setdefault(name, []).append(sums)
        for name in ("mean", "other_mean", "rates"):
            scores.pop(name, None)

    def found(self, of_all: Aggregated | None) -> Dimensions:
        """Returns what is known of each dimension, with that of the aggregated posterior."""
        means, rates = self._moments.values()
        rate = None if rates.shift is None else rates.mean
        return Dimensions.of(self._shapes, means.covariance, rate, of_all)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns the sums chunk by chunk, from which `of_arrays` makes those of all chunks."""
        shifts = {f"shift of {n}": m.shift for n, m in self._moments.items() if m.shift is not None}
        return {**shifts, **{f"sums of {n}": np.stack(sums) for n, sums in self._sums.items()}}

    @classmethod
    def of_parts(cls, shapes: Mapping[str, Shape], parts: Sequence[Part[Any]]) -> OfDimensions:
        """Adds up what several workers have found, chunk by chunk in the order of the data.

        Args:
            shapes: Of the latent nodes, in their order within z.
            parts: Whose extras hold what `to_arrays` says, in the order of their shards.
        """
        found, sizes = cls(shapes), parts[0].sizes
        for name in found._moments:
            shift = parts[0].extras.get(f"shift of {name}")
            if shift is None:
                continue
            moments = found._moments[name] = Moments(shift)
            sums = [part.extras.get(f"sums of {name}") for part in parts]
            for batch, size in enumerate(sizes):
                own = sums[batch % len(parts)]
                assert own is not None
                moments.add_sums(int(size), own[batch // len(parts)])
        return found

    @staticmethod
    def _given(scores: Mapping[str, Any], count: int) -> Iterator[tuple[str, list[np.ndarray]]]:
        for name, pair in (("mean", ("mean", "other_mean")), ("rates", ("rates",))):
            if name in scores:
                yield name, [np.asarray(scores[part])[:count] for part in pair]
