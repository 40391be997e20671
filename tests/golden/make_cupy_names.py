"""Writes tests/fake_cupy/names.json: the names and parameters that CuPy has.

    python tests/golden/make_cupy_names.py        # wants CuPy, but no GPU

The device array of tests/fake_cupy takes these names and arguments and no others.  One line a name:

    "(a, axis=None, ...)"   a function or method, a default that is no literal written as `...`
    "ufunc 2 1 add"         its inputs, its outputs and, where `.at` is there, what that does
    "attribute", "type", "module", "value"
"""

import ast
import importlib
import inspect
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import cupy

NAMES = Path(__file__).parents[1] / "fake_cupy" / "names.json"

MODULES = [
    "cupy",
    "cupy.cuda",
    "cupy.cuda.runtime",
    "cupy.fft",
    "cupy.lib.stride_tricks",
    "cupy.linalg",
    "cupy.random",
]
CLASSES = {
    "cupy.ndarray": cupy.ndarray,
    "cupy.ufunc": type(cupy.add),
    "cupy.RawModule": cupy.RawModule,
    "cupy.RawKernel": cupy.RawKernel,
    "cupy.cuda.Device": cupy.cuda.Device,
    "cupy.cuda.Event": cupy.cuda.Event,
    "cupy.cuda.MemoryPool": cupy.cuda.MemoryPool,
    "cupy.cuda.MemoryPointer": cupy.cuda.MemoryPointer,
    "cupy.cuda.PinnedMemoryPool": cupy.cuda.PinnedMemoryPool,
    "cupy.cuda.PinnedMemoryPointer": cupy.cuda.PinnedMemoryPointer,
    "cupy.cuda.Stream": cupy.cuda.Stream,
    "cupy.random.Generator": cupy.random.Generator,
    "cupy.random.RandomState": cupy.random.RandomState,
}
# What every class has, and pickling.
UNWANTED = {
    *("__class_getitem__", "__dict__", "__doc__", "__getstate__", "__init__", "__module__"),
    *("__init_subclass__", "__name__", "__new__", "__pyx_vtable__", "__reduce__", "__slots__"),
    *("__reduce_cython__", "__reduce_ex__", "__setstate__", "__setstate_cython__"),
    *("__subclasshook__", "__weakref__"),
}
# What their files import for themselves.
IMPORTS = {("annotations", "value"), ("np", "module"), ("contextlib", "module")}
# Every keyword a NumPy ufunc takes; CuPy's answer names those it does not.
NUMPY_UFUNC_KEYWORDS = {
    "axes": None,
    "axis": None,
    "casting": "same_kind",
    "dtype": None,
    "keepdims": False,
    "order": "K",
    "out": None,
    "signature": None,
    "subok": True,
    "where": True,
}
# Python fixes what a binary operator takes; Cython writes it nowhere.
BINARY = {
    *("add", "and", "divmod", "floordiv", "getitem", "lshift", "matmul", "mod", "mul", "or"),
    *("pow", "rshift", "sub", "truediv", "xor"),
}


def ufunc_call() -> str:
    """The keywords that a CuPy ufunc takes, asked of CuPy: it names the ones it refuses."""
    try:
        cupy.add(0, 0, **NUMPY_UFUNC_KEYWORDS)
    except TypeError as error:
        refused = ast.literal_eval(str(error).removeprefix("Wrong arguments "))
    taken = [name for name in NUMPY_UFUNC_KEYWORDS if name not in refused]
    return f"(self, *args, {', '.join(f'{name}=None' for name in taken)})"


def default(value: object) -> str:
    """A default as text: a literal as it is, anything else as `...`."""
    literal = value is None or isinstance(value, (bool, int, float, str, tuple))
    return repr(value) if literal and repr(value) not in ("nan", "inf") else "..."


def from_signature(signature: inspect.Signature) -> str:
    """Parameters without annotations."""
    parts, star = [], False
    parameters = list(signature.parameters.values())
    for i, p in enumerate(parameters):
        if p.kind is p.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        star = star or p.kind is p.VAR_POSITIONAL
        stars = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        parts.append(
            stars + p.name + (f"={default(p.default)}" if p.default is not p.empty else "")
        )
        last = i + 1 == len(parameters) or parameters[i + 1].kind is not p.POSITIONAL_ONLY
        if p.kind is p.POSITIONAL_ONLY and last:
            parts.append("/")
    return f"({', '.join(parts)})"


def from_docstring(name: str, doc: str) -> str | None:
    """Parameters from the line that Cython puts first in a docstring, C types dropped."""
    found = re.search(rf"\b{re.escape(name)}(\(.*?\))(\s*->.*)?$", doc.strip().split("\n")[0])
    if found is None:
        return None
    parts = []
    for part in found[1][1:-1].split(", "):
        head, equals, value = part.partition("=")
        if equals:
            try:
                value = default(ast.literal_eval(value))
            except (ValueError, SyntaxError):
                value = "..."
        parts.append(re.sub(r"^.*[ \]](?=\w+$)", "", head.strip()) + equals + value)
    return f"({', '.join(parts)})" if parts != [""] else "()"


def parameters(name: str, thing: Any) -> str:
    """The parameters of a function or method, as text."""
    if name.startswith("__") and name.strip("_") in BINARY:
        return "(self, value, /)"
    try:
        return from_signature(inspect.signature(thing))
    except (ValueError, TypeError):
        written = from_docstring(name, inspect.getdoc(thing) or "")
    if written is None:
        raise SystemExit(f"No parameters found for {name}: {thing!r}")
    return written


def entry(name: str, thing: Any) -> str:
    """What names.json says of one thing."""
    if isinstance(thing, type(cupy.add)):
        return f"ufunc {thing.nin} {thing.nout} {thing._scatter_op or ''}".rstrip()
    if isinstance(thing, type):
        return "type"
    if isinstance(thing, ModuleType):
        return "module"
    if inspect.isgetsetdescriptor(thing) or inspect.isdatadescriptor(thing):
        return "attribute"
    if callable(thing):
        return parameters(name, thing)
    return "value"


def constructor(cls: type) -> str:
    """The parameters of a class; Cython writes them in the class's docstring or in `__init__`'s."""
    in_class = from_docstring(cls.__name__, cls.__doc__ or "")
    if in_class is None:
        in_class = from_docstring("__init__", cls.__doc__ or "")
    if in_class is None:
        return parameters("__init__", cls.__init__)
    return in_class.replace("(", "(self, ", 1)


def main() -> None:
    """Ask CuPy for every name, and write them."""
    names: dict[str, dict[str, str]] = {}
    for path in MODULES:
        module = importlib.import_module(path)
        public = {n: entry(n, getattr(module, n)) for n in dir(module) if n[0] != "_"}
        names[path] = {n: kind for n, kind in public.items() if (n, kind) not in IMPORTS}
    runtime = names["cupy.cuda.runtime"]  # hundreds of constants that nobody here reads
    names["cupy.cuda.runtime"] = {n: kind for n, kind in runtime.items() if kind != "value"}
    for path, cls in CLASSES.items():
        own = [n for n in dir(cls) if getattr(object, n, None) is not getattr(cls, n)]
        public = [n for n in own if not n.startswith("_") or n.endswith("__")]
        names[path] = {n: entry(n, getattr(cls, n)) for n in public if n not in UNWANTED}
        names[path]["__init__"] = constructor(cls)
    names["cupy.ufunc"]["__call__"] = ufunc_call()
    text = json.dumps({"cupy": cupy.__version__, "names": names}, indent=1, sort_keys=True)
    NAMES.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
