"""How a model comes of a graph: which shapes are known when, and when weights are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras

from tfvae._typing import Shape, event_tuple
from tfvae.data.spec import CONTEXT, DataSpec
from tfvae.graph.graph import Graph
from tfvae.training.trainer import Trainer

__all__ = ["GraphModel"]


class GraphModel(Trainer):
    """Abstract model that is made of a graph, at once or when data tells the shapes that it lacks.

    Args:
        seed: See `LatentVariableModel`.
        **kwargs: See `LatentVariableModel`.

    Attributes:
        data: What comes in: names, shapes, types and supports, a `tfvae.data.spec.DataSpec`.
        graph: The factors of p and q, a `tfvae.graph.graph.Graph`.
    """

    graph: Graph
    data: DataSpec

    def __init__(self, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self._is_building = False

    def _set_graph(self, graph: Graph) -> None:
        """Takes the factors of the model, and builds it where they tell all shapes of the data."""
        self.graph = graph
        self.data = DataSpec(graph.observed, graph.partly_observed, graph.reads_context)
        self._track(*graph.rate_names)
        known = graph.known_shapes()
        needed = [*graph.observed, *([CONTEXT] if graph.reads_context else [])]
        if all(name in known for name in needed):
            # By way of Keras, which then refuses other parts in the place of those that are built.
            self.build({name: (None, *known[name]) for name in needed})

    def build(self, input_shape: Any) -> None:
        """Makes all weights, and checks that the parts of the model fit each other.

        Args:
            input_shape: `(None, *x_event)`, or a dict of the shapes of the parts of the data, the
                context among them.
        """
        if self.built or self._is_building:
            return
        given = {
            name: event_tuple(shape[1:]) for name, shape in self.data.named(input_shape).items()
        }
        self._build_for({**given, **self.graph.known_shapes()})

    def _build_for(self, shapes: Mapping[str, Shape]) -> None:
        graph = self.graph
        if graph.reads_context and CONTEXT not in shapes:
            raise ValueError(
                "This model reads a context of a shape that it does not know yet. Give its "
                "networks a `keras.Input` for it, or build the model with both shapes: "
                '`model.build({"x": (None, ...), "context": (None, ...)})`.'
            )
        names = (*graph.observed, CONTEXT)
        dtypes = {name: graph.dtype_of(name, keras.config.floatx()) for name in names}
        self._is_building = True  # Keras has whatever calls a part of a model build it.
        try:
            graph.build(shapes, dtypes)
        except Exception:
            self.built = False
            raise
        finally:
            self._is_building = False
        self.data = replace(
            self.data,
            shapes=graph.shapes,
            supports=graph.supports,
            context_shape=graph.context_shape,
            dtype="float32" if self.data.is_packed else dtypes[graph.observed[0]],
        )
        if not self.data.is_packed and self.data.support.missing and graph.latents:
            graph.check_missing()
        self.built = True

    def _build_from(self, parts: Mapping[str, Any]) -> None:
        """Builds the model, where that had to wait for data."""
        if not self.built:
            self.build({name: part.shape for name, part in parts.items()})

    def _check_built(self) -> None:
        # Parts of a model may be asked while they are put together.
        if not self.built:
            self.data.check_known()
