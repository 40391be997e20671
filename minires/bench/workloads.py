"""What is measured, as plain data: the one table of shapes, and of steps a block.

A workload belongs to a kind, which names the function of a side that prepares it, and to a group,
which shares a table.  The steps of a block are few enough for half a second or so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from minires.errors import UsageError

__all__ = ["CHAIN_LENGTH", "SIDES_OF", "WORKLOADS", "Workload", "choose", "network"]

CHAIN_LENGTH = 200

# Who takes part, in the order of their turns; of the networks Chainer has those of _WITH_CHAINER.
SIDES_OF = {
    "network": ("minires", "pytorch"),
    "conv": ("minires", "pytorch", "chainer"),
    "pool": ("minires", "pytorch"),
    "norm": ("minires", "pytorch"),
    "chain": ("minires", "numpy", "pytorch"),
    "import": ("minires", "pytorch"),
    "accuracy": ("minires", "pytorch"),
    "bandwidth": ("minires", "cupy", "pytorch"),
}
_WITH_CHAINER = ("minires", "pytorch", "chainer")


@dataclass(frozen=True)
class Workload:
    """One thing to measure.

    Attributes:
        name: what it is called; ``--only`` patterns may match it.
        kind: the function of a side that prepares it.
        spec: the argument of that function.
        steps: of a block, between two turns of a side.
        group: the workloads that share a table, and a name that patterns may match; by itself if
            left out.
        about: a few words for the list.
    """

    name: str
    kind: str
    spec: dict[str, Any]
    steps: int
    group: str = ""
    about: str = ""
    sides: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if not self.group:
            object.__setattr__(self, "group", self.name)
        if not self.sides:
            object.__setattr__(self, "sides", SIDES_OF[self.kind])

    def matches(self, pattern: str) -> bool:
        """Whether a shell pattern fits the name or the group.

        >>> Workload("depth-scaling-d20", "network", {}, 1, "depth-scaling").matches("depth-*")
        True
        """
        return fnmatchcase(self.name, pattern) or fnmatchcase(self.group, pattern)


def choose(patterns: Sequence[str], workloads: Iterable[Workload] | None = None) -> list[Workload]:
    """Those that one of the patterns fits, in the order of the table; all for none.

    Raises UsageError for a pattern that fits nothing.

    >>> [w.name for w in choose(["pool-*"])]
    ['pool-max-k3s2', 'pool-avg-k2s2', 'pool-global']
    """
    table = list(WORKLOADS if workloads is None else workloads)
    for pattern in patterns:
        if not any(w.matches(pattern) for w in table):
            raise UsageError(f"No workload is called {pattern!r}; --list shows them all.")
    return [w for w in table if not patterns or any(w.matches(p) for p in patterns)]


def network(
    name: str, depth: int | str, shape: Sequence[int], steps: int, *, width: int = 0, **more: Any
) -> Workload:
    """A step of training, or a pass of inference; ``depth`` is 20 or 'resnet50'."""
    train = more.pop("train", True)
    spec = {"depth": depth, "width": width, "shape": list(shape), "train": train}
    what = f"ResNet-{str(depth).removeprefix('resnet')}"
    width_text = f", width {width}" if width else ""
    about = f"{what}{width_text}, {_times(shape)}, {'training step' if train else 'inference'}"
    return Workload(name, "network", spec, steps, about=about, **more)


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


# n, channels, filters, size of the image, kernel, stride; steps of a block: forward, and backward.
_CONVS = [
    (128, 3, 16, 32, 3, 1, 20, 8),
    (128, 16, 16, 32, 3, 1, 10, 4),
    (128, 16, 32, 32, 3, 2, 20, 6),
    (128, 32, 32, 16, 3, 1, 15, 5),
    (128, 32, 64, 16, 3, 2, 30, 8),
    (128, 64, 64, 8, 3, 1, 20, 6),
    (8, 64, 64, 56, 3, 1, 5, 2),
    (8, 128, 128, 28, 3, 1, 6, 2),
    (8, 256, 256, 14, 3, 1, 6, 2),
    (8, 512, 512, 7, 3, 1, 6, 2),
    (8, 3, 64, 224, 7, 2, 3, 1),
    (8, 64, 256, 56, 1, 1, 8, 3),
    (8, 256, 512, 56, 1, 2, 8, 2),
    (64, 8, 8, 8, 3, 1, 200, 60),
    (64, 16, 16, 4, 3, 1, 200, 60),
    (64, 32, 32, 2, 3, 1, 200, 60),
]
_ACCURACY_VALUES = 400_000  # of the input at most: float64 beside float32, three arrays each


def _convs() -> tuple[list[Workload], list[Workload]]:
    timed, accurate = [], []
    for n, c, out, size, kernel, stride, forward, backward in _CONVS:
        name = f"n{n}-c{c}-o{out}-h{size}"
        name += f"-k{kernel}" * (kernel != 3) + f"-s{stride}" * (stride != 1)
        spec = {"shape": [n, c, size, size], "out": out, "kernel": kernel, "stride": stride}
        spec["padding"] = kernel // 2
        about = f"{_times([n, c, size, size])} to {out}, {kernel}x{kernel}, stride {stride}"
        for direction, steps in (("forward", forward), ("backward", backward)):
            doing = {**spec, "backward": direction == "backward"}
            what = f"{about}, {'forward and both gradients' if doing['backward'] else 'forward'}"
            timed.append(Workload(f"conv-{name}-{direction}", "conv", doing, steps, about=what))
        few = max(1, min(n, 8, _ACCURACY_VALUES // (c * size * size)))
        shape = [few, c, size, size]
        small, what = {**spec, "shape": shape}, f"error of float32, {_times(shape)} to {out}"
        accurate.append(Workload(f"accuracy-{name}", "accuracy", small, 1, "accuracy", what))
    return timed, accurate


def _pools() -> list[Workload]:
    table = [("max-k3s2", [8, 64, 112, 112], 4), ("avg-k2s2", [8, 64, 112, 112], 6)]
    return [
        Workload(
            f"pool-{name}",
            "pool",
            {"pool": name.split("-")[0], "shape": shape},
            steps,
            about=f"{_times(shape)}, forward and backward",
        )
        for name, shape, steps in [*table, ("global", [128, 64, 8, 8], 100)]
    ]


def _norms() -> list[Workload]:
    table = [(128, 16, 32, 10), (128, 32, 16, 20), (128, 64, 8, 40), (8, 64, 56, 10)]
    return [
        Workload(
            f"batchnorm-c{c}-h{size}-b{n}",
            "norm",
            {"shape": [n, c, size, size]},
            steps,
            about=f"{_times([n, c, size, size])}, training, forward and backward",
        )
        for n, c, size, steps in table
    ]


def _chains() -> list[Workload]:
    found = []
    for name in ("add", "mul", "relu", "reshape", "sum", "mean", "matmul"):
        shape = [1, 64] if name in ("sum", "mean") else [8, 8]  # (1, 64): a sum keeps the shape
        spec = {"operation": name, "shape": shape, "length": CHAIN_LENGTH}
        about = f"{CHAIN_LENGTH} operations in a chain on {_times(shape)}, forward and backward"
        found.append(
            Workload(f"engine-overhead-{name}", "chain", spec, 20, "engine-overhead", about)
        )
    return found


def _depths() -> list[Workload]:
    return [
        network(
            f"depth-scaling-d{depth}",
            depth,
            [16, 1, 8, 8],
            max(1, 440 // depth),
            width=8,
            group="depth-scaling",
        )
        for depth in (20, 56, 110, 218, 434, 1202)
    ]


def _all() -> tuple[Workload, ...]:
    cifar, photo = [128, 3, 32, 32], [4, 3, 224, 224]
    timed, accurate = _convs()
    with_chainer: dict[str, Any] = {"sides": _WITH_CHAINER}
    return (
        network("cifar-resnet20-b128-train", 20, cifar, 3, width=16, **with_chainer),
        network("cifar-resnet20-b128-infer", 20, cifar, 8, width=16, train=False, **with_chainer),
        network("digits-resnet56-w8-b64-train", 56, [64, 1, 8, 8], 5, width=8, **with_chainer),
        network("resnet18-224-b4-train", "resnet18", photo, 1),
        network("resnet18-224-b4-infer", "resnet18", photo, 2, train=False),
        *timed,
        *_pools(),
        *_norms(),
        *_depths(),
        *_chains(),
        Workload(
            "import",
            "import",
            {},
            1,
            about="the package in a fresh interpreter that has NumPy already",
        ),
        *accurate,
    )


WORKLOADS = _all()
