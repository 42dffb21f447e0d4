"""The factors of q: what draws latent nodes from, given data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor
from tfvae.distributions.gaussian import as_diagonal_normal, precision_weighted
from tfvae.distributions.levels import Factor
from tfvae.graph.parts import CONTEXT, Network, Part, sampling_order

__all__ = ["Levels", "Networks"]

Given = dict[str, Tensor]


class Networks:
    """A network for each latent node, which reads data and other latent nodes.

    Args:
        networks: Latent node → its network.
        problem: See `sampling_order`.

    Attributes:
        latents: The latent nodes, in their order within z.
        order: The same, each after those that it reads.
        parts: What makes the distributions.
        factorises: Whether no latent node depends on another.
    """

    def __init__(self, networks: Mapping[str, Network], problem: str = "{}") -> None:
        self.latents = tuple(networks)
        self.parts: dict[str, Network] = dict(networks)
        reads = {name: {n for n in part.reads if n in networks} for name, part in networks.items()}
        self.order = tuple(sampling_order(reads, problem))
        self.factorises = not any(reads.values())

    @property
    def networks(self) -> list[Any]:
        """What holds the weights."""
        return [part.network for part in self.parts.values()]

    @property
    def reads(self) -> set[str]:
        """Names of all that is read."""
        return {name for part in self.parts.values() for name in part.reads}

    def specs(self, name: str) -> list[Any]:
        """Returns the symbolic inputs that read what is given by a name, where there are any."""
        return [spec for part in self.parts.values() if (spec := part.spec(name)) is not None]

    def factors(self, given: Given, training: bool) -> tuple[list[Factor], Given]:
        """Returns the factors in the order of sampling, and what they read beside latent nodes."""
        return [self.factor(name, training) for name in self.order], given

    def factor(self, name: str, training: bool) -> Factor:
        """Returns the factor of one node."""
        part = self.parts[name]
        return Factor(name, part.reads, part.maker(f"one latent `{name}`", training))

    def of_data_alone(self, name: str) -> tuple[str, Callable[[Tensor], Distribution]] | None:
        """Returns the one node that a posterior reads, and the posterior as a function of it.

        None where it reads others, or a context.
        """
        part = self.parts[name]
        if len(part.reads) != 1:
            return None
        source = part.reads[0]
        return source, lambda x: part.distribution({source: x}, f"one latent `{name}`")


class Levels(Networks):
    """Networks of levels that share features of the data, and the way down with p(z).

    Args:
        networks: Level → its network.
        problem: See `sampling_order`.
        features: Network from x to what the others read in its place: one tensor for all, or a
            list of one for each. None for x itself.
        generative: The networks of p(z_l|z_l+1, ...) by level, with which what the posterior says
            of a level is weighed; none to weigh nothing.
    """

    def __init__(
        self,
        networks: Mapping[str, Network],
        problem: str,
        features: Network | None = None,
        generative: Mapping[str, Part] | None = None,
    ) -> None:
        self._features, self._generative = features, dict(generative or {})
        for part in networks.values():
            found = [name for name in part.reads if name in networks]
            if self._generative and found:
                raise ValueError(
                    "With `precision_weighted` posteriors read no levels: what lies above comes "
                    f"in by p(z). Received: `{part.title}` reads {', '.join(found)}"
                )
        super().__init__(networks, problem)
        if self._generative:
            reads = {name: self._parents(name) for name in self.latents}
            self.order = tuple(sampling_order(reads, problem))
            self.factorises = not any(reads.values())

    @property
    def networks(self) -> list[Any]:
        """See `Networks.networks`."""
        features = [] if self._features is None else [self._features.network]
        return [*super().networks, *features]

    @property
    def reads(self) -> set[str]:
        """Names of all that is read."""
        extra = [] if self._features is None else [self._features]
        return super().reads | {n for p in (*extra, *self._generative.values()) for n in p.reads}

    def specs(self, name: str) -> list[Any]:
        """See `Networks.specs`."""
        if self._features is None:
            return super().specs(name)
        own = self._features.spec(name)
        others = [] if name == "x" else super().specs(name)  # they read features in its place
        return others if own is None else [own, *others]

    def factors(self, given: Given, training: bool) -> tuple[list[Factor], Given]:
        """See `Networks.factors`."""
        given, found = self._given(given, training), []
        for name in self.order:
            factor = self.factor(name, training)
            if name in self._generative:
                factor, more = self._weighted(factor, given, training)
                given = {**given, **more}
            found.append(factor)
        return found, given

    def factor(self, name: str, training: bool) -> Factor:
        """See `Networks.factor`."""
        part, own = self.parts[name], _own(self.latents.index(name))

        def make(values: Given) -> Distribution:
            named = {**values, "x": values[own]} if own in values else values
            return part.distribution(named, f"one latent `{name}`", training=training)

        # What of the two there is comes in: a list of features, or one thing for all levels.
        reads = [part for read in part.reads for part in ([own, "x"] if read == "x" else [read])]
        return Factor(name, tuple(reads), make)

    def of_data_alone(self, name: str) -> tuple[str, Callable[[Tensor], Distribution]] | None:
        """See `Networks.of_data_alone`.

        Raises:
            ValueError: It reads other levels: what is made of posteriors says so by this function.
        """
        parts = [part for part in (self.parts[name], self._features) if part is not None]
        if any(CONTEXT in part.reads for part in parts):
            return None
        above = [read for read in self._parents(name) if read in self.latents]

        def encode(x: Tensor) -> Distribution:
            if above:
                raise ValueError(
                    "A prior made of posteriors needs the top posterior as a function of x alone, "
                    f"but `{self.parts[name].title}` reads {', '.join(sorted(above))}. Make the "
                    "posterior top-down: have the top read x, and those below it x and what lies "
                    "above."
                )
            return self.factor(name, False).make(self._given({"x": x}, False))

        return "x", encode

    def _parents(self, name: str) -> set[str]:
        """Returns the levels on which a level of the posterior depends."""
        part = self._generative.get(name, self.parts[name])
        return {read for read in part.reads if read in self.latents}

    def _given(self, given: Given, training: bool) -> Given:
        given = {name: tf.convert_to_tensor(value) for name, value in given.items()}
        if self._features is None:
            return given
        found = self._features(given, training=training)
        if not isinstance(found, (list, tuple)):
            return {**given, "x": tf.convert_to_tensor(found)}
        del given["x"]
        if len(found) != len(self.latents):
            raise ValueError(
                "`features` must return one tensor for all levels, or a list of one for each. "
                f"Expected: {len(self.latents)} tensors. Received: {len(found)}"
            )
        return {**given, **{_own(i): tf.convert_to_tensor(h) for i, h in enumerate(found)}}

    def _weighted(self, own: Factor, given: Given, training: bool) -> tuple[Factor, Given]:
        """Returns q(z_l|x) p(z_l|z_l+1, ...), normalised, and what of it depends on x alone."""
        name = own.name
        generative = self._generative[name]
        make_p = generative.maker(f"one latent `{name}`", training)
        normal = _normal(own.make({read: given[read] for read in own.reads if read in given}))
        parameters = {f"{name} loc": normal.loc, f"{name} scale": normal.scale}

        def make(values: Given) -> Distribution:
            of_x = tfp.distributions.Normal(values[f"{name} loc"], values[f"{name} scale"])
            p = make_p({read: values[read] for read in generative.reads})
            return precision_weighted(of_x, _normal(p))

        return Factor(name, (*generative.reads, *parameters), make), parameters


def _own(index: int) -> str:
    """Returns the name of the features of one level."""
    return f"x_{index}"


def _normal(distribution: Distribution) -> Any:
    normal = as_diagonal_normal(distribution)
    if normal is None:
        raise ValueError(
            "`precision_weighted` takes diagonal Gaussians, such as those of "
            "`MultivariateNormalDiag` and `IndependentNormal`, at all levels below the top. "
            f"Received: {type(distribution).__name__}"
        )
    return normal
