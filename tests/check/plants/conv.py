"""conv2d: windows in a loop, taps in a loop, columns, and a correlation with the turned kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from minires.autograd import Function
from tests.check.plants.registry import planted

CONV = (
    "kernel_wrong_way_round",
    "channels_swapped",
    "stride_forgotten",
    "stride_forgotten_in_weight",
    "padding_forgotten",
    "padding_forgotten_in_weight",
    "dilation_forgotten",
    "assign_for_add",
    "last_sample_only",
    "bias_summed_over_wrong_axes",
    "bias_not_summed_over_batch",
    "bias_averaged",
    "weight_averaged_over_batch",
    "weight_flipped",
    "rows_and_columns_swapped",
    "windows_overwrite_in_weight",
)


def padded(x: np.ndarray, before: int, after: int) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)))


def output_size(x: np.ndarray, weight: np.ndarray, s: int, p: int, d: int) -> tuple[int, int]:
    H, W = x.shape[2:]
    KH, KW = weight.shape[2:]
    return (H + 2 * p - d * (KH - 1) - 1) // s + 1, (W + 2 * p - d * (KW - 1) - 1) // s + 1


@planted("conv2d", "loops", *CONV)
def conv_loops(slip: str) -> Any:
    """Window after window, sample after sample."""

    def forward(x, weight, bias, stride=1, padding=0, dilation=1):
        KH, KW = weight.shape[2:]
        OH, OW = output_size(x, weight, stride, padding, dilation)
        image = padded(x, padding, padding)
        out = np.zeros((len(x), len(weight), OH, OW))
        for n in range(len(x)):
            for i in range(OH):
                for j in range(OW):
                    rows = i * stride + dilation * np.arange(KH)
                    columns = j * stride + dilation * np.arange(KW)
                    window = image[n][:, rows[:, None], columns]
                    out[n, :, i, j] = np.tensordot(weight, window, 3) + bias
        return out

    def backward(grad_out, x, weight, bias, stride=1, padding=0, dilation=1):
        N, (H, W), (KH, KW) = len(x), x.shape[2:], weight.shape[2:]
        image = padded(x, padding, padding)
        if slip == "padding_forgotten_in_weight":
            image = padded(x, 0, 2 * padding)
        grad_image = np.zeros(image.shape)
        grad_weight, grad_bias = np.zeros(weight.shape), np.zeros(len(weight))
        kernel = weight[:, :, ::-1, ::-1] if slip == "kernel_wrong_way_round" else weight
        step = 1 if slip == "stride_forgotten" else stride
        step_w = 1 if slip == "stride_forgotten_in_weight" else stride
        dilate = 1 if slip == "dilation_forgotten" else dilation
        for n in range(N):
            of_sample = np.zeros(weight.shape)
            for i in range(grad_out.shape[2]):
                for j in range(grad_out.shape[3]):
                    g = grad_out[n, :, i, j]
                    rows = i * step + dilate * np.arange(KH)
                    columns = j * step + dilate * np.arange(KW)
                    paint = np.tensordot(g, kernel, 1)
                    if slip == "assign_for_add":
                        grad_image[n][:, rows[:, None], columns] = paint
                    else:
                        grad_image[n][:, rows[:, None], columns] += paint
                    rows = i * step_w + dilation * np.arange(KH)
                    columns = j * step_w + dilation * np.arange(KW)
                    window = image[n][:, rows[:, None], columns]
                    if slip == "windows_overwrite_in_weight":
                        of_sample = g[:, None, None, None] * window
                    else:
                        of_sample += g[:, None, None, None] * window
            if slip == "last_sample_only":
                grad_weight = of_sample
            else:
                grad_weight += of_sample
            if slip == "bias_not_summed_over_batch":
                grad_bias = grad_out[n].sum(axis=(1, 2))
            else:
                grad_bias += grad_out[n].sum(axis=(1, 2))
        cut = 0 if slip == "padding_forgotten" else padding
        grad_x = grad_image[:, :, cut : cut + H, cut : cut + W]
        if slip == "channels_swapped":
            grad_weight = grad_weight.transpose(1, 0, 2, 3)
        if slip == "bias_summed_over_wrong_axes":
            grad_bias = np.array([grad_out[n].sum() for n in range(N)])
        if slip == "bias_averaged":
            grad_bias /= grad_out.size / len(weight)
        if slip == "weight_averaged_over_batch":
            grad_weight /= N
        if slip == "weight_flipped":
            grad_weight = grad_weight[:, :, ::-1, ::-1]
        if slip == "rows_and_columns_swapped":
            grad_weight = grad_weight.transpose(0, 1, 3, 2)
        return grad_x, grad_weight, grad_bias

    return forward, backward


@planted(
    "conv2d",
    "every number by itself",
    "assign_for_add",
    "windows_overwrite_in_weight",
    "bias_summed_over_wrong_axes",
    "bias_not_summed_over_batch",
    "padding_forgotten",
    "channels_swapped",
)
def conv_every_number(slip: str) -> Any:
    """The loops of a first course: sample, filter, row, column; so filters overwrite, too."""

    def forward(x, weight, bias, stride=1, padding=0):
        OH, OW = output_size(x, weight, stride, padding, 1)
        KH, KW = weight.shape[2:]
        image = padded(x, padding, padding)
        out = np.zeros((len(x), len(weight), OH, OW))
        for n, o, i, j in np.ndindex(out.shape):
            r, c = i * stride, j * stride
            out[n, o, i, j] = np.sum(image[n, :, r : r + KH, c : c + KW] * weight[o]) + bias[o]
        return out

    def backward(grad_out, x, weight, bias, stride=1, padding=0):
        (H, W), (KH, KW) = x.shape[2:], weight.shape[2:]
        image = padded(x, padding, padding)
        dx, dw, db = np.zeros_like(image), np.zeros_like(weight), np.zeros_like(bias)
        for n, o, i, j in np.ndindex(grad_out.shape):
            r, c, g = i * stride, j * stride, grad_out[n, o, i, j]
            if slip == "bias_summed_over_wrong_axes":
                db[n] += g
            elif slip != "bias_not_summed_over_batch" or n == 0:
                db[o] += g
            if slip == "assign_for_add":
                dx[n, :, r : r + KH, c : c + KW] = weight[o] * g
            else:
                dx[n, :, r : r + KH, c : c + KW] += weight[o] * g
            if slip == "channels_swapped":
                for k in range(x.shape[1]):
                    dw[k, o] += image[n, k, r : r + KH, c : c + KW] * g
            elif slip == "windows_overwrite_in_weight":
                dw[o] = image[n, :, r : r + KH, c : c + KW] * g
            else:
                dw[o] += image[n, :, r : r + KH, c : c + KW] * g
        if slip == "padding_forgotten":
            return dx, dw, db
        return dx[:, :, padding : padding + H, padding : padding + W], dw, db

    return forward, backward


@planted("conv2d", "vectorised", *CONV)
def conv_vectorised(slip: str) -> Any:
    """Tap after tap, a slice of all windows at a time."""

    def taps(weight, OH, OW, s, d):
        for kh, kw in np.ndindex(weight.shape[2:]):
            rows = slice(kh * d, kh * d + s * (OH - 1) + 1, s)
            yield kh, kw, rows, slice(kw * d, kw * d + s * (OW - 1) + 1, s)

    def forward(x, weight, bias, stride=1, padding=0, dilation=1):
        OH, OW = output_size(x, weight, stride, padding, dilation)
        image = padded(x, padding, padding)
        out = np.zeros((len(x), len(weight), OH, OW)) + bias[:, None, None]
        for kh, kw, rows, columns in taps(weight, OH, OW, stride, dilation):
            out += np.einsum("nchw,oc->nohw", image[:, :, rows, columns], weight[:, :, kh, kw])
        return out, (x, weight, stride, padding, dilation)

    def backward(grad_out, cache):
        x, weight, s, p, d = cache
        (H, W), (OH, OW) = x.shape[2:], grad_out.shape[2:]
        image = padded(x, p, p)
        if slip == "padding_forgotten_in_weight":
            image = padded(x, 0, 2 * p)
        kernel = weight[:, :, ::-1, ::-1] if slip == "kernel_wrong_way_round" else weight
        dx, dw = np.zeros_like(image), np.zeros_like(weight)
        if slip == "channels_swapped":
            dw = np.zeros_like(weight.swapaxes(0, 1))
        step = 1 if slip == "stride_forgotten" else s
        dilate = 1 if slip == "dilation_forgotten" else d
        for kh, kw, rows, columns in taps(weight, OH, OW, step, dilate):
            moved = np.einsum("nohw,oc->nchw", grad_out, kernel[:, :, kh, kw])
            if slip == "assign_for_add":
                dx[:, :, rows, columns] = moved
            else:
                dx[:, :, rows, columns] += moved
        step = 1 if slip == "stride_forgotten_in_weight" else s
        samples = slice(-1, None) if slip == "last_sample_only" else slice(None)
        places = slice(-1, None) if slip == "windows_overwrite_in_weight" else slice(None)
        letters = "nohw,nchw->co" if slip == "channels_swapped" else "nohw,nchw->oc"
        for kh, kw, rows, columns in taps(weight, OH, OW, step, d):
            g = grad_out[samples, :, places, places]
            seen = image[samples, :, rows, columns][:, :, places, places]
            dw[:, :, kh, kw] = np.einsum(letters, g, seen)
        if slip == "weight_averaged_over_batch":
            dw /= len(x)
        if slip == "weight_flipped":
            dw = dw[:, :, ::-1, ::-1]
        if slip == "rows_and_columns_swapped":
            dw = dw.swapaxes(2, 3)
        db = grad_out.sum(axis=(0, 2, 3))
        if slip == "bias_summed_over_wrong_axes":
            db = grad_out.sum(axis=(1, 2, 3))
        if slip == "bias_not_summed_over_batch":
            db = grad_out[0].sum(axis=(1, 2))
        if slip == "bias_averaged":
            db = grad_out.mean(axis=(0, 2, 3))
        cut = 0 if slip == "padding_forgotten" else p
        return dx[:, :, cut : H + cut, cut : W + cut], dw, db

    return forward, backward


@planted("conv2d", "function", *CONV)
def conv_function(slip: str) -> Any:
    """A matrix of columns, one for each window, and ``np.add.at`` to put them back."""

    def places(weight, OH, OW, s, d):
        kh, kw = np.indices(weight.shape[2:]).reshape(2, -1, 1)
        i, j = np.indices((OH, OW)).reshape(2, 1, -1)
        return i * s + kh * d, j * s + kw * d  # (taps, windows)

    class Conv2d(Function):
        @staticmethod
        def forward(ctx, x, weight, bias, *, stride=1, padding=0, dilation=1):
            ctx.save(x=x, weight=weight)
            ctx.save_constant(s=stride, p=padding, d=dilation)
            OH, OW = output_size(x, weight, stride, padding, dilation)
            rows, columns = places(weight, OH, OW, stride, dilation)
            seen = padded(x, padding, padding)[:, :, rows, columns]
            out = np.tensordot(weight.reshape(*weight.shape[:2], -1), seen, ((1, 2), (1, 2)))
            return out.swapaxes(0, 1).reshape(len(x), -1, OH, OW) + bias.reshape(-1, 1, 1)

        @staticmethod
        def backward(ctx, grad_out):
            (x, weight), (s, p, d) = ctx.saved("x", "weight"), ctx.saved("s", "p", "d")
            N, _, OH, OW = grad_out.shape
            flat = grad_out.reshape(*grad_out.shape[:2], -1)
            dilate = 1 if slip == "dilation_forgotten" else d
            where = places(weight, OH, OW, 1 if slip == "stride_forgotten" else s, dilate)
            kernel = weight.reshape(*weight.shape[:2], -1)
            if slip == "kernel_wrong_way_round":
                kernel = kernel[:, :, ::-1]
            back = np.einsum("ocx,noy->ncxy", kernel, flat)
            image = np.zeros_like(padded(x, p, p))
            if slip == "assign_for_add":
                image[:, :, where[0], where[1]] += back  # counts a place once
            else:
                np.add.at(image, (slice(None), slice(None), *where), back)
            cut = 0 if slip == "padding_forgotten" else p
            grad_x = image[:, :, cut:, cut:][:, :, : x.shape[2], : x.shape[3]]

            where = places(weight, OH, OW, 1 if slip == "stride_forgotten_in_weight" else s, d)
            image = padded(x, p, p)
            if slip == "padding_forgotten_in_weight":
                image = padded(x, 0, 2 * p)
            seen = image[:, :, where[0], where[1]]
            each = np.einsum("noy,ncxy->nocxy", flat, seen)
            each = each[..., -1] if slip == "windows_overwrite_in_weight" else each.sum(-1)
            grad_weight = each[-1] if slip == "last_sample_only" else each.sum(0)
            if slip == "weight_averaged_over_batch":
                grad_weight = each.mean(0)
            if slip == "weight_flipped":
                grad_weight = grad_weight[:, :, ::-1]
            grad_weight = grad_weight.reshape(weight.shape)
            if slip == "channels_swapped":
                grad_weight = grad_weight.transpose(1, 0, 2, 3)
            if slip == "rows_and_columns_swapped":
                grad_weight = grad_weight.transpose(0, 1, 3, 2)

            of_samples = flat.mean(2) / N if slip == "bias_averaged" else flat.sum(2)
            grad_bias = of_samples.sum(1 if slip == "bias_summed_over_wrong_axes" else 0)
            if slip == "bias_not_summed_over_batch":
                grad_bias = of_samples[0]
            return {"weight": grad_weight, "bias": grad_bias, "x": grad_x}

    return Conv2d.forward, Conv2d.backward


@planted(
    "conv2d",
    "correlation",
    "kernel_wrong_way_round",
    "stride_forgotten",
    "dilation_forgotten",
    "padding_forgotten_in_weight",
    "stride_forgotten_in_weight",
)
def conv_correlation(slip: str) -> Any:
    """grad_x as grad_out, spread by the stride, correlated with the kernel turned round."""

    def windows(image, OH, OW, K, s, d):
        n, c, h, w = image.strides
        shape = (*image.shape[:2], OH, OW, *K)
        return as_strided(image, shape, (n, c, h * s, w * s, h * d, w * d), writeable=False)

    def forward(ctx, x, weight, bias, stride=1, padding=0, dilation=1):
        ctx.given = x, weight, stride, padding, dilation
        size = output_size(x, weight, stride, padding, dilation)
        seen = windows(padded(x, padding, padding), *size, weight.shape[2:], stride, dilation)
        return np.einsum("ncijkl,ockl->noij", seen, weight) + bias[None, :, None, None]

    def backward(ctx, grad_out):
        x, weight, s, p, d = ctx.given
        (OH, OW), K = grad_out.shape[2:], weight.shape[2:]
        image = padded(x, 0, 2 * p) if slip == "padding_forgotten_in_weight" else padded(x, p, p)
        step = 1 if slip == "stride_forgotten_in_weight" else s
        grad_weight = np.einsum("noij,ncijkl->ockl", grad_out, windows(image, OH, OW, K, step, d))

        d = 1 if slip == "dilation_forgotten" else d
        s = 1 if slip == "stride_forgotten" else s
        turned = weight if slip == "kernel_wrong_way_round" else weight[:, :, ::-1, ::-1]
        (h, w), (H, W) = ((k - 1) * d for k in K), image.shape[2:]
        spread = np.zeros((*grad_out.shape[:2], H + h, W + w))
        spread[:, :, h : h + s * OH : s, w : w + s * OW : s] = grad_out
        seen = sliding_window_view(spread, (h + 1, w + 1), axis=(2, 3))[..., ::d, ::d]
        grad_image = np.einsum("noijkl,ockl->ncij", seen, turned)
        grad_x = grad_image[:, :, p : H - p, p : W - p]
        return grad_x, grad_weight, np.einsum("noij->o", grad_out)

    return forward, backward
