"""The corners of each theme: borders, ties, empty tensors, uncommon settings, float32."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from make_recorder import Constant, OpWriter, generator, normal, positive

Shape = tuple[int, ...]


def single(array: np.ndarray) -> np.ndarray:
    """In float32, so that PyTorch computes in it."""
    return array.astype(np.float32)


def elementwise(w: OpWriter) -> None:
    x = normal("corner x", 3, 4)
    for op in ("leaky_relu", "gelu", "silu", "softplus"):
        for shape in ((), (5,), (2, 3, 4), (0, 2)):
            w.add(f"F.{op}", f"{shape}", normal(op, *shape))
    w.add("F.leaky_relu", "slope 0.2", x, 0.2)
    w.add("F.leaky_relu", "slope negative", x, negative_slope=-0.5)
    w.add("F.leaky_relu", "at 0", np.array([-1.0, -0.0, 0.0, 1.0]), 0.25)
    w.add("F.gelu", "tanh", x, approximate="tanh")
    w.add("F.gelu", "far out", np.array([-20.0, -6.0, 0.0, 6.0, 20.0]))
    w.add("F.gelu", "tanh, far out", np.array([-20.0, -6.0, 0.0, 6.0, 20.0]), approximate="tanh")
    w.add("F.silu", "far out", np.array([-700.0, -30.0, 0.0, 30.0, 700.0]))
    w.add("F.softplus", "beta 2", x, 2)
    w.add("F.softplus", "beta and threshold", x, beta=3.0, threshold=1.0)
    w.add("F.softplus", "far out", np.array([-700.0, -30.0, 0.0, 19.9, 20.1, 700.0]))
    for p, training in ((0.5, False), (0.0, True), (1.0, True)):
        w.add("F.dropout", f"p={p} training={training}", x, p, training)

    for op in ("radd", "rsub", "rmul"):
        w.add(f"Tensor.__{op}__", "number", x, 2.5)
    w.add("Tensor.__rtruediv__", "number", positive("corner p", 3, 4), 2.5)
    w.add("Tensor.__rpow__", "number", x, 2.5)
    w.add("Tensor.__rpow__", "base 1", x, 1.0)
    w.add("Tensor.__rmatmul__", "2-d", normal("right side", 4, 2), x)
    w.add("Tensor.clone", "3 x 4", x)
    w.add("Tensor.to", "cpu", x, "cpu")
    w.add("Tensor.cpu", "3 x 4", x)

    for op in ("add", "mul", "maximum"):
        w.add(op, "empty with one", normal("e a", 0, 1), normal("e b", 1, 4))
        w.add(op, "five dimensions", normal("5 a", 1, 2, 1, 3, 1), normal("5 b", 2, 1, 2, 1, 2))
        w.add(op, "itself stretched", normal("s a", 1, 1), normal("s b", 2, 3))
    zero = np.array([0.0, 0.0, 0.0, 2.0, -2.0])
    w.add("pow", "tensor exponent, base 0", Constant(zero[:4]), np.array([2.0, 1.0, 0.5, 3.0]))
    w.add("pow", "exponent 1, base 0", zero, 1)
    w.add("pow", "exponent 3, base 0", zero, 3)
    w.add("pow", "exponent tensor of whole numbers", x, Constant(np.array([0.0, 1.0, 2.0, 3.0])))
    w.add("pow", "exponent -2, negative base", -positive("corner p", 3, 4), -2)
    w.add("pow", "exponent a tensor with one element", positive("corner p", 3, 4), normal("one", 1))
    bounds = np.array([-2.0, -1.0, -0.5, 0.0, 1.0, 2.0])
    w.add("clamp", "at min alone", bounds, min=-1.0)
    w.add("clamp", "at max alone", bounds, max=1.0)
    w.add("clamp", "bounds equal", bounds, min=0.0, max=0.0)
    w.add("clamp", "bounds crossed", bounds, min=1.0, max=-1.0)
    w.add("clamp", "integer bounds", x, -1, 1)
    w.add("maximum", "ties, broadcast", np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([1.0, 2.0]))
    w.add("minimum", "ties, broadcast", np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([1.0, 2.0]))
    mask = generator("corner mask").uniform(size=(3, 4)) < 0.5
    w.add("where", "empty", np.zeros((0, 4), bool), normal("w a", 0, 4), normal("w b", 4))
    w.add("Tensor.where", "method", x, mask, normal("w c", 3, 4))
    for op in ("add", "mul", "div", "pow"):
        w.add(op, "float32", single(positive("f a", 3, 4)), single(positive("f b", 4)))
    for op in ("exp", "log", "tanh", "sigmoid", "F.gelu", "F.softplus"):
        w.add(op, "float32", single(positive("f x", 3, 4)))


def reduce(w: OpWriter) -> None:
    x = normal("corner r", 2, 3, 4)
    for dim in (0, (0, 2), (0, 1, 2)):
        for keepdim in (False, True):
            w.add("Tensor.std", f"dim={dim} keepdim={keepdim}", x, dim=dim, keepdim=keepdim)
    w.add("Tensor.std", "all", x)
    w.add("Tensor.std", "correction=0", x, dim=-1, correction=0)
    w.add("Tensor.std", "unbiased=False", x, dim=1, unbiased=False)
    w.add("Tensor.logsumexp", "wide", normal("lse", 3, 5) * 50.0, dim=(0, 1))
    w.add("Tensor.logsumexp", "equal", np.zeros((2, 3)), dim=1)
    tied = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    for op in ("amax", "amin"):
        w.add(f"Tensor.{op}", "ties, both dims", tied, dim=(0, 1))
        w.add(f"Tensor.{op}", "ties, keepdim", tied, dim=0, keepdim=True)
    for op in ("max", "min"):
        w.add(f"Tensor.{op}", "ties, keepdim", tied, dim=1, keepdim=True)
        w.add(f"Tensor.{op}", "0-d", normal("0-d"))
    w.add("Tensor.min", "ties, all", tied)
    for op in ("argmax", "argmin"):
        w.add(f"Tensor.{op}", "all", x)
        for dim, keepdim in ((0, False), (1, True), (-1, False)):
            w.add(f"Tensor.{op}", f"dim={dim} keepdim={keepdim}", x, dim=dim, keepdim=keepdim)
    for op in ("sum", "mean", "var", "std", "logsumexp", "amax"):
        w.add(f"Tensor.{op}", "float32", single(x), dim=1)


def shape(w: OpWriter) -> None:
    x = normal("corner s", 2, 3, 4)
    w.add("Tensor.view", "(6, -1)", x, (6, -1))
    w.add("Tensor.reshape", "empty", normal("empty", 0, 3), (3, 0))
    w.add("Tensor.flatten", "empty batch", normal("empty", 0, 3, 2), 1)
    w.add("Tensor.expand", "to nothing", normal("one", 1, 3), (0, 3))
    for before, after in (((3,), (2, 3)), ((2, 1), (2, 4)), ((), (2, 2)), ((1, 1), (2, 0, 3))):
        w.add("Tensor.broadcast_to", f"{before} to {after}", normal("bt", *before), after)
    w.add(
        "cat", "the same tensor in pieces", [x, normal("c 1", 2, 1, 4), normal("c 0", 2, 0, 4)], 1
    )
    w.add("stack", "empty", [normal("e0", 0, 2), normal("e1", 0, 2)], 1)
    for mode, pad in product(("reflect", "replicate"), ((1, 2), (2, 0, 1, 1))):
        w.add("F.pad", f"{mode} {pad}", normal("p", 2, 3, 4), pad, mode=mode)
    w.add("F.pad", "replicate, wide", normal("p", 1, 2, 2, 2), (3, 4, 3, 0), mode="replicate")
    w.add("F.pad", "empty", normal("p", 0, 2), (1, 1, 2, 0))

    at, repeated = np.array([1, 0, 1]), np.array([[1, 1], [0, 1]])
    mask = np.array([[True, False, True], [False, False, True]])
    whole = slice(None)
    indices: dict[str, Any] = {
        "integer array, 2-d, repeated": repeated,
        "integer array, negative": np.array([-1, 0, -2]),
        "integer array, empty": np.zeros(0, np.int64),
        "integer array behind a slice": (whole, np.array([2, 0, 2, 2])),
        "integer array last": (Ellipsis, np.array([3, 3, 0])),
        "integer arrays, broadcast": (at[:2, None], np.array([0, 2, 1])),
        "integer arrays, a slice between": (at, whole, np.array([3, 0, 3])),
        "integer arrays side by side behind a slice": (whole, at, np.array([3, 0, 3])),
        "integer and array": (1, at),
        "integer, slice and array": (0, whole, at),
        "slice, integer and array": (whole, 1, at),
        "array, slice and integer": (at, whole, 1),
        "array and None": (at, None, slice(1, 3)),
        "None first": (None, at),
        "boolean, 2-d": mask,
        "boolean behind a slice": (whole, np.array([True, False, True])),
        "boolean and integer": (np.array([True, False]), 1),
        "boolean, slice": (np.array([False, True]), slice(0, 2)),
        "boolean and integer array": (mask, np.array([0, 3, 3])),
        "boolean, nothing": np.zeros(2, bool),
        "ellipsis and None": (Ellipsis, None, 0),
        "only an ellipsis": (Ellipsis,),
        "only None": (None,),
        "negative start": (whole, slice(-2, None), slice(None, -1)),
    }
    for label, index in indices.items():
        w.add("Tensor.__getitem__", label, x, index)
    w.add("Tensor.__getitem__", "float32", single(x), (whole, at))


def matmul(w: OpWriter) -> None:
    w.add("matmul", "(2, 0, 3) @ (3, 4)", normal("left", 2, 0, 3), normal("right", 3, 4))
    w.add("matmul", "(0, 2, 3) @ (3, 4)", normal("left", 0, 2, 3), normal("right", 3, 4))
    w.add("matmul", "(4,) @ (2, 3, 4, 5)", normal("left", 4), normal("right", 2, 3, 4, 5))
    w.add("matmul", "float32", single(normal("left", 3, 4)), single(normal("right", 4, 2)))
    weight, bias = normal("lw", 3, 4), normal("lb", 3)
    w.add("F.linear", "empty batch", normal("lx", 0, 4), weight, bias)
    w.add("F.linear", "no features in", normal("lx", 2, 0), normal("lw", 3, 0), bias)
    w.add("F.linear", "float32", single(normal("lx", 5, 4)), single(weight), single(bias))


# label: image (N, C, H, W), weight, keyword arguments; every second one has a bias
CONVOLUTIONS: dict[str, tuple[Shape, Shape, dict[str, Any]]] = {
    "same, 2x2": ((2, 2, 5, 6), (3, 2, 2, 2), {"padding": "same"}),
    "same, 2x3": ((1, 2, 5, 6), (2, 2, 2, 3), {"padding": "same"}),
    "same, 4x1, dilation (1, 3)": ((1, 2, 6, 5), (2, 2, 4, 1), {"dilation": (1, 3)}),
    "same, 4x3, dilation (3, 2)": ((1, 2, 7, 6), (2, 2, 4, 3), {"dilation": (3, 2)}),
    "same, 2x5, groups 2": ((2, 4, 5, 6), (4, 2, 2, 5), {"groups": 2}),
    "same, 3x2, groups 4, dilation 2": ((1, 4, 5, 6), (4, 1, 3, 2), {"groups": 4, "dilation": 2}),
    "same, kernel above the image": ((1, 1, 2, 3), (2, 1, 5, 4), {}),
    "valid, groups 2": ((1, 4, 5, 5), (2, 2, 3, 3), {"padding": "valid", "groups": 2}),
    "stride (3, 1), padding (0, 2)": (
        (2, 2, 8, 5),
        (3, 2, 3, 2),
        {"stride": (3, 1), "padding": (0, 2)},
    ),
    "stride (1, 3), padding (2, 0), dilation (2, 1)": (
        (1, 2, 5, 9),
        (3, 2, 3, 2),
        {"stride": (1, 3), "padding": (2, 0), "dilation": (2, 1)},
    ),
    "stride (2, 3), padding (3, 1), dilation (1, 4), groups 2": (
        (1, 4, 6, 9),
        (2, 2, 3, 2),
        {"stride": (2, 3), "padding": (3, 1), "dilation": (1, 4), "groups": 2},
    ),
    "padding in one direction": ((1, 2, 3, 6), (2, 2, 5, 3), {"padding": (2, 0)}),
    "dilation above the image, padded": (
        (1, 1, 4, 4),
        (2, 1, 2, 2),
        {"dilation": 5, "padding": 2},
    ),
    "empty batch": ((0, 2, 5, 5), (3, 2, 3, 3), {"padding": 1}),
    "empty batch, 1x1": ((0, 2, 5, 5), (3, 2, 1, 1), {}),
    "empty batch, groups and stride": ((0, 4, 5, 5), (4, 2, 3, 3), {"groups": 2, "stride": 2}),
}
# label: image (N, C, H, W), weight (C, C_out/groups, KH, KW), keyword arguments
TRANSPOSED: dict[str, tuple[Shape, Shape, dict[str, Any]]] = {
    "3x3": ((2, 3, 4, 5), (3, 2, 3, 3), {}),
    "1x1": ((1, 3, 4, 5), (3, 2, 1, 1), {}),
    "2x2 stride 2": ((2, 2, 3, 4), (2, 3, 2, 2), {"stride": 2}),
    "4x4 stride 2 padding 1": ((1, 2, 4, 3), (2, 3, 4, 4), {"stride": 2, "padding": 1}),
    "output_padding 1": (
        (1, 2, 4, 3),
        (2, 3, 3, 3),
        {"stride": 2, "padding": 1, "output_padding": 1},
    ),
    "output_padding (0, 2)": (
        (1, 2, 3, 4),
        (2, 2, 3, 2),
        {"stride": (2, 3), "padding": (1, 0), "output_padding": (0, 2)},
    ),
    "groups 2": ((2, 4, 3, 4), (4, 3, 3, 3), {"groups": 2}),
    "groups 2, stride 2, output_padding 1": (
        (1, 4, 3, 3),
        (4, 1, 3, 3),
        {"groups": 2, "stride": 2, "output_padding": 1},
    ),
    "depthwise": ((1, 3, 4, 4), (3, 1, 3, 3), {"groups": 3, "padding": 1}),
    "dilation 2": ((1, 2, 4, 4), (2, 2, 3, 3), {"dilation": 2}),
    "dilation (1, 3), stride (3, 1), padding (0, 2)": (
        (1, 2, 3, 5),
        (2, 3, 2, 3),
        {"dilation": (1, 3), "stride": (3, 1), "padding": (0, 2)},
    ),
    "all": (
        (2, 4, 3, 4),
        (4, 2, 2, 3),
        {
            "stride": (2, 3),
            "padding": (1, 2),
            "output_padding": (1, 0),
            "groups": 2,
            "dilation": (3, 1),
        },
    ),
    "stride above the kernel": ((1, 1, 3, 3), (1, 2, 2, 2), {"stride": 4}),
    "one pixel": ((1, 2, 1, 1), (2, 3, 3, 2), {}),
    "padding crops": ((1, 2, 4, 4), (2, 2, 2, 2), {"padding": 2}),
    "empty batch": ((0, 2, 3, 3), (2, 3, 3, 3), {"stride": 2}),
}


def conv(w: OpWriter) -> None:
    for op, cases, out in (("F.conv2d", CONVOLUTIONS, 0), ("F.conv_transpose2d", TRANSPOSED, 1)):
        for i, (label, (x, weight, kwargs)) in enumerate(cases.items()):
            if label.startswith("same"):
                kwargs = {"padding": "same", **kwargs}
            channels = weight[out] * (kwargs.get("groups", 1) if out else 1)
            bias = normal(f"bias {op} {label}", channels) if i % 2 else None
            arrays = normal(f"x {op} {label}", *x), normal(f"weight {op} {label}", *weight)
            w.add(op, label, *arrays, bias, **kwargs)
    x, weight, bias = normal("f x", 2, 3, 6, 5), normal("f w", 4, 3, 3, 3), normal("f b", 4)
    w.add("F.conv2d", "float32", single(x), single(weight), single(bias), padding=1)
    turned = single(normal("f t", 3, 4, 3, 3))
    w.add("F.conv_transpose2d", "float32", single(x), turned, stride=2)


def pool(w: OpWriter) -> None:
    x, odd = normal("corner pool", 1, 2, 7, 6), normal("corner odd", 1, 2, 5, 8)
    window = {"kernel_size": 3, "stride": 2, "padding": 1}
    for ceil_mode, include, divisor in product((False, True), (False, True), (None, 3, -2)):
        w.add(
            "F.avg_pool2d",
            f"ceil_mode={ceil_mode} count_include_pad={include} divisor_override={divisor}",
            x,
            **window,
            ceil_mode=ceil_mode,
            count_include_pad=include,
            divisor_override=divisor,
        )
    w.add("F.avg_pool2d", "asymmetric", odd, (2, 3), (3, 2), (1, 0), True, False)
    negative = -positive("corner negative", 1, 2, 6, 5)
    for label, image, kwargs in (
        ("dilation 2", x, {"kernel_size": 2, "dilation": 2, "padding": 1}),
        ("dilation 3, stride 2", odd, {"kernel_size": 2, "stride": 2, "dilation": 3}),
        ("dilation (2, 1)", odd, {"kernel_size": (2, 3), "stride": (1, 2), "dilation": (2, 1)}),
    ):
        for ceil_mode in (False, True):
            w.add(
                "F.max_pool2d",
                f"{label} ceil_mode={ceil_mode}",
                image,
                ceil_mode=ceil_mode,
                **kwargs,
            )
    for ceil_mode in (False, True):
        label = f"negative, indices, ceil_mode={ceil_mode}"
        w.add("F.max_pool2d", label, negative, **window, ceil_mode=ceil_mode, return_indices=True)
    w.add(
        "F.max_pool2d",
        "negative, dilation, padding, ceil_mode, indices",
        negative,
        **{**window, "padding": 1, "dilation": 2},
        ceil_mode=True,
        return_indices=True,
    )
    ties = np.floor(normal("corner ties", 1, 1, 6, 6))
    w.add("F.max_pool2d", "ties, indices", ties, 3, stride=1, padding=1, return_indices=True)
    sizes: tuple[Any, ...] = (3, 4, (5, 2), (2, None), (None, None), (11, 9), (7, 13), (6, 6))
    for size in sizes:
        w.add("F.adaptive_avg_pool2d", f"7 x 6 to {size}", x, size)
    empty = normal("none", 0, 2, 6, 6)
    w.add("F.max_pool2d", "empty batch", empty, 2)
    w.add("F.avg_pool2d", "empty batch", empty, 2)
    w.add("F.adaptive_avg_pool2d", "empty batch", empty, 2)
    w.add("F.max_pool2d", "float32", single(x), 2)
    w.add("F.avg_pool2d", "float32", single(x), 2)
    w.add("F.adaptive_avg_pool2d", "float32", single(x), (3, 4))


def norm(w: OpWriter) -> None:
    x = normal("corner norm", 3, 2, 3, 4) * 1.5 - 0.5
    stats = Constant(normal("corner mean", 2)), Constant(positive("corner var", 2))
    affine = {"weight": normal("corner w", 2), "bias": normal("corner b", 2)}
    bn = "F.batch_norm"
    w.add(bn, "no running statistics, eval", x, None, None, training=True)
    w.add(bn, "3-d training", normal("3-d", 4, 2, 5), *stats, **affine, training=True)
    w.add(bn, "5-d eval", normal("5-d", 2, 2, 1, 2, 3), *stats, **affine)
    w.add(bn, "two values a channel", normal("two", 2, 2), *stats, **affine, training=True)
    w.add(bn, "eps 1", x, *stats, **affine, training=True, eps=1.0)
    w.add(bn, "eval, bias only", x, *stats, bias=affine["bias"])
    w.add(bn, "eval, weight only", x, *stats, weight=affine["weight"])
    w.add(bn, "eval, empty batch", normal("none", 0, 2, 3, 3), *stats, **affine)
    singles = [Constant(single(s.array)) for s in stats]
    narrow = {name: single(value) for name, value in affine.items()}
    w.add(bn, "float32 training", single(x), *singles, **narrow, training=True)
    w.add(bn, "float32 eval", single(x), *singles, **narrow)
    # the module with momentum=None: 1, 1/2, 1/3, ... of the new value
    for count in (1, 2, 3):
        w.add(bn, f"momentum 1/{count}", x, *stats, training=True, momentum=1.0 / count)


def loss(w: OpWriter) -> None:
    rng = generator("corner labels")
    x, labels = normal("corner logits", 5, 4), rng.integers(0, 4, 5)
    image, targets = normal("corner image", 2, 3, 2, 3), rng.integers(0, 3, (2, 2, 3))
    targets = np.where(rng.uniform(size=targets.shape) < 0.3, 1, targets)
    ce, weight = "F.cross_entropy", Constant(positive("corner weight", 4))
    three = Constant(positive("corner three", 3))
    smoothings, reductions = (0.0, 0.15), ("mean", "sum", "none")
    for weighted, ignored, smoothing, reduction in product(
        (False, True), (False, True), smoothings, reductions
    ):
        kwargs: dict[str, Any] = {"reduction": reduction, "label_smoothing": smoothing}
        label = f"{reduction} smoothing={smoothing}"
        if weighted:
            kwargs["weight"], label = three, f"{label} weight"
        if ignored:
            kwargs["ignore_index"], label = 1, f"{label} ignore_index"
        w.add(ce, f"dense {label}", image, targets, **kwargs)
    for weighted, smoothing, reduction in product((False, True), smoothings, reductions):
        kwargs = {"reduction": reduction, "label_smoothing": smoothing}
        kwargs |= {"weight": weight} if weighted else {}
        label = f"{reduction} smoothing={smoothing}{' weight' if weighted else ''}"
        shares = positive("shares", 5, 4)
        shares /= shares.sum(axis=1, keepdims=True)
        w.add(ce, f"probabilities {label}", x, shares, **kwargs)
    spread = positive("spread", 2, 3, 2, 3)
    w.add(ce, "dense probabilities", image, Constant(spread), weight=three, label_smoothing=0.1)
    w.add(ce, "one row without a batch", normal("row", 4), np.array(2))
    w.add(ce, "probabilities without a batch", normal("row", 4), Constant(positive("p row", 4)))
    w.add(ce, "smoothing 1", x, labels, label_smoothing=1.0)
    w.add(ce, "weight with a 0", x, labels, weight=Constant(np.array([0.0, 1.0, 2.0, 0.5])))
    w.add("F.nll_loss", "without a batch", normal("row", 4), np.array(2))
    for reduction in reductions:
        kwargs = {"reduction": reduction, "ignore_index": 1}
        w.add("F.nll_loss", f"dense {reduction}, weight, ignored", image, targets, three, **kwargs)
    none, nowhere = normal("none", 0, 4), np.zeros(0, np.int64)
    for reduction in ("sum", "none"):
        w.add(ce, f"empty batch, {reduction}", none, nowhere, reduction=reduction)
        w.add("F.mse_loss", f"empty, {reduction}", none, normal("n", 0, 4), reduction=reduction)
    for op in ("F.relu", "F.softmax", "F.log_softmax"):
        kwargs = {} if op == "F.relu" else {"dim": 1}
        w.add(op, "empty batch", none, **kwargs)
        w.add(op, "float32", single(x), **kwargs)
    w.add(ce, "float32", single(x), labels)
    w.add("F.mse_loss", "float32", single(x), single(normal("target", 5, 4)))
