"""Layers and the block contract, under the names of ``torch.nn``."""

from minires.nn import init
from minires.nn.auxiliary import Outputs, main_output, total_loss
from minires.nn.containers import Flatten, Identity, ModuleList, Sequential
from minires.nn.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    CrossEntropyLoss,
    Dropout,
    Linear,
    MaxPool2d,
    MSELoss,
    ReLU,
)
from minires.nn.module import Module, Parameter
from minires.nn.residual import Observer, ResidualBlock, observe, observing

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Identity",
    "Linear",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "Observer",
    "Outputs",
    "Parameter",
    "ReLU",
    "ResidualBlock",
    "Sequential",
    "init",
    "main_output",
    "observe",
    "observing",
    "total_loss",
]
