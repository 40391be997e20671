"""The start of every kind of network, bit for bit: long training runs are held against it."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

import minires as mr
from minires import models, nn


def checksum(model: nn.Module) -> int:
    """Of the names and the bytes of all parameters and buffers."""
    found = 0
    for name, array in model.state_dict().items():
        found = zlib.crc32(array.tobytes(), zlib.crc32(name.encode(), found))
    return found


STARTS: dict[str, tuple[dict[str, Any], int]] = {
    "original": ({}, 926895629),
    "plain": ({"residual": False}, 926895629),
    "shortcut B": ({"shortcut": "B"}, 214062587),
    "shortcut C, without norm": ({"shortcut": "C", "norm": None, "init_scale": 0.5}, 1229788929),
    "bottleneck": ({"depth": 11, "block": "bottleneck"}, 3722709512),
    "pre-activation": ({"preactivation": True, "shortcut": "B"}, 2580939565),
    "BN after the addition": ({"order": "bn-after-addition"}, 926895629),
    "gates": ({"skip": "exclusive-gating", "depth": 14}, 2465410555),
    "constant scaling": ({"skip": "constant-scaling", "depth": 14}, 3479729810),
    "convolution on the skip": ({"skip": "conv", "depth": 14}, 261936716),
    "learned branch scale": ({"branch_scale": 0.5, "stochastic_depth": 0.5}, 1169470187),
    "Fixup": ({"norm": None, "fixup": True}, 135741197),
    "zero branches": ({"zero_init_residual": True}, 499796929),
    "auxiliary heads": ({"aux_heads": 2}, 742331414),
    "ImageNet": ({"depth": 18}, 3497952110),
    "ImageNet bottlenecks": ({"depth": 50, "num_classes": 5}, 3422213787),
}


@pytest.mark.parametrize(("kind", "start"), STARTS.items(), ids=STARTS)
def test_a_seed_gives_the_same_weights_as_ever(
    kind: str, start: tuple[dict[str, Any], int]
) -> None:
    options, expected = start
    build = models.imagenet_resnet if kind.startswith("ImageNet") else models.cifar_resnet
    mr.manual_seed(1)
    assert checksum(build(**{"depth": 8, "width": 2, **options})) == expected
