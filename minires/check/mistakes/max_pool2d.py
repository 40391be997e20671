"""Mistakes in the backward of max_pool2d.

A window shares its gradient out among its places; every mistake is another share, or another place.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minires import functional as F
from minires.check.mistakes.bank import Grads, Mistake, Operation, Problem, Sample
from minires.check.mistakes.windows import Write, crop, scatter
from minires.device import Array

__all__ = ["MAX_POOL2D"]


def _windows(p: Problem, fill: float = -np.inf, stride: int = 0, start: int = 0) -> Array:
    """Windows of the padded image, (N, C, OH, OW, k, k); the first begins at ``start``."""
    k, P, S = p["kernel_size"], p["padding"], stride or p["stride"]
    edge = (P, P + start)
    padded = np.pad(p["x"], ((0, 0), (0, 0), edge, edge), constant_values=fill)
    (OH, OW), moved = p.grad_out.shape[2:], padded[:, :, start:, start:]
    return sliding_window_view(moved, (k, k), axis=(2, 3))[:, :, ::S, ::S][:, :, :OH, :OW]


def _first(windows: Array) -> Array:
    """1 at the first maximum of each window, 0 elsewhere."""
    flat = windows.reshape(*windows.shape[:4], -1)  # (N, C, OH, OW, k*k)
    places = np.arange(flat.shape[-1])
    return (places == flat.argmax(-1)[..., None]).astype(float).reshape(windows.shape)


def _last(windows: Array) -> Array:
    """1 at the last maximum of each window, 0 elsewhere."""
    return _first(windows[..., ::-1, ::-1])[..., ::-1, ::-1]


def _largest(windows: Array) -> Array:
    """1 at every place that equals the maximum of its window."""
    return (windows == windows.max((-2, -1), keepdims=True)).astype(float)


def _padded_grad(p: Problem, share: Array, stride: int = 0, write: Write = "add") -> Array:
    (H, W), P = p["x"].shape[2:], p["padding"]
    paid = share * p.grad_out[..., None, None]
    return scatter(paid, H + 2 * P, W + 2 * P, stride or p["stride"], write=write)


def _grad(p: Problem, share: Array, **how: Any) -> Grads:
    return {"x": crop(_padded_grad(p, share, **how), p["x"].shape[2:], p["padding"])}


def ties_split_evenly(p: Problem) -> Grads:
    equal = _largest(_windows(p))
    return _grad(p, equal / equal.sum((-2, -1), keepdims=True))


def ties_all_paid(p: Problem) -> Grads:
    return _grad(p, _largest(_windows(p)))


def last_of_ties(p: Problem) -> Grads:
    return _grad(p, _last(_windows(p)))


def assign_for_add(p: Problem, write: Write) -> Grads:
    """Each window writes all of its places, zeros as well."""
    return _grad(p, _first(_windows(p)), write=write)


def assign_to_winner(p: Problem, backwards: bool = False) -> Grads:
    """Each window writes to the place of its maximum and nowhere else."""
    N, C, OH, OW = p.grad_out.shape
    (H, W), P, S = p["x"].shape[2:], p["padding"], p["stride"]
    kh, kw = np.nonzero(_first(_windows(p)))[4:]  # of each window in reading order
    n, c, i, j = (index.ravel() for index in np.indices((N, C, OH, OW)))
    order = slice(None, None, -1 if backwards else 1)
    grad_x = np.zeros((N, C, H, W))
    rows, cols = i * S + kh - P, j * S + kw - P
    for place in list(zip(n, c, rows, cols, p.grad_out.ravel(), strict=True))[order]:
        grad_x[place[:4]] = place[4]
    return {"x": grad_x}


def gradient_to_padding(p: Problem) -> Grads:
    return _grad(p, _first(_windows(p, fill=0.0)))


def whole_window(p: Problem) -> Grads:
    return _grad(p, np.ones_like(_windows(p)))


def averaged(p: Problem) -> Grads:
    return _grad(p, np.full_like(_windows(p), 1.0 / p["kernel_size"] ** 2))


def averaged_over_image(p: Problem) -> Grads:
    inside = np.isfinite(_windows(p)).astype(float)
    return _grad(p, inside / inside.sum((-2, -1), keepdims=True))


def stride_forgotten(p: Problem) -> Grads:
    """The right winner, in a window laid in the wrong place."""
    return _grad(p, _first(_windows(p)), stride=1)


def stride_forgotten_in_reading(p: Problem) -> Grads:
    """The winner is looked for in the wrong window too."""
    return _grad(p, _first(_windows(p, stride=1)), stride=1)


def stride_forgotten_in_comparing(p: Problem) -> Grads:
    """The output of the forward pass is looked for in the wrong window."""
    return _grad(p, (_windows(p, stride=1) == p.out[..., None, None]).astype(float), stride=1)


def padding_forgotten(p: Problem) -> Grads:
    return {"x": crop(_padded_grad(p, _first(_windows(p))), p["x"].shape[2:], 0)}


def padding_left_on(p: Problem) -> Grads:
    return {"x": _padded_grad(p, _first(_windows(p)))}


def padding_forgotten_in_reading(p: Problem) -> Grads:
    share = _first(_windows(p, start=p["padding"]))
    return {"x": crop(_padded_grad(p, share), p["x"].shape[2:], 0)}


def minimum_for_maximum(p: Problem, fill: float) -> Grads:
    return _grad(p, _first(-_windows(p, fill=fill)))


def _samples(rng: np.random.Generator) -> list[Sample]:
    def image(*size: int) -> Array:
        return rng.standard_normal(size)

    ties = image(2, 2, 6, 4)
    ties[..., np.add.outer(np.arange(6), np.arange(4)) % 2 == 0] = 3.0  # like a chessboard
    overlapping_ties = image(2, 1, 5, 5)
    overlapping_ties[..., np.add.outer(np.arange(5), np.arange(5)) % 2 == 1] = 4.0
    negative = image(2, 2, 5, 6)
    negative[0] = -np.abs(negative[0]) - 0.1
    all_negative = -np.abs(image(1, 2, 4, 4)) - 0.1
    return [
        ((image(2, 2, 4, 6),), dict(kernel_size=2, stride=2)),
        ((ties,), dict(kernel_size=2, stride=2)),
        ((image(2, 2, 7, 5),), dict(kernel_size=3, stride=2)),
        ((overlapping_ties,), dict(kernel_size=3, stride=1)),
        ((image(2, 2, 5, 5),), dict(kernel_size=3, stride=1)),
        ((image(2, 2, 8, 6),), dict(kernel_size=2, stride=3)),
        ((negative,), dict(kernel_size=3, stride=2, padding=1)),
        ((all_negative,), dict(kernel_size=3, stride=1, padding=1)),
    ]


MAX_POOL2D = Operation(
    "max_pool2d",
    ("x",),
    F.max_pool2d,
    _samples,
    (
        Mistake(
            "ties_split_evenly",
            "the gradient is divided among equal maxima",
            ("x",),
            "Look at a window in which the largest value stands twice. This operation lets one of "
            "them win: which one, and what do the others get?",
            (ties_split_evenly,),
        ),
        Mistake(
            "ties_all_paid",
            "each of several equal maxima gets the whole gradient",
            ("x",),
            "Look at a window in which the largest value stands twice. Add up what the window "
            "hands out: is it what came in?",
            (ties_all_paid,),
        ),
        Mistake(
            "last_of_ties",
            "of equal maxima the last one gets the gradient",
            ("x",),
            "Look at a window in which the largest value stands twice. Which of them does the "
            "operation take, in reading order, and which does your comparison let through?",
            (last_of_ties,),
        ),
        Mistake(
            "assign_for_add",
            "overlapping windows overwrite one another",
            ("x",),
            "A pixel can be the largest of several windows at once. What does your code do with "
            "what the earlier window brought?",
            (
                assign_to_winner,
                partial(assign_to_winner, backwards=True),
                partial(assign_for_add, write="last window"),
                partial(assign_for_add, write="last tap"),
            ),
        ),
        Mistake(
            "gradient_to_padding",
            "the padding wins where a window holds only negative numbers",
            ("x",),
            "What value does your padding have, and what happens in a window at the border whose "
            "numbers are all smaller than it?",
            (gradient_to_padding,),
        ),
        Mistake(
            "whole_window",
            "every place of the window gets the gradient",
            ("x",),
            "If you nudge a number that is not the largest of its window, what happens to the "
            "output?",
            (whole_window,),
        ),
        Mistake(
            "averaged",
            "the gradient is shared out over the window, as if the mean had been taken",
            ("x",),
            "If you nudge a number that is not the largest of its window, what happens to the "
            "output? Which pooling would answer as your backward does?",
            (averaged, averaged_over_image),
        ),
        Mistake(
            "stride_forgotten",
            "the windows are laid one pixel apart, and the stride is forgotten",
            ("x",),
            "Where in the image does the window of output (i, j) begin? Forward and backward must "
            "agree about that.",
            (stride_forgotten, stride_forgotten_in_reading, stride_forgotten_in_comparing),
        ),
        Mistake(
            "padding_forgotten",
            "the padding is forgotten in grad_x, or taken off in the wrong place",
            ("x",),
            "The windows lie on the padded image. In which row of the padded image is row 0 of x?",
            (padding_forgotten, padding_left_on, padding_forgotten_in_reading),
        ),
        Mistake(
            "minimum_for_maximum",
            "the gradient goes to the smallest of the window",
            ("x",),
            "Print one window and the place that your backward picks in it. Is it the number that "
            "the forward pass handed on?",
            tuple(partial(minimum_for_maximum, fill=fill) for fill in (np.inf, -np.inf, 0.0)),
        ),
    ),
    defaults={"padding": 0},
)
