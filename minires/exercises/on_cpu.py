"""A CUDA kernel on the CPU: its source compiled as C++, a fiber for every thread.

:func:`run_on_cpu` runs the threads in the order that is asked for, with an eye on every access to
memory.  It needs a C++ compiler, g++ or clang++, and no GPU.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from minires.errors import UsageError
from minires.kernels.cuda import fibers

__all__ = ["NO_COMPILER", "ORDERS", "Run", "has_compiler", "run_on_cpu"]

ORDERS = ("forward", "reverse", "random")

NO_COMPILER = "No kernel can be run on the CPU here: that takes g++ or clang++, on Linux."
_DTYPES = {
    "float": np.float32,
    "REAL": np.float32,  # in the sources of minires/kernels/cuda, unless they are told otherwise
    "double": np.float64,
    "int": np.int32,
    "unsigned": np.uint32,
    "unsigned int": np.uint32,
    "long long": np.int64,
    "int64": np.int64,
}


@dataclass(frozen=True, repr=False)
class Run:
    """How a run of a kernel ended; true if all threads came to their end.

    Attributes:
        fault: what was wrong, with the line of the source; empty if nothing was found.
    """

    fault: str = ""

    def __bool__(self) -> bool:
        return not self.fault

    def __repr__(self) -> str:
        return f"stopped: {self.fault}" if self.fault else "all threads came to their end"


def has_compiler() -> bool:
    """Whether there is a C++ compiler, which :func:`run_on_cpu` needs."""
    return fibers.can_run()


def run_on_cpu(
    source: str,
    kernel: str,
    blocks: int,
    threads: int,
    *args: Any,
    order: str = "forward",
    seed: int = 0,
) -> Run:
    """Run a CUDA kernel on the CPU, with a fiber for every thread; results are in the arrays.

    The blocks run one after the other; within a block a thread runs until it comes to a barrier or
    a shuffle, and then waits for the others.

    Args:
        source: CUDA C++ with ``extern "C" __global__ void kernel(...)`` in it.
        kernel: its name.
        blocks, threads: of the grid, and of each block (at most 1024).
        args: NumPy arrays for pointers, of the type that the kernel declares, and numbers.  Arrays
            that the kernel writes are changed.
        order: in which threads and blocks get their turns: 'forward', 'reverse' or 'random'.
        seed: of the random order.

    Returns:
        A :class:`Run`, which says what was wrong: two threads at one place without a barrier
        between them, a place outside the arrays, threads that wait for ever, shared memory that is
        read before it is written; or a source that does not compile.  The kernel is stopped there.

    Raises:
        UsageError: there is no such kernel in the source, or the arguments are not what it takes.

    >>> x = np.zeros(4, np.float32)
    >>> add = 'extern "C" __global__ void add(float* x, float by) { x[threadIdx.x] += by; }'
    >>> if run_on_cpu(add, "add", 1, 4, x, 2.0):
    ...     assert x.tolist() == [2.0, 2.0, 2.0, 2.0]
    """
    given = _arguments(source, kernel, args)
    for name, value, most in (("blocks", blocks, 65535), ("threads", threads, 1024)):
        if not 1 <= value <= most:
            raise UsageError(f"run_on_cpu: {name} must be from 1 to {most}, not {value}.")
    if order not in ORDERS:
        raise UsageError(f"run_on_cpu: order must be one of {ORDERS}, not {order!r}.")
    if not fibers.can_run():
        return Run(NO_COMPILER)
    try:
        with fibers.in_order(order, seed):
            fibers.RawModule(source).get_function(kernel)((blocks,), (threads,), given)
    except fibers.CompileException as error:
        return Run(f"the source does not compile.\n{_first_errors(str(error))}")
    except fibers.FiberError as error:
        return Run(str(error))
    return Run()


class _OnCard:
    """An array as a kernel's argument: its address, in the form that arrays on a card have."""

    def __init__(self, array: np.ndarray):
        self.array, self.nbytes = array, array.nbytes
        self.data = SimpleNamespace(ptr=array.ctypes.data)
        self.__cuda_array_interface__ = array.__array_interface__


def _arguments(source: str, kernel: str, args: tuple[Any, ...]) -> list[Any]:
    """The arguments as the types that the kernel declares."""
    found = re.search(rf'extern\s+"C"\s+__global__\s+void\s+{kernel}\s*\(([^)]*)\)', source)
    if found is None:
        raise UsageError(
            f"run_on_cpu: there is no kernel {kernel} in the source. It begins with\n"
            f'  extern "C" __global__ void {kernel}('
        )
    declared = [part.strip() for part in found[1].split(",") if part.strip()]
    if len(declared) != len(args):
        raise UsageError(f"run_on_cpu: {kernel} takes {', '.join(declared)}; got {len(args)}.")
    return [_argument(*pair) for pair in zip(declared, args, strict=True)]


def _argument(declared: str, arg: Any) -> Any:
    words = re.sub(r"\bconst\b|__restrict__", " ", declared).replace("*", " * ").split()
    dtype = _DTYPES.get(" ".join(words[:-1]).removesuffix(" *"))
    if dtype is None:
        raise UsageError(f"run_on_cpu: {declared!r} is of a type that is not known here.")
    if "*" not in words:
        return dtype(arg)
    if not isinstance(arg, np.ndarray) or arg.dtype != dtype or not arg.flags.c_contiguous:
        what = arg.dtype if isinstance(arg, np.ndarray) else type(arg).__name__
        raise UsageError(
            f"run_on_cpu: {declared!r} needs a NumPy array of {np.dtype(dtype)} in one run of "
            f"memory, and got {what}."
        )
    return _OnCard(arg)


def _first_errors(log: str) -> str:
    lines = [re.sub(r"^\S*?([\w.]+:\d+)", r"\1", line) for line in log.splitlines()]
    return "\n".join([line for line in lines if "error" in line][:3]) or log[:300]
