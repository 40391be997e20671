"""minires beside PyTorch: the same work in turn, each framework in a process of its own.

``minires bench`` on the command line.  :mod:`minires.bench.workloads` says what is measured,
:mod:`minires.bench.sides` how each framework does it, :mod:`minires.bench.run` how it is timed.
"""

from minires.bench.gpu_workloads import GPU_WORKLOADS
from minires.bench.measurement import Measurement
from minires.bench.process import SIDES, Side, choose_interpreters
from minires.bench.report import Bench
from minires.bench.run import bench
from minires.bench.workloads import WORKLOADS, Workload, choose

__all__ = [
    "GPU_WORKLOADS",
    "SIDES",
    "WORKLOADS",
    "Bench",
    "Measurement",
    "Side",
    "Workload",
    "bench",
    "choose",
    "choose_interpreters",
]
