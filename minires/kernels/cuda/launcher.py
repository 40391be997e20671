"""The one launcher: it compiles the CUDA sources of this folder, once each, and launches kernels.

A source is compiled by NVRTC, through CuPy, when one of its kernels is first launched with a dtype;
CuPy keeps the result on disk.  A kernel runs on the current stream of the current device, and
nothing here waits for it.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import numpy as np

from minires.device import Array, array_module, import_cupy
from minires.errors import DeviceError

__all__ = ["MAX_BLOCKS", "THREADS", "Source", "blocks_for", "ready", "source_text"]

THREADS = 256  # of a block: 8 warps, enough for one to work while others wait for memory
MAX_BLOCKS = 4096  # of a grid-stride loop: fills the largest card many times over

_FOLDER = Path(__file__).parent
_NAMES = {"f": "float", "d": "double"}


def blocks_for(count: int, each: int = 1) -> int:
    """Blocks for a grid-stride loop over ``count`` elements, of which a thread takes ``each``.

    >>> blocks_for(1000), blocks_for(1000, each=4), blocks_for(10**9)
    (4, 1, 4096)
    """
    return max(1, min(MAX_BLOCKS, -(-count // (THREADS * each))))


def ready(x: Array, dtype: Any = None) -> Array:
    """``x`` as kernels take it: in one run of memory, of the dtype; itself where it is that."""
    return array_module(x).ascontiguousarray(x, dtype)


def source_text(name: str) -> str:
    """The source ``name`` with real.cuh before it, its lines still counted from 1."""
    header = (_FOLDER / "real.cuh").read_text(encoding="utf-8")
    body = (_FOLDER / name).read_text(encoding="utf-8")
    return f'#line 1 "real.cuh"\n{header}#line 1 "{name}"\n{body}'


class Source:
    """A file of CUDA kernels, ``extern "C" __global__`` functions of the numbers REAL.

    Args:
        name: of the file, in this folder.
    """

    def __init__(self, name: str):
        self.name = name

    def launch(
        self,
        kernel: str,
        dtype: Any,
        blocks: int | tuple[int, ...],
        *args: Any,
        threads: int | tuple[int, ...] = THREADS,
    ) -> None:
        """Tell the current device, which must be that of the arrays, to run ``kernel``.

        Args:
            kernel: the name of the function.
            dtype: float32 or float64, what REAL is.
            blocks, threads: of the grid, and of each block; along x, or along x, y and z.
            args: arrays in one run of memory (``const REAL*`` and the like) or None (a null
                pointer), whole numbers (``int64``), floats (``REAL``), and NumPy structs by value.

        Raises:
            DeviceError: the source does not compile; the message shows its lines.
        """
        real = np.dtype(dtype).type
        grid = (blocks,) if isinstance(blocks, int) else blocks
        block = (threads,) if isinstance(threads, int) else threads
        given = tuple([_argument(arg, real) for arg in args])
        _kernel(self.name, kernel, np.dtype(dtype).char)(grid, block, given)


@functools.cache
def _module(source: str, char: str) -> Any:
    """CuPy's module of a source for one dtype; what is compiled is compiled once."""
    options = ("-std=c++17", f"-DREAL={_NAMES[char]}")
    return import_cupy().RawModule(code=source_text(source), options=options)


@functools.cache
def _kernel(source: str, name: str, char: str) -> Any:
    try:
        return _module(source, char).get_function(name)
    except Exception as error:
        if type(error).__name__ != "CompileException":
            raise
        raise DeviceError(_explained(source, str(error))) from None


def _explained(source: str, log: str) -> str:
    """The compiler's errors, each with the line of source that it names."""
    text = []
    for line in log.splitlines():
        place = re.search(r"([\w.]+\.cuh?)[(:](\d+)\D.*error", line)
        if place is not None:
            file, number = place[1], int(place[2])
            lines = (_FOLDER / file).read_text(encoding="utf-8").splitlines()
            text.append(f"  {line.strip()}\n    {number} | {lines[number - 1].strip()}")
    return f"{source} does not compile:\n" + ("\n".join(text) or log)


def _argument(arg: Any, real: Any) -> Any:
    if arg is None:
        return np.uintp(0)
    if isinstance(arg, bool | int):
        return np.int64(arg)
    if isinstance(arg, float):
        return real(arg)
    return arg


def forget() -> None:
    """Let go of all compiled kernels: they belong to the CuPy that compiled them."""
    _module.cache_clear()
    _kernel.cache_clear()
