"""Adam, and Adam with decoupled weight decay."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from minires.autograd import guard
from minires.device import array_module, check_same_device
from minires.errors import UsageError
from minires.kernels.checks import number
from minires.optim.optimizer import Optimizer

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    """Steps of about the same length for every number (Kingma and Ba 2015, algorithm 1).

        g = grad + weight_decay * p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g^2
        p = p - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)          at step t

    m and v start at 0; the divisors make up for that in the first steps.

    Args:
        params: parameters, or groups of them.
        lr: step size, at least 0.
        betas: how much of m and of v is kept, each from 0 to below 1.
        eps: keeps the divisor away from 0.
        weight_decay: the L2 penalty, added to the gradient.

    >>> import minires as mr
    >>> w = mr.tensor([1.0, -2.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> Adam([w], lr=0.5).step()
    >>> w.data.round(3)
    array([ 0.5, -1.5], dtype=float32)
    """

    not_negative = ("lr", "eps", "weight_decay")
    decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))

    def _check_settings(self, settings: dict[str, Any]) -> None:
        super()._check_settings(settings)
        name, betas = f"{type(self).__name__}: betas", settings["betas"]
        pair = isinstance(betas, Sequence) and len(betas) == 2
        if not pair or not all(0.0 <= number(beta, name) < 1.0 for beta in betas):
            raise UsageError(f"{name} must be two numbers from 0 to below 1, got {betas!r}.")

    def step(self) -> None:
        """One step for every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    with guard.writable(parameter._data) as data:
                        self._change(data, parameter.grad._data, parameter, group)

    def _change(self, data: Any, grad: Any, parameter: Any, group: dict[str, Any]) -> None:
        lr, eps, decay = (float(group[name]) for name in ("lr", "eps", "weight_decay"))
        beta1, beta2 = (float(beta) for beta in group["betas"])
        check_same_device(type(self).__name__, grad=grad, parameter=data)
        xp = array_module(data)
        if not (state := self.state.setdefault(parameter, {})):
            state.update(step=0, exp_avg=xp.zeros_like(data), exp_avg_sq=xp.zeros_like(data))
        state["step"] += 1
        m, v = state["exp_avg"], state["exp_avg_sq"]
        if decay and self.decoupled:
            data *= 1.0 - lr * decay
        elif decay:
            grad = grad + decay * data
        m *= beta1
        m += (1.0 - beta1) * grad
        v *= beta2
        v += (1.0 - beta2) * (grad * grad)
        divisor = xp.sqrt(v)
        divisor /= math.sqrt(1.0 - beta2 ** state["step"])
        divisor += eps
        data -= lr / (1.0 - beta1 ** state["step"]) * (m / divisor)


class AdamW(Adam):
    """Adam whose weight decay shrinks the weights themselves (Loshchilov and Hutter 2019).

        p = (1 - lr * weight_decay) * p, and then a step of Adam without the penalty

    so that the decay is not divided by the size of the gradients.

    >>> import minires as mr
    >>> w = mr.tensor([1.0], requires_grad=True)
    >>> w.sum().backward()
    >>> AdamW([w], lr=0.1, weight_decay=1.0).step()
    >>> w.data.round(3)
    array([0.8], dtype=float32)
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ):
        super().__init__(params, lr, betas, eps, weight_decay)
