"""The one table of operation specs: what every operation is called with in every test.

A spec is a call of one operation as a function of its differentiable inputs, with sample inputs
that lie away from kinks and poles.  ``spec(*inputs)`` runs it, on tensors and on arrays alike.
Add an operation to ``minires.functional`` or to ``bind.METHODS`` and a test asks for its spec.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minires.functional as F
from minires.autograd import Tensor
from minires.device import array_like
from minires.functional.bind import METHODS
from minires.functional.shape import alias
from minires.rng import get_state, manual_seed, set_state

__all__ = ["NO_SPEC", "SPECS", "Spec", "operations"]

# Operations that cannot be run by a spec, and why.
NO_SPEC = {
    "cuda": "needs a GPU; test_messages.py holds its refusal where there is none",
    "argmax": "gives places, which have no gradient; test_tensor.py holds its numbers",
    "argmin": "gives places, which have no gradient; test_tensor.py holds its numbers",
}


@dataclass(frozen=True)
class Spec:
    """One call: ``call(*inputs)`` runs ``operation`` on float64 arrays or tensors like them."""

    operation: Callable[..., Any]
    label: str
    call: Callable[..., Any]
    inputs: tuple[np.ndarray, ...]
    rtol: float = 1e-6  # of first and second gradients against central differences
    float32: float = 1e-5  # of float32 against float64, as a share of the largest number

    def __call__(self, *inputs: Any) -> Any:
        return self.call(*inputs)


def operations() -> dict[str, Callable[..., Any]]:
    """Every operation that needs a spec: public functions, operators and methods."""
    public = {f"F.{name}": getattr(F, name) for name in F.__all__}
    return {**public, **{name: f for name, f in METHODS.items() if name not in NO_SPEC}}


def _rng(what: str, shape: tuple[int, ...]) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(f"{what} {shape}".encode()))


def normal(*shape: int, what: str = "x") -> np.ndarray:
    """Any numbers."""
    return np.asarray(_rng(what, shape).standard_normal(shape))


def positive(*shape: int, what: str = "x") -> np.ndarray:
    """From 0.4 to 2.5: for roots, logarithms and divisors."""
    return np.asarray(_rng(what, shape).uniform(0.4, 2.5, shape))


def off_zero(*shape: int, what: str = "x") -> np.ndarray:
    """Of both signs, and at least 0.2 from 0: for absolute values and ReLU."""
    x = normal(*shape, what=what)
    return np.asarray(x + np.copysign(0.2, x))


def apart(*shape: int) -> np.ndarray:
    """No two nearer than 0.1: for maxima."""
    size = int(np.prod(shape))
    return 0.1 * (_rng("apart", shape).permutation(size) - size / 3.0).reshape(shape)


SPECS: list[Spec] = []


def beside(constant: Any, x: Any) -> Any:
    """A constant of a spec, on the device of the input if it is an array."""
    data = x.data if isinstance(x, Tensor) else x
    return array_like(constant, data) if isinstance(constant, np.ndarray) else constant


def add(
    operation: Callable[..., Any],
    label: str,
    *inputs: np.ndarray,
    call: Callable[..., Any] | None = None,
    args: tuple[Any, ...] = (),
    **settings: Any,
) -> None:
    """Add one spec; by default ``operation(*inputs, *args, **settings)`` is called."""
    tolerances = {key: settings.pop(key) for key in ("rtol", "float32") if key in settings}
    if call is None:

        def call(*xs: Any) -> Any:
            return operation(*xs, *(beside(arg, xs[0]) for arg in args), **settings)

    SPECS.append(Spec(operation, label, call, inputs, **tolerances))


# --- arithmetic ---

SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "same shape": ((2, 3), (2, 3)),
    "row broadcast": ((2, 3), (3,)),
    "column broadcast": ((2, 1), (2, 3)),
    "both broadcast": ((2, 1, 3), (4, 1)),
    "0-d": ((), (2, 2)),
    "both 0-d": ((), ()),
    "size 1": ((1,), (1, 1)),
    "empty": ((0, 3), (1, 3)),
}
for label, (a, b) in SHAPES.items():
    for operation in (F.add, F.sub, F.mul):
        add(operation, label, normal(*a), normal(*b, what="b"))
    add(F.div, label, normal(*a), off_zero(*b, what="b"))
    add(F.pow, label, positive(*a), normal(*b, what="b"))
    add(METHODS["__rpow__"], label, normal(*a), positive(*b, what="b"))
    for name in ("__radd__", "__rsub__", "__rmul__"):
        add(METHODS[name], label, normal(*a), normal(*b, what="b"))
    add(METHODS["__rtruediv__"], label, off_zero(*a), normal(*b, what="b"))
for name in ("add", "sub", "mul", "div", "pow", "__radd__", "__rsub__", "__rmul__"):
    add(METHODS[name], "number", positive(2, 3), args=(2.5,))
    add(METHODS[name], "integer", positive(2, 3), args=(-3,))
for number in (2.5, -3):
    add(METHODS["__rtruediv__"], f"{number}", off_zero(2, 3), args=(number,))
for number in (2, 0.5, 1.0):
    add(METHODS["__rpow__"], f"{number}", normal(2, 3), args=(number,))
for exponent in (2, 3, 1, 0):
    add(F.pow, f"exponent {exponent}, bases of both signs", off_zero(2, 3), args=(exponent,))
for exponent in (0.5, -1, -0.5, 2.5):
    add(F.pow, f"exponent {exponent}", positive(2, 3), args=(exponent,))
add(F.pow, "one tensor twice", positive(2, 3), call=lambda x: F.pow(x, x))
add(F.mul, "one tensor twice", normal(2, 3), call=lambda x: F.mul(x, x))
for shape in ((), (3,), (2, 1, 3), (0, 2)):
    add(F.neg, f"{shape}", normal(*shape))
    add(F.exp, f"{shape}", normal(*shape))
    add(F.log, f"{shape}", positive(*shape))
    add(F.sqrt, f"{shape}", positive(*shape))
    add(F.abs, f"{shape}", off_zero(*shape))
    add(F.relu, f"{shape}", off_zero(*shape))

    add(F.sigmoid, f"{shape}", normal(*shape))
    add(F.tanh, f"{shape}", normal(*shape))
    add(F.silu, f"{shape}", normal(*shape))
    add(F.gelu, f"{shape}", normal(*shape))
    add(F.leaky_relu, f"{shape}", off_zero(*shape))
    add(F.softplus, f"{shape}", normal(*shape))
add(F.gelu, "tanh", normal(2, 3), approximate="tanh")
add(F.gelu, "far out", 4.0 * normal(2, 3))
add(F.leaky_relu, "slope 0.3", off_zero(2, 3), negative_slope=0.3)
add(F.softplus, "beta 3", normal(2, 3), beta=3.0)
add(F.softplus, "linear above the threshold", off_zero(2, 3), beta=2.0, threshold=0.0)
add(F.dropout, "evaluation", normal(2, 3), training=False)
add(F.dropout, "p = 0", normal(2, 3), p=0.0)
add(F.dropout, "p = 1", normal(2, 3), p=1.0)


def seeded_dropout(x: Any) -> Any:
    """The same mask in every call: the default generator is seeded for it, and put back."""
    state = get_state()
    manual_seed(3)
    try:
        return F.dropout(x, 0.4)
    finally:
        set_state(state)


add(F.dropout, "p = 0.4", normal(4, 5), call=seeded_dropout)

# --- selection ---

for label, (a, b) in SHAPES.items():
    one, other = normal(*a), normal(*b, what="b")
    add(F.maximum, label, one, other)
    add(F.minimum, label, one, other)
    mask = normal(*np.broadcast_shapes(a, b), what="mask") > 0
    add(F.where, label, one, other, call=lambda x, y, mask=mask: F.where(beside(mask, x), x, y))
    add(
        METHODS["where"],
        label,
        one,
        other,
        call=lambda x, y, mask=mask: METHODS["where"](x, beside(mask, x), y),
    )
add(F.maximum, "number", off_zero(2, 3), args=(0.1,))
add(F.minimum, "number", off_zero(2, 3), args=(0.1,))
for label, bounds in {"both": (-0.1, 0.1), "below": (-0.1, None), "above": (None, 0.1)}.items():
    add(F.clamp, label, off_zero(3, 4), args=bounds)
add(F.clamp, "between tensors", 2.0 * apart(3, 4), normal(4, what="min") - 1.0, positive(3, 1))

# --- reductions ---

for dim in (None, 0, -1, (0, 2), (-1, 1), (0, 1, 2)):
    for keepdim in (False, True):
        where = {"dim": dim, "keepdim": keepdim}
        add(F.sum, f"{dim} {keepdim}", normal(2, 3, 2), **where)
        add(F.mean, f"{dim} {keepdim}", normal(2, 3, 2), **where)
        add(F.var, f"{dim} {keepdim}", normal(2, 3, 2), **where)
        add(F.var, f"{dim} {keepdim}, biased", normal(2, 3, 2), **where, correction=0)
        add(F.std, f"{dim} {keepdim}", normal(2, 3, 2), **where)
        add(F.std, f"{dim} {keepdim}, biased", normal(2, 3, 2), **where, unbiased=False)
        add(F.amax, f"{dim} {keepdim}", apart(2, 3, 2), **where)
        add(F.amin, f"{dim} {keepdim}", apart(2, 3, 2), **where)
        add(F.logsumexp, f"{dim} {keepdim}", normal(2, 3, 2), **where)
for operation in (F.sum, F.mean):
    add(operation, "NumPy's names", normal(2, 3), axis=1, keepdims=True)
    add(operation, "0-d", normal())
    add(operation, "size 1", normal(2, 1, 3), dim=1)
for operation in (F.max, F.min):
    add(operation, "of all", apart(2, 3, 2))
    add(operation, "0-d", normal())
    for dim in (0, -1):
        for keepdim in (False, True):
            add(
                operation,
                f"{dim} {keepdim}",
                apart(2, 3, 2),
                call=lambda x, o=operation, d=dim, k=keepdim: o(x, d, k).values,
            )
add(F.logsumexp, "large", 400.0 * normal(2, 3), dim=1)
add(F.sum, "empty", normal(0, 3))
add(F.sum, "empty to (3,)", normal(0, 3), dim=0)
add(F.var, "size 1, biased", normal(1, 3), dim=0, correction=0)

# --- shapes ---

for shape in ((6, 2), (-1,), (2, -1, 2), (1, 12, 1)):
    add(F.reshape, f"{shape}", normal(2, 3, 2), args=(shape,))
add(F.reshape, "numbers apart", normal(2, 3, 2), args=(4, -1))
add(F.reshape, "to 0-d", normal(1, 1), args=((),))
add(F.reshape, "from 0-d", normal(), args=(1, 1))
add(F.reshape, "empty", normal(0, 3), args=(3, 0))
add(F.flatten, "all", normal(2, 3, 2))
add(F.flatten, "from 1", normal(2, 3, 2), args=(1,))
add(F.flatten, "0 to -2", normal(2, 3, 2), start_dim=0, end_dim=-2)
add(F.flatten, "0-d", normal())
for dims in ((0, 1, 2), (2, 0, 1), (-1, 0, -2)):
    add(F.permute, f"{dims}", normal(2, 3, 2), args=(dims,))
add(F.permute, "numbers apart", normal(2, 3, 2), args=(1, 2, 0))
for pair in ((0, 1), (-1, -3), (1, 1)):
    add(F.transpose, f"{pair}", normal(2, 3, 2), args=pair)
for dim in (None, 0, -2, (0, 2)):
    add(F.squeeze, f"{dim}", normal(1, 3, 1, 2), args=(dim,))
add(F.squeeze, "to 0-d", normal(1, 1))
for dim in (0, 1, -1, -3):
    add(F.unsqueeze, f"{dim}", normal(2, 3), args=(dim,))
add(F.unsqueeze, "0-d", normal(), args=(0,))
for start, shape in (((3, 1), (3, 2)), ((3,), (2, 3)), ((), (2, 2)), ((1, 2), (1, 2))):
    add(F.broadcast_to, f"{start} to {shape}", normal(*start), args=(shape,))
    add(F.expand, f"{start} to {shape}", normal(*start), args=(shape,))
add(F.expand, "-1 keeps", normal(3, 1), args=(2, -1, 4))
for dim, shapes in {0: [(1, 2), (2, 2)], 1: [(2, 1), (2, 3)], -1: [(2, 2), (2, 0)]}.items():
    parts = [normal(*shape, what=f"part {i}") for i, shape in enumerate(shapes)]
    add(F.cat, f"{dim}", *parts, call=lambda *xs, dim=dim: F.cat(xs, dim))
add(F.cat, "one tensor twice", normal(2, 2), call=lambda x: F.cat([x, x]))
for dim in (0, 1, -1):
    parts = [normal(2, 3, what=f"part {i}") for i in range(3)]
    add(F.stack, f"{dim}", *parts, call=lambda *xs, dim=dim: F.stack(xs, dim))
add(F.stack, "0-d", normal(), normal(what="b"), call=lambda *xs: F.stack(xs))
for mode in ("reflect", "replicate", "circular"):
    add(F.pad, mode, normal(1, 2, 3, 4), args=((2, 1, 0, 2), mode))
    add(F.pad, f"{mode}, cropped", normal(2, 5), args=((-1, 2), mode))
add(F.pad, "crops", normal(3, 4), args=((-1, 2, 1, -2),))
add(F.pad, "columns", normal(2, 3), args=((1, 2),))
add(F.pad, "rows and columns", normal(1, 2, 2, 3), args=((1, 0, 0, 2),), value=-1.5)
add(F.pad, "channels", normal(1, 2, 2, 2), args=((0, 0, 0, 0, 0, 2),))
add(F.pad, "nothing", normal(2, 3), args=((0, 0),))
add(alias, "matrix", normal(2, 3))

INDICES: dict[str, Any] = {
    "integer": 1,
    "negative": (-1, 2),
    "range": (slice(None), slice(1, 3)),
    "steps": (slice(None, None, 2), slice(None, None, -1)),
    "ellipsis": (Ellipsis, 0),
    "new dimension": (slice(None), None, 1),
    "one element": (1, 2),
    "empty range": slice(1, 1),
    "repeated integers": np.array([2, 0, 2, 2]),
    "pairs of integers": (np.array([0, 2, 0]), np.array([1, 3, 1])),
    "a list": [0, 0, 1],
    "boolean rows": np.array([True, False, True]),
    "boolean": np.array([[True, False, True, True]] * 3),
    "integers and a range": (np.array([1, 1]), slice(1, 3)),
}
for label, index in INDICES.items():
    add(METHODS["__getitem__"], label, normal(3, 4), args=(index,))
add(METHODS["to"], "own device", normal(2, 3), args=("cpu",))
add(METHODS["to"], "own dtype", normal(2, 3), call=lambda x: METHODS["to"](x, x.dtype))
for shape in ((2, 3), ()):
    add(METHODS["clone"], f"{shape}", normal(*shape))
add(METHODS["cpu"], "matrix", normal(2, 3))

# --- products ---

for a, b in (
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 2)),
    ((2, 3), (3, 2)),
    ((1, 2), (2, 1)),
    ((2, 2, 3), (3, 2)),
    ((2, 3), (2, 3, 2)),
    ((2, 1, 2, 3), (3, 3, 1)),
    ((2, 2, 3), (3,)),
    ((3,), (2, 3, 2)),
    ((0, 3), (3, 2)),
    ((2, 0), (0, 2)),
):
    add(F.matmul, f"{a} @ {b}", normal(*a), normal(*b, what="b"))
    add(METHODS["__rmatmul__"], f"{a} @ {b}", normal(*b, what="b"), normal(*a))
add(F.matmul, "one tensor twice", normal(2, 2), call=lambda x: F.matmul(x, x))
for shape in ((3,), (4, 3), (2, 2, 3), (0, 3)):
    add(F.linear, f"{shape}", normal(*shape), normal(2, 3, what="weight"))
    bias = normal(2, what="bias")
    add(F.linear, f"{shape}, bias", normal(*shape), normal(2, 3, what="weight"), bias)

# --- convolution and pooling ---

CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "3x3": ((2, 2, 4, 3), (2, 2, 3, 3), {}),
    "3x3 padding 1": ((1, 2, 3, 4), (3, 2, 3, 3), {"padding": 1}),
    "3x3 stride 2 padding 1": ((2, 2, 4, 5), (2, 2, 3, 3), {"stride": 2, "padding": 1}),
    "1x1": ((2, 3, 2, 3), (2, 3, 1, 1), {}),
    "1x1 stride 2": ((1, 2, 4, 3), (2, 2, 1, 1), {"stride": 2}),
    "dilation 2": ((1, 2, 5, 5), (2, 2, 2, 2), {"dilation": 2}),
    "all asymmetric": (
        (1, 2, 5, 6),
        (2, 2, 2, 3),
        {"stride": (2, 3), "padding": (1, 2), "dilation": (3, 1)},
    ),
    "groups 2": ((1, 4, 3, 3), (4, 2, 2, 2), {"groups": 2, "padding": 1}),
    "groups 2, stride 2": ((1, 4, 4, 4), (2, 2, 3, 3), {"groups": 2, "stride": 2, "padding": 1}),
    "depthwise": ((1, 3, 3, 3), (3, 1, 2, 2), {"groups": 3}),
    "padding above the kernel": ((1, 1, 2, 2), (2, 1, 2, 2), {"padding": 3}),
    "same": ((1, 2, 3, 4), (2, 2, 3, 3), {"padding": "same"}),
    "same, even kernel": ((1, 1, 3, 4), (2, 1, 4, 2), {"padding": "same"}),
    "valid": ((1, 1, 4, 4), (1, 1, 2, 2), {"padding": "valid", "stride": 2}),
    "empty batch": ((0, 2, 4, 4), (2, 2, 3, 3), {}),
}
for label, (x, weight, settings) in CONVOLUTIONS.items():
    arrays = normal(*x), normal(*weight, what="weight")
    add(F.conv2d, label, *arrays, **settings)
    add(F.conv2d, f"{label}, bias", *arrays, normal(weight[0], what="bias"), **settings)

TRANSPOSED: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "2x2 stride 2": ((2, 2, 3, 2), (2, 3, 2, 2), {"stride": 2}),
    "3x3 padding 1": ((1, 2, 3, 3), (2, 2, 3, 3), {"padding": 1}),
    "output padding": (
        (1, 2, 2, 3),
        (2, 2, 3, 3),
        {"stride": (2, 3), "padding": 1, "output_padding": (1, 2)},
    ),
    "groups, dilation": ((1, 4, 2, 2), (4, 1, 2, 3), {"groups": 2, "dilation": (2, 1)}),
    "empty batch": ((0, 1, 2, 2), (1, 2, 2, 2), {}),
}
for label, (x, weight, settings) in TRANSPOSED.items():
    arrays = normal(*x), normal(*weight, what="weight")
    channels = weight[1] * settings.get("groups", 1)
    add(F.conv_transpose2d, label, *arrays, **settings)
    add(F.conv_transpose2d, f"{label}, bias", *arrays, normal(channels, what="b"), **settings)

for label, settings in {
    "2": {"kernel_size": 2},
    "3 stride 2 padding 1": {"kernel_size": 3, "stride": 2, "padding": 1},
    "(2, 3) stride 1": {"kernel_size": (2, 3), "stride": 1},
    "ceil": {"kernel_size": 2, "stride": 2, "ceil_mode": True},
}.items():
    add(F.max_pool2d, label, apart(1, 2, 5, 4), **settings)
    add(F.avg_pool2d, label, normal(1, 2, 5, 4), **settings)
add(F.max_pool2d, "dilation", apart(1, 1, 5, 5), kernel_size=2, stride=1, dilation=(2, 3))
add(F.max_pool2d, "empty batch", normal(0, 2, 4, 4), kernel_size=2)
add(
    F.max_pool2d,
    "with indices",
    apart(1, 2, 4, 4),
    call=lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
)
padded = {"kernel_size": 3, "stride": 2, "padding": 1}
add(F.avg_pool2d, "padding not counted", normal(1, 2, 5, 4), **padded, count_include_pad=False)
add(F.avg_pool2d, "own divisor", normal(1, 2, 5, 4), **padded, divisor_override=5)
for size in (1, (3, 2), (None, 1), (4, 6)):
    add(F.adaptive_avg_pool2d, f"{size}", normal(1, 2, 5, 4), args=(size,))

# --- normalisation ---

for shape in ((3, 2), (2, 2, 2, 3), (1, 2, 2, 2)):
    C = shape[1]
    affine = normal(C, what="weight"), normal(C, what="bias")

    def in_training(x: Any, weight: Any = None, bias: Any = None, **options: Any) -> Any:
        running = np.zeros(x.shape[1], x.dtype), np.ones(x.shape[1], x.dtype)
        there = (beside(r, x) for r in running)
        return F.batch_norm(x, *there, weight, bias, training=True, **options)

    def in_evaluation(x: Any, weight: Any = None, bias: Any = None) -> Any:
        channels = x.shape[1]
        running = normal(channels, what="mean"), positive(channels, what="var")
        return F.batch_norm(x, *(beside(r.astype(x.dtype), x) for r in running), weight, bias)

    add(F.batch_norm, f"{shape} training", normal(*shape), *affine, call=in_training)
    add(F.batch_norm, f"{shape} training, not affine", normal(*shape), call=in_training)
    add(F.batch_norm, f"{shape} evaluation", normal(*shape), *affine, call=in_evaluation)
    add(F.batch_norm, f"{shape} evaluation, not affine", normal(*shape), call=in_evaluation)
add(
    F.batch_norm,
    "bias only, large eps",
    normal(3, 2),
    normal(2, what="bias"),
    call=lambda x, bias: in_training(x, None, bias, eps=0.3),
)
add(
    F.batch_norm,
    "no running statistics, in evaluation",
    normal(3, 2),
    call=lambda x: F.batch_norm(x, None, None),
)

# --- softmax and losses ---

for shape, dim in (((4,), 0), ((2, 3), 1), ((2, 3), 0), ((2, 3, 2), 1), ((2, 1), -1), ((0, 3), 1)):
    add(F.softmax, f"{shape} {dim}", normal(*shape), dim=dim)
    add(F.log_softmax, f"{shape} {dim}", normal(*shape), dim=dim)
TARGET = np.array([2, 0, 2, 1])
for reduction in ("mean", "sum", "none"):
    add(F.cross_entropy, reduction, normal(4, 3), args=(TARGET,), reduction=reduction)
    both = normal(2, 3), normal(2, 3, what="target")
    add(F.mse_loss, reduction, *both, reduction=reduction)
add(F.cross_entropy, "one row", normal(1, 3), args=(TARGET[:1],))
add(F.cross_entropy, "one class", normal(2, 1), args=(np.array([0, 0]),))
add(F.mse_loss, "0-d", normal(), normal(what="target"))
WEIGHTS = positive(3, what="class weights")
PLANES = np.array([[[0, 2], [1, -100]], [[2, 2], [0, 1]]])  # (2, 2, 2), one of them ignored
for reduction in ("mean", "sum", "none"):
    options: dict[str, Any] = {"reduction": reduction}
    add(F.nll_loss, reduction, normal(4, 3), args=(TARGET,), **options)
    add(F.nll_loss, f"{reduction}, weights", normal(4, 3), args=(TARGET, WEIGHTS), **options)
    add(F.nll_loss, f"{reduction}, planes", normal(2, 3, 2, 2), args=(PLANES, WEIGHTS), **options)
    for smoothing in (0.0, 0.2):
        options["label_smoothing"] = smoothing
        label = f"{reduction}, smoothing {smoothing}"
        everything = (PLANES, WEIGHTS)
        add(F.cross_entropy, f"{label}, planes", normal(2, 3, 2, 2), args=everything, **options)
        shares = positive(4, 3, what="probabilities")
        add(F.cross_entropy, f"{label}, probabilities", normal(4, 3), shares, **options)
        add(
            F.cross_entropy,
            f"{label}, weights",
            normal(4, 3),
            args=(TARGET, WEIGHTS),
            ignore_index=2,
            **options,
        )
        add(F.cross_entropy, f"{label}, one row", normal(3), args=(np.array(1),), **options)
