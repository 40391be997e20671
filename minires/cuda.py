"""``mr.cuda``: is there a GPU, what does it hold, and has it finished.

Tensors and modules go there with ``.to("cuda")``.  Nothing here imports CuPy before it is called.
"""

from __future__ import annotations

from minires.device import gpu, import_cupy
from minires.errors import DeviceError

__all__ = ["device_count", "is_available", "memory_allocated", "synchronize"]


def is_available() -> bool:
    """Whether CuPy is installed and finds a GPU.

    >>> is_available() == (device_count() > 0)
    True
    """
    return device_count() > 0


def device_count() -> int:
    """How many GPUs there are; 0 where CuPy is missing."""
    try:
        cupy = import_cupy()
    except DeviceError:
        return 0
    return int(cupy.cuda.runtime.getDeviceCount()) if cupy.cuda.is_available() else 0


def synchronize(device: str = "cuda") -> None:
    """Wait until the GPU has done all that it was told to do.

    Work on a GPU is told to it and goes on by itself, so a clock that is stopped without this
    measures the telling.

    Args:
        device: 'cuda:1' for another than the current one.

    Raises:
        DeviceError: there is no such GPU.
    """
    gpu(device).synchronize()


def memory_allocated(device: str = "cuda") -> int:
    """Bytes that arrays hold on the GPU now, in CuPy's pool; what the pool keeps spare not counted.

    Args:
        device: 'cuda:1' for another than the current one.

    Raises:
        DeviceError: there is no such GPU.
    """
    with gpu(device):
        return int(import_cupy().get_default_memory_pool().used_bytes())
