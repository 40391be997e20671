"""Wrong calls that only one operation knows; see bad_calls.py for how a row is read."""

from __future__ import annotations

import numpy as np

import minires as mr
from minires.errors import DTypeError, IndexingError, ShapeError, UsageError
from tests.functional.bad_calls import Row, call, four, image, labels, turned, weight, whole, x

BOTH = "in_channels of this layer"
OF_ONE: list[Row] = [
    (
        "pow",
        call(whole, -1),
        DTypeError,
        "whole numbers have no negative ... a: (2, 3) int64 ... a.to",
    ),
    ("var", call(x, correction="1"), UsageError, "correction must be a number, not '1'"),
    ("std", call(x, correction="a"), UsageError, "correction must be a number, not 'a'"),
    (
        "var",
        call(x, correction=7),
        UsageError,
        "correction 7 is more than the 6 numbers ... x: (2, 3)",
    ),
    ("leaky_relu", call(x, "a"), UsageError, "negative_slope must be a number, not 'a'"),
    ("gelu", call(x, "fast"), UsageError, "approximate 'fast' is neither 'none' nor 'tanh'"),
    ("softplus", call(x, "a"), UsageError, "beta must be a number, not 'a'"),
    ("softplus", call(x, 1, None), UsageError, "threshold must be a number, not None"),
    ("softplus", call(x, 0), UsageError, "beta must not be 0"),
    ("dropout", call(x, 1.5), UsageError, "p must be a probability between 0 and 1, got 1.5"),
    ("dropout", call(x, -0.1), UsageError, "p must be a probability between 0 and 1, got -0.1"),
    ("dropout", call(x, "a"), UsageError, "p must be a number, not 'a'"),
    # selection
    (
        "where",
        call(x, x, x),
        DTypeError,
        "the condition must be boolean, not float32; compare first",
    ),
    ("where", call(None, x, x), DTypeError, "the condition must be boolean ... condition: None"),
    (
        "where",
        call(four > 0, x, 0.0),
        ShapeError,
        "these shapes cannot ... condition: (4,) bool    input: (2, 3) float32 ... one of them 1",
    ),
    ("clamp", call(x), UsageError, "give min, max, or both"),
    ("clamp", call(x, "a"), DTypeError, "str is neither a real number nor an array or tensor"),
    ("clamp", call(x, four), ShapeError, "these shapes cannot ... input: (2, 3) ... min: (4,)"),
    # shapes
    ("reshape", call(x, 4, 2), ShapeError, "6 elements of shape (2, 3) do not fit into (4, 2)"),
    ("reshape", call(x, -1, -1), ShapeError, "6 elements of shape (2, 3) ... (-1, -1)"),
    ("reshape", call(x, 4, -1), ShapeError, "6 elements of shape (2, 3) ... (4, -1)"),
    ("reshape", call(x, 2.0, 3.0), UsageError, "takes whole numbers, not (2.0, 3.0)"),
    ("reshape", call(x, None), UsageError, "takes whole numbers, not (None,)"),
    ("view", call(x, 5), ShapeError, "6 elements of shape (2, 3) do not fit into (5,)"),
    ("flatten", call(x, 1, 0), ShapeError, "start_dim 1 is behind end_dim 0"),
    ("permute", call(x, 0), ShapeError, "(0,) does not name each of 2 dimensions once"),
    ("permute", call(x, 1, 1), ShapeError, "(1, 1) does not name each of 2 dimensions once"),
    (
        "broadcast_to",
        call(x, (2, 4)),
        ShapeError,
        "x: (2, 3) float32 cannot be stretched to (2, 4) ... the wanted length or 1",
    ),
    ("broadcast_to", call(x, "a"), UsageError, "takes whole numbers, not ... 'a'"),
    ("expand", call(x, 3), ShapeError, "x: (2, 3) float32 cannot be stretched to (3,)"),
    (
        "expand",
        call(x, -1, 2, 3),
        ShapeError,
        "x: (2, 3) float32 cannot be stretched to (-1, 2, 3)",
    ),
    ("expand", call(x, 2.0, 3.0), UsageError, "takes whole numbers, not (2.0, 3.0)"),
    ("cat", call([]), ShapeError, "needs at least one tensor, and got an empty list"),
    ("cat", call(x), UsageError, "takes a list or tuple of tensors, not Tensor; write cat([a, b])"),
    ("cat", call(None), UsageError, "takes a list or tuple of tensors, not NoneType"),
    ("cat", call([x, mr.ones(2, 4)]), ShapeError, "shapes [(2, 3), (2, 4)] differ ... dimension 0"),
    ("cat", call([x, mr.ones(3)]), ShapeError, "shapes [(2, 3), (3,)] differ elsewhere"),
    ("cat", call([mr.tensor(1.0)]), ShapeError, "dim 0 is out of range for 0 dimensions"),
    ("stack", call([]), ShapeError, "needs at least one tensor, and got an empty list"),
    ("stack", call(x), UsageError, "takes a list or tuple of tensors, not Tensor"),
    (
        "stack",
        call([x, four]),
        ShapeError,
        "all tensors must have one shape, but they have [(2, 3), ",
    ),
    ("pad", call(x, (1, 2, 3)), ShapeError, "3 widths do not fit 2 dimensions, two for each"),
    (
        "pad",
        call(x, (1,) * 6),
        ShapeError,
        "6 widths do not fit 2 dimensions ... x: (2, 3) float32",
    ),
    ("pad", call(x, 1), UsageError, "takes whole numbers, two for each dimension ... not 1"),
    ("pad", call(x, (0.5, 1)), UsageError, "takes whole numbers, two for each ... not (0.5, 1)"),
    ("pad", call(x, (1, 1), value="a"), UsageError, "value must be a number, not 'a'"),
    ("pad", call(x, (-2, -2)), ShapeError, "(-2, -2) crops more than there is of (2, 3)"),
    (
        "pad",
        call(x, (1, 1), mode="wrap"),
        UsageError,
        "mode 'wrap' is none of 'constant', 'reflect'",
    ),
    ("pad", call(x, (3, 0), mode="reflect"), ShapeError, "'reflect' can pad 3 pixels by at most 2"),
    (
        "pad",
        call(mr.zeros(2, 0), (1, 1), mode="replicate"),
        ShapeError,
        "'replicate' has no outermost pixel",
    ),
    # indexing
    (
        "__getitem__",
        call(x, 5),
        IndexingError,
        "index 5 is out of bounds ... x: (2, 3) ... index: 5",
    ),
    ("__getitem__", call(x, (0, 0, 0)), IndexingError, "too many indices ... index: (0, 0, 0)"),
    ("__getitem__", call(x, 1.0), IndexingError, "only integers, slices ... index: 1.0"),
    ("__getitem__", call(x, "a"), IndexingError, "only integers, slices ... index: 'a'"),
    ("__getitem__", call(x, x), IndexingError, "arrays used as indices must be of integer"),
    ("__getitem__", call(x, four > 0), IndexingError, "boolean index did not match ... (2, 3)"),
    ("__getitem__", call(x, np.array([0, 7])), IndexingError, "index 7 is out of bounds"),
    (
        "__getitem__",
        call(x, [[0], [0, 1]]),
        IndexingError,
        "setting an array ... index: [[0], [0, 1]]",
    ),
    ("__getitem__", call(x, slice(None, None, 0)), IndexingError, "slice step cannot be zero"),
    ("__getitem__", call(mr.tensor(1.0), 0), IndexingError, "too many indices ... x: () float32"),
    # products
    (
        "matmul",
        call(x, x),
        ShapeError,
        "the last dimension of a must equal ... a: (2, 3) float32    b: (2, 3) float32",
    ),
    ("matmul", call(x, mr.tensor(1.0)), ShapeError, "the last dimension of a ... b: () float32"),
    ("matmul", call(x, 2.0), DTypeError, "b must be a tensor or an array, not float"),
    (
        "matmul",
        call(mr.ones(2, 3, 4), mr.ones(3, 4, 5)),
        ShapeError,
        "the leading dimensions ... a: (2, 3, 4) float32    b: (3, 4, 5) ... or one of them 1",
    ),
    (
        "linear",
        call(x, mr.ones(4, 5)),
        ShapeError,
        "input must end in ... input: (2, 3) float32    weight: (4, 5) ... Check in_features",
    ),
    ("linear", call(x, None), DTypeError, "weight must be a tensor or an array, not NoneType"),
    ("linear", call(x, mr.ones(4, 3), [1.0]), DTypeError, "bias must be a tensor ... not list"),
    ("linear", call(x, mr.ones(4, 3), mr.ones(3)), ShapeError, "bias must ... (4,) ... bias: (3,)"),
    ("linear", call(x, mr.ones(4, 3), mr.ones(2, 4)), ShapeError, "bias must ... bias: (2, 4)"),
    # convolution
    (
        "conv2d",
        call(image, mr.ones(4, 16, 3, 3)),
        ShapeError,
        "x has 3 channels but weight expects 16 ... x: (2, 3, 8, 8) float32    "
        f"weight: (4, 16, 3, 3) float32 ... Check {BOTH}",
    ),
    (
        "conv2d",
        call(image, mr.ones(4, 3, 9, 9)),
        ShapeError,
        "the kernel spans 9 x 9, but x with its padding is only 8 x 8 ... more padding",
    ),
    ("conv2d", call(image, weight, groups=3), ShapeError, "weight makes 4 channels ... 3 groups"),
    ("conv2d", call(image, mr.ones(4, 3)), ShapeError, "weight must be (C_out, C/groups, KH, KW)"),
    ("conv2d", call(image, mr.ones(4, 3, 0, 3)), ShapeError, "weight must be ... (4, 3, 0, 3)"),
    ("conv2d", call(image, mr.ones(4, 3), padding="same"), ShapeError, "weight must have 4 dim"),
    ("conv2d", call(image, weight, padding="full"), UsageError, "padding 'full' is none of 'same'"),
    ("conv2d", call(image, weight, stride=2, padding="same"), UsageError, "padding='same' needs"),
    ("conv2d", call(image[0], weight, padding="same"), ShapeError, "x must be (N, C, H, W)"),
    (
        "conv_transpose2d",
        call(image, mr.ones(4, 3, 3, 3)),
        ShapeError,
        "input must be (N, C, H, W) and weight (C, C_out/groups, KH, KW) ... "
        f"input: (2, 3, 8, 8) float32    weight: (4, 3, 3, 3) float32 ... Check {BOTH}",
    ),
    (
        "conv_transpose2d",
        call(image, mr.ones(3, 4, 0, 3)),
        ShapeError,
        "input must ... (3, 4, 0, 3)",
    ),
    ("conv_transpose2d", call(image, turned, groups=2), ShapeError, "2 groups cannot share 3 chan"),
    (
        "conv_transpose2d",
        call(image, turned, output_padding=1),
        UsageError,
        "output_padding (1, 1) must be from 0 to below stride (1, 1)",
    ),
    (
        "conv_transpose2d",
        call(image, turned, padding=6),
        ShapeError,
        "padding (6, 6) leaves nothing of the output ... Use less padding",
    ),
    # pooling
    (
        "avg_pool2d",
        call(image, 2, divisor_override=0),
        UsageError,
        "divisor_override must not be 0",
    ),
    (
        "avg_pool2d",
        call(image, 2, divisor_override=1.5),
        UsageError,
        "divisor_override must not be 1",
    ),
    (
        "max_pool2d",
        call(image[:, :, :2], (2, 1), 1, (1, 0), (3, 1)),
        ShapeError,
        "a window sees nothing but padding, because dilation (3, 1) ... Use less",
    ),
    (
        "adaptive_avg_pool2d",
        call(image, 0),
        ShapeError,
        "cannot pool x to output_size (0, 0) ... x: (2, 3, 8, 8) float32 ... from 1 on",
    ),
    ("adaptive_avg_pool2d", call(image, 1.5), UsageError, "output_size must be a whole number"),
    ("adaptive_avg_pool2d", call(image, (1, 2, 3)), UsageError, "output_size must ... (1, 2, 3)"),
    # normalisation
    ("batch_norm", call(four, None, None), ShapeError, "input must be (N, C, ...) ... input: (4,)"),
    *(
        (
            "batch_norm",
            call(image, *(four if i == j else mr.ones(3) for j in range(4))),
            ShapeError,
            f"{name} must have one number for each of 3 channels ... input: (2, 3, 8, 8) float32"
            f"    {name}: (4,) float32 ... Check num_features",
        )
        for i, name in enumerate(("running_mean", "running_var", "weight", "bias"))
    ),
    (
        "batch_norm",
        call(x, mr.zeros(3), None),
        ShapeError,
        "give both running_mean and running_var",
    ),
    ("batch_norm", call(x, [0.0], [1.0]), DTypeError, "running_mean must be a tensor ... not list"),
    (
        "batch_norm",
        call(mr.ones(1, 3), None, None, training=True),
        ShapeError,
        "in training each channel needs more than one value ... input: (1, 3) ... model.eval()",
    ),
    ("batch_norm", call(x, None, None, momentum=None), UsageError, "momentum must be a number"),
    ("batch_norm", call(x, None, None, eps="a"), UsageError, "eps must be a number, not 'a'"),
    ("batch_norm", call(x, None, None, eps=-1.0), UsageError, "eps must not be negative, got -1.0"),
    # losses
    (
        "cross_entropy",
        call(x, labels, label_smoothing=2),
        UsageError,
        "label_smoothing must be in 0",
    ),
    (
        "cross_entropy",
        call(x, labels, label_smoothing="a"),
        UsageError,
        "label_smoothing must be a num",
    ),
    ("cross_entropy", call(x, x, ignore_index=1), UsageError, "ignore_index is for class numbers"),
    ("mse_loss", call(x, 1.0), DTypeError, "target must be a tensor or an array, not float"),
    (
        "mse_loss",
        call(x, mr.ones(3)),
        ShapeError,
        "input and target differ in shape ... input: (2, 3) float32    target: (3,) float32",
    ),
    # devices and dtypes
    (
        "to",
        call(x, "floot32"),
        DTypeError,
        "'floot32' is neither a device ('cpu', 'cuda') nor a dtype",
    ),
    ("to", call(x, None), DTypeError, "None is neither a device"),
    ("to", call(x, "complex64"), DTypeError, "'complex64' is neither ... real numbers"),
    ("to", call(x, object), DTypeError, "<class 'object'> is neither a device"),
]
