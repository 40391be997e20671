"""The ways past a branch that are not the identity.

Where the dimensions change there is shortcut A or a projection (He et al. 2015, section 3.3).  What
happens to the *identity* shortcuts of a deep network when they are made something else is the
question of He et al. 2016, section 3, table 1: ResNet-110 on CIFAR-10, the original post-activation
block, test error in percent, "fail" if above 20:

    =====================  ===========  ========  ======  ============================
    ``skip=``              on the skip  on F      error   remark
    =====================  ===========  ========  ======  ============================
    identity               1            1         6.61    original
    ``residual=False``     0            1         fail    a plain network
    constant-scaling-skip  0.5          1         fail
    constant-scaling       0.5          0.5       12.35   as frozen gates
    exclusive-gating       1 - g(u)     g(u)      fail    b_g starts at 0 to -5
                                                  8.70    b_g starts at -6
                                                  9.81    b_g starts at -7
    shortcut-only-gating   1 - g(u)     1         12.86   b_g starts at 0
                                                  6.91    b_g starts at -6
    conv                   1x1 conv     1         12.22
    dropout                dropout 0.5  1         fail
    =====================  ===========  ========  ======  ============================

with the gates g(u) = sigmoid(W_g u + b_g).  All of them train worse, though shortcut-only gating
and the 1x1 convolution could become the identity, as the paper says: it is the optimisation that
suffers.  A factor h on each of L skips is a factor h^L on the signal (their equation 7) and on the
gradient (equation 8).  The paper applies them to all residual units, and does not say what it did
at the two where the dimensions change; here those keep shortcut A or B.

Constant scaling is the ``skip_scale`` (and ``branch_scale``) of the block itself; the others are
modules, in the place of the identity.
"""

from __future__ import annotations

from typing import Any

import minires.functional as F
from minires import nn
from minires.models.block_options import GATED

__all__ = ["CONSTANT", "GATE_BIAS", "GatedShortcut", "PadShortcut", "identity_variant"]

CONSTANT = 0.5  # of constant scaling, in He et al. 2016, table 1
GATE_BIAS = -6.0  # the best start of b_g in He et al. 2016, section 3.1


class PadShortcut(nn.Module):
    """Shortcut A: every ``stride``-th pixel, and zeros for the channels that are new.

    He et al. 2015, section 3.3, option A.  It has no parameters.

    >>> import minires as mr
    >>> PadShortcut(16, 32, stride=2)(mr.ones(1, 16, 8, 8)).shape
    (1, 32, 4, 4)
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


class GatedShortcut(nn.Module):
    """S(u) = (1 - g(u)) * u with g(u) = sigmoid(W_g u + b_g), W_g a 1x1 convolution.

    The gate of Highway networks (Srivastava et al. 2015) as He et al. 2016 use it, figures 2(c)
    and (d).  A number of g stands for each number of u.  The more negative b_g is at the start, the
    nearer the skip is to the identity; with exclusive gating it closes the branch at the same time.

    Args:
        channels: of u, which is (N, channels, H, W); so is what it gives.
        bias: where b_g starts, in all channels.

    >>> import minires as mr
    >>> skip = GatedShortcut(2, bias=0.0)
    >>> _ = nn.init.zeros_(skip.gate.weight)
    >>> skip(mr.ones(1, 2, 1, 1)).flatten().tolist()
    [0.5, 0.5]
    """

    def __init__(self, channels: int, bias: float = GATE_BIAS):
        super().__init__()
        self.start = bias
        self.gate = nn.Conv2d(channels, channels, 1)
        self.reset_bias()

    def reset_bias(self) -> None:
        """Put b_g where it starts."""
        assert self.gate.bias is not None  # for the type checker
        nn.init.constant_(self.gate.bias, self.start)

    def opening(self, u: Any) -> Any:
        """g(u), of the shape of u, between 0 and 1."""
        return F.sigmoid(self.gate(u))

    def forward(self, u: Any) -> Any:
        return (1.0 - self.opening(u)) * u

    def extra_repr(self) -> str:
        """Where the bias starts."""
        return f"bias={self.start}"


def identity_variant(skip: str, channels: int, gate_bias: float | None) -> nn.Module | None:
    """The module in the place of an identity shortcut; None where there is none.

    It has no say on 'conv', which is a projection, and those are made by the block.
    """
    if skip in GATED:
        return GatedShortcut(channels, GATE_BIAS if gate_bias is None else gate_bias)
    return nn.Dropout(0.5) if skip == "dropout" else None
