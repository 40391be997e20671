"""The exercises of notebook 07: the residual block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minires.functional as F
from minires import models, nn, optim
from minires.autograd import Tensor
from minires.device import Array
from minires.errors import ShapeError
from minires.exercises.checking import (
    NotYet,
    Wrong,
    call,
    close,
    diagnosed,
    exercise,
    explanation,
    numbers,
    set_state,
)
from minires.models.block_options import BlockOptions
from minires.models.blocks import make_stage

__all__ = ["basic_block", "fork", "identity", "pad_shortcut", "projection", "shortcut_parameters"]


@exercise(
    "A basic block",
    "The parts are called branch and activation. The branch may be an nn.Sequential of "
    "convolution, batch norm, ReLU, convolution, batch norm. What has to come after the sum?",
)
def basic_block(attempt: Callable[..., Any]) -> str:
    """Write the basic block of He et al. 2015, for one number of channels.

    The attempt takes the number of channels and returns an nn.ResidualBlock, so a class will do.
    It computes relu(x + F(x)), and F is a 3x3 convolution, batch norm, ReLU, a 3x3 convolution and
    batch norm, made of nn.Conv2d and nn.BatchNorm2d.
    """
    draw = np.random.default_rng(7)
    channels = 3
    block = _module(call(attempt, channels), nn.ResidualBlock, "an nn.ResidualBlock")
    x = draw.standard_normal((4, channels, 6, 5)).astype(np.float32)
    block.train()
    convs, norms = _layers_that_run(block, x)
    if len(convs) != 2 or len(norms) != 2:
        raise Wrong(
            f"When the block runs, {len(convs)} nn.Conv2d and {len(norms)} nn.BatchNorm2d run; the "
            "basic block has two of each. (A layer that is used twice shares its weights: make two "
            "of them.)"
        )
    weights = [
        draw.standard_normal((channels, channels, 3, 3)).astype(np.float32) for _ in range(2)
    ]
    scales = [draw.uniform(0.5, 1.5, channels).astype(np.float32) for _ in range(2)]
    shifts = [draw.standard_normal(channels).astype(np.float32) for _ in range(2)]
    for conv, weight in zip(convs, weights, strict=True):
        if conv.weight.shape != weight.shape:
            raise Wrong(
                f"A convolution has a weight of {tuple(conv.weight.shape)}; for {channels} "
                f"channels it should be {weight.shape}: 3x3, as many channels out as in."
            )
        set_state(conv, weight=weight, bias=np.zeros(channels, np.float32))
    for norm, scale, shift in zip(norms, scales, shifts, strict=True):
        set_state(norm, weight=scale, bias=shift)
    found = numbers(block(Tensor(x)), "the block's output")
    right, others = _basic(x, weights, scales, shifts)
    close(found, right, "the block's output", rtol=1e-4, why=explanation(found, others, rtol=1e-4))
    return "All instruments of minires.flow work on it, because it keeps to the contract."


def _layers_that_run(block: nn.Module, x: Array) -> tuple[list[Any], list[Any]]:
    """Convolutions and batch norms in the order in which they run, each once."""
    ran: dict[nn.Module, None] = {}
    kinds = (nn.Conv2d, nn.BatchNorm2d)
    handles = [
        module.register_forward_hook(lambda module, inputs, out: ran.setdefault(module))
        for module in block.modules()
        if isinstance(module, kinds)
    ]
    try:
        block(Tensor(x))
    except ShapeError as error:
        raise Wrong(str(error)) from None
    finally:
        for handle in handles:
            handle.remove()
    return tuple([m for m in ran if isinstance(m, kind)] for kind in kinds)  # type: ignore[return-value]


def _basic(
    x: Array, weights: list[Array], scales: list[Array], shifts: list[Array]
) -> tuple[Array, dict[str, Array]]:
    """What the block gives, and what it would give with plausible mistakes."""

    def conv(i: int, h: Array) -> Array:
        return F.conv2d(h, weights[i], padding=1)

    def norm(i: int, h: Array) -> Array:
        return F.batch_norm(h, None, None, scales[i], shifts[i], True)

    relu = F.relu
    inner = norm(0, conv(0, x))
    branch = norm(1, conv(1, relu(inner)))
    linear = norm(1, conv(1, inner))
    late = conv(1, relu(norm(1, conv(0, relu(norm(0, x))))))
    return relu(x + branch), {
        "The last ReLU is missing: it follows the sum. Assign it as the block's activation.": x
        + branch,
        "The last ReLU is in the branch; it comes after the sum, so that the branch can also take "
        "something away.": x + relu(branch),
        "There is a ReLU at the end of the branch as well; only the one after the sum is "
        "wanted, so that the branch can also take something away.": relu(x + relu(branch)),
        "The skip counts twice: the block adds x itself, the branch is F alone.": relu(
            2 * x + branch
        ),
        "The skip counts twice (the branch is F alone), and the last ReLU is missing.": 2 * x
        + branch,
        "There is no skip: this is the plain block.": relu(branch),
        "There is no ReLU between the two convolutions.": relu(x + linear),
        "Here batch norm and ReLU come before the convolutions. That is the block of He et al. "
        "2016, in notebook 10; this one is that of 2015.": x + late,
    }


@exercise(
    "The shortcut of option A",
    "F.pad counts from the last axis: it takes (left, right, top, bottom, front, back), and the "
    "channels are the third pair.",
)
def pad_shortcut(attempt: Callable[..., Any]) -> None:
    """Write the shortcut that pads with zeros.

    The attempt takes a tensor x (N, C, H, W), out_channels (at least C) and stride, and returns a
    tensor (N, out_channels, ceil(H / stride), ceil(W / stride)): every stride-th pixel of x, and
    zeros in the channels that are new, which come last.
    """
    draw = np.random.default_rng(8)
    for shape, out_channels, stride in (
        ((2, 3, 6, 4), 6, 2),
        ((1, 2, 5, 7), 5, 2),
        ((2, 2, 3, 3), 4, 1),
    ):
        x = Tensor(draw.standard_normal(shape), requires_grad=True)
        found = _answer(call(attempt, x, out_channels, stride))
        C = shape[1]
        kept = x.data[:, :, ::stride, ::stride]
        right = _with_channels(kept, out_channels)
        N, _, OH, OW = right.shape
        front = np.concatenate([right[:, C:], right[:, :C]], axis=1)
        both = np.zeros_like(right)
        extra = (out_channels - C) // 2
        both[:, extra : extra + C] = kept
        repeated = np.concatenate([kept] * (out_channels // C + 1), axis=1)[:, :out_channels]
        others = {
            "The zeros come first here; they belong behind the channels of x.": front,
            "Half of the zeros come before the channels of x; all belong behind them.": both,
            "The new channels repeat those of x; they hold zeros.": repeated,
            "These are the first pixels of x; take every stride-th.": _with_channels(
                x.data[:, :, :OH, :OW], out_channels
            ),
            "This begins at the second pixel; the first, in row 0 and column 0, is taken.": (
                _with_channels(x.data[:, :, 1::2, 1::2], out_channels)
            ),
            "These are means of windows: average pooling. Option A takes single pixels.": (
                _with_channels(F.avg_pool2d(x.data, stride, ceil_mode=True), out_channels)
            ),
            "These are maxima of windows. Option A takes single pixels.": (
                _with_channels(F.max_pool2d(x.data, stride, ceil_mode=True), out_channels)
            ),
        }
        what = f"the shortcut of {shape} with out_channels={out_channels}, stride={stride}"
        why = explanation(found, others, rtol=1e-4)
        if found.shape == (N, out_channels, *shape[2:]) and stride > 1:
            why = "The branch has a stride, and the shortcut must have the same one."
        close(found.data, right, what, why=why)
        if not found.requires_grad:
            raise Wrong(
                "The numbers are right, but the tensor has no history, so that no gradient comes "
                "back over the skip. Index x itself (not x.data), and pad with F.pad."
            )
        grad_out = draw.standard_normal(right.shape)
        found.backward(Tensor(grad_out))
        grad = np.zeros(shape)
        grad[:, :, ::stride, ::stride] = grad_out[:, :C]
        close(x.grad, grad, "the gradient at x")


def _with_channels(x: Array, channels: int) -> Array:
    N, C, H, W = x.shape
    return np.concatenate([x, np.zeros((N, channels - C, H, W))], axis=1)


@exercise(
    "A projection shortcut",
    "nn.Conv2d(in_channels, out_channels, kernel_size, stride=..., bias=False) and "
    "nn.BatchNorm2d(out_channels), in an nn.Sequential. How large is the window of a projection?",
)
def projection(attempt: Callable[..., Any]) -> str:
    """Make the projection of equation 2, with batch norm behind it.

    The attempt takes in_channels, out_channels and stride and returns a module: a 1x1 convolution
    with this stride and without a bias, and batch norm, as behind every convolution of the paper.
    """
    draw = np.random.default_rng(9)
    for in_channels, out_channels, stride in ((3, 6, 2), (4, 5, 1)):
        made = _module(call(attempt, in_channels, out_channels, stride), nn.Module, "a module")
        made.train()
        x = draw.standard_normal((3, in_channels, 6, 4)).astype(np.float32)
        convs, norms = _layers_that_run(made, x)
        if len(convs) != 1:
            raise Wrong(f"One convolution is wanted; here {len(convs)} run.")
        conv = convs[0]
        if conv.weight.shape[2:] != (1, 1):
            raise Wrong(
                f"The window is {conv.weight.shape[2]} x {conv.weight.shape[3]}. W_s in equation 2 "
                "is a matrix that mixes the channels of one pixel: a 1x1 convolution."
            )
        if conv.bias is not None:
            raise Wrong("The convolution has a bias; batch norm would take it off again.")
        if not norms:
            raise Wrong(
                "Batch norm is missing. The convolution alone is W_s of equation 2; in the paper "
                "batch norm follows each convolution (section 3.4)."
            )
        weight = draw.standard_normal((out_channels, in_channels, 1, 1)).astype(np.float32)
        if conv.weight.shape != weight.shape:
            raise Wrong(
                f"The weight is {tuple(conv.weight.shape)} and should be {weight.shape}: "
                "(out_channels, in_channels, 1, 1)."
            )
        set_state(conv, weight=weight)
        scale = draw.uniform(0.5, 1.5, out_channels).astype(np.float32)
        set_state(norms[0], weight=scale, bias=np.ones(out_channels, np.float32))
        found = numbers(made(Tensor(x)), "the projection")
        y = F.conv2d(x, weight, stride=stride)
        right = F.batch_norm(y, None, None, scale, np.ones(out_channels, np.float32), True)
        others = {
            "There is a ReLU at the end: a projection is linear, and ReLU comes after the sum.": (
                F.relu(right)
            )
        }
        why = explanation(found, others, rtol=1e-4)
        if found.shape[2:] != right.shape[2:]:
            why = "The stride of the branch is the stride of the projection."
        what = f"the projection from {in_channels} to {out_channels} channels, stride={stride}"
        close(found, right, what, rtol=1e-4, why=why)
    return "This is the downsample of shortcut B in minires.models, and of torchvision."


@exercise(
    "What the shortcuts cost",
    "A projection from a to b channels has a * b weights, and its batch norm a scale and a shift "
    "for each of b. In which blocks do the dimensions change, and from what to what?",
)
def shortcut_parameters(attempt: Callable[..., Any]) -> None:
    """Count the parameters of the shortcuts of a CIFAR network.

    The attempt takes the option ('A', 'B' or 'C'), width and blocks (of each stage), and returns a
    whole number.  The network has three stages of basic blocks with width, 2 * width and 4 * width
    channels; its stem gives width channels; a projection has no bias, and batch norm behind it.
    """
    for width, blocks in ((8, 2), (16, 3), (6, 1)):
        depth = 6 * blocks + 2
        counts = [
            sum(p.numel() for p in models.cifar_resnet(depth, width=width, shortcut=o).parameters())
            for o in "ABC"
        ]
        A, B, C = (count - counts[0] for count in counts)
        w = width
        grows = 2 * w * w + 8 * w * w  # weights from w to 2w and from 2w to 4w channels
        stays = w * w * blocks + (4 + 16) * w * w * (blocks - 1)
        first_stage = blocks * (w * w + 2 * w)
        no_norm = "The batch norms are missing: a scale and a shift for each channel."
        half_norm = "Half of each batch norm is missing: it has a scale and a shift."
        known = {
            "A": (A, {}),
            "B": (
                B,
                {
                    no_norm: grows,
                    half_norm: (B + grows) // 2,
                    "That is the number for C; with B only the blocks where the dimensions change "
                    "have a projection.": C,
                },
            ),
            "C": (
                C,
                {
                    no_norm: grows + stays,
                    half_norm: (C + grows + stays) // 2,
                    "That is the number for B; with C every block has a projection.": B,
                    "With C the blocks of the first stage have projections too, though their "
                    "dimensions stay.": C - first_stage,
                },
            ),
        }
        for option, (right, others) in known.items():
            found = numbers(call(attempt, option, width, blocks), "the number")
            why = "Shortcut A has no parameters: it takes pixels, and adds zeros."
            if option != "A":
                why = explanation(found, {text: np.asarray(n) for text, n in others.items()})
            what = f"the number for option {option!r}, width={width}, blocks={blocks}"
            close(found, right, what, rtol=0.0, why=why)


@exercise(
    "The gradient at the fork",
    "Begin at the end. At the sum both ways receive grad_out. Go back through w2, the ReLU and w1; "
    "at the fork what the two ways bring is added.",
)
def fork(attempt: Callable[..., Any]) -> None:
    """Write the backward pass of y = x + relu(x w1^T) w2^T.

    The attempt takes grad_out and x, both (N, D), w1 and w2, both (D, D), and returns the gradients
    of x, w1 and w2.
    """
    draw = np.random.default_rng(10)
    call(attempt, *(draw.standard_normal(shape) for shape in ((4, 3), (4, 3), (3, 3), (3, 3))))

    def forward(x: Array, w1: Array, w2: Array) -> Array:
        return x + np.maximum(x @ w1.T, 0) @ w2.T

    diagnosed(forward, attempt, "add_skip")


@exercise(
    "A block that is the identity",
    "The last layer of the branch is block.bn2: out = weight * (normalised) + bias, for each "
    "channel. nn.init.zeros_(parameter) sets a parameter to zero.",
)
def identity(attempt: Callable[..., Any]) -> str:
    """Make a given block the identity, so that it can still learn.

    The attempt takes a block of models.cifar_resnet (conv1, bn1, conv2, bn2), changes its
    parameters, and returns it.  For x from 0 on, its output is then x itself, in training and in
    evaluation mode; and after a few steps of SGD there is a gradient at both convolutions.
    """
    draw = np.random.default_rng(11)
    for channels in (3, 4):
        block: Any = make_stage(channels, channels, 1, 1, BlockOptions())[0]
        for norm in (block.bn1, block.bn2):
            set_state(
                norm,
                weight=draw.uniform(0.5, 1.5, channels).astype(np.float32),
                bias=draw.standard_normal(channels).astype(np.float32),
                running_mean=draw.standard_normal(channels).astype(np.float32),
            )
        x = np.maximum(draw.standard_normal((4, channels, 5, 5)), 0).astype(np.float32)
        found = attempt(block)
        if found is None or found is Ellipsis:
            raise NotYet("The function returns nothing yet; it should return the block.")
        if found is not block:
            raise Wrong("Return the block that was given, with other parameters.")
        _check_identity(block, x)
        _check_it_learns(block, x, draw)
    return "Exactly the identity, to the bit, and free to become something else."


def _check_identity(block: Any, x: Array) -> None:
    zero = {name: not p.data.any() for name, p in block.named_parameters()}
    for mode in ("training", "evaluation"):
        block.train(mode == "training")
        found = block(Tensor(x)).data
        why = ""
        if zero.get("bn2.weight") and not zero.get("bn2.bias"):
            why = "The weight of bn2 is zero, but its bias is still added to every pixel."
        elif mode == "evaluation" and zero.get("conv2.weight"):
            why = (
                "In evaluation mode bn2 takes off its running mean, also where the convolution "
                "gives zeros, and multiplies the rest by its weight."
            )
        elif zero.get("bn1.weight") or zero.get("conv1.weight"):
            why = "What comes first in the branch is zero here; what comes after it still adds."
        close(found, x, f"the block's output in {mode} mode", rtol=0.0, why=why)


def _check_it_learns(block: Any, x: Array, draw: np.random.Generator) -> None:
    target = draw.standard_normal(x.shape).astype(np.float32)
    block.train()
    parameters = list(block.parameters())
    if not parameters:
        raise Wrong("The block has no parameters left that could learn.")
    optimizer = optim.SGD(parameters, lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        output = block(Tensor(x))
        if not output.requires_grad:
            raise Wrong("The branch takes no part in the output any more: nothing can be learned.")
        F.mse_loss(output, Tensor(target)).backward()
        optimizer.step()
    for name in ("conv1", "conv2"):
        grad = getattr(block, name).weight.grad
        if grad is None or not np.any(grad.data):
            raise Wrong(
                f"It is the identity, and it stays it: after three steps no gradient has come to "
                f"{name}. Where two factors of a product are both zero, neither has a gradient; "
                "set the last factor of the branch to zero, and only that."
            )


def _module(made: Any, kind: type, name: str) -> Any:
    if not isinstance(made, kind):
        raise Wrong(f"Return {name}; this is {type(made).__name__}.")
    return made


def _answer(result: Any) -> Tensor:
    if not isinstance(result, Tensor):
        raise Wrong(f"Return a tensor; this is {type(result).__name__}.")
    return result
