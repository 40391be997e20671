"""Small residual networks of the CIFAR family, and what one batch does to them.

Names of parameters follow torchvision; pre-activation networks follow the appendix of He et al.
2016 (identity mappings): the stem's BN-ReLU stands before the first block, whose branch starts
with a convolution; blocks that change dimensions share BN-ReLU between branch and shortcut.
"""

from __future__ import annotations

from typing import Any

import torch
from make_recorder import Writer, generator, normal
from torch import Tensor, nn
from torch.nn import functional as F

STEPS = 3
SGD = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}


def conv(in_channels: int, out_channels: int, size: int, stride: int = 1) -> nn.Conv2d:
    padding = (size - 1) // 2
    return nn.Conv2d(in_channels, out_channels, size, stride, padding, bias=False)


class ZeroPad(nn.Module):
    """Shortcut A: every stride-th pixel, and channels of zeros behind the old ones."""

    def __init__(self, stride: int, new_channels: int) -> None:
        super().__init__()
        self.stride, self.new_channels = stride, new_channels

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


def shortcut(kind: str, planes_in: int, planes_out: int, stride: int) -> nn.Module:
    """Identity where nothing changes, else A (zeros) or B (projection with batch norm)."""
    if stride == 1 and planes_in == planes_out:
        return nn.Sequential()
    if kind == "A":
        return ZeroPad(stride, planes_out - planes_in)
    return nn.Sequential(conv(planes_in, planes_out, 1, stride), nn.BatchNorm2d(planes_out))


class Basic(nn.Module):
    expansion = 1

    def __init__(self, planes_in: int, planes: int, stride: int, kind: str, first: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(planes_in, planes, 3, stride), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv(planes, planes, 3), nn.BatchNorm2d(planes)
        self.downsample = shortcut(kind, planes_in, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(self.downsample(x) + branch)


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, planes_in: int, planes: int, stride: int, kind: str, first: bool) -> None:
        super().__init__()
        wide = planes * self.expansion
        self.conv1, self.bn1 = conv(planes_in, planes, 1), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = conv(planes, planes, 3, stride), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = conv(planes, wide, 1), nn.BatchNorm2d(wide)
        self.downsample = shortcut(kind, planes_in, wide, stride)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(self.downsample(x) + self.bn3(self.conv3(hidden)))


class PreBasic(nn.Module):
    expansion = 1

    def __init__(self, planes_in: int, planes: int, stride: int, kind: str, first: bool) -> None:
        super().__init__()
        if not first:
            self.bn1 = nn.BatchNorm2d(planes_in)
        self.conv1, self.bn2 = conv(planes_in, planes, 3, stride), nn.BatchNorm2d(planes)
        self.conv2 = conv(planes, planes, 3)
        self.first, self.changes = first, stride != 1 or planes_in != planes
        if self.changes:
            self.downsample = nn.Sequential(conv(planes_in, planes, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        u = x if self.first else F.relu(self.bn1(x))
        branch = self.conv2(F.relu(self.bn2(self.conv1(u))))
        return (self.downsample(u) if self.changes else x) + branch


class Network(nn.Module):
    def __init__(
        self, block: Any, blocks: int, kind: str, width: int, num_classes: int, final_norm: bool
    ) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(3, width, 3), nn.BatchNorm2d(width)
        planes_in = width
        for stage in range(3):
            planes, layer = width * 2**stage, []
            for i in range(blocks):
                stride = 2 if stage > 0 and i == 0 else 1
                layer.append(block(planes_in, planes, stride, kind, first=stage == i == 0))
                planes_in = planes * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layer))
        if final_norm:
            self.bn2 = nn.BatchNorm2d(planes_in)
        self.final_norm = final_norm
        self.fc = nn.Linear(planes_in, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        if self.final_norm:
            x = F.relu(self.bn2(x))
        return self.fc(x.mean(dim=(2, 3)))


# name: depth, block, shortcut, pre-activation, (H, W) of the images
NETWORKS: dict[str, tuple[int, str, str, bool, tuple[int, int]]] = {
    "cifar_resnet8_A": (8, "basic", "A", False, (8, 8)),
    "cifar_resnet8_B_odd": (8, "basic", "B", False, (9, 7)),
    "cifar_resnet11_bottleneck_B": (11, "bottleneck", "B", False, (8, 8)),
    "cifar_preact8_B": (8, "basic", "B", True, (8, 8)),
    "cifar_preact14_B": (14, "basic", "B", True, (8, 8)),
}


def build(depth: int, block: str, kind: str, preactivation: bool, width: int) -> Network:
    chosen = PreBasic if preactivation else {"basic": Basic, "bottleneck": Bottleneck}[block]
    blocks = (depth - 2) // (9 if block == "bottleneck" else 6)
    return Network(chosen, blocks, kind, width, num_classes=10, final_norm=preactivation).double()


def randomize(network: Network, name: str) -> None:
    """He initialisation, but batch norm away from 1 and 0 too, so that no mix-up can hide."""
    for key, value in network.state_dict().items():
        if value.ndim == 0:
            continue
        draw = torch.from_numpy(normal(f"{name} {key}", *value.shape))
        if value.ndim > 1:
            draw *= (2.0 / value[0].numel()) ** 0.5
        elif key.endswith("running_var"):
            draw = 1 + 0.5 * torch.tanh(draw)
        elif "bn" in key or "downsample.1" in key:
            draw = 0.1 * draw + (1.0 if key.endswith("weight") else 0.0)
        else:
            draw *= 0.1
        value.copy_(draw.float())  # rounded, as make_recorder.normal is


def buffers(network: Network) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in network.named_buffers()}


def networks() -> Writer:
    w = Writer("networks")
    width = 4
    for name, (depth, block, kind, preactivation, size) in NETWORKS.items():
        network = build(depth, block, kind, preactivation, width)
        randomize(network, name)
        state = {key: value.clone() for key, value in network.state_dict().items()}
        images = torch.from_numpy(normal(f"{name} input", 4, 3, *size)).requires_grad_()
        labels = torch.from_numpy(generator(f"{name} labels").integers(0, 10, 4))
        optimizer = torch.optim.SGD(network.parameters(), **SGD)
        losses = []
        for step in range(STEPS + 1):
            optimizer.zero_grad()
            logits = network(images)
            loss = F.cross_entropy(logits, labels)
            losses.append(loss.item())
            if step == 0:
                after = buffers(network)
                network.eval()
                eval_logits = network(images).detach()
                network.train()
                first_logits = logits.detach()
            if step == STEPS:
                break
            loss.backward()
            if step == 0:
                input_grad = images.grad.clone()
                grads = {key: value.grad.clone() for key, value in network.named_parameters()}
            optimizer.step()
        w.entries.append(
            {
                "name": w.new_name(name),
                "config": {
                    "depth": depth,
                    "block": block,
                    "shortcut": kind,
                    "preactivation": preactivation,
                    "width": width,
                    "num_classes": 10,
                },
                "optimizer": SGD,
                "state": w.put_all(state),
                "input": w.put(images),
                "labels": w.put(labels),
                "logits": w.put(first_logits),
                "grads": w.put_all(grads),
                "input_grad": w.put(input_grad),
                "buffers": w.put_all(after),
                "eval_logits": w.put(eval_logits),
                "losses": w.put(losses),
            }
        )
    return w
