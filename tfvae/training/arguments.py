"""What `compile` is given, checked before anything changes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras

from tfvae._config import check_count
from tfvae._typing import whole_number
from tfvae._words import kind_of
from tfvae.learning import Joint, Raise, Remedy, Scheme
from tfvae.objectives import ELBO, Objective

__all__ = ["Arguments", "by_name", "shown_as"]


# Of methods of Keras, the arguments that are not named one by one.
_DATA = {"self", "x", "y", "kwargs"}
_EPOCHS = ("epochs", "initial_epoch")


class Arguments(NamedTuple):
    """Arguments of `compile` that are objects, by default those that most models are trained by.

    Attributes:
        optimizer: Keras optimizer.
        objective: What is maximised.
        scheme: Which weights a batch updates.
        when_not_finite: What follows where numbers are not finite.
    """

    optimizer: Any
    objective: Objective
    scheme: Scheme
    when_not_finite: Remedy

    @classmethod
    def of(
        cls,
        optimizer: Any,
        objective: Objective | None,
        scheme: Scheme | None,
        when_not_finite: Remedy | None,
        unsupported: Mapping[str, Any],
        steps_per_execution: int | str,
        jit_compile: bool | str,
    ) -> Arguments:
        """Returns the arguments, which are what they should be; see `Trainer.compile`."""
        if unsupported:
            raise TypeError(
                f"`compile` of a latent variable model does not take {', '.join(unsupported)}. "
                "The loss is minus the objective: pass `objective=tfvae.objectives.ELBO()`. The "
                "ELBO and its terms are logged without metrics."
            )
        objective = ELBO() if objective is None else objective
        if not isinstance(objective, Objective):
            raise TypeError(
                "`objective` must be an object of `tfvae.objectives`, such as `ELBO(beta=4.0)`. "
                f"Received: objective={_shown(objective)}"
            )
        scheme = Joint() if scheme is None else scheme
        if not isinstance(scheme, Scheme):
            raise TypeError(
                "`scheme` must be an object of `tfvae.learning`, such as `Alternating(5)`. "
                f"Received: scheme={_shown(scheme)}"
            )
        remedy = Raise() if when_not_finite is None else when_not_finite
        if not isinstance(remedy, Remedy):
            raise TypeError(
                "`when_not_finite` must be an object of `tfvae.learning`, such as `Skip(5)` or "
                f"`GoBack()`. Received: when_not_finite={_shown(remedy)}"
            )
        if steps_per_execution != "auto":
            check_count("steps_per_execution", steps_per_execution)
        if jit_compile not in (True, False, "auto"):
            raise ValueError(
                f'`jit_compile` must be True, False or "auto". Received: {jit_compile!r}'
            )
        if optimizer is None:
            raise TypeError(
                "`optimizer` must be a Keras optimizer, or the name of one, such as 'adam'. "
                "Received: optimizer=None"
            )
        optimizer = keras.optimizers.get(optimizer)
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        scheme.check_optimizer(inner)
        remedy.check_optimizer(inner)
        return cls(optimizer, objective, scheme, remedy)

    @property
    def skips(self) -> bool:
        """Whether steps look for numbers that are not finite before weights change."""
        return any(remedy.before_weights_change for remedy in self.when_not_finite.chain())


def _shown(value: Any) -> str:
    """Returns what came in place of an object: a class in words, anything else as it prints."""
    return kind_of(value) if isinstance(value, type) else repr(value)


def by_name(method: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns all arguments of a method of Keras by name, but for itself and the data.

    Raises:
        TypeError: There are too many, one is given twice, or there are callbacks that are none.
        ValueError: A number of epochs is none.
    """
    names = [name for name in inspect.signature(method).parameters if name not in _DATA]
    if len(args) > len(names) or set(names[: len(args)]) & set(kwargs):
        raise TypeError(
            f"`{method.__name__}` takes its arguments as `keras.Model.{method.__name__}` does: "
            f"{', '.join(names)}, each once. Received: {len(args)} by position, and "
            f"{', '.join(kwargs) or 'none'} by name."
        )
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    _check_callbacks(given.get("callbacks"))
    counts = {name: whole_number(name, given[name], 0) for name in _EPOCHS if name in given}
    return {**given, **counts}


def _check_callbacks(callbacks: Any) -> None:
    if callbacks is None or isinstance(callbacks, keras.callbacks.CallbackList):
        return
    for callback in keras.tree.flatten(callbacks):
        if isinstance(callback, type) or not hasattr(callback, "on_epoch_end"):
            raise TypeError(
                "`callbacks` must hold objects of `keras.callbacks.Callback`, such as "
                f"`tfvae.callbacks.ProgressBar()`. Received: {_shown(callback)}"
            )


def shown_as(method: Callable[..., Any]) -> Callable[[Any], Any]:
    """Returns a decorator that has `help` show the arguments of a method of Keras."""

    def shown(own: Any) -> Any:
        own.__signature__ = inspect.signature(method)
        return own

    return shown
