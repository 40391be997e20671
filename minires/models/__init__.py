"""The networks of the ResNet papers."""

from minires.models.cifar import CifarResNet, check_depth, cifar_plain, cifar_resnet, nearest_depths
from minires.models.deepen import deepen
from minires.models.deepening import Deepening, deepening
from minires.models.fixup import fixup_groups
from minires.models.imagenet import (
    ImageNetResNet,
    imagenet_resnet,
    plain18,
    plain34,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
)
from minires.models.names import describe, named, rebuild
from minires.models.orders import PostActivationBlock, PreActivationBlock
from minires.models.shortcuts import PadShortcut
from minires.models.stack import Stack, StackBlock, stack
from minires.models.summary import Summary, summary
from minires.models.twins import twin

__all__ = [
    "CifarResNet",
    "Deepening",
    "ImageNetResNet",
    "PadShortcut",
    "PostActivationBlock",
    "PreActivationBlock",
    "Stack",
    "StackBlock",
    "Summary",
    "check_depth",
    "cifar_plain",
    "cifar_resnet",
    "deepen",
    "deepening",
    "describe",
    "fixup_groups",
    "imagenet_resnet",
    "named",
    "nearest_depths",
    "plain18",
    "plain34",
    "rebuild",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "stack",
    "summary",
    "twin",
]
