"""Mistakes in the backward of conv2d."""

from __future__ import annotations

from functools import partial

import numpy as np

from minires import functional as F
from minires import kernels
from minires.check.mistakes.bank import Grads, Mistake, Operation, Problem, Sample
from minires.check.mistakes.windows import Write, crop, scatter, spread
from minires.device import Array

__all__ = ["CONV2D"]

# --- the gradient of the image ---


def kernel_wrong_way_round(p: Problem) -> Grads:
    turned = np.ascontiguousarray(p["weight"][:, :, ::-1, ::-1])
    wrong = kernels.conv2d_grad_input(p.grad_out, turned, p["x"].shape, **p.settings)
    return {"x": wrong}


def _scattered(p: Problem, stride: int, dilation: int) -> Array:
    """All windows brought back, in an image just large enough for them."""
    (N, C), (KH, KW), (OH, OW) = p["x"].shape[:2], p["weight"].shape[2:], p.grad_out.shape[2:]
    size = (
        (OH - 1) * stride + dilation * (KH - 1) + 1,
        (OW - 1) * stride + dilation * (KW - 1) + 1,
    )
    return kernels.conv2d_grad_input(
        p.grad_out, p["weight"], (N, C, *size), stride=stride, dilation=dilation
    )


def _fitted(p: Problem, scattered: Array, start: int) -> Array:
    """The part of the padded image that is taken for the image, from ``start`` on."""
    (H, W), P = p["x"].shape[2:], p["padding"]
    return crop(spread(scattered, H + 2 * P, W + 2 * P), (H, W), start)


def stride_forgotten(p: Problem) -> Grads:
    return {"x": _fitted(p, _scattered(p, 1, p["dilation"]), p["padding"])}


def stride_forgotten_unfilled(p: Problem) -> Grads:
    """As above, and the image is as small as the windows make it."""
    image, P = _scattered(p, 1, p["dilation"]), p["padding"]
    H, W = image.shape[2:] if p["stride"] > 1 else (n + 2 * P for n in p["x"].shape[2:])
    return {"x": crop(spread(image, H, W), (max(H - 2 * P, 0), max(W - 2 * P, 0)), P)}


def padding_forgotten(p: Problem) -> Grads:
    return {"x": _fitted(p, _scattered(p, p["stride"], p["dilation"]), 0)}


def padding_left_on(p: Problem) -> Grads:
    (H, W), P = p["x"].shape[2:], p["padding"]
    return {"x": spread(_scattered(p, p["stride"], p["dilation"]), H + 2 * P, W + 2 * P)}


def dilation_forgotten(p: Problem) -> Grads:
    return {"x": _fitted(p, _scattered(p, p["stride"], 1), p["padding"])}


def assign_for_add(p: Problem, write: Write, last_channel: bool = False) -> Grads:
    g, weight = p.grad_out, p["weight"]
    if last_channel:  # the loop over output channels overwrites as well
        g, weight = g[:, -1:], weight[-1:]
    brought = np.einsum("noij,ockl->ncijkl", g, weight)  # (N, C, OH, OW, KH, KW)
    (H, W), P = p["x"].shape[2:], p["padding"]
    padded = scatter(brought, H + 2 * P, W + 2 * P, p["stride"], p["dilation"], write)
    return {"x": crop(padded, (H, W), P)}


# --- the gradient of the weight ---


def channels_swapped(p: Problem) -> Grads:
    return {"weight": p.right["weight"].swapaxes(0, 1)}


def _grad_weight(p: Problem, image: Array, g: Array, stride: int) -> Array:
    """The gradient of the weight with windows of this image, not padded any more."""
    return kernels.conv2d_grad_weight(
        g, image, p["weight"].shape, stride=stride, dilation=p["dilation"]
    )


def _padded(p: Problem) -> Array:
    P = p["padding"]
    return np.pad(p["x"], ((0, 0), (0, 0), (P, P), (P, P)))


def stride_forgotten_in_weight(p: Problem) -> Grads:
    (KH, KW), (OH, OW), D = p["weight"].shape[2:], p.grad_out.shape[2:], p["dilation"]
    corner = crop(_padded(p), (OH + D * (KH - 1), OW + D * (KW - 1)), 0)
    return {"weight": _grad_weight(p, corner, p.grad_out, 1)}


def padding_forgotten_in_weight(p: Problem) -> Grads:
    (H, W), P = p["x"].shape[2:], p["padding"]
    unshifted = spread(p["x"], H + 2 * P, W + 2 * P)
    return {"weight": _grad_weight(p, unshifted, p.grad_out, p["stride"])}


def last_sample_only(p: Problem) -> Grads:
    return {"weight": _grad_weight(p, _padded(p)[-1:], p.grad_out[-1:], p["stride"])}


def weight_averaged_over_batch(p: Problem) -> Grads:
    return {"weight": p.right["weight"] / len(p["x"])}


def weight_flipped(p: Problem) -> Grads:
    return {"weight": p.right["weight"][:, :, ::-1, ::-1]}


def rows_and_columns_swapped(p: Problem) -> Grads:
    return {"weight": p.right["weight"].swapaxes(2, 3)}


def windows_overwrite_in_weight(p: Problem, samples: slice = slice(None)) -> Grads:
    last = np.zeros_like(p.grad_out)
    last[samples, :, -1, -1] = p.grad_out[samples, :, -1, -1]
    return {"weight": _grad_weight(p, _padded(p), last, p["stride"])}


# --- the gradient of the bias ---


def bias_summed_over_wrong_axes(p: Problem) -> Grads:
    return {"bias": p.grad_out.sum(axis=(1, 2, 3))}


def bias_of_one_sample(p: Problem, sample: int) -> Grads:
    return {"bias": p.grad_out[sample].sum(axis=(1, 2))}


def bias_averaged(p: Problem) -> Grads:
    return {"bias": p.grad_out.mean(axis=(0, 2, 3))}


def bias_averaged_over_batch(p: Problem) -> Grads:
    return {"bias": p.right["bias"] / len(p["x"])}


def bias_averaged_over_places(p: Problem) -> Grads:
    return {"bias": p.grad_out.mean(axis=(2, 3)).sum(axis=0)}


def _samples(rng: np.random.Generator) -> list[Sample]:
    def sample(x: tuple[int, ...], weight: tuple[int, ...], **settings: int) -> Sample:
        draw = rng.standard_normal
        return (draw(x), draw(weight), draw(weight[0])), settings

    return [
        sample((2, 3, 5, 4), (2, 3, 3, 2)),
        sample((2, 2, 4, 4), (2, 2, 2, 2)),
        sample((3, 2, 6, 5), (2, 2, 3, 3), padding=1),
        sample((3, 3, 7, 6), (2, 3, 3, 3), stride=2, padding=1),
        sample((2, 2, 8, 7), (2, 2, 2, 2), stride=3),
        sample((2, 2, 7, 6), (2, 2, 3, 2), dilation=2),
        sample((2, 3, 9, 8), (2, 3, 3, 3), stride=2, padding=1, dilation=2),
    ]


CONV2D = Operation(
    "conv2d",
    ("x", "weight", "bias"),
    F.conv2d,
    _samples,
    (
        Mistake(
            "kernel_wrong_way_round",
            "grad_x goes through the kernel the wrong way round",
            ("x",),
            "Follow one pixel: which outputs did it reach, through which taps of the kernel? Going "
            "from one of these outputs to the next, in which direction do you walk through the "
            "kernel?",
            (kernel_wrong_way_round,),
        ),
        Mistake(
            "channels_swapped",
            "grad_weight has input and output channels in each other's place",
            ("weight",),
            "A gradient has the shape of what it belongs to. Try a layer with 2 channels in and 3 "
            "out, and look at the first two dimensions.",
            (channels_swapped,),
        ),
        Mistake(
            "stride_forgotten",
            "grad_x lays the windows one pixel apart and forgets the stride",
            ("x",),
            "Where in the image does the window of output (i, j) begin? Forward and backward must "
            "agree about that.",
            (stride_forgotten, stride_forgotten_unfilled),
        ),
        Mistake(
            "stride_forgotten_in_weight",
            "grad_weight reads the windows one pixel apart and forgets the stride",
            ("weight",),
            "Which window of the image did output (i, j) see in the forward pass? grad_weight must "
            "look at the same one.",
            (stride_forgotten_in_weight,),
        ),
        Mistake(
            "padding_forgotten",
            "the padding is forgotten in grad_x, or taken off in the wrong place",
            ("x",),
            "The windows lie on the padded image. In which row of the padded image is row 0 of x?",
            (padding_forgotten, padding_left_on),
        ),
        Mistake(
            "padding_forgotten_in_weight",
            "grad_weight reads the image where the padded image was meant",
            ("weight",),
            "The first window begins outside the image. Does your grad_weight see the same zeros, "
            "in the same place, as the forward pass?",
            (padding_forgotten_in_weight,),
        ),
        Mistake(
            "dilation_forgotten",
            "grad_x puts the taps of the kernel side by side and forgets the dilation",
            ("x",),
            "How far apart are two neighbouring taps of the kernel on the image? Look for the "
            "place where your backward turns a tap into a row and a column.",
            (dilation_forgotten,),
        ),
        Mistake(
            "assign_for_add",
            "in grad_x overlapping windows overwrite one another",
            ("x",),
            "A pixel that several windows saw has a part in several outputs. What does your code "
            "do with what the earlier window brought?",
            tuple(
                partial(assign_for_add, write=write, last_channel=last)
                for write in ("last window", "last tap")
                for last in (False, True)
            ),
        ),
        Mistake(
            "last_sample_only",
            "grad_weight is that of the last sample alone",
            ("weight",),
            "Every sample used the same kernel. In your loop over the batch, what happens to the "
            "contribution of the sample before?",
            (last_sample_only,),
        ),
        Mistake(
            "bias_summed_over_wrong_axes",
            "grad_bias is summed per sample and not per channel",
            ("bias",),
            "One number of the bias is added to which places of the output? Which dimension of "
            "grad_out has to remain?",
            (bias_summed_over_wrong_axes,),
        ),
        Mistake(
            "bias_not_summed_over_batch",
            "grad_bias takes one sample and leaves out the others",
            ("bias",),
            "The same bias was added to every image of the batch. Which of them does your "
            "grad_bias hear of?",
            (partial(bias_of_one_sample, sample=0), partial(bias_of_one_sample, sample=-1)),
        ),
        Mistake(
            "bias_averaged",
            "grad_bias is a mean where it should be a sum",
            ("bias",),
            "If the image were twice as large, would the bias matter to more outputs or to as many "
            "as before? Where is averaging done: in the layer, or in the loss?",
            (bias_averaged, bias_averaged_over_batch, bias_averaged_over_places),
        ),
        Mistake(
            "weight_averaged_over_batch",
            "grad_weight is divided by the size of the batch",
            ("weight",),
            "Where is the averaging over a batch done: in the layer, or in the loss? What comes in "
            "as grad_out if the loss has done it already?",
            (weight_averaged_over_batch,),
        ),
        Mistake(
            "weight_flipped",
            "grad_weight comes out turned round by half a turn",
            ("weight",),
            "Which tap of the kernel met the upper left pixel of a window in the forward pass? "
            "Does your grad_weight store its sum at that tap?",
            (weight_flipped,),
        ),
        Mistake(
            "rows_and_columns_swapped",
            "grad_weight has rows and columns of the kernel in each other's place",
            ("weight",),
            "Try a kernel with 3 rows and 2 columns and compare the shapes. In a square kernel "
            "nothing warns you.",
            (rows_and_columns_swapped,),
        ),
        Mistake(
            "windows_overwrite_in_weight",
            "grad_weight keeps only what the last window brought",
            ("weight",),
            "The same kernel was laid on every window. In your loop over the places of the output, "
            "what happens to the contribution of the window before?",
            (
                windows_overwrite_in_weight,
                partial(windows_overwrite_in_weight, samples=slice(-1, None)),
            ),
        ),
    ),
    defaults={"stride": 1, "padding": 0, "dilation": 1},
)
