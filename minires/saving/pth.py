"""PyTorch's .pth, .pt and .bin files of weights, read without PyTorch.

Two layouts are in use.  Since PyTorch 1.6 the file is a zip archive:

    <name>/data.pkl      a pickle of the state dict, in which each tensor is (storage, offset, size,
                         stride), and each storage a number
    <name>/data/<key>    the bytes of one storage
    <name>/byteorder     "little" or "big" (not in older files: little)

Before that the pickles came one after the other in one file: a magic number, the version, facts
about the machine, the object, the list of storages; then for each the number of its elements in 8
bytes, and its bytes.  torchvision's older weights (resnet18-5c106cde.pth) are of that kind.
"""

from __future__ import annotations

import io
import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeGuard

import numpy as np

from minires.errors import DataError
from minires.saving.content import File, array_from, check_claim, open_zip, read_content, read_entry
from minires.unpickle import NUMPY, brief, restricted_load

__all__ = ["CANDIDATES", "read_pth"]

CANDIDATES = ("state_dict", "model_state_dict", "model", "net", "weights", "params")

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_DATA_PARALLEL = "module."
_MOST_DIMENSIONS = 64  # of an array of NumPy


class _Storage(NamedTuple):
    """A block of elements in the file; a tensor is a view of one."""

    key: str
    dtype: str
    length: int
    start: int = 0  # in elements: old files have storages that are views of others
    whole: int = 0  # the length of the block that is in the file


class _Tensor(NamedTuple):
    """A tensor as the pickle describes it; its elements are elsewhere."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read_pth(file: File, *, key: str | None = None) -> OrderedDict[str, np.ndarray]:
    """The weights in a file of ``torch.save``: a state dict, or a checkpoint that holds one.

    Of a checkpoint the entry ``state_dict``, ``model_state_dict``, ``model``, ``net``, ``weights``
    or ``params`` is taken, or else the only one that is a table of tensors.  The prefix "module."
    of DataParallel is taken away where all names have it.  Where batch norm has no
    ``num_batches_tracked``, in files from before PyTorch 0.4.1, it is 0, as PyTorch reads them.

    Args:
        file: its name, or its content in memory.
        key: which entry of the checkpoint to take.

    Returns:
        Arrays of their own memory by name, in the order of the file; bfloat16 becomes float32.

    Raises:
        DataError: with the file and the reason: it is missing, cut short, damaged or of another
            kind; it asks for anything but tensors and plain data (a whole model, pickled, does:
            save its ``state_dict()``), which is never run; it holds no state dict, or several.
    """
    shown, content = read_content(file)
    if content.startswith(b"PK"):
        found, blocks, order = _read_zip(shown, content)
    elif content.startswith(b"\x80"):
        found, blocks, order = _read_legacy(shown, content)
    elif content[257:262] == b"ustar":
        raise DataError(
            f"{shown} is of the tar format of PyTorch 0.1. Read and save it again with a newer one."
        )
    else:
        raise DataError(f"{shown} is no .pth file: it is neither a zip archive nor a pickle.")
    state = _state_dict(shown, found, key)
    tensors = [value for value in state.values() if isinstance(value, _Tensor)]
    claimed = sum(math.prod(t.size) * _itemsize(t.storage.dtype) for t in tensors)
    check_claim(shown, claimed, len(content))
    arrays: OrderedDict[str, np.ndarray] = OrderedDict()
    for name, value in state.items():
        try:
            is_tensor = isinstance(value, _Tensor)
            arrays[name] = _array(value, blocks, order) if is_tensor else np.array(value)
        except ValueError as error:
            raise DataError(f"{shown}: its tensor {name!r} cannot be read: {error}.") from None
    return _with_counts(arrays)


def _with_counts(arrays: OrderedDict[str, np.ndarray]) -> OrderedDict[str, np.ndarray]:
    for name in [name for name in arrays if name.endswith("running_var")]:
        count = name.removesuffix("running_var") + "num_batches_tracked"
        arrays.setdefault(count, np.zeros((), np.int64))
    return arrays


# --- the two layouts; both give the object, the bytes of the storages, and their byte order ---

_Order = Literal["<", ">"]
_Read = tuple[Any, dict[str, bytes], _Order]


def _read_zip(shown: str, content: bytes) -> _Read:
    with open_zip(shown, content, ".pth archive") as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        pickles = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise DataError(f"{shown} is no .pth archive: it has {len(pickles)} entries data.pkl.")
        folder = pickles[0].removesuffix("data.pkl")
        if folder + "constants.pkl" in entries:
            raise DataError(f"{shown} is a TorchScript program: save model.state_dict() instead.")
        data = {
            name.removeprefix(folder): read_entry(shown, archive, entry)
            for name, entry in entries.items()
            if name.startswith((folder + "data", folder + "byteorder"))
        }
    byteorder = data.pop("byteorder", b"little")
    if byteorder not in (b"little", b"big"):
        raise DataError(f"{shown}: its entry 'byteorder' is neither little nor big.")
    found = _unpickle(shown, io.BytesIO(data.pop("data.pkl")))
    blocks = {name.removeprefix("data/"): block for name, block in data.items()}
    return found, blocks, "<" if byteorder == b"little" else ">"


def _read_legacy(shown: str, content: bytes) -> _Read:
    stream = io.BytesIO(content)
    if _unpickle(shown, stream) != _MAGIC:
        raise DataError(f"{shown} is a pickle, but none of torch.save.")
    version, machine = _unpickle(shown, stream), _unpickle(shown, stream)
    little = machine.get("little_endian") if isinstance(machine, dict) else None
    if version != _PROTOCOL or not isinstance(little, bool):
        raise DataError(
            f"{shown} is of version {brief(version)} of PyTorch's format, not {_PROTOCOL}."
        )
    storages: dict[str, _Storage] = {}
    found = _unpickle(shown, stream, storages)
    keys = _unpickle(shown, stream)
    blocks: dict[str, bytes] = {}
    for key in keys if isinstance(keys, list) else [None]:
        if not isinstance(key, str) or key not in storages:
            raise DataError(f"{shown} is damaged: its storage {brief(key)} belongs to no tensor.")
        count = int.from_bytes(stream.read(8), "little" if little else "big")
        blocks[key] = stream.read(_itemsize(storages[key].dtype) * min(count, len(content)))
    return found, blocks, "<" if little else ">"


def _unpickle(shown: str, stream: io.BytesIO, storages: dict[str, _Storage] | None = None) -> Any:
    """One pickle; the storages it names are noted in ``storages``."""

    def persistent_load(pid: Any) -> _Storage:
        storage = _storage(*pid)
        if storages is not None:
            storages[storage.key] = storage
        return storage

    return restricted_load(
        stream, _ALLOWED, what=shown, encoding="utf-8", persistent_load=persistent_load
    )


# --- which of it are the weights ---


def _state_dict(shown: str, found: Any, key: str | None) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise DataError(f"{shown} holds {_a(found)}, not a state dict.")
    if key is None and not _is_state(found):
        key = _only_candidate(shown, found)
    state = found if key is None else found.get(key)
    if not _is_state(state):
        raise DataError(f"{shown} has no state dict under {key!r}; it has {_shown_keys(found)}.")
    if state and all(name.startswith(_DATA_PARALLEL) for name in state):
        return {name.removeprefix(_DATA_PARALLEL): value for name, value in state.items()}
    return state


def _only_candidate(shown: str, found: dict[Any, Any]) -> str:
    states = [name for name, value in found.items() if _is_state(value) and value]
    candidates = [name for name in CANDIDATES if name in states] or states
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise DataError(f"{shown} holds no state dict; it has {_shown_keys(found)}.")
    raise DataError(
        f"{shown} holds more than one state dict: {', '.join(map(repr, candidates))}. Say which: "
        f"minires.saving.read_pth(file, key={candidates[0]!r})."
    )


def _is_state(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(item, _Tensor | np.ndarray)
        for name, item in value.items()
    )


def _shown_keys(found: dict[Any, Any]) -> str:
    return ", ".join(f"{brief(name)} ({_a(value)})" for name, value in list(found.items())[:8])


def _a(value: Any) -> str:
    return "a tensor" if isinstance(value, _Tensor) else f"a {type(value).__name__}"


# --- tensors ---


def _itemsize(dtype: str) -> int:
    return 2 if dtype == _BFLOAT16 else np.dtype(dtype).itemsize


def _array(tensor: _Tensor, blocks: Mapping[str, bytes], order: _Order) -> np.ndarray:
    """The elements that ``tensor`` sees of its storage, in C order."""
    storage = tensor.storage
    if storage.key not in blocks:
        raise ValueError(f"its storage {storage.key!r:.80} is not in the file")
    block, itemsize = blocks[storage.key], _itemsize(storage.dtype)
    if len(block) != storage.whole * itemsize:
        raise ValueError(
            f"its storage has {len(block)} bytes instead of {storage.whole} {storage.dtype}"
        )
    farthest = sum((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
    end = 0 if 0 in tensor.size else tensor.offset + farthest + 1
    if end > storage.length:
        raise ValueError(
            f"size {tensor.size}, stride {tensor.stride} and offset {tensor.offset} read beyond "
            f"the {storage.length} elements of its storage"
        )
    if end == 0:
        return np.empty(tensor.size, np.float32 if storage.dtype == _BFLOAT16 else storage.dtype)
    first = storage.start + tensor.offset
    seen = block[first * itemsize : (storage.start + end) * itemsize]
    if storage.dtype == _BFLOAT16:  # the upper half of a float32
        upper = array_from(seen, order + "u2", (len(seen) // 2,)).astype(np.uint32)
        flat = (upper << 16).view(np.float32)
    else:
        flat = array_from(seen, np.dtype(storage.dtype).newbyteorder(order), (end - tensor.offset,))
    steps = tuple(
        step * flat.itemsize if n > 1 else 0
        for n, step in zip(tensor.size, tensor.stride, strict=True)
    )
    return np.lib.stride_tricks.as_strided(flat, tensor.size, steps).copy()


# --- stand-ins for what torch.save asks for ---

_BFLOAT16 = "bfloat16"
_STORAGES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": _BFLOAT16,
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
}
_DTYPES = (*_STORAGES.values(), "uint16", "uint32", "uint64")


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(f"{brief(value)} where a number of elements is needed")
    return value


def _wholes(value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple | list) or len(value) > _MOST_DIMENSIONS:
        raise ValueError(f"{brief(value)} where sizes are needed")
    return tuple(_whole(item) for item in value)


def _storage(kind: Any, dtype: Any, key: Any, place: Any, count: Any, view: Any = None) -> _Storage:
    """The persistent id of a storage; ``view`` is (key, start, count) of a part of it."""
    if kind != "storage" or not isinstance(key, str) or not isinstance(dtype, _Dtype):
        raise ValueError("a storage that is not written in PyTorch's way")
    if view is None:
        return _Storage(key, dtype.name, _whole(count), 0, count)
    _, start, part = view
    if _whole(start) + _whole(part) > _whole(count):
        raise ValueError(f"a part from {start} of {part} elements of a storage of {count}")
    return _Storage(key, dtype.name, part, start, count)


class _Dtype(NamedTuple):
    """torch.FloatStorage and torch.float32 alike."""

    name: str


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> _Tensor:
    """torch._utils._rebuild_tensor_v2(..., requires_grad, backward_hooks, metadata)."""
    if not isinstance(storage, _Storage) or len(size) != len(stride):
        raise ValueError("a tensor that is not written in PyTorch's way")
    return _Tensor(storage, _whole(offset), _wholes(size), _wholes(stride))


def _rebuild_tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *rest: Any
) -> _Tensor:
    """torch._utils._rebuild_tensor_v3: the storage is of bytes, the type stands beside it."""
    if not isinstance(storage, _Storage) or not isinstance(dtype, _Dtype) or storage.start:
        raise ValueError("a tensor that is not written in PyTorch's way")
    count, left = divmod(storage.length, _itemsize(dtype.name))
    if left:
        raise ValueError(f"a storage of {storage.length} bytes for {dtype.name}")
    return _rebuild_tensor(_Storage(storage.key, dtype.name, count, 0, count), offset, size, stride)


def _rebuild_parameter(tensor: Any, *rest: Any) -> Any:
    """torch._utils._rebuild_parameter(data, requires_grad, backward_hooks): its tensor."""
    return tensor


def _size(sizes: Any = ()) -> tuple[int, ...]:
    """torch.Size."""
    return _wholes(sizes)


def _device(kind: Any, number: Any = None) -> str:
    """torch.device: its name, which is only read over."""
    return f"{brief(kind)}:{brief(number)}"


_ALLOWED: dict[tuple[str, str], Any] = {
    **NUMPY,
    ("torch", "Size"): _size,
    ("torch", "device"): _device,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor_v3,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    ("torch.storage", "UntypedStorage"): _Dtype("uint8"),
    **{("torch", f"{name}Storage"): _Dtype(dtype) for name, dtype in _STORAGES.items()},
    **{("torch.cuda", f"{name}Storage"): _Dtype(dtype) for name, dtype in _STORAGES.items()},
    **{("torch", name): _Dtype(name) for name in _DTYPES},
}
