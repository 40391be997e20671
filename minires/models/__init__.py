"""The networks of the ResNet papers."""

from minires.models.blocks import PadShortcut, PostActivationBlock, PreActivationBlock
from minires.models.cifar import CifarResNet, check_depth, cifar_plain, cifar_resnet, nearest_depths
from minires.models.stack import Stack, StackBlock, stack
from minires.models.summary import Summary, summary
from minires.models.twins import twin

__all__ = [
    "CifarResNet",
    "PadShortcut",
    "PostActivationBlock",
    "PreActivationBlock",
    "Stack",
    "StackBlock",
    "Summary",
    "check_depth",
    "cifar_plain",
    "cifar_resnet",
    "nearest_depths",
    "stack",
    "summary",
    "twin",
]
