"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

from minires.autograd import guard
from minires.autograd.tensor import Tensor
from minires.device import (
    Array,
    array_module,
    as_array,
    check_same_device,
    device_of,
    is_on_gpu,
    using_device_of,
)
from minires.errors import UsageError
from minires.kernels.checks import number
from minires.kernels.cuda.sgd import sgd as cuda_sgd
from minires.kernels.elementwise import elementwise
from minires.kernels.parallel import scratch
from minires.optim.optimizer import Optimizer

__all__ = ["SGD"]


class SGD(Optimizer):
    """Gradient descent with momentum and weight decay, in PyTorch's form.

        g = grad + weight_decay * p
        v = momentum * v + (1 - dampening) * g          (v = g at the first step)
        g = g + momentum * v  if nesterov else  v
        p = p - lr * g

    The rate multiplies the velocity when it is used, not when it is built up, so a change of lr
    acts at once.

    Args:
        params: parameters, or groups of them.
        lr: step size, at least 0.
        momentum: how much of the velocity is kept, at least 0.
        dampening: how much of the gradient is left out of the velocity.
        weight_decay: the L2 penalty, on every parameter of the group.
        nesterov: look ahead by one step of momentum; needs momentum and no dampening.

    >>> import minires as mr
    >>> w = mr.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> SGD([w], lr=0.1).step()
    >>> w
    tensor([0.8], requires_grad=True)
    """

    not_negative = ("lr", "momentum", "weight_decay")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ):
        settings: dict[str, Any] = dict(lr=lr, momentum=momentum, weight_decay=weight_decay)
        super().__init__(params, {**settings, "dampening": dampening, "nesterov": nesterov})

    def _check_settings(self, settings: dict[str, Any]) -> None:
        super()._check_settings(settings)
        momentum, dampening = settings["momentum"], settings["dampening"]
        number(dampening, "SGD: dampening")
        if settings["nesterov"] and (momentum <= 0 or dampening != 0):
            raise UsageError(
                "SGD: nesterov needs momentum above 0 and no dampening, got momentum "
                f"{momentum} and dampening {dampening}."
            )

    def step(self) -> None:
        """One step for every parameter that has a gradient."""
        for group in self.param_groups:
            lr, momentum, dampening, decay = (  # floats: a NumPy number would widen float32
                float(group[name]) for name in ("lr", "momentum", "dampening", "weight_decay")
            )
            change = _change(lr, momentum, dampening, decay, group["nesterov"])
            on_gpu: list[tuple[Tensor, Array]] = []
            for parameter in group["params"]:
                if (gradient := parameter.grad) is None:
                    continue
                grad = gradient._data
                if parameter._data.dtype.char in "fd" and is_on_gpu(parameter._data):
                    on_gpu.append((parameter, grad))
                    continue
                with guard.writable(parameter._data) as data:
                    if not momentum:
                        elementwise(change, grad, out=data)
                        continue
                    state = self.state.setdefault(parameter, {})
                    velocity = state.get("momentum_buffer")
                    if velocity is not None:
                        elementwise(change, grad, velocity, out=data)
                        continue
                    grad = as_array(grad + decay * data) if decay else grad.copy()
                    state["momentum_buffer"] = grad
                    data -= lr * (grad + momentum * grad if group["nesterov"] else grad)
            self._step_together(on_gpu, group)

    def _step_together(self, pairs: list[tuple[Tensor, Array]], group: dict[str, Any]) -> None:
        """The same step for parameters on GPUs and their gradients, in few launches."""
        alike: dict[Any, list[tuple[Tensor, Array]]] = {}
        for parameter, grad in pairs:
            data, state = parameter._data, self.state.get(parameter, {})
            check_same_device("SGD", grad=grad, parameter=data, **state)
            kind = (device_of(data), data.dtype.char, "momentum_buffer" not in state)
            alike.setdefault(kind, []).append((parameter, grad))
        settings = {name: group[name] for name in self.defaults}
        for (_, _, first), members in alike.items():
            with using_device_of(members[0][0]._data), ExitStack() as opened:
                params = [opened.enter_context(guard.writable(p._data)) for p, _ in members]
                grads = [grad for _, grad in members]
                velocities = None
                if group["momentum"]:
                    velocities = [self._velocity(parameter) for parameter, _ in members]
                cuda_sgd(params, grads, velocities, **settings, first_step=first)

    def _velocity(self, parameter: Tensor) -> Array:
        """Its memory; it holds nothing before the first step."""
        state, data = self.state.setdefault(parameter, {}), parameter._data
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = array_module(data).empty(data.shape, data.dtype)
        return state["momentum_buffer"]


def _change(
    lr: float, momentum: float, dampening: float, decay: float, nesterov: bool
) -> Callable[..., Array]:
    """The step of any piece of a parameter, in place: ``change(grad, velocity, out=parameter)``."""

    def change(grad: Array, velocity: Array | None = None, *, out: Array) -> Array:
        xp = array_module(out)
        step = scratch(out, "sgd", out.shape, out.dtype)
        if decay:
            xp.multiply(out, decay, out=step)
            grad = xp.add(grad, step, out=step)
        if velocity is not None:
            velocity *= momentum
            velocity += grad if not dampening else (1.0 - dampening) * grad
            grad = grad + momentum * velocity if nesterov else velocity
        return xp.subtract(out, xp.multiply(grad, lr, out=step), out=out)

    return change
