# %%
"""An autograd engine for arrays.

Fill in the functions whose body raises NotImplementedError, in any order; the handout has a section
on each.  The class Tensor and the function add_backward are given: leave them as they are.
"""

import numpy as np


# %%
class Tensor:
    """An array that remembers how it was made.

    data: the array.
    parents: a tuple of the tensors that it was computed from; empty for a leaf.
    rule: a function, rule(grad_out) -> a tuple of arrays, one for each parent and of its shape;
        None for a leaf.
    grad: an array of the shape of data, or None as long as no gradient has come.
    """

    def __init__(self, data, parents=(), rule=None):
        self.data = np.asarray(data)
        self.parents = tuple(parents)
        self.rule = rule
        self.grad = None

    def __add__(self, other):
        a, b = self.data, other.data
        return Tensor(a + b, (self, other), lambda grad_out: add_backward(grad_out, a, b))

    def __mul__(self, other):
        a, b = self.data, other.data
        return Tensor(a * b, (self, other), lambda grad_out: mul_backward(grad_out, a, b))

    def __matmul__(self, other):
        a, b = self.data, other.data
        return Tensor(a @ b, (self, other), lambda grad_out: matmul_backward(grad_out, a, b))

    def sum(self, axis=None, keepdims=False):
        x = self.data
        out = x.sum(axis=axis, keepdims=keepdims)
        return Tensor(out, (self,), lambda grad_out: (sum_backward(grad_out, x, axis, keepdims),))

    def relu(self):
        x = self.data
        return Tensor(np.maximum(x, 0), (self,), lambda grad_out: (relu_backward(grad_out, x),))

    def backward(self, grad_out=None):
        backward(self, grad_out)


# %% task: unbroadcast
def unbroadcast(grad, shape):
    """The way back through broadcasting: sum ``grad`` to ``shape``.

    An array of ``shape`` was broadcast, by NumPy's rules, to the shape of ``grad``.  Each of its
    numbers was copied to several places, and gets the sum of the gradients of these places.

    grad: an array.
    shape: a tuple; broadcasting it gives grad.shape.
    Returns an array of ``shape``.

    >>> unbroadcast(np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]), (3,))
    array([11., 22., 33.])
    >>> unbroadcast(np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]), (2, 1))
    array([[ 6.],
           [60.]])
    """
    raise NotImplementedError("unbroadcast")


# %%
def add_backward(grad_out, a, b):
    """The rule of out = a + b, as an example: the gradients of a and of b, each of its shape.

    Where the shapes are equal, both may be the very array grad_out.
    """
    return unbroadcast(grad_out, a.shape), unbroadcast(grad_out, b.shape)


# %% task: mul_backward
def mul_backward(grad_out, a, b):
    """The rule of out = a * b, element by element, with broadcasting.

    grad_out: an array of the shape of a * b.
    a, b: the two factors, arrays whose shapes broadcast.
    Returns (grad_a, grad_b), of the shapes of a and of b.

    >>> mul_backward(np.array([1.0, 1.0]), np.array([2.0, 3.0]), np.array([5.0]))
    (array([5., 5.]), array([5.]))
    """
    raise NotImplementedError("mul_backward")


# %% task: matmul_backward
def matmul_backward(grad_out, a, b):
    """The rule of out = a @ b, of matrices or of batches of them.

    a: (..., N, K) and b: (..., K, M).  The dots stand for any number of leading dimensions, also
        none, and those of a and b broadcast as in NumPy.  Neither a nor b is a vector.
    grad_out: (..., N, M), the shape of a @ b.
    Returns (grad_a, grad_b), of the shapes of a and of b.

    >>> grad_a, grad_b = matmul_backward(np.ones((1, 1)), np.array([[2.0, 3.0]]), np.ones((2, 1)))
    >>> grad_a
    array([[1., 1.]])
    >>> grad_b
    array([[2.],
           [3.]])
    """
    raise NotImplementedError("matmul_backward")


# %% task: sum_backward
def sum_backward(grad_out, x, axis=None, keepdims=False):
    """The rule of out = x.sum(axis=axis, keepdims=keepdims).

    x: the array that was summed.
    axis: None for all axes, or a number, or a tuple of numbers; negative ones count from the end.
    keepdims: whether out kept the summed axes, with length 1.
    grad_out: an array of the shape of out.
    Returns grad_x, of the shape of x; a read-only view is fine.

    >>> sum_backward(np.array([1.0, 2.0]), np.zeros((2, 3)), axis=1)
    array([[1., 1., 1.],
           [2., 2., 2.]])
    """
    raise NotImplementedError("sum_backward")


# %% task: relu_backward
def relu_backward(grad_out, x):
    """The rule of out = max(x, 0), whose slope at exactly 0 is taken to be 0.

    grad_out, x: arrays of one shape.
    Returns grad_x, of that shape.

    >>> relu_backward(np.array([5.0, 5.0, 5.0]), np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 5.])
    """
    raise NotImplementedError("relu_backward")


# %% task: topological_order
def topological_order(root):
    """In which order the tensors of a graph fire.

    root: a Tensor.
    Returns a list of all tensors that root depends on, over its parents, their parents and so on:
    root itself first, each tensor once, and each after all those of the list that it is a parent
    of.  Where that leaves a choice, any such order is right.

    A tensor can be the parent of several, and twice the parent of one.  The graph can be 50,000
    tensors deep, so the function may not call itself once a tensor; and the time it takes has to
    grow like the number of tensors and edges.

    >>> x = Tensor(2.0)
    >>> square = Tensor(4.0, (x, x))
    >>> out = Tensor(6.0, (x, square))
    >>> [node.data.item() for node in topological_order(out)]
    [6.0, 4.0, 2.0]
    """
    raise NotImplementedError("topological_order")


# %% task: accumulate
def accumulate(tensor, grad):
    """Add ``grad`` to ``tensor.grad``.

    tensor: a Tensor, whose grad is None or an array of the shape of its data.
    grad: an array of that shape.  It may belong to others too, or be a read-only view, so it is
        left as it is, and tensor.grad does not share memory with it: whatever is done with
        tensor.grad later must not show in ``grad``, nor the other way round.
    Returns nothing.

    >>> x = Tensor([1.0, 2.0])
    >>> accumulate(x, np.array([10.0, 20.0]))
    >>> accumulate(x, np.array([1.0, 1.0]))
    >>> x.grad
    array([11., 21.])
    """
    raise NotImplementedError("accumulate")


# %% task: backward
def backward(root, grad_out=None):
    """The backward pass from ``root``.

    For every tensor that root depends on, root included and leaves or not, the gradient by that
    tensor of the number (root.data * grad_out).sum() is added to its ``.grad``.

    root: a Tensor.
    grad_out: an array of the shape of root.data; None stands for ones.
    Returns nothing.

    A rule may return the same array for two parents, or the very array that it was given, so what
    it returns is not to be changed in place.  In a second call the gradients of the second call
    alone are added to what the first left in ``.grad``.  The graph can be 20,000 tensors deep.

    >>> x = Tensor(3.0)
    >>> out = x * x + x
    >>> backward(out)
    >>> x.grad.item()
    7.0
    """
    raise NotImplementedError("backward")
