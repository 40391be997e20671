"""max_pool2d and avg_pool2d."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minires.autograd import Function
from tests.check.plants.registry import planted

MAX = (
    "ties_split_evenly",
    "ties_all_paid",
    "last_of_ties",
    "assign_for_add",
    "gradient_to_padding",
    "whole_window",
    "averaged",
    "stride_forgotten",
    "padding_forgotten",
    "minimum_for_maximum",
)
AVG = (
    "not_divided",
    "assign_for_add",
    "padding_counted",
    "padding_not_counted",
    "stride_forgotten",
    "padding_forgotten",
    "divided_by_side",
)


def padded(x: np.ndarray, p: int, value: float = 0.0) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)), constant_values=value)


def windows(image: np.ndarray, k: int, s: int) -> np.ndarray:
    return sliding_window_view(image, (k, k), axis=(2, 3))[:, :, ::s, ::s]


def shares(window: np.ndarray, slip: str) -> np.ndarray:
    """What part of the gradient each element of a window gets."""
    flat = window.ravel()
    best = (flat == flat.max()).astype(float)
    if slip == "ties_split_evenly":
        part = best / best.sum()
    elif slip == "ties_all_paid":
        part = best
    elif slip == "whole_window":
        part = np.ones(flat.size)
    elif slip == "averaged":
        part = np.full(flat.size, 1 / flat.size)
    else:
        part = np.zeros(flat.size)
        if slip == "last_of_ties":
            part[np.flatnonzero(best)[-1]] = 1.0
        elif slip == "minimum_for_maximum":
            part[np.argmin(np.where(np.isinf(flat), np.inf, flat))] = 1.0
        else:
            part[np.argmax(flat)] = 1.0
    return part.reshape(window.shape)


@planted("max_pool2d", "loops", *MAX)
def max_pool_loops(slip: str) -> Any:
    """Window after window."""

    def forward(x, kernel_size, stride, padding=0):
        k, image = kernel_size, padded(x, padding, -np.inf)
        size = (image.shape[2] - k) // stride + 1, (image.shape[3] - k) // stride + 1
        out = np.zeros((*x.shape[:2], *size))
        for n, c, i, j in np.ndindex(out.shape):
            row, column = i * stride, j * stride
            out[n, c, i, j] = image[n, c, row : row + k, column : column + k].max()
        return out

    def backward(grad_out, x, kernel_size, stride, padding=0):
        k, (H, W) = kernel_size, x.shape[2:]
        image = padded(x, padding, 0.0 if slip == "gradient_to_padding" else -np.inf)
        grad = np.zeros(image.shape)
        step = 1 if slip == "stride_forgotten" else stride
        for n, c, i, j in np.ndindex(grad_out.shape):
            row, column = i * stride, j * stride
            part = shares(image[n, c, row : row + k, column : column + k], slip)
            row, column = i * step, j * step
            for a, b in np.argwhere(part):
                if slip == "assign_for_add":
                    grad[n, c, row + a, column + b] = part[a, b] * grad_out[n, c, i, j]
                else:
                    grad[n, c, row + a, column + b] += part[a, b] * grad_out[n, c, i, j]
        start = 0 if slip == "padding_forgotten" else padding
        return grad[:, :, start : start + H, start : start + W]

    return forward, backward


@planted(
    "max_pool2d",
    "a window at a time",
    "assign_for_add",
    "stride_forgotten",
    "padding_forgotten",
    "minimum_for_maximum",
)
def max_pool_window_at_a_time(slip: str) -> Any:
    """The loops again, with whole windows written, and looked for anew on the way back."""

    def forward(x, kernel_size, stride, padding=0):
        return windows(padded(x, padding, -np.inf), kernel_size, stride).max(axis=(4, 5))

    def backward(grad_out, x, kernel_size, stride, padding=0):
        k, image = kernel_size, padded(x, padding, -np.inf)
        grad = np.zeros_like(image)
        step = 1 if slip == "stride_forgotten" else stride
        for n, c, i, j in np.ndindex(grad_out.shape):
            where = n, c, slice(i * step, i * step + k), slice(j * step, j * step + k)
            window, one_hot = image[where], np.zeros((k, k))
            place = window.argmin() if slip == "minimum_for_maximum" else window.argmax()
            one_hot.flat[place] = 1
            if slip == "assign_for_add":
                grad[where] = one_hot * grad_out[n, c, i, j]
            else:
                grad[where] += one_hot * grad_out[n, c, i, j]
        if slip == "padding_forgotten":
            return (grad,)
        return (grad[:, :, padding : x.shape[2] + padding, padding : x.shape[3] + padding],)

    return forward, backward


@planted("max_pool2d", "vectorised", *MAX)
def max_pool_vectorised(slip: str) -> Any:
    """A mask over all windows at once, put back tap after tap."""

    def forward(x, kernel_size, stride, padding=0):
        out = windows(padded(x, padding, -np.inf), kernel_size, stride).max(axis=(4, 5))
        return out, dict(x=x, k=kernel_size, s=stride, p=padding)

    def backward(grad_out, cache):
        x, k, s, p = cache["x"], cache["k"], cache["s"], cache["p"]
        image = padded(x, p, 0.0 if slip == "gradient_to_padding" else -np.inf)
        flat = windows(image, k, s).reshape(*grad_out.shape, k * k)
        best = flat == flat.max(axis=-1, keepdims=True)
        first = best & (np.cumsum(best, axis=-1) == 1)
        mask = first.astype(float)
        if slip == "ties_split_evenly":
            mask = best / best.sum(axis=-1, keepdims=True)
        if slip == "ties_all_paid":
            mask = best.astype(float)
        if slip == "last_of_ties":
            mask = np.eye(k * k)[k * k - 1 - flat[..., ::-1].argmax(axis=-1)]
        if slip == "minimum_for_maximum":
            mask = np.eye(k * k)[np.where(flat == -np.inf, np.inf, flat).argmin(axis=-1)]
        if slip in ("whole_window", "averaged"):
            mask = np.ones(flat.shape) / (k * k if slip == "averaged" else 1)
        paid = grad_out[..., None] * mask
        grad = np.zeros_like(image)
        step = 1 if slip == "stride_forgotten" else s
        OH, OW = grad_out.shape[2:]
        for tap, (a, b) in enumerate(np.ndindex(k, k)):
            rows = slice(a, a + step * (OH - 1) + 1, step)
            columns = slice(b, b + step * (OW - 1) + 1, step)
            if slip == "assign_for_add":
                grad[:, :, rows, columns] = paid[..., tap]
            else:
                grad[:, :, rows, columns] += paid[..., tap]
        start = 0 if slip == "padding_forgotten" else p
        return grad[:, :, start : start + x.shape[2], start : start + x.shape[3]]

    return forward, backward


@planted("max_pool2d", "function", *MAX)
def max_pool_function(slip: str) -> Any:
    """Everywhere a weight for (element of the window, place), added up by index."""

    class MaxPool2d(Function):
        @staticmethod
        def forward(ctx, x, *, kernel_size, stride, padding=0):
            ctx.save(x=x)
            ctx.save_constant(how=(kernel_size, stride, padding))
            out = windows(padded(x, padding, -np.inf), kernel_size, stride).max(axis=(4, 5))
            return out

        @staticmethod
        def backward(ctx, grad_out):
            x, (k, s, p) = ctx.saved("x"), ctx.saved("how")
            image = padded(x, p, 0.0 if slip == "gradient_to_padding" else -np.inf)
            grad = np.zeros_like(image)
            seen = windows(image, k, s).reshape(*grad_out.shape, -1)
            key = np.argmax(seen, axis=-1)
            if slip == "last_of_ties":
                key = k * k - 1 - np.argmax(np.flip(seen, -1), axis=-1)
            if slip == "minimum_for_maximum":
                key = np.argmax(np.where(np.isinf(seen), seen, -seen), axis=-1)
            n, c, i, j = np.indices(grad_out.shape)
            step = 1 if slip == "stride_forgotten" else s
            everyone = {
                "ties_split_evenly": lambda at, best: (
                    (at == best) / (seen == best[..., None]).sum(-1)
                ),
                "ties_all_paid": lambda at, best: at == best,
                "whole_window": lambda at, best: 1.0,
                "averaged": lambda at, best: 1 / k**2,
            }.get(slip)
            if everyone is not None:
                for place in range(k * k):
                    where = n, c, i * step + place // k, j * step + place % k
                    share = everyone(seen[..., place], seen.max(-1))
                    np.add.at(grad, where, grad_out * share)
            elif slip == "assign_for_add":
                grad[n, c, i * step + key // k, j * step + key % k] += grad_out  # once each
            else:
                np.add.at(grad, (n, c, i * step + key // k, j * step + key % k), grad_out)
            start = 0 if slip == "padding_forgotten" else p
            return {"x": grad[:, :, start:, start:][:, :, : x.shape[2], : x.shape[3]]}

    return MaxPool2d.forward, MaxPool2d.backward


def counts(x: np.ndarray, k: int, s: int, p: int, include: bool) -> np.ndarray:
    """How many numbers each window's sum is divided by."""
    ones = np.ones_like(padded(x, p)) if include else padded(np.ones_like(x), p)
    return windows(ones, k, s).sum(axis=(4, 5))


@planted("avg_pool2d", "loops", *AVG)
def avg_pool_loops(slip: str) -> Any:
    """Window after window."""

    def forward(x, kernel_size, stride, padding=0, count_include_pad=True):
        N, C, H, W = x.shape
        OH = (H + 2 * padding - kernel_size) // stride + 1
        OW = (W + 2 * padding - kernel_size) // stride + 1
        out = np.zeros((N, C, OH, OW))
        for i in range(OH):
            for j in range(OW):
                top, left = i * stride - padding, j * stride - padding
                rows = slice(max(top, 0), min(top + kernel_size, H))
                columns = slice(max(left, 0), min(left + kernel_size, W))
                seen = x[:, :, rows, columns]
                count = kernel_size**2 if count_include_pad else seen[0, 0].size
                out[:, :, i, j] = seen.sum(axis=(2, 3)) / count
        return out

    def backward(grad_out, x, kernel_size, stride, padding=0, count_include_pad=True):
        k, (H, W) = kernel_size, x.shape[2:]
        grad = np.zeros_like(padded(x, padding))
        step = 1 if slip == "stride_forgotten" else stride
        for i in range(grad_out.shape[2]):
            for j in range(grad_out.shape[3]):
                top, left = i * stride - padding, j * stride - padding
                real = (min(top + k, H) - max(top, 0)) * (min(left + k, W) - max(left, 0))
                count = k * k if count_include_pad else real
                if slip == "padding_counted":
                    count = k * k
                if slip == "padding_not_counted":
                    count = real
                if slip == "divided_by_side" and count_include_pad:
                    count = k
                if slip == "not_divided":
                    count = 1
                share = grad_out[:, :, i, j, None, None] / count
                row, column = i * step, j * step
                if slip == "assign_for_add":
                    grad[:, :, row : row + k, column : column + k] = share
                else:
                    grad[:, :, row : row + k, column : column + k] += share
        start = 0 if slip == "padding_forgotten" else padding
        return grad[:, :, start : start + H, start : start + W]

    return forward, backward


@planted("avg_pool2d", "vectorised", *AVG)
def avg_pool_vectorised(slip: str) -> Any:
    """Tap after tap."""

    def forward(x, kernel_size, stride, padding=0, count_include_pad=True):
        sums = windows(padded(x, padding), kernel_size, stride).sum(axis=(4, 5))
        how = kernel_size, stride, padding, count_include_pad
        return sums / counts(x, *how), (x, how)

    def backward(grad_out, cache):
        x, (k, s, p, include) = cache
        if slip == "padding_counted":
            include = True
        if slip == "padding_not_counted":
            include = False
        count = counts(x, k, s, p, include)
        if slip == "divided_by_side" and include:
            count = k
        if slip == "not_divided":
            count = 1
        share = grad_out / count
        grad = np.zeros_like(padded(x, p))
        step, (OH, OW) = 1 if slip == "stride_forgotten" else s, grad_out.shape[2:]
        for a, b in np.ndindex(k, k):
            where = np.s_[:, :, a : a + step * OH : step, b : b + step * OW : step]
            if slip == "assign_for_add":
                grad[where][:, :, :OH, :OW] = share
            else:
                grad[where][:, :, :OH, :OW] += share
        start = 0 if slip == "padding_forgotten" else p
        return grad[:, :, start : start + x.shape[2], start : start + x.shape[3]]

    return forward, backward


@planted("avg_pool2d", "function", *AVG)
def avg_pool_function(slip: str) -> Any:
    """The sums over windows as two matrices, one from each side: rows @ x @ columns.T."""

    def matrix(size, k, s, p):
        """Row i has a one at every place of window i."""
        start = np.arange((size + 2 * p - k) // s + 1)[:, None] * s - p
        place = np.arange(size)
        return ((place >= start) & (place < start + k)).astype(float)

    def wrong_matrix(size, k, s, p):
        right = matrix(size, k, s, p)
        start = np.arange(len(right))[:, None] * (1 if slip == "stride_forgotten" else s)
        start = start - (0 if slip == "padding_forgotten" else p)
        place = np.arange(size)
        wrong = (place >= start) & (place < start + k)
        if slip == "assign_for_add":  # the last window at a place is the only one
            later = np.cumsum(wrong[::-1], axis=0)[::-1]
            wrong = wrong & (later == 1)
        return wrong.astype(float)

    def forward(ctx, x, kernel_size, stride, padding=0, count_include_pad=True):
        where = kernel_size, stride, padding
        rows, columns = (matrix(size, *where) for size in x.shape[2:])
        real = np.outer(rows.sum(1), columns.sum(1))
        ctx.real, ctx.include, ctx.shape, ctx.where = real, count_include_pad, x.shape, where
        return rows @ x @ columns.T / (kernel_size**2 if count_include_pad else real)

    def backward(ctx, grad_out):
        k = ctx.where[0]
        rows, columns = (wrong_matrix(size, *ctx.where) for size in ctx.shape[2:])
        include = ctx.include
        if slip in ("padding_counted", "padding_not_counted"):
            include = slip == "padding_counted"
        count = k**2 if include else ctx.real
        if slip == "divided_by_side":
            count = k if include else count
        if slip == "not_divided":
            count = 1
        return rows.T @ (grad_out / count) @ columns

    return forward, backward
