"""Watching one pass: what each layer answers, and the gradients that come by on the way back.

The pass is an ordinary one, of training too: nothing runs a second time.  Forward hooks look at the
answers of layers, an observer gives each way out of a fork a place of its own in the graph, and
tensor hooks take the size of a gradient when it comes by.  Numbers are kept, and no arrays.  (Where
every call and every node counts, and not the cost, see :mod:`minires.flow.watched_pass`.)

Watching changes no bit of the pass.  One case is apart: where a branch or a shortcut reads its
input more than once, what comes back is added up within the way first, and then to what comes over
the other way.  That is the sum the ledger needs, and its last digit may be another one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minires import nn
from minires.autograd import Tensor
from minires.autograd.function import Recorded
from minires.autograd.node import Node
from minires.autograd.tensor import Handle
from minires.device import to_numpy
from minires.flow.graph import ancestors, consumers_of, tensors_in
from minires.flow.passes import block_names, kind_of
from minires.flow.sizes import inner, moments, square
from minires.functional.activation import ReLU
from minires.functional.shape import Alias, alias

__all__ = ["Crossing", "Response", "Watch", "layers_of", "weights_of"]


def weights_of(layer: nn.Module) -> list[nn.Parameter]:
    """The layer's own parameters, weight and bias."""
    return [parameter for parameter in layer._parameters.values() if parameter is not None]


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """The layers by name: the modules that have parameters of their own and no modules below.

    A residual block with parameters of its own (a learned scale, the scalars of Fixup) is one too.
    """
    return {
        name: module
        for name, module in model.named_modules()
        if weights_of(module) and (not module._modules or isinstance(module, nn.ResidualBlock))
    }


class Response:
    """What one layer answered in a pass, and the gradient that came to its output.

    A layer that runs several times is one layer: its answers are those of all its runs.

    Attributes:
        name, layer: which one.
        mean, std: over all answers.
        dead: the share of its units whose answer is above 0 nowhere in the batch, where a ReLU and
            nothing else reads them: these give 0 for every image, and learn nothing from it.  A
            unit is a channel of (N, C, ...), or a number of the last dimension of a Linear.  None
            where no ReLU follows directly.
        grad_norm: of the gradient at the output; None if none came.
    """

    def __init__(self, name: str, layer: nn.Module):
        self.name, self.layer = name, layer
        self._runs: list[tuple[int, float, float]] = []  # numbers, their mean and variance
        self._alive: np.ndarray | None = None  # whether each unit is above 0 somewhere
        self._squares: list[float] = []  # of the gradients

    def add_run(self, answer: np.ndarray) -> None:
        """Take in the answer of one run."""
        self._runs.append(moments(answer))

    def add_activated(self, activated: np.ndarray) -> None:
        """Take in what a ReLU made of the answer of one run."""
        if not activated.size:
            return
        if isinstance(self.layer, nn.Linear) or activated.ndim < 2:
            highest = activated.reshape(-1, activated.shape[-1]).max(axis=0)  # (units,)
        else:
            N, C = activated.shape[:2]
            highest = activated.reshape(N, C, -1).max(axis=2).max(axis=0)  # (C,)
        alive = highest != 0  # a nan is not 0: such a unit is ill, and not dead
        self._alive = alive if self._alive is None else self._alive | alive

    def add_gradient(self, gradient: np.ndarray) -> None:
        """Take in the gradient at the output of one run."""
        self._squares.append(square(gradient))

    @property
    def mean(self) -> float:
        """Over all answers."""
        return sum(n * mean for n, mean, _ in self._runs) / sum(n for n, _, _ in self._runs)

    @property
    def std(self) -> float:
        """Over all answers: of the runs' own variances, and of the runs' means."""
        mean, count = self.mean, sum(n for n, _, _ in self._runs)
        return math.sqrt(sum(n * (v + (m - mean) ** 2) for n, m, v in self._runs) / count)

    @property
    def dead(self) -> float | None:
        """The share of dead units; None where no ReLU follows."""
        return None if self._alive is None else 1.0 - float(self._alive.mean())

    @property
    def grad_norm(self) -> float | None:
        """The norm of the gradient at the output."""
        return math.sqrt(sum(self._squares)) if self._squares else None


class Crossing:
    """One residual block in a pass: the sizes of what went, and came back, over skip and branch.

    The numbers are those of :class:`minires.flow.LedgerEntry`, and None where nothing came; where
    something came over one of the two ways only, the other sent back 0.
    """

    def __init__(self, name: str, block: nn.ResidualBlock):
        self.name = name
        self.kind = kind_of(block)
        self.forward: tuple[float, float] | None = None  # squares of the terms: skip, branch
        self.skip: float | None = None  # squares of gradients, and the product of the two
        self.branch: float | None = None
        self.product: float | None = None
        self.at_fork: float | None = None
        self.at_input: float | None = None
        self.input_size = 1  # numbers in the block's input
        self.shared = False  # whether anything beside the two ways reads u
        self._came_over_skip: np.ndarray | None = None

    def over_skip(self, gradient: np.ndarray) -> None:
        """Take in what the skip sends back; it comes before that of the branch."""
        self.skip, self._came_over_skip = square(gradient), gradient

    def over_branch(self, gradient: np.ndarray) -> None:
        """Take in what the branch sends back."""
        self.branch = square(gradient)
        other, self._came_over_skip = self._came_over_skip, None
        if other is not None:
            self.product = inner(other, gradient)

    def to_fork(self, gradient: np.ndarray) -> None:
        """Take in the gradient at u, which the engine added up."""
        self.at_fork = square(gradient)

    def to_input(self, gradient: np.ndarray) -> None:
        """Take in the gradient at the block's input."""
        self.at_input = square(gradient)

    def numbers(self) -> dict[str, float | None]:
        """The entry of the ledger, without its arrays."""
        skip, branch, at_input = map(_root, (self.skip, self.branch, self.at_input))
        share = cosine = ratio = None
        if self.kind == "residual" and (skip is not None or branch is not None):
            skip, branch = skip or 0.0, branch or 0.0
            share = skip / (skip + branch) if skip + branch else None
            cosine = (self.product or 0.0) / (skip * branch) if skip * branch else None
        if self.forward is not None and self.forward[0]:
            ratio = math.sqrt(self.forward[1] / self.forward[0])
        return {
            "skip_norm": skip,
            "branch_norm": branch,
            "share": share,
            "cosine": cosine,
            "grad_norm": at_input,
            "grad_rms": None if at_input is None else at_input / math.sqrt(self.input_size),
            "forward_ratio": ratio,
        }

    def error(self) -> float | None:
        """How far |skip + branch|^2 is from |gradient at u|^2, relative to |skip|^2 + |branch|^2.

        None where something else reads u as well, and adds to its gradient.
        """
        if self.shared or self.at_fork is None:
            return None
        parts = (self.skip or 0.0) + (self.branch or 0.0)
        difference = abs(parts + 2.0 * (self.product or 0.0) - self.at_fork)
        return difference / parts if parts else difference


class Watch(nn.Observer):
    """Watches one pass of ``model``, forward between ``begin`` and ``end``, and then backward.

    Attributes:
        responses: of the layers, in the order in which they first ran.
        crossings: of the blocks, in the order of the forward pass.
        running: whether the forward pass is under way.
        arrived: whether a gradient has come by.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self.responses: list[Response] = []
        self.crossings: list[Crossing] = []
        self.running = self.arrived = False
        self._names = block_names(model)
        self._by_layer: dict[int, Response] = {}
        self._answers: list[tuple[Response, Node]] = []
        self._ways: list[tuple[Crossing, Node, set[Node]]] = []  # u, and the places behind it
        self._open: list[Crossing] = []
        self._layer_hooks: list[Handle] = []
        self._gradient_hooks: list[Handle] = []

    # --- the pass ---

    def begin(self) -> None:
        """Start to look at the layers and the blocks."""
        self.running = True
        for layer in layers_of(self.model).values():
            self._layer_hooks.append(layer.register_forward_hook(self._answered))

    def end(self, output: Any) -> None:
        """The forward pass is over and gave ``output``; gradients are still looked at."""
        self.running = False
        self._remove(self._layer_hooks)
        consumers = consumers_of(ancestors(tensor.node for tensor in tensors_in(output)))
        for response, node in self._answers:
            relu = _relu_after(node, consumers)
            if relu is not None:
                response.add_activated(to_numpy(relu.saved_arrays["out"]))
        for crossing, node, ways in self._ways:
            crossing.shared = any(reader not in ways for reader in consumers.get(node, ()))
        self._answers, self._ways = [], []  # places in the graph would keep it alive

    def close(self) -> None:
        """Take all hooks off that are left."""
        self.running = False
        self._remove(self._layer_hooks)
        self._remove(self._gradient_hooks)
        self._answers, self._ways = [], []

    def _remove(self, handles: list[Handle]) -> None:
        while handles:
            handles.pop().remove()

    def _answered(self, layer: nn.Module, inputs: Any, out: Any) -> None:
        if not isinstance(out, Tensor) or out.dtype.kind != "f" or not out.numel():
            return
        response = self._by_layer.get(id(layer))
        if response is None:
            response = self._by_layer[id(layer)] = Response(self._names[id(layer)], layer)
            self.responses.append(response)
        response.add_run(to_numpy(out._data))
        if out.node is not None:
            self._answers.append((response, out.node))
        self._once(out, response.add_gradient)

    def _once(self, tensor: Tensor, *see: Callable[[np.ndarray], None]) -> None:
        """Show the first gradient that comes to ``tensor``."""
        if tensor.node is None:
            return

        def hook(gradient: Tensor) -> None:
            handle.remove()
            self.arrived = True
            for take in see:
                take(to_numpy(gradient._data))

        handle = tensor.register_hook(hook)
        self._gradient_hooks.append(handle)

    # --- the blocks ---

    def fork(self, block: nn.ResidualBlock, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        crossing = Crossing(self._names.get(id(block), "?"), block)
        crossing.input_size = x.numel()
        self.crossings.append(crossing)
        self._open.append(crossing)
        # The skip's place is made last, so its gradient is added before that of the branch, as in
        # a pass that nobody watches: there the sum sends it, which is the block's last operation.
        branch = alias(u)
        skip = None if block.shortcut is None else alias(u)
        ways = [branch] if skip is None else [skip, branch]
        if u.node is not None:
            self._ways.append((crossing, u.node, {way.node for way in ways if way.node}))
        self._once(branch, crossing.over_branch)
        if skip is not None:
            self._once(skip, crossing.over_skip)
        if x is u:
            self._once(u, crossing.to_input, crossing.to_fork)
        else:
            self._once(x, crossing.to_input)
            self._once(u, crossing.to_fork)
        return (u if skip is None else skip), branch

    def join(
        self, block: nn.ResidualBlock, skip: Tensor | None, branch: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        crossing = self._open.pop()
        if skip is not None:
            crossing.forward = square(to_numpy(skip._data)), square(to_numpy(branch._data))
        return skip, branch


def _root(value: float | None) -> float | None:
    return None if value is None else math.sqrt(value)


def _relu_after(node: Node, consumers: Mapping[Node, Sequence[Recorded]]) -> Recorded | None:
    """The ReLU that reads ``node``, if nothing but ReLUs does."""
    found = None
    pending = list(consumers.get(node, ()))
    while pending:
        reader = pending.pop()
        if reader.function is Alias:
            pending += consumers.get(reader, ())
        elif reader.function is ReLU:
            found = reader
        else:
            return None
    return found
