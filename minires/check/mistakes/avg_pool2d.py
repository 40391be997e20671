"""Mistakes in the backward of avg_pool2d."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from minires import functional as F
from minires.check.mistakes.bank import Grads, Mistake, Operation, Problem, Sample
from minires.check.mistakes.windows import Write, crop, scatter
from minires.device import Array

__all__ = ["AVG_POOL2D"]


def _real(p: Problem) -> Array:
    """How many places of each window lie on the image, (OH, OW)."""
    k, S, P = p["kernel_size"], p["stride"], p["padding"]
    rows, cols = (
        np.minimum(np.arange(places) * S + k, P + size) - np.maximum(np.arange(places) * S, P)
        for places, size in zip(p.grad_out.shape[2:], p["x"].shape[2:], strict=True)
    )
    return np.multiply.outer(rows, cols)


def _divisor(p: Problem) -> Array:
    return p["kernel_size"] ** 2 * np.ones(p.grad_out.shape[2:])


def _right_divisor(p: Problem) -> Array:
    return _divisor(p) if p["count_include_pad"] else _real(p)


def _padded_grad(p: Problem, divisor: Any, stride: int = 0, write: Write = "add") -> Array:
    (H, W), P, k = p["x"].shape[2:], p["padding"], p["kernel_size"]
    share = p.grad_out / divisor  # (N, C, OH, OW)
    paid = np.broadcast_to(share[..., None, None], (*share.shape, k, k))
    return scatter(paid, H + 2 * P, W + 2 * P, stride or p["stride"], write=write)


def _grad(p: Problem, divisor: Any, **how: Any) -> Grads:
    return {"x": crop(_padded_grad(p, divisor, **how), p["x"].shape[2:], p["padding"])}


def not_divided(p: Problem) -> Grads:
    return _grad(p, 1.0)


def assign_for_add(p: Problem, write: Write) -> Grads:
    return _grad(p, _right_divisor(p), write=write)


def padding_counted(p: Problem) -> Grads:
    return _grad(p, _divisor(p))


def padding_not_counted(p: Problem) -> Grads:
    return _grad(p, _real(p))


def stride_forgotten(p: Problem) -> Grads:
    return _grad(p, _right_divisor(p), stride=1)


def padding_forgotten(p: Problem) -> Grads:
    return {"x": crop(_padded_grad(p, _right_divisor(p)), p["x"].shape[2:], 0)}


def padding_left_on(p: Problem) -> Grads:
    return {"x": _padded_grad(p, _right_divisor(p))}


def divided_by_side(p: Problem) -> Grads:
    return _grad(p, p["kernel_size"])


def divided_by_side_of_whole(p: Problem) -> Grads:
    """Right where the padding is not counted."""
    return divided_by_side(p) if p["count_include_pad"] else {}


def _samples(rng: np.random.Generator) -> list[Sample]:
    def image(*size: int) -> tuple[Array]:
        return (rng.standard_normal(size),)

    return [
        (image(2, 2, 4, 6), dict(kernel_size=2, stride=2)),
        (image(2, 2, 7, 5), dict(kernel_size=3, stride=2)),
        (image(2, 2, 5, 5), dict(kernel_size=3, stride=1)),
        (image(2, 2, 8, 6), dict(kernel_size=2, stride=3)),
        (image(2, 2, 5, 6), dict(kernel_size=3, stride=2, padding=1)),
        (image(1, 2, 4, 5), dict(kernel_size=3, stride=1, padding=1)),
        (image(2, 2, 4, 5), dict(kernel_size=3, stride=1, padding=1, count_include_pad=False)),
    ]


AVG_POOL2D = Operation(
    "avg_pool2d",
    ("x",),
    F.avg_pool2d,
    _samples,
    (
        Mistake(
            "not_divided",
            "every place of the window gets the whole gradient, undivided",
            ("x",),
            "If one number of a window grows by 1, by how much does the mean of the window grow?",
            (not_divided,),
        ),
        Mistake(
            "assign_for_add",
            "overlapping windows overwrite one another",
            ("x",),
            "A pixel that several windows saw has a part in several outputs. What does your code "
            "do with what the earlier window brought?",
            tuple(partial(assign_for_add, write=write) for write in ("last window", "last tap")),
        ),
        Mistake(
            "padding_counted",
            "the padding is counted although count_include_pad is False",
            ("x",),
            "Look at a window in the corner. By how many numbers did the forward pass divide "
            "there?",
            (padding_counted,),
        ),
        Mistake(
            "padding_not_counted",
            "the padding is not counted although count_include_pad is True",
            ("x",),
            "With count_include_pad=True the zeros of the padding are numbers like the others. How "
            "many numbers has a window in the corner then?",
            (padding_not_counted,),
        ),
        Mistake(
            "stride_forgotten",
            "the windows are laid one pixel apart, and the stride is forgotten",
            ("x",),
            "Where in the image does the window of output (i, j) begin? Forward and backward must "
            "agree about that.",
            (stride_forgotten,),
        ),
        Mistake(
            "padding_forgotten",
            "the padding is forgotten in grad_x, or taken off in the wrong place",
            ("x",),
            "The windows lie on the padded image. In which row of the padded image is row 0 of x?",
            (padding_forgotten, padding_left_on),
        ),
        Mistake(
            "divided_by_side",
            "the gradient is divided by the side of the window",
            ("x",),
            "How many numbers are there in a window with k rows and k columns?",
            (divided_by_side, divided_by_side_of_whole),
        ),
    ),
    defaults={"padding": 0, "count_include_pad": True},
)
