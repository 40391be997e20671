"""The exercises on the residual block: right attempts of several styles, and wrong ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import models, nn
from minires.exercises import residual_block


def layers(c: int, *, inner: bool = True, last: bool = False, padding: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(c, c, 3, padding=padding, bias=False),
        nn.BatchNorm2d(c),
        nn.ReLU() if inner else nn.Identity(),
        nn.Conv2d(c, c, 3, padding=padding),
        nn.BatchNorm2d(c),
        nn.ReLU() if last else nn.Identity(),
    )


class Short(nn.ResidualBlock):
    activation = staticmethod(F.relu)

    def __init__(self, c: int, **options: Any):
        super().__init__()
        self.branch = layers(c, **options)


class Long(nn.ResidualBlock):
    def __init__(self, channels: int):
        super().__init__()
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)])
        self.activation = nn.ReLU()

    def branch(self, u: Any) -> Any:
        return self.norms[1](self.second(self.norms[0](self.first(u)).relu()))


class WithoutLastReLU(Short):
    def activation(self, z: Any) -> Any:
        return z


class Twice(Short):
    def __init__(self, c: int):
        super().__init__(c)
        inside = self.branch
        del self.branch
        self.inside = inside

    def branch(self, u: Any) -> Any:
        return u + self.inside(u)


class Shared(nn.ResidualBlock):
    activation = staticmethod(F.relu)

    def __init__(self, c: int):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(c, c, 3, padding=1), nn.BatchNorm2d(c)

    def branch(self, u: Any) -> Any:
        return self.bn(self.conv(F.relu(self.bn(self.conv(u)))))


class ByHand(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.layers = layers(c)

    def forward(self, x: Any) -> Any:
        return F.relu(x + self.layers(x))


class Unfilled(nn.ResidualBlock):
    def __init__(self, channels: int):
        super().__init__()


def without_skip(c: int) -> Any:
    block = Short(c)
    block.shortcut = None
    return block


def test_basic_block() -> None:
    assert residual_block.basic_block(Unfilled).status == "not yet"
    assert residual_block.basic_block(Short).passed
    assert residual_block.basic_block(Long).passed


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (WithoutLastReLU, "The last ReLU is missing"),
        (lambda c: Short(c, last=True), "also take something away"),
        (lambda c: Short(c, inner=False), "no ReLU between the two convolutions"),
        (lambda c: Short(c, padding=0), "is padding=1 missing"),
        (Twice, "The skip counts twice"),
        (without_skip, "There is no skip"),
        (Shared, "has two of each"),
        (ByHand, "Return an nn.ResidualBlock; this is ByHand"),
        (lambda c: models.cifar_resnet(14, width=c, preactivation=True).layer1[1], "2016"),
    ],
)
def test_basic_block_gone_wrong(attempt: Any, told: str) -> None:
    verdict = residual_block.basic_block(attempt)
    assert verdict.status == "wrong"
    assert told in verdict.message


def pad_by_slices(x: Any, out_channels: int, stride: int) -> Any:
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, out_channels - x.shape[1]))


def pad_by_cat(x: Any, out_channels: int, stride: int) -> Any:
    small = F.max_pool2d(x, 1, stride)
    N, C, H, W = small.shape
    if out_channels == C:
        return small
    return mr.cat([small, mr.zeros(N, out_channels - C, H, W).to(x.dtype)], 1)


def pad_in_front(x: Any, out_channels: int, stride: int) -> Any:
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, out_channels - x.shape[1], 0))


def pad_averages(x: Any, out_channels: int, stride: int) -> Any:
    return pad_by_slices(F.avg_pool2d(x, stride), out_channels, 1)


def pad_without_history(x: Any, out_channels: int, stride: int) -> Any:
    return mr.tensor(pad_by_slices(x, out_channels, stride).data)


def pad_as_in_the_notebook(x: Any, out_channels: int, stride: int) -> Any: ...


def test_zero_padding() -> None:
    assert residual_block.pad_shortcut(pad_as_in_the_notebook).status == "not yet"
    assert residual_block.pad_shortcut(pad_by_slices).passed
    assert residual_block.pad_shortcut(pad_by_cat).passed
    assert residual_block.pad_shortcut(
        lambda x, out, stride: models.PadShortcut(x.shape[1], out, stride)(x)
    ).passed


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (pad_in_front, "The zeros come first here"),
        (pad_averages, "average pooling"),
        (lambda x, out, stride: pad_by_slices(x, out, 1), "must have the same one"),
        (
            lambda x, out, stride: pad_by_slices(
                x[:, :, : -(-x.shape[2] // stride), : -(-x.shape[3] // stride)], out, 1
            ),
            "These are the first pixels of x",
        ),
        (pad_without_history, "the tensor has no history"),
        (lambda x, out, stride: x.data, "Return a tensor; this is ndarray"),
    ],
)
def test_zero_padding_gone_wrong(attempt: Any, told: str) -> None:
    verdict = residual_block.pad_shortcut(attempt)
    assert verdict.status == "wrong"
    assert told in verdict.message


def project(in_channels: int, out_channels: int, stride: int, **options: Any) -> nn.Sequential:
    settings = dict(kernel_size=1, stride=stride, bias=False) | options
    conv = nn.Conv2d(in_channels, out_channels, **settings)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


class Project(nn.Module):
    def __init__(self, a: int, b: int, stride: int):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(b), nn.Conv2d(a, b, 1, stride, bias=False)

    def forward(self, x: Any) -> Any:
        return self.norm(self.conv(x))


def project_as_in_the_notebook(in_channels: int, out_channels: int, stride: int) -> Any: ...


def test_projection() -> None:
    assert residual_block.projection(project_as_in_the_notebook).status == "not yet"
    assert residual_block.projection(project).passed
    assert residual_block.projection(Project).passed


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (lambda a, b, s: project(a, b, s, kernel_size=3, padding=1), "The window is 3 x 3"),
        (lambda a, b, s: project(a, b, 1), "The stride of the branch"),
        (lambda a, b, s: project(a, b, s, bias=True), "has a bias"),
        (lambda a, b, s: project(a, b, s)[0], "Batch norm is missing"),
        (lambda a, b, s: nn.Sequential(project(a, b, s), nn.ReLU()), "There is a ReLU at the end"),
        (lambda a, b, s: 3, "Return a module; this is int"),
    ],
)
def test_projection_gone_wrong(attempt: Any, told: str) -> None:
    verdict = residual_block.projection(attempt)
    assert verdict.status == "wrong"
    assert told in verdict.message


def cost(option: str, width: int, blocks: int, *, norm: int = 2, first: bool = True) -> int:
    if option == "A":
        return 0
    total, channels = 0, width
    for stage in range(3):
        for i in range(blocks):
            out = width * 2**stage
            if out != channels or (option == "C" and (first or stage)):
                total += channels * out + norm * out
            assert i == 0 or channels == out
            channels = out
    return total


def cost_as_in_the_notebook(option: str, width: int, blocks: int) -> Any: ...


def test_the_cost_of_shortcuts() -> None:
    assert residual_block.shortcut_parameters(cost_as_in_the_notebook).status == "not yet"
    assert residual_block.shortcut_parameters(cost).passed
    assert residual_block.shortcut_parameters(lambda *a: np.float32(cost(*a))).passed


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (lambda *a: cost(*a, norm=0), "The batch norms are missing"),
        (lambda *a: cost(*a, norm=1), "Half of each batch norm is missing"),
        (lambda *a: cost(*a, first=False), "The blocks of the first stage"),
        (lambda o, *a: cost("C" if o == "B" else o, *a), "That is the number for C"),
        (lambda o, *a: cost("B" if o == "C" else o, *a), "That is the number for B"),
        (lambda o, *a: cost("B", *a), "Shortcut A has no parameters"),
    ],
)
def test_the_cost_of_shortcuts_gone_wrong(attempt: Any, told: str) -> None:
    verdict = residual_block.shortcut_parameters(attempt)
    assert verdict.status == "wrong"
    assert told.lower() in verdict.message.lower()


def back(
    grad_out: Any, x: Any, w1: Any, w2: Any, *, skip: float = 1.0, mask: bool = True
) -> tuple[Any, Any, Any]:
    before = x @ w1.T
    hidden = np.maximum(before, 0)
    grad_before = grad_out @ w2
    if mask:
        grad_before = grad_before * (before > 0)
    return skip * grad_out + grad_before @ w1, grad_before.T @ x, grad_out.T @ hidden


def back_by_the_library(grad_out: Any, x: Any, w1: Any, w2: Any) -> Any:
    x, w1, w2 = (mr.tensor(a, requires_grad=True) for a in (x, w1, w2))
    (x + F.linear(F.relu(F.linear(x, w1)), w2)).backward(mr.tensor(grad_out))
    return [x.grad, w1.grad, w2.grad]


def back_as_in_the_notebook(grad_out: Any, x: Any, w1: Any, w2: Any) -> Any: ...


def test_the_fork() -> None:
    assert residual_block.fork(back_as_in_the_notebook).status == "not yet"
    assert residual_block.fork(back).passed
    assert residual_block.fork(back_by_the_library).passed


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (lambda *a: back(*a, skip=0.0), "skip_forgotten"),
        (lambda *a: back(*a, skip=2.0), "skip_counted_twice"),
        (lambda *a: back(*a, mask=False), "mask_forgotten"),
        (lambda *a: (a[0], *back(*a)[1:]), "branch_forgotten"),
        (lambda *a: (back(*a)[0] / 2, *back(*a)[1:]), "averaged where they should be added"),
    ],
)
def test_the_fork_gone_wrong(attempt: Any, told: str) -> None:
    verdict = residual_block.fork(attempt)
    assert verdict.status == "wrong"
    assert told in verdict.message


def zeros(*names: str) -> Any:
    def attempt(block: Any) -> Any:
        for name, parameter in block.named_parameters():
            if name in names or not names:
                nn.init.zeros_(parameter)
        return block

    return attempt


def by_state(block: Any) -> Any:
    state = block.state_dict()
    for name in ("bn2.weight", "bn2.bias"):
        state[name] = state[name] * 0
    block.load_state_dict(state)
    return block


def nothing(block: Any) -> Any: ...


def replaced(block: Any) -> Any:
    block.branch_scale = 0.0
    return block


def test_identity() -> None:
    assert residual_block.identity(nothing).status == "not yet"
    assert residual_block.identity(zeros("bn2.weight", "bn2.bias")).passed
    assert residual_block.identity(by_state).passed


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        (zeros("bn2.weight"), "its bias is still added"),
        (zeros("conv2.weight", "bn2.bias"), "takes off its running mean"),
        (zeros("bn1.weight", "bn1.bias"), "what comes after it still adds"),
        (zeros(), "no gradient has come to conv"),
        (replaced, "no gradient has come to conv1"),
        (lambda block: nn.Identity(), "Return the block that was given"),
        (lambda block: block, "should be"),
    ],
)
def test_identity_gone_wrong(attempt: Any, told: str) -> None:
    verdict = residual_block.identity(attempt)
    assert verdict.status == "wrong"
    assert told in verdict.message
