"""The exercises of notebook 05: pooling, and who gets the gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minires import kernels
from minires.device import Array
from minires.exercises.checking import (
    call,
    close,
    diagnosed,
    exercise,
    explanation,
    numbers,
    two,
)
from minires.kernels.geometry import check_pool2d, window_counts

__all__ = ["divisors", "global_average_gradient", "max_with_indices", "scatter", "ties"]


@exercise(
    "Max pooling with indices",
    "Go over n, c, oh, ow. The window begins at row oh * stride - padding of the image. Which of "
    "its places lie inside the image, and when does a later place beat an earlier one?",
)
def max_with_indices(attempt: Callable[..., Any]) -> str | None:
    """Write max pooling that says where each maximum was.

    The attempt takes an array x (N, C, H, W) and the whole numbers kernel_size, stride and padding,
    and returns two things of shape (N, C, OH, OW): the largest number of each window, and where it
    was, as the index h * W + w into the plane without padding.  Of equal numbers the first in
    reading order wins; the padding never does.
    """
    rng = np.random.default_rng(5)
    cases = [
        (rng.standard_normal((1, 2, 7, 5)), 3, 2, 0),
        (rng.standard_normal((2, 3, 6, 4)), 2, 2, 0),
        (rng.standard_normal((2, 1, 5, 6)) - 3.0, 3, 2, 1),
        (rng.integers(0, 3, (2, 2, 5, 5)).astype(float), 2, 1, 0),
        (rng.standard_normal((1, 2, 8, 6)), 2, 3, 0),
    ]
    for x, k, s, p in cases:
        what = f"for x of {x.shape}, kernel_size={k}, stride={s}, padding={p}: "
        found_out, found_indices = two(call(attempt, x, k, s, p), "(out, indices)")
        out, indices = kernels.max_pool2d(x, k, s, p)
        zeros = kernels.max_pool2d(_padded(x, p), k, s)[0]
        why = explanation(found_out, {"A padding of zeros wins where all is negative.": zeros})
        if np.shape(numbers(found_out, "out")) != out.shape:
            why = (
                "There are (size + 2 * padding - kernel_size) // stride + 1 windows along an axis."
            )
        close(found_out, out, f"{what}out", why=why)
        why = explanation(found_indices, _other_indices(x, k, s, p))
        close(found_indices, indices, f"{what}indices", rtol=0.0, why=why)
    return _remark_on_nan(attempt)


def _padded(x: Array, p: int, value: float = 0.0) -> Array:
    return np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)), constant_values=value)


def _other_indices(x: Array, k: int, s: int, p: int) -> dict[str, Array]:
    """Indices of plausible mistakes."""
    N, C, H, W = x.shape
    indices = kernels.max_pool2d(x, k, s, p)[1]
    planes = np.arange(N * C).reshape(N, C, 1, 1) * (H * W)
    h, w = np.divmod(indices, W)
    oh, ow = np.indices(indices.shape[2:])
    in_window = (h + p - oh * s) * k + (w + p - ow * s)
    flipped = kernels.max_pool2d(x[:, :, ::-1, ::-1], k, s, p)[1]  # same windows: they fit exactly
    fits = all((size + 2 * p - k) % s == 0 for size in (H, W))
    return {
        "These count from the corner of the window, and not from that of the image.": in_window,
        "These are places in the padded plane; the image has no padding.": (h + p) * (W + 2 * p)
        + (w + p),
        "These count on through all planes; each plane begins at 0 again.": indices + planes,
        "These count down the columns: the index is h * W + w.": w * H + h,
        "Of equal numbers the last wins here; it should be the first in reading order.": (
            H * W - 1 - flipped[:, :, ::-1, ::-1] if fits else np.empty(0)
        ),
    }


def _remark_on_nan(attempt: Callable[..., Any]) -> str | None:
    x = np.array([[[[2.0, 1.0], [np.nan, 4.0]]]])
    try:
        found = float(
            numbers(two(call(attempt, x, 2, 2, 0), "(out, indices)")[0], "out").ravel()[0]
        )
    except Exception:  # nobody asked for this, so it spoils nothing
        return None
    if np.isnan(found):
        return "A window with a NaN gives NaN with yours, as it does in the library."
    return f"A window of 2, 1, NaN, 4 gives {found:g} with yours; the last section is about that."


@exercise(
    "The way back of max pooling",
    "Begin with zeros of x_shape. Each window has one number of grad_out and one index; the index "
    "is a place in the plane of its own n and c. What if two windows name the same place?",
)
def scatter(attempt: Callable[..., Any]) -> None:
    """Write the backward pass of max pooling.

    The attempt takes grad_out and indices, both (N, C, OH, OW), and x_shape (N, C, H, W); it
    returns grad_x of that shape.
    """
    rng = np.random.default_rng(6)
    for x_shape in ((2, 3, 5, 4), (1, 2, 6, 7)):
        indices = kernels.max_pool2d(rng.standard_normal(x_shape), 3, 1)[1]
        grad_out = rng.standard_normal(indices.shape)
        found = call(attempt, grad_out, indices, x_shape)
        right = kernels.max_pool2d_grad_input(grad_out, indices, x_shape)
        why = explanation(found, _other_scatters(grad_out, indices, x_shape))
        close(found, right, f"grad_x of {x_shape}", why=why)

    def forward(x: Array, kernel_size: int, stride: int, padding: int = 0) -> Array:
        return kernels.max_pool2d(x, kernel_size, stride, padding)[0]

    def backward(
        grad_out: Array, x: Array, kernel_size: int, stride: int, padding: int = 0
    ) -> Array:
        indices = kernels.max_pool2d(x, kernel_size, stride, padding)[1]
        return numbers(call(attempt, grad_out, indices, x.shape), "grad_x")

    diagnosed(forward, backward, "max_pool2d")


def _other_scatters(grad_out: Array, indices: Array, x_shape: tuple[int, ...]) -> dict[str, Array]:
    N, C, H, W = x_shape
    first_plane, per_image, over, columns, wins = (np.zeros(x_shape) for _ in range(5))
    np.add.at(first_plane.reshape(-1), indices.ravel(), grad_out.ravel())
    for n, c, oh, ow in np.ndindex(indices.shape):
        g, place = grad_out[n, c, oh, ow], indices[n, c, oh, ow]
        per_image.reshape(N, -1)[n, place] += g
        over.reshape(N, C, -1)[n, c, place] = g
        columns[n, c, min(place % H, H - 1), min(place // H, W - 1)] += g
        wins.reshape(N, C, -1)[n, c, place] += 1.0
    averaged = kernels.max_pool2d_grad_input(grad_out, indices, x_shape) / np.maximum(wins, 1.0)
    flat = "An index is a place in the plane of its own image and channel"
    overlap = "Where windows overlap, one place can win several of them: their gradients add up. "
    return {
        f"{flat}; here all planes end up in the first one.": first_plane,
        f"{flat}; here all channels of an image end up in its first one.": per_image,
        overlap + "Here the last one overwrites the others. (a[i] += g does that too when an "
        "index stands in i twice; np.add.at adds.)": over,
        overlap + "Here they are averaged.": averaged,
        "The index is h * W + w, so the row is index // W and the column index % W.": columns,
    }


@exercise(
    "Ties on paper",
    "Take the four windows one after the other. In each, read row by row: which 5 comes first? "
    "That place gets the whole gradient of the window, on top of what it has already.",
)
def ties(attempt: Any) -> str:
    """Say where the gradient goes in the example of the notebook.

    x = [[2, 5, 5], [5, 1, 5], [0, 5, 3]], windows of 2 x 2 with stride 1, and grad_out =
    [[1, 10], [100, 1000]].  The attempt is grad_x, a table of 3 x 3.
    """
    x = np.array([[2.0, 5.0, 5.0], [5.0, 1.0, 5.0], [0.0, 5.0, 3.0]])
    grad_out = np.array([[1.0, 10.0], [100.0, 1000.0]])
    found = numbers(attempt, "grad_x")
    right, last, shared, every, over = (np.zeros((3, 3)) for _ in range(5))
    for i, j in np.ndindex(2, 2):
        window, g = x[i : i + 2, j : j + 2], grad_out[i, j]
        at = np.argwhere(window == window.max()) + np.array([i, j])
        right[tuple(at[0])] += g
        last[tuple(at[-1])] += g
        over[tuple(at[0])] = g
        for place in at:
            shared[tuple(place)] += g / len(at)
            every[tuple(place)] += g
    why = explanation(
        found,
        {
            "Here equal numbers share the gradient. That is one way to answer, and not the one of "
            "this library: the first in reading order takes it all.": shared,
            "Here each of the equal numbers gets the whole gradient, so that more comes out of a "
            "window than went in.": every,
            "Here the last of the equal numbers wins; it is the first in reading order.": last,
            "One place wins two windows. Their gradients add up.": over,
        },
    )
    close(found, right, "grad_x", why=why)
    return "The sum of grad_x is 1111, that of grad_out: no window hands out more than it gets."


@exercise(
    "How many numbers a window counts",
    "Window i covers the places from i * stride - padding up to, but not including, that plus "
    "kernel_size. The image lies from 0 to size, the padded one from -padding to size + padding.",
)
def divisors(attempt: Callable[..., Any]) -> None:
    """Write the divisor of average pooling along one axis.

    The attempt takes size, kernel_size, stride, padding, windows (how many there are) and
    count_include_pad, and returns a list of as many whole numbers: how many places each window
    counts.  What hangs over beyond the padding (ceil_mode) never counts; the padding counts if
    count_include_pad is True.
    """
    cases = [(6, 2, 2, 0), (5, 2, 2, 0), (7, 3, 2, 1), (6, 3, 2, 1), (8, 5, 3, 2), (4, 4, 3, 1)]
    for size, k, s, p in cases:
        window = check_pool2d("avg_pool2d", (1, 1, size, size), k, s, p, 1, True)
        count = window.out[0]
        starts = np.arange(count) * s - p
        stops = starts + k
        in_image = np.minimum(stops, size) - np.maximum(starts, 0)
        in_padded = np.minimum(stops, size + p) - starts
        for pad in (True, False):
            right = window_counts(window, (1, 1, size, size), pad)[0]
            found = call(attempt, size, k, s, p, count, pad)
            over = "Here what hangs over beyond the padding counts too"
            why = explanation(
                found,
                {
                    "With count_include_pad=True the padded zeros count like other numbers.": (
                        in_image if pad else np.empty(0)
                    ),
                    "With count_include_pad=False only places inside the image count.": (
                        np.empty(0) if pad else in_padded
                    ),
                    f"{over}; it never does.": np.full(count, k),
                    f"{over}, at the end; at the beginning you have cut off the padding.": (
                        stops - np.maximum(starts, 0)
                    ),
                    "At the end the padding counts too, up to size + padding.": (
                        np.minimum(stops, size) - starts if pad else np.empty(0)
                    ),
                },
            )
            what = f"counts for size={size}, kernel_size={k}, stride={s}, padding={p}, "
            close(found, right, f"{what}count_include_pad={pad}", rtol=0.0, why=why)


@exercise(
    "The gradient of global average pooling",
    "Each number of a plane is one of H * W that the mean is made of. If it grows by 1, by how "
    "much does the mean grow?",
)
def global_average_gradient(attempt: Callable[..., Any]) -> None:
    """Write the backward pass of the mean of each plane.

    The attempt takes grad_out (N, C) and x_shape (N, C, H, W), and returns grad_x of that shape.
    """
    rng = np.random.default_rng(7)
    for x_shape in ((2, 3, 4, 5), (4, 2, 7, 3)):
        N, C, H, W = x_shape
        grad_out = rng.standard_normal((N, C))
        whole = np.broadcast_to(grad_out[:, :, None, None], x_shape)
        found = call(attempt, grad_out, x_shape)
        corner = np.zeros(x_shape)
        corner[:, :, 0, 0] = grad_out
        why = explanation(
            found,
            {
                "Each place gets the whole gradient here: that is the way back of a sum. By how "
                "many numbers does the mean divide?": whole,
                "A plane has H * W numbers; here they are counted along one axis only.": whole / H,
                "A plane has H * W numbers; here they are counted along one axis, W.": whole / W,
                "The mean is over one plane, not over all channels.": whole / (C * H * W),
                "The mean is over one plane, not over the batch too.": whole / (N * H * W),
                "The mean is over one plane, not over the whole array.": whole / (N * C * H * W),
                "Every place of a plane has a part in the mean, not one alone.": corner,
            },
        )
        close(found, whole / (H * W), f"grad_x of {x_shape}", why=why)
