"""What is measured on a GPU: whole networks, and the kernels that memory alone should limit.

Such a kernel does hardly any arithmetic: it can be no faster than its arrays are read and written.
How near it comes is the rate at which it moves its bytes, as a share of that of a bare copy.
"""

from __future__ import annotations

import math
from typing import Any

from minires.bench.workloads import Workload, network

__all__ = ["GPU_WORKLOADS", "copied_bytes"]

_SHAPE = (128, 64, 112, 112)  # 411 MB: far beyond any cache, and a millisecond or so on most cards
_NUMBER, _INDEX = 4, 8  # bytes of a float32 and of an int64


def copied_bytes(spec: dict[str, Any]) -> int:
    """Bytes that the bare copy beside a kernel moves: it reads x and writes another x."""
    return 2 * _NUMBER * int(math.prod(spec["shape"]))


def _bandwidth() -> list[Workload]:
    """With the bytes that our kernels move, each array as often as it is read or written."""
    x = _NUMBER * math.prod(_SHAPE)
    quarter = x // 4  # of the output, where planes shrink to half their height and width
    indices = quarter // _NUMBER * _INDEX
    means = _NUMBER * math.prod(_SHAPE[:2])
    table = [
        ("batchnorm", False, 3 * x),  # statistics read x; then x to out
        ("batchnorm", True, 5 * x),  # sums read grad_out and x; then both to grad_x
        ("maxpool-k3s2", False, x + quarter + indices),
        ("maxpool-k3s2", True, quarter + indices + x),
        ("avgpool-k2s2", False, x + quarter),
        ("avgpool-k2s2", True, quarter + x),
        ("globalpool", False, x + means),
        ("globalpool", True, means + x),
    ]
    found = []
    for name, backward, moved in table:
        spec = {"layer": name, "shape": list(_SHAPE), "backward": backward, "bytes": moved}
        way = "backward" if backward else "forward"
        about = f"{'x'.join(map(str, _SHAPE))}, {way} alone, {moved / 1e9:.2f} GB"
        found.append(
            Workload(f"bandwidth-{name}-{way}", "bandwidth", spec, 20, "bandwidth", about=about)
        )
    return found


def _networks() -> list[Workload]:
    cifar, photo = [128, 3, 32, 32], [32, 3, 224, 224]
    sides: dict[str, Any] = {"sides": ("minires", "pytorch")}
    return [
        network("cifar-resnet20-b128-train", 20, cifar, 20, width=16, **sides),
        network("cifar-resnet20-b128-infer", 20, cifar, 50, width=16, train=False, **sides),
        network("resnet50-224-b32-train", "resnet50", photo, 5, **sides),
        network("resnet50-224-b32-infer", "resnet50", photo, 10, train=False, **sides),
    ]


GPU_WORKLOADS = (*_networks(), *_bandwidth())
