"""CUDA sources on a CPU: compiled as C++, with a fiber for every thread, and watched.

:class:`RawModule` takes the place of ``cupy.RawModule``.  fibers.h says in which order threads run,
watch.h what is looked for: races, reads outside an array, misaligned vectors.  So a kernel is
tested, and learned from, where there is no GPU.  It needs g++ or clang++ on Linux.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import hashlib
import itertools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["ORDERS", "CompileException", "FiberError", "RawModule", "can_run", "in_order"]

HEADER = Path(__file__).with_name("fibers.h")
COMPILER = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
ADDR2LINE = shutil.which("addr2line")
CHECKS = (  # which call what is in watch.h
    "-fsanitize=thread",
    "-fsanitize=bounds,signed-integer-overflow,integer-divide-by-zero",
)
ORDERS = ("forward", "reverse", "random")
_KERNEL = re.compile(r'extern "C" __global__ void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(')

_order: tuple[int, int] = (0, 0)  # and the seed

BlockAt = Callable[[int], tuple[int, int]]


def _nowhere(pointer: int) -> tuple[int, int]:
    raise TypeError("a struct has a pointer in it, and block_at was not given")


@contextlib.contextmanager
def in_order(order: str, seed: int = 0) -> Iterator[None]:
    """Let fibers, and blocks, take their turns in this order inside the block."""
    global _order
    before, _order = _order, (ORDERS.index(order), seed)
    try:
        yield
    finally:
        _order = before


class CompileException(Exception):
    """As cupy.cuda.compiler.CompileException: the text has the compiler's lines."""

    def get_message(self) -> str:
        """What the compiler said."""
        return str(self.args[0])


class FiberError(AssertionError):
    """A kernel that is wrong in every order: threads wait for each other at different places."""


@functools.cache
def can_run() -> bool:
    """Whether there is a compiler here that makes of CUDA sources what the CPU can run."""
    try:
        RawModule('extern "C" __global__ void nothing() {}').get_function("nothing")
    except (CompileException, OSError):
        return False
    return True


@functools.cache
def _folder() -> Path:
    folder = tempfile.mkdtemp(prefix="minires-fibers-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@functools.cache
def _library(code: str, options: tuple[str, ...]) -> ctypes.CDLL:
    if COMPILER is None:
        raise CompileException("There is no C++ compiler on this machine.")
    kernels = _KERNEL.findall(code)
    text = (
        f'#include "{HEADER}"\n#line 1 "source.cu"\n{code}\n'
        + "\n".join(f"RUN_ON_THE_CPU({name})" for name in kernels)
        + "\n"
    )
    read = (text, HEADER.read_text(), HEADER.with_name("watch.h").read_text(), repr(options))
    name = hashlib.sha256("".join(read).encode()).hexdigest()[:20]
    source, library = _folder() / f"{name}.cpp", _folder() / f"{name}.so"
    source.write_text(text)
    flags = "-std=c++17 -O1 -g1 -ffp-contract=off -Wall -Wno-unused -U_FORTIFY_SOURCE -fPIC"
    given = [option for option in options if option.startswith(("-D", "-I"))]
    made = str(library.with_suffix(".o"))
    for command in (
        # The linker is not told of the checks: it would add libraries that know no fibers.
        [COMPILER, "-c", *CHECKS, *flags.split(), *given, str(source), "-o", made],
        [COMPILER, "-shared", made, "-o", str(library)],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise CompileException(done.stderr)
    return ctypes.CDLL(str(library))


class _Kernel:
    def __init__(self, library: ctypes.CDLL, name: str, block_at: BlockAt):
        self.name, self.library, self.block_at = name, library, block_at
        self.run = getattr(library, f"run_{name}")
        self.run.restype = ctypes.c_char_p
        sizes: Any = getattr(library, f"sizes_{name}")
        sizes.restype = ctypes.POINTER(ctypes.c_int)
        found = sizes()
        self.sizes: list[int] = []
        while found[len(self.sizes)]:
            self.sizes.append(found[len(self.sizes)])

    def __call__(
        self, grid: Any, block: Any, args: Any, *, shared_mem: int = 0, stream: Any = None
    ) -> None:
        assert shared_mem == 0, "fibers.h has no dynamic shared memory"
        if len(args) != len(self.sizes):
            raise FiberError(f"{self.name} takes {len(self.sizes)} arguments, not {len(args)}")
        values = [_bytes(arg) for arg in args]
        for i, (value, size) in enumerate(zip(values, self.sizes, strict=True)):
            if ctypes.sizeof(value) != size:
                given = ctypes.sizeof(value)
                raise FiberError(f"{self.name}: argument {i} has {given} bytes, and needs {size}")
        pointers = (ctypes.c_void_p * max(1, len(values)))(
            *(ctypes.cast(ctypes.byref(value), ctypes.c_void_p) for value in values)
        )
        shape = [(ctypes.c_uint * 3)(*(*sizes, 1, 1)[:3]) for sizes in (grid, block)]
        ranges = [place for arg in args for place in _ranges(arg, self.block_at)]
        arrays = (ctypes.c_size_t * (2 * len(ranges)))(*itertools.chain(*ranges))
        message = self.run(pointers, *shape, *_order, arrays, len(ranges))
        if message is not None:
            raise FiberError(f"{self.name}: {_with_lines(message.decode(), self.library)}")


def _bytes(arg: Any) -> Any:
    """An argument as the bytes that a launch would copy."""
    if hasattr(arg, "__cuda_array_interface__"):
        return ctypes.c_void_p(arg.data.ptr)
    if isinstance(arg, np.ndarray) and arg.flags.writeable and arg.ndim:  # memory of the host
        raise TypeError("an array of the host cannot be given to a kernel")
    if isinstance(arg, (np.generic, np.ndarray)):  # also a struct, by value
        return (ctypes.c_char * arg.nbytes).from_buffer_copy(arg.tobytes())
    raise TypeError(f"a kernel cannot take {type(arg).__name__}: give it a NumPy number")


def _ranges(arg: Any, block_at: BlockAt) -> list[tuple[int, int]]:
    """Where memory begins and ends that a kernel may touch by an argument."""
    if hasattr(arg, "__cuda_array_interface__"):
        return [(arg.data.ptr, arg.data.ptr + arg.nbytes)]
    names = getattr(getattr(arg, "dtype", None), "names", None) or ()
    pointers = [p for n in names if arg.dtype[n].base == np.uintp for p in arg[n].flat if p]
    return [block_at(int(pointer)) for pointer in pointers]


def _with_lines(message: str, library: ctypes.CDLL) -> str:
    """The message with lines of source for places of code, where binutils are there to say them."""

    def line(place: re.Match[str]) -> str:
        if ADDR2LINE is None:
            return f"+{place[1]}"
        command = [ADDR2LINE, "-e", library._name, place[1]]
        told = subprocess.run(command, capture_output=True, text=True).stdout
        return "line " + told.split()[0].rpartition(":")[2] + " of " + Path(told.split(":")[0]).name

    return re.sub(r"<([0-9a-f]+)>", line, message)


class RawModule:
    """As cupy.RawModule, for the arguments that the launcher gives.

    Args:
        code: the source.
        options: of the compiler; those that define names are taken.
        block_at: where the memory begins and ends that a pointer in a struct points into.
    """

    def __init__(self, code: str, *, options: tuple[str, ...] = (), block_at: BlockAt = _nowhere):
        self._code, self._options, self._block_at = code, tuple(options), block_at

    def get_function(self, name: str) -> _Kernel:
        """The kernel of this name."""
        return _Kernel(_library(self._code, self._options), name, self._block_at)
