"""``Tensor``: an array, and the place in the graph that it comes from.

The operators and the operations as methods are bound by :mod:`minires.functional`, a floor above;
they are declared at the end of the class so that readers and type checkers know them.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minires.autograd.node import Leaf, Node
from minires.autograd.sharing import Shared, shared_on_gpu
from minires.device import (
    Array,
    as_array,
    check_same_device,
    device_of,
    to_device,
    to_numpy,
)
from minires.errors import DTypeError, GraphError, ShapeError, UsageError
from minires.kernels.checks import compared, normal_dim, numbers

__all__ = ["Handle", "Tensor", "raw"]

_next_key = itertools.count().__next__


class Handle:
    """Returned by ``register_*hook``; ``remove()`` takes the hook off again."""

    def __init__(self, hooks: dict[int, Any], hook: Any):
        self._hooks = hooks
        self._key = _next_key()
        hooks[self._key] = hook

    def remove(self) -> None:
        """Take the hook off; a second call does nothing."""
        self._hooks.pop(self._key, None)


def _comparison(compare: Callable[[Any, Any], Any]) -> Callable[[Tensor, Any], Tensor]:
    """A comparison, element by element; its result has no gradient."""

    def method(self: Tensor, other: Any) -> Tensor:
        result = compared(compare, self._data, raw(other))
        return Tensor._wrap(as_array(result), None)

    return method


class Tensor(Shared):
    """An array with a gradient.

    Args:
        data: an array, used as it is, without a copy (:func:`tensor` copies), also that of another
            library on a GPU (``__cuda_array_interface__``), or what NumPy can make one of.
        requires_grad: whether operations on it are recorded and ``backward()`` fills ``.grad``.

    >>> x = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    >>> y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    tensor([2., 4.], dtype=float64)
    """

    __slots__ = ("__weakref__", "_data", "_frozen", "node")

    # NumPy must not take a tensor apart element by element in ``array * tensor``.
    __array_ufunc__ = None

    _data: Array
    node: Node | None
    _frozen: Leaf | None  # the leaf of a tensor that does not require grad at the moment

    def __init__(self, data: Any, requires_grad: bool = False):
        if isinstance(data, Tensor):
            data = data._data
        self._data = numbers(shared_on_gpu(data), "Tensor")
        self.node = self._frozen = None
        if requires_grad:
            self.requires_grad_()

    @classmethod
    def _wrap(cls, data: Array, node: Node | None) -> Tensor:
        """The quick way in, for arrays that the library made itself."""
        self = Tensor.__new__(Tensor)
        self._data = data
        self.node = node
        self._frozen = None
        return self

    # --- the array ---

    @property
    def data(self) -> Array:
        """The NumPy or CuPy array.

        It is read-only while a graph holds it for backward ("assignment destination is
        read-only"): a change would give a wrong gradient.  Call backward first, or change a copy.
        """
        return self._data

    @data.setter
    def data(self, data: Array) -> None:
        if not self.is_leaf:
            raise self._no_leaf("data: only a leaf can be given other data")
        self._data = numbers(raw(data), "data")
        if self.node is not None:
            self.node.shape, self.node.dtype = self._data.shape, self._data.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each dimension."""
        return self._data.shape  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._data.ndim  # type: ignore[no-any-return]

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the length of one dimension."""
        return self.shape if dim is None else self.shape[normal_dim("size", self.ndim, dim)]

    def numel(self) -> int:
        """The number of elements."""
        return int(self._data.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements."""
        return self._data.dtype  # type: ignore[no-any-return]

    @property
    def device(self) -> str:
        """'cpu' or 'cuda:i'."""
        return device_of(self._data)

    def item(self) -> float | int | bool:
        """The value of a tensor with one element, as a Python number."""
        if self._data.size != 1:
            raise ShapeError(
                f"item() needs one element; this tensor has shape {self.shape}. Reduce it first, "
                "with .sum() or .mean(); a condition, with .data.all() or .data.any()."
            )
        return self._data.item()  # type: ignore[no-any-return]

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        return self._data.tolist()

    # --- the graph ---

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are recorded."""
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, value: bool = True) -> Tensor:
        """Start, or end, being a leaf of graphs; returns the tensor itself."""
        if value and self.node is None:
            if self._data.dtype.kind != "f":
                raise DTypeError(
                    f"requires_grad: only floating-point tensors can have a gradient, not "
                    f"{self.dtype} of shape {self.shape}. Convert it first, with .to('float32')."
                )
            # Thawed, it is the same place in graphs recorded before, and keeps its gradient.
            self.node, self._frozen = self._frozen or Leaf(self._data), None
            self.node.shape, self.node.dtype = self._data.shape, self._data.dtype
        elif not value and self.node is not None:
            if not isinstance(self.node, Leaf):
                raise self._no_leaf("requires_grad_: only a leaf can stop requiring grad")
            self.node, self._frozen = None, self.node
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether it is not the result of a recorded operation."""
        return self.node is None or isinstance(self.node, Leaf)

    @property
    def grad(self) -> Tensor | None:
        """The gradient that ``backward()`` left here: for leaves, and after ``retain_grad()``."""
        place = self.node or self._frozen
        return None if place is None else place.grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        place = self.node or self._frozen
        if place is None:
            if value is not None:
                raise GraphError(
                    f"grad: this tensor of shape {self.shape} does not require grad and has no "
                    "place for one. Call requires_grad_() first."
                )
            return
        if value is not None and not isinstance(value, Tensor):
            value = Tensor(value)
        if value is not None and value.shape != self.shape:
            raise GraphError(
                f"grad of shape {value.shape} for a tensor of shape {self.shape}; they must agree."
            )
        if value is not None:
            check_same_device("grad", tensor=self._data, grad=value._data)
        place.grad = value

    def detach(self) -> Tensor:
        """The same array outside the graph."""
        return Tensor._wrap(self._data, None)

    def retain_grad(self) -> None:
        """Keep the gradient of this intermediate tensor too, in ``.grad``."""
        self._place("retain_grad()").keeps_grad = True

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Handle:
        """Call ``hook(grad)`` when the gradient of this tensor is complete.

        What the hook returns, unless None, takes the place of the gradient.

        >>> x = Tensor(np.array([1.0, 2.0]), requires_grad=True)
        >>> handle = x.register_hook(lambda grad: grad * 10)
        >>> (x * x).sum().backward()
        >>> x.grad
        tensor([20., 40.], dtype=float64)
        """
        if not callable(hook):
            raise UsageError(f"register_hook() needs a function of the gradient, not {hook!r}.")
        node = self._place("register_hook()")
        if node.hooks is None:
            node.hooks = {}
        return Handle(node.hooks, hook)

    def backward(
        self,
        gradient: Tensor | Array | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
    ) -> None:
        """Add the derivative of this tensor by every leaf to that leaf's ``.grad``.

        Args:
            gradient: the gradient that arrives here, of this tensor's shape; 1 for a single number.
            retain_graph: keep saved arrays so that backward can run again.
            create_graph: record the backward pass, so that gradients can be differentiated.

        Raises:
            GraphError: the tensor does not require grad, or has several numbers and no gradient.
            GraphFreedError: an earlier backward has freed the graph.
        """
        from minires.autograd import engine

        engine.backward(self, gradient, retain_graph, create_graph)

    def _no_leaf(self, what: str) -> GraphError:
        made_by = "" if self.node is None else self.node.name
        return GraphError(
            f"{what}, and this tensor of shape {self.shape} is the result of {made_by}. "
            "Use x.detach() for its values outside the graph."
        )

    def _place(self, what: str) -> Node:
        if self.node is None:
            raise GraphError(
                f"{what} needs a tensor that requires grad; this one of shape {self.shape} does "
                "not. Create it with requires_grad=True."
            )
        return self.node

    # --- Python ---

    def __repr__(self) -> str:
        values = np.array2string(to_numpy(self._data), separator=", ", prefix="tensor(")
        usual = self._data.dtype in (np.float32, np.int64, np.bool_)
        notes = "" if usual else f", dtype={self._data.dtype}"
        if self.device != "cpu":
            notes += f", device='{self.device}'"
        if self.node is not None:
            leaf = isinstance(self.node, Leaf)
            notes += ", requires_grad=True" if leaf else f", node=<{self.node.name}>"
        return f"tensor({values}{notes})"

    def __len__(self) -> int:
        if not self._data.shape:
            raise TypeError("len: a tensor without dimensions has no length; use .item().")
        return int(self._data.shape[0])

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __reduce__(self) -> tuple[Any, ...]:
        """What copy.deepcopy and pickle make anew: the values and the gradient, and a new leaf."""
        if not self.is_leaf:
            raise self._no_leaf("deepcopy: only a leaf can be copied")
        grad = None if self.grad is None else self.grad._data
        return _rebuild, (type(self), self._data, self.requires_grad, grad, self.device)

    __hash__ = object.__hash__

    __eq__ = _comparison(operator.eq)  # type: ignore[assignment]
    __ne__ = _comparison(operator.ne)  # type: ignore[assignment]
    __lt__ = _comparison(operator.lt)
    __le__ = _comparison(operator.le)
    __gt__ = _comparison(operator.gt)
    __ge__ = _comparison(operator.ge)

    if TYPE_CHECKING:  # bound by minires.functional; a test holds the two lists equal

        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, exponent: Any) -> Tensor: ...
        def __rpow__(self, base: Any) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def add(self, other: Any) -> Tensor: ...
        def sub(self, other: Any) -> Tensor: ...
        def mul(self, other: Any) -> Tensor: ...
        def div(self, other: Any) -> Tensor: ...
        def pow(self, exponent: Any) -> Tensor: ...
        def neg(self) -> Tensor: ...
        def exp(self) -> Tensor: ...
        def log(self) -> Tensor: ...
        def sqrt(self) -> Tensor: ...
        def abs(self) -> Tensor: ...
        def relu(self) -> Tensor: ...
        def softmax(self, dim: int = -1, *, dtype: Any = None) -> Tensor: ...
        def log_softmax(self, dim: int = -1, *, dtype: Any = None) -> Tensor: ...
        def matmul(self, other: Any) -> Tensor: ...
        def sum(self, dim: Any = None, keepdim: bool = False, **numpy_names: Any) -> Tensor: ...
        def mean(self, dim: Any = None, keepdim: bool = False, **numpy_names: Any) -> Tensor: ...
        def var(
            self,
            dim: Any = None,
            *,
            keepdim: bool = False,
            correction: float | None = 1,
            unbiased: bool | None = None,
            **numpy_names: Any,
        ) -> Tensor: ...
        def std(
            self,
            dim: Any = None,
            *,
            keepdim: bool = False,
            correction: float | None = 1,
            unbiased: bool | None = None,
            **numpy_names: Any,
        ) -> Tensor: ...
        def max(self, dim: Any = None, keepdim: bool = False, **numpy_names: Any) -> Any: ...
        def min(self, dim: Any = None, keepdim: bool = False, **numpy_names: Any) -> Any: ...
        def amax(self, dim: Any = None, keepdim: bool = False, **numpy_names: Any) -> Tensor: ...
        def amin(self, dim: Any = None, keepdim: bool = False, **numpy_names: Any) -> Tensor: ...
        def logsumexp(
            self, dim: Any = None, keepdim: bool = False, **numpy_names: Any
        ) -> Tensor: ...
        def maximum(self, other: Any) -> Tensor: ...
        def minimum(self, other: Any) -> Tensor: ...
        def where(self, condition: Any, other: Any) -> Tensor: ...
        def clamp(self, min: Any = None, max: Any = None) -> Tensor: ...
        def sigmoid(self) -> Tensor: ...
        def tanh(self) -> Tensor: ...
        def reshape(self, *shape: Any) -> Tensor: ...
        def view(self, *shape: Any) -> Tensor: ...
        def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor: ...
        def permute(self, *dims: Any) -> Tensor: ...
        def transpose(self, dim0: int, dim1: int) -> Tensor: ...
        def squeeze(self, dim: int | None = None) -> Tensor: ...
        def unsqueeze(self, dim: int) -> Tensor: ...
        def expand(self, *shape: Any) -> Tensor: ...
        def broadcast_to(self, shape: Sequence[int]) -> Tensor: ...
        def argmax(self, dim: int | None = None, keepdim: bool = False) -> Tensor: ...
        def argmin(self, dim: int | None = None, keepdim: bool = False) -> Tensor: ...
        def clone(self) -> Tensor: ...
        def to(self, device_or_dtype: Any) -> Tensor: ...
        def cpu(self) -> Tensor: ...
        def cuda(self) -> Tensor: ...


def raw(value: Any) -> Any:
    """The array of a tensor; anything else as it is."""
    return value._data if isinstance(value, Tensor) else value


def _rebuild(
    cls: type[Tensor], data: Array, requires_grad: bool, grad: Array | None, device: str
) -> Tensor:
    self = cls.__new__(cls)  # CuPy unpickles to the current GPU
    Tensor.__init__(self, to_device(data, device), requires_grad or grad is not None)
    if grad is not None:
        self.grad = Tensor._wrap(to_device(grad, device), None)
        self.requires_grad_(requires_grad)  # a frozen tensor may have one
    return self
