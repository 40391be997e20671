"""Write tests/golden/*.npz: what PyTorch answers, for tests that must not need PyTorch.

    pip install torch==2.13.0 numpy
    python tests/golden/make_goldens.py

The cases stand in make_elementwise.py, make_layers.py, make_corners.py, make_networks.py and
make_optim.py under PyTorch's own names; loading.py reads the files.  The CPU build is enough; it
takes seconds.
"""

from __future__ import annotations

import warnings

import make_corners
import make_elementwise
import make_layers
import torch
from make_networks import networks
from make_optim import optim
from make_recorder import OpWriter

THEMES = (
    make_elementwise.elementwise,
    make_elementwise.reduce,
    make_elementwise.shape,
    make_elementwise.matmul,
    make_layers.conv,
    make_layers.pool,
    make_layers.norm,
    make_layers.loss,
    networks,
    optim,
)


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    warnings.filterwarnings("ignore", message="Using padding='same' with even kernel")
    total = 0
    for theme in THEMES:
        writer = theme()
        if isinstance(writer, OpWriter):
            getattr(make_corners, writer.theme)(writer)
        path = writer.write()
        total += path.stat().st_size
        print(f"{path.name:16} {len(writer.entries):4} cases {path.stat().st_size:8} bytes")
    print(f"{'together':16} {total:24} bytes")


if __name__ == "__main__":
    main()
