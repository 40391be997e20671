"""The same work in PyTorch: eager, float32, NCHW, as its users write it (ReLU in place, too)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

__all__ = [
    *("bandwidth", "chain", "conv", "convolve", "elapsed", "event", "network", "norm", "pool"),
    *("setup", "step_memory", "use"),
]

Work = tuple[Callable[[], Any], Any]
torch: Any = None  # imported by setup: this file can be read where there is no PyTorch
_device = "cpu"


def setup(threads: int) -> dict[str, str]:
    """Import PyTorch and give it its threads; the version."""
    global torch
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    return {"pytorch": torch.__version__}


def use(device: str) -> dict[str, str]:
    """Work on a GPU from now on: float32 that is no TF32, and cuDNN's quickest convolutions."""
    global _device
    if not torch.cuda.is_available():
        raise RuntimeError("this PyTorch finds no GPU")
    if ":" in device:
        torch.cuda.set_device(device)
    _device = "cuda"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    return {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}


def event() -> Any:
    """A mark that the GPU passes, with ``record`` and ``synchronize``."""
    return torch.cuda.Event(enable_timing=True)


def elapsed(start: Any, end: Any) -> float:
    """Seconds from one mark to another, by the GPU's clock."""
    return float(start.elapsed_time(end)) / 1e3


def step_memory(step: Callable[[], Any]) -> int:
    """Bytes that PyTorch's pool has to take from the card for a step, with all that lives there."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    step()
    return int(torch.cuda.max_memory_reserved())


def _tensor(array: Any) -> Any:
    return torch.from_numpy(array).to(_device)


def _bottleneck(c_in: int, width: int, stride: int) -> Any:
    """As torchvision has it: 1x1, 3x3 with the stride, 1x1 to four times the width."""
    nn, functional = torch.nn, torch.nn.functional

    class Bottleneck(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(c_in, width, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(4 * width)
            self.downsample = None
            if stride != 1 or c_in != 4 * width:
                conv = nn.Conv2d(c_in, 4 * width, 1, stride, bias=False)
                self.downsample = nn.Sequential(conv, nn.BatchNorm2d(4 * width))

        def forward(self, x: Any) -> Any:
            z = functional.relu(self.bn1(self.conv1(x)), inplace=True)
            z = functional.relu(self.bn2(self.conv2(z)), inplace=True)
            z = self.bn3(self.conv3(z))
            return functional.relu(z + (x if self.downsample is None else self.downsample(x)), True)

    return Bottleneck()


def _block(c_in: int, c_out: int, stride: int, projects: bool) -> Any:
    """The basic block; where dimensions grow, with a projection or with zeros (shortcut A)."""
    nn, functional = torch.nn, torch.nn.functional

    class Block(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(c_out)
            self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(c_out)
            self.downsample = None
            if projects and (stride != 1 or c_in != c_out):
                conv = nn.Conv2d(c_in, c_out, 1, stride, bias=False)
                self.downsample = nn.Sequential(conv, nn.BatchNorm2d(c_out))

        def forward(self, x: Any) -> Any:
            z = functional.relu(self.bn1(self.conv1(x)), inplace=True)
            z = self.bn2(self.conv2(z))
            if self.downsample is not None:
                x = self.downsample(x)
            elif c_in != c_out:
                x = functional.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, c_out - c_in))
            return functional.relu(z + x, inplace=True)

    return Block()


def _model(spec: Any) -> tuple[Any, int]:
    nn, counts = torch.nn, {"resnet18": [2, 2, 2, 2], "resnet50": [3, 4, 6, 3]}
    photos = spec["depth"] in counts
    if photos:
        stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
        layers, widths, classes = [*stem, nn.MaxPool2d(3, 2, 1)], [64, 128, 256, 512], 1000
    else:
        width = spec["width"]
        conv1 = nn.Conv2d(spec["shape"][1], width, 3, padding=1, bias=False)
        layers = [conv1, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        widths, classes = [width, 2 * width, 4 * width], 10
        counts[spec["depth"]] = [(spec["depth"] - 2) // 6] * 3
    channels = widths[0]
    for stage, width in enumerate(widths):
        for i in range(counts[spec["depth"]][stage]):
            stride = 2 if stage and i == 0 else 1
            if spec["depth"] == "resnet50":
                layers.append(_bottleneck(channels, width, stride))
                channels = 4 * width
            else:
                layers.append(_block(channels, width, stride, projects=photos))
                channels = width
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
    return nn.Sequential(*layers, *head).to(_device), classes


def network(spec: Any, inputs: Any) -> Work:
    """A training step (SGD with momentum), or the forward pass of inference."""
    model, classes = _model(spec)
    x = _tensor(inputs.normal(*spec["shape"]))
    labels = _tensor(inputs.labels(spec["shape"][0], classes))
    parameters = sum(p.numel() for p in model.parameters())
    if not spec["train"]:
        model.eval()
        return _without_graph(lambda: model(x)), parameters
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), labels).backward()
        optimizer.step()

    return step, parameters


def conv(spec: Any, inputs: Any) -> Work:
    """A convolution alone, or with both of its gradients."""
    c, k = spec["shape"][1], spec["kernel"]
    arrays = [inputs.normal(*spec["shape"]), inputs.normal(spec["out"], c, k, k)]
    x, weight = (torch.from_numpy(a).requires_grad_(spec["backward"]) for a in arrays)

    def forward() -> Any:
        return torch.nn.functional.conv2d(x, weight, None, spec["stride"], spec["padding"])

    if not spec["backward"]:
        return _without_graph(forward), None
    return _with_backward(forward, [x, weight], inputs), None


def pool(spec: Any, inputs: Any) -> Work:
    """A pooling layer, forward and backward."""
    nn, x = torch.nn, torch.from_numpy(inputs.normal(*spec["shape"])).requires_grad_()
    if spec["pool"] == "max":
        layer = nn.MaxPool2d(3, 2, 1)
    else:
        layer = nn.AvgPool2d(2, 2) if spec["pool"] == "avg" else nn.AdaptiveAvgPool2d(1)
    return _with_backward(lambda: layer(x), [x], inputs), None


def norm(spec: Any, inputs: Any) -> Work:
    """Batch normalisation in training, forward and backward."""
    x = torch.from_numpy(inputs.normal(*spec["shape"])).requires_grad_()
    layer = torch.nn.BatchNorm2d(spec["shape"][1])
    return _with_backward(lambda: layer(x), [x, *layer.parameters()], inputs), None


def bandwidth(spec: Any, inputs: Any) -> Work:
    """A layer that memory limits, forward alone or backward alone."""
    functional, x = torch.nn.functional, _tensor(inputs.normal(*spec["shape"]))
    x.requires_grad_(spec["backward"])
    weight, bias = (_tensor(inputs.normal(x.shape[1])).requires_grad_() for _ in range(2))
    layers: dict[str, Callable[[], Any]] = {
        "batchnorm": lambda: functional.batch_norm(x, None, None, weight, bias, training=True),
        "maxpool-k3s2": lambda: functional.max_pool2d(x, 3, 2, 1),
        "avgpool-k2s2": lambda: functional.avg_pool2d(x, 2, 2),
        "globalpool": lambda: functional.adaptive_avg_pool2d(x, 1),
    }
    forward = layers[spec["layer"]]
    if not spec["backward"]:
        return _without_graph(forward), None
    out = forward()
    grad_out = _tensor(inputs.normal(*out.shape))
    leaves = [x, weight, bias] if spec["layer"] == "batchnorm" else [x]
    return lambda: torch.autograd.grad(out, leaves, grad_out, retain_graph=True), None


def chain(spec: Any, inputs: Any) -> Work:
    """One operation on a tiny tensor again and again, and then backward through all of it."""
    shape = tuple(spec["shape"])
    leaf = torch.from_numpy(inputs.normal(*shape)).requires_grad_()
    ones, matrix = torch.ones(shape), torch.from_numpy(inputs.orthogonal(shape[1]))
    other = (shape[0] // 2, shape[1] * 2)
    operations: dict[str, Callable[[Any, int], Any]] = {
        "add": lambda x, i: x + ones,
        "mul": lambda x, i: x * ones,
        "relu": lambda x, i: torch.relu(x),
        "reshape": lambda x, i: x.reshape(shape if i % 2 else other),
        "sum": lambda x, i: x.sum(dim=0, keepdim=True),
        "mean": lambda x, i: x.mean(dim=0, keepdim=True),
        "matmul": lambda x, i: x @ matrix,
    }
    operation, length = operations[spec["operation"]], spec["length"]

    def step() -> Any:
        leaf.grad = None
        x = leaf
        for i in range(length):
            x = operation(x, i)
        x.sum().backward()
        return leaf.grad

    return step, None


def convolve(x: Any, weight: Any, grad_out: Any, stride: int, padding: int) -> Any:
    """(out, grad_x, grad_weight) of arrays, in their own precision."""
    x, weight = (torch.from_numpy(a).requires_grad_() for a in (x, weight))
    out = torch.nn.functional.conv2d(x, weight, None, stride, padding)
    out.backward(torch.from_numpy(grad_out))
    return out.detach().numpy(), x.grad.numpy(), weight.grad.numpy()


def _without_graph(forward: Callable[[], Any]) -> Callable[[], None]:
    def step() -> None:
        with torch.no_grad():
            forward()

    return step


def _with_backward(
    forward: Callable[[], Any], leaves: list[Any], inputs: Any
) -> Callable[[], None]:
    grad_out = torch.from_numpy(inputs.normal(*forward().shape))

    def step() -> None:
        for leaf in leaves:
            leaf.grad = None
        forward().backward(grad_out)

    return step
