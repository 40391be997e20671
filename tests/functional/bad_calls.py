"""Wrong calls of every operation, each with its error and what the message must say.

A row is (operation, call, error, message): the message begins with the operation's name, a colon
and the first part, and goes on with the other parts, divided here by " ... ", in this order.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

import minires as mr
from minires.errors import DTypeError, ShapeError, UsageError

Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]
Row: TypeAlias = tuple[str, Call, type[Exception], str]


def call(*args: Any, **kwargs: Any) -> Call:
    return args, kwargs


X = object()  # where a good call has its x
x, whole = mr.ones(2, 3), mr.ones(2, 3, dtype=np.int64)
image, four = mr.ones(2, 3, 8, 8), mr.ones(4)
weight, turned = mr.ones(4, 3, 3, 3), mr.ones(3, 4, 3, 3)
labels = np.array([0, 1])

REDUCTIONS = ("sum", "mean", "var", "std", "amax", "amin", "logsumexp", "max", "min")
OPERATORS = {
    **{f"__{name}__": name for name in ("add", "sub", "mul", "pow", "matmul")},
    "__truediv__": "div",
}
OPERATORS |= {name.replace("__", "__r", 1): of for name, of in OPERATORS.items()}
# What a message begins with, where it is not the name of the operation.
BEGINS = {
    **OPERATORS,
    "__abs__": "abs",
    "__neg__": "neg",
    "__getitem__": "getitem",
    "view": "reshape",
}
BEGINS |= {"cpu": "to", "cuda": "to"}

# A call of each operation that is in order, once X is put in.
GOOD: dict[str, Call] = {
    **dict.fromkeys(("abs", "neg", "exp", "log", "sqrt", "relu", "leaky_relu"), call(X)),
    **dict.fromkeys(("sigmoid", "tanh", "gelu", "silu", "softplus", "dropout"), call(X)),
    **dict.fromkeys((*REDUCTIONS, "softmax", "log_softmax", "argmax", "argmin"), call(X)),
    **dict.fromkeys(("flatten", "squeeze", "clone", "cpu", "cuda", "__abs__", "__neg__"), call(X)),
    **dict.fromkeys(("add", "sub", "mul", "div", "pow", "maximum", "minimum"), call(X, x)),
    **dict.fromkeys((name for name in OPERATORS if name.startswith("__r")), call(x, X)),
    **dict.fromkeys((name for name in OPERATORS if not name.startswith("__r")), call(x, X)),
    **dict.fromkeys(("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"), call(X, 2)),
    **dict.fromkeys(("reshape", "view"), call(X, 6)),
    **dict.fromkeys(("cat", "stack"), call([x, X])),
    **dict.fromkeys(("cross_entropy", "nll_loss"), call(X, labels)),
    "mse_loss": call(X, x),
    "batch_norm": call(X, None, None, training=True),
    "broadcast_to": call(X, (2, 3)),
    "clamp": call(X, 0.0, 1.0),
    "conv2d": call(X, weight),
    "conv_transpose2d": call(X, turned),
    "expand": call(X, 2, 3),
    "linear": call(X, mr.ones(4, 3)),
    "matmul": call(X, mr.ones(3, 4)),
    "pad": call(X, (1, 1)),
    "permute": call(X, 1, 0),
    "to": call(X, "float64"),
    "transpose": call(X, 0, 1),
    "unsqueeze": call(X, 0),
    "where": call(np.ones((2, 3), bool), X, x),
}
IMAGES = ("conv2d", "conv_transpose2d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d")


def put(value: Any, into: Any) -> Any:
    """A good call with ``value`` for X."""
    if into is X:
        return value
    if isinstance(into, tuple | list):
        return type(into)(put(value, part) for part in into)
    if isinstance(into, dict):
        return {key: put(value, part) for key, part in into.items()}
    return into


def of_another_kind() -> list[Row]:
    """A list, nothing, text, and arrays of what are no real numbers, in the place of x."""
    rows: list[Row] = []
    for name, good in GOOD.items():
        shape = (2, 3, 8, 8) if name in IMAGES else (2, 3)
        mend = "mr.tensor(" if name != "where" else "mr.tensor(...)"
        for value, message in (
            ([[1.0, 2.0]], f" ... list ... {mend}"),
            (None, " ... NoneType"),
            ("abc", " ... str"),
            (np.ones(shape, complex), f" ... real numbers, not complex128 ... {shape} complex128"),
            (np.full(shape, "a"), f" ... real numbers, not <U1 ... {shape} <U1"),
        ):
            rows.append((name, put(value, good), DTypeError, message))
    return rows


def of_another_dtype() -> list[Row]:
    """Whole numbers where fractions are needed, booleans where numbers are, and mixtures."""
    rows: list[Row] = []
    floating = ("softmax", "log_softmax", "batch_norm", "nll_loss", "cross_entropy")
    for name in (*floating, "avg_pool2d", "adaptive_avg_pool2d"):
        given = mr.ones(2, 3, 8, 8, dtype=np.int64) if name in IMAGES else whole
        message = f" ... floating-point numbers, not int64 ... {given.shape} int64 ... Convert it"
        rows.append((name, put(given, GOOD[name]), DTypeError, message))
    for name in ("conv2d", "conv_transpose2d"):
        arrays = call(image.to("int64"), (weight if name == "conv2d" else turned).to("int64"))
        message = " ... must hold floating-point numbers, not int64 ... Convert it first"
        rows.append((name, arrays, DTypeError, message))
    for name in ("mean", "var", "std"):
        message = "needs floating numbers, not int64 ... .to('float32') ... x: (2, 3) int64"
        rows.append((name, call(whole), DTypeError, message))
    message = "input must hold floating-point numbers, not int64"
    rows.append(("mse_loss", call(whole, whole), DTypeError, message))
    for name in ("abs", "neg"):
        message = "x must hold numbers, not booleans ... x: (2, 3) bool ... x.to('float32')"
        rows.append((name, call(x > 0), DTypeError, message))
    for name in ("linear", "matmul", "mse_loss", "conv2d", "conv_transpose2d"):
        shape = (2, 3, 8, 8) if name in IMAGES else (2, 3)
        message = f"these must have one dtype ... {shape} float64 ... float32 ... .to('float32')"
        rows.append((name, put(np.ones(shape), GOOD[name]), DTypeError, message))
    for given in (call(x, np.zeros(3), np.ones(3)), call(x, None, None, np.ones(3))):
        rows.append(("batch_norm", given, DTypeError, "these must have one dtype ... float64"))
    return rows


def of_a_wrong_dim() -> list[Row]:
    """Dimensions that are not there, are named twice, or are no whole numbers."""
    rows: list[Row] = []
    arguments = {name: lambda dim: call(x, dim) for name in (*REDUCTIONS, "squeeze", "flatten")}
    one_dim = ("softmax", "log_softmax", "argmax", "argmin", "unsqueeze")
    arguments |= {name: lambda dim: call(x, dim) for name in one_dim}
    arguments |= {name: lambda dim: call([x, x], dim) for name in ("cat", "stack")}
    arguments["permute"] = lambda dim: call(x, (dim, 0))
    arguments["transpose"] = lambda dim: call(x, 0, dim)
    for name, given in arguments.items():
        out_of_range = "dim 4 is out of range for " + "32"[name not in ("stack", "unsqueeze")]
        rows.append((name, given(4), ShapeError, f"{out_of_range} dimensions"))
        rows.append((name, given(-5), ShapeError, "dim -5 is out of range for"))
        for wrong in ("a", 0.5):
            message = "takes whole numbers" if name == "permute" else "dim must be a whole number"
            rows.append((name, given(wrong), UsageError, f"{message}, not ... {wrong!r}"))
    for name in ("softmax", "log_softmax", "argmax", "argmin"):
        message = "dim must be a whole number, not (0, 1)"
        rows.append((name, call(x, (0, 1)), UsageError, message))
    for name in REDUCTIONS:
        message = "unexpected argument 'dims'; use dim= and keepdim="
        rows.append((name, call(x, dims=1), TypeError, message))
        if name not in ("var", "std"):  # where it is PyTorch's older "unbiased"
            rows.append((name, call(x, True), UsageError, "dim must be a whole number, not True"))
        if name in ("max", "min"):
            message = f"takes one dim, since it returns indices; use a{name}"
            rows.append((name, call(x, (0, 1)), UsageError, message))
            message = f"takes a dim; the {name} of two tensors is {name}imum(a, b)"
            rows.append((name, call(x, x), UsageError, message))
        else:
            rows.append((name, call(x, (1, -1)), ShapeError, "dim (1, -1) names a dimension twice"))
    for name in ("amax", "amin", "max", "min", "logsumexp", "argmax", "argmin"):
        message = f"there is no {name} of no numbers; got shape (0, 3)"
        rows.append((name, call(mr.zeros(0, 3), 0), ShapeError, message))
    return rows


def of_two_shapes() -> list[Row]:
    """Shapes that cannot be broadcast together."""
    fit = "b: (4,) float32 ... must be equal, or one of them 1"
    names = ("add", "sub", "mul", "div", "pow", "maximum", "minimum")
    rows: list[Row] = [
        (name, call(x, four), ShapeError, f"these shapes cannot ... a: (2, 3) float32    {fit}")
        for name in names
    ]
    for name in (*names, *(name for name, of in OPERATORS.items() if of != "matmul")):
        message = "complex is neither a real number nor an array or tensor"
        rows.append((name, call(x, 1j), DTypeError, message))
    return rows


def of_windows() -> list[Row]:
    """Windows, steps, borders and groups of convolution and pooling."""
    rows: list[Row] = []
    for name in ("max_pool2d", "avg_pool2d"):
        wrong: dict[str, tuple[Any, ...]] = {
            "kernel_size": (0, "2", 1.5, (1, 2, 3), None),
            "stride": (0, -1, "2"),
            "padding": (-1, "same", None),
        }
        if name == "max_pool2d":
            wrong["dilation"] = (0, 1.5)
        for setting, values in wrong.items():
            for value in values:
                given = call(image, **{"kernel_size": 2, setting: value})
                rows.append((name, given, UsageError, f"{setting} must be  ... not {value!r}"))
        rows += [
            (
                name,
                call(image, 9),
                ShapeError,
                "the kernel spans 9 x 9, but x with its padding is only 8 x 8 ... "
                "x: (2, 3, 8, 8) float32 ... Use a smaller kernel",
            ),
            (
                name,
                call(image, 2, padding=2),
                UsageError,
                "padding (2, 2) is more than half of kernel_size (2, 2) ... use less",
            ),
        ]
    for name, filters in (("conv2d", weight), ("conv_transpose2d", turned)):
        for setting, least, values in (
            ("stride", 1, (0, -1)),
            ("padding", 0, (-1, (0, -1))),
            ("dilation", 1, (0,)),
        ):
            for value in values:
                message = f"{setting} must be {least} or more, not "
                rows.append((name, call(image, filters, **{setting: value}), UsageError, message))
        for setting in ("stride", "padding", "dilation"):
            for value in (1.5, (1, 2, 3), None):
                message = f"{setting} must be a whole number or a pair of them, not {value!r}"
                rows.append((name, call(image, filters, **{setting: value}), UsageError, message))
        for value in (0, 1.5, "2", True):
            message = f"groups must be a whole number from 1 on, not {value!r}"
            rows.append((name, call(image, filters, groups=value), UsageError, message))
        rows += [
            (name, call(image, None), DTypeError, "weight must be a tensor ... not NoneType"),
            (name, call(image, filters, [1.0]), DTypeError, "bias must be a tensor ... not list"),
            (
                name,
                call(image, filters, mr.ones(2)),
                ShapeError,
                "bias must ... bias: (2,) float32",
            ),
        ]
    for name in IMAGES:
        message = "x must be (N, C, H, W), but has 3 axes ... x: (3, 8, 8) float32 ... x[None]"
        rows.append((name, put(image[0], GOOD[name]), ShapeError, message))
    return rows


def of_losses() -> list[Row]:
    """Targets, weights and reductions of the losses."""
    rows: list[Row] = []
    for name in ("cross_entropy", "nll_loss"):
        rows += [
            (
                name,
                call(x, np.zeros(3, int)),
                ShapeError,
                "input must be (N, classes, ...) ... input: (2, 3) float32    target: (3,) int64",
            ),
            (
                name,
                call(x, np.array([0, 3])),
                ShapeError,
                "target has classes 0 to 3, but input has 3 of them (0 to 2) ... target: (2,) int64"
                " ... labels count from 0",
            ),
            (name, call(x, np.array([0, -1])), ShapeError, "target has classes -1 to 0"),
            (
                name,
                call(x, np.array([0.0, 1.0])),
                DTypeError,
                "target must be integer class numbers ... target: (2,) float64 ... .to('int64')",
            ),
            (name, call(x, labels > 0), DTypeError, "target must be integer ... target: (2,) bool"),
            (name, call(x, None), DTypeError, "target must be class numbers, not NoneType"),
            (name, call(x, "ab"), DTypeError, "target must be class numbers, not str"),
            (
                name,
                call(x, labels, np.ones(2)),
                ShapeError,
                "weight must have one number for each of 3 classes ... weight: (2,) float64",
            ),
        ]
    for name in ("cross_entropy", "nll_loss", "mse_loss"):
        given = call(x, x if name == "mse_loss" else labels, reduction="avg")
        message = "reduction 'avg' is none of 'mean', 'sum' and 'none'"
        rows.append((name, given, UsageError, message))
    return rows


OF_MANY: list[Row] = [
    *of_another_kind(),
    *of_another_dtype(),
    *of_a_wrong_dim(),
    *of_two_shapes(),
    *of_windows(),
    *of_losses(),
]
