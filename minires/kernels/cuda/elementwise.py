"""ReLU, its gradient, and ReLU after a sum on a GPU: elementwise.cu bound to arrays.

Arrays of unlike shapes or dtypes, which the layers never give, go to the array code.
"""

from __future__ import annotations

from minires.device import Array, array_module, check_same_device
from minires.kernels import elementwise
from minires.kernels.cuda.launcher import Source, blocks_for, ready

__all__ = ["add_relu", "relu", "relu_grad_input"]

_SOURCE = Source("elementwise.cu")
_PACK_BYTES = 16


def relu(x: Array) -> Array:
    """max(x, 0), elementwise; NaN stays NaN.  As :func:`minires.kernels.relu`."""
    return _mapped("relu", x)


def relu_grad_input(grad_out: Array, out: Array) -> Array:
    """grad_out * (out != 0).  As :func:`minires.kernels.relu_grad_input`.

    Raises:
        DeviceError: the arrays are on two devices.
    """
    check_same_device("relu_grad_input", grad_out=grad_out, out=out)
    if not _alike(grad_out, out):
        return elementwise.relu_grad_input(grad_out, out)
    return _mapped("relu_grad_input", grad_out, out)


def add_relu(a: Array, b: Array) -> Array:
    """relu(a + b) in one pass: the end of a residual block.

        out = max(a + b, 0)
        grad_a = grad_b = grad_out * (out != 0)

    Args:
        a, b: of one shape, as the two branches are; others broadcast as in ``a + b``.

    Raises:
        DeviceError: the arrays are on two devices.
    """
    check_same_device("add_relu", a=a, b=b)
    if not _alike(a, b):
        return elementwise.relu(a + b)
    return _mapped("add_relu", a, b)


def _alike(a: Array, b: Array) -> bool:
    return bool(a.shape == b.shape and a.dtype == b.dtype)


def _mapped(kernel: str, *arrays: Array) -> Array:
    """The kernel's result for arrays of one shape and dtype."""
    x = arrays[0]
    out = array_module(x).empty(x.shape, x.dtype)
    if x.size:
        blocks = blocks_for(x.size, each=_PACK_BYTES // x.dtype.itemsize)
        _SOURCE.launch(kernel, x.dtype, blocks, *map(ready, arrays), out, x.size)
    return out
