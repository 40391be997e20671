"""Bad calls: each says which operation, what it got, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires.errors import DeviceError, DTypeError, MiniresError, ShapeError, UsageError

x = mr.ones(2, 3)
image = mr.ones(2, 3, 8, 8)
weight = mr.ones(4, 3, 3, 3)
four = mr.ones(4)

# The call, the error, and phrases of its message.
BAD_CALLS: dict[str, tuple[Callable[[], Any], type[MiniresError], tuple[str, ...]]] = {
    # arithmetic
    **{
        f"{name} of shapes that do not fit": (
            lambda name=name: getattr(F, name)(x, mr.ones(2, 4)),
            ShapeError,
            (f"{name}: ", "a: (2, 3) float32", "b: (2, 4) float32", "or one of them 1"),
        )
        for name in ("add", "sub", "mul", "div", "pow")
    },
    "operator of shapes that do not fit": (
        lambda: x + np.ones(4, np.float32),
        ShapeError,
        ("add: ", "(2, 3) float32", "(4,) float32"),
    ),
    # reductions
    **{
        f"{name} over a dimension that is not there": (
            lambda name=name: getattr(F, name)(x, 2),
            ShapeError,
            (f"{name}: dim 2 is out of range for 2 dimensions",),
        )
        for name in ("sum", "mean", "var", "softmax", "log_softmax")
    },
    "sum over one dimension twice": (
        lambda: x.sum((1, -1)),
        ShapeError,
        ("sum: ", "(1, -1)", "twice"),
    ),
    # shapes
    "reshape to another size": (
        lambda: x.reshape(4, 2),
        ShapeError,
        ("reshape: 6 elements of shape (2, 3)", "(4, 2)"),
    ),
    "reshape with two unknown lengths": (
        lambda: x.reshape(-1, -1),
        ShapeError,
        ("reshape: ", "(-1, -1)"),
    ),
    "reshape with a length that does not divide": (
        lambda: x.reshape(4, -1),
        ShapeError,
        ("reshape: ", "(4, -1)"),
    ),
    "flatten backwards": (lambda: x.flatten(1, 0), ShapeError, ("flatten: ", "1 is behind", "0")),
    "flatten from a dimension that is not there": (
        lambda: x.flatten(7),
        ShapeError,
        ("flatten: dim 7 is out of range for 2 dimensions",),
    ),
    "permute with a dimension missing": (
        lambda: image.permute(0, 1, 2),
        ShapeError,
        ("permute: ", "(0, 1, 2)", "4 dimensions"),
    ),
    "permute with a dimension twice": (
        lambda: x.permute(1, 1),
        ShapeError,
        ("permute: ", "(1, 1)", "2 dimensions"),
    ),
    "permute with a dimension that is not there": (
        lambda: x.permute(5, 0),
        ShapeError,
        ("permute: dim 5 is out of range for 2 dimensions",),
    ),
    "transpose of a dimension that is not there": (
        lambda: x.transpose(0, 2),
        ShapeError,
        ("transpose: dim 2 is out of range for 2 dimensions",),
    ),
    "squeeze of a dimension that is not there": (
        lambda: x.squeeze(-3),
        ShapeError,
        ("squeeze: dim -3 is out of range for 2 dimensions",),
    ),
    "unsqueeze too far out": (
        lambda: x.unsqueeze(4),
        ShapeError,
        ("unsqueeze: dim 4 is out of range for 3 dimensions",),
    ),
    "broadcast_to a length that does not fit": (
        lambda: x.broadcast_to((2, 4)),
        ShapeError,
        ("broadcast_to: ", "(2, 3) float32", "(2, 4)", "or 1"),
    ),
    "expand to fewer dimensions": (
        lambda: x.expand(3),
        ShapeError,
        ("broadcast_to: ", "(2, 3)", "(3,)"),
    ),
    "cat of nothing": (lambda: F.cat([]), ShapeError, ("cat: ", "at least one")),
    "cat of shapes that differ elsewhere": (
        lambda: F.cat([x, mr.ones(2, 4)]),
        ShapeError,
        ("cat: ", "(2, 3)", "(2, 4)", "dimension 0"),
    ),
    "cat of different numbers of dimensions": (
        lambda: F.cat([x, mr.ones(3)]),
        ShapeError,
        ("cat: ", "(2, 3)", "(3,)"),
    ),
    "cat along a dimension that is not there": (
        lambda: F.cat([x, x], dim=5),
        ShapeError,
        ("cat: dim 5 is out of range for 2 dimensions",),
    ),
    "cat of single numbers": (
        lambda: F.cat([mr.tensor(1.0), mr.tensor(2.0)]),
        ShapeError,
        ("cat: dim 0 is out of range for 0 dimensions",),
    ),
    "pad with an odd number of widths": (
        lambda: F.pad(x, (1, 2, 3)),
        ShapeError,
        ("pad: 3 widths", "2 dimensions"),
    ),
    "pad with too many widths": (lambda: F.pad(x, (1,) * 6), ShapeError, ("pad: 6 widths",)),
    # devices and dtypes
    "to something unknown": (
        lambda: x.to("floot32"),
        DTypeError,
        ("to: 'floot32'", "'cpu', 'cuda'", "'float32'"),
    ),
    # products
    "matmul of lengths that do not fit": (
        lambda: x @ mr.ones(2, 3),
        ShapeError,
        ("matmul: ", "last dimension of a", "a: (2, 3) float32", "b: (2, 3) float32"),
    ),
    "matmul of a single number": (
        lambda: x @ mr.tensor(1.0),
        ShapeError,
        ("matmul: ", "b: () float32"),
    ),
    "matmul of leading dimensions that do not fit": (
        lambda: mr.ones(2, 3, 4) @ mr.ones(3, 4, 5),
        ShapeError,
        ("matmul: ", "leading", "(2, 3, 4)", "(3, 4, 5)"),
    ),
    "linear with other in_features": (
        lambda: F.linear(x, mr.ones(4, 5)),
        ShapeError,
        ("linear: ", "input: (2, 3)", "weight: (4, 5)", "Check in_features"),
    ),
    "linear with a bias of another length": (
        lambda: F.linear(x, mr.ones(4, 3), mr.ones(3)),
        ShapeError,
        ("linear: bias", "(4,)", "bias: (3,)"),
    ),
    "linear with a bias that would be broadcast": (
        lambda: F.linear(x, mr.ones(4, 3), mr.ones(2, 4)),
        ShapeError,
        ("linear: bias", "(4,)", "bias: (2, 4)"),
    ),
    # convolution
    "conv2d with other channels": (
        lambda: F.conv2d(image, mr.ones(4, 16, 3, 3)),
        ShapeError,
        ("conv2d: x has 3 channels but weight expects 16", "(2, 3, 8, 8)", "Check in_channels"),
    ),
    "conv2d of a single image": (
        lambda: F.conv2d(image[0], weight),
        ShapeError,
        ("conv2d: ", "(N, C, H, W)", "batch axis: x[None]"),
    ),
    "conv2d with a kernel that is too large": (
        lambda: F.conv2d(image, mr.ones(4, 3, 9, 9)),
        ShapeError,
        ("conv2d: the kernel spans 9 x 9", "8 x 8", "more padding"),
    ),
    "conv2d with a bias of another length": (
        lambda: F.conv2d(image, weight, mr.ones(3)),
        ShapeError,
        ("conv2d: bias", "(4,)", "(3,)"),
    ),
    "conv2d with groups that do not divide": (
        lambda: F.conv2d(image, weight, groups=3),
        ShapeError,
        ("conv2d: weight makes 4 channels", "3 groups", "multiple of groups"),
    ),
    "conv2d with a flat weight": (
        lambda: F.conv2d(image, mr.ones(4, 3)),
        ShapeError,
        ("conv2d: weight must be (C_out, C/groups, KH, KW)",),
    ),
    "conv2d with a flat weight and named padding": (
        lambda: F.conv2d(image, mr.ones(4, 3), padding="same"),
        ShapeError,
        ("conv2d: weight", "4 dimensions", "(4, 3)"),
    ),
    "conv2d of a single image with padding 'same'": (
        lambda: F.conv2d(image[0], mr.ones(4, 3, 2, 2), padding="same"),
        ShapeError,
        ("conv2d: ", "(N, C, H, W)"),
    ),
    "conv2d with stride 0": (
        lambda: F.conv2d(image, weight, stride=0),
        UsageError,
        ("conv2d: stride must be 1 or more", "0"),
    ),
    "conv2d with negative padding": (
        lambda: F.conv2d(image, weight, padding=(0, -1)),
        UsageError,
        ("conv2d: padding must be 0 or more", "-1"),
    ),
    "conv2d with half a step": (
        lambda: F.conv2d(image, weight, stride=1.5),
        UsageError,
        ("stride", "whole number", "1.5"),
    ),
    "conv2d with three dilations": (
        lambda: F.conv2d(image, weight, dilation=(1, 2, 3)),
        UsageError,
        ("dilation", "pair", "(1, 2, 3)"),
    ),
    "conv2d with no groups": (
        lambda: F.conv2d(image, weight, groups=0),
        UsageError,
        ("conv2d: groups", "0"),
    ),
    "conv2d with an unknown padding": (
        lambda: F.conv2d(image, weight, padding="full"),
        UsageError,
        ("conv2d: padding 'full'", "'same'", "'valid'"),
    ),
    "conv2d with padding 'same' and a stride": (
        lambda: F.conv2d(image, weight, stride=2, padding="same"),
        UsageError,
        ("conv2d: padding='same'", "stride 1"),
    ),
    # pooling
    "max_pool2d with a window that is too large": (
        lambda: F.max_pool2d(image, 9),
        ShapeError,
        ("max_pool2d: ", "9 x 9", "8 x 8"),
    ),
    "max_pool2d with too much padding": (
        lambda: F.max_pool2d(image, 2, padding=2),
        UsageError,
        ("max_pool2d: padding", "half"),
    ),
    "avg_pool2d divided by 0": (
        lambda: F.avg_pool2d(image, 2, divisor_override=0),
        UsageError,
        ("avg_pool2d: divisor_override",),
    ),
    "adaptive_avg_pool2d to nothing": (
        lambda: F.adaptive_avg_pool2d(image, 0),
        ShapeError,
        ("adaptive_avg_pool2d: ", "(0, 0)"),
    ),
    # normalisation
    "batch_norm of a vector": (
        lambda: F.batch_norm(four, None, None, training=True),
        ShapeError,
        ("batch_norm: ", "(N, C, ...)", "(4,)"),
    ),
    **{
        f"batch_norm with {name} of another length": (
            lambda name=name: F.batch_norm(
                **{
                    "input": image,
                    "running_mean": mr.zeros(3),
                    "running_var": mr.ones(3),
                    name: four,
                }
            ),
            ShapeError,
            (f"batch_norm: {name}", "3 channels", f"{name}: (4,)", "Check num_features"),
        )
        for name in ("weight", "bias", "running_mean", "running_var")
    },
    "batch_norm with half of the running statistics": (
        lambda: F.batch_norm(image, mr.zeros(3), None),
        ShapeError,
        ("batch_norm: ", "both running_mean and running_var"),
    ),
    "batch_norm of one value a channel in training": (
        lambda: F.batch_norm(mr.ones(1, 3, 1, 1), None, None, training=True),
        ShapeError,
        ("batch_norm: ", "more than one value", "model.eval()"),
    ),
    # losses
    "cross_entropy of other shapes": (
        lambda: F.cross_entropy(x, np.array([0, 1, 2])),
        ShapeError,
        ("cross_entropy: ", "input: (2, 3)", "target: (3,)"),
    ),
    "cross_entropy of a class that is not there": (
        lambda: F.cross_entropy(x, np.array([0, 3])),
        ShapeError,
        ("cross_entropy: ", "0 to 3", "3 of them (0 to 2)"),
    ),
    "cross_entropy of a negative class": (
        lambda: F.cross_entropy(x, np.array([0, -1])),
        ShapeError,
        ("cross_entropy: ", "-1"),
    ),
    "cross_entropy of classes that are no whole numbers": (
        lambda: F.cross_entropy(x, np.array([0.0, 1.0])),
        DTypeError,
        ("cross_entropy: ", "float64", ".to('int64')"),
    ),
    **{
        f"{name} with an unknown reduction": (
            lambda name=name, target=target: getattr(F, name)(x, target, reduction="avg"),
            UsageError,
            (f"{name}: reduction 'avg'", "'mean', 'sum' and 'none'"),
        )
        for name, target in (("cross_entropy", np.array([0, 1])), ("mse_loss", x))
    },
    "mse_loss of other shapes": (
        lambda: F.mse_loss(x, mr.ones(3)),
        ShapeError,
        ("mse_loss: ", "input: (2, 3)", "target: (3,)"),
    ),
}


@pytest.mark.parametrize("bad_call", BAD_CALLS)
def test_a_bad_call_says_what_was_wrong(bad_call: str) -> None:
    call, error, phrases = BAD_CALLS[bad_call]
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    message = str(caught.value)
    assert not [phrase for phrase in phrases if phrase not in message], message


def test_an_error_is_also_the_built_in_error_that_a_reader_would_expect() -> None:
    with pytest.raises(ValueError, match="reshape"):
        x.reshape(4, 2)
    with pytest.raises(TypeError, match="cross_entropy"):
        F.cross_entropy(x, np.array([0.0, 1.0]))


def test_a_gpu_that_is_not_there_is_named_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("minires.device.cuda_is_available", lambda: False)
    with pytest.raises(DeviceError, match=r"(?s)'cuda' is not available.*minires\[gpu\].*'cpu'"):
        x.cuda()


def test_an_unknown_argument_of_a_reduction_is_named() -> None:
    with pytest.raises(TypeError, match="'dims'"):
        x.sum(dims=1)
