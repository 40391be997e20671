"""Cases of arithmetic, elementwise functions, reductions, shapes, indexing and matmul."""

from __future__ import annotations

import numpy as np
from make_recorder import Constant, OpWriter, generator, normal, positive


def elementwise() -> OpWriter:
    w = OpWriter("elementwise")
    shapes = {
        "same shape": ((3, 4), (3, 4)),
        "row broadcast": ((3, 4), (4,)),
        "column broadcast": ((3, 1), (3, 4)),
        "both broadcast": ((2, 1, 4), (3, 1)),
        "channel broadcast": ((2, 3, 4, 5), (1, 3, 1, 1)),
        "0-d": ((), (2, 3)),
        "both 0-d": ((), ()),
        "size 1": ((1,), (1, 1)),
        "empty": ((0, 3), (1, 3)),
    }
    for op in ("add", "sub", "mul", "maximum", "minimum"):
        for label, (a, b) in shapes.items():
            w.add(op, label, normal(f"{op} a", *a), normal(f"{op} b", *b))
    for label, (a, b) in shapes.items():
        w.add("div", label, normal("div a", *a), positive("div b", *b))
        w.add("pow", f"tensor exponent, {label}", positive("pow a", *a), normal("pow b", *b))
    for op in ("add", "sub", "mul", "div"):
        w.add(op, "number", normal(f"{op} x", 3, 4), 2.5)
        w.add(op, "integer", normal(f"{op} x", 3, 4), -3)
    tied = np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])
    w.add("maximum", "tie", *tied)
    w.add("minimum", "tie", *tied)

    for exponent in (2, 3, 1, 0, -1, 0.5, -0.5, 2.5):
        w.add("pow", f"exponent {exponent}", positive("pow x", 3, 4), exponent)
    w.add("pow", "exponent 2, negative base", normal("pow negative", 5), 2)
    w.add("pow", "exponent 3, negative base", normal("pow negative", 5), 3)
    w.add("pow", "exponent 2, base 0", np.array([0.0, 1.0, -1.0]), 2)
    w.add("pow", "exponent 0, base 0", np.array([0.0, 1.0, -1.0]), 0)

    for op in ("neg", "abs", "exp", "tanh", "sigmoid", "log", "sqrt"):
        draw = positive if op in ("log", "sqrt") else normal
        for shape in ((), (5,), (3, 1, 2), (2, 3, 4, 2), (0, 2)):
            w.add(op, f"{shape}", draw(op, *shape))
    large = np.array([-800.0, -40.0, -0.0, 40.0, 800.0])
    w.add("sigmoid", "large", large)
    w.add("tanh", "large", large)
    w.add("abs", "at 0", np.array([-1.0, 0.0, 1.0]))

    condition = generator("where condition").uniform(size=(3, 4)) < 0.5
    w.add("where", "same shape", condition, normal("where a", 3, 4), normal("where b", 3, 4))
    w.add("where", "broadcast", condition, normal("where a", 4), normal("where b", 2, 3, 1))
    w.add("where", "condition broadcast", condition[:1], normal("wa", 3, 4), normal("wb", 3, 1))
    w.add("where", "0-d", condition, normal("where a"), normal("where b"))
    w.add("where", "constant branch", condition, normal("wc", 3, 4), Constant(np.zeros((3, 4))))

    x = normal("clamp", 3, 5)
    w.add("clamp", "both", x, min=-0.5, max=0.5)
    w.add("clamp", "min", x, min=0.25)
    w.add("clamp", "max", x, max=-0.25)
    w.add("clamp", "positional", x, -1.0, 0.0)
    w.add("clamp", "at the bounds", np.array([-2.0, -1.0, 0.0, 1.0, 2.0]), min=-1.0, max=1.0)
    return w


def reduce() -> OpWriter:
    w = OpWriter("reduce")
    x = normal("reduce", 2, 3, 4)
    for op in ("sum", "mean", "var", "max", "min"):
        w.add(f"Tensor.{op}", "all", x)
        if op != "var":
            w.add(f"Tensor.{op}", "one element", normal("one", 1, 1))
    for op in ("sum", "mean", "var", "amax", "amin", "logsumexp"):
        for dim in (0, 1, -1, (0, 2), (1, -1), (0, 1, 2)):
            for keepdim in (False, True):
                w.add(f"Tensor.{op}", f"dim={dim} keepdim={keepdim}", x, dim=dim, keepdim=keepdim)
    for op in ("sum", "mean", "amax", "amin", "logsumexp"):
        w.add(f"Tensor.{op}", "size 1", normal("size 1", 3, 1, 2), dim=1, keepdim=False)
    for op in ("max", "min"):
        for dim, keepdim in ((0, False), (1, True), (-1, False)):
            w.add(f"Tensor.{op}", f"dim={dim} keepdim={keepdim}", x, dim=dim, keepdim=keepdim)
    w.add("Tensor.var", "unbiased=False, all", x, unbiased=False)
    w.add("Tensor.var", "unbiased=False, channels", x, dim=(0, 2), keepdim=True, unbiased=False)
    w.add("Tensor.var", "unbiased=True, one dim", x, dim=1, unbiased=True)
    w.add("Tensor.var", "correction=0", x, dim=(0, 2), correction=0)
    w.add("Tensor.var", "correction=2", x, dim=-1, correction=2)
    w.add("Tensor.sum", "0-d", normal("0-d"))
    w.add("Tensor.sum", "empty", normal("empty", 0, 3), dim=0)
    tied = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 1.0]])
    for op in ("amax", "amin"):
        w.add(f"Tensor.{op}", "ties share", tied, dim=1)
    w.add("Tensor.max", "ties, all", tied)
    w.add("Tensor.logsumexp", "large", np.array([[1000.0, 1001.0], [-1000.0, -1002.0]]), dim=1)
    return w


def shape() -> OpWriter:
    w = OpWriter("shape")
    x = normal("shape", 2, 3, 4)
    for target in ((6, 4), (-1,), (2, -1, 2), (1, 24, 1), (4, 3, 2)):
        w.add("Tensor.reshape", f"{target}", x, target)
    w.add("Tensor.reshape", "separate numbers", x, 4, -1)
    w.add("Tensor.reshape", "to 0-d", normal("one", 1, 1), ())
    w.add("Tensor.flatten", "all", x)
    w.add("Tensor.flatten", "from 1", normal("flat", 2, 3, 2, 2), 1)
    w.add("Tensor.flatten", "0 to 1", x, 0, 1)
    w.add("Tensor.flatten", "by name", x, start_dim=1, end_dim=-1)
    w.add("Tensor.flatten", "0-d", normal("0-d"))
    for dims in ((0, 1, 2), (2, 0, 1), (1, 2, 0), (-1, 0, -2)):
        w.add("Tensor.permute", f"{dims}", x, dims)
    w.add("Tensor.permute", "separate numbers", x, 2, 1, 0)
    for a, b in ((0, 1), (-1, -2), (0, 2), (1, 1)):
        w.add("Tensor.transpose", f"{a} {b}", x, a, b)
    ones = normal("ones", 1, 3, 1, 2)
    w.add("Tensor.squeeze", "all", ones)
    for dim in (0, 1, -2, (0, 2)):
        w.add("Tensor.squeeze", f"dim={dim}", ones, dim)
    for dim in (0, 1, 3, -1, -4):
        w.add("Tensor.unsqueeze", f"dim={dim}", x, dim)
    w.add("Tensor.expand", "size 1", normal("expand", 3, 1), (3, 4))
    w.add("Tensor.expand", "new dims", normal("expand", 3, 1), (2, 3, 4))
    w.add("Tensor.expand", "keep with -1", normal("expand", 3, 1), (-1, 5))
    w.add("Tensor.expand", "separate numbers", normal("expand", 1, 4), 3, -1)
    w.add("Tensor.expand", "0-d", normal("expand"), (2, 2))
    parts = [normal(f"part {n}", 2, n, 3) for n in (1, 2, 3)]
    w.add("cat", "dim=1", parts, dim=1)
    w.add("cat", "dim=-2, positional", parts, -2)
    w.add("cat", "dim=0 by default", [normal("c", 2, 3), normal("d", 1, 3)])
    w.add("cat", "one tensor", [x], dim=2)
    w.add("cat", "with an empty part", [normal("c", 2, 3), normal("d", 0, 3)], dim=0)
    equal = [normal(f"equal {n}", 2, 3) for n in range(3)]
    for dim in (0, 1, 2, -1):
        w.add("stack", f"dim={dim}", equal, dim=dim)
    w.add("stack", "0-d", [normal("s"), normal("t")])

    image = normal("image", 2, 3, 5, 4)
    whole = slice(None)
    indices = {
        "integer": (1,),
        "negative integer": (-1, 2),
        "range": (whole, slice(1, 3)),
        "stride 2": (whole, whole, slice(None, None, 2), slice(None, None, 2)),
        "offset stride": (whole, whole, slice(1, None, 3), slice(-3, -1)),
        "ellipsis": (Ellipsis, 0),
        "ellipsis between": (1, Ellipsis, slice(0, 2)),
        "new dimension": (whole, None, 1),
        "one element": (1, 2, 3, 0),
        "empty range": (slice(1, 1),),
        "past the end": (whole, slice(1, 99)),
    }
    for label, index in indices.items():
        w.add("Tensor.__getitem__", label, image, index)
    w.add("Tensor.__getitem__", "bare integer", image, 1)
    w.add("Tensor.__getitem__", "integer array", image, np.array([1, 0, 1, 1]))
    w.add("Tensor.__getitem__", "integer arrays", x, (np.array([0, 1, 1]), np.array([2, 0, 2])))
    w.add("Tensor.__getitem__", "boolean", normal("b", 4, 3), np.array([True, False, True, True]))

    w.add("F.pad", "last dimension", image, (1, 2))
    w.add("F.pad", "two dimensions", image, (1, 0, 2, 3))
    w.add("F.pad", "with a value", image, (1, 1, 1, 1), mode="constant", value=-1.5)
    w.add("F.pad", "channels at the end", image, (0, 0, 0, 0, 0, 2))
    w.add("F.pad", "crops", image, (-1, 1, 0, -2))
    w.add("F.pad", "nothing", image, (0, 0))
    return w


def matmul() -> OpWriter:
    w = OpWriter("matmul")
    for a, b in (
        ((4,), (4,)),
        ((3, 4), (4,)),
        ((4,), (4, 2)),
        ((3, 4), (4, 2)),
        ((1, 4), (4, 1)),
        ((3, 1), (1, 2)),
        ((2, 3, 4), (2, 4, 5)),
        ((2, 3, 4), (4, 5)),
        ((3, 4), (2, 4, 5)),
        ((2, 3, 4), (4,)),
        ((4,), (2, 4, 5)),
        ((2, 1, 3, 4), (5, 4, 2)),
        ((1, 3, 4), (2, 4, 2)),
        ((0, 4), (4, 2)),
        ((3, 0), (0, 2)),
    ):
        w.add("matmul", f"{a} @ {b}", normal("left", *a), normal("right", *b))
    for label, lead in (("1-d", ()), ("2-d", (5,)), ("batch of 1", (1,)), ("4-d", (2, 1, 3))):
        for out in (1, 3):
            weight, bias = normal("weight", out, 4), normal("bias", out)
            w.add("F.linear", f"{label} to {out}", normal("x", *lead, 4), weight)
            w.add("F.linear", f"{label} to {out}, bias", normal("x", *lead, 4), weight, bias)
    return w
