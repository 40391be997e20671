"""The blocks of He et al.: activation after the sum (2015) and before the weights (2016)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import minires.functional as F
from minires import nn
from minires.errors import UsageError

__all__ = [
    "EXPANSION",
    "BlockOptions",
    "ConvSpec",
    "PadShortcut",
    "PostActivationBlock",
    "PreActivationBlock",
    "basic",
    "bottleneck",
    "check_options",
    "make_stage",
]

EXPANSION = 4  # a bottleneck ends with four times its inner channels


@dataclass(frozen=True)
class BlockOptions:
    """What the blocks of a network have in common; see :func:`~minires.models.cifar_resnet`."""

    block: str = "basic"
    layers: int = 2
    residual: bool = True
    preactivation: bool = False
    shortcut: str = "A"
    norm: str | None = "batch"

    @property
    def expansion(self) -> int:
        """Channels of a block's output for each of its inner channels."""
        return EXPANSION if self.block == "bottleneck" else 1


def check_options(options: BlockOptions) -> None:
    """Raise UsageError for a kind that does not exist."""
    if options.block not in ("basic", "bottleneck"):
        raise UsageError(f"Unknown block {options.block!r}: choose 'basic' or 'bottleneck'.")
    if options.shortcut not in ("A", "B", "C"):
        raise UsageError(f"Unknown shortcut {options.shortcut!r}: choose A, B or C.")
    if options.norm not in ("batch", None):
        raise UsageError(f"Unknown norm {options.norm!r}: choose 'batch' or None.")


def make_stage(
    in_channels: int,
    inner: int,
    blocks: int,
    stride: int,
    options: BlockOptions,
    *,
    first: bool = False,
) -> nn.Sequential:
    """``blocks`` blocks of ``inner`` inner channels; the first of them has the stride.

    Args:
        in_channels: of the stage's input; its output has ``inner * options.expansion``.
        first: whether the stage begins the network, so that its input comes from the stem.
    """
    made: list[nn.Module] = []
    channels = in_channels
    for i in range(blocks):
        step = stride if i == 0 else 1
        if options.block == "bottleneck":
            convs = bottleneck(channels, inner, step, EXPANSION)
        else:
            convs = basic(channels, inner, step, options.layers)
        kind: dict[str, Any] = dict(
            residual=options.residual, shortcut=options.shortcut, norm=options.norm
        )
        if options.preactivation:
            made.append(PreActivationBlock(convs, first=first and i == 0, **kind))
        else:
            made.append(PostActivationBlock(convs, **kind))
        channels = inner * options.expansion
    return nn.Sequential(*made)


class ConvSpec(NamedTuple):
    """One convolution of a branch: k x k with padding k // 2."""

    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int


def basic(in_channels: int, channels: int, stride: int, layers: int) -> list[ConvSpec]:
    """``layers`` 3x3 convolutions, the first with the stride (He et al. 2015, figure 5 left)."""
    first = ConvSpec(in_channels, channels, 3, stride)
    return [first] + [ConvSpec(channels, channels, 3, 1)] * (layers - 1)


def bottleneck(in_channels: int, channels: int, stride: int, expansion: int) -> list[ConvSpec]:
    """1x1 down, 3x3 with the stride, 1x1 up by ``expansion`` (He et al. 2015, figure 5 right).

    The stride is on the 3x3 convolution, as in torchvision.
    """
    return [
        ConvSpec(in_channels, channels, 1, 1),
        ConvSpec(channels, channels, 3, stride),
        ConvSpec(channels, channels * expansion, 1, 1),
    ]


def normalisation(channels: int, norm: str | None) -> nn.Module:
    """Batch normalisation, or nothing."""
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.Identity()


class PadShortcut(nn.Module):
    """Shortcut A: every ``stride``-th pixel, and zeros for the channels that are new.

    He et al. 2015, section 3.3, option A.  It has no parameters.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.new_channels = out_channels - in_channels
        self.stride = stride

    def forward(self, x: Any) -> Any:
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.new_channels)) if self.new_channels else x

    def extra_repr(self) -> str:
        """Stride and added channels."""
        return f"stride={self.stride}, new_channels={self.new_channels}"


class _ConvBlock(nn.ResidualBlock):
    """A branch of convolutions conv1, conv2, ... and a shortcut of kind A, B or C.

    Args:
        convs: the convolutions of the branch.
        residual: False makes the plain block of the same layers.
        shortcut: 'A' pads with zeros where the dimensions grow, 'B' projects there, 'C' projects
            everywhere.
        norm: 'batch' or None; without it the convolutions have a bias.
    """

    def __init__(
        self, convs: Sequence[ConvSpec], *, residual: bool, shortcut: str, norm: str | None
    ):
        super().__init__()
        self.depth = len(convs)
        for i, spec in enumerate(convs, 1):
            conv = nn.Conv2d(
                spec.in_channels,
                spec.out_channels,
                spec.kernel_size,
                spec.stride,
                spec.kernel_size // 2,
                bias=norm is None,
            )
            setattr(self, f"conv{i}", conv)
            self._add_norm(i, spec, norm)
        stride = 1
        for spec in convs:
            stride *= spec.stride
        self.changes_shape = stride != 1 or convs[0].in_channels != convs[-1].out_channels
        # By the options alone: a plain block is built as the residual one that it is held against.
        self.projects = shortcut == "C" or (shortcut == "B" and self.changes_shape)
        if residual:
            sizes = convs[0].in_channels, convs[-1].out_channels, stride
            self.downsample = self._shortcut_module(shortcut, *sizes, norm)
        else:
            self.shortcut = None  # type: ignore[method-assign, assignment]

    def _add_norm(self, i: int, spec: ConvSpec, norm: str | None) -> None:
        raise NotImplementedError

    def _projection(self, conv: nn.Module, out_channels: int, norm: str | None) -> nn.Module:
        raise NotImplementedError

    def _shortcut_module(
        self, kind: str, in_channels: int, out_channels: int, stride: int, norm: str | None
    ) -> nn.Module | None:
        if kind != "C" and not self.changes_shape:
            return None
        if kind == "A":
            return PadShortcut(in_channels, out_channels, stride)
        conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=norm is None)
        return self._projection(conv, out_channels, norm)

    def shortcut(self, u: Any) -> Any:
        return u if self.downsample is None else self.downsample(u)


class PostActivationBlock(_ConvBlock):
    """The block of He et al. 2015: conv-BN-ReLU-...-conv-BN, the sum, then ReLU."""

    def _add_norm(self, i: int, spec: ConvSpec, norm: str | None) -> None:
        setattr(self, f"bn{i}", normalisation(spec.out_channels, norm))

    def _projection(self, conv: nn.Module, out_channels: int, norm: str | None) -> nn.Module:
        if norm is None:
            return nn.Sequential(conv)
        return nn.Sequential(conv, normalisation(out_channels, norm))

    def branch(self, u: Any) -> Any:
        for i in range(1, self.depth + 1):
            u = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(u))
            if i < self.depth:
                u = F.relu(u)
        return u

    def activation(self, z: Any) -> Any:
        return F.relu(z)

    def last_scale(self, norm: str | None) -> nn.Parameter:
        """The parameter that multiplies the whole branch."""
        layer = getattr(self, f"{'conv' if norm is None else 'bn'}{self.depth}")
        return layer.weight  # type: ignore[no-any-return]


class PreActivationBlock(_ConvBlock):
    """The block of He et al. 2016: BN-ReLU-conv-...-BN-ReLU-conv, and nothing after the sum.

    Where the shortcut projects or the dimensions change, branch and shortcut share the first
    BN-ReLU (``pre``), so that a projection reads what is normalised and activated; a plain block
    has it in the same place as the residual block of its options.  The first block of a network
    gets an input that the stem has just activated, and has no BN of its own.

    Args:
        first: whether it is the first block of the network.
    """

    def __init__(
        self,
        convs: Sequence[ConvSpec],
        *,
        residual: bool,
        shortcut: str,
        norm: str | None,
        first: bool,
    ):
        object.__setattr__(self, "first", first)  # known before the layers are made
        super().__init__(convs, residual=residual, shortcut=shortcut, norm=norm)

    def _add_norm(self, i: int, spec: ConvSpec, norm: str | None) -> None:
        if not (self.first and i == 1):
            setattr(self, f"bn{i}", normalisation(spec.in_channels, norm))

    def _projection(self, conv: nn.Module, out_channels: int, norm: str | None) -> nn.Module:
        return nn.Sequential(conv)  # no BN behind it: it reads what pre has normalised

    @property
    def shares_pre(self) -> bool:
        """Whether BN-ReLU come before the fork, for branch and shortcut alike."""
        return not self.first and (self.projects or self.changes_shape)

    def pre(self, x: Any) -> Any:
        return F.relu(self.bn1(x)) if self.shares_pre else x

    def branch(self, u: Any) -> Any:
        for i in range(1, self.depth + 1):
            activated = i == 1 and (self.first or self.shares_pre)
            if not activated:
                u = F.relu(getattr(self, f"bn{i}")(u))
            u = getattr(self, f"conv{i}")(u)
        return u

    def last_scale(self, norm: str | None) -> nn.Parameter:
        """The parameter that multiplies the whole branch."""
        return getattr(self, f"conv{self.depth}").weight  # type: ignore[no-any-return]
