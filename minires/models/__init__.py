"""The networks of the ResNet papers."""

from minires.models.blocks import PadShortcut, PostActivationBlock, PreActivationBlock
from minires.models.cifar import CifarResNet, check_depth, cifar_plain, cifar_resnet, nearest_depths
from minires.models.summary import Summary, summary

__all__ = [
    "CifarResNet",
    "PadShortcut",
    "PostActivationBlock",
    "PreActivationBlock",
    "Summary",
    "check_depth",
    "cifar_plain",
    "cifar_resnet",
    "nearest_depths",
    "summary",
]
