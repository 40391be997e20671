"""SGD over many parameters in few launches: sgd.cu bound to lists of arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minires.device import Array
from minires.kernels.cuda.launcher import THREADS, Source, blocks_for, ready

__all__ = ["LISTED", "sgd"]

_SOURCE = Source("sgd.cu")
LISTED = 112  # parameters a launch: what fits the 4 KB of a kernel's arguments
_CHUNK = 16384
_LIST = np.dtype(  # the struct List of sgd.cu
    [
        ("param", np.uintp, LISTED),
        ("grad", np.uintp, LISTED),
        ("velocity", np.uintp, LISTED),
        ("size", np.int64, LISTED),
        ("first_chunk", np.int32, LISTED + 1),
        ("count", np.int32),
    ]
)


def sgd(
    params: Sequence[Array],
    grads: Sequence[Array],
    velocities: Sequence[Array] | None = None,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    first_step: bool = False,
) -> None:
    """One step of SGD for every parameter, in place; :class:`minires.optim.SGD` has the formula.

    A launch steps 112 parameters: ResNet-20, which has 59, takes one, and ResNet-50, which has
    161, two.

    Args:
        params: arrays of one dtype, float32 or float64, on one device; they are changed.
        grads: one of each shape, on that device.
        velocities: one of each shape, of that dtype, on that device; they are changed, and at the
            first step only written.  None without momentum.
        lr, momentum, dampening, weight_decay, nesterov: as of :class:`minires.optim.SGD`.
        first_step: whether the velocities begin with the gradients.
    """
    for start in range(0, len(params), LISTED):
        piece = slice(start, start + LISTED)
        changed = [*params[piece], *(velocities or [])[piece]]
        written = [ready(array) for array in changed]
        read = [ready(grad, params[0].dtype) for grad in grads[piece]]
        count = len(read)
        chunks = -(-np.array([grad.size for grad in read]) // _CHUNK)
        listed = np.zeros((), _LIST)
        listed["param"][:count] = [array.data.ptr for array in written[:count]]
        listed["grad"][:count] = [array.data.ptr for array in read]
        listed["velocity"][: len(written) - count] = [array.data.ptr for array in written[count:]]
        listed["size"][:count] = [array.size for array in read]
        listed["first_chunk"][1 : count + 1] = chunks.cumsum()
        listed["count"] = count
        if chunks.any():
            rates = float(lr), float(momentum), 1.0 - float(dampening), float(weight_decay)
            given = listed, *rates, bool(nesterov), first_step
            blocks = blocks_for(int(chunks.sum()) * THREADS)
            _SOURCE.launch("sgd", params[0].dtype, blocks, *given)
        for array, copy in zip(changed, written, strict=True):
            if copy is not array:  # it does not lie in one run of memory
                array[...] = copy
