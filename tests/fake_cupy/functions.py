"""cupy's functions: CuPy's parameters are checked, then NumPy's namesake does the work."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.fake_cupy.counters import counters
from tests.fake_cupy.device_array import arrays_in, is_scalar, ndarray, unwrap, wrap
from tests.fake_cupy.indexing import prepare
from tests.fake_cupy.names import bind, kind, signature

# They look at numbers on the host, or must know how many there are, before they go on.
WAIT = {
    *(
        "argwhere",
        "average",
        "bincount",
        "compress",
        "delete",
        "digitize",
        "extract",
        "flatnonzero",
    ),
    *("histogram", "histogram2d", "histogramdd", "intersect1d", "nonzero", "place", "putmask"),
    *("setdiff1d", "setxor1d", "trim_zeros", "union1d", "unique", "unique_all"),
    *("unique_counts", "unique_inverse", "unique_values"),
}
# They answer in Python's values, or take none of the device's.
PLAIN = {
    *("broadcast_shapes", "can_cast", "common_type", "iscomplexobj", "isdtype", "isfortran"),
    *("isrealobj", "isscalar", "issubdtype", "iterable", "may_share_memory", "min_scalar_type"),
    *("ndim", "promote_types", "result_type", "shape", "shares_memory", "size"),
}
# They make arrays out of numbers.
MAKERS = {
    *("arange", "bartlett", "blackman", "diag_indices", "eye", "fftfreq", "hamming", "hanning"),
    *("identity", "indices", "kaiser", "linspace", "logspace", "rfftfreq", "tri"),
    *("tril_indices", "triu_indices"),
}
# They only look from elsewhere at memory, so the current device does not matter.
VIEWS = {
    *("as_strided", "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_arrays", "broadcast_to"),
    *("diagonal", "expand_dims", "flip", "fliplr", "flipud", "matrix_transpose", "moveaxis"),
    *(
        "permute_dims",
        "ravel",
        "reshape",
        "rollaxis",
        "rot90",
        "sliding_window_view",
        "split",
        "squeeze",
        "swapaxes",
    ),
    *("transpose", *PLAIN),
}
# Their NumPy namesakes sort as CuPy does when asked to be stable.
SORTS = {"sort", "argsort"}
AT_DTYPES = {
    "add": "int32 int64 uint32 uint64 float16 float32 float64",
    "sub": "int32 uint32",
    "max": "int32 int64 uint32 uint64 float32 float64",
    "min": "int32 int64 uint32 uint64 float32 float64",
    "and": "int32 int64 uint32 uint64",
    "or": "int32 int64 uint32 uint64",
    "xor": "int32 int64 uint32 uint64",
}


class ufunc:
    """As cupy.ufunc: no `where=`, results in C order, never a number of the host."""

    def __init__(self, name: str):
        parts = kind("cupy", name).split()
        self.name, self.nin, self.nout = f"cupy_{name}", int(parts[1]), int(parts[2])
        self.nargs = self.nin + self.nout
        self._name, self._at = f"cupy.{name}", parts[3] if len(parts) > 3 else None
        self._numpy = getattr(np, name)

    def __repr__(self) -> str:
        return f"<ufunc '{self.name}'>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        bind("cupy.ufunc", "__call__", (self, *args), kwargs)
        if not self.nin <= len(args) <= self.nargs:
            raise TypeError(f"{self._name} takes {self.nin} arguments, got {len(args)}")
        for x in args:
            if not (
                is_scalar(x) or isinstance(x, ndarray) or hasattr(x, "__cuda_array_interface__")
            ):
                raise TypeError(f"{self._name}: Unsupported type {type(x)}")
        out = kwargs.pop("out", None)
        outs = out if isinstance(out, tuple) else (out,) if out is not None else args[self.nin :]
        if any(not isinstance(x, ndarray) for x in outs if x is not None):
            raise TypeError("Output arguments type must be cupy.ndarray")
        inputs = unwrap(args[: self.nin], self._name)
        if outs:
            kwargs["out"] = unwrap(tuple(outs), self._name)
        with np.errstate(all="ignore"):  # a GPU never warns, and CuPy has no errstate
            found = self._numpy(*inputs, **kwargs)
        found = found if self.nout > 1 else (found,)
        given = [*outs, *[None] * (self.nout - len(outs))]
        results = [
            wrap(np.array(f, order="C", copy=None)) if g is None else g
            for f, g in zip(found, given, strict=True)
        ]
        return tuple(results) if self.nout > 1 else results[0]

    def at(self, a: ndarray, indices: Any, b: Any = None) -> None:
        """In place, a place named twice counts twice (in an order that a GPU leaves open)."""
        if self._at is None:
            raise NotImplementedError(f"`{self.name}.at` is not supported yet")
        if a.dtype.name not in AT_DTYPES[self._at].split():
            raise TypeError(f"{self._name}.at only supports {AT_DTYPES[self._at]}, not {a.dtype}")
        key, _ = prepare(a, indices, f"{self._name}.at")
        with np.errstate(all="ignore"):
            self._numpy.at(unwrap(a, self._name), key, unwrap(b, self._name))

    def reduce(
        self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: Any = False
    ) -> Any:
        """For add and multiply alone."""
        method = {"cupy_add": "sum", "cupy_multiply": "prod"}.get(self.name)
        if method is None:
            raise NotImplementedError(f"`{self.name}.reduce` is not supported yet")
        return getattr(array, method)(axis, dtype, out, keepdims)

    def accumulate(self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None) -> Any:
        """For add and multiply alone."""
        method = {"cupy_add": "cumsum", "cupy_multiply": "cumprod"}.get(self.name)
        if method is None:
            raise NotImplementedError(f"`{self.name}.accumulate` is not supported yet")
        return getattr(array, method)(axis, dtype, out)

    def outer(self, A: Any, B: Any, **kwargs: Any) -> Any:
        """All pairs."""
        return self(A.reshape(A.shape + (1,) * B.ndim), B, **kwargs)


@functools.cache
def function(section: str, name: str, numpys: Callable[..., Any]) -> Callable[..., Any]:
    """``section.name`` on device arrays, the work done by ``numpys``."""
    full = f"{section}.{name}"

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = bind(section, name, args, kwargs)
        sources = arrays_in(args, kwargs)
        if name not in PLAIN | MAKERS:
            _refuse_host(full, bound)
        if name in WAIT:
            counters.count("to_host", full)
        args_, kwargs_ = _for_numpy(full, section, name, numpys, bound)
        _as_cupy_does(name, bound, args_, kwargs_)
        with np.errstate(all="ignore"):
            found = numpys(*args_, **kwargs_)
        out = bound.arguments.get("out")
        if out is not None:
            return out
        if name in PLAIN:
            return found
        if isinstance(found, (bool, int, float, complex)):
            found = np.asarray(found)  # cupy.allclose and its like answer with a 0-d array
        if isinstance(found, np.ndarray) and not any(_views(found, s) for s in sources):
            found = np.array(found, order="C", copy=None)
        return wrap(found, sources)

    call.__name__ = call.__qualname__ = name
    return call


def _views(host: np.ndarray, source: ndarray) -> bool:
    return np.may_share_memory(host, source._host)


def _refuse_host(full: str, bound: inspect.BoundArguments) -> None:
    """TypeError for a call without device arrays, or with a list where CuPy wants an array."""
    if not arrays_in(bound.arguments):
        raise TypeError(f"{full}: no CuPy array among its arguments")
    if not isinstance(bound.arguments.get("condition", arrays_in(bound.arguments)[0]), ndarray):
        raise TypeError(f"{full}: the condition is no CuPy array")
    for name, value in bound.arguments.items():
        parts = value if isinstance(value, (list, tuple)) else [value]
        if name in ARRAYS and not (isinstance(value, ndarray) or is_scalar(value) or value is None):
            raise TypeError(f"{full}: Unsupported type {type(value)} for {name}")
        if name == "tup" and not all(isinstance(part, ndarray) for part in parts):
            raise TypeError(f"{full}: only CuPy arrays can be joined")


ARRAYS = {
    *("a", "arr", "array", "ary", "b", "condition", "element", "test_elements", "v", "values"),
    *("weights", "x", "x1", "x2", "y"),
}


def _for_numpy(
    full: str, section: str, name: str, numpys: Any, bound: inspect.BoundArguments
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments by NumPy's order and names; None, where it is CuPy's default, left out."""
    named, takes_any = _keywords(numpys)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for i, (n, value) in enumerate(bound.arguments.items()):
        ours = signature(section, name).parameters[n]
        if value is None and ours.default is None:
            continue
        value = _host(full, name, value)
        if ours.kind is ours.VAR_POSITIONAL:
            args += value
        elif ours.kind is ours.VAR_KEYWORD:
            kwargs |= value
        elif i > 0 and (n in named or takes_any):
            kwargs[n] = value
        elif not kwargs and ours.kind is not ours.KEYWORD_ONLY:
            args.append(value)
        else:
            raise NotImplementedError(f"{full}: the fake has no {n}=")
    return args, kwargs


@functools.cache
def _keywords(numpys: Callable[..., Any]) -> tuple[set[str], bool]:
    """The names a function of NumPy takes as keywords, and whether it takes any."""
    try:
        parameters = list(inspect.signature(numpys).parameters.values())
    except ValueError:  # a ufunc
        return set(), True
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


def _host(full: str, name: str, value: Any) -> Any:
    """One argument for NumPy; a function that asks for a type or a shape may look at the host's."""
    if name in PLAIN and name not in ("may_share_memory", "shares_memory"):
        parts = value if isinstance(value, tuple) else (value,)
        parts = tuple(part._host if isinstance(part, ndarray) else part for part in parts)
        return parts if isinstance(value, tuple) else parts[0]
    return unwrap(value, full, anywhere=name in VIEWS)


def _as_cupy_does(
    name: str, bound: inspect.BoundArguments, args: list[Any], kwargs: dict[str, Any]
) -> None:
    """Where CuPy's function does something else than NumPy's of the same name."""
    if name == "take":  # numbers out of range wrap around
        kwargs["mode"] = "wrap"
        if isinstance(bound.arguments["indices"], (list, tuple)):
            counters.count("to_device", "cupy.take by a list")
    elif name in ("take_along_axis", "put_along_axis"):
        array, axis = args[0], kwargs.get("axis", -1)
        kwargs["indices"] = kwargs["indices"] % (array.size if axis is None else array.shape[axis])
    elif name in SORTS:
        if kwargs.get("kind") not in (None, "stable"):
            raise ValueError("kind can only be None or 'stable'")
        kwargs["kind"] = "stable"
    elif name == "where" and len(args) == 1:
        counters.count("to_host", "cupy.where without x and y")
    elif name == "shares_memory":
        counters.count("to_host", "cupy.shares_memory, which compares every address on the device")
    elif name == "repeat" and isinstance(bound.arguments["repeats"], ndarray):
        counters.count("to_host", "cupy.repeat by an array")
