"""``mr.save`` and ``mr.load``: the weights of a network in a file."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minires.autograd import Tensor
from minires.device import is_array, to_numpy
from minires.errors import DataError, UsageError
from minires.files import write_whole
from minires.nn import Module
from minires.saving.content import Content, open_zip, read_content
from minires.saving.npz import npz_bytes, read_npz
from minires.saving.pth import read_pth
from minires.saving.safetensors import read_safetensors, safetensors_bytes

__all__ = ["WEIGHTS", "load", "save", "weights_of"]

_WRITERS: dict[str, Callable[[dict[str, np.ndarray]], bytes]] = {
    ".npz": npz_bytes,
    ".safetensors": safetensors_bytes,
}
WEIGHTS = "weights/"  # before the names in a checkpoint of minires.train


def save(state: Module | Mapping[str, Any], file: str | os.PathLike[str]) -> Path:
    """Write the weights of a network to ``file``, whole or not at all.

    Args:
        state: a module, of which ``state_dict()`` is saved, or tensors and arrays by name.
        file: its name ends in .npz (a NumPy archive) or .safetensors.

    Returns:
        Where it was written.

    Raises:
        UsageError: another ending, a value that is no array, or a place that cannot be written to.
        DataError: arrays that are not of plain numbers.

    >>> import tempfile, minires as mr
    >>> model = mr.nn.Linear(2, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = mr.save(model, f"{folder}/linear.safetensors")
    ...     model.load_state_dict(mr.load(file))
    LoadResult(missing_keys=[], unexpected_keys=[])
    """
    path = Path(file)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise UsageError(
            f"save: the name of the file must end in .npz or .safetensors, got {str(path)!r}."
        )
    values = state.state_dict() if isinstance(state, Module) else state
    if not isinstance(values, Mapping):
        raise UsageError(f"save: a {type(state).__name__} is neither a Module nor tensors by name.")
    return write_whole(path.parent, {path.name: writer(_arrays(values))})[0]


def _arrays(values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    arrays = {}
    for name, value in values.items():
        array = value.data if isinstance(value, Tensor) else value
        if not isinstance(name, str) or not (is_array(array) or isinstance(array, np.generic)):
            raise UsageError(
                f"save: {name!r} is a {type(value).__name__}; names are texts, and values tensors "
                "or arrays."
            )
        arrays[name] = np.asarray(to_numpy(array))
    return arrays


def load(file: str | os.PathLike[str]) -> OrderedDict[str, np.ndarray]:
    """The weights in ``file``, as ``load_state_dict`` takes them.

    It reads NumPy archives (.npz, checkpoints of :mod:`minires.train` among them), safetensors, and
    what ``torch.save`` writes (.pth, .pt, .bin), without PyTorch; see
    :func:`minires.saving.read_pth`.  What a file is, its first bytes say, whatever it is called.
    Nothing in it is ever run.

        model = mr.models.resnet18()
        model.load_state_dict(mr.load("resnet18.pth"))

    Raises:
        DataError: the file is missing, damaged, of another kind, or asks for code to be run; the
            message says which.
    """
    content = read_content(file)
    shown, data = content
    if data.startswith(b"PK"):
        with open_zip(shown, data, "archive") as archive:
            pickled = any(name.endswith("data.pkl") for name in archive.namelist())
        return read_pth(content) if pickled else _from_npz(content)
    if data.startswith(b"\x80") or data[257:262] == b"ustar":
        return read_pth(content)
    if data[8:9] == b"{":
        return OrderedDict(read_safetensors(content))
    raise DataError(
        f"{shown} holds no weights that can be read: it is no .npz, .safetensors or .pth file, or "
        f"its beginning is damaged ({len(data)} bytes)."
    )


def _from_npz(file: Content) -> OrderedDict[str, np.ndarray]:
    arrays = read_npz(file)
    if "about" not in arrays:
        return OrderedDict(arrays)
    return weights_of(arrays)  # of a checkpoint, which holds more than weights


def weights_of(arrays: Mapping[str, np.ndarray]) -> OrderedDict[str, np.ndarray]:
    """The weights among the arrays of a checkpoint, under the names of the network.

    >>> list(weights_of({"weights/fc.bias": np.ones(2), "optimizer/0/momentum_buffer": np.ones(2)}))
    ['fc.bias']
    """
    return OrderedDict(
        (name.removeprefix(WEIGHTS), array)
        for name, array in arrays.items()
        if name.startswith(WEIGHTS)
    )
