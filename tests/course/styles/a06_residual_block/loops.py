"""Loops over images, pixels and rows; layers called one by one."""

import numpy as np

import minires.functional as F
from minires import nn


def pad_shortcut(x, out_channels, stride=1):
    rows = F.stack([x[:, :, i] for i in range(0, x.shape[2], stride)], 2)
    pixels = F.stack([rows[:, :, :, j] for j in range(0, x.shape[3], stride)], 3)
    channels = [pixels[:, c] for c in range(x.shape[1])]
    while len(channels) < out_channels:
        channels.append(channels[0] * 0.0)
    return F.stack(channels, 1)


def projection_grads(grad_out, x, weight, stride=1):
    grad_x = np.zeros_like(x)
    grad_weight = np.zeros_like(weight)
    N, C_out, OH, OW = grad_out.shape
    for n in range(N):
        for i in range(OH):
            for j in range(OW):
                for o in range(C_out):
                    for c in range(x.shape[1]):
                        d = grad_out[n, o, i, j]
                        grad_x[n, c, i * stride, j * stride] += d * weight[o, c, 0, 0]
                        grad_weight[o, c, 0, 0] += d * x[n, c, i * stride, j * stride]
    return grad_x, grad_weight


def residual_grads(grad_out, x, w1, w2, w_s=None):
    grad_x, grad_w1, grad_w2 = np.zeros_like(x), np.zeros_like(w1), np.zeros_like(w2)
    grad_w_s = None if w_s is None else np.zeros_like(w_s)
    for n in range(len(x)):
        row = x[n]
        h = [w1[m] @ row for m in range(len(w1))]
        a = [max(value, 0.0) for value in h]
        for o in range(len(w2)):
            z = sum(w2[o, m] * a[m] for m in range(len(a)))
            z += row[o] if w_s is None else w_s[o] @ row
            if z <= 0:
                continue  # nothing comes back from here
            d = grad_out[n, o]
            if w_s is None:
                grad_x[n, o] += d
            else:
                grad_x[n] += d * w_s[o]
                grad_w_s[o] += d * row
            for m in range(len(a)):
                grad_w2[o, m] += d * a[m]
                if h[m] > 0:
                    grad_x[n] += d * w2[o, m] * w1[m]
                    grad_w1[m] += d * w2[o, m] * row
    return [grad_x, grad_w1, grad_w2, grad_w_s]


class ShortcutA(nn.Module):
    def __init__(self, channels, stride):
        super().__init__()
        self.channels = channels
        self.stride = stride

    def forward(self, x):
        return pad_shortcut(x, self.channels, self.stride)


def make_shortcut(in_channels, out_channels, stride, option):
    if in_channels == out_channels and stride == 1 and option != "C":
        return nn.Identity()
    if option == "A":
        return ShortcutA(out_channels, stride)
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    def __init__(self, in_channels, channels, stride=1, option="A"):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = make_shortcut(in_channels, channels, stride, option)

    def forward(self, x):
        out = self.conv1(x)
        out = self.bn1(out)
        out = F.relu(out)
        out = self.conv2(out)
        out = self.bn2(out)
        out = out + self.shortcut(x)
        out = F.relu(out)
        return out


class PreActivationBlock(nn.Module):
    def __init__(self, in_channels, channels, stride=1, first=False):
        super().__init__()
        if first is False:
            self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.projection = None
        if stride != 1 or in_channels != channels:
            self.projection = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
        self.first = first

    def forward(self, x):
        if self.first:
            out = x
        else:
            out = self.bn1(x)
            out = F.relu(out)
        if self.projection is None:
            skip = x
        else:
            skip = self.projection(out)
        out = self.conv1(out)
        out = self.bn2(out)
        out = F.relu(out)
        out = self.conv2(out)
        return skip + out


def deepen(stage, count):
    blocks = []
    for block in stage:
        blocks.append(block)
    channels = blocks[-1].conv2.out_channels
    for _ in range(count):
        new = BasicBlock(channels, channels)
        nn.init.constant_(new.bn2.weight, 0.0)
        blocks.append(new)
    return nn.Sequential(*blocks)
