"""The factors of p and q as users give them: networks, and priors, by what they read."""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import keras

from tfvae._typing import Distribution, Shape, Tensor
from tfvae._words import kind_of
from tfvae.graph.checks import check_distribution
from tfvae.priors import Prior

__all__ = [
    "CONTEXT",
    "Network",
    "Part",
    "Root",
    "checked_nodes",
    "named_parts",
    "network_of",
    "part_of",
    "sampling_order",
    "takes_context",
]

Made = TypeVar("Made")

CONTEXT = "context"
# Other inputs of models and of their signatures, and what outputs add to the name of a node.
_TAKEN = (CONTEXT, "noise", "num_samples", "num_steps", "seed")
_ENDINGS = ("_mean", "_probs", "_reconstruction", "_stddev")
_LEVELS = "A level cannot depend on itself, and p(z) on nothing but the levels above."


class Network:
    """One network of several, with the names of what it reads.

    An input named "context" is the context. If all others have names that are known, such as `x`
    and `z_2`, they are given what they name; else they are given `order`, as far as they go.

    Args:
        network: Keras model or layer to a distribution. The names of its inputs are those of a
            Functional model, and those of the arguments of `call` of another.
        title: What it is, for messages, such as `posteriors[0]`.
        order: The names that inputs without such names stand for, in order.
        known: Names that it may read.
        remedy: Layer that ends such a network, for messages.
        others: What to say of an input that is not `known`.
        second_is_context: Whether there are no names to go by: the one input stands for the first
            of `order`, and a second one is the context.

    Raises:
        TypeError: It is no Keras model or layer.
        ValueError: It has more inputs than there are names, or reads what it may not.
    """

    def __init__(
        self,
        network: Any,
        title: str,
        order: Sequence[str],
        known: Sequence[str],
        remedy: str = "MultivariateNormalDiag",
        others: str = _LEVELS,
        *,
        second_is_context: bool = False,
    ) -> None:
        if not isinstance(network, keras.layers.Layer):
            raise TypeError(
                f"`{title}` must be a Keras model or layer. Received: {kind_of(network)}"
            )
        self.network, self.title = network, title
        self._remedy, self._others = remedy, others
        if second_is_context:
            self._inputs, self.reads = _first_and_context(network, order[0])
        else:
            self._inputs = _input_names(network)
            self.reads = self._named(order, known)

    def spec(self, name: str) -> Any:
        """Returns the symbolic input that reads `name`, None where there is none."""
        if name not in self.reads or not getattr(self.network, "inputs", None):
            return None
        return _symbolic(self.network)[self.reads.index(name)]

    def output_shape(self) -> Any:
        """Returns the shape of one draw of what it returns, None where it is not known."""
        outputs = getattr(self.network, "outputs", None)
        return outputs[0].shape[1:] if outputs else None

    def __call__(self, values: Mapping[str, Tensor], *, training: bool = False) -> Any:
        """Returns the output of the network at values `[N, ...]`, by name."""
        found = [values[name] for name in self.reads]
        for name, value in zip(self.reads, found, strict=True):
            spec = self.spec(name)
            if spec is not None and not value.shape[1:].is_compatible_with(spec.shape[1:]):
                raise ValueError(
                    f"`{self.title}` does not take `{name}`. "
                    f"Expected: {name} of shape {tuple(spec.shape[1:])}, its input. "
                    f"Received: {name} of shape {value.shape[1:]}. "
                    "Change one to the shape of the other."
                )
        by_input = dict(zip(self._inputs, found, strict=True))
        if not getattr(self.network, "inputs", None):
            first = by_input.pop(self._inputs[0])
            return self.network(first, **by_input, training=training)
        structure = _structure(self.network)
        if isinstance(structure, dict):
            return self.network(by_input, training=training)
        several = isinstance(structure, (list, tuple))
        return self.network(found if several else found[0], training=training)

    def distribution(
        self, values: Mapping[str, Tensor], event: str, *, training: bool = False
    ) -> Distribution:
        """Returns the distribution that the network makes of values `[N, ...]`, batch shape `[N]`.

        Raises:
            TypeError: It makes none.
            ValueError: It makes another number of them, or does not take these values.
        """
        output = self(values, training=training)
        return check_distribution(output, self.title, event, self._remedy)

    def maker(self, event: str, training: bool) -> Callable[[dict[str, Tensor]], Distribution]:
        """Returns `distribution` as a function of the values alone."""
        return lambda values: self.distribution(values, event, training=training)

    def _named(self, order: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
        others = [name for name in self._inputs if name != CONTEXT]
        if not order or all(_is_name(name) for name in others):
            surplus = [name for name in others if name not in known]
            if surplus:
                raise ValueError(
                    f"`{self.title}` reads {', '.join(surplus)}. Expected: inputs among "
                    f"{', '.join([*known, CONTEXT])}. Received: {', '.join(self._inputs)}. "
                    f"{self._others}"
                )
            return self._inputs
        if len(others) > len(order):
            raise ValueError(
                f"`{self.title}` has more inputs than there is to read: {', '.join(order)}. "
                f"Received: {len(others)} inputs. Name inputs after what they read, "
                '`keras.Input(..., name="z_2")`.'
            )
        rest = iter(order)
        return tuple(name if name == CONTEXT else next(rest) for name in self._inputs)


class Root:
    """A node without parents: a prior, or another layer with a `distribution()`.

    Args:
        layer: The layer.
        title: What it is, for messages, such as `prior`.
    """

    def __init__(self, layer: Any, title: str) -> None:
        self.network, self.title = layer, title
        self.reads = (CONTEXT,) if takes_context(layer) else ()

    def spec(self, name: str) -> Any:
        """Returns the symbolic input that reads `name`, None where there is none."""
        found = list(getattr(self.network, "inputs", None) or []) if name == CONTEXT else []
        return found[-1] if found and self.reads else None

    def output_shape(self) -> Shape | None:
        """Returns the shape of the node, None where it is not known."""
        return getattr(self.network, "event_shape", None)

    def build(self, event_shape: Shape, encoder: Sequence[Any] = ()) -> None:
        """Makes the weights.

        Args:
            event_shape: Shape of the node.
            encoder: What `Prior.connect` takes, nothing where no posterior is of data alone.
        """
        if isinstance(self.network, Prior):
            if self.network.needs_model and not encoder:
                raise ValueError(
                    f"`{self.title}` is made of posteriors, which takes a posterior of this node "
                    "that reads one observed node and nothing else. Choose another prior, or have "
                    "its posterior read the data alone."
                )
            if encoder:
                self.network.connect(*encoder)
        if isinstance(self.network, Prior) or not self.network.built:
            self.network.build(event_shape)

    def maker(self, event: str, training: bool) -> Callable[[dict[str, Tensor]], Distribution]:
        """Returns the distribution as a function of the context, where it reads one."""
        del event, training
        return lambda values: self.network.distribution(**values)


Part = Network | Root


def part_of(part: Any, title: str, known: Sequence[str]) -> Part:
    """Returns a network that reads nodes by name, or a root."""
    if hasattr(part, "distribution") and not getattr(part, "inputs", None):
        return Root(part, title)
    return network_of(part, title, known)


def network_of(part: Any, title: str, known: Sequence[str]) -> Network:
    """Returns a network that reads nodes by name, those that are `known`."""
    others = "Name each input after the node that it reads: `keras.Input(shape, name=...)`."
    return Network(part, title, (), known, others=others)


def checked_nodes(parts: Any, title: str) -> dict[str, Any]:
    """Returns a dict of node → part, with names that can be those of arguments and of outputs.

    A SavedModel carries them too: not those that TensorFlow or Python give a meaning, other letters
    than those of ASCII, or two nodes of which one has the name of what is said of the other.

    Raises:
        TypeError: It is no dict.
        ValueError: A name is none of a variable, is taken, or is that of an output.
    """
    if not isinstance(parts, Mapping):
        raise TypeError(
            f"`{title}` must be a dict of node → Keras network. Received: {kind_of(parts)}"
        )
    for name in parts:
        if not isinstance(name, str) or not _is_free(name):
            raise ValueError(
                "Nodes have names such as those of variables, of the letters a to z, digits and "
                "underscores, not at the beginning, and not of Python or of other inputs, "
                f"{', '.join(_TAKEN)}. Received: `{title}` of {name!r}"
            )
        said = [name + ending for ending in _ENDINGS if name + ending in parts]
        if said:
            raise ValueError(
                f"Nodes have other names than what is said of nodes: outputs of `{name}` have the "
                f"endings {', '.join(_ENDINGS)}. Received: `{title}` of {name!r} and {said[0]!r}"
            )
    return dict(parts)


def _is_free(name: str) -> bool:
    plain = re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name) is not None
    return plain and not keyword.iskeyword(name) and name not in _TAKEN


def named_parts(
    parts: Mapping[str, Any], title: str, nodes: Iterable[str], make: Callable[..., Made]
) -> dict[str, Made]:
    """Returns node → what `make` makes of its part, which may read all other nodes."""
    return {
        name: make(part, f'{title}["{name}"]', [node for node in nodes if node != name])
        for name, part in parts.items()
    }


def takes_context(layer: Any) -> bool:
    """Whether a layer with a `distribution()` reads a context."""
    return bool(getattr(layer, "takes_context", False))


def _first_and_context(network: Any, first: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the names of inputs, and what they read: one, and the context where there are two."""
    names = _input_names(network)
    if not getattr(network, "inputs", None):
        context = (CONTEXT,) if CONTEXT in names else ()
        return (*(names[:1] or ("inputs",)), *context), (first, *context)
    if len(names) > 2:
        raise ValueError(
            f"The network '{network.name}' must have one input, or two of which the second is the "
            f"context. Received: {len(names)} inputs. Make one tensor of several contexts."
        )
    if isinstance(_structure(network), dict) and CONTEXT in names:  # Keras sorts them by name
        return names, tuple(name if name == CONTEXT else first for name in names)
    return names, (first, CONTEXT)[: len(names)]


def _is_name(name: str) -> bool:
    return name == "x" or (name.startswith("z_") and name[2:].isdecimal())


def _structure(network: Any) -> Any:
    """Returns the inputs in the form in which the network takes them."""
    return network.inputs[0] if isinstance(network, keras.Sequential) else network.input


def _symbolic(network: Any) -> list[Any]:
    structure = _structure(network)
    return list(structure.values()) if isinstance(structure, dict) else list(network.inputs)


def _input_names(network: Any) -> tuple[str, ...]:
    if getattr(network, "inputs", None):
        if isinstance(_structure(network), dict):
            return tuple(_structure(network))
        return tuple(tensor.name for tensor in network.inputs)
    skipped = ("training", "mask")
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(network.call).parameters.values()
    return tuple(p.name for p in parameters if p.name not in skipped and p.kind not in variadic)


def sampling_order(reads: Mapping[str, set[str]], problem: str) -> list[str]:
    """Returns names in an order in which each comes after those it reads, the last ones first.

    Args:
        reads: Of each name those that it depends on.
        problem: What to say where there is none, with `{}` for who depends on whom.

    Raises:
        ValueError: Names depend on each other in a circle.
    """
    order: list[str] = []
    while len(order) < len(reads):
        ready = [name for name in reads if name not in order and reads[name] <= set(order)]
        if not ready:
            left = [name for name in reads if name not in order]
            text = "; ".join(f"{name} reads {', '.join(sorted(reads[name]))}" for name in left)
            raise ValueError(problem.format(text))
        order.append(ready[-1])
    return order
