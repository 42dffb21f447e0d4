"""Several flows as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfvae._stored import made_again, objects_config
from tfvae._typing import Tensor
from tfvae._words import kind_of
from tfvae.flows.base import Flow, register_flow

__all__ = ["Chain"]


@register_flow
class Chain(Flow):
    """Flows one after the other: the first one given maps first, all read the same context.

        f(x) = f_n(... f_2(f_1(x)))

    Args:
        flows: At least one flow.
        **kwargs: See `Flow`.

    Raises:
        TypeError: One of `flows` is no flow.
        ValueError: There are none.

    Example:
        >>> flow = tfvae.flows.Chain([
        ...     tfvae.flows.RealNVP(num_transforms=2), tfvae.flows.NeuralSpline(num_transforms=2)])
        >>> flow.build(4)
        >>> flow.bijector().forward(tf.zeros([5, 4])).shape
        TensorShape([5, 4])
    """

    def __init__(self, flows: Sequence[Flow], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not flows:
            raise ValueError("`flows` must hold at least one flow. Received: none")
        for flow in flows:
            if not isinstance(flow, Flow):
                raise TypeError(
                    "`flows` must be objects of `tfvae.flows`, such as `RealNVP()`. "
                    f"Received: {kind_of(flow)}"
                )
        self.flows = list(flows)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **objects_config(flows=self.flows)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Chain:
        return cls(**made_again(config, "flows"))

    def _build(self, size: int, context_size: int) -> None:
        for flow in self.flows:
            flow.build(size, context_size)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_det: Any = tf.zeros([], x.dtype)
        for flow in self.flows:
            x, term = flow._forward(x, context)
            log_det += term
        return x, log_det

    def _inverse(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_det: Any = tf.zeros([], y.dtype)
        for flow in reversed(self.flows):
            y, term = flow._inverse(y, context)
            log_det += term
        return y, log_det
