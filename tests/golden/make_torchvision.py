"""Write tests/golden/imagenet/torchvision.npz: what torchvision's ResNets answer.

    pip install torch==2.13.0 torchvision==0.28.0 numpy
    python -m tests.golden.make_torchvision

Weights and images come from imagenet_inputs.py.  In float64 a digest of each answer is kept; of
float32 the error of PyTorch itself against its own float64.  It takes some minutes.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from tests.golden.imagenet_inputs import (
    DEPTHS,
    FILE,
    MODES,
    SGD,
    STEPS,
    Run,
    digests,
    errors,
    images,
    labels,
    state,
)
from tests.golden.make_recorder import FOLDER, Writer

__all__ = ["own_errors", "run", "torchvision_models"]


def torchvision_models() -> Any:
    """torchvision.models; also where its compiled operators are those of another torch build.

    No network uses them, but torchvision cannot be imported unless they are declared.
    """
    try:
        return importlib.import_module("torchvision.models")
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    models = importlib.import_module("torchvision.models")
    models.operators = library  # it must live as long as they do
    return models


def run(
    network: torch.nn.Module,
    weights: dict[str, Any],
    x: np.ndarray,
    y: np.ndarray,
    mode: str,
    dtype: torch.dtype,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Run:
    """One pass and three steps of SGD from these weights."""
    network.to(dtype).to(memory_format=memory_format)
    network.load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()})
    network.zero_grad()
    network.train(mode == "training")
    inputs = torch.from_numpy(x).to(dtype).contiguous(memory_format=memory_format)
    targets = torch.from_numpy(y)
    optimizer = torch.optim.SGD(network.parameters(), **SGD)
    for step in range(STEPS):
        optimizer.zero_grad()
        inputs.grad = None
        outputs = network(inputs.requires_grad_(step == 0))
        if step == 0:
            buffers = {name: b.detach().numpy().copy() for name, b in network.named_buffers()}
        F.cross_entropy(outputs, targets).backward()
        if step == 0:
            first = outputs.detach().numpy()
            grads = {name: p.grad.numpy().copy() for name, p in network.named_parameters()}
            grads["input"] = inputs.grad.numpy().copy()
        optimizer.step()
    with torch.no_grad():
        after = network(inputs)
    loss = F.cross_entropy(after, targets).reshape(1).numpy()
    return Run(first, grads, buffers, loss, after.numpy())


def own_errors(
    exact: Run, network: Any, weights: dict[str, Any], x: np.ndarray, y: np.ndarray, mode: str
) -> dict[str, float]:
    """PyTorch's errors in float32 against its float64, the largest of eight runs.

    As it is and with channels last, with images as they are and up to three roundings larger: where
    a number is all but zero, rounding decides whether a ReLU is open, so that a single run can be
    far nearer, or much further off, by chance; the loss can be exact by chance.
    """
    found = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        for roundings in range(4):
            inputs = x * np.float32(1 + roundings * 2**-23)
            what = (network, weights, inputs, y, mode, torch.float32, memory_format)
            found.append(errors(run(*what), exact))
    network.to(memory_format=torch.contiguous_format)
    return {name: max(one[name] for one in found) for name in found[0]}


def main() -> None:
    torch.set_num_threads(1)
    models = torchvision_models()
    writer = Writer(FILE)
    for depth in DEPTHS:
        network = getattr(models, f"resnet{depth}")()
        weights = state({name: tuple(v.shape) for name, v in network.state_dict().items()})
        for mode in MODES:
            what = (network, weights, images(depth), labels(depth), mode)
            exact = run(*what, torch.float64)
            own = own_errors(exact, *what)
            writer.entries.append(
                {
                    "name": writer.new_name(f"resnet{depth} {mode}"),
                    "kind": f"resnet{depth}",
                    "mode": mode,
                    "digests": writer.put_all(digests(exact)),
                    "own_errors": own,
                }
            )
            print(f"resnet{depth} {mode}: float32 is off by {own}", flush=True)
    (FOLDER / FILE).parent.mkdir(exist_ok=True)
    path = writer.write()
    print(f"{path.name}: {len(writer.entries)} runs, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
