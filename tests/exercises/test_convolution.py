"""What the checks of notebook 03 answer: to stubs, to right attempts, and to usual mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import kernels
from minires.exercises import convolution as check


def unfilled(*args: Any) -> Any: ...


@pytest.mark.parametrize("name", check.__all__)
@pytest.mark.parametrize("attempt", [unfilled, ...])
def test_the_stub_is_not_yet_and_gets_a_hint(name: str, attempt: Any) -> None:
    verdict = getattr(check, name)(attempt)
    assert verdict.status == "not yet"
    assert verdict.hint


# --- the size of the output ---


def by_counting(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    last_tap = dilation * (kernel - 1)
    return len(range(0, size + 2 * padding - last_tap, stride))


def test_sizes_may_be_computed_or_counted() -> None:
    assert check.output_size(by_counting).passed
    assert check.output_size(
        lambda n, k, s, p, d: np.floor((n + 2 * p - d * (k - 1) - 1) / s + 1)
    ).passed
    shape = (1, 1, 1, 1)
    assert check.output_size(
        lambda n, k, s, p, d: F.conv2d(
            mr.zeros(1, 1, n, n), mr.zeros(*shape[:2], k, k), stride=s, padding=p, dilation=d
        ).shape[2]
    ).passed


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda n, k, s, p, d: (n + p - d * (k - 1) - 1) // s + 1, "padding is counted once"),
        (lambda n, k, s, p, d: (n - d * (k - 1) - 1) // s + 1, "padding is left out"),
        (lambda n, k, s, p, d: (n + 2 * p - k) // s + 1, "dilation is left out"),
        (lambda n, k, s, p, d: (n + 2 * p - d * k) // s + 1, "only k - 1 gaps"),
        (lambda n, k, s, p, d: (n + 2 * p - d * (k - 1) - 1) // s, "One is missing"),
        (lambda n, k, s, p, d: n + 2 * p - d * (k - 1), "stride is left out"),
        (lambda n, k, s, p, d: -(-(n + 2 * p - d * (k - 1) - 1) // s) + 1, "rounded up"),
        (lambda n, k, s, p, d: (n + 2 * p - d * (k - 1) - 1) / s + 1, "not rounded"),
        (lambda n, k, s, p, d: (n + 2 * p - d * (k - 1)) // s, "At stride 1 this is right"),
        (lambda n, k, s, p, d: n, "should be 16, but is 32"),
        (lambda n, k, s, p, d: [n, n], "should be one number"),
    ],
)
def test_a_wrong_size_hears_what_it_overlooks(wrong: Callable[..., Any], told: str) -> None:
    verdict = check.output_size(wrong)
    assert verdict.status == "wrong"
    assert told in verdict.message


# --- the columns ---


def by_windows(x: np.ndarray, KH: int, KW: int, stride: int) -> list[Any]:
    """A window a column, with loops; a list of rows comes back."""
    _, H, W = x.shape
    windows = [
        x[:, i : i + KH, j : j + KW].ravel()
        for i in range(0, H - KH + 1, stride)
        for j in range(0, W - KW + 1, stride)
    ]
    return np.stack(windows, axis=1).tolist()


def by_view(x: np.ndarray, KH: int, KW: int, stride: int) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(x, (KH, KW), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]  # (C, OH, OW, KH, KW)
    return windows.transpose(0, 3, 4, 1, 2).reshape(len(x) * KH * KW, -1).astype(np.float32)


def test_columns_may_be_gathered_by_windows_or_by_a_view() -> None:
    assert check.columns(by_windows).passed
    assert check.columns(by_view).passed


def windows_of(x: np.ndarray, KH: int, KW: int, stride: int) -> np.ndarray:
    """(C, KH, KW, OH, OW)"""
    windows = np.lib.stride_tricks.sliding_window_view(x, (KH, KW), axis=(1, 2))
    return windows[:, ::stride, ::stride].transpose(0, 3, 4, 1, 2)


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ("ijckl", "Each window lies in a row"),
        ("klcij", "channel is the innermost index"),
        ("clkij", "Rows and columns of the kernel"),
        ("cklji", "ow should run fastest"),
    ],
)
def test_columns_in_another_order_hear_which(order: str, told: str) -> None:
    def attempt(x: np.ndarray, KH: int, KW: int, stride: int) -> np.ndarray:
        windows = np.einsum(f"cklij->{order}", windows_of(x, KH, KW, stride))
        first = 2 if order.startswith("ij") else 3  # so many axes make the rows
        return windows.reshape(int(np.prod(windows.shape[:first])), -1)

    verdict = check.columns(attempt)
    assert verdict.status == "wrong"
    assert told in verdict.message


def test_columns_without_the_stride_or_with_channels_side_by_side_hear_so() -> None:
    verdict = check.columns(lambda x, KH, KW, stride: by_view(x, KH, KW, 1))
    assert "stride 1" in verdict.message
    verdict = check.columns(
        lambda x, KH, KW, stride: np.concatenate(
            [by_view(channel[None], KH, KW, stride) for channel in x], axis=1
        )
    )
    assert "should have the shape" in verdict.message
    assert "channels lie side by side" in verdict.message


# --- the matrix product ---


def one_product(x: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    """All images in one product, in the order (C_out, N, OH, OW)."""
    KH, KW = weight.shape[2:]
    windows = np.stack([windows_of(image, KH, KW, stride) for image in x])
    N, C, _, _, OH, OW = windows.shape
    columns = windows.transpose(1, 2, 3, 0, 4, 5).reshape(C * KH * KW, -1)
    return (weight.reshape(len(weight), -1) @ columns).reshape(len(weight), N, OH, OW)


def test_a_product_of_all_images_and_a_tensor_pass() -> None:
    assert check.matrix_product(lambda x, w, s: one_product(x, w, s).swapaxes(0, 1)).passed
    assert check.matrix_product(lambda x, w, s: F.conv2d(mr.tensor(x), w, stride=s)).passed
    assert check.matrix_product(
        lambda x, w, s: kernels.im2col.conv2d(
            x.astype(np.float32), w.astype(np.float32), stride=s
        ).tolist()
    ).passed


def reshaped(x: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    out = one_product(x, weight, stride)
    return out.reshape(len(x), len(weight), *out.shape[2:])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (one_product, "first axis should be the image"),
        (reshaped, "at the wrong places"),
        (
            lambda x, w, s: kernels.conv2d(x, np.ascontiguousarray(w[:, :, ::-1, ::-1]), stride=s),
            "turned by half a turn",
        ),
        (lambda x, w, s: kernels.conv2d(x, w), "at stride 1"),
    ],
)
def test_a_wrong_product_hears_what_it_overlooks(wrong: Callable[..., Any], told: str) -> None:
    verdict = check.matrix_product(wrong)
    assert verdict.status == "wrong"
    assert told in verdict.message


# --- the gradients ---


def by_taps(grad_out: np.ndarray, x: np.ndarray) -> np.ndarray:
    OH, OW = grad_out.shape[2:]
    KH, KW = x.shape[2] - OH + 1, x.shape[3] - OW + 1
    grad = np.zeros((grad_out.shape[1], x.shape[1], KH, KW))
    for kh, kw in np.ndindex(KH, KW):
        met = x[:, :, kh : kh + OH, kw : kw + OW]
        grad[:, :, kh, kw] = np.einsum("noij,ncij->oc", grad_out, met)
    return grad


def test_the_gradient_by_the_weight_by_taps_or_as_a_convolution() -> None:
    def as_convolution(grad_out: np.ndarray, x: np.ndarray) -> Any:
        image, filters = (mr.tensor(a.swapaxes(0, 1)) for a in (x, grad_out))
        return F.conv2d(image, filters).transpose(0, 1)

    assert check.grad_weight(by_taps).passed
    assert check.grad_weight(as_convolution).passed
    assert check.grad_weight(lambda g, x: by_taps(g, x).astype(np.float32).tolist()).passed


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda g, x: by_taps(g, x)[:, :, ::-1, ::-1], "turned round by half a turn"),
        (lambda g, x: by_taps(g, x) / len(x), "divided by the size of the batch"),
        (lambda g, x: by_taps(g[-1:], x[-1:]), "last sample alone"),
        (lambda g, x: by_taps(g, x).swapaxes(0, 1), "should have the shape (4, 3, 2, 3)"),
        (lambda g, x: np.zeros((4, 3, 2, 2)), "The kernel is not square: KH = H - OH + 1"),
        (lambda g, x: np.zeros((4, 3)), "grad_out (2, 4, 4, 2), x (2, 3, 5, 4), stride 1"),
        (lambda g, x: kernels.conv2d(x, g), "first two axes of x and grad_out are not exchanged"),
    ],
)
def test_a_wrong_gradient_by_the_weight_is_named(wrong: Callable[..., Any], told: str) -> None:
    verdict = check.grad_weight(wrong)
    assert verdict.status == "wrong"
    assert told in verdict.message


def back_to_windows(
    grad_out: np.ndarray, weight: np.ndarray, padding: int, add: bool = True
) -> np.ndarray:
    (N, _, OH, OW), (_, C, KH, KW) = grad_out.shape, weight.shape
    grad = np.zeros((N, C, OH + KH - 1, OW + KW - 1))
    for i, j in np.ndindex(OH, OW):
        window = grad[:, :, i : i + KH, j : j + KW]
        brought = np.einsum("no,ockl->nckl", grad_out[:, :, i, j], weight)
        window[...] = window + brought if add else brought
    return grad[:, :, padding : grad.shape[2] - padding, padding : grad.shape[3] - padding]


def turned_kernel(
    grad_out: np.ndarray, weight: np.ndarray, padding: int, turn: bool = True, back: bool = True
) -> np.ndarray:
    rows, cols = (k - 1 - padding for k in weight.shape[2:])
    around = np.pad(grad_out, ((0, 0), (0, 0), (rows, rows), (cols, cols)))
    kernel = weight[:, :, ::-1, ::-1] if turn else weight
    return kernels.conv2d(around, np.ascontiguousarray(kernel.swapaxes(0, 1) if back else kernel))


def test_the_gradient_by_the_input_with_the_turned_kernel_or_by_windows() -> None:
    assert check.grad_input(turned_kernel).passed
    assert check.grad_input(back_to_windows).passed
    assert check.grad_input(
        lambda g, w, p: F.conv_transpose2d(mr.tensor(g), mr.tensor(w), padding=p)
    ).passed


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda g, w, p: turned_kernel(g, w, p, turn=False), "kernel the wrong way round"),
        (lambda g, w, p: back_to_windows(g, w, p, add=False), "overwrite one another"),
        (lambda g, w, p: turned_kernel(g, w, 0), "padding is forgotten"),
        (lambda g, w, p: turned_kernel(g, w, p, back=False), "Check in_channels"),
        (
            lambda g, w, p: turned_kernel(g, w, p, back=False),
            "channel axes of the weight are not exchanged",
        ),
        (lambda g, w, p: np.zeros((2, 3, 6, 5)), "The kernel is not square: KH and KW each"),
        (lambda g, w, p: np.zeros((2, 3, 4, 3)), "weight (4, 3, 3, 2), stride 1, padding 0"),
        (
            lambda g, w, p: np.zeros((2, 4, 6, 3)),
            "On the way back the weight leads from its first axis to its second",
        ),
        (lambda g, w, p: np.zeros((2, 3, 2, 1)), "What must stand around grad_out?"),
        (lambda g, w, p: np.zeros((2, 3, 4, 2)), "should have the shape (2, 3, 6, 3)"),
    ],
)
def test_a_wrong_gradient_by_the_input_is_named(wrong: Callable[..., Any], told: str) -> None:
    verdict = check.grad_input(wrong)
    assert verdict.status == "wrong"
    assert told in verdict.message.replace("\n", " ")
    assert "left out" not in verdict.message  # of the problems with a stride nothing is said
