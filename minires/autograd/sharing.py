"""Memory that is shared with other libraries: NumPy, and through DLPack and CUDA all the others."""

from __future__ import annotations

from typing import Any

import numpy as np

from minires.autograd.node import Node
from minires.device import (
    Array,
    device_of,
    import_cupy,
    is_array,
    is_on_gpu,
    to_numpy,
    using_device_of,
)
from minires.errors import DeviceError, GraphError

__all__ = ["Shared", "shared_on_gpu"]


class Shared:
    """A tensor as other libraries see it: an array, which knows nothing of the graph."""

    __slots__ = ()

    _data: Array
    node: Node | None

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array; the tensor must not require grad (``detach()`` first)."""
        self._check_outside("numpy()", "x.detach().numpy()")
        return to_numpy(self._data)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if is_on_gpu(self._data):
            raise DeviceError(
                f"NumPy cannot compute with a tensor on {device_of(self._data)}. "
                "Copy it first: x.cpu().numpy()."
            )
        array = self.numpy()
        return np.array(array, dtype=dtype) if copy else np.asarray(array, dtype=dtype)

    def __dlpack__(self, **options: Any) -> Any:
        """What ``from_dlpack`` of another library asks for: the same memory, without a copy."""
        self._check_outside("from_dlpack()", "from_dlpack(x.detach())")
        with using_device_of(self._data):  # the other library waits for its current stream
            return self._data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        """DLPack's number for the kind of device, and the number of the device."""
        return self._data.__dlpack_device__()  # type: ignore[no-any-return]

    def _check_outside(self, what: str, mend: str) -> None:
        if self.node is not None:
            raise GraphError(
                f"{what} of a tensor that requires grad would leave the graph without a word; "
                f"write {mend}, or x.data for the array itself."
            )


def shared_on_gpu(data: Any) -> Any:
    """Another library's array on a GPU as CuPy's, of the same memory; anything else as it is."""
    if is_array(data) or not hasattr(data, "__cuda_array_interface__"):
        return data
    return import_cupy().asarray(data)
