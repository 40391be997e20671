"""The CIFAR networks and the convolutions in Chainer, where it is still installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

__all__ = ["conv", "network", "setup"]

Work = tuple[Callable[[], Any], Any]
chainer: Any = None  # imported by setup


def setup(threads: int) -> dict[str, str]:
    """Import Chainer, which has no threads of its own beside those of BLAS; the version."""
    global chainer
    chainer = importlib.import_module("chainer")
    return {"chainer": chainer.__version__}


def _links(c_in: int, c_out: int, stride: int) -> Any:
    links, normal = chainer.links, chainer.initializers.HeNormal()
    options = {"pad": 1, "nobias": True, "initialW": normal}
    return chainer.Sequential(
        links.Convolution2D(c_in, c_out, 3, stride, **options), links.BatchNormalization(c_out)
    )


def _block(c_in: int, c_out: int, stride: int) -> Any:
    relu, functions = chainer.functions.relu, chainer.functions

    class Block(chainer.Chain):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            with self.init_scope():
                self.first, self.second = _links(c_in, c_out, stride), _links(c_out, c_out, 1)

        def forward(self, x: Any) -> Any:
            z = self.second(relu(self.first(x)))
            if c_in != c_out:
                x = x[:, :, ::stride, ::stride]
                x = functions.pad(x, [(0, 0), (0, c_out - c_in), (0, 0), (0, 0)], "constant")
            return relu(z + x)

    return Block()


def network(spec: Any, inputs: Any) -> Work:
    """A training step (SGD with momentum), or the forward pass of inference; CIFAR family only."""
    if spec["depth"] == "resnet18":
        raise ValueError("ResNet-18 is not measured in Chainer")
    functions, width = chainer.functions, spec["width"]
    layers, channels = [_links(spec["shape"][1], width, 1), functions.relu], width
    for stage in range(3):
        for i in range((spec["depth"] - 2) // 6):
            out = width * 2**stage
            layers.append(_block(channels, out, 2 if stage and i == 0 else 1))
            channels = out
    head = [lambda x: functions.mean(x, axis=(2, 3)), chainer.links.Linear(channels, 10)]
    model = chainer.Sequential(*layers, *head)
    x = inputs.normal(*spec["shape"])
    labels = inputs.labels(spec["shape"][0], 10).astype("int32")
    parameters = sum(p.size for p in model.params())

    def infer() -> None:
        with chainer.using_config("train", False), chainer.no_backprop_mode():
            model(x)

    if not spec["train"]:
        return infer, parameters
    optimizer = chainer.optimizers.MomentumSGD(lr=0.01, momentum=0.9).setup(model)
    optimizer.add_hook(chainer.optimizer_hooks.WeightDecay(1e-4))

    def step() -> None:
        model.cleargrads()
        functions.softmax_cross_entropy(model(x), labels).backward()
        optimizer.update()

    return step, parameters


def conv(spec: Any, inputs: Any) -> Work:
    """A convolution alone, or with both of its gradients."""
    c, k = spec["shape"][1], spec["kernel"]
    x = chainer.Variable(inputs.normal(*spec["shape"]))
    weight = chainer.Variable(inputs.normal(spec["out"], c, k, k))

    def convolve() -> Any:
        return chainer.functions.convolution_2d(x, weight, None, spec["stride"], spec["padding"])

    def forward() -> None:
        with chainer.no_backprop_mode():
            convolve()

    grad_out = inputs.normal(*convolve().shape)

    def backward() -> None:
        x.cleargrad()
        weight.cleargrad()
        out = convolve()
        out.grad = grad_out
        out.backward()

    return (backward if spec["backward"] else forward), None
