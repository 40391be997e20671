"""The work in minires."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import minires.functional as F
from minires import __version__, creation, models, nn, optim
from minires.autograd import grad, no_grad
from minires.creation import ones
from minires.device import gpu, import_cupy
from minires.kernels import set_num_threads

__all__ = [
    *("bandwidth", "chain", "conv", "convolve", "elapsed", "event", "network", "norm", "pool"),
    *("setup", "step_memory", "use"),
]

Work = tuple[Callable[[], Any], int | None]
_device = "cpu"


def setup(threads: int) -> dict[str, str]:
    """Use so many threads; the version."""
    set_num_threads(threads)
    return {"minires": __version__}


def use(device: str) -> dict[str, str]:
    """Work on a GPU from now on; which one it is, and CuPy's version."""
    global _device
    card, cupy = gpu(device), import_cupy()
    card.use()
    _device = f"cuda:{card.id}"
    name = cupy.cuda.runtime.getDeviceProperties(card.id)["name"].decode()
    return {"cupy": cupy.__version__, "gpu": name}


def event() -> Any:
    """A mark that the GPU passes, with ``record`` and ``synchronize``."""
    return import_cupy().cuda.Event()


def elapsed(start: Any, end: Any) -> float:
    """Seconds from one mark to another, by the GPU's clock."""
    return float(import_cupy().cuda.get_elapsed_time(start, end)) / 1e3


def step_memory(step: Callable[[], Any]) -> int:
    """Bytes that CuPy's pool has to take from the card for a step, all that lives there included.

    The pool hands nothing back by itself, so what it holds after the step was its peak.
    """
    pool = import_cupy().get_default_memory_pool()
    pool.free_all_blocks()
    step()
    return int(pool.total_bytes())


def tensor(array: Any, **settings: Any) -> Any:
    """A tensor where the work is done."""
    return creation.tensor(array, device=_device, **settings)


def network(spec: Any, inputs: Any) -> Work:
    """A training step (SGD with momentum), or the forward pass of inference."""
    n, channels, height, width = spec["shape"]
    model: nn.Module
    if isinstance(spec["depth"], str):
        model, classes = getattr(models, spec["depth"])(), 1000
    else:
        model, classes = (
            models.cifar_resnet(spec["depth"], width=spec["width"], in_channels=channels),
            10,
        )
    model.to(_device)
    x = tensor(inputs.normal(n, channels, height, width))
    labels = tensor(inputs.labels(n, classes))
    parameters = sum(p.numel() for p in model.parameters())
    if not spec["train"]:
        model.eval()
        return _without_graph(lambda: model(x)), parameters
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), labels).backward()
        optimizer.step()

    return step, parameters


def conv(spec: Any, inputs: Any) -> Work:
    """A convolution alone, or with both of its gradients."""
    c, k = spec["shape"][1], spec["kernel"]
    x = tensor(inputs.normal(*spec["shape"]), requires_grad=spec["backward"])
    weight = tensor(inputs.normal(spec["out"], c, k, k), requires_grad=spec["backward"])

    def forward() -> Any:
        return F.conv2d(x, weight, None, spec["stride"], spec["padding"])

    if not spec["backward"]:
        return _without_graph(forward), None
    return _with_backward(forward, [x, weight], inputs), None


def pool(spec: Any, inputs: Any) -> Work:
    """A pooling layer, forward and backward."""
    x = tensor(inputs.normal(*spec["shape"]), requires_grad=True)
    layer: nn.Module
    if spec["pool"] == "max":
        layer = nn.MaxPool2d(3, 2, 1)
    else:
        layer = nn.AvgPool2d(2, 2) if spec["pool"] == "avg" else nn.AdaptiveAvgPool2d(1)
    return _with_backward(lambda: layer(x), [x], inputs), None


def norm(spec: Any, inputs: Any) -> Work:
    """Batch normalisation in training, forward and backward."""
    x = tensor(inputs.normal(*spec["shape"]), requires_grad=True)
    layer = nn.BatchNorm2d(spec["shape"][1])
    return _with_backward(lambda: layer(x), [x, *layer.parameters()], inputs), None


def bandwidth(spec: Any, inputs: Any) -> Work:
    """A layer that memory limits, forward alone or backward alone."""
    x = tensor(inputs.normal(*spec["shape"]), requires_grad=spec["backward"])
    weight, bias = (tensor(inputs.normal(x.shape[1])).requires_grad_() for _ in range(2))
    layers: dict[str, Callable[[], Any]] = {
        "batchnorm": lambda: F.batch_norm(x, None, None, weight, bias, training=True),
        "maxpool-k3s2": lambda: F.max_pool2d(x, 3, 2, 1),
        "avgpool-k2s2": lambda: F.avg_pool2d(x, 2, 2),
        "globalpool": lambda: F.adaptive_avg_pool2d(x, 1),
    }
    forward = layers[spec["layer"]]
    if not spec["backward"]:
        return _without_graph(forward), None
    out = forward()
    grad_out = tensor(inputs.normal(*out.shape))
    leaves = [x, weight, bias] if spec["layer"] == "batchnorm" else [x]
    return lambda: grad(out, leaves, grad_out, retain_graph=True), None


def chain(spec: Any, inputs: Any) -> Work:
    """One operation on a tiny tensor again and again, and then backward through all of it."""
    shape = spec["shape"]
    leaf = tensor(inputs.normal(*shape), requires_grad=True)
    unit, matrix = ones(*shape), tensor(inputs.orthogonal(shape[1]))
    other = (shape[0] // 2, shape[1] * 2)
    operations: dict[str, Callable[[Any, int], Any]] = {
        "add": lambda x, i: x + unit,
        "mul": lambda x, i: x * unit,
        "relu": lambda x, i: F.relu(x),
        "reshape": lambda x, i: x.reshape(shape if i % 2 else other),
        "sum": lambda x, i: x.sum(dim=0, keepdim=True),
        "mean": lambda x, i: x.mean(dim=0, keepdim=True),
        "matmul": lambda x, i: x @ matrix,
    }
    operation, length = operations[spec["operation"]], spec["length"]

    def step() -> Any:
        leaf.grad = None
        x: Any = leaf
        for i in range(length):
            x = operation(x, i)
        x.sum().backward()
        return leaf.grad

    return step, None


def convolve(x: Any, weight: Any, grad_out: Any, stride: int, padding: int) -> Any:
    """(out, grad_x, grad_weight) of arrays, in their own precision."""
    x, weight = tensor(x, requires_grad=True), tensor(weight, requires_grad=True)
    out = F.conv2d(x, weight, None, stride, padding)
    out.backward(tensor(grad_out))
    return out.detach().numpy(), x.grad.numpy(), weight.grad.numpy()


def _without_graph(forward: Callable[[], Any]) -> Callable[[], None]:
    def step() -> None:
        with no_grad():
            forward()

    return step


def _with_backward(
    forward: Callable[[], Any], leaves: list[Any], inputs: Any
) -> Callable[[], None]:
    with no_grad():
        grad_out = tensor(inputs.normal(*forward().shape))

    def step() -> None:
        for leaf in leaves:
            leaf.grad = None
        forward().backward(grad_out)

    return step
