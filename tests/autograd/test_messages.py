"""What an error of a tensor or of a gradient says: what came in, what it needed, and the mend."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires.errors import (
    DeviceError,
    DTypeError,
    GraphError,
    GraphFreedError,
    ShapeError,
    UsageError,
)
from tests.refusals import assert_refused

x = mr.ones(2, 3)


def leaf() -> mr.Tensor:
    return mr.ones(2, 3, requires_grad=True)


def twice() -> None:
    loss = (leaf() * 2.0).sum()
    loss.backward()
    loss.backward()


def with_hook(hook: Any) -> None:
    tensor = leaf()
    tensor.register_hook(hook)
    tensor.sum().backward()


Bad = tuple[Callable[[], Any], type[Exception], str]
# The parts of a message, in this order, divided by " ... "; it begins with the first.
CREATION: list[Bad] = [
    (lambda: mr.tensor("a"), DTypeError, "tensor: cannot make numbers of str ... data: 'a'"),
    (lambda: mr.tensor(None), DTypeError, "tensor: cannot make numbers of NoneType"),
    (lambda: mr.tensor({}), DTypeError, "tensor: cannot make numbers of dict"),
    (lambda: mr.tensor(1j), DTypeError, "tensor: cannot make numbers of complex"),
    (lambda: mr.tensor(np.array([1j])), DTypeError, "tensor: cannot make numbers of complex128"),
    (
        lambda: mr.tensor([[1.0], [1.0, 2.0]]),
        ShapeError,
        "tensor: lists inside a list must all have one length ... data: [[1.0], [1.0, 2.0]]",
    ),
    (
        lambda: mr.tensor(1.0, dtype="floot"),
        DTypeError,
        "tensor: 'floot' is no dtype ... 'float32'",
    ),
    (lambda: mr.tensor(1.0, dtype=complex), DTypeError, "tensor: <class 'complex'> is no dtype"),
    (lambda: mr.tensor(1.0, device="tpu"), DeviceError, "Unknown device 'tpu' ... 'cpu', 'cuda'"),
    (lambda: mr.tensor([leaf(), leaf()]), GraphError, "tensor: a copy of tensors ... mr.stack"),
    (
        lambda: mr.tensor([1], requires_grad=True),
        DTypeError,
        "requires_grad: only floating-point ... int64 of shape (1,) ... .to('float32')",
    ),
    (lambda: mr.Tensor("a"), DTypeError, "Tensor: cannot make numbers of str"),
    (lambda: mr.Tensor(np.array([None])), DTypeError, "Tensor: cannot make numbers of object"),
    (lambda: mr.Tensor([[1], [1, 2]]), ShapeError, "Tensor: lists inside a list"),
    *(
        (lambda f=f: f(-1), ShapeError, f"{f.__name__}: the lengths of a shape ... (-1,)")
        for f in (mr.zeros, mr.ones, mr.rand, mr.randn)
    ),
    *(
        (lambda f=f: f(1.5), UsageError, f"{f.__name__}: takes whole numbers, not (1.5,)")
        for f in (mr.zeros, mr.ones, mr.rand, mr.randn)
    ),
    *(
        (lambda f=f: f(2, dtype="floot"), DTypeError, f"{f.__name__}: 'floot' is no dtype")
        for f in (mr.zeros, mr.ones, mr.rand, mr.randn, mr.arange)
    ),
    (lambda: mr.full((-2,), 1.0), ShapeError, "full: the lengths of a shape ... (-2,)"),
    (lambda: mr.full((2,), "a"), UsageError, "full: value must be a number, not 'a'"),
    (lambda: mr.full(2.5, 1.0), UsageError, "full: takes whole numbers, not (2.5,)"),
    (lambda: mr.arange(), UsageError, "arange: takes stop, or start, stop ... not ()"),
    (lambda: mr.arange(0, 1, 2, 3), UsageError, "arange: takes stop ... (0, 1, 2, 3)"),
    (lambda: mr.arange("a"), UsageError, "arange: a bound must be a number, not 'a'"),
    (lambda: mr.arange(0, 1, 0), UsageError, "arange: the step must not be 0 ... (0, 1, 0)"),
    (lambda: mr.manual_seed(-1), UsageError, "manual_seed: a seed must be a whole number ... -1"),
]
TENSORS: list[Bad] = [
    (lambda: x.item(), ShapeError, "item() needs one element ... (2, 3) ... Reduce it first"),
    (lambda: float(x), ShapeError, "item() needs one element ... (2, 3)"),
    (lambda: bool(x > 0), ShapeError, "item() needs one element ... (2, 3) ... .data.all()"),
    (lambda: len(mr.tensor(1.0)), TypeError, "len: a tensor without dimensions ... .item()"),
    (lambda: x.size(5), ShapeError, "size: dim 5 is out of range for 2 dimensions"),
    (lambda: x.size("a"), UsageError, "size: dim must be a whole number, not 'a'"),
    (lambda: leaf().numpy(), GraphError, "numpy() of a tensor that requires grad ... detach()"),
    (lambda: np.asarray(leaf()), GraphError, "numpy() of a tensor that requires grad"),
    (
        lambda: x > mr.ones(4),
        ShapeError,
        "gt: these cannot be compared ... a: (2, 3) float32    b: (4,) float32 ... one of them 1",
    ),
    (lambda: x == mr.ones(4), ShapeError, "eq: these cannot be compared ... (2, 3) ... (4,)"),
    (lambda: x < "a", DTypeError, "lt: these cannot be compared ... a: (2, 3) float32    b: 'a'"),
    (
        lambda: copy.deepcopy(leaf() * 2.0),
        GraphError,
        "deepcopy: only a leaf can be copied ... (2, 3) is the result of Mul ... detach()",
    ),
    (
        lambda: (leaf() * 2.0).requires_grad_(False),
        GraphError,
        "requires_grad_: only a leaf can stop ... (2, 3) is the result of Mul ... detach()",
    ),
    (
        lambda: setattr(leaf() * 2.0, "data", np.ones(2)),
        GraphError,
        "data: only a leaf can be given other data ... (2, 3) is the result of Mul ... detach()",
    ),
    (lambda: setattr(leaf(), "data", "a"), DTypeError, "data: cannot make numbers of str"),
    (
        lambda: setattr(x, "grad", x),
        GraphError,
        "grad: this tensor of shape (2, 3) does not require",
    ),
    (
        lambda: setattr(leaf(), "grad", mr.ones(3)),
        GraphError,
        "grad of shape (3,) ... shape (2, 3)",
    ),
]
GRADIENTS: list[Bad] = [
    (
        lambda: x.sum().backward(),
        GraphError,
        "backward(): this tensor of shape () does not require grad ... requires_grad=True",
    ),
    (
        lambda: leaf().backward(),
        GraphError,
        "backward of a tensor of shape (2, 3) ... gradient=...",
    ),
    (
        lambda: (leaf() * 2.0).backward(mr.ones(3)),
        ShapeError,
        "backward: the gradient must ... tensor: (2, 3) float32    gradient: (3,) float32",
    ),
    (lambda: leaf().sum().backward(2.0), ShapeError, "backward: the gradient ... gradient: 2.0"),
    (twice, GraphFreedError, "backward through Sum: its saved arrays ... retain_graph=True"),
    (lambda: mr.grad(x.sum(), x), GraphError, "grad(): this tensor of shape () does not require"),
    (
        lambda: mr.grad(leaf().sum(), leaf()),
        GraphError,
        "grad: the outputs do not depend on input 0 of shape (2, 3) ... allow_unused=True",
    ),
    (
        lambda: mr.grad(leaf(), leaf()),
        GraphError,
        "grad of a tensor of shape (2, 3) ... grad_outputs=",
    ),
    (
        lambda: mr.grad([leaf().sum()] * 2, leaf(), [mr.ones(1)]),
        GraphError,
        "grad: 2 outputs but 1 grad_outputs; give one for each",
    ),
    (
        lambda: mr.grad(leaf() * 2.0, leaf(), mr.ones(3)),
        ShapeError,
        "grad: the gradient must ... tensor: (2, 3) float32    gradient: (3,) float32",
    ),
    (
        lambda: mr.grad(leaf().sum(), leaf(), 2.0),
        ShapeError,
        "grad: the gradient ... gradient: 2.0",
    ),
    (lambda: mr.grad(None, leaf()), DTypeError, "grad: outputs must be a tensor ... not NoneType"),
    (lambda: mr.grad([1.0], leaf()), DTypeError, "grad: outputs must be a tensor ... not float"),
    (lambda: mr.grad(leaf().sum(), [None]), DTypeError, "grad: inputs must ... not NoneType"),
    (
        lambda: x.retain_grad(),
        GraphError,
        "retain_grad() needs a tensor that requires grad ... (2, 3)",
    ),
    (
        lambda: x.register_hook(print),
        GraphError,
        "register_hook() needs a tensor that requires grad",
    ),
    (lambda: with_hook(3), UsageError, "register_hook() needs a function of the gradient, not 3"),
    (
        lambda: with_hook(lambda grad: grad.sum()),
        ShapeError,
        "register_hook: the hook returned shape () ... shape (2, 3) ... or None",
    ),
]
BAD = [*CREATION, *TENSORS, *GRADIENTS]


@pytest.mark.parametrize("bad", BAD, ids=[bad[2].split(" ... ")[0] for bad in BAD])
def test_a_mistake_is_named_with_what_came_in_and_the_mend(bad: Bad) -> None:
    assert_refused(*bad)


def test_data_refused_leave_the_tensor_as_it_was() -> None:
    result = leaf() * 2.0
    with pytest.raises(GraphError):
        result.data = np.zeros(7)
    assert result.shape == (2, 3)
