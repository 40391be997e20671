"""Runs PyTorch on a case and keeps what went in and what came out, for loading.py to read.

Every number is drawn from a generator that is seeded by the case's own name, so that a new case
leaves the old ones as they are.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).parent


def generator(name: str) -> np.random.Generator:
    """The random numbers of one case."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def normal(name: str, *shape: int) -> np.ndarray:
    """Standard normal numbers, always the same for one name and shape.

    Float64, but rounded to float32: half the bytes once compressed, and good for float32 too.
    """
    return generator(f"{name} {shape}").standard_normal(shape).astype(np.float32).astype(np.float64)


def positive(name: str, *shape: int) -> np.ndarray:
    """Numbers between 0.2 and 3, rounded likewise."""
    return generator(f"{name} {shape}").uniform(0.2, 3.0, shape).astype(np.float32).astype(float)


def resolve(op: str) -> Callable[..., Any]:
    """PyTorch's function of this name: "F.relu", "Tensor.sum", or "add" for torch.add."""
    if op.startswith("F."):
        return getattr(torch.nn.functional, op.removeprefix("F."))
    if op.startswith("Tensor."):
        return getattr(torch.Tensor, op.removeprefix("Tensor."))
    return getattr(torch, op)


class Constant:
    """Marks a float array that takes part without a gradient, such as a running mean."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array


class Writer:
    """Collects arrays end to end, one buffer a dtype, and a manifest that says where each lies.

    Thousands of small arrays as members of their own would make the file three times as large.
    """

    def __init__(self, theme: str) -> None:
        self.theme = theme
        self.buffers: dict[str, list[np.ndarray]] = {}
        self.ends: dict[str, int] = {}
        self.entries: list[dict[str, Any]] = []
        self.names: set[str] = set()

    def new_name(self, name: str) -> str:
        if name in self.names:
            raise ValueError(f"two cases called {name}")
        self.names.add(name)
        return name

    def put(self, value: Any) -> dict[str, Any]:
        """Store an array or a PyTorch tensor; where it lies."""
        if isinstance(value, torch.Tensor):
            value = value.detach().numpy()
        array = np.array(value)
        dtype = array.dtype.name
        start = self.ends.get(dtype, 0)
        self.ends[dtype] = start + array.size
        self.buffers.setdefault(dtype, []).append(array.reshape(-1))
        return {"dtype": dtype, "start": start, "shape": list(array.shape)}

    def put_all(self, values: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Store each value; where it lies, by name."""
        return {name: self.put(value) for name, value in values.items()}

    def write(self) -> Path:
        manifest = {
            "theme": self.theme,
            "versions": {"torch": torch.__version__, "numpy": np.__version__},
            "entries": self.entries,
        }
        path = FOLDER / f"{self.theme}.npz"
        text = np.array(json.dumps(manifest, allow_nan=False, separators=(",", ":")))
        buffers = {dtype: np.concatenate(arrays) for dtype, arrays in self.buffers.items()}
        np.savez_compressed(path, manifest=text, **buffers)
        return path


class OpWriter(Writer):
    """A writer of operation cases: arguments, outputs, cotangents, gradients."""

    def add(self, op: str, label: str, *args: Any, **kwargs: Any) -> None:
        """Run ``op`` forward and backward and keep everything, under the name "op label".

        Float arrays get a gradient unless marked Constant; an argument that PyTorch changes in
        place (running statistics) is kept as it is afterwards.
        """
        name = self.new_name(f"{op} {label}")
        leaves: dict[str, torch.Tensor] = {}
        coded_args = [_encode(self, str(i), arg, leaves) for i, arg in enumerate(args)]
        coded_kwargs = {key: _encode(self, key, arg, leaves) for key, arg in kwargs.items()}
        before = {path: leaf.detach().clone() for path, leaf in leaves.items()}
        result = resolve(op)(
            *[_decode(code, leaves) for code in coded_args],
            **{key: _decode(code, leaves) for key, code in coded_kwargs.items()},
        )
        outputs = list(result) if isinstance(result, tuple) else [result]
        cotangents = {
            str(i): torch.from_numpy(normal(f"{name} cotangent {i}", *out.shape)).to(out.dtype)
            for i, out in enumerate(outputs)
            if out.requires_grad
        }
        wanted = {path: leaf for path, leaf in leaves.items() if leaf.requires_grad}
        if not cotangents:  # where the largest stands has no gradient
            wanted = {}
        grads: tuple[torch.Tensor, ...] = ()
        if wanted:
            grads = torch.autograd.grad(
                [outputs[int(i)] for i in cotangents],
                list(wanted.values()),
                list(cotangents.values()),
                create_graph=True,
            )
        directions, second = _second(name, wanted, grads)
        changed = {
            path: leaf for path, leaf in leaves.items() if not torch.equal(leaf, before[path])
        }
        self.entries.append(
            {
                "name": name,
                "op": op,
                "args": coded_args,
                "kwargs": coded_kwargs,
                "outputs": [self.put(out) for out in outputs],
                "cotangents": self.put_all(cotangents),
                "grads": self.put_all(dict(zip(wanted, grads, strict=True))),
                "changed": self.put_all(changed),
                "directions": self.put_all(directions),
                "second": self.put_all(second),
            }
        )


def _second(
    name: str, wanted: dict[str, torch.Tensor], grads: tuple[torch.Tensor, ...]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The gradient of <directions, gradients> by the same inputs, and the directions.

    Nothing where it is zero, or has no value, as the slope of a root at 0; and nothing in float32,
    where it would tell less.
    """
    recorded = {p: g for p, g in zip(wanted, grads, strict=True) if g.requires_grad}
    if not recorded or any(g.dtype != torch.float64 for g in grads):
        return {}, {}
    directions = {
        p: torch.from_numpy(normal(f"{name} along {p}", *g.shape)) for p, g in recorded.items()
    }
    along = sum((directions[p] * g).sum() for p, g in recorded.items())
    try:
        found = torch.autograd.grad(along, list(wanted.values()), allow_unused=True)
    except RuntimeError:  # as of batch norm with a bias and no weight, which PyTorch lacks
        return {}, {}
    second = {
        p: torch.zeros_like(x) if s is None else s
        for (p, x), s in zip(wanted.items(), found, strict=True)
    }
    telling = any(s.any() for s in second.values())
    if not telling or not all(s.isfinite().all() for s in second.values()):
        return {}, {}
    return directions, second


def _encode(writer: Writer, path: str, arg: Any, leaves: dict[str, torch.Tensor]) -> Any:
    """The argument as JSON; its arrays stored, and put among the leaves under their path."""
    wants_grad = not isinstance(arg, Constant)
    if isinstance(arg, Constant):
        arg = arg.array
    if isinstance(arg, np.ndarray | np.generic):
        array = np.array(arg)
        leaf = torch.from_numpy(array.copy())
        leaves[path] = leaf.requires_grad_(wants_grad and leaf.is_floating_point())
        return {"array": writer.put(array), "path": path}
    if isinstance(arg, list | tuple):
        kind = "list" if isinstance(arg, list) else "tuple"
        return {kind: [_encode(writer, f"{path}.{i}", a, leaves) for i, a in enumerate(arg)]}
    if isinstance(arg, slice):
        return {"slice": [arg.start, arg.stop, arg.step]}
    if arg is Ellipsis:
        return {"ellipsis": True}
    return {"value": arg}


def _decode(code: dict[str, Any], leaves: dict[str, torch.Tensor]) -> Any:
    """What PyTorch is called with."""
    ((kind, content), *_) = code.items()
    if kind == "array":
        return leaves[code["path"]]
    if kind == "list":
        return [_decode(c, leaves) for c in content]
    if kind == "tuple":
        return tuple(_decode(c, leaves) for c in content)
    if kind == "slice":
        return slice(*content)
    return Ellipsis if kind == "ellipsis" else content
