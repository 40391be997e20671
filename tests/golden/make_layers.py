"""Cases of convolution, pooling, normalisation, activations and losses."""

from __future__ import annotations

from typing import Any

import numpy as np
from make_recorder import Constant, OpWriter, generator, normal, positive

# label: image (N, C, H, W), weight (C_out, C/groups, KH, KW), bias?, keyword arguments
CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], bool, dict[str, Any]]] = {
    "3x3": ((2, 3, 6, 5), (4, 3, 3, 3), False, {}),
    "3x3 padding 1": ((2, 3, 6, 5), (4, 3, 3, 3), False, {"padding": 1}),
    "3x3 padding 1, bias": ((2, 3, 6, 5), (4, 3, 3, 3), True, {"padding": 1}),
    "3x3 stride 2": ((2, 3, 7, 6), (4, 3, 3, 3), False, {"stride": 2}),
    "3x3 stride 2 padding 1, even": (
        (2, 3, 8, 8),
        (4, 3, 3, 3),
        False,
        {"stride": 2, "padding": 1},
    ),
    "3x3 stride 2 padding 1, odd": ((2, 3, 7, 9), (4, 3, 3, 3), True, {"stride": 2, "padding": 1}),
    "1x1": ((2, 3, 4, 5), (5, 3, 1, 1), False, {}),
    "1x1 stride 2": ((2, 3, 5, 6), (5, 3, 1, 1), False, {"stride": 2}),
    "1x1 padding 1, bias": ((2, 3, 3, 3), (2, 3, 1, 1), True, {"padding": 1}),
    "one channel": ((2, 1, 5, 5), (1, 1, 3, 3), True, {"padding": 1}),
    "one image, one pixel": ((1, 2, 1, 1), (3, 2, 1, 1), True, {}),
    "3x3 on one pixel": ((1, 2, 1, 1), (3, 2, 3, 3), True, {"padding": 1}),
    "kernel as large as the image": ((2, 2, 4, 3), (3, 2, 4, 3), True, {}),
    "5x5 padding 2": ((1, 2, 6, 6), (3, 2, 5, 5), False, {"padding": 2}),
    "7x7 stride 2 padding 3": ((1, 3, 10, 9), (2, 3, 7, 7), False, {"stride": 2, "padding": 3}),
    "even kernel": ((2, 2, 5, 6), (3, 2, 2, 2), True, {}),
    "4x4 stride 2 padding 1": ((1, 2, 8, 6), (3, 2, 4, 4), True, {"stride": 2, "padding": 1}),
    "1x3": ((2, 2, 4, 6), (3, 2, 1, 3), True, {"padding": (0, 1)}),
    "3x1": ((2, 2, 6, 4), (3, 2, 3, 1), True, {"padding": (1, 0)}),
    "2x5, all asymmetric": (
        (2, 2, 7, 11),
        (3, 2, 2, 5),
        True,
        {"stride": (2, 3), "padding": (1, 2), "dilation": (3, 1)},
    ),
    "stride (1, 2)": ((2, 2, 5, 6), (3, 2, 3, 3), False, {"stride": (1, 2), "padding": 1}),
    "stride above the kernel": ((2, 2, 8, 7), (3, 2, 2, 2), True, {"stride": 3}),
    "padding above the kernel": ((1, 2, 3, 3), (2, 2, 2, 2), True, {"padding": 3}),
    "dilation 2": ((2, 2, 7, 7), (3, 2, 3, 3), False, {"dilation": 2, "padding": 2}),
    "dilation 3 stride 2": ((1, 2, 10, 9), (3, 2, 3, 3), True, {"dilation": 3, "stride": 2}),
    "dilation (1, 2)": ((1, 2, 6, 8), (2, 2, 3, 3), True, {"dilation": (1, 2)}),
    "groups 2": ((2, 4, 5, 5), (6, 2, 3, 3), True, {"groups": 2, "padding": 1}),
    "groups 3 stride 2": (
        (2, 6, 6, 5),
        (3, 2, 3, 3),
        False,
        {"groups": 3, "stride": 2, "padding": 1},
    ),
    "depthwise": ((2, 4, 5, 5), (4, 1, 3, 3), True, {"groups": 4, "padding": 1}),
    "depthwise, multiplier 2": ((1, 3, 5, 4), (6, 1, 3, 3), True, {"groups": 3}),
    "groups 2, 1x1": ((2, 4, 3, 3), (2, 2, 1, 1), True, {"groups": 2}),
    "groups 2, dilation 2": ((1, 4, 7, 7), (4, 2, 3, 3), True, {"groups": 2, "dilation": 2}),
    "same": ((2, 2, 5, 6), (3, 2, 3, 3), True, {"padding": "same"}),
    "same, 5x1, dilation 2": ((1, 2, 9, 4), (2, 2, 5, 1), True, {"padding": "same", "dilation": 2}),
    "same, even kernel": ((1, 2, 5, 6), (2, 2, 4, 2), True, {"padding": "same"}),
    "valid, stride 2": ((1, 2, 6, 7), (2, 2, 3, 3), True, {"padding": "valid", "stride": 2}),
    "rows that the stride never reaches": ((1, 1, 6, 6), (2, 1, 2, 2), True, {"stride": 4}),
}


def conv() -> OpWriter:
    w = OpWriter("conv")
    for label, (x, weight, with_bias, kwargs) in CONVOLUTIONS.items():
        bias = normal(f"bias {label}", weight[0]) if with_bias else None
        arrays = normal(f"x {label}", *x), normal(f"weight {label}", *weight)
        w.add("F.conv2d", label, *arrays, bias, **kwargs)
    return w


def pool() -> OpWriter:
    w = OpWriter("pool")
    x, odd = normal("pool", 2, 3, 6, 8), normal("odd", 2, 2, 7, 5)
    both: dict[str, tuple[np.ndarray, Any, dict[str, Any]]] = {
        "2": (x, 2, {}),
        "2, odd": (odd, 2, {}),
        "3 stride 2 padding 1": (odd, 3, {"stride": 2, "padding": 1}),
        "3 stride 1": (odd, 3, {"stride": 1}),
        "2 stride 3": (x, 2, {"stride": 3}),
        "(2, 3)": (x, (2, 3), {}),
        "(3, 2) stride (1, 2) padding (1, 0)": (odd, (3, 2), {"stride": (1, 2), "padding": (1, 0)}),
        "1": (odd, 1, {}),
        "whole image": (odd, (7, 5), {}),
        "ceil_mode": (odd, 2, {"ceil_mode": True}),
        "3 stride 2 padding 1 ceil_mode": (x, 3, {"stride": 2, "padding": 1, "ceil_mode": True}),
        "ceil_mode drops a window in the padding": (
            normal("drop", 1, 1, 5, 5),
            2,
            {"stride": 2, "padding": 1, "ceil_mode": True},
        ),
    }
    for op in ("F.max_pool2d", "F.avg_pool2d"):
        for label, (image, kernel, kwargs) in both.items():
            w.add(op, label, image, kernel, **kwargs)
    negative = -positive("negative", 1, 2, 4, 4)
    w.add("F.max_pool2d", "all negative, padded", negative, 3, stride=2, padding=1)
    w.add("F.max_pool2d", "dilation 2", x, 2, stride=1, dilation=2)
    w.add("F.max_pool2d", "dilation (2, 3)", x, (3, 2), stride=2, padding=1, dilation=(2, 3))
    w.add("F.max_pool2d", "return_indices", odd, 3, stride=2, padding=1, return_indices=True)
    w.add("F.max_pool2d", "ties", np.ones((1, 1, 4, 4)), 2)
    w.add("F.max_pool2d", "ties, overlapping", np.zeros((1, 1, 5, 5)), 3, stride=1, padding=1)
    padded = {"stride": 2, "padding": 1}
    w.add("F.avg_pool2d", "count_include_pad=False", odd, 3, **padded, count_include_pad=False)
    w.add(
        "F.avg_pool2d",
        "count_include_pad=False, ceil",
        x,
        3,
        **padded,
        ceil_mode=True,
        count_include_pad=False,
    )
    w.add("F.avg_pool2d", "divisor_override", odd, 3, **padded, divisor_override=5)
    for size in (1, 2, (3, 2), (7, 5), (1, 4), (None, 1), (9, 6)):
        w.add("F.adaptive_avg_pool2d", f"{size}", odd, size)
    w.add("F.adaptive_avg_pool2d", "1, from one pixel", normal("pixel", 2, 3, 1, 1), 1)
    return w


def norm() -> OpWriter:
    w = OpWriter("norm")
    shapes = {
        "4-d": (4, 3, 5, 2),
        "2-d": (6, 3),
        "one pixel": (5, 2, 1, 1),
        "one image": (1, 3, 4, 4),
    }
    for label, shape in shapes.items():
        C = shape[1]
        x = normal("x", *shape) * 2 + 1
        mean, var = Constant(normal("mean", C)), Constant(positive("var", C))
        affine = {"weight": normal("weight", C), "bias": normal("bias", C)}
        bn = "F.batch_norm"
        for training in (True, False):
            mode = "training" if training else "eval"
            w.add(bn, f"{label} {mode}", x, mean, var, **affine, training=training)
            w.add(bn, f"{label} {mode}, no affine", x, mean, var, training=training)
            settings = {"training": training, "momentum": 0.3, "eps": 0.01}
            w.add(bn, f"{label} {mode}, momentum and eps", x, mean, var, **affine, **settings)
        w.add(
            bn, f"{label} training, no running statistics", x, None, None, **affine, training=True
        )
    x = normal("one sided", 4, 2, 3, 3)
    stats = Constant(normal("mean", 2)), Constant(positive("var", 2))
    w.add("F.batch_norm", "weight only", x, *stats, weight=normal("w", 2), training=True)
    w.add("F.batch_norm", "bias only", x, *stats, bias=normal("b", 2), training=True)
    w.add("F.batch_norm", "momentum 0", x, *stats, training=True, momentum=0.0)
    w.add("F.batch_norm", "momentum 1", x, *stats, training=True, momentum=1.0)
    flat = np.ones((3, 2, 2, 2)) * np.array([2.0, 0.0]).reshape(1, 2, 1, 1)
    w.add("F.batch_norm", "constant channels", flat, *stats, training=True)
    w.add("F.batch_norm", "far from zero", x * 0.01 + 100.0, *stats, training=True)
    return w


def loss() -> OpWriter:
    w = OpWriter("loss")
    for shape in ((), (7,), (2, 3, 4), (2, 2, 3, 3)):
        w.add("F.relu", f"{shape}", normal("relu", *shape))
    w.add("F.relu", "at 0", np.array([-1.0, -0.0, 0.0, 1.0]))
    large = np.array([[1000.0, 0.0, -1000.0], [-1000.0, -1001.0, -1002.0]])
    for op in ("F.softmax", "F.log_softmax"):
        for shape, dim in (((4,), 0), ((3, 5), 1), ((3, 5), 0), ((2, 4, 3), 1), ((2, 1), -1)):
            w.add(op, f"{shape} dim={dim}", normal(op, *shape), dim=dim)
        w.add(op, "large", large, dim=1)

    rng = generator("labels")
    x, labels = normal("logits", 6, 4), rng.integers(0, 4, 6)
    image, targets = normal("dense", 2, 3, 4, 2), rng.integers(0, 3, (2, 4, 2))
    ignored = np.where(np.arange(6) % 3 == 0, -100, labels)
    weight = Constant(positive("class weight", 4))
    for reduction in ("mean", "sum", "none"):
        ce = {"reduction": reduction}
        w.add("F.cross_entropy", f"{reduction}", x, labels, **ce)
        w.add("F.cross_entropy", f"{reduction}, one row", x[:1], labels[:1], **ce)
        w.add("F.cross_entropy", f"{reduction}, dense", image, targets, **ce)
        w.add("F.cross_entropy", f"{reduction}, weight", x, labels, weight=weight, **ce)
        w.add("F.cross_entropy", f"{reduction}, ignored rows", x, ignored, **ce)
        w.add("F.cross_entropy", f"{reduction}, ignore_index 2", x, labels, ignore_index=2, **ce)
        w.add("F.cross_entropy", f"{reduction}, smoothing", x, labels, label_smoothing=0.1, **ce)
        w.add(
            "F.cross_entropy",
            f"{reduction}, smoothing, weight, ignored",
            x,
            ignored,
            weight=weight,
            label_smoothing=0.2,
            **ce,
        )
        logs = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
        w.add("F.nll_loss", f"{reduction}", logs, labels, **ce)
        w.add("F.nll_loss", f"{reduction}, weight", logs, labels, weight=weight, **ce)
        w.add("F.nll_loss", f"{reduction}, ignored rows", logs, ignored, **ce)
        w.add("F.nll_loss", f"{reduction}, dense", image, targets, **ce)
        a, b = normal("a", 3, 4), normal("b", 3, 4)
        w.add("F.mse_loss", f"{reduction}", a, b, **ce)
        w.add("F.mse_loss", f"{reduction}, constant target", a, Constant(b), **ce)
    w.add("F.cross_entropy", "large", large, np.array([1, 0]))
    w.add("F.cross_entropy", "single class", normal("single", 3, 1), np.zeros(3, dtype=np.int64))
    w.add("F.mse_loss", "0-d", normal("c"), normal("d"))
    return w
