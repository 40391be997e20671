"""Exercises of notebook 03: convolution as loops, as columns, and its two gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from minires import kernels
from minires.check import diagnose
from minires.errors import ShapeError
from minires.exercises.checking import Wrong, call, close, exercise, explanation, numbers
from minires.kernels.geometry import conv_output_size

__all__ = ["columns", "grad_input", "grad_weight", "matrix_product", "output_size"]

# Sums of at most some hundred products: a few of them rounded to float32 (6e-8) stay below this.
_RTOL = 1e-5

_SIZES = [  # size, kernel, stride, padding, dilation
    (32, 3, 1, 1, 1),
    (32, 3, 2, 1, 1),
    (7, 7, 1, 0, 1),
    (11, 2, 3, 0, 1),
    (10, 3, 1, 0, 2),
    (13, 3, 2, 2, 3),
    (9, 5, 4, 3, 2),
    (224, 7, 2, 3, 1),
]

_WRONG_SIZES: list[tuple[Callable[..., float], str]] = [
    (
        lambda n, k, s, p, d: (n + p - d * (k - 1) - 1) // s + 1,
        "The padding is counted once. Zeros are put on both ends of the axis.",
    ),
    (
        lambda n, k, s, p, d: (n - d * (k - 1) - 1) // s + 1,
        "The padding is left out. The windows lie on the padded image.",
    ),
    (
        lambda n, k, s, p, d: (n + 2 * p - k) // s + 1,
        "The dilation is left out. How many pixels lie between the first and the last tap?",
    ),
    (
        lambda n, k, s, p, d: (n + 2 * p - d * k) // s + 1,
        "The kernel is taken to span d*k pixels. Between k taps there are only k - 1 gaps; count "
        "them for k = 3 and d = 2.",
    ),
    (
        lambda n, k, s, p, d: (n + 2 * p - d * (k - 1) - 1) // s,
        "One is missing: the window at the very beginning, before any step is taken.",
    ),
    (
        lambda n, k, s, p, d: n + 2 * p - d * (k - 1),
        "The stride is left out. This is the number of outputs at stride 1.",
    ),
    (
        lambda n, k, s, p, d: -(-(n + 2 * p - d * (k - 1) - 1) // s) + 1,
        "The division is rounded up. A last window that hangs over the edge does not count.",
    ),
    (
        lambda n, k, s, p, d: (n + 2 * p - d * (k - 1) - 1) / s + 1,
        "The division is not rounded. A step that does not fit any more is not taken.",
    ),
    (
        lambda n, k, s, p, d: (n + 2 * p - d * (k - 1)) // s,
        "At stride 1 this is right. The first window needs no step: what remains of the axis "
        "after it is divided by the stride, and then the first window is added.",
    ),
]


@exercise(
    "The size of the output",
    "How many pixels do the taps of the kernel span, from the first to the last? How much of the "
    "padded axis is left when the first window has been laid down, and how many steps fit in?",
)
def output_size(attempt: Any) -> str:
    """How many outputs a convolution has along one axis.

    The attempt takes ``(size, kernel, stride, padding, dilation)``, whole numbers, and returns the
    number of outputs.
    """
    found = [float(_number(call(attempt, *case), case)) for case in _SIZES]
    right = [conv_output_size(*case) for case in _SIZES]
    if found == right:
        return "The same in all cases as mr.kernels.geometry.conv_output_size."
    known = (text for wrong, text in _WRONG_SIZES if found == [wrong(*c) for c in _SIZES])
    why = next(known, "")
    off = next(i for i, number in enumerate(found) if number != right[i])
    close(found[off], right[off], f"output_size{_SIZES[off]}", rtol=0.0, why=why)
    raise Wrong(why)


def _number(value: Any, case: tuple[int, ...]) -> np.ndarray:
    array = numbers(value, f"output_size{case}")
    if array.size != 1:
        raise Wrong(f"output_size{case} should be one number, but has the shape {array.shape}.")
    return array.reshape(())


@exercise(
    "The columns of an image",
    "A row of the result belongs to one tap (c, kh, kw) of the kernel. Which pixels does this tap "
    "meet, for all outputs? They are a slice of channel c, one that begins at (kh, kw).",
)
def columns(attempt: Any) -> str:
    """The windows of an image as the columns of a matrix (im2col).

    The attempt takes ``(x, KH, KW, stride)``, with x an image (C, H, W), and returns the matrix
    (C*KH*KW, OH*OW): rows in the order of the weight (c, kh, kw), columns in that of the outputs
    (oh, ow). There is no padding.
    """
    rng = np.random.default_rng(31)
    for shape, KH, KW, stride in [
        ((1, 4, 5), 2, 2, 1),
        ((2, 5, 4), 3, 2, 1),
        ((3, 6, 5), 2, 3, 1),
        ((2, 7, 6), 3, 3, 2),
    ]:
        x = rng.standard_normal(shape)
        right = _columns(x, KH, KW, stride)
        C, (OH, OW) = shape[0], _size(shape, KH, KW, stride)
        what = f"columns of an image {shape}, kernel {KH} x {KW}, stride {stride}: the matrix"
        found = numbers(call(attempt, x, KH, KW, stride), what)
        known = [
            (right.T, "Each window lies in a row. Here it should lie in a column."),
            (
                right.reshape(C, KH * KW, -1).swapaxes(0, 1).reshape(right.shape),
                "The channel is the innermost index of a row here. The weight (C, KH, KW) has "
                "it outermost.",
            ),
            (
                right.reshape(C, KH, KW, -1).swapaxes(1, 2).reshape(right.shape),
                "Rows and columns of the kernel are in each other's place: kw should run fastest.",
            ),
            (
                right.reshape(-1, OH, OW).swapaxes(1, 2).reshape(right.shape),
                "The outputs are in the order of the columns: ow should run fastest.",
            ),
            (
                _columns(x, KH, KW, 1),
                "These are the windows at stride 1. The next window begins `stride` further.",
            ),
            (
                np.concatenate(list(right.reshape(C, KH * KW, -1)), axis=1),
                "The channels lie side by side. One window holds the pixels of all channels: "
                "they belong in one column, one above the other.",
            ),
        ]
        close(found, right, what, rtol=_RTOL, why=explanation(found, known, rtol=_RTOL))
    return "Each pixel is copied once for every window that it lies in."


@exercise(
    "Convolution as one matrix product",
    "One filter is one row of a matrix, one window one column. If you take all images at once, "
    "look at the order of the axes that the product has, before you reshape it.",
)
def matrix_product(attempt: Any) -> str:
    """conv2d by columns.

    The attempt takes ``(x, weight, stride)``, x (N, C, H, W) and weight (C_out, C, KH, KW), and
    returns (N, C_out, OH, OW). There is no padding.
    """
    rng = np.random.default_rng(32)
    for x_shape, weight_shape, stride in [
        ((1, 1, 4, 5), (1, 1, 2, 2), 1),
        ((2, 3, 5, 4), (4, 3, 3, 2), 1),
        ((4, 2, 5, 5), (4, 2, 2, 2), 1),
        ((3, 2, 7, 6), (2, 2, 3, 3), 2),
    ]:
        x, weight = rng.standard_normal(x_shape), rng.standard_normal(weight_shape)
        right = kernels.conv2d(x, weight, stride=stride)
        what = f"conv2d of x {x_shape} with weight {weight_shape}, stride {stride}, padding 0: "
        what += "the output"
        found = numbers(call(attempt, x, weight, stride), what)
        turned = np.ascontiguousarray(weight[:, :, ::-1, ::-1])
        mixed = np.ascontiguousarray(right.swapaxes(0, 1)).reshape(right.shape)
        known = [
            (
                right.swapaxes(0, 1),
                "The first axis should be the image, the second the channel.",
            ),
            (
                mixed,
                "The numbers are right, and at the wrong places: a product (C_out, N*OH*OW) "
                "cannot be reshaped to (N, C_out, OH, OW); it needs its axes exchanged.",
            ),
            (
                kernels.conv2d(x, turned, stride=stride),
                "The kernel is turned by half a turn. That is what mathematicians call a "
                "convolution; networks do without.",
            ),
            (
                kernels.conv2d(x, weight),
                "This is the convolution at stride 1. The next window begins `stride` further.",
            ),
        ]
        close(found, right, what, rtol=_RTOL, why=explanation(found, known, rtol=_RTOL))
    return "The same numbers as mr.kernels.conv2d."


@exercise(
    "The gradient by the weight",
    "Output (i, j) multiplied weight[o, c, kh, kw] by x[n, c, i + kh, j + kw]. So what does this "
    "one weight get from this output, and over what do you add up? For one tap, all pixels that "
    "it met are one slice of x.",
)
def grad_weight(attempt: Any) -> str:
    """The gradient of conv2d by its weight, at stride 1 without padding.

    The attempt takes ``(grad_out, x)``, grad_out (N, C_out, OH, OW) and x (N, C, H, W), and returns
    the gradient (C_out, C, KH, KW), with KH = H - OH + 1 and KW = W - OW + 1.
    """
    rng = np.random.default_rng(33)
    x, grad_out = rng.standard_normal((2, 3, 5, 4)), rng.standard_normal((2, 4, 4, 2))
    what = f"grad_weight of grad_out {grad_out.shape}, x {x.shape}, stride 1, padding 0,"
    found = _call(
        attempt,
        (grad_out, x),
        what,
        "The first two axes of x and grad_out are not exchanged: the sum is over the images, so\n"
        "they have to stand where conv2d has its channels.",
    )
    _shape(found, (4, 3, 2, 3), what, "KH = H - OH + 1 and KW = W - OW + 1.")

    def forward(x: Any, weight: Any, bias: Any) -> Any:
        return kernels.conv2d(x, weight, bias)

    def backward(grad_out: Any, x: Any, weight: Any, bias: Any) -> Any:
        grad_x = kernels.conv2d_grad_input(grad_out, weight, x.shape)
        by_weight = numbers(call(attempt, grad_out, x), "grad_weight")
        return grad_x, by_weight, grad_out.sum(axis=(0, 2, 3))

    _diagnosed(forward, backward)
    return "The same numbers as mr.kernels.conv2d_grad_weight."


@exercise(
    "The gradient by the input",
    "Follow one pixel. Output i read it through tap kh if i + kh - padding is its row. Walk to the "
    "next output: in which direction do you move through the kernel? And how many zeros must "
    "stand around grad_out, so that the pixel at the corner finds its outputs?",
)
def grad_input(attempt: Any) -> str:
    """The gradient of conv2d by its input, at stride 1.

    The attempt takes ``(grad_out, weight, padding)``, grad_out (N, C_out, OH, OW) and weight
    (C_out, C, KH, KW), and returns the gradient (N, C, H, W), with H = OH + KH - 1 - 2*padding and
    W likewise.
    """
    rng = np.random.default_rng(34)
    weight, grad_out = rng.standard_normal((4, 3, 3, 2)), rng.standard_normal((2, 4, 4, 2))
    what = f"grad_input of grad_out {grad_out.shape}, weight {weight.shape}, stride 1, padding 0,"
    found = _call(
        attempt,
        (grad_out, weight, 0),
        what,
        "The two channel axes of the weight are not exchanged: the gradient has C_out channels.",
    )
    if found.shape == (2, 4, 6, 3):
        raise Wrong(
            f"{what} has 4 channels, those of grad_out; it should have 3, those of x.\nOn the "
            "way back the weight leads from its first axis to its second."
        )
    if found.shape == (2, 3, 2, 1):
        raise Wrong(
            f"{what} should have the shape (2, 3, 6, 3), but has (2, 3, 2, 1).\nA convolution "
            "makes an image smaller; here it has to become larger. What must stand around grad_out?"
        )
    _shape(found, (2, 3, 6, 3), what, "KH and KW each need their own border.")

    def forward(x: Any, weight: Any, bias: Any, padding: int = 0) -> Any:
        return kernels.conv2d(x, weight, bias, padding=padding)

    def backward(grad_out: Any, x: Any, weight: Any, bias: Any, padding: int = 0) -> Any:
        by_weight = kernels.conv2d_grad_weight(grad_out, x, weight.shape, padding=padding)
        by_input = numbers(call(attempt, grad_out, weight, padding), "grad_input")
        return by_input, by_weight, grad_out.sum(axis=(0, 2, 3))

    _diagnosed(forward, backward)
    return "The same numbers as mr.kernels.conv2d_grad_input."


def _diagnosed(forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
    """The known mistakes by name, and no word on problems with a stride, which nobody asked for."""
    found = diagnose(forward, backward, "conv2d")
    if not found.correct:
        remarks = tuple(remark for remark in found.remarks if "left out" not in remark)
        raise Wrong(str(replace(found, remarks=remarks)))


def _columns(x: np.ndarray, KH: int, KW: int, stride: int) -> np.ndarray:
    """Each filter is 1 at one tap and 0 elsewhere, and so reads off one row of the columns."""
    K = len(x) * KH * KW
    picks = np.eye(K).reshape(K, len(x), KH, KW)
    picked: np.ndarray = kernels.conv2d(x[None], picks, stride=stride)
    return picked.reshape(K, -1)


def _size(shape: tuple[int, ...], KH: int, KW: int, stride: int) -> tuple[int, int]:
    H, W = shape[1:]
    return conv_output_size(H, KH, stride, 0, 1), conv_output_size(W, KW, stride, 0, 1)


def _call(attempt: Any, args: tuple[Any, ...], what: str, on_channels: str) -> np.ndarray:
    """The numbers that the attempt returns; what to look at if the library refuses the channels."""
    try:
        return numbers(call(attempt, *args), what)
    except ShapeError as error:
        why = f"\n{on_channels}" if "channels" in str(error) else ""
        said = f"{error}\nThat was {what.rstrip(',')}.{why}"
        raise ShapeError(said).with_traceback(error.__traceback__) from error


def _shape(found: np.ndarray, shape: tuple[int, ...], what: str, not_square: str) -> None:
    """Wrong unless the shape is right; ``not_square`` is said if one axis of the image is off."""
    why = ""
    right = [one == other for one, other in zip(found.shape, shape, strict=False)]
    if found.ndim == 4 and right in ([True, True, True, False], [True, True, False, True]):
        why = f"\nThe kernel is not square: {not_square}"
    if found.shape != shape:
        raise Wrong(f"{what} should have the shape {shape}, but has {found.shape}.{why}")
